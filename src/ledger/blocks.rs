//! Who is in a block with whom, either way: asked for each post that is read or written to, so it is cached by user.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use moka::sync::Cache;

use crate::vocabulary::ids::UserId;
use crate::vocabulary::owner::mix;

/// The most blocks of one user that are cached; for a user with more, each pair is asked for.
pub const BLOCKS_CACHED_MAX: usize = 1_000;
/// About what a user without blocks takes, and what a block adds.
const SET_BYTES: u32 = 120;
const BLOCK_BYTES: u32 = 16;
/// Change counters; users share them by hash, which costs a needless reload at worst.
const CHANGES: usize = 1024;

/// A user's blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BlockSet {
    All(HashSet<UserId>),
    /// More than [`BLOCKS_CACHED_MAX`].
    TooMany,
}

/// The cache. A set that was loaded before a change is never kept after it.
#[derive(Debug)]
pub struct Blocks {
    sets: Cache<UserId, Arc<BlockSet>>,
    changes: Vec<AtomicU64>,
}

/// Taken before the rows are read; says later whether they are still good.
#[derive(Debug, Clone, Copy)]
pub struct Ticket(u64);

impl Blocks {
    pub fn new(bytes: u64) -> Self {
        let weigh = |_: &UserId, set: &Arc<BlockSet>| match set.as_ref() {
            BlockSet::All(users) => SET_BYTES + BLOCK_BYTES * users.len() as u32,
            BlockSet::TooMany => SET_BYTES,
        };
        let sets = Cache::builder().max_capacity(bytes).weigher(weigh).build();
        Self { sets, changes: (0..CHANGES).map(|_| AtomicU64::new(0)).collect() }
    }

    pub fn get(&self, user: UserId) -> Option<Arc<BlockSet>> {
        self.sets.get(&user)
    }

    /// Call it before the snapshot from which the set will come.
    pub fn ticket(&self, user: UserId) -> Ticket {
        Ticket(self.change(user).load(Ordering::SeqCst))
    }

    /// Keeps a loaded set, unless the user's blocks changed since the ticket.
    pub fn keep(&self, user: UserId, ticket: Ticket, set: Arc<BlockSet>) {
        self.sets.insert(user, set);
        // Looked at after the insert: a change before it is seen here, a change after it removes the set itself.
        if self.change(user).load(Ordering::SeqCst) != ticket.0 {
            self.sets.invalidate(&user);
        }
    }

    /// The user's blocks changed, and the change is committed.
    pub fn changed(&self, user: UserId) {
        self.change(user).fetch_add(1, Ordering::SeqCst);
        self.sets.invalidate(&user);
    }

    fn change(&self, user: UserId) -> &AtomicU64 {
        &self.changes[(mix(user.raw()) % CHANGES as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_that_was_read_before_a_change_is_not_kept_after_it() {
        let blocks = Blocks::new(1 << 20);
        let user = UserId::from_raw(1);
        let before = Arc::new(BlockSet::All(HashSet::new()));

        let ticket = blocks.ticket(user);
        blocks.changed(user);
        blocks.keep(user, ticket, Arc::clone(&before));

        assert_eq!(blocks.get(user), None);
        blocks.keep(user, blocks.ticket(user), Arc::clone(&before));
        assert_eq!(blocks.get(user), Some(before));
    }
}
