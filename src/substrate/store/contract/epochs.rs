//! The epoch: who may write. What was begun or connected before another took over comes to nothing.

use sea_orm::{ConnectionTrait, Database};

use crate::substrate::store::rows::{Needs, Rows};
use crate::substrate::store::{
    Backend, Chosen, LaneMove, OfJournal, Store, StoreError, StoreErrorKind, StoreOptions, Tenure, Wanted, look_at_primary,
};
use crate::vocabulary::ids::Position;
use crate::vocabulary::owner::Lane;

use super::rows::{like, post, user};
use super::{TestShard, on_both};

on_both!(
    an_open_connection_moves_no_lane_and_commits_nothing_under_another_epoch,
    under_the_expected_epoch_lanes_move_and_rows_are_kept,
    an_epoch_is_raised_once_from_where_it_is_known,
);

const MOVE: [LaneMove; 1] = [LaneMove { lane: Lane(2), known: Position(0), next: Position(7) }];

fn one_like() -> Rows {
    Rows { post_likes: [((post(1), user(1)), like(true, 7))].into(), ..Rows::default() }
}

/// The shard as one who expects the first epoch has it open, with so many connections that write at most: no others are made under another epoch.
async fn under_the_first_epoch(shard: &TestShard, writers: u32) -> Store {
    let store = Store::open(&shard.backend, StoreOptions { writers, ..StoreOptions::default() }).await.expect("opens");
    let wanted = Wanted { shard_name: "s1".to_owned(), journal: OfJournal::Any };
    let tenure = match &shard.backend {
        Backend::Postgres(url) => look_at_primary(url, &StoreOptions::default(), &wanted).await.expect("looks").tenure,
        Backend::Sqlite(_) => Tenure::default(),
    };
    assert_eq!(tenure.epoch, 1);
    store.expect(Chosen { tenure, shard: wanted });
    store
}

/// Another process takes over.
async fn take_over(shard: &TestShard) {
    let other = Store::open(&shard.backend, StoreOptions::default()).await.expect("opens");
    other.epoch_raise(1, 2, Position(0)).await.expect("raises");
    other.close().await.expect("closes");
}

/// A batch: the lane first, and a row.
async fn batch(store: &Store) -> Result<(), StoreError> {
    let mut tx = store.begin().await?;
    tx.lanes_advance(&MOVE).await?;
    tx.rows_save(&one_like()).await?;
    tx.commit().await
}

/// What moves no lane.
async fn rows_alone(store: &Store) -> Result<(), StoreError> {
    let mut tx = store.begin().await?;
    tx.lanes_advance(&[]).await?;
    tx.rows_save(&one_like()).await?;
    tx.commit().await
}

#[track_caller]
fn assert_fenced(outcome: Result<(), StoreError>) {
    let refused = outcome.expect_err("another has taken over");
    assert!(matches!(refused, StoreError::OtherEpoch { found: 2, expected: 1 }), "{refused:?}");
}

async fn assert_untouched(shard: &TestShard) {
    assert!(shard.load(&Needs { post_likes: vec![(post(1), user(1))], ..Needs::default() }).await.post_likes.is_empty());
    let lanes = shard.store.snapshot().await.expect("a snapshot").lanes().await.expect("lanes");
    assert!(lanes.iter().all(|row| row.applied == Position::START));
}

/// Catches an epoch that is compared only when a connection is made.
async fn an_open_connection_moves_no_lane_and_commits_nothing_under_another_epoch(shard: TestShard) {
    let store = under_the_first_epoch(&shard, 1).await;
    // The connection is there before the other comes.
    store.begin().await.expect("begins").commit().await.expect("commits");
    take_over(&shard).await;

    assert_fenced(batch(&store).await);
    assert_fenced(rows_alone(&store).await);

    assert_untouched(&shard).await;
}

async fn under_the_expected_epoch_lanes_move_and_rows_are_kept(shard: TestShard) {
    let store = under_the_first_epoch(&shard, 1).await;

    batch(&store).await.expect("commits");
    rows_alone(&store).await.expect("commits");

    assert_eq!(shard.load(&Needs { post_likes: vec![(post(1), user(1))], ..Needs::default() }).await.post_likes.len(), 1);
}

async fn an_epoch_is_raised_once_from_where_it_is_known(shard: TestShard) {
    take_over(&shard).await;
    take_over(&shard).await;

    let refused = shard.store.epoch_raise(3, 4, Position(0)).await.expect_err("it is the second");

    assert!(matches!(refused, StoreError::OtherEpoch { found: 2, expected: 3 }), "{refused:?}");
    assert_eq!(shard.store.identity().await.expect("an identity").epoch, 2);
}

/// Catches an epoch that is compared when a transaction begins, and not in the statement that moves the lanes or before the commit.
#[tokio::test]
async fn on_postgres_a_transaction_that_began_before_another_took_over_comes_to_nothing() {
    let Some(shard) = TestShard::postgres().await else { return };
    let store = under_the_first_epoch(&shard, 2).await;
    let (mut moving, mut saving) = (store.begin().await.expect("begins"), store.begin().await.expect("begins"));
    moving.lanes_lock(&[Lane(2)]).await.expect("takes the lane");
    saving.rows_save(&one_like()).await.expect("saves");
    take_over(&shard).await;

    assert_fenced(moving.lanes_advance(&MOVE).await);
    assert_fenced(saving.commit().await);

    drop(moving);
    assert_untouched(&shard).await;
}

/// Catches a name that leads to another server later: neither what writes nor what reads uses it.
#[tokio::test]
async fn on_postgres_a_new_connection_to_another_primary_is_not_used() {
    let Some(shard) = TestShard::postgres().await else { return };
    let Backend::Postgres(url) = &shard.backend else { panic!("not PostgreSQL") };
    let store = under_the_first_epoch(&shard, 1).await;
    take_over(&shard).await;
    let operator = Database::connect(url.secret_text()).await.expect("connects");
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'sosik' AND datname = current_database()";
    operator.execute_unprepared(cut).await.expect("ends the connections");

    let write = store.begin().await.err().expect("another primary");
    let read = store.snapshot().await.err().expect("another primary");

    for refused in [write, read] {
        assert_eq!(refused.kind(), StoreErrorKind::Unavailable, "{refused:?}");
    }
    shard.store.begin().await.expect("who expects nothing is let in");
}
