//! Entries of inboxes that are committed and not shown yet: a standby that is read has not replayed them, and whoever takes over might give their
//! numbers again.
//!
//! What a delivery is about to commit goes in before its commit, and comes out when everybody who reads the shard sees it. In between inboxes,
//! which are read on the primary, end before it. Full: nothing here is: it holds an entry for each inbox that was told of something in the time that a
//! standby may lag.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use crate::support::lock::lock;
use crate::vocabulary::ids::UserId;

/// The inboxes of one shard that have such entries, by recipient with the first number of each delivery.
#[derive(Debug, Default)]
pub struct Unshown {
    firsts: Mutex<HashMap<UserId, Vec<u64>>>,
}

impl Unshown {
    /// The first entry of an inbox that is not shown yet. Ask after the snapshot was taken: what it shows was in here before.
    pub fn first_of(&self, recipient: UserId) -> Option<u64> {
        lock(&self.firsts).get(&recipient).and_then(|firsts| firsts.iter().min().copied())
    }

    fn hide(&self, firsts: &BTreeMap<UserId, u64>) {
        let mut known = lock(&self.firsts);
        for (recipient, first) in firsts {
            known.entry(*recipient).or_default().push(*first);
        }
    }

    fn show(&self, firsts: &BTreeMap<UserId, u64>) {
        let mut known = lock(&self.firsts);
        for (recipient, first) in firsts {
            let Some(all) = known.get_mut(recipient) else { continue };
            if let Some(at) = all.iter().position(|known| known == first) {
                all.swap_remove(at);
            }
            if all.is_empty() {
                known.remove(recipient);
            }
        }
    }
}

/// What one delivery hides. Whether its commit succeeds or nobody knows: it is shown when all that could be there is seen.
#[derive(Debug, Clone)]
pub struct Hiding {
    unshown: Arc<Unshown>,
    firsts: Arc<Mutex<BTreeMap<UserId, u64>>>,
}

impl Hiding {
    pub(super) fn of(unshown: &Arc<Unshown>) -> Self {
        Self { unshown: Arc::clone(unshown), firsts: Arc::default() }
    }

    /// Before the commit.
    pub(super) fn hide(&self, firsts: BTreeMap<UserId, u64>) {
        self.unshown.hide(&firsts);
        *lock(&self.firsts) = firsts;
    }

    /// When everybody sees it.
    pub(super) fn show(&self) {
        self.unshown.show(&lock(&self.firsts));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANN: UserId = UserId::from_raw(1);

    #[test]
    fn an_inbox_ends_before_the_first_delivery_that_is_not_shown() {
        let unshown = Arc::<Unshown>::default();
        let (first, second) = (Hiding::of(&unshown), Hiding::of(&unshown));
        first.hide(BTreeMap::from([(ANN, 5)]));
        second.hide(BTreeMap::from([(ANN, 8)]));
        assert_eq!(unshown.first_of(ANN), Some(5));
        assert_eq!(unshown.first_of(UserId::from_raw(2)), None);

        first.show();
        assert_eq!(unshown.first_of(ANN), Some(8));
        second.show();
        assert_eq!(unshown.first_of(ANN), None);
    }
}
