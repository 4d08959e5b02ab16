//! Databases to try the limiter on: batches wait and work in simulated time, always with more work waiting.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use super::{Limiter, Sample};

/// A database as a queueing model.
#[derive(Debug, Clone, Copy)]
pub(super) struct Database {
    /// How batches beyond that wait: in a queue, first come, first served, or all sharing what there is.
    pub(super) queues: bool,
    /// Batches that it really works on at once.
    pub(super) parallel: f64,
    /// What each batch in flight beyond that costs all of them: 0.02 is 2 %.
    pub(super) contention: f64,
    /// Latency that rises with each batch in flight even below that: shared syncs, locks.
    pub(super) sharing: f64,
    pub(super) fixed_seconds: f64,
    pub(super) row_seconds: f64,
    pub(super) byte_seconds: f64,
    /// Latencies vary by up to that much to either side.
    pub(super) noise: f64,
}

impl Database {
    pub(super) fn fast() -> Self {
        Self {
            queues: false,
            parallel: 8.0,
            contention: 0.0,
            sharing: 0.0,
            fixed_seconds: 1e-3,
            row_seconds: 8e-6,
            byte_seconds: 4e-9,
            noise: 0.3,
        }
    }

    /// Everything takes `times` as long.
    pub(super) fn slowed(self, times: f64) -> Self {
        Self {
            fixed_seconds: self.fixed_seconds * times,
            row_seconds: self.row_seconds * times,
            byte_seconds: self.byte_seconds * times,
            ..self
        }
    }

    fn seconds(&self, batch: Batch, in_flight: f64) -> f64 {
        let alone = self.fixed_seconds + self.row_seconds * f64::from(batch.rows) + self.byte_seconds * batch.bytes as f64;
        let waiting = if self.queues { 1.0 } else { (in_flight / self.parallel).max(1.0) };
        let crowd = 1.0 + self.contention * (in_flight - self.parallel).max(0.0);
        alone * (waiting * crowd + self.sharing * (in_flight - 1.0))
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Batch {
    pub(super) rows: u32,
    pub(super) bytes: u64,
}

pub(super) const LIKES: Batch = Batch { rows: 1000, bytes: 100_000 };
pub(super) const POSTS: Batch = Batch { rows: 125, bytes: 1 << 20 };

/// A shard under load: time goes from commit to commit.
pub(super) struct Shard {
    now: u64,
    random: u64,
    running: BinaryHeap<Reverse<(u64, u64, u16)>>,
    /// When each server of a queueing database is free again.
    servers: BinaryHeap<Reverse<u64>>,
}

impl Shard {
    pub(super) fn new(seed: u64) -> Self {
        Self { now: 0, random: seed | 1, running: BinaryHeap::new(), servers: BinaryHeap::new() }
    }

    /// From -1 to 1 (xorshift64*).
    fn chance(&mut self) -> f64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        (self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
    }

    /// Takes the server that is free first for `nanos`, and returns when that begins.
    fn queue(&mut self, servers: usize, nanos: u64) -> u64 {
        self.servers.extend((self.servers.len()..servers).map(|_| Reverse(self.now)));
        let starts = self.servers.pop().map_or(self.now, |Reverse(free)| free.max(self.now));
        self.servers.push(Reverse(starts + nanos));
        starts
    }

    /// Commits `batches` of them, at most `lanes` at once, and returns rows a second.
    pub(super) fn run(&mut self, limiter: &mut Limiter, database: Database, batch: Batch, batches: u32, lanes: u16) -> f64 {
        let began = self.now;
        for _ in 0..batches {
            while self.running.len() < usize::from(limiter.limit().min(lanes)) {
                let in_flight = self.running.len() as u16 + 1;
                let noise = 1.0 + database.noise * self.chance();
                // Full house is what a batch meets for nearly all of its life.
                let crowd = f64::from(limiter.limit().min(lanes)).max(f64::from(in_flight));
                let nanos = (database.seconds(batch, crowd) * noise * 1e9) as u64;
                let starts = if database.queues { self.queue(database.parallel as usize, nanos) } else { self.now };
                self.running.push(Reverse((starts + nanos, self.now, in_flight)));
            }
            let Some(Reverse((ended, started, in_flight))) = self.running.pop() else { return 0.0 };
            self.now = ended;
            let latency = Duration::from_nanos(ended - started);
            limiter.observe(Sample { latency, rows: batch.rows, bytes: batch.bytes, in_flight });
        }
        f64::from(batches) * f64::from(batch.rows) / ((self.now - began) as f64 / 1e9)
    }
}

/// Rows a second under the best fixed limit up to `max`.
pub(super) fn best_fixed(database: Database, batch: Batch, max: u16) -> f64 {
    let run = |limit| Shard::new(7).run(&mut Limiter::fixed(limit), database, batch, 2_000, u16::MAX);
    (1..=max).map(run).fold(0.0, f64::max)
}
