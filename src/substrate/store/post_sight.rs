//! What shows posts to readers, many at once, in one statement: the hottest read there is.
//!
//! One statement is one snapshot by itself: it needs no transaction around it, and one trip to the database instead of six.

use sea_orm::DbErr;
use sea_orm::sea_query::{Expr, ExprTrait, SelectStatement};
use sosik_entities::{post_counters, post_likes, posts, subscriptions};

use crate::vocabulary::ids::{PostId, UserId};
use crate::vocabulary::text::PostBody;

use super::error::StoreError;
use super::line::Line;
use super::link::Link;
use super::posts::subscription_mode;
use super::rows::{LikeRow, PostCounters, PostRow, Rows, SubscriptionRow};
use super::values::{get, position, post, unsigned_or_null, user};

/// Names the statement among the texts that were built before.
pub(super) struct Sight;

/// The most posts that one statement looks for.
const SIGHTS_MAX: usize = 256;
/// The viewer of somebody who is not signed in: nobody has this id.
const NOBODY: UserId = UserId::from_raw(0);

/// The rows of posts and their counters, and of each viewer's like and subscription.
pub(super) async fn load(link: &Link, sights: &[(PostId, Option<UserId>)]) -> Result<Rows, StoreError> {
    let keys: Vec<(PostId, UserId)> = sights.iter().map(|(post, viewer)| (*post, viewer.unwrap_or(NOBODY))).collect();
    let mut rows = Rows::default();
    for line in link.ask::<Sight, _>(keys, SIGHTS_MAX, question).await? {
        take(&line, &mut rows)?;
    }
    Ok(rows)
}

fn question(mut wanted: SelectStatement) -> SelectStatement {
    let wanted_post = || Expr::col(("wanted", "column1"));
    let wanted_viewer = || Expr::col(("wanted", "column2"));
    wanted
        .expr(wanted_post())
        .expr(wanted_viewer())
        .columns(
            [posts::Column::Author, posts::Column::Body, posts::Column::Revision, posts::Column::EditedAt, posts::Column::Deleted]
                .map(|column| (posts::Entity, column)),
        )
        .columns(
            [post_counters::Column::Likes, post_counters::Column::Comments, post_counters::Column::Position]
                .map(|column| (post_counters::Entity, column)),
        )
        .columns([post_likes::Column::Liked, post_likes::Column::Position].map(|column| (post_likes::Entity, column)))
        .columns([subscriptions::Column::Mode, subscriptions::Column::Position].map(|column| (subscriptions::Entity, column)))
        .inner_join(posts::Entity, Expr::col((posts::Entity, posts::Column::Post)).eq(wanted_post()))
        .left_join(post_counters::Entity, Expr::col((post_counters::Entity, post_counters::Column::Post)).eq(wanted_post()))
        .left_join(
            post_likes::Entity,
            Expr::col((post_likes::Entity, post_likes::Column::Post))
                .eq(wanted_post())
                .and(Expr::col((post_likes::Entity, post_likes::Column::User)).eq(wanted_viewer())),
        )
        .left_join(
            subscriptions::Entity,
            Expr::col((subscriptions::Entity, subscriptions::Column::Post))
                .eq(wanted_post())
                .and(Expr::col((subscriptions::Entity, subscriptions::Column::User)).eq(wanted_viewer())),
        );
    wanted
}

/// Puts one line's rows where they belong. A post that several viewers asked for comes several times.
fn take(row: &Line, rows: &mut Rows) -> Result<(), DbErr> {
    let (key, viewer) = (post(row, 0)?, user(row, 1)?);
    if let std::collections::hash_map::Entry::Vacant(slot) = rows.posts.entry(key) {
        let (author, body) = (user(row, 2)?, PostBody::from_row(get(row, 3)?));
        let (revision, edited_at) = (position(row, 4)?, unsigned_or_null(row, 5)?);
        slot.insert(PostRow { post: key, author, body, revision, edited_at, deleted: get(row, 6)? });
        if let Some(likes) = get::<Option<i64>>(row, 7)? {
            let counters = PostCounters { likes, comments: get(row, 8)?, position: position(row, 9)? };
            rows.counters.posts.insert(key, counters);
        }
    }
    if let Some(liked) = get::<Option<bool>>(row, 10)? {
        rows.post_likes.insert((key, viewer), LikeRow { liked, position: position(row, 11)? });
    }
    if let Some(mode) = get::<Option<i64>>(row, 12)? {
        rows.subscriptions.insert((key, viewer), SubscriptionRow { mode: subscription_mode(mode)?, position: position(row, 13)? });
    }
    Ok(())
}
