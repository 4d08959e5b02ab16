//! Lanes, cursors and events: what makes a write happen exactly once.

use std::collections::HashMap;

use crate::substrate::store::rows::{EventsRow, LaneRow, Needs, Rows, SourceLane};
use crate::substrate::store::{LaneMove, Store, StoreError, StoreErrorKind};
use crate::vocabulary::ids::Position;
use crate::vocabulary::owner::{LANES, Lane, ShardIndex};

use super::rows::{like, post, user};
use super::{TestShard, on_both};

on_both!(
    a_new_shard_has_all_lanes_at_the_start,
    lanes_move_together_and_only_from_where_they_are_known,
    a_lane_never_moves_back,
    of_two_who_move_a_lane_one_is_fenced,
    batches_of_different_lanes_run_side_by_side,
    locking_lanes_in_any_order_never_ends_in_a_circle,
    a_transaction_that_is_dropped_leaves_nothing,
    a_cursor_moves_only_from_where_it_is_known,
    events_are_read_in_order_and_trimmed_once_they_are_relayed_and_told,
);

fn step(lane: u16, known: u64, next: u64) -> LaneMove {
    LaneMove { lane: Lane(lane), known: Position(known), next: Position(next) }
}

async fn lanes(shard: &TestShard) -> Vec<LaneRow> {
    shard.store.snapshot().await.expect("a snapshot").lanes().await.expect("lanes")
}

async fn applied(shard: &TestShard, lane: u16) -> u64 {
    lanes(shard).await[usize::from(lane)].applied.0
}

/// A batch as a worker runs it: the lane first, then a row.
async fn batch(store: &Store, step: LaneMove) -> Result<(), StoreError> {
    let mut tx = store.begin().await?;
    tx.lanes_advance(&[step]).await?;
    let key = (post(u64::from(step.lane.0) + 1), user(step.next.0));
    tx.rows_save(&Rows { post_likes: [(key, like(true, step.next.0))].into(), ..Rows::default() }).await?;
    tx.commit().await
}

async fn a_new_shard_has_all_lanes_at_the_start(shard: TestShard) {
    let lanes = lanes(&shard).await;

    assert_eq!(lanes.iter().map(|row| row.lane.0).collect::<Vec<_>>(), (0..LANES).collect::<Vec<_>>());
    assert!(lanes.iter().all(|row| row.applied == Position::START && row.relayed == Position::START));
    assert_eq!(shard.store.identity().await.expect("an identity").lanes, LANES);
}

/// Catches an update that leaves out the position it expects: the second mover would win.
async fn lanes_move_together_and_only_from_where_they_are_known(shard: TestShard) {
    let mut tx = shard.store.begin().await.expect("begins");
    tx.lanes_advance(&[step(3, 0, 9), step(0, 0, 7), step(39, 0, 8)]).await.expect("moves");
    tx.commit().await.expect("commits");

    let mut tx = shard.store.begin().await.expect("begins");
    let refused = tx.lanes_advance(&[step(0, 7, 10), step(3, 8, 10)]).await.expect_err("lane 3 stands elsewhere");
    drop(tx);

    assert_eq!(refused.kind(), StoreErrorKind::Fenced);
    assert_eq!(applied(&shard, 0).await, 7, "the other lane of a fenced batch stays too");
    assert_eq!((applied(&shard, 3).await, applied(&shard, 39).await, applied(&shard, 1).await), (9, 8, 0));
}

async fn a_lane_never_moves_back(shard: TestShard) {
    batch(&shard.store, step(1, 0, 5)).await.expect("commits");

    for next in [4, 5] {
        let refused = batch(&shard.store, step(1, 5, next)).await.expect_err("it does not move forward");
        assert_eq!(refused.kind(), StoreErrorKind::Invariant);
    }

    assert_eq!(applied(&shard, 1).await, 5);
}

/// Catches a comparison that is made before the other's commit is seen.
async fn of_two_who_move_a_lane_one_is_fenced(shard: TestShard) {
    let (left, right) = tokio::join!(batch(&shard.store, step(5, 0, 10)), batch(&shard.store, step(5, 0, 20)));

    let (winner, loser) = if left.is_ok() { (10, right) } else { (20, left) };
    assert!(matches!(loser, Err(StoreError::Fenced)), "{loser:?}");
    assert_eq!(applied(&shard, 5).await, winner);
    let needs = Needs { post_likes: vec![(post(6), user(10)), (post(6), user(20))], ..Needs::default() };
    assert_eq!(shard.load(&needs).await.post_likes.len(), 1, "nothing of the fenced batch was kept");
}

async fn batches_of_different_lanes_run_side_by_side(shard: TestShard) {
    for round in 0..10 {
        let run = |lane| batch(&shard.store, step(lane, round, round + 1));
        let (first, second, third) = tokio::join!(run(0), run(1), run(39));
        first.and(second).and(third).expect("all commit");
    }

    let needs = Needs { post_likes: (1..=10).flat_map(|raw| [1, 2, 40].map(|lane| (post(lane), user(raw)))).collect(), ..Needs::default() };
    assert_eq!(shard.load(&needs).await.post_likes.len(), 30);
    assert_eq!((applied(&shard, 0).await, applied(&shard, 1).await, applied(&shard, 39).await), (10, 10, 10));
}

