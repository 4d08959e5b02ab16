//! Pages at their edges: nothing there, exactly as many as asked, a cursor in the middle, tombstones.

use crate::substrate::store::CommentOrder;
use crate::substrate::store::rows::{AccountRow, AuthorPostRow, CommentRow, RelationRow, Rows, SessionRow};
use crate::vocabulary::ids::{IdParts, Position, PostId, SessionId, UserId};
use crate::vocabulary::relation::{Follow, FollowNotify, PairState};

use super::rows::{account_row, comment, comment_row, like, post, post_row, session_row, user};
use super::{TestShard, on_both};

on_both!(
    comments_come_in_both_orders_and_go_on_after_a_cursor,
    deleted_comments_show_only_if_they_were_answered,
    likes_are_listed_by_user_without_those_taken_back,
    the_posts_of_one_author_are_listed_newest_first,
    the_posts_of_many_authors_are_merged_however_far_apart_they_lie,
    the_posts_of_five_thousand_authors_are_merged,
    follows_are_listed_newest_first_in_both_directions,
    blocks_count_in_either_direction,
    open_sessions_are_listed_and_ended_ones_are_known,
    accounts_are_backed_off_until_their_time,
);

async fn comments_come_in_both_orders_and_go_on_after_a_cursor(shard: TestShard) {
    let mut rows = Rows::default();
    for raw in 1..=5 {
        rows.comments.insert(comment(raw), comment_row(raw, raw));
    }
    rows.comments.insert(comment(6), CommentRow { post: post(2), ..comment_row(6, 6) });
    shard.save(&rows).await;
    let mut snapshot = shard.store.snapshot().await.expect("a snapshot");
    let mut page = async |order, after: Option<u64>, limit| -> Vec<u64> {
        let page = snapshot.comments_page(post(1), order, after.map(comment), limit).await.expect("a page");
        page.into_iter().map(|row| row.comment.raw()).collect()
    };

    assert_eq!(page(CommentOrder::Ascending, None, 5).await, [1, 2, 3, 4, 5]);
    assert_eq!(page(CommentOrder::Ascending, None, 2).await, [1, 2]);
    assert_eq!(page(CommentOrder::Ascending, Some(2), 2).await, [3, 4]);
    assert_eq!(page(CommentOrder::Ascending, Some(5), 2).await, [0; 0]);
    assert_eq!(page(CommentOrder::Descending, None, 2).await, [5, 4]);
    assert_eq!(page(CommentOrder::Descending, Some(2), 9).await, [1]);
    assert!(snapshot.comments_page(post(3), CommentOrder::Ascending, None, 9).await.expect("a page").is_empty());
}

/// Catches a page that hides what has answers, or shows what is gone.
async fn deleted_comments_show_only_if_they_were_answered(shard: TestShard) {
    let mut rows = Rows::default();
    for (raw, deleted, answered) in [(1, false, false), (2, true, false), (3, true, true), (4, false, true)] {
        rows.comments.insert(comment(raw), CommentRow { deleted, answered, ..comment_row(raw, raw) });
    }
    shard.save(&rows).await;

    let mut snapshot = shard.store.snapshot().await.expect("a snapshot");
    let page = snapshot.comments_page(post(1), CommentOrder::Ascending, None, 3).await.expect("a page");

    assert_eq!(page.iter().map(|row| (row.comment.raw(), row.deleted)).collect::<Vec<_>>(), [(1, false), (3, true), (4, false)]);
}

async fn likes_are_listed_by_user_without_those_taken_back(shard: TestShard) {
    let likes = (1..=6).map(|raw| ((post(1), user(raw)), like(raw != 4, raw)));
    shard.save(&Rows { post_likes: likes.chain([((post(2), user(9)), like(true, 9))]).collect(), ..Rows::default() }).await;
    let mut snapshot = shard.store.snapshot().await.expect("a snapshot");
    let mut page = async |before: Option<u64>, limit| -> Vec<u64> {
        let page = snapshot.post_likes_page(post(1), before.map(user), limit).await.expect("a page");
        page.into_iter().map(UserId::raw).collect()
    };

    assert_eq!(page(None, 5).await, [6, 5, 3, 2, 1]);
    assert_eq!(page(None, 3).await, [6, 5, 3]);
    assert_eq!(page(Some(3), 3).await, [2, 1]);
    assert_eq!(page(Some(1), 3).await, [0; 0]);
}

