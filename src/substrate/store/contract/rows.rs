//! Rows: what was saved comes back, only forward, and counters are added to.

use sea_orm::Value;

use crate::substrate::store::arrays::{Columns, load_text};
use crate::substrate::store::posts::PostLikes;
use crate::substrate::store::rows::{
    AccountRow, AuthorPostRow, CommentRow, Counters, LikeRow, MuteRow, NameRow, Needs, PostCounters, PostRow, PreferencesRow, RelationRow,
    Role, Rows, SessionRow, SubscriptionRow, UserCounters,
};
use crate::substrate::store::values::get;
use crate::vocabulary::command::SubscriptionMode;
use crate::vocabulary::entry::NotificationKind;
use crate::vocabulary::ids::{CommentId, Position, PostId, SessionId, UserId};
use crate::vocabulary::owner::NameKey;
use crate::vocabulary::preferences::{Preferences, QuietHours, Ways};
use crate::vocabulary::relation::{Follow, FollowNotify, PairState};
use crate::vocabulary::text::{Bio, CommentBody, DisplayName, PostBody, Username};

use super::{TestShard, on_both};

on_both!(
    every_kind_of_row_comes_back_as_it_was_saved,
    a_row_never_goes_back_to_an_older_position,
    a_reply_marks_its_parent_without_a_new_revision,
    a_change_of_an_account_that_keeps_its_revision_is_saved,
    a_saved_account_never_changes_the_role,
    counters_are_added_to_and_their_position_only_rises,
    any_number_of_rows_is_saved_and_found,
    doubled_and_unknown_keys_are_no_harm,
    open_sessions_of_a_user_are_found,
    unknown_codes_in_a_row_stop_the_shard,
);

pub(super) fn user(raw: u64) -> UserId {
    UserId::from_raw(raw)
}

pub(super) fn post(raw: u64) -> PostId {
    PostId::from_raw(raw)
}

pub(super) fn comment(raw: u64) -> CommentId {
    CommentId::from_raw(raw)
}

pub(super) fn like(liked: bool, position: u64) -> LikeRow {
    LikeRow { liked, position: Position(position) }
}

pub(super) fn post_row(raw: u64, revision: u64) -> PostRow {
    let body = PostBody::from_row(format!("post {raw} 소식"));
    PostRow { post: post(raw), author: user(1), body, revision: Position(revision), edited_at: None, deleted: false }
}

pub(super) fn comment_row(raw: u64, revision: u64) -> CommentRow {
    CommentRow {
        comment: comment(raw),
        post: post(1),
        author: user(2),
        parent: None,
        body: CommentBody::from_row("a comment".to_owned()),
        revision: Position(revision),
        edited_at: None,
        deleted: false,
        answered: false,
    }
}

pub(super) fn account_row(raw: u64, revision: u64) -> AccountRow {
    AccountRow {
        user: user(raw),
        username: Username::from_row(format!("name{raw}")),
        display_name: DisplayName::from_row("Somebody".to_owned()),
        bio: None,
        password_hash: None,
        role: Role::User,
        revision: Position(revision),
        failed_logins: 0,
        backed_off_until: 0,
    }
}

pub(super) fn session_row(raw: u64, owner: u64, position: u64) -> SessionRow {
    SessionRow {
        session: SessionId::from_raw(raw),
        user: user(owner),
        device: "a phone".to_owned(),
        address_hash: u64::MAX - raw,
        opened_at: 1_000,
        last_used_at: 2_000,
        generation: 3,
        rotated_at: 1_500,
        ended_at: None,
        position: Position(position),
    }
}

fn name(text: &str) -> NameKey {
    NameKey::from_row(text.to_owned())
}

