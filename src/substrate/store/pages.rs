//! Pages of content: comments of a post, likes of a post, posts of authors. Each follows one key, in its order.

use sea_orm::Order;
use sea_orm::sea_query::{Expr, ExprTrait, Query, SelectStatement};
use sosik_entities::{author_posts, comments, post_likes, posts, subscriptions};

use crate::vocabulary::command::SubscriptionMode;
use crate::vocabulary::ids::{CommentId, DATACENTER_BITS, PostId, SEQUENCE_BITS, UserId, WORKER_BITS};

use super::bulk::Table;
use super::comments::Comments;
use super::error::StoreError;
use super::link::Link;
use super::posts::subscription_mode;
use super::rows::CommentRow;
use super::values::{get, number, post, user};

/// Which way a page of comments goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommentOrder {
    /// Oldest first.
    Ascending,
    /// Newest first.
    Descending,
}

/// Comments that are not deleted, and those that are but have ever had a reply.
pub(super) async fn comments_of_post(
    link: &Link,
    post: PostId,
    order: CommentOrder,
    after: Option<CommentId>,
    limit: u64,
) -> Result<Vec<CommentRow>, StoreError> {
    let key = Expr::col(comments::Column::Comment);
    let mut query = Query::select();
    query
        .columns(Comments::COLUMNS.iter().copied())
        .from(comments::Entity)
        .and_where(Expr::col(comments::Column::Post).eq(number(post.raw())))
        .and_where(Expr::col(comments::Column::Deleted).not().or(Expr::col(comments::Column::Answered)));
    if let Some(after) = after.map(|after| number(after.raw())) {
        query.and_where(if order == CommentOrder::Ascending { key.gt(after) } else { key.lt(after) });
    }
    let direction = if order == CommentOrder::Ascending { Order::Asc } else { Order::Desc };
    let rows = link.rows(&query.order_by(comments::Column::Comment, direction).limit(limit).take()).await?;
    rows.iter().map(|row| Ok(Comments::read(row)?.1)).collect()
}

/// Those who like a post, highest id first: the order of the key needs no index.
pub(super) async fn likes_of_post(link: &Link, post: PostId, before: Option<UserId>, limit: u64) -> Result<Vec<UserId>, StoreError> {
    let mut query = Query::select();
    query
        .column(post_likes::Column::User)
        .from(post_likes::Entity)
        .and_where(Expr::col(post_likes::Column::Post).eq(number(post.raw())))
        .and_where(Expr::col(post_likes::Column::Liked));
    if let Some(before) = before {
        query.and_where(Expr::col(post_likes::Column::User).lt(number(before.raw())));
    }
    let rows = link.rows(&query.order_by(post_likes::Column::User, Order::Desc).limit(limit).take()).await?;
    rows.iter().map(|row| Ok(user(row, 0)?)).collect()
}

/// What people asked for about a post, in the order of their ids.
pub(super) async fn subscriptions_of_post(
    link: &Link,
    post: PostId,
    after: Option<UserId>,
    limit: u64,
) -> Result<Vec<(UserId, SubscriptionMode)>, StoreError> {
    let mut query = Query::select();
    query
        .columns([subscriptions::Column::User, subscriptions::Column::Mode])
        .from(subscriptions::Entity)
        .and_where(Expr::col(subscriptions::Column::Post).eq(number(post.raw())));
    if let Some(after) = after {
        query.and_where(Expr::col(subscriptions::Column::User).gt(number(after.raw())));
    }
    let rows = link.rows(&query.order_by(subscriptions::Column::User, Order::Asc).limit(limit).take()).await?;
    rows.iter().map(|row| Ok((user(row, 0)?, subscription_mode(get(row, 1)?)?))).collect()
}

/// The most authors that one statement looks for; more make several.
const AUTHORS_MAX: usize = 8192;
/// How far back the first look for many authors goes: an hour, as a distance of ids.
const WINDOW_FIRST: u64 = (60 * 60 * 1000) << (SEQUENCE_BITS + WORKER_BITS + DATACENTER_BITS);
/// How much further each next look goes, where the ones before found too few: five looks reach back seven years.
const WINDOW_GROWTH: u64 = 16;

/// The posts of these authors, newest first.
///
/// Ids rise with time, and each author's posts are stored in their order. For many authors one look at all their posts would
/// read and sort everything they ever wrote; so it looks at the last hour, and further back only while that is too few.
pub(super) async fn posts_of_authors(
    link: &Link,
    authors: &[UserId],
    before: Option<PostId>,
    limit: u64,
) -> Result<Vec<(UserId, PostId)>, StoreError> {
    let mut authors = authors.to_vec();
    authors.sort_unstable();
    authors.dedup();
    if authors.is_empty() || limit == 0 {
        return Ok(Vec::new());
    }
    let mut top = before.map(PostId::raw);
    let mut window = WINDOW_FIRST;
    let mut floor = match authors.as_slice() {
        [_] => 0,
        _ => newest_post(link, top).await?.saturating_sub(window),
    };
    let mut found: Vec<(UserId, PostId)> = Vec::new();
    loop {
        let missing = limit - found.len() as u64;
        let mut looked = Vec::new();
        for chunk in authors.chunks(AUTHORS_MAX) {
            for row in link.rows(&author_posts_between(chunk, floor, top, missing)).await? {
                looked.push((user(&row, 0)?, post(&row, 1)?));
            }
        }
        looked.sort_unstable_by_key(|(_, post)| std::cmp::Reverse(*post));
        looked.truncate(usize::try_from(missing).unwrap_or(usize::MAX));
        found.append(&mut looked);
        if found.len() as u64 >= limit || floor == 0 {
            return Ok(found);
        }
        top = Some(floor);
        window = window.saturating_mul(WINDOW_GROWTH);
        floor = floor.saturating_sub(window);
    }
}

/// About where the newest post stands: `top` if it is given. Only the first look depends on it, not what is found.
async fn newest_post(link: &Link, top: Option<u64>) -> Result<u64, StoreError> {
    if let Some(top) = top {
        return Ok(top);
    }
    let query = Query::select().expr(Expr::col(posts::Column::Post).max()).from(posts::Entity).take();
    let rows = link.rows(&query).await?;
    let newest = rows.first().map_or(Ok(None), |row| get::<Option<i64>>(row, 0))?;
    Ok(newest.map_or(0, i64::cast_unsigned))
}

/// From `floor` on, below `top`.
fn author_posts_between(authors: &[UserId], floor: u64, top: Option<u64>, limit: u64) -> SelectStatement {
    let mut query = Query::select();
    query.columns([author_posts::Column::Author, author_posts::Column::Post]).from(author_posts::Entity);
    match authors {
        [author] => query.and_where(Expr::col(author_posts::Column::Author).eq(number(author.raw()))),
        _ => {
            let padding = authors.len().next_power_of_two() - authors.len();
            let padded = authors.iter().chain(authors.last().into_iter().cycle().take(padding));
            query.and_where(Expr::col(author_posts::Column::Author).is_in(padded.map(|author| number(author.raw()))))
        }
    };
    if floor > 0 {
        query.and_where(Expr::col(author_posts::Column::Post).gte(number(floor)));
    }
    if let Some(top) = top {
        query.and_where(Expr::col(author_posts::Column::Post).lt(number(top)));
    }
    query.and_where(Expr::col(author_posts::Column::Deleted).not()).order_by(author_posts::Column::Post, Order::Desc).limit(limit).take()
}
