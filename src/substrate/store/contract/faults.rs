//! What each database says when something is wrong with it, and what only one of them has.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use sea_orm::{ConnectionTrait, Database};

use crate::substrate::store::rows::Rows;
use crate::substrate::store::{Backend, Store, StoreError, StoreErrorKind, StoreOptions};
use crate::support::config::PostgresUrl;
use crate::vocabulary::ids::Position;
use crate::vocabulary::owner::{LANES, Lane};
use crate::vocabulary::text::PostBody;

use super::TestShard;
use super::rows::{like, post, post_row, user};

/// Tries to save one row.
async fn save(store: &Store, rows: &Rows) -> Result<(), StoreError> {
    let mut tx = store.begin().await?;
    tx.rows_save(rows).await?;
    tx.commit().await
}

fn one_like() -> Rows {
    Rows { post_likes: [((post(1), user(1)), like(true, 1))].into(), ..Rows::default() }
}

fn path(shard: &TestShard) -> std::path::PathBuf {
    match &shard.backend {
        Backend::Sqlite(path) => path.clone(),
        Backend::Postgres(url) => panic!("not a file: {url}"),
    }
}

#[tokio::test]
async fn only_the_owner_can_read_the_files_of_a_shard() {
    let shard = TestShard::sqlite().await;
    save(&shard.store, &one_like()).await.expect("saves");

    let folder = path(&shard).parent().expect("a folder").to_owned();
    let mut seen = 0;
    for file in std::fs::read_dir(folder).expect("the folder") {
        let file = file.expect("a file");
        assert_eq!(file.metadata().expect("metadata").permissions().mode() & 0o777, 0o600, "{:?}", file.path());
        seen += 1;
    }
    assert_eq!(seen, 3, "the file, its log and the log's index");
}

#[tokio::test]
async fn a_file_that_others_could_read_is_closed_to_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("shard.sqlite");
    std::fs::write(&path, b"").expect("writes");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("sets");

    Store::open(&Backend::Sqlite(path.clone()), StoreOptions::default()).await.expect("opens");

    assert_eq!(std::fs::metadata(&path).expect("metadata").permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn a_missing_folder_is_an_unavailable_shard() {
    let folder = tempfile::tempdir().expect("a folder");
    let backend = Backend::Sqlite(folder.path().join("gone").join("shard.sqlite"));

    let refused = Store::open(&backend, StoreOptions::default()).await.err().expect("no folder");

    assert_eq!(refused.kind(), StoreErrorKind::Unavailable, "{refused:?}");
}

#[tokio::test]
async fn a_file_that_is_no_database_stops_the_shard() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("shard.sqlite");
    std::fs::write(&path, vec![b'x'; 8192]).expect("writes");

    let refused = Store::open(&Backend::Sqlite(path), StoreOptions::default()).await.err().expect("not a database");

    assert_eq!(refused.kind(), StoreErrorKind::Invariant, "{refused:?}");
}

/// Catches a writer without BEGIN IMMEDIATE: it would read first and be refused at its first write.
#[tokio::test]
async fn a_file_that_another_process_writes_to_is_unavailable_from_the_beginning() {
    let shard = TestShard::sqlite().await;
    let other = Store::open(&shard.backend, StoreOptions::default()).await.expect("opens");
    let held = other.begin().await.expect("begins");

    let refused = shard.store.begin().await.err().expect("locked");
    drop(held);

    assert_eq!(refused.kind(), StoreErrorKind::Unavailable, "{refused:?}");
    save(&shard.store, &one_like()).await.expect("the lock is gone");
}

#[tokio::test]
async fn a_read_only_database_is_unavailable_and_can_still_be_read() {
    let shard = TestShard::sqlite().await;
    shard.store.run_on_writer("PRAGMA query_only = on").await.expect("plants the fault");

    let refused = save(&shard.store, &one_like()).await.expect_err("read-only");

    assert_eq!(refused.kind(), StoreErrorKind::Unavailable, "{refused:?}");
    assert_eq!(shard.store.snapshot().await.expect("a snapshot").lanes().await.expect("lanes").len(), usize::from(LANES));
    shard.store.run_on_writer("PRAGMA query_only = off").await.expect("takes it away");
    save(&shard.store, &one_like()).await.expect("writable again");
}

