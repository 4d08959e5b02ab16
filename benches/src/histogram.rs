//! Latencies in buckets that are at most 1/64 apart: small, and good enough for quantiles.

use std::time::Duration;

/// Buckets of one power of two.
const STEPS: u64 = 64;
const STEP_BITS: u32 = 6;
const BUCKETS: usize = 64 * STEPS as usize;

#[derive(Clone)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    longest: u64,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0, longest: 0 }
    }

    pub(crate) fn add(&mut self, latency: Duration) {
        let nanoseconds = latency.as_nanos() as u64;
        self.counts[bucket(nanoseconds)] += 1;
        self.total += 1;
        self.longest = self.longest.max(nanoseconds);
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.total += other.total;
        self.longest = self.longest.max(other.longest);
    }

    pub(crate) fn count(&self) -> u64 {
        self.total
    }

    /// The latency in milliseconds that this part of all stayed below.
    pub(crate) fn quantile_ms(&self, part: f64) -> f64 {
        let wanted = (self.total as f64 * part).ceil() as u64;
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted && *count > 0 {
                return upper_bound(index).min(self.longest) as f64 / 1e6;
            }
        }
        self.longest as f64 / 1e6
    }
}

fn bucket(value: u64) -> usize {
    if value < STEPS {
        return value as usize;
    }
    let power = value.ilog2();
    let step = (value >> (power - STEP_BITS)) & (STEPS - 1);
    (u64::from(power - STEP_BITS + 1) * STEPS + step) as usize
}

fn upper_bound(bucket: usize) -> u64 {
    let (power, step) = (bucket as u64 / STEPS, bucket as u64 % STEPS);
    if power == 0 { step } else { ((STEPS + step + 1) << (power - 1)) - 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_in_the_bucket_that_ends_at_most_a_sixty_fourth_above_it() {
        for value in (0..40).flat_map(|power| [1_u64 << power, (1 << power) + 1, (3 << power) - 1]) {
            let bound = upper_bound(bucket(value));
            assert!(bound >= value && bound <= value + value / 64, "{value} {bound}");
        }
    }

    #[test]
    fn quantiles_are_those_of_the_values() {
        let mut histogram = Histogram::new();
        for millisecond in 1..=1000 {
            histogram.add(Duration::from_millis(millisecond));
        }

        assert!((histogram.quantile_ms(0.5) - 500.0).abs() < 10.0);
        assert!((histogram.quantile_ms(0.99) - 990.0).abs() < 20.0);
        assert!((histogram.quantile_ms(1.0) - 1000.0).abs() < f64::EPSILON);
    }
}
