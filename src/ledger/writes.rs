//! The state of each write, from its acceptance until a minute after it became visible, and who waits for it.
//!
//! Waiting writes cost a place in the journal each; their rest is read from the journal when somebody asks. Settled ones stand in a ring
//! that is bounded by count and by time.

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;

use tokio::sync::oneshot;

use crate::substrate::journal::Locator;
use crate::support::lock::lock;
use crate::support::room::give_back;
use crate::vocabulary::Millis;
use crate::vocabulary::command::Entry;
use crate::vocabulary::ids::{Position, WriteId};
use crate::vocabulary::owner::ShardIndex;
pub use crate::vocabulary::progress::{Progress, Settled};

/// How long a settled write can be asked for, in milliseconds.
const SETTLED_KEPT_MS: Millis = 60_000;
/// The most settled writes that are kept, about 150 bytes each: a minute of 5 000 writes a second. A busier server forgets sooner.
const SETTLED_MAX: usize = 300_000;
const STRIPES: usize = 32;

/// Where a write that waits can be read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    pub position: Position,
    pub locator: Locator,
    /// The shard that decides it, whose parking segments may have it.
    pub shard: ShardIndex,
}

/// What is known of a write here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// It waits; the journal has the rest.
    Waiting(Waiting),
    Settled(Settled),
}

/// Somebody who waits, and what for.
#[derive(Debug)]
struct Waiter {
    until_visible: bool,
    reply: oneshot::Sender<Progress>,
}

#[derive(Debug, Default)]
struct Stripe {
    waiting: HashMap<WriteId, Waiting>,
    settled: HashMap<WriteId, Settled>,
    /// Settled writes in the order in which they became final, for forgetting them.
    order: VecDeque<(Millis, WriteId)>,
    waiters: HashMap<WriteId, Vec<Waiter>>,
}

/// All writes that are on their way or just arrived. Shared by all threads.
#[derive(Debug)]
pub struct Writes {
    stripes: Vec<Mutex<Stripe>>,
}

impl Default for Writes {
    fn default() -> Self {
        Self { stripes: (0..STRIPES).map(|_| Mutex::default()).collect() }
    }
}

impl Writes {
    /// A write is durable and waits.
    pub fn accepted(&self, write: WriteId, waiting: Waiting) {
        lock(self.stripe(write)).waiting.insert(write, waiting);
    }

    /// Promises word of a write: once it is decided, or once it is visible (or rejected). Ask before the write is appended.
    pub fn watch(&self, write: WriteId, until_visible: bool) -> oneshot::Receiver<Progress> {
        let (reply, word) = oneshot::channel();
        lock(self.stripe(write)).waiters.entry(write).or_default().push(Waiter { until_visible, reply });
        word
    }

    /// As [`Writes::watch`], for a write that may have settled already: then word is there at once.
    pub fn watch_known(&self, write: WriteId, until_visible: bool) -> oneshot::Receiver<Progress> {
        let (reply, word) = oneshot::channel();
        let mut stripe = lock(self.stripe(write));
        match stripe.settled.get(&write).map(|settled| settled.progress) {
            Some(progress) if !until_visible || is_final(progress) => {
                let _gone = reply.send(progress);
            }
            _ => {
                let waiters = stripe.waiters.entry(write).or_default();
                // A write may wait for its shard as long as it takes, and be asked for again and again.
                waiters.retain(|waiter| !waiter.reply.is_closed());
                waiters.push(Waiter { until_visible, reply });
            }
        }
        word
    }

    /// Those who wait for this write are let go.
    pub fn forget_waiters(&self, write: WriteId) {
        lock(self.stripe(write)).waiters.remove(&write);
    }