/// Catches rows that are locked in the order of the caller: on PostgreSQL one of the two would be killed.
async fn locking_lanes_in_any_order_never_ends_in_a_circle(shard: TestShard) {
    let all: Vec<Lane> = (0..LANES).map(Lane).collect();
    let backwards: Vec<Lane> = all.iter().rev().copied().collect();
    let hold = async |lanes: &[Lane]| -> Result<(), StoreError> {
        let mut tx = shard.store.begin().await?;
        tx.lanes_lock(lanes).await?;
        tx.commit().await
    };
    for _ in 0..20 {
        let (forwards, back) = tokio::join!(hold(&all), hold(&backwards));
        forwards.and(back).expect("nobody is killed");
    }
}

async fn a_transaction_that_is_dropped_leaves_nothing(shard: TestShard) {
    let key = (post(1), user(1));
    let mut tx = shard.store.begin().await.expect("begins");
    tx.lanes_advance(&[step(0, 0, 1)]).await.expect("moves");
    tx.rows_save(&Rows { post_likes: [(key, like(true, 1))].into(), ..Rows::default() }).await.expect("saves");
    drop(tx);

    batch(&shard.store, step(0, 0, 2)).await.expect("the connection is good for the next one");

    assert!(shard.load(&Needs { post_likes: vec![key], ..Needs::default() }).await.post_likes.is_empty());
    assert_eq!(applied(&shard, 0).await, 2);
}

/// Catches a first step that takes a cursor that is there for a new one: a relay would be applied twice.
async fn a_cursor_moves_only_from_where_it_is_known(shard: TestShard) {
    let source = SourceLane { shard: ShardIndex(3), lane: Lane(39) };
    let other = SourceLane { shard: ShardIndex(3), lane: Lane(38) };
    let advance = async |source, known, next| -> Result<(), StoreError> {
        let mut tx = shard.store.begin().await?;
        tx.relay_cursor_advance(source, Position(known), Position(next)).await?;
        tx.commit().await
    };

    advance(source, 0, 5).await.expect("begins");
    advance(other, 0, 2).await.expect("begins");
    advance(source, 5, 9).await.expect("goes on");
    for (known, next, kind) in [
        (0, 7, StoreErrorKind::Fenced),
        (5, 10, StoreErrorKind::Fenced),
        (10, 11, StoreErrorKind::Fenced),
        (9, 9, StoreErrorKind::Invariant),
    ] {
        let refused = advance(source, known, next).await.expect_err("it stands at 9");
        assert_eq!(refused.kind(), kind, "from {known} to {next}");
    }

    let cursors = shard.store.snapshot().await.expect("a snapshot").relay_cursors().await.expect("cursors");
    assert_eq!(cursors, HashMap::from([(source, Position(9)), (other, Position(2))]));
    let unknown = SourceLane { shard: ShardIndex(0), lane: Lane(0) };
    assert!(matches!(advance(unknown, 3, 4).await, Err(StoreError::Fenced)), "a cursor that is not there stands at the start");
}

async fn events_are_read_in_order_and_trimmed_once_they_are_relayed_and_told(shard: TestShard) {
    let row =
        |lane, position: u64| EventsRow { lane: Lane(lane), position: Position(position), payload: vec![0, lane as u8, position as u8] };
    let mut tx = shard.store.begin().await.expect("begins");
    tx.events_insert(&[row(1, 30), row(1, 10), row(2, 15), row(1, 20)]).await.expect("inserts");
    tx.commit().await.expect("commits");
    let read = async |lane, after, rows_max| {
        let mut snapshot = shard.store.snapshot().await.expect("a snapshot");
        snapshot.events_after(Lane(lane), Position(after), rows_max).await.expect("events")
    };

    assert_eq!(read(1, 0, 9).await, [row(1, 10), row(1, 20), row(1, 30)]);
    assert_eq!(read(1, 10, 1).await, [row(1, 20)]);
    assert_eq!(read(1, 30, 9).await, []);

    for through in [20, 10] {
        let mut tx = shard.store.begin().await.expect("begins");
        tx.lanes_relayed(&[(Lane(1), Position(through)), (Lane(2), Position(14)), (Lane(3), Position(5))]).await.expect("moves");
        tx.commit().await.expect("commits");
    }
    assert_eq!(read(1, 0, 9).await.len(), 3, "nobody was told yet");
    for through in [30, 10] {
        let mut tx = shard.store.begin().await.expect("begins");
        tx.lanes_notified(&[(Lane(1), Position(through)), (Lane(2), Position(15))]).await.expect("trims");
        tx.lanes_notified(&[]).await.expect("nothing is as good");
        tx.commit().await.expect("commits");
    }

    assert_eq!(read(1, 0, 9).await, [row(1, 30)]);
    assert_eq!(read(2, 0, 9).await, [row(2, 15)], "it was told but not relayed");
    let lanes = lanes(&shard).await;
    let stands = |lane: usize| (lanes[lane].relayed, lanes[lane].notified);
    assert_eq!(
        [1, 2, 3, 4].map(stands),
        [(20, 30), (14, 15), (5, 0), (0, 0)].map(|(relayed, notified)| (Position(relayed), Position(notified)))
    );
}
