//! Lists about a user: who follows whom, who has blocked whom, where he is signed in.

use sea_orm::Order;
use sea_orm::sea_query::{Expr, ExprTrait, Query, SelectStatement};
use sosik_entities::{accounts, relations, sessions};

use crate::vocabulary::Millis;
use crate::vocabulary::ids::{Position, SessionId, UserId};
use crate::vocabulary::relation::Follow;

use super::accounts::{Accounts, Sessions};
use super::bulk::Table;
use super::error::StoreError;
use super::link::Link;
use super::relations::follow;
use super::rows::{AccountRow, SessionRow};
use super::values::{number, unsigned, user};

/// The most open sessions of one user that are listed. More than a person has devices; a script may have more.
const SESSIONS_LISTED_MAX: u64 = 1000;

/// The two directions of a follow, as columns.
#[derive(Debug, Clone, Copy)]
pub(super) enum Direction {
    Followers,
    Following,
}

impl Direction {
    fn columns(self) -> [relations::Column; 2] {
        match self {
            Self::Followers => [relations::Column::FollowedSince, relations::Column::FollowedNotify],
            Self::Following => [relations::Column::FollowingSince, relations::Column::FollowingNotify],
        }
    }
}

/// Newest follow first.
pub(super) async fn follows(
    link: &Link,
    owner: UserId,
    direction: Direction,
    before: Option<Position>,
    limit: u64,
) -> Result<Vec<(UserId, Follow)>, StoreError> {
    let [since, notify] = direction.columns();
    let mut query = of_owner(owner);
    query.columns([relations::Column::Other, since, notify]).and_where(Expr::col(since).is_not_null());
    if let Some(before) = before {
        query.and_where(Expr::col(since).lt(number(before.0)));
    }
    let rows = link.rows(&query.order_by(since, Order::Desc).limit(limit).take()).await?;
    let mut found = Vec::with_capacity(rows.len());
    for row in &rows {
        if let Some(follow) = follow(row, 1)? {
            found.push((user(row, 0)?, follow));
        }
    }
    Ok(found)
}

/// Those who have blocked `owner` or whom he has blocked, at most `max` of each.
pub(super) async fn blocked_with(link: &Link, owner: UserId, max: u64) -> Result<Vec<UserId>, StoreError> {
    let mut found = Vec::new();
    // Each direction has an index of its own, which an "or" would not use; said twice, or SQLite takes the key for as good
    // and reads all pairs of the owner.
    for column in [relations::Column::Blocking, relations::Column::BlockedBy] {
        let query = of_owner(owner)
            .column(relations::Column::Other)
            .and_where(Expr::col(column))
            .and_where(Expr::col(column).eq(true))
            .limit(max)
            .take();
        for row in link.rows(&query).await? {
            found.push(user(&row, 0)?);
        }
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

fn of_owner(owner: UserId) -> SelectStatement {
    Query::select().from(relations::Entity).and_where(Expr::col(relations::Column::Owner).eq(number(owner.raw()))).take()
}

/// The sessions that have not ended, newest first.
pub(super) async fn open_sessions(link: &Link, owner: UserId) -> Result<Vec<SessionRow>, StoreError> {
    let query = Query::select()
        .columns(Sessions::COLUMNS.iter().copied())
        .from(sessions::Entity)
        .and_where(Expr::col(sessions::Column::User).eq(number(owner.raw())))
        .and_where(Expr::col(sessions::Column::EndedAt).is_null())
        .order_by(sessions::Column::Session, Order::Desc)
        .limit(SESSIONS_LISTED_MAX)
        .take();
    let rows = link.rows(&query).await?;
    rows.iter().map(|row| Ok(Sessions::read(row)?.1)).collect()
}

/// All that ended at `since` or later: each of them must be known, or its tokens would be good again.
pub(super) async fn sessions_ended_since(link: &Link, since: Millis) -> Result<Vec<(SessionId, UserId)>, StoreError> {
    let query = Query::select()
        .columns([sessions::Column::Session, sessions::Column::User])
        .from(sessions::Entity)
        .and_where(Expr::col(sessions::Column::EndedAt).gte(number(since)))
        .take();
    let rows = link.rows(&query).await?;
    rows.iter().map(|row| Ok((SessionId::from_raw(unsigned(row, 0)?), user(row, 1)?))).collect()
}

/// The accounts that strangers must wait for.
pub(super) async fn backed_off(link: &Link, now: Millis) -> Result<Vec<AccountRow>, StoreError> {
    let query = Query::select()
        .columns(Accounts::COLUMNS.iter().copied())
        .from(accounts::Entity)
        // Said twice, since the index holds only those above 0.
        .and_where(Expr::col(accounts::Column::BackedOffUntil).gt(0))
        .and_where(Expr::col(accounts::Column::BackedOffUntil).gt(number(now)))
        .take();
    let rows = link.rows(&query).await?;
    rows.iter().map(|row| Ok(Accounts::read(row)?.1)).collect()
}