#[tokio::test]
async fn a_full_disk_is_unavailable_and_nothing_is_half_written() {
    let shard = TestShard::sqlite().await;
    shard.store.run_on_writer("PRAGMA max_page_count = 60").await.expect("plants the fault");
    let mut rows = one_like();
    for raw in 1..=200 {
        let body = PostBody::from_row("x".repeat(2_000));
        rows.posts.insert(post(raw), crate::substrate::store::rows::PostRow { body, ..post_row(raw, 1) });
    }

    let refused = save(&shard.store, &rows).await.expect_err("full");
    shard.store.run_on_writer("PRAGMA max_page_count = 1000000").await.expect("makes room");

    assert_eq!(refused.kind(), StoreErrorKind::Unavailable, "{refused:?}");
    let needs = crate::substrate::store::rows::Needs { posts: (1..=200).map(post).collect(), ..Default::default() };
    assert!(shard.load(&needs).await.posts.is_empty());
    save(&shard.store, &rows).await.expect("there is room again");
}

#[tokio::test]
async fn a_missing_table_stops_the_shard() {
    let shard = TestShard::sqlite().await;
    shard.store.run_on_writer("DROP TABLE post_likes").await.expect("plants the fault");

    let refused = save(&shard.store, &one_like()).await.expect_err("no table");

    assert_eq!(refused.kind(), StoreErrorKind::Invariant, "{refused:?}");
}

#[tokio::test]
async fn a_stopped_shard_gets_no_more_writes_whoever_asks_and_is_read() {
    let shard = TestShard::sqlite().await;
    let other = shard.store.clone();
    save(&other, &one_like()).await.expect("saves");

    shard.store.stop();

    let refused = save(&other, &one_like()).await.expect_err("stopped");
    assert!(matches!(refused, StoreError::Stopped) && refused.kind() == StoreErrorKind::Invariant, "{refused:?}");
    assert!(other.complete_to_raise(Position(1)).await.is_err());
    assert_eq!(other.snapshot().await.expect("a snapshot").lanes().await.expect("lanes").len(), usize::from(LANES));
}

/// Catches a snapshot on a connection that could write.
#[tokio::test]
async fn what_reads_cannot_write() {
    let shard = TestShard::sqlite().await;
    let snapshot = shard.store.snapshot().await.expect("a snapshot");

    let refused = snapshot.link.execute_of("DELETE FROM lanes", Vec::new()).await;

    assert!(refused.is_err());
}

#[tokio::test]
async fn a_checkpoint_empties_the_log() {
    let shard = TestShard::sqlite().await;
    save(&shard.store, &one_like()).await.expect("saves");
    let log = path(&shard).with_extension("sqlite-wal");
    assert!(std::fs::metadata(&log).expect("the log").len() > 0);

    shard.store.checkpoint().await.expect("moves the log");

    assert_eq!(std::fs::metadata(&log).expect("the log").len(), 0);
}

#[tokio::test]
async fn on_postgres_what_reads_cannot_write_either() {
    let Some(shard) = TestShard::postgres().await else { return };
    let snapshot = shard.store.snapshot().await.expect("a snapshot");

    let refused = snapshot.link.execute_of("DELETE FROM lanes", Vec::new()).await;

    assert!(refused.is_err());
}

#[tokio::test]
async fn a_postgres_that_cannot_be_reached_is_unavailable() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = free.local_addr().expect("an address").port();
    drop(free);
    let options = StoreOptions { pool_wait: Duration::from_millis(200), ..StoreOptions::default() };

    let url = PostgresUrl::parse(&format!("postgres://sosik@127.0.0.1:{port}/postgres")).expect("a URL");
    let refused = Store::open(&Backend::Postgres(url), options).await;

    let refused = refused.err().expect("nobody listens");
    assert_eq!(refused.kind(), StoreErrorKind::Unavailable, "{refused:?}");
}

#[tokio::test]
async fn a_postgres_connection_that_is_cut_is_unavailable_and_the_next_one_works() {
    let Some(shard) = TestShard::postgres().await else { return };
    let Backend::Postgres(url) = &shard.backend else { panic!("not PostgreSQL") };
    let operator = Database::connect(url.secret_text()).await.expect("connects");
    let mut tx = shard.store.begin().await.expect("begins");
    tx.rows_save(&one_like()).await.expect("saves");

    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
               WHERE application_name = 'sosik' AND datname = current_database() AND state = 'idle in transaction'";
    operator.execute_unprepared(cut).await.expect("plants the fault");
    let refused = tx.commit().await.expect_err("cut");

    assert_eq!(refused.kind(), StoreErrorKind::Unavailable, "{refused:?}");
    save(&shard.store, &one_like()).await.expect("a new connection");
}

#[tokio::test]
async fn a_postgres_that_only_reads_is_unavailable() {
    let Some(shard) = TestShard::postgres().await else { return };
    let options = StoreOptions { writers: 1, ..StoreOptions::default() };
    let store = Store::open(&shard.backend, options).await.expect("opens");
    let plant = "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY";
    store.run_on_writer(plant).await.expect("plants the fault");

    let refused = save(&store, &one_like()).await.expect_err("read-only");

    assert_eq!(refused.kind(), StoreErrorKind::Unavailable, "{refused:?}");
}

