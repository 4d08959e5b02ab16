//! How long small work waits for company, where the processors are busy: until a good load is together, if it comes soon.
//!
//! A transaction costs about as much with ten rows as with a hundred. In a rush of many small writes that is most of what each costs, and a
//! tenth of a second of waiting brings a load; where less comes, something else keeps the processors busy, and waiting would only be felt.

use std::time::{Duration, Instant};

use super::processors;

/// Over so long is it counted how much comes: a single batch says little.
const COUNTED_OVER: Duration = Duration::from_millis(200);

/// What comes to one place, and how long it may wait there.
#[derive(Debug)]
pub struct Company {
    /// A good load, in rows.
    enough: u32,
    /// If a good load comes within this time, it is waited for.
    longest: Duration,
    /// How long to wait if it does not.
    otherwise: Duration,
    counted_since: Instant,
    counted: u32,
    /// How long a good load took to come, when it was last counted.
    load_takes: Option<Duration>,
}

impl Company {
    pub fn new(enough: u32, longest: Duration, otherwise: Duration) -> Self {
        Self { enough, longest, otherwise, counted_since: Instant::now(), counted: 0, load_takes: None }
    }

    /// So many rows came since it was last said.
    pub fn came(&mut self, rows: usize, now: Instant) {
        self.counted = self.counted.saturating_add(u32::try_from(rows).unwrap_or(u32::MAX));
        let since = now.saturating_duration_since(self.counted_since);
        if since >= COUNTED_OVER {
            self.load_takes = (self.counted > 0).then(|| since.mul_f64(f64::from(self.enough) / f64::from(self.counted)));
            (self.counted_since, self.counted) = (now, 0);
        }
    }

    /// A load that is waited for no longer, in rows.
    pub fn enough(&self) -> usize {
        self.enough as usize
    }

    /// How long what is there waits for more.
    pub fn patience(&self) -> Duration {
        processors::patience(self.wanted())
    }

    fn wanted(&self) -> Duration {
        self.load_takes.filter(|takes| *takes <= self.longest).unwrap_or(self.otherwise)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After half a second in which a batch of so many rows came every 10 ms.
    fn after_batches_of(rows: usize) -> Duration {
        let mut company = Company::new(500, Duration::from_millis(100), Duration::from_millis(10));
        let began = company.counted_since;
        for batch in 1..=50 {
            company.came(rows, began + Duration::from_millis(10) * batch);
        }
        company.wanted()
    }

    #[test]
    fn a_good_load_is_waited_for_if_it_comes_soon() {
        let by_rows = [(0, 10), (1, 10), (49, 10), (50, 100), (100, 50), (500, 10), (5000, 1)];
        for (rows, expected) in by_rows {
            assert_eq!(after_batches_of(rows), Duration::from_millis(expected), "{rows}");
        }
    }

    #[test]
    fn a_pause_ends_the_waiting() {
        let mut company = Company::new(500, Duration::from_millis(100), Duration::from_millis(10));
        let began = company.counted_since;
        company.came(5000, began + COUNTED_OVER);
        assert_eq!(company.wanted(), Duration::from_millis(20));

        company.came(1, began + COUNTED_OVER * 3);
        assert_eq!(company.wanted(), Duration::from_millis(10));
    }
}
