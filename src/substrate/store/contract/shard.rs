//! The shard as a whole: who it is, its schema, its snapshots, what it remembers for a while, and what it says when it cannot.

use std::time::Duration;

use sosik_migration::{Migrator, MigratorTrait};
use uuid::Uuid;

use crate::substrate::store::rows::{DeadLetterRow, Needs, Rows, SessionRow};
use crate::substrate::store::{Backend, Joined, Standby, Store, StoreError, StoreErrorKind, StoreOptions};
use crate::vocabulary::command::{Command, Entry, KeyUse, Resource, WriteKind};
use crate::vocabulary::event::KeptWrite;
use crate::vocabulary::ids::{Position, SessionId, UserId, WriteId};
use crate::vocabulary::owner::{LANES, Lane};
use crate::vocabulary::rejection::Rejection;

use super::rows::{like, post, session_row, user};
use super::{TestShard, on_both};

on_both!(
    migrating_again_does_nothing,
    a_newer_schema_is_refused_and_left_alone,
    a_shard_joins_one_journal_for_good,
    a_server_that_is_no_standby_says_nothing_of_one,
    a_snapshot_does_not_see_later_commits,
    a_kept_write_is_found_by_its_id_and_by_its_key_until_its_time_is_over,
    many_kept_writes_are_saved_with_and_without_a_key,
    of_two_words_on_a_kept_write_the_later_one_counts_whichever_arrives_first,
    a_key_that_comes_again_finds_the_newest_write,
    dead_letters_are_kept_whole_and_found_by_their_author,
    old_sessions_are_forgotten,
    a_caller_who_waits_too_long_in_line_is_told_that_the_shard_is_unavailable,
    a_closed_shard_is_unavailable,
);

async fn migrating_again_does_nothing(shard: TestShard) {
    let again = shard.store.migrate().await.expect("migrates");

    assert!(again.steps.is_empty());
    assert_eq!(shard.store.snapshot().await.expect("a snapshot").lanes().await.expect("lanes").len(), usize::from(LANES));
}

/// Catches a binary that writes into tables it does not know.
async fn a_newer_schema_is_refused_and_left_alone(shard: TestShard) {
    let plant = "INSERT INTO seaql_migrations (version, applied_at) VALUES ('m999999_future', 1)";
    shard.store.run_on_writer(plant).await.expect("plants the fault");

    let refused = shard.store.migrate().await.expect_err("it is newer");

    let migrations = Migrator::migrations();
    let newest = migrations.last().expect("migrations");
    assert_eq!(refused.kind(), StoreErrorKind::NewerSchema);
    assert!(refused.to_string().contains("m999999_future") && refused.to_string().contains(newest.name()), "{refused}");
}

async fn a_shard_joins_one_journal_for_good(shard: TestShard) {
    let (journal, foreign) = (Uuid::from_u128(7), Uuid::from_u128(8));
    assert_eq!(shard.store.identity().await.expect("an identity").journal, None);
    assert_eq!(shard.store.joined().await.expect("asks"), None);

    shard.store.join(journal, "s1").await.expect("joins");
    shard.store.join(journal, "s1").await.expect("the same again");
    let other_journal = shard.store.join(foreign, "s1").await.expect_err("another journal");
    let other_name = shard.store.join(journal, "s2").await.expect_err("another name");

    assert!(matches!(other_journal, StoreError::JoinedAlready { .. }), "{other_journal}");
    assert!(matches!(other_name, StoreError::JoinedAlready { .. }), "{other_name}");
    let identity = shard.store.identity().await.expect("an identity");
    assert_eq!((identity.journal, identity.shard_name.as_deref()), (Some(journal), Some("s1")));
    let joined = Joined { journal: journal.to_string(), shard_name: "s1".to_owned() };
    assert_eq!(shard.store.joined().await.expect("asks"), Some(joined));
}

/// Catches a primary that counts as a standby of itself, where a configuration lists both hosts in both places.
async fn a_server_that_is_no_standby_says_nothing_of_one(shard: TestShard) {
    let Backend::Postgres(url) = &shard.backend else { return };
    shard.store.complete_to_raise(Position(9)).await.expect("writes");
    let listed = Standby::open(url, &StoreOptions::default(), &shard.store).await.expect("set up");

    let (replayed, complete_to) = (listed.replayed().await, listed.complete_to().await);

    assert!(matches!(replayed, Err(StoreError::NoStandby { .. })), "{replayed:?}");
    assert!(matches!(complete_to, Err(StoreError::NoStandby { .. })), "{complete_to:?}");
}

/// Catches READ COMMITTED, and reading on two connections: the counters would not fit the rows.
async fn a_snapshot_does_not_see_later_commits(shard: TestShard) {
    let key = (post(1), user(1));
    let needs = Needs { post_likes: vec![key], ..Needs::default() };
    let mut before = shard.store.snapshot().await.expect("a snapshot");
    before.lanes().await.expect("the first question");

    shard.save(&Rows { post_likes: [(key, like(true, 1))].into(), ..Rows::default() }).await;

    assert!(before.rows_load(&needs).await.expect("loads").post_likes.is_empty());
    assert_eq!(shard.load(&needs).await.post_likes.len(), 1);
}

