//! Lanes, cursors and events: what makes a write happen exactly once.

use crate::substrate::store::rows::{EventsRow, SourceLane};
use crate::substrate::store::{LaneMove, StoreError};
use crate::vocabulary::ids::Position;
use crate::vocabulary::owner::{LANES, Lane, ShardIndex};

use super::{TestShard, on_both};

on_both!(a_new_shard_has_all_lanes_at_the_start, lanes_move_together_and_only_from_where_they_are_known,);

fn step(lane: u16, known: u64, next: u64) -> LaneMove {
    LaneMove { lane: Lane(lane), known: Position(known), next: Position(next) }
}

async fn applied(shard: &TestShard, lane: u16) -> Position {
    let lanes = shard.store.snapshot().await.expect("a snapshot").lanes().await.expect("lanes");
    lanes[usize::from(lane)].applied
}

async fn a_new_shard_has_all_lanes_at_the_start(shard: TestShard) {
    let lanes = shard.store.snapshot().await.expect("a snapshot").lanes().await.expect("lanes");

    assert_eq!(lanes.iter().map(|row| row.lane.0).collect::<Vec<_>>(), (0..LANES).collect::<Vec<_>>());
    assert!(lanes.iter().all(|row| row.applied == Position::START && row.relayed == Position::START));
    assert_eq!(shard.store.identity().await.expect("an identity").lanes, LANES);
}

/// Catches an update that leaves out the position it expects: the second mover would win.
async fn lanes_move_together_and_only_from_where_they_are_known(shard: TestShard) {
    let mut tx = shard.store.begin().await.expect("begins");
    tx.lanes_advance(&[step(0, 0, 7), step(3, 0, 9), step(39, 0, 8)]).await.expect("moves");
    tx.commit().await.expect("commits");

    let mut tx = shard.store.begin().await.expect("begins");
    let refused = tx.lanes_advance(&[step(0, 7, 10), step(3, 8, 10)]).await;
    drop(tx);

    assert!(matches!(refused, Err(StoreError::Fenced)), "{refused:?}");
    assert_eq!(applied(&shard, 0).await, Position(7), "the other lane of a fenced batch stays too");
    assert_eq!(applied(&shard, 3).await, Position(9));
    assert_eq!(applied(&shard, 39).await, Position(8));
}
