//! What a walk over everything counts: each row once, under the id by which it is placed.

use crate::substrate::store::rows::{MuteRow, NameRow, Rows};
use crate::substrate::store::{AUDIT_ROWS, PLACED, PlacedRows};
use crate::vocabulary::command::{Resource, WriteKind};
use crate::vocabulary::event::KeptWrite;
use crate::vocabulary::ids::{Position, SessionId, WriteId};
use crate::vocabulary::owner::NameKey;

use super::rows::{account_row, comment, comment_row, like, post, post_row, session_row, user};
use super::{TestShard, on_both};

on_both!(
    each_row_is_counted_under_what_places_it,
    pages_go_on_where_the_last_one_ended,
    rows_of_a_comment_that_is_not_there_are_placed_by_nothing,
    a_database_says_how_large_it_is,
);

async fn placed(shard: &TestShard, table: &str) -> Vec<PlacedRows> {
    let table = PLACED.into_iter().find(|placed| placed.table == table).expect("a table");
    let mut all: Vec<PlacedRows> = Vec::new();
    loop {
        let after = all.last().map(|rows| rows.key);
        let page = shard.store.snapshot().await.expect("a snapshot").audit_placed(table, after).await.expect("a page");
        assert!(page.len() as u64 <= AUDIT_ROWS);
        if page.is_empty() {
            return all;
        }
        all.extend(page);
    }
}

fn rows(key: u64, placed_by: u64, rows: u64) -> PlacedRows {
    PlacedRows { key, placed_by: Some(placed_by), rows }
}

async fn each_row_is_counted_under_what_places_it(shard: TestShard) {
    let mut saved = Rows::default();
    saved.posts.extend([(post(1), post_row(1, 1)), (post(2), post_row(2, 1))]);
    // One taken back is a row all the same.
    saved.post_likes.extend([1, 2, 3].map(|raw| ((post(2), user(raw)), like(raw != 3, 1))));
    saved.comments.extend([(comment(11), comment_row(11, 1)), (comment(12), comment_row(12, 1))]);
    saved.comment_likes.extend([1, 2].map(|raw| ((comment(12), user(raw)), like(true, 1))));
    saved.counters.comments.insert(comment(12), 2);
    saved.accounts.insert(user(5), account_row(5, 1));
    saved.sessions.extend([7, 8].map(|raw| (SessionId::from_raw(raw), session_row(raw, 5, 1))));
    let kept = |write| KeptWrite {
        write: WriteId::from_raw(write),
        kind: WriteKind::LikeSet,
        resource: Resource::Post(post(1)),
        key: None,
        rejection: None,
        accepted_at: 1,
    };
    saved.kept_writes = vec![(user(5), kept(21)), (user(4), kept(22))];
    shard.save(&saved).await;

    assert_eq!(placed(&shard, "posts").await, [rows(1, 1, 1), rows(2, 2, 1)]);
    assert_eq!(placed(&shard, "post_likes").await, [rows(2, 2, 3)]);
    assert_eq!(placed(&shard, "comments").await, [rows(1, 1, 2)]);
    assert_eq!(placed(&shard, "comment_likes").await, [rows(12, 1, 2)]);
    assert_eq!(placed(&shard, "comment_counters").await, [rows(12, 1, 1)]);
    assert_eq!(placed(&shard, "accounts").await, [rows(5, 5, 1)]);
    assert_eq!(placed(&shard, "sessions").await, [rows(5, 5, 2)]);
    assert_eq!(placed(&shard, "kept_writes").await, [rows(21, 5, 1), rows(22, 4, 1)]);
    for table in PLACED.iter().map(|placed| placed.table).filter(|table| table.starts_with("inbox")) {
        assert_eq!(placed(&shard, table).await, [], "{table}");
    }
}

async fn pages_go_on_where_the_last_one_ended(shard: TestShard) {
    let mutes = (1..=2 * AUDIT_ROWS + 1).flat_map(|owner| [1, 2].map(|other| (user(owner), user(other))));
    let mutes = mutes.map(|key| (key, MuteRow { muting: true, position: Position(1) })).collect();
    let names = (0..=AUDIT_ROWS).map(|index| NameKey::from_row(format!("name:somebody{index}")));
    let names = names.map(|name| (name, NameRow { user: user(1), position: Position(1) })).collect();
    shard.save(&Rows { mutes, names, ..Rows::default() }).await;

    let all = placed(&shard, "mutes").await;

    assert_eq!(all, (1..=2 * AUDIT_ROWS + 1).map(|owner| rows(owner, owner, 2)).collect::<Vec<_>>());
    let mut snapshot = shard.store.snapshot().await.expect("a snapshot");
    let first = snapshot.audit_names(None).await.expect("a page");
    let second = snapshot.audit_names(first.last()).await.expect("a page");
    assert_eq!((first.len() as u64, second.len()), (AUDIT_ROWS, 1));
}

async fn rows_of_a_comment_that_is_not_there_are_placed_by_nothing(shard: TestShard) {
    let mut saved = Rows::default();
    saved.comment_likes.insert((comment(12), user(1)), like(true, 1));
    shard.save(&saved).await;

    assert_eq!(placed(&shard, "comment_likes").await, [PlacedRows { key: 12, placed_by: None, rows: 1 }]);
}

async fn a_database_says_how_large_it_is(shard: TestShard) {
    let before = shard.store.snapshot().await.expect("a snapshot").database_bytes().await.expect("a number");
    let comments = (1..=5000).map(|raw| (comment(raw), comment_row(raw, 1))).collect();
    shard.save(&Rows { comments, ..Rows::default() }).await;

    let after = shard.store.snapshot().await.expect("a snapshot").database_bytes().await.expect("a number");

    assert!(before > 0 && after > before + 100_000, "{before}, then {after}");
}