fn kept(write: u64, key: Option<&str>, accepted_at: u64) -> KeptWrite {
    KeptWrite {
        write: WriteId::from_raw(write),
        kind: WriteKind::LikeSet,
        resource: Resource::Post(post(1)),
        key: key.map(|key| KeyUse { key: key.to_owned(), digest: [7; 16] }),
        rejection: Some(Rejection::Gone),
        accepted_at,
    }
}

async fn a_kept_write_is_found_by_its_id_and_by_its_key_until_its_time_is_over(shard: TestShard) {
    let (old, young, keyless) = (kept(1, Some("a"), 1_000), kept(2, Some("b"), 2_000), kept(3, None, 3_000));
    let all = [&old, &young, &keyless].map(|write| (user(1), write.clone()));
    shard.save(&Rows { kept_writes: all.to_vec(), ..Rows::default() }).await;
    shard.save(&Rows { kept_writes: all.to_vec(), ..Rows::default() }).await;
    let mut snapshot = shard.store.snapshot().await.expect("a snapshot");

    assert_eq!(snapshot.kept_key(user(1), "a").await.expect("asks"), Some(old));
    assert_eq!(snapshot.kept_key(user(2), "a").await.expect("asks"), None, "keys are one's own");
    assert_eq!(snapshot.kept_write(user(1), WriteId::from_raw(3)).await.expect("asks"), Some(keyless));
    assert_eq!(snapshot.kept_write(user(2), WriteId::from_raw(3)).await.expect("asks"), None, "writes are one's own");
    drop(snapshot);

    let at_the_end_of_the_first = 1_000 + KeptWrite::KEPT_MS;
    assert_eq!(shard.store.kept_writes_purge(at_the_end_of_the_first).await.expect("purges"), 0);
    assert_eq!(shard.store.kept_writes_purge(at_the_end_of_the_first + 1).await.expect("purges"), 1);

    let mut snapshot = shard.store.snapshot().await.expect("a snapshot");
    assert_eq!(snapshot.kept_key(user(1), "a").await.expect("asks"), None);
    assert_eq!(snapshot.kept_key(user(1), "b").await.expect("asks"), Some(young));
}

/// Catches rows with something absent among many that are saved in one go.
async fn many_kept_writes_are_saved_with_and_without_a_key(shard: TestShard) {
    let key = |raw: u64| (!raw.is_multiple_of(3)).then(|| format!("key {raw}"));
    let all: Vec<(UserId, KeptWrite)> = (1..=700).map(|raw| (user(1), kept(raw, key(raw).as_deref(), 1_000))).collect();

    shard.save(&Rows { kept_writes: all.clone(), ..Rows::default() }).await;

    let mut snapshot = shard.store.snapshot().await.expect("a snapshot");
    for (author, expected) in all {
        assert_eq!(snapshot.kept_write(author, expected.write).await.expect("asks"), Some(expected));
    }
}

/// A dead letter's key may still be on its way to the author when an operator discards it.
async fn of_two_words_on_a_kept_write_the_later_one_counts_whichever_arrives_first(shard: TestShard) {
    let (key_alone, discarded) = (KeptWrite { rejection: None, ..kept(4, Some("c"), 1_000) }, kept(4, Some("c"), 1_001));
    for (number, order) in [[&key_alone, &discarded], [&discarded, &key_alone]].into_iter().enumerate() {
        let write = WriteId::from_raw(40 + number as u64);
        for word in order {
            let kept_writes = vec![(user(1), KeptWrite { write, ..word.clone() })];
            shard.save(&Rows { kept_writes, ..Rows::default() }).await;
        }
        let stands = shard.store.snapshot().await.expect("a snapshot").kept_write(user(1), write).await.expect("asks");
        assert_eq!(stands.and_then(|kept| kept.rejection), Some(Rejection::Gone), "{number}");
    }
}

async fn a_key_that_comes_again_finds_the_newest_write(shard: TestShard) {
    let later = KeptWrite { rejection: None, ..kept(2, Some("a"), 90_000_000) };
    shard.save(&Rows { kept_writes: vec![(user(1), kept(1, Some("a"), 1_000))], ..Rows::default() }).await;
    shard.save(&Rows { kept_writes: vec![(user(1), later.clone())], ..Rows::default() }).await;

    let found = shard.store.snapshot().await.expect("a snapshot").kept_key(user(1), "a").await.expect("asks");

    assert_eq!(found, Some(later));
}