/// One row of each kind, with every optional value present and the largest numbers that there can be.
fn one_of_each() -> (Rows, Needs) {
    let big = i64::MAX as u64;
    let mut rows = Rows::default();
    rows.posts.insert(post(big), PostRow { edited_at: Some(5), deleted: true, ..post_row(big, big) });
    rows.post_likes.insert((post(1), user(big)), like(true, big));
    rows.subscriptions.insert((post(1), user(2)), SubscriptionRow { mode: SubscriptionMode::Muted, position: Position(3) });
    rows.comments.insert(
        comment(9),
        CommentRow { parent: Some(comment(8)), edited_at: Some(7), deleted: true, answered: true, ..comment_row(9, 4) },
    );
    rows.comment_likes.insert((comment(9), user(2)), like(false, 6));
    let state = PairState {
        following: Some(Follow { since: Position(1), notify: FollowNotify::Always }),
        followed_by: Some(Follow { since: Position(2), notify: FollowNotify::Never }),
        blocking: true,
        blocked_by: true,
    };
    rows.relations.insert((user(1), user(2)), RelationRow { state, has_followed: true, was_followed: false, position: Position(4) });
    let ended = RelationRow { state: PairState::default(), has_followed: false, was_followed: true, position: Position(4) };
    rows.relations.insert((user(1), user(3)), ended);
    rows.mutes.insert((user(1), user(2)), MuteRow { muting: true, position: Position(4) });
    rows.author_posts.insert((user(1), post(2)), AuthorPostRow { deleted: true, position: Position(4) });
    let account = AccountRow {
        bio: Some(Bio::from_row("a bio".to_owned())),
        password_hash: Some("$argon2id$".to_owned()),
        failed_logins: u32::MAX,
        backed_off_until: 99,
        ..account_row(1, 4)
    };
    rows.accounts.insert(user(1), account);
    rows.sessions.insert(SessionId::from_raw(1), SessionRow { ended_at: Some(11), generation: u32::MAX, ..session_row(1, 1, 4) });
    rows.names.insert(name("subject:https://issuer\n'; DROP TABLE names"), NameRow { user: user(1), position: Position(4) });
    let mut preferences = Preferences::default();
    preferences.set_ways(NotificationKind::Like, Ways { inbox: false, ..Ways::default() });
    preferences.quiet_hours = Some(QuietHours { from: 1320, to: 420, time_zone: "Asia/Seoul".to_owned() });
    rows.preferences.insert(user(1), PreferencesRow { preferences, position: Position(4) });
    rows.counters.posts.insert(post(1), PostCounters { likes: 1, comments: 2, position: Position(big) });
    rows.counters.comments.insert(comment(9), 3);
    rows.counters.users.insert(user(1), UserCounters { posts: 1, followers: 2, following: 3 });
    let needs = Needs {
        posts: rows.posts.keys().copied().collect(),
        post_counters: vec![post(1)],
        post_likes: rows.post_likes.keys().copied().collect(),
        subscriptions: rows.subscriptions.keys().copied().collect(),
        comments: vec![comment(9)],
        comment_counters: vec![comment(9)],
        comment_likes: rows.comment_likes.keys().copied().collect(),
        relations: rows.relations.keys().copied().collect(),
        mutes: rows.mutes.keys().copied().collect(),
        author_posts: rows.author_posts.keys().copied().collect(),
        user_counters: vec![user(1)],
        accounts: vec![user(1)],
        sessions: vec![SessionId::from_raw(1)],
        sessions_of: Vec::new(),
        names: rows.names.keys().cloned().collect(),
        preferences: vec![user(1)],
    };
    (rows, needs)
}

/// Catches two columns that were exchanged, a number cut to 32 bits, and text that ends a statement.
async fn every_kind_of_row_comes_back_as_it_was_saved(shard: TestShard) {
    let (rows, needs) = one_of_each();

    shard.save(&rows).await;

    assert_eq!(shard.load(&needs).await, rows);
    let mut tx = shard.store.begin().await.expect("begins");
    assert_eq!(tx.rows_load(&needs).await.expect("loads"), rows);
}

/// Catches an upsert without its condition.
async fn a_row_never_goes_back_to_an_older_position(shard: TestShard) {
    let key = (post(1), user(2));
    let saved = |liked, position| Rows { post_likes: [(key, like(liked, position))].into(), ..Rows::default() };
    shard.save(&saved(true, 10)).await;

    shard.save(&saved(false, 9)).await;
    shard.save(&saved(false, 10)).await;
    let unmoved = shard.load(&Needs { post_likes: vec![key], ..Needs::default() }).await;
    shard.save(&saved(false, 11)).await;
    let moved = shard.load(&Needs { post_likes: vec![key], ..Needs::default() }).await;

    assert_eq!(unmoved.post_likes[&key], like(true, 10));
    assert_eq!(moved.post_likes[&key], like(false, 11));

    let mut posts = Rows::default();
    posts.posts.insert(post(1), post_row(1, 10));
    shard.save(&posts).await;
    posts.posts.insert(post(1), PostRow { deleted: true, ..post_row(1, 9) });
    shard.save(&posts).await;
    assert!(!shard.load(&Needs { posts: vec![post(1)], ..Needs::default() }).await.posts[&post(1)].deleted);
}

