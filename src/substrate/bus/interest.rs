//! Whom anybody listens for: without a socket of his, a hint about him need not be made.

use std::sync::atomic::{AtomicU32, Ordering};

use super::Hint;
use crate::support::faults::planted;
use crate::vocabulary::ids::{PostId, UserId};
use crate::vocabulary::owner::mix;

/// Counters; topics share them by hash, which costs a needless hint at worst.
const COUNTERS: usize = 1 << 16;

/// What a hint is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    User(UserId),
    Post(PostId),
}

/// How many wait for what. The listener changes it, publishers look. A topic that was entered before its state is read misses nothing
/// that is not in that state.
#[derive(Debug)]
pub struct Interest(Vec<AtomicU32>);

impl Default for Interest {
    fn default() -> Self {
        Self((0..COUNTERS).map(|_| AtomicU32::new(0)).collect())
    }
}

impl Interest {
    pub fn enter(&self, topic: Topic) {
        self.counter(topic).fetch_add(1, Ordering::SeqCst);
    }

    /// Takes back one [`Interest::enter`].
    pub fn leave(&self, topic: Topic) {
        if planted("bus::never_forget") {
            return;
        }
        self.counter(topic).fetch_sub(1, Ordering::SeqCst);
    }

    /// Whether somebody may wait for it. Never says no where somebody does.
    pub fn wants(&self, hint: &Hint) -> bool {
        if planted("bus::deaf") {
            return false;
        }
        match hint {
            Hint::Inbox { told, .. } => told.iter().any(|told| self.is_entered(Topic::User(told.user))),
            Hint::Withdrawn { user, .. } | Hint::Read { user, .. } => self.is_entered(Topic::User(*user)),
            Hint::Write(settled) => self.is_entered(Topic::User(settled.author)),
            Hint::Post { post, .. } => self.is_entered(Topic::Post(*post)),
            Hint::SessionsEnded { .. } | Hint::Missed => true,
        }
    }

    fn is_entered(&self, topic: Topic) -> bool {
        self.counter(topic).load(Ordering::SeqCst) > 0
    }

    fn counter(&self, topic: Topic) -> &AtomicU32 {
        let key = match topic {
            Topic::User(user) => user.raw(),
            Topic::Post(post) => post.raw().rotate_left(32),
        };
        &self.0[(mix(key) % COUNTERS as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::substrate::bus::PostNews;
    use crate::vocabulary::ids::Position;

    #[test]
    fn a_hint_is_wanted_as_long_as_one_waits_for_it() {
        let interest = Interest::default();
        let (post, hint) = (PostId::from_raw(7), |post| Hint::Post { post, position: Position(1), news: PostNews::Counts });

        assert!(!interest.wants(&hint(post)));
        interest.enter(Topic::Post(post));
        interest.enter(Topic::Post(post));
        interest.leave(Topic::Post(post));
        assert!(interest.wants(&hint(post)));
        assert!(!interest.wants(&hint(PostId::from_raw(8))));
        interest.leave(Topic::Post(post));
        assert!(!interest.wants(&hint(post)));
    }
}