/// Something that takes connections and says nothing, as a server whose processes stand still.
#[tokio::test]
async fn a_postgres_that_gives_no_answer_is_unavailable_in_time() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = silent.local_addr().expect("an address").port();
    let url = PostgresUrl::parse(&format!("postgres://sosik@127.0.0.1:{port}/postgres?sslmode=disable")).expect("a URL");
    let options = StoreOptions { pool_wait: Duration::from_millis(200), ..StoreOptions::default() };

    let refused = Store::open(&Backend::Postgres(url), options).await.err().expect("nobody answers");

    assert!(matches!(refused, StoreError::NoAnswer { .. }), "{refused:?}");
    assert_eq!(refused.kind(), StoreErrorKind::Unavailable);
}

/// Catches a statement, or a wait for a lock, that has no end.
#[tokio::test]
async fn a_postgres_statement_that_takes_too_long_is_unavailable() {
    let Some(shard) = TestShard::postgres().await else { return };
    let lock_wait = Duration::from_secs(1);
    let options = StoreOptions { writers: 2, statement_wait: Duration::from_secs(3), lock_wait, ..StoreOptions::default() };
    let store = Store::open(&shard.backend, options).await.expect("opens");
    let mut first = store.begin().await.expect("begins");
    first.lanes_lock(&[Lane(0)]).await.expect("takes the lane");

    let mut second = store.begin().await.expect("begins");
    let held = second.lanes_lock(&[Lane(0)]).await.expect_err("it is taken");
    drop(second);
    let slow = first.link.execute_of("SELECT pg_sleep(60)", Vec::new()).await.expect_err("too long");

    for refused in [held, slow] {
        assert!(refused.kind() == StoreErrorKind::Unavailable && !refused.is_conflict(), "{refused:?}");
    }
}

/// Two that wait for each other: one is chosen, and is told that it can try again at once.
#[tokio::test]
async fn a_postgres_transaction_that_gives_way_to_another_is_told_so() {
    let Some(shard) = TestShard::postgres().await else { return };
    let (mut first, mut second) = (shard.store.begin().await.expect("begins"), shard.store.begin().await.expect("begins"));
    first.lanes_lock(&[Lane(1)]).await.expect("takes a lane");
    second.lanes_lock(&[Lane(0)]).await.expect("takes another");

    let crossed = async {
        let (one, other) = tokio::join!(async { (first.lanes_lock(&[Lane(0)]).await, first).0 }, async {
            (second.lanes_lock(&[Lane(1)]).await, second).0
        },);
        [one, other].into_iter().filter_map(Result::err).collect::<Vec<_>>()
    };
    let chosen = crossed.await;

    assert!(matches!(chosen.as_slice(), [error] if error.is_conflict()), "{chosen:?}");
}

/// Catches a server that would lose what it said it had committed.
#[tokio::test]
async fn a_postgres_that_does_not_wait_for_its_disk_is_refused() {
    let Some(shard) = TestShard::postgres().await else { return };
    let Backend::Postgres(url) = &shard.backend else { panic!("not PostgreSQL") };
    let operator = Database::connect(url.secret_text()).await.expect("connects");
    let (_, name) = url.secret_text().rsplit_once('/').expect("a database");
    let plant = format!("ALTER DATABASE {name} SET synchronous_commit = off");
    operator.execute_unprepared(&plant).await.expect("plants the fault");

    let refused = Store::open(&shard.backend, StoreOptions::default()).await.err().expect("unsafe");

    assert!(matches!(refused, StoreError::UnsafeSetting { setting: "synchronous_commit", .. }), "{refused:?}");
}

#[tokio::test]
async fn a_position_above_32_bits_survives_a_reopening() {
    let shard = TestShard::sqlite().await;
    let far = Position(1 << 40);
    let rows = Rows { post_likes: [((post(1), user(1)), like(true, far.0))].into(), ..Rows::default() };
    save(&shard.store, &rows).await.expect("saves");
    shard.store.close().await.expect("closes");

    let again = Store::open(&shard.backend, StoreOptions::default()).await.expect("opens");
    let needs = crate::substrate::store::rows::Needs { post_likes: vec![(post(1), user(1))], ..Default::default() };
    let found = again.snapshot().await.expect("a snapshot").rows_load(&needs).await.expect("loads");

    assert_eq!(found.post_likes[&(post(1), user(1))].position, far);
}
