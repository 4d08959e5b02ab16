//! How far inboxes were told, and who is to be told: cursors of the sources, and the crowds around a post or a user.

use std::collections::HashMap;

use sea_orm::Order;
use sea_orm::sea_query::{Asterisk, CaseStatement, Expr, ExprTrait, OnConflict, Query, SelectStatement, UnionType};
use sosik_entities::{comments, lanes, notice_cursors, relations, subscriptions};

use crate::vocabulary::ids::{CommentId, Position, PostId, UserId};
use crate::vocabulary::owner::Lane;
use crate::vocabulary::relation::FollowNotify;

use super::error::StoreError;
use super::lanes::{carried, expect_changed};
use super::link::Link;
use super::posts::MODE_SUBSCRIBED;
use super::relations::notify_code;
use super::rows::SourceLane;
use super::snapshot::Snapshot;
use super::values::{comment, number, position, post, source_lane, stored, user};
use super::write_tx::WriteTx;

/// How far a source lane has told the inboxes of a shard: everybody up to `recipient`, by id, of what happened at `position`, and all before.
/// Where a deleted post is withdrawn, everything about its comments up to that id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct NoticeMark {
    pub position: Position,
    pub recipient: u64,
}

/// One step of a cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoticeStep {
    pub source: SourceLane,
    /// Where it must stand now.
    pub known: NoticeMark,
    pub next: NoticeMark,
}

/// All cursors in one statement, but for those that begin. It must change as many rows as there are steps.
async fn advance(link: &Link, steps: &[NoticeStep]) -> Result<(), StoreError> {
    if steps.iter().any(|step| step.next <= step.known) {
        return Err(StoreError::NotForward);
    }
    let mut moved = Vec::with_capacity(steps.len());
    for step in steps {
        if step.known != NoticeMark::default() || !begin(link, step.source, step.next).await? {
            moved.push(step);
        }
    }
    let Some(last) = moved.last() else { return Ok(()) };
    // Repeating the last one changes nothing, and keeps the number of different statements small.
    let padded = || moved.iter().chain(std::iter::repeat_n(last, moved.len().next_power_of_two() - moved.len()));
    let (mut position, mut recipient) = (CaseStatement::new(), CaseStatement::new());
    for step in padded() {
        let of_source = Expr::col(notice_cursors::Column::SourceShard)
            .eq(i64::from(step.source.shard.0))
            .and(Expr::col(notice_cursors::Column::SourceLane).eq(i64::from(step.source.lane.0)));
        position = position.case(of_source.clone(), Expr::val(number(step.next.position.0)));
        recipient = recipient.case(of_source, Expr::val(number(step.next.recipient)));
    }
    let known = padded().map(|NoticeStep { source, known, .. }| {
        (i64::from(source.shard.0), i64::from(source.lane.0), stored(known.position.0), stored(known.recipient))
    });
    let listed = Query::select().column(Asterisk).from_values(known, "known").take();
    let update = Query::update()
        .table(notice_cursors::Entity)
        .value(notice_cursors::Column::Position, position)
        .value(notice_cursors::Column::LastRecipient, recipient)
        .and_where(Expr::tuple(CURSOR_COLUMNS.map(Expr::col)).in_subquery(listed))
        .take();
    expect_changed(link, &update, moved.len() as u64).await
}

const CURSOR_COLUMNS: [notice_cursors::Column; 4] = [
    notice_cursors::Column::SourceShard,
    notice_cursors::Column::SourceLane,
    notice_cursors::Column::Position,
    notice_cursors::Column::LastRecipient,
];

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

/// Posts whose subscribers one statement looks for: SQLite joins at most 500 selects.
const POSTS_MAX: usize = 256;

/// Post and user of subscribers, in the order of their ids.
fn subscribers(post: PostId, after: Option<UserId>, limit: u64) -> SelectStatement {
    Query::select()
        .columns([subscriptions::Column::Post, subscriptions::Column::User])
        .from(subscriptions::Entity)
        .and_where(Expr::col(subscriptions::Column::Post).eq(number(post.raw())))
        .and_where(Expr::col(subscriptions::Column::User).gt(number(after.map_or(0, UserId::raw))))
        .and_where(Expr::col(subscriptions::Column::Mode).eq(MODE_SUBSCRIBED))
        .order_by(subscriptions::Column::User, Order::Asc)
        .limit(limit)
        .take()
}

/// A limit counts for a part of a union only behind a select of its own.
fn limited(post: PostId, limit: u64) -> SelectStatement {
    Query::select().column(Asterisk).from_subquery(subscribers(post, None, limit), "some").take()
}

impl WriteTx {
    /// Moves on how far sources have told the inboxes of this shard; [`StoreError::Fenced`] if one is not where it was known to be.
    pub async fn notice_cursors_advance(&mut self, steps: &[NoticeStep]) -> Result<(), StoreError> {
        advance(&self.link, steps).await
    }

    /// Everybody was told of these lanes' events up to a position: they are no longer needed for that.
    pub async fn lanes_notified(&mut self, lanes: &[(Lane, Position)]) -> Result<(), StoreError> {
        carried(&self.link, lanes::Column::Notified, lanes).await
    }
}

impl Snapshot {
    /// How far each source lane has told the inboxes of this shard; a lane that never told anything is absent.
    pub async fn notice_cursors(&mut self) -> Result<HashMap<SourceLane, NoticeMark>, StoreError> {
        let rows = self.link.rows(&Query::select().columns(CURSOR_COLUMNS).from(notice_cursors::Entity).take()).await?;
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
        let rows = self.link.rows(&subscribers(post, after, limit)).await?;
        rows.iter().map(|row| Ok(user(row, 1)?)).collect()
    }

    /// The first `limit` of those who asked to hear of these posts' threads, post by post in the order of their ids.
    pub async fn first_subscribers(&mut self, posts: &[PostId], limit: u64) -> Result<HashMap<PostId, Vec<UserId>>, StoreError> {
        let mut found: HashMap<PostId, Vec<UserId>> = posts.iter().map(|post| (*post, Vec::new())).collect();
        for chunk in posts.chunks(POSTS_MAX) {
            let Some((first, rest)) = chunk.split_first() else { continue };
            // Each is limited for itself, so that one with a million subscribers is not read to its end. The last is repeated up to a
            // power of two with room for nobody, to keep the number of different statements small.
            let repeated = std::iter::repeat_n((first, 0), chunk.len().next_power_of_two() - chunk.len());
            let mut query = limited(*first, limit);
            for (post, limit) in rest.iter().map(|post| (post, limit)).chain(repeated) {
                query.union(UnionType::All, limited(*post, limit));
            }
            for row in self.link.rows(&query).await? {
                found.entry(post(&row, 0)?).or_default().push(user(&row, 1)?);
            }
        }
        Ok(found)
    }

    /// Comments of a post that are not deleted, after `after` in the order of their ids.
    pub async fn comments_by_id(&mut self, post: PostId, after: Option<CommentId>, limit: u64) -> Result<Vec<CommentId>, StoreError> {
        let query = Query::select()
            .column(comments::Column::Comment)
            .from(comments::Entity)
            .and_where(Expr::col(comments::Column::Post).eq(number(post.raw())))
            .and_where(Expr::col(comments::Column::Comment).gt(after.map_or(-1, |after| after.raw().cast_signed())))
            .and_where(Expr::col(comments::Column::Deleted).not())
            .order_by(comments::Column::Comment, Order::Asc)
            .limit(limit)
            .take();
        self.link.rows(&query).await?.iter().map(|row| Ok(comment(row, 0)?)).collect()
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