async fn a_reply_marks_its_parent_without_a_new_revision(shard: TestShard) {
    let needs = Needs { comments: vec![comment(9)], ..Needs::default() };
    let saved = |row: CommentRow| Rows { comments: [(row.comment, row)].into(), ..Rows::default() };
    shard.save(&saved(comment_row(9, 4))).await;

    shard.save(&saved(CommentRow { answered: true, ..comment_row(9, 4) })).await;
    assert!(shard.load(&needs).await.comments[&comment(9)].answered);

    shard.save(&saved(CommentRow { deleted: true, ..comment_row(9, 5) })).await;
    let row = shard.load(&needs).await.comments.remove(&comment(9)).expect("the comment");
    assert!(row.deleted && row.answered, "answered is for good");
}

async fn a_change_of_an_account_that_keeps_its_revision_is_saved(shard: TestShard) {
    let saved = |row: AccountRow| Rows { accounts: [(row.user, row)].into(), ..Rows::default() };
    shard.save(&saved(account_row(1, 4))).await;

    shard.save(&saved(AccountRow { failed_logins: 7, backed_off_until: 50, ..account_row(1, 4) })).await;

    let row = shard.load(&Needs { accounts: vec![user(1)], ..Needs::default() }).await.accounts.remove(&user(1)).expect("the account");
    assert_eq!((row.failed_logins, row.backed_off_until), (7, 50));
}

/// Catches a profile edit that was decided on the row as it was before, and takes the role back.
async fn a_saved_account_never_changes_the_role(shard: TestShard) {
    let saved = |row: AccountRow| Rows { accounts: [(row.user, row)].into(), ..Rows::default() };
    let needs = Needs { accounts: vec![user(1)], ..Needs::default() };
    shard.save(&saved(AccountRow { role: Role::Admin, ..account_row(1, 4) })).await;
    assert_eq!(shard.load(&needs).await.accounts[&user(1)].role, Role::User, "nobody is born an operator");

    assert!(shard.store.account_set_role(user(1), Role::Admin).await.expect("sets"));
    shard.save(&saved(account_row(1, 5))).await;

    assert_eq!(shard.load(&needs).await.accounts[&user(1)].role, Role::Admin);
    assert!(!shard.store.account_set_role(user(2), Role::Admin).await.expect("asks"), "nobody there");
}

async fn counters_are_added_to_and_their_position_only_rises(shard: TestShard) {
    let added = |likes, comments, position| {
        let counters = Counters {
            posts: [(post(1), PostCounters { likes, comments, position: Position(position) })].into(),
            comments: [(comment(1), likes)].into(),
            users: [(user(1), UserCounters { posts: likes, followers: comments, following: 1 })].into(),
        };
        Rows { counters, ..Rows::default() }
    };
    for (likes, comments, position) in [(5, 1, 10), (-2, 0, 30), (1, 1, 20)] {
        shard.save(&added(likes, comments, position)).await;
    }

    let needs =
        Needs { post_counters: vec![post(1)], comment_counters: vec![comment(1)], user_counters: vec![user(1)], ..Needs::default() };
    let counters = shard.load(&needs).await.counters;

    assert_eq!(counters.posts[&post(1)], PostCounters { likes: 4, comments: 2, position: Position(30) });
    assert_eq!(counters.comments[&comment(1)], 4);
    assert_eq!(counters.users[&user(1)], UserCounters { posts: 4, followers: 2, following: 3 });
}

