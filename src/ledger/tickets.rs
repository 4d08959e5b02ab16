//! Whether what was read from a database may still be cached: a change that was committed meanwhile must not be covered by it.
//!
//! A ticket is taken before the rows are read and shown when they are kept. Users share counters by hash, which costs a needless
//! reload at worst.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::vocabulary::ids::UserId;
use crate::vocabulary::owner::mix;

/// Change counters.
const CHANGES: usize = 1024;

/// The counters of one cache.
#[derive(Debug)]
pub(super) struct Tickets(Vec<AtomicU64>);

/// Taken before the rows are read; says later whether they are still good.
#[derive(Debug, Clone, Copy)]
pub struct Ticket(u64);

impl Default for Tickets {
    fn default() -> Self {
        Self((0..CHANGES).map(|_| AtomicU64::new(0)).collect())
    }
}

impl Tickets {
    pub(super) fn take(&self, user: UserId) -> Ticket {
        Ticket(self.change(user).load(Ordering::SeqCst))
    }

    /// Whether nothing of the user's has changed since. Look after the cache was filled: a change before that is seen here, a change
    /// after it clears the cache itself.
    pub(super) fn is_good(&self, user: UserId, ticket: Ticket) -> bool {
        self.change(user).load(Ordering::SeqCst) == ticket.0
    }

    /// What belongs to the user has changed, and the change is committed. Then clear the cache.
    pub(super) fn changed(&self, user: UserId) {
        self.change(user).fetch_add(1, Ordering::SeqCst);
    }

    fn change(&self, user: UserId) -> &AtomicU64 {
        &self.0[(mix(user.raw()) % CHANGES as u64) as usize]
    }
}
