//! How far inboxes were told, and who is to be told: cursors of the sources, and the crowds around a post or a user.

use std::collections::HashMap;

use sea_orm::Order;
use sea_orm::sea_query::{Expr, ExprTrait, OnConflict, Query};
use sosik_entities::{comments, lanes, notice_cursors, relations, subscriptions};

use crate::vocabulary::ids::{CommentId, Position, PostId, UserId};
use crate::vocabulary::owner::Lane;
use crate::vocabulary::relation::FollowNotify;

use super::bulk::Link;
use super::error::StoreError;
use super::lanes::{expect_changed, trim_events};
use super::posts::MODE_SUBSCRIBED;
use super::relations::notify_code;
use super::rows::SourceLane;
use super::snapshot::Snapshot;
use super::values::{number, position, source_lane, user};
use super::write_tx::WriteTx;

/// How far a source lane has told the inboxes of a shard: everybody up to `recipient`, by id, of what happened at `position`, and all before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct NoticeMark {
    pub position: Position,
    pub recipient: u64,
}

async fn advance(link: &Link, source: SourceLane, known: NoticeMark, next: NoticeMark) -> Result<(), StoreError> {
    if next <= known {
        return Err(StoreError::NotForward);
    }
    if known == NoticeMark::default() && begin(link, source, next).await? {
        return Ok(());
    }
    let update = Query::update()
        .table(notice_cursors::Entity)
        .value(notice_cursors::Column::Position, number(next.position.0))
        .value(notice_cursors::Column::LastRecipient, number(next.recipient))
        .and_where(Expr::col(notice_cursors::Column::SourceShard).eq(i64::from(source.shard.0)))
        .and_where(Expr::col(notice_cursors::Column::SourceLane).eq(i64::from(source.lane.0)))
        .and_where(Expr::col(notice_cursors::Column::Position).eq(number(known.position.0)))
        .and_where(Expr::col(notice_cursors::Column::LastRecipient).eq(number(known.recipient)))
        .take();
    expect_changed(link, &update, 1).await
}

/// Whether there was no cursor yet.
async fn begin(link: &Link, source: SourceLane, next: NoticeMark) -> Result<bool, StoreError> {
    let key = [notice_cursors::Column::SourceShard, notice_cursors::Column::SourceLane];
    let insert = Query::insert()
        .into_table(notice_cursors::Entity)
        .columns([key[0], key[1], notice_cursors::Column::Position, notice_cursors::Column::LastRecipient])
        .values_panic([
            i64::from(source.shard.0).into(),
            i64::from(source.lane.0).into(),
            Expr::val(number(next.position.0)),
            Expr::val(number(next.recipient)),
        ])
        .on_conflict(OnConflict::columns(key).do_nothing().to_owned())
        .take();
    Ok(link.execute(&insert).await? == 1)
}

impl WriteTx {
    /// Moves on how far `source` has told the inboxes of this shard; [`StoreError::Fenced`] if it is not where it was known to be.
    pub async fn notice_cursor_advance(&mut self, source: SourceLane, known: NoticeMark, next: NoticeMark) -> Result<(), StoreError> {
        advance(&self.link, source, known, next).await
    }

    /// Everybody was told of this lane's events up to `through`: they are no longer needed for that.
    pub async fn lane_notified(&mut self, lane: Lane, through: Position) -> Result<(), StoreError> {
        let update = Query::update()
            .table(lanes::Entity)
            .value(lanes::Column::Notified, number(through.0))
            .and_where(Expr::col(lanes::Column::Lane).eq(i64::from(lane.0)))
            .and_where(Expr::col(lanes::Column::Notified).lt(number(through.0)))
            .take();
        self.link.execute(&update).await?;
        trim_events(&self.link, lane).await
    }
}

impl Snapshot {
    /// How far each source lane has told the inboxes of this shard; a lane that never told anything is absent.
    pub async fn notice_cursors(&mut self) -> Result<HashMap<SourceLane, NoticeMark>, StoreError> {
        let columns = [
            notice_cursors::Column::SourceShard,
            notice_cursors::Column::SourceLane,
            notice_cursors::Column::Position,
            notice_cursors::Column::LastRecipient,
        ];
        let rows = self.link.rows(&Query::select().columns(columns).from(notice_cursors::Entity).take()).await?;
        rows.iter()
            .map(|row| {
                let recipient = user(row, 3)?.raw();
                Ok((source_lane(row, 0)?, NoticeMark { position: position(row, 2)?, recipient }))
            })
            .collect()
    }

    /// Followers of `owner` after `after`, in the order of their ids: those who want to hear of his posts in one of these ways.
    pub async fn followers_by_id(
        &mut self,
        owner: UserId,
        wishes: &[FollowNotify],
        after: Option<UserId>,
        limit: u64,
    ) -> Result<Vec<UserId>, StoreError> {
        let query = Query::select()
            .column(relations::Column::Other)
            .from(relations::Entity)
            .and_where(Expr::col(relations::Column::Owner).eq(number(owner.raw())))
            .and_where(Expr::col(relations::Column::Other).gt(number(after.map_or(0, UserId::raw))))
            .and_where(Expr::col(relations::Column::FollowedSince).is_not_null())
            .and_where(Expr::col(relations::Column::FollowedNotify).is_in(wishes.iter().map(|wish| notify_code(*wish))))
            .order_by(relations::Column::Other, Order::Asc)
            .limit(limit)
            .take();
        self.link.rows(&query).await?.iter().map(|row| Ok(user(row, 0)?)).collect()
    }

    /// Those who asked to hear of a post's thread, after `after`, in the order of their ids.
    pub async fn subscribers_by_id(&mut self, post: PostId, after: Option<UserId>, limit: u64) -> Result<Vec<UserId>, StoreError> {
        let query = Query::select()
            .column(subscriptions::Column::User)
            .from(subscriptions::Entity)
            .and_where(Expr::col(subscriptions::Column::Post).eq(number(post.raw())))
            .and_where(Expr::col(subscriptions::Column::User).gt(number(after.map_or(0, UserId::raw))))
            .and_where(Expr::col(subscriptions::Column::Mode).eq(MODE_SUBSCRIBED))
            .order_by(subscriptions::Column::User, Order::Asc)
            .limit(limit)
            .take();
        self.link.rows(&query).await?.iter().map(|row| Ok(user(row, 0)?)).collect()
    }

    /// Who wrote the last comments of a post before `before`, newest first, somebody who wrote several as often.
    pub async fn commenters(&mut self, post: PostId, before: CommentId, limit: u64) -> Result<Vec<UserId>, StoreError> {
        let query = Query::select()
            .column(comments::Column::Author)
            .from(comments::Entity)
            .and_where(Expr::col(comments::Column::Post).eq(number(post.raw())))
            .and_where(Expr::col(comments::Column::Comment).lt(number(before.raw())))
            .and_where(Expr::col(comments::Column::Deleted).not())
            .order_by(comments::Column::Comment, Order::Desc)
            .limit(limit)
            .take();
        self.link.rows(&query).await?.iter().map(|row| Ok(user(row, 0)?)).collect()
    }
}
