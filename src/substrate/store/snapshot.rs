//! One consistent state of a shard, to read from: what was committed when the first question was asked.

use std::collections::HashMap;

use crate::vocabulary::event::KeptWrite;
use crate::vocabulary::ids::{Position, UserId, WriteId};
use crate::vocabulary::owner::Lane;

use super::bulk::Link;
use super::error::StoreError;
use super::rows::{DeadLetterRow, EventsRow, LaneRow, Needs, Rows, SourceLane};
use super::{dead_letters, events, kept_writes, lanes, load};

/// A consistent state. It holds back the trimming of the database's log while it lives: keep it short.
pub struct Snapshot {
    pub(super) link: Link,
}

impl Snapshot {
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

    /// Newest first.
    pub async fn dead_letters_page(&mut self, before: Option<WriteId>, limit: u64) -> Result<Vec<DeadLetterRow>, StoreError> {
        dead_letters::page(&self.link, before, limit).await
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
}
