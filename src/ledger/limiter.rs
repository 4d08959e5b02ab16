//! How many batches of a shard may be applied at once. Takes what each finished batch cost, gives a number; no clock, no I/O, no waiting.
//!
//! A gradient on the measured latency. By Little's law, `n` batches in flight that take `L` seconds for `w` of work make `n·w/L` work a second: so
//! the latencies of full windows at two limits, and nothing else, say which of the two writes more. The search stands on one limit, tries the
//! next one up or down for a window, back and forth until the difference is clear of the noise, and moves only for a gain (or, downward, for
//! no loss: fewer is better where it is equal). When neither side is better it holds, ever longer, up to a bound, and looks again at once when
//! its own limit no longer writes what it did. That is TCP PCC's way (Dong et al., NSDI 2015: trials with measured utility).
//!
//! Not taken: TCP Vegas, and the gradient of Netflix' concurrency-limits (<https://github.com/Netflix/concurrency-limits>). Both hold the latency
//! against its minimum and take any rise for queueing. A database that shares its syncs between commits gets slower *and* writes more as
//! batches are added; there they stop far below the best number.
//!
//! The size of a batch is not searched for: a batch takes what waits, up to its bound, so it grows by itself when the database falls behind.

mod estimate;
mod search;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use std::time::Duration;

use search::Search;

/// What one finished batch cost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// From its hand-over to its commit.
    pub latency: Duration,
    pub rows: u32,
    pub bytes: u64,
    /// Batches of the shard that were in flight when it was handed over, itself included.
    pub in_flight: u16,
}

/// Why the search did what it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Tries another limit.
    Trial,
    /// Back to the limit that it compares with.
    Compare,
    /// The limit on trial is the better one.
    Accepted,
    /// The limit on trial is not better.
    Rejected,
    /// The limit on trial was not used up: nothing can be learned.
    Unfilled,
    /// The limit that was held does not write what it did: look again.
    Drifted,
}

impl Reason {
    /// The label of the metric.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trial => "trial",
            Self::Compare => "compare",
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
            Self::Unfilled => "unfilled",
            Self::Drifted => "drifted",
        }
    }
}

/// One decision, for metrics and logs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Decision {
    pub reason: Reason,
    /// The limit from now on.
    pub limit: u16,
    /// The limit that the search stands on.
    pub base: u16,
    /// How much more (or less) the limit on trial writes: 0.1 is a tenth more. `None` where nothing was compared.
    pub gain: Option<f64>,
}

/// The limit of one shard.
#[derive(Debug)]
pub struct Limiter(Mode);

#[derive(Debug)]
enum Mode {
    Fixed(u16),
    Adaptive(Search),
}

impl Limiter {
    /// A number set by hand; 0 applies nothing.
    pub fn fixed(limit: u16) -> Self {
        Self(Mode::Fixed(limit))
    }

    /// Searches from `min` (at least 1) to `max` (at least `min`).
    pub fn adaptive(min: u16, max: u16) -> Self {
        let min = min.max(1);
        Self(Mode::Adaptive(Search::new(min, max.max(min))))
    }

    /// How many batches may be in flight now.
    pub fn limit(&self) -> u16 {
        match &self.0 {
            Mode::Fixed(limit) => *limit,
            Mode::Adaptive(search) => search.limit(),
        }
    }

    /// Whether the number is searched for.
    pub fn is_adaptive(&self) -> bool {
        matches!(self.0, Mode::Adaptive(_))
    }

    /// Learns from a batch that was committed. A failed batch says nothing about speed: leave it out.
    pub fn observe(&mut self, sample: Sample) -> Option<Decision> {
        match &mut self.0 {
            Mode::Fixed(_) => None,
            Mode::Adaptive(search) => search.observe(sample),
        }
    }
}
