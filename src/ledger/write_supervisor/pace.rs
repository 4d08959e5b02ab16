//! Whether a shard is slow: then it may fill only its share of the queue, as one that is stopped, and its entries are parked.
//!
//! The jobs in hand go in. One that takes too long says so before it ends; only one that ends in time takes it back.

use std::time::{Duration, Instant};

use super::WriteSupervisor;

/// A job that takes longer says that its shard is slow: as long as a read waits for a shard.
const SLOW_AFTER: Duration = Duration::from_secs(2);

impl WriteSupervisor {
    pub(super) fn look_at_pace(&mut self) {
        if !self.slow && self.has_late_job() {
            tracing::warn!(shard = %self.shard().name, "the shard is slow: it fills only its share of the journal");
            self.set_slow(true);
        }
    }

    /// A job has been done, within so much time.
    pub(super) fn kept_pace(&mut self, elapsed: Duration) {
        if self.slow && elapsed < SLOW_AFTER && !self.has_late_job() {
            tracing::info!(shard = %self.shard().name, "the shard is as quick as it should be again");
            self.set_slow(false);
        }
    }

    fn has_late_job(&self) -> bool {
        let now = Instant::now();
        self.in_flight.values().any(|flight| now.duration_since(flight.began) >= SLOW_AFTER)
    }

    fn set_slow(&mut self, slow: bool) {
        self.slow = slow;
        self.ledger.backlog.set_slow(self.shard, slow);
    }
}
