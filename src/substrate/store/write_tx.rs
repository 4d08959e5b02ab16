//! One transaction that writes: all of it is kept, or nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::vocabulary::ids::{Position, WriteId};
use crate::vocabulary::owner::Lane;

use super::accounts::{Accounts, Names, Sessions};
use super::comments::{CommentCounts, CommentLikes, Comments};
use super::error::{StoreError, StoreErrorKind};
use super::inbox::PreferencesTable;
use super::lanes::{self, LaneMove};
use super::link::Link;
use super::posts::{PostCounts, PostLikes, Posts, Subscriptions};
use super::relations::{AuthorPosts, Mutes, Relations, UserCounts};
use super::rows::{DeadLetterRow, EventsRow, Needs, Rows, SourceLane};
use super::tenure::check_epoch;
use super::{dead_letters, events, kept_writes, load};

/// A transaction that writes. Dropped without [`WriteTx::commit`], nothing of it is kept.
pub struct WriteTx {
    pub(super) link: Link,
    /// Its database carries the expected epoch.
    pub(super) is_checked: bool,
    /// Whether its database gets no further transaction that writes.
    pub(super) stopped: Arc<AtomicBool>,
}

impl WriteTx {
    /// Moves lanes on, each from where it is known to stand; [`StoreError::Fenced`] if one stands elsewhere, and then the
    /// transaction is only good for being dropped. The first thing that a batch does.
    pub async fn lanes_advance(&mut self, moves: &[LaneMove]) -> Result<(), StoreError> {
        lanes::advance(&self.link, moves).await?;
        self.is_checked = !moves.is_empty();
        Ok(())
    }

    /// Holds these lanes until the transaction ends, without moving them.
    pub async fn lanes_lock(&mut self, lanes: &[Lane]) -> Result<(), StoreError> {
        lanes::lock(&self.link, lanes).await
    }

    /// The relays of these lanes have reached their owners up to a position: their events up to there are no longer needed for that.
    pub async fn lanes_relayed(&mut self, lanes: &[(Lane, Position)]) -> Result<(), StoreError> {
        lanes::carried(&self.link, sosik_entities::lanes::Column::Relayed, lanes).await
    }

    /// Moves on how far `source` has told this shard; [`StoreError::Fenced`] if it has not told as far as `known`, or further.
    pub async fn relay_cursor_advance(&mut self, source: SourceLane, known: Position, next: Position) -> Result<(), StoreError> {
        lanes::cursor_advance(&self.link, source, known, next).await
    }

    /// The rows that exist of those that are needed, as this transaction sees them.
    pub async fn rows_load(&mut self, needs: &Needs) -> Result<Rows, StoreError> {
        load::load(&self.link, needs).await
    }

    /// Inserts rows or replaces them where the stored position is lower, and adds to counters.
    pub async fn rows_save(&mut self, rows: &Rows) -> Result<(), StoreError> {
        let link = &self.link;
        link.save::<Posts>(rows.posts.iter().collect()).await?;
        link.save::<PostLikes>(rows.post_likes.iter().collect()).await?;
        link.save::<Subscriptions>(rows.subscriptions.iter().collect()).await?;
        link.save::<Comments>(rows.comments.iter().collect()).await?;
        link.save::<CommentLikes>(rows.comment_likes.iter().collect()).await?;
        link.save::<Relations>(rows.relations.iter().collect()).await?;
        link.save::<Mutes>(rows.mutes.iter().collect()).await?;
        link.save::<AuthorPosts>(rows.author_posts.iter().collect()).await?;
        link.save::<Accounts>(rows.accounts.iter().collect()).await?;
        link.save::<Sessions>(rows.sessions.iter().collect()).await?;
        link.save::<Names>(rows.names.iter().collect()).await?;
        link.save::<PreferencesTable>(rows.preferences.iter().collect()).await?;
        fail::fail_point!("apply::between_rows_and_counters");
        link.save::<PostCounts>(rows.counters.posts.iter().collect()).await?;
        link.save::<CommentCounts>(rows.counters.comments.iter().collect()).await?;
        link.save::<UserCounts>(rows.counters.users.iter().collect()).await?;
        kept_writes::save(link, &rows.kept_writes).await
    }

    /// What the batch did, at most one row a lane and position.
    pub async fn events_insert(&mut self, rows: &[EventsRow]) -> Result<(), StoreError> {
        events::insert(&self.link, rows).await
    }

    pub async fn dead_letter_insert(&mut self, row: &DeadLetterRow) -> Result<(), StoreError> {
        dead_letters::insert(&self.link, row).await
    }

    /// Takes away the letter of a write that died at this position, and no later one.
    pub async fn dead_letter_delete(&mut self, write: WriteId, position: Position) -> Result<(), StoreError> {
        dead_letters::delete(&self.link, write, position).await
    }

    /// These writes take effect at these positions: takes away the letters of those that died before.
    pub async fn dead_letters_retried(&mut self, retried: &[(WriteId, Position)]) -> Result<(), StoreError> {
        dead_letters::delete_retried(&self.link, retried).await
    }

    /// After `Ok` it is durable. After an error it may be or not: the lanes say.
    pub async fn commit(self) -> Result<(), StoreError> {
        fail::fail_point!("store::commit");
        #[cfg(feature = "faults")]
        crate::support::faults::slow_commit().await;
        if !self.is_checked {
            check_epoch(&self.link).await?;
        }
        if let Err(error) = self.link.commit().await {
            // A second try could succeed without anything being durable.
            if error.kind() == StoreErrorKind::Invariant {
                self.stopped.store(true, Ordering::Relaxed);
            }
            return Err(error);
        }
        fail::fail_point!("store::committed");
        Ok(())
    }
}
