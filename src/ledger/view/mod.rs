//! Reading: a store page overlaid with the reader's own pending writes.
//!
//! A request for an object or a list goes in, what this reader sees comes out. Promise: overlay(snapshot k, own writes up to n) is
//! the own view of snapshot n. The pending writes are taken first, then one snapshot; a pending write is laid over only where
//! the snapshot's lane is behind it; and what is laid over is decided by the same function that will commit it.

mod cards;
mod comments;
mod lists;
mod notifications;
mod objects;
mod posts;
mod preview;
#[cfg(test)]
mod tests;
mod users;

pub use notifications::{Excerpt, NotificationView};
pub use objects::{AuthorCard, CommentView, Order, Page, PostView, PostViewer, UserRef, UserView, UserViewer, ViewError};
pub use preview::{PROVISIONAL, Preview, Seen};

use std::sync::Arc;

use tokio::runtime::Handle;

use super::apply::Transition;
use super::freshness::{self, LogMark, no_older_than, seen_so_far};
use super::hot_posts::{Found, Freshness};
use super::pending::{PendingError, PendingWrite, Shows, Topic};
use super::shard_reader::{Loaded, ReadFailed, Source, is_pending, subset};
use super::{Ledger, Shard};
use crate::substrate::store::rows::Needs;
use crate::support::faults::planted;
use crate::vocabulary::ids::{Position, PostId, UserId};
use crate::vocabulary::owner::{Owner, ShardIndex};

/// Answers reads. Cheap to clone.
#[derive(Clone)]
pub struct View {
    ledger: Arc<Ledger>,
    source: Source,
}

impl View {
    /// For readers: what everybody sees, or more, with the reader's own pending writes.
    pub fn new(ledger: Arc<Ledger>) -> Self {
        Self { ledger, source: Source::Any }
    }

    /// For decisions: the newest there is.
    pub fn of_newest(ledger: Arc<Ledger>) -> Self {
        Self { ledger, source: Source::Newest }
    }

    /// Reads on a thread that may be held up what can take milliseconds: a file is read on the thread that asks, and one that serves many
    /// clients has no time for it. `owner` says on which shard it is most at home: a disk that hangs holds up few of those threads. How fresh
    /// it must be, and was, goes with it.
    pub async fn aside<T: Send + 'static, R: Future<Output = Result<T, ViewError>>>(
        &self,
        owner: &Owner,
        runtime: &Handle,
        read: impl FnOnce() -> R + Send + 'static,
    ) -> Result<T, ViewError> {
        let place = self.shard_of(owner).place_for_page().await?;
        let (seen, there) = (seen_so_far(), runtime.clone());
        let read = move || {
            let read = there.block_on(no_older_than(seen, async move { (read().await, seen_so_far()) }));
            drop(place);
            read
        };
        let (result, seen) = runtime.spawn_blocking(read).await.map_err(|error| ViewError::Internal(Box::new(error)))?;
        seen.iter().for_each(freshness::note);
        result
    }

    /// Whether every read of a shard shows at least this. Nothing is known of shards that are not ours.
    pub fn is_seen_by_all(&self, mark: LogMark) -> bool {
        self.ledger.shards.get(usize::from(mark.shard.0)).is_none_or(|shard| shard.reader.is_seen_by_all(mark))
    }

    async fn pending(&self, viewer: Option<UserId>, topic: Topic) -> Result<Vec<PendingWrite>, ViewError> {
        match viewer {
            Some(viewer) => Ok(self.ledger.pending.of(viewer, topic, Shows::Everything).await?),
            None => Ok(Vec::new()),
        }
    }

    /// As [`View::pending`], for what shows a post and none of its comments.
    async fn pending_of_post(&self, viewer: Option<UserId>, post: PostId) -> Result<Vec<PendingWrite>, ViewError> {
        match viewer {
            Some(viewer) => Ok(self.ledger.pending.of(viewer, Topic::Post(post), Shows::PostAlone).await?),
            None => Ok(Vec::new()),
        }
    }

    fn shard_of(&self, owner: &Owner) -> &Shard {
        self.ledger.shard_of(owner)
    }

    /// As [`View::load`], by the way that is made for it where the needs are no more than what shows the post.
    async fn load_post(
        &self,
        shard: &Shard,
        viewer: Option<UserId>,
        post: PostId,
        needs: &Needs,
        marks: bool,
    ) -> Result<Loaded, ViewError> {
        if marks || !posts::is_plain(needs) {
            return self.load(shard, needs, marks).await;
        }
        let shared = shard.reader.load_post(post, viewer, self.source).await?;
        Ok(Loaded { rows: subset(&shared.rows, needs), marks: None, position: None })
    }

    /// What memory holds of a post, if that is enough for what is asked, and if readers are let in at all. A miss may have the post kept from
    /// then on.
    fn hot_post(&self, post: PostId, viewer: Option<UserId>, pending: &[PendingWrite], freshness: Freshness) -> Option<Found> {
        if !pending.iter().all(|write| posts::is_about_post(&write.entry.command)) {
            return None;
        }
        let at = self.ledger.address_of(&Owner::Post(post));
        if !self.ledger.shard(at.shard).reader.is_open() {
            return None;
        }
        let found = self.ledger.hot_posts.find(post, viewer, at, freshness);
        if found.is_some() && freshness == Freshness::Preview {
            self.ledger.shard(at.shard).reader.note_newest();
        }
        if found.is_none() && self.ledger.hot_posts.is_wanted(post) {
            self.ledger.shard(at.shard).reader.keep_hot(post);
        }
        found
    }

    async fn load(&self, shard: &Shard, needs: &Needs, marks: bool) -> Result<Loaded, ViewError> {
        let shared = shard.reader.load(needs.clone(), marks, self.source).await?;
        Ok(Loaded { rows: subset(&shared.rows, needs), marks: shared.marks.clone(), position: None })
    }
}

/// The last position among some revisions, or the start.
fn latest(positions: impl IntoIterator<Item = Position>) -> Position {
    positions.into_iter().max().unwrap_or_default()
}

/// As [`overlay`], over what memory holds of one post.
fn overlay_hot(found: Found, pending: &[PendingWrite]) -> Transition {
    let mut transition = Transition::over(found.rows);
    for write in pending.iter().filter(|write| write.entry.position > found.mark || planted("pending::overlay_applied")) {
        transition.apply(&write.entry);
    }
    transition
}

/// Applies those own writes that the snapshot's lane had not applied. All are decided on the shard that was read.
fn overlay(loaded: Loaded, at: ShardIndex, pending: &[PendingWrite]) -> Transition {
    let marks = loaded.marks;
    let mut transition = Transition::over(loaded.rows);
    for write in pending {
        if is_pending(write.entry.position, write.home, at, true, marks.as_ref()) {
            transition.apply(&write.entry);
        }
    }
    transition
}

/// A counter as it is shown. The stored one never goes below zero; with an overlay on top of a racing snapshot it still must not show so.
fn shown(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}

impl From<ReadFailed> for ViewError {
    fn from(failed: ReadFailed) -> Self {
        Self::Unavailable { shard: failed.shard.to_string() }
    }
}

impl From<PendingError> for ViewError {
    fn from(error: PendingError) -> Self {
        Self::Internal(Box::new(error))
    }
}
