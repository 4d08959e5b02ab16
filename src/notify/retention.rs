//! How long entries are kept: a prefix of each inbox goes by age and by number. Inboxes of one shard go in, some at a time, so that
//! nobody waits long for the database.

use crate::substrate::store::{Store, StoreError};
use crate::vocabulary::Millis;
use crate::vocabulary::ids::UserId;
use crate::vocabulary::owner::Owner;

/// Inboxes that one look finds.
const INBOXES_MAX: u64 = 100;

/// What is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// How long an entry is kept, in milliseconds.
    pub age_ms: Millis,
    /// How many entries of an inbox are kept.
    pub entries: u64,
}

/// Goes through all inboxes of a shard once; answers how many gave something away.
pub async fn forget(store: &Store, retention: Retention, now: Millis) -> Result<u64, StoreError> {
    let before = now.saturating_sub(retention.age_ms);
    let mut after: Option<UserId> = None;
    let mut trimmed = 0;
    loop {
        let overfull = store.snapshot().await?.inboxes_overfull(after, before, retention.entries, INBOXES_MAX).await?;
        let Some(last) = overfull.last() else { return Ok(trimmed) };
        after = Some(*last);
        for recipient in overfull {
            let mut tx = store.begin().await?;
            tx.lanes_lock(&[Owner::Inbox(recipient).lane()]).await?;
            tx.inbox_trim(recipient, before, retention.entries).await?;
            tx.commit().await?;
            trimmed += 1;
        }
    }
}
