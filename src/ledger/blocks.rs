//! Who is in a block with whom, either way: asked for each post that is read or written to, so it is cached by user.

use std::collections::HashSet;
use std::sync::Arc;

use moka::sync::Cache;

use super::tickets::{Ticket, Tickets};
use crate::vocabulary::ids::UserId;

/// The most blocks of one user that are cached; for a user with more, each pair is asked for.
pub const BLOCKS_CACHED_MAX: usize = 1_000;
/// About what a user without blocks takes, and what a block adds.
const SET_BYTES: u32 = 120;
const BLOCK_BYTES: u32 = 16;

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
    tickets: Tickets,
}

impl Blocks {
    pub fn new(bytes: u64) -> Self {
        let weigh = |_: &UserId, set: &Arc<BlockSet>| match set.as_ref() {
            BlockSet::All(users) => SET_BYTES + BLOCK_BYTES * users.len() as u32,
            BlockSet::TooMany => SET_BYTES,
        };
        let sets = Cache::builder().max_capacity(bytes).weigher(weigh).build();
        Self { sets, tickets: Tickets::default() }
    }

    pub fn get(&self, user: UserId) -> Option<Arc<BlockSet>> {
        self.sets.get(&user)
    }

    /// Call it before the snapshot from which the set will come.
    pub fn ticket(&self, user: UserId) -> Ticket {
        self.tickets.take(user)
    }

    /// Keeps a loaded set, unless the user's blocks changed since the ticket.
    pub fn keep(&self, user: UserId, ticket: Ticket, set: Arc<BlockSet>) {
        self.sets.insert(user, set);
        if !self.tickets.is_good(user, ticket) {
            self.sets.invalidate(&user);
        }
    }

    /// The user's blocks changed, and the change is committed.
    pub fn changed(&self, user: UserId) {
        self.tickets.changed(user);
        self.sets.invalidate(&user);
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