/// Catches a padding or a cut that loses or doubles the last rows: sizes around the powers of two and the statement's bounds.
async fn any_number_of_rows_is_saved_and_found(shard: TestShard) {
    for (round, count) in [1_u64, 2, 3, 7, 8, 9, 511, 512, 513, 1023, 1024, 1025, 2500].into_iter().enumerate() {
        let likes = (1..=count).map(|raw| ((post(round as u64 + 1), user(raw)), like(true, raw)));
        let rows = Rows { post_likes: likes.collect(), ..Rows::default() };
        let needs = Needs { post_likes: rows.post_likes.keys().copied().collect(), ..Needs::default() };

        shard.save(&rows).await;

        assert_eq!(shard.load(&needs).await, rows, "{count} rows");
    }
    let counters = Counters { comments: (1..=1000).map(|raw| (comment(raw), 1)).collect(), ..Counters::default() };
    let needs = Needs { comment_counters: counters.comments.keys().copied().collect(), ..Needs::default() };
    let rows = Rows { counters, ..Rows::default() };
    shard.save(&rows).await;
    assert_eq!(shard.load(&needs).await, rows, "a repeated row would have been counted twice");
}

async fn doubled_and_unknown_keys_are_no_harm(shard: TestShard) {
    let key = (post(1), user(2));
    shard.save(&Rows { post_likes: [(key, like(true, 1))].into(), ..Rows::default() }).await;

    let found = shard.load(&Needs { post_likes: vec![key, (post(2), user(1)), key, (post(1), user(1)), key], ..Needs::default() }).await;

    assert_eq!(found.post_likes.len(), 1);
    assert_eq!(shard.load(&Needs::default()).await, Rows::default());
}

async fn open_sessions_of_a_user_are_found(shard: TestShard) {
    let mut rows = Rows::default();
    for (raw, owner, ended_at) in [(1, 1, None), (2, 1, Some(5)), (3, 1, None), (4, 2, None), (5, 3, None)] {
        rows.sessions.insert(SessionId::from_raw(raw), SessionRow { ended_at, ..session_row(raw, owner, 1) });
    }
    shard.save(&rows).await;

    let found = shard.load(&Needs { sessions_of: vec![user(1), user(2), user(1), user(9)], ..Needs::default() }).await;

    let mut ids: Vec<u64> = found.sessions.keys().map(|session| session.raw()).collect();
    ids.sort_unstable();
    assert_eq!(ids, [1, 3, 4]);
}

async fn unknown_codes_in_a_row_stop_the_shard(shard: TestShard) {
    use crate::substrate::store::StoreErrorKind;

    let key = (post(1), user(2));
    let row = SubscriptionRow { mode: SubscriptionMode::Default, position: Position(1) };
    shard.save(&Rows { subscriptions: [(key, row)].into(), ..Rows::default() }).await;
    shard.store.run_on_writer("UPDATE subscriptions SET mode = 77").await.expect("plants the fault");

    let mut snapshot = shard.store.snapshot().await.expect("a snapshot");
    let refused = snapshot.rows_load(&Needs { subscriptions: vec![key], ..Needs::default() }).await.expect_err("unreadable");

    assert_eq!(refused.kind(), StoreErrorKind::Invariant, "{refused:?}");
}

/// Catches a planner that takes a new table for a small one, and reads all of it for each batch.
#[tokio::test]
async fn on_postgres_a_batch_is_looked_up_by_index_while_no_statistics_know_its_table() {
    let Some(shard) = TestShard::postgres().await else { return };
    let keys: Vec<(PostId, UserId)> = (0..1000).map(|number| (post(number / 10), user(number % 10))).collect();
    shard.save(&Rows { post_likes: keys.iter().map(|key| (*key, like(true, 1))).collect(), ..Rows::default() }).await;
    let values =
        keys.iter().flat_map(|(post, user)| [Value::from(post.raw().cast_signed()), Value::from(user.raw().cast_signed())]).collect();
    let columns = Columns::of(values, 2);
    let question = format!("EXPLAIN (COSTS OFF) {}", load_text::<PostLikes>(&columns));

    let snapshot = shard.store.snapshot().await.expect("a snapshot");
    let lines = snapshot.link.rows_of(&question, columns.into_values()).await.expect("a plan");

    let plan: Vec<String> = lines.iter().map(|line| get::<String>(line, 0).expect("a line")).collect();
    let has = |step: &str| plan.iter().any(|line| line.contains(step));
    assert!(has("Index Scan") && !has("Seq Scan on post_likes") && !has("Hash Join"), "{plan:#?}");
}
