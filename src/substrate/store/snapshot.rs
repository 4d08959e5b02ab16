//! One consistent state of a shard, to read from: what was committed when the first question was asked.

use std::collections::HashMap;

use crate::vocabulary::Millis;
use crate::vocabulary::command::SubscriptionMode;
use crate::vocabulary::event::KeptWrite;
use crate::vocabulary::ids::{CommentId, Position, PostId, SessionId, UserId, WriteId};
use crate::vocabulary::owner::Lane;
use crate::vocabulary::relation::Follow;

use super::error::StoreError;
use super::link::Link;
use super::pages::CommentOrder;
use super::people::Direction;
use super::rows::{AccountRow, CommentRow, DeadLetterRow, EventsRow, LaneRow, Needs, Rows, SessionRow, SourceLane};
use super::standby::{HERE_STANDS, LogPosition, log_position_in, no_answer};
use super::{dead_letters, events, kept_writes, lanes, load, pages, people};

/// A consistent state. It holds back the trimming of the database's log while it lives: keep it short.
pub struct Snapshot {
    pub(super) link: Link,
}

impl Snapshot {
    /// Where the log of its PostgreSQL server is now: all that this snapshot holds lies before it.
    pub async fn log_position(&mut self) -> Result<LogPosition, StoreError> {
        let rows = self.link.rows_of(HERE_STANDS, Vec::new()).await?;
        log_position_in(rows.first().ok_or_else(|| no_answer(HERE_STANDS))?)
    }

    /// All lanes, in their order.
    pub async fn lanes(&mut self) -> Result<Vec<LaneRow>, StoreError> {
        lanes::read(&self.link).await
    }

    /// How far each source lane has told this shard; a lane that never told anything is absent.
    pub async fn relay_cursors(&mut self) -> Result<HashMap<SourceLane, Position>, StoreError> {
        Ok(lanes::read_cursors(&self.link).await?.into_iter().collect())
    }

    /// The rows and counters that exist of those that are needed.
    pub async fn rows_load(&mut self, needs: &Needs) -> Result<Rows, StoreError> {
        load::load(&self.link, needs).await
    }

    /// The events of a lane after `after`, in their order.
    pub async fn events_after(&mut self, lane: Lane, after: Position, rows_max: u64) -> Result<Vec<EventsRow>, StoreError> {
        events::after(&self.link, lane, after, rows_max).await
    }

    /// Oldest first.
    pub async fn dead_letters_page(&mut self, after: Option<WriteId>, limit: u64) -> Result<Vec<DeadLetterRow>, StoreError> {
        dead_letters::page(&self.link, after, limit).await
    }

    /// The latest write that is a dead letter.
    pub async fn dead_letter_newest(&mut self) -> Result<Option<WriteId>, StoreError> {
        dead_letters::newest(&self.link).await
    }

    /// How many dead letters there are.
    pub async fn dead_letters_count(&mut self) -> Result<u64, StoreError> {
        dead_letters::count(&self.link).await
    }

    pub async fn dead_letter(&mut self, write: WriteId) -> Result<Option<DeadLetterRow>, StoreError> {
        dead_letters::one(&self.link, write).await
    }

    /// In the order of their positions.
    pub async fn dead_letters_of(&mut self, author: UserId, limit: u64) -> Result<Vec<DeadLetterRow>, StoreError> {
        dead_letters::of_author(&self.link, author, limit).await
    }

    /// A write of this author that is remembered.
    pub async fn kept_write(&mut self, author: UserId, write: WriteId) -> Result<Option<KeptWrite>, StoreError> {
        kept_writes::by_write(&self.link, author, write).await
    }

    /// The write that this author sent with this key last.
    pub async fn kept_key(&mut self, author: UserId, key: &str) -> Result<Option<KeptWrite>, StoreError> {
        kept_writes::by_key(&self.link, author, key).await
    }

    /// Comments of a post after `after` in that order: those not deleted, and deleted ones that have ever had a reply.
    pub async fn comments_page(
        &mut self,
        post: PostId,
        order: CommentOrder,
        after: Option<CommentId>,
        limit: u64,
    ) -> Result<Vec<CommentRow>, StoreError> {
        pages::comments_of_post(&self.link, post, order, after, limit).await
    }

    /// Those who like a post, highest id first.
    pub async fn post_likes_page(&mut self, post: PostId, before: Option<UserId>, limit: u64) -> Result<Vec<UserId>, StoreError> {
        pages::likes_of_post(&self.link, post, before, limit).await
    }

    /// Who asked for what about a post, lowest id first.
    pub async fn subscriptions_page(
        &mut self,
        post: PostId,
        after: Option<UserId>,
        limit: u64,
    ) -> Result<Vec<(UserId, SubscriptionMode)>, StoreError> {
        pages::subscriptions_of_post(&self.link, post, after, limit).await
    }

    /// The posts of all these authors together, newest first.
    pub async fn author_posts_page(
        &mut self,
        authors: &[UserId],
        before: Option<PostId>,
        limit: u64,
    ) -> Result<Vec<(UserId, PostId)>, StoreError> {
        pages::posts_of_authors(&self.link, authors, before, limit).await
    }

    /// Who follows `owner`, newest first.
    pub async fn followers_page(
        &mut self,
        owner: UserId,
        before: Option<Position>,
        limit: u64,
    ) -> Result<Vec<(UserId, Follow)>, StoreError> {
        people::follows(&self.link, owner, Direction::Followers, before, limit).await
    }

    /// Whom `owner` follows, newest first.
    pub async fn following_page(
        &mut self,
        owner: UserId,
        before: Option<Position>,
        limit: u64,
    ) -> Result<Vec<(UserId, Follow)>, StoreError> {
        people::follows(&self.link, owner, Direction::Following, before, limit).await
    }

    /// Whom `owner` follows: the `max` newest.
    pub async fn followees(&mut self, owner: UserId, max: u64) -> Result<Vec<UserId>, StoreError> {
        let follows = people::follows(&self.link, owner, Direction::Following, None, max).await?;
        Ok(follows.into_iter().map(|(other, _)| other).collect())
    }

    /// Those who have blocked `owner` or whom he has blocked, in the order of their ids, at most `max` of each.
    pub async fn blocked_with(&mut self, owner: UserId, max: u64) -> Result<Vec<UserId>, StoreError> {
        people::blocked_with(&self.link, owner, max).await
    }

    /// The sessions of a user that have not ended, newest first.
    pub async fn sessions_list(&mut self, owner: UserId) -> Result<Vec<SessionRow>, StoreError> {
        people::open_sessions(&self.link, owner).await
    }

    /// The sessions of everybody that ended at `since` or later.
    pub async fn sessions_ended_since(&mut self, since: Millis) -> Result<Vec<(SessionId, UserId)>, StoreError> {
        people::sessions_ended_since(&self.link, since).await
    }

    /// The accounts whose strangers must wait until after `now`.
    pub async fn accounts_backed_off(&mut self, now: Millis) -> Result<Vec<AccountRow>, StoreError> {
        people::backed_off(&self.link, now).await
    }
}
