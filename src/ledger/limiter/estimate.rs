//! What a limit writes, from the batches that ran under it.

use super::Sample;

/// This many bytes cost about as much as a row of their own: a like is nearly all row, a post of 8 KiB nearly all bytes.
const BYTES_A_ROW: f64 = 512.0;
/// A latency below what any clock resolves would make the rate infinite.
const SECONDS_MIN: f64 = 1e-9;

/// The batches of one or more windows under one limit.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Estimate {
    count: u32,
    work: f64,
    seconds: f64,
    /// Mean and sum of squared deviations of the seconds per work of single batches (Welford).
    mean: f64,
    deviations: f64,
}

impl Estimate {
    pub(super) fn add(&mut self, sample: Sample) {
        let work = f64::from(sample.rows.max(1)) + sample.bytes as f64 / BYTES_A_ROW;
        let seconds = sample.latency.as_secs_f64().max(SECONDS_MIN);
        self.count += 1;
        self.work += work;
        self.seconds += seconds;
        let cost = seconds / work;
        let off = cost - self.mean;
        self.mean += off / f64::from(self.count);
        self.deviations += off * (cost - self.mean);
    }

    /// Joins another window of the same limit (Chan et al., parallel variance).
    pub(super) fn join(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        let (mine, theirs) = (f64::from(self.count), f64::from(other.count));
        let off = other.mean - self.mean;
        self.deviations += other.deviations + off * off * mine * theirs / (mine + theirs);
        self.mean += off * theirs / (mine + theirs);
        self.count += other.count;
        self.work += other.work;
        self.seconds += other.seconds;
    }

    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// Work a second with `limit` batches in flight, by Little's law.
    pub(super) fn rate(&self, limit: u16) -> f64 {
        f64::from(limit) * self.work / self.seconds.max(SECONDS_MIN)
    }

    /// The relative standard error of the rate, squared.
    fn error_squared(&self) -> f64 {
        if self.count < 2 || self.mean <= 0.0 {
            return 1.0;
        }
        let count = f64::from(self.count);
        self.deviations / (count - 1.0) / (self.mean * self.mean) / count
    }

    /// How much more than `base` this one writes, relatively, and the standard error of that.
    pub(super) fn gain_over(&self, limit: u16, base: &Self, base_limit: u16) -> (f64, f64) {
        let ratio = self.rate(limit) / base.rate(base_limit);
        (ratio - 1.0, ratio * (self.error_squared() + base.error_squared()).sqrt())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn sample(millis: u64, rows: u32) -> Sample {
        Sample { latency: Duration::from_millis(millis), rows, bytes: 0, in_flight: 1 }
    }

    #[test]
    fn the_rate_follows_littles_law() {
        let mut estimate = Estimate::default();
        (0..10).for_each(|_| estimate.add(sample(20, 100)));

        // 4 in flight, each 100 rows in 20 ms: 200 batches a second.
        assert!((estimate.rate(4) - 20_000.0).abs() < 1e-6);
    }

    #[test]
    fn bytes_are_work_too() {
        let mut estimate = Estimate::default();
        estimate.add(Sample { latency: Duration::from_secs(1), rows: 100, bytes: 512 * 900, in_flight: 1 });

        assert!((estimate.rate(1) - 1_000.0).abs() < 1e-6);
    }

    #[test]
    fn joined_windows_are_as_one() {
        let samples: Vec<_> = (1..40).map(|index| sample(10 + index * index % 17, 50)).collect();
        let (mut whole, mut first, mut second) = (Estimate::default(), Estimate::default(), Estimate::default());
        samples.iter().for_each(|sample| whole.add(*sample));
        samples[..13].iter().for_each(|sample| first.add(*sample));
        samples[13..].iter().for_each(|sample| second.add(*sample));

        first.join(&second);

        assert!((first.rate(3) - whole.rate(3)).abs() < 1e-6);
        assert!((first.error_squared() - whole.error_squared()).abs() < 1e-12);
    }
}
