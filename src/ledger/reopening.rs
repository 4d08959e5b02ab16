//! Reads of a shard on a new primary: they wait until it has again what the journal held when it took over, since readers may have seen that.
//!
//! The last entry of each lane goes in before anything is served, at this start and at each later one until they are there; applied positions
//! follow. Until all are reached, reads are refused as of a shard that is down.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::lock::lock;
use crate::vocabulary::ids::Position;
use crate::vocabulary::owner::Lane;

/// What is still to be reached; nothing on a shard that has it all.
#[derive(Debug, Default)]
pub struct Reopening {
    is_closed: AtomicBool,
    lanes: Mutex<HashMap<Lane, Position>>,
}

impl Reopening {
    /// Closes the shard to readers until each of these lanes has applied its position.
    pub fn wait_for(&self, lanes: HashMap<Lane, Position>) {
        self.is_closed.store(!lanes.is_empty(), Ordering::Release);
        *lock(&self.lanes) = lanes;
    }

    pub fn is_open(&self) -> bool {
        !self.is_closed.load(Ordering::Acquire)
    }

    /// A lane has applied everything up to here; says whether that opened the shard.
    pub fn applied(&self, lane: Lane, position: Position) -> bool {
        if self.is_open() {
            return false;
        }
        let mut lanes = lock(&self.lanes);
        if lanes.get(&lane).is_some_and(|wanted| *wanted <= position) {
            lanes.remove(&lane);
        }
        let opened = lanes.is_empty();
        self.is_closed.store(!opened, Ordering::Release);
        opened
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_are_let_in_when_the_last_lane_is_where_it_was() {
        let reopening = Reopening::default();
        assert!(reopening.is_open());
        reopening.wait_for(HashMap::from([(Lane(1), Position(5)), (Lane(2), Position(9))]));

        assert!(!reopening.applied(Lane(2), Position(9)) && !reopening.is_open());
        assert!(!reopening.applied(Lane(1), Position(4)) && !reopening.applied(Lane(3), Position(99)));
        assert!(reopening.applied(Lane(1), Position(6)) && reopening.is_open());
        reopening.wait_for(HashMap::new());
        assert!(reopening.is_open());
    }
}