    /// A dead letter holds this write: it is asked for there, and nobody here will settle it, unless it was retried meanwhile, at another position.
    pub fn set_aside(&self, write: WriteId, position: Position) {
        let mut stripe = lock(self.stripe(write));
        if stripe.waiting.get(&write).is_some_and(|waiting| waiting.position != position) {
            return;
        }
        stripe.waiters.remove(&write);
        stripe.waiting.remove(&write);
        give_back(&mut stripe.waiting);
    }

    /// The decision stands; rows that it owes to other owners may be outstanding. Answers the write as it can be asked for now.
    pub fn progressed(&self, entry: &Entry, progress: Progress) -> Settled {
        let write = entry.write;
        let settled = Settled {
            write,
            author: entry.author,
            kind: entry.command.kind(),
            resource: entry.command.resource(entry.author),
            accepted_at: entry.accepted_at,
            progress,
        };
        let mut stripe = lock(self.stripe(write));
        stripe.settled.insert(write, settled);
        if let Progress::Visible { at, .. } | Progress::Rejected { at, .. } = progress {
            stripe.waiting.remove(&write);
            give_back(&mut stripe.waiting);
            stripe.order.push_back((at, write));
            stripe.forget_before(at.saturating_sub(SETTLED_KEPT_MS));
        }
        let Some(waiters) = stripe.waiters.remove(&write) else { return settled };
        let (answered, waiting): (Vec<Waiter>, Vec<Waiter>) =
            waiters.into_iter().partition(|waiter| !waiter.until_visible || is_final(progress));
        if !waiting.is_empty() {
            stripe.waiters.insert(write, waiting);
        }
        drop(stripe);
        for waiter in answered {
            let _gone = waiter.reply.send(progress);
        }
        settled
    }

    pub fn known(&self, write: WriteId) -> Option<Known> {
        let stripe = lock(self.stripe(write));
        let settled = stripe.settled.get(&write).copied().map(Known::Settled);
        settled.or_else(|| stripe.waiting.get(&write).copied().map(Known::Waiting))
    }

    fn stripe(&self, write: WriteId) -> &Mutex<Stripe> {
        &self.stripes[(crate::vocabulary::owner::mix(write.raw()) % STRIPES as u64) as usize]
    }
}

impl Stripe {
    fn forget_before(&mut self, before: Millis) {
        while let Some((at, write)) = self.order.front().copied() {
            if at >= before && self.order.len() <= SETTLED_MAX / STRIPES {
                break;
            }
            self.order.pop_front();
            self.settled.remove(&write);
        }
    }
}

fn is_final(progress: Progress) -> bool {
    matches!(progress, Progress::Visible { .. } | Progress::Rejected { .. })
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRITE: WriteId = WriteId::from_raw(9);

    fn waiting(position: u64) -> Waiting {
        Waiting { position: Position(position), locator: Locator(0), shard: ShardIndex(0) }
    }

    #[test]
    fn those_who_no_longer_wait_take_no_room() {
        let writes = Writes::default();
        writes.accepted(WRITE, waiting(4));
        let held = writes.watch_known(WRITE, true);

        (0..100).for_each(|_| drop(writes.watch_known(WRITE, true)));

        assert!(lock(writes.stripe(WRITE)).waiters[&WRITE].len() <= 2);
        drop(held);
    }

    #[test]
    fn a_write_that_was_retried_is_not_set_aside_with_its_first_try() {
        let writes = Writes::default();
        writes.accepted(WRITE, waiting(4));
        writes.accepted(WRITE, waiting(7));
        let mut word = writes.watch(WRITE, true);

        writes.set_aside(WRITE, Position(4));
        assert_eq!(writes.known(WRITE), Some(Known::Waiting(waiting(7))));
        assert_eq!(word.try_recv(), Err(oneshot::error::TryRecvError::Empty), "whoever waits for the retry still waits");

        writes.set_aside(WRITE, Position(7));
        assert_eq!(writes.known(WRITE), None);
        assert_eq!(word.try_recv(), Err(oneshot::error::TryRecvError::Closed));
    }
}
