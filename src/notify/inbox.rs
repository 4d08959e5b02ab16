//! Reading an inbox: where it stands, its entries, its groups, and what its owner wants to hear of.
//!
//! A user goes in; what his own shard's primary has committed comes out, but for entries that a standby which is read has yet to replay. Writing
//! goes through the journal like all else.

use std::sync::Arc;

use super::Ground;
use crate::substrate::store::rows::Needs;
use crate::substrate::store::{FIRST_EPOCH, Snapshot, StoreError, in_time};
use crate::vocabulary::entry::{EntryState, Epoch, InboxEntry, InboxState};
use crate::vocabulary::ids::UserId;
use crate::vocabulary::owner::Owner;
use crate::vocabulary::preferences::Preferences;

/// Odd, and its bits are well mixed: no two epochs of one journal are the same.
const EPOCH_STRIDE: u64 = 0x9e37_79b9_7f4a_7c15;

/// The inboxes of all users. Cheap to clone.
#[derive(Clone)]
pub struct Inbox {
    ground: Arc<dyn Ground>,
    /// Of the inboxes of each shard.
    epochs: Arc<[Epoch]>,
}

/// What a page of an inbox shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageAsked {
    /// Entries of one group as one.
    pub grouped: bool,
    /// Only what is unread.
    pub unread: bool,
    /// Go on before this `seq`.
    pub before: Option<u64>,
    pub limit: usize,
}

/// A page, with where the inbox stood when it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboxPage {
    /// Newest first.
    pub entries: Vec<InboxEntry>,
    /// Where to go on, if more may follow.
    pub next: Option<u64>,
    pub state: InboxState,
}

impl Inbox {
    /// `journal` names the life of the data, and `epochs` counts the primaries of each shard: numbers of an inbox mean the same as long as
    /// both are the same. A new primary may lack entries that were told already, and gives their numbers again.
    pub fn new(ground: Arc<dyn Ground>, journal: uuid::Uuid, epochs: impl IntoIterator<Item = u64>) -> Self {
        let (high, low) = journal.as_u64_pair();
        let of = |epoch: u64| Epoch(high ^ low ^ (epoch - FIRST_EPOCH).wrapping_mul(EPOCH_STRIDE));
        Self { ground, epochs: epochs.into_iter().map(of).collect() }
    }

    /// The epoch of a user's inbox.
    pub fn epoch(&self, user: UserId) -> Epoch {
        self.epochs[usize::from(self.ground.place(&Owner::Inbox(user)).0)]
    }

    /// Where an inbox stands: one row.
    pub async fn state(&self, user: UserId) -> Result<InboxState, StoreError> {
        let read = async { Ok(self.shown_state(&mut self.snapshot(user).await?, user).await?.0) };
        in_time(read).await
    }

    /// Where an inbox stands as far as it is shown, and the first entry that is not.
    async fn shown_state(&self, snapshot: &mut Snapshot, user: UserId) -> Result<(InboxState, Option<u64>), StoreError> {
        let state = snapshot.inbox_state(user).await?;
        // After the question that began the snapshot.
        let unshown = self.ground.unshown(self.ground.place(&Owner::Inbox(user))).and_then(|unshown| unshown.first_of(user));
        let Some(first) = unshown.filter(|first| *first <= state.seq) else { return Ok((state, None)) };
        let last = first.saturating_sub(1);
        let hidden = snapshot.inbox_after(user, last, state.seq - last).await?;
        let unread = hidden.iter().filter(|entry| entry.state == EntryState::Unread).count() as u64;
        Ok((InboxState { seq: last, unread: state.unread.saturating_sub(unread), ..state }, Some(first)))
    }

    /// Entries after `after` in their order, withdrawn places included.
    pub async fn after(&self, user: UserId, after: u64, limit: usize) -> Result<Vec<InboxEntry>, StoreError> {
        let read = async { self.snapshot(user).await?.inbox_after(user, after, limit as u64).await };
        let mut entries = in_time(read).await?;
        if let Some(unshown) = self.ground.unshown(self.ground.place(&Owner::Inbox(user))).and_then(|unshown| unshown.first_of(user)) {
            entries.retain(|entry| entry.seq < unshown);
        }
        Ok(entries)
    }

    /// A page of entries or groups.
    pub async fn page(&self, user: UserId, asked: PageAsked) -> Result<InboxPage, StoreError> {
        in_time(self.page_of(user, asked)).await
    }

    async fn page_of(&self, user: UserId, asked: PageAsked) -> Result<InboxPage, StoreError> {
        let PageAsked { grouped, unread, before, limit } = asked;
        let mut snapshot = self.snapshot(user).await?;
        let (state, unshown) = self.shown_state(&mut snapshot, user).await?;
        // One more says whether another page follows.
        let wanted = limit as u64 + 1;
        let mut entries = if grouped {
            snapshot.inbox_groups(user, before, unshown, unread, wanted).await?
        } else {
            let before = before.into_iter().chain(unshown).min();
            snapshot.inbox_page(user, before, unread, wanted).await?
        };
        let more = entries.len() > limit;
        entries.truncate(limit);
        let next = entries.last().filter(|_| more).map(|entry| entry.seq);
        Ok(InboxPage { entries, next, state })
    }

    /// What a user wants to hear of.
    pub async fn preferences(&self, user: UserId) -> Result<Preferences, StoreError> {
        let needs = Needs { preferences: vec![user], ..Needs::default() };
        let read = async { self.snapshot(user).await?.rows_load(&needs).await };
        let mut rows = in_time(read).await?;
        Ok(rows.preferences.remove(&user).map(|row| row.preferences).unwrap_or_default())
    }

    async fn snapshot(&self, user: UserId) -> Result<Snapshot, StoreError> {
        let shard = self.ground.place(&Owner::Inbox(user));
        if !self.ground.is_readable(shard) {
            return Err(StoreError::Reopening);
        }
        self.ground.store(shard).snapshot().await
    }
}