fn authored(posts: impl IntoIterator<Item = (u64, PostId, bool)>) -> Rows {
    let rows = posts.into_iter().map(|(author, post, deleted)| ((user(author), post), AuthorPostRow { deleted, position: Position(1) }));
    Rows { author_posts: rows.collect(), ..Rows::default() }
}

/// A post that was made so many hours after the beginning of ids.
fn post_at(hours: u64, sequence: u16) -> PostId {
    let timestamp_ms = crate::vocabulary::ids::ID_EPOCH_MS + hours * 3_600_000;
    PostId::from_raw(IdParts { timestamp_ms, datacenter: 0, worker: 1, sequence }.raw())
}

async fn the_posts_of_one_author_are_listed_newest_first(shard: TestShard) {
    shard.save(&authored((1..=5).map(|raw| (1, post(raw), raw == 3)).chain([(2, post(9), false)]))).await;
    let mut snapshot = shard.store.snapshot().await.expect("a snapshot");
    let mut page = async |author, before: Option<u64>, limit| -> Vec<u64> {
        let page = snapshot.author_posts_page(&[user(author)], before.map(post), limit).await.expect("a page");
        page.into_iter().map(|(_, post)| post.raw()).collect()
    };

    assert_eq!(page(1, None, 4).await, [5, 4, 2, 1]);
    assert_eq!(page(1, None, 2).await, [5, 4]);
    assert_eq!(page(1, Some(4), 2).await, [2, 1]);
    assert_eq!(page(1, Some(1), 2).await, [0; 0]);
    assert_eq!(page(3, None, 2).await, [0; 0]);
}

/// Catches a window that ends too early, or leaves out the id on its border.
async fn the_posts_of_many_authors_are_merged_however_far_apart_they_lie(shard: TestShard) {
    // Hours before the newest post: within the first window, on its border, and years back.
    let ages = [0, 1, 2, 16, 17, 18, 300, 5_000, 60_000];
    let newest = 70_000;
    let posts: Vec<(u64, PostId, bool)> =
        ages.iter().enumerate().map(|(index, age)| (1 + index as u64 % 3, post_at(newest - age, index as u16), age == &17)).collect();
    let mut rows = authored(posts.clone());
    // The shard's own newest post says where the first look begins.
    let anchor = post_at(newest, 0);
    rows.posts.insert(anchor, crate::substrate::store::rows::PostRow { post: anchor, ..post_row(1, 1) });
    rows.author_posts.insert((user(7), post_at(newest, 77)), AuthorPostRow { deleted: false, position: Position(1) });
    shard.save(&rows).await;
    let expected: Vec<(UserId, PostId)> =
        posts.iter().filter(|(_, _, deleted)| !deleted).map(|(author, post, _)| (user(*author), *post)).collect();
    let authors = [user(3), user(1), user(2), user(1), user(99)];

    let mut snapshot = shard.store.snapshot().await.expect("a snapshot");
    let all = snapshot.author_posts_page(&authors, None, 100).await.expect("a page");
    let mut paged = Vec::new();
    while let Some(page) = Some(snapshot.author_posts_page(&authors, paged.last().map(|(_, post)| *post), 2).await.expect("a page"))
        .filter(|page| !page.is_empty())
    {
        assert!(page.len() <= 2);
        paged.extend(page);
    }

    assert_eq!(all, expected);
    assert_eq!(paged, expected);
    assert!(snapshot.author_posts_page(&[], None, 2).await.expect("a page").is_empty());
}

async fn the_posts_of_five_thousand_authors_are_merged(shard: TestShard) {
    let posts = (1..=5000).map(|raw| (raw, post_at(10 + raw, raw as u16 & 0xfff), false));
    shard.save(&authored(posts)).await;
    let authors: Vec<UserId> = (1..=5000).map(user).collect();

    let mut snapshot = shard.store.snapshot().await.expect("a snapshot");
    let page = snapshot.author_posts_page(&authors, Some(post_at(4_999, 0)), 3).await.expect("a page");

    assert_eq!(page.iter().map(|(author, _)| author.raw()).collect::<Vec<_>>(), [4988, 4987, 4986]);
}

fn pair(following: Option<u64>, followed_by: Option<u64>, position: u64) -> RelationRow {
    let follow = |since: u64| Follow { since: Position(since), notify: FollowNotify::Never };
    let state = PairState { following: following.map(follow), followed_by: followed_by.map(follow), ..PairState::default() };
    RelationRow { state, has_followed: following.is_some(), was_followed: followed_by.is_some(), position: Position(position) }
}