async fn dead_letters_are_kept_whole_and_found_by_their_author(shard: TestShard) {
    let entry = Entry {
        position: Position(5),
        write: WriteId::from_raw(50),
        author: user(1),
        accepted_at: 3,
        key: None,
        command: Command::SetPostLike { post: post(1), liked: true },
    };
    let readable = DeadLetterRow {
        write: entry.write,
        lane: Lane(4),
        position: entry.position,
        entry: entry.encode().expect("encodes"),
        error: "no such table: caused by 'x'".to_owned(),
        died_at: 9,
    };
    let garbage = DeadLetterRow { write: WriteId::from_raw(60), position: Position(6), entry: vec![255; 9], ..readable.clone() };
    let mut tx = shard.store.begin().await.expect("begins");
    tx.dead_letter_insert(&readable).await.expect("inserts");
    tx.dead_letter_insert(&garbage).await.expect("inserts");
    tx.dead_letter_insert(&garbage).await.expect("inserts again");
    tx.commit().await.expect("commits");
    let mut snapshot = shard.store.snapshot().await.expect("a snapshot");

    assert_eq!(snapshot.dead_letters_page(None, 9).await.expect("a page"), [readable.clone(), garbage.clone()]);
    assert_eq!(snapshot.dead_letters_page(None, 1).await.expect("a page"), std::slice::from_ref(&readable));
    assert_eq!(snapshot.dead_letters_page(Some(readable.write), 1).await.expect("a page"), std::slice::from_ref(&garbage));
    assert_eq!(snapshot.dead_letters_page(Some(garbage.write), 1).await.expect("a page"), []);
    assert_eq!(snapshot.dead_letters_count().await.expect("a number"), 2);
    assert_eq!(snapshot.dead_letter_newest().await.expect("a write"), Some(garbage.write));
    assert_eq!(snapshot.dead_letter(readable.write).await.expect("asks"), Some(readable.clone()));
    assert_eq!(snapshot.dead_letters_of(user(1), 9).await.expect("asks"), std::slice::from_ref(&readable));
    assert_eq!(snapshot.dead_letters_of(user(2), 9).await.expect("asks"), []);
    drop(snapshot);

    let mut tx = shard.store.begin().await.expect("begins");
    tx.dead_letter_delete(garbage.write, readable.position).await.expect("finds none of that position");
    tx.dead_letter_delete(readable.write, readable.position).await.expect("deletes");
    tx.commit().await.expect("commits");
    let mut snapshot = shard.store.snapshot().await.expect("a snapshot");
    assert_eq!(snapshot.dead_letter(readable.write).await.expect("asks"), None);
    assert_eq!(snapshot.dead_letter(garbage.write).await.expect("asks"), Some(garbage.clone()));
    drop(snapshot);

    for (retried_at, left) in [(garbage.position, Some(garbage.clone())), (garbage.position.next(), None)] {
        let mut tx = shard.store.begin().await.expect("begins");
        tx.dead_letters_retried(&[(readable.write, retried_at), (garbage.write, retried_at)]).await.expect("deletes");
        tx.commit().await.expect("commits");
        let mut snapshot = shard.store.snapshot().await.expect("a snapshot");
        assert_eq!(snapshot.dead_letter(garbage.write).await.expect("asks"), left, "only where it died before");
    }
}

async fn old_sessions_are_forgotten(shard: TestShard) {
    let mut rows = Rows::default();
    let (ended_before, unused_since) = (100, 30);
    for (raw, last_used_at, ended_at) in
        [(1, 500, Some(99)), (2, 500, Some(100)), (3, 29, None), (4, 30, None), (5, 50, Some(60)), (6, 99, None)]
    {
        rows.sessions.insert(SessionId::from_raw(raw), SessionRow { last_used_at, ended_at, ..session_row(raw, 1, 1) });
    }
    shard.save(&rows).await;

    assert_eq!(shard.store.sessions_purge(ended_before, unused_since).await.expect("purges"), 3);

    let needs = Needs { sessions: rows.sessions.keys().copied().collect(), ..Needs::default() };
    let mut left: Vec<u64> = shard.load(&needs).await.sessions.keys().map(|session| session.raw()).collect();
    left.sort_unstable();
    assert_eq!(left, [2, 4, 6], "who stays away for a while comes back with the token that he has");
}

async fn a_caller_who_waits_too_long_in_line_is_told_that_the_shard_is_unavailable(shard: TestShard) {
    let options = StoreOptions { writers: 1, pool_wait: Duration::from_secs(1), ..StoreOptions::default() };
    let store = Store::open(&shard.backend, options).await.expect("opens");
    let first = store.begin().await.expect("begins");

    let refused = store.begin().await.err().expect("the writer is busy");
    first.commit().await.expect("commits");

    assert_eq!(refused.kind(), StoreErrorKind::Unavailable, "{refused:?}");
    store.begin().await.expect("the line moves on");
}

async fn a_closed_shard_is_unavailable(shard: TestShard) {
    shard.store.close().await.expect("closes");

    let write = shard.store.begin().await.err().expect("closed");
    let read = shard.store.snapshot().await.err().expect("closed");

    assert_eq!((write.kind(), read.kind()), (StoreErrorKind::Unavailable, StoreErrorKind::Unavailable));
}