async fn follows_are_listed_newest_first_in_both_directions(shard: TestShard) {
    let pairs =
        [(2, pair(Some(30), None, 30)), (3, pair(Some(10), Some(40), 40)), (4, pair(None, Some(20), 20)), (5, pair(None, None, 50))];
    let mut rows = Rows::default();
    rows.relations.extend(pairs.map(|(other, row)| ((user(1), user(other)), row)));
    rows.relations.insert((user(2), user(1)), pair(None, Some(30), 30));
    shard.save(&rows).await;
    let mut snapshot = shard.store.snapshot().await.expect("a snapshot");
    let raw = |page: Vec<(UserId, Follow)>| page.into_iter().map(|(other, follow)| (other.raw(), follow.since.0)).collect::<Vec<_>>();

    assert_eq!(raw(snapshot.following_page(user(1), None, 9).await.expect("a page")), [(2, 30), (3, 10)]);
    assert_eq!(raw(snapshot.following_page(user(1), Some(Position(30)), 9).await.expect("a page")), [(3, 10)]);
    assert_eq!(raw(snapshot.followers_page(user(1), None, 1).await.expect("a page")), [(3, 40)]);
    assert_eq!(raw(snapshot.followers_page(user(1), Some(Position(40)), 1).await.expect("a page")), [(4, 20)]);
    assert_eq!(raw(snapshot.followers_page(user(1), Some(Position(20)), 1).await.expect("a page")), []);
    assert_eq!(snapshot.followees(user(1), 1).await.expect("followees"), [user(2)]);
    assert_eq!(snapshot.followees(user(1), 5).await.expect("followees"), [user(2), user(3)]);
    assert_eq!(snapshot.followees(user(8), 5).await.expect("followees"), []);
}

async fn blocks_count_in_either_direction(shard: TestShard) {
    let mut rows = Rows::default();
    for (other, blocking, blocked_by) in [(2, true, false), (3, false, true), (4, true, true), (5, false, false)] {
        let state = PairState { blocking, blocked_by, ..PairState::default() };
        let row = RelationRow { state, has_followed: false, was_followed: false, position: Position(1) };
        rows.relations.insert((user(1), user(other)), row);
    }
    shard.save(&rows).await;

    let mut snapshot = shard.store.snapshot().await.expect("a snapshot");

    assert_eq!(snapshot.blocked_with(user(1), 100).await.expect("blocks"), [user(2), user(3), user(4)]);
    assert_eq!(snapshot.blocked_with(user(2), 100).await.expect("blocks"), []);
}

async fn open_sessions_are_listed_and_ended_ones_are_known(shard: TestShard) {
    let mut rows = Rows::default();
    for (raw, owner, ended_at) in [(1, 1, None), (2, 1, Some(50)), (3, 1, None), (4, 2, Some(60)), (5, 2, Some(49))] {
        rows.sessions.insert(SessionId::from_raw(raw), SessionRow { ended_at, ..session_row(raw, owner, 1) });
    }
    shard.save(&rows).await;

    let mut snapshot = shard.store.snapshot().await.expect("a snapshot");
    let listed = snapshot.sessions_list(user(1)).await.expect("sessions");
    let mut ended = snapshot.sessions_ended_since(50).await.expect("sessions");
    ended.sort_unstable();

    assert_eq!(listed.iter().map(|row| row.session.raw()).collect::<Vec<_>>(), [3, 1]);
    assert_eq!(ended, [(SessionId::from_raw(2), user(1)), (SessionId::from_raw(4), user(2))]);
}

async fn accounts_are_backed_off_until_their_time(shard: TestShard) {
    let mut rows = Rows::default();
    for (raw, backed_off_until) in [(1, 0), (2, 100), (3, 101)] {
        rows.accounts.insert(user(raw), AccountRow { backed_off_until, failed_logins: 9, ..account_row(raw, 1) });
    }
    shard.save(&rows).await;

    let found = shard.store.snapshot().await.expect("a snapshot").accounts_backed_off(100).await.expect("accounts");

    assert_eq!(found.iter().map(|row| (row.user.raw(), row.failed_logins)).collect::<Vec<_>>(), [(3, 9)]);
}
