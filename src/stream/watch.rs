//! When the numbers of a watched post are told: soon after a change, and not more than four times a second whatever the storm.

use std::time::{Duration, Instant};

/// Between two counts of a post. A little more than a quarter of a second, so that no second has five.
const COUNTS_EVERY: Duration = Duration::from_millis(260);
/// When only the number of watchers changed: a crowd that arrives is not told of each of its members.
const WATCHERS_EVERY: Duration = Duration::from_secs(2);

/// What changed since the last counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) enum Change {
    #[default]
    None,
    Watchers,
    Numbers,
}

/// The pace of one post's counts.
#[derive(Debug, Default)]
pub(super) struct Counting {
    change: Change,
    told_at: Option<Instant>,
    /// The next counts are being waited for, or made.
    under_way: Option<Change>,
    /// Moved up when something more urgent is waited for: older timers then find another number.
    round: u64,
}

impl Counting {
    /// Something changed. `Some`: how long to wait, and the round to come back with.
    pub(super) fn changed(&mut self, change: Change, now: Instant) -> Option<(Duration, u64)> {
        self.change = self.change.max(change);
        self.arm(now)
    }

    fn arm(&mut self, now: Instant) -> Option<(Duration, u64)> {
        if self.change == Change::None || self.under_way >= Some(self.change) {
            return None;
        }
        self.under_way = Some(self.change);
        self.round += 1;
        let pause = if self.change == Change::Numbers { COUNTS_EVERY } else { WATCHERS_EVERY };
        let due = self.told_at.map_or(now, |told| told + pause);
        Some((due.saturating_duration_since(now), self.round))
    }

    /// The pace as it is kept while nobody watches; timers of before find another round.
    pub(super) fn at_rest(&self) -> Self {
        Self { told_at: self.told_at, round: self.round + 1, ..Self::default() }
    }

    /// The wait is over. `false`: another one took its place.
    pub(super) fn due(&mut self, round: u64) -> bool {
        if round != self.round {
            return false;
        }
        self.change = Change::None;
        // Until the counts are there nothing else is begun.
        self.under_way = Some(Change::Numbers);
        true
    }

    /// The counts were told, or could not be made. What changed meanwhile is waited for next.
    pub(super) fn told(&mut self, now: Instant) -> Option<(Duration, u64)> {
        self.told_at = Some(now);
        self.under_way = None;
        self.arm(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays a storm of changes, one each millisecond; when counts were told.
    fn storm(change: Change, length_ms: u64) -> Vec<u64> {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut counting = Counting::default();
        let mut timer: Option<(u64, u64)> = None;
        let mut told = Vec::new();
        for now in 0..length_ms {
            if let Some((delay, round)) = counting.changed(change, at(now)) {
                timer = Some((now + delay.as_millis() as u64, round));
            }
            if let Some((due, round)) = timer
                && due <= now
                && counting.due(round)
            {
                told.push(now);
                timer = counting.told(at(now)).map(|(delay, round)| (now + delay.as_millis() as u64, round));
            }
        }
        told
    }

    #[test]
    fn a_storm_is_told_at_once_and_then_at_most_four_times_in_any_second() {
        let told = storm(Change::Numbers, 10_000);

        assert_eq!(told[0], 0);
        assert!(told.len() >= 35, "{told:?}");
        for from in &told {
            assert!(told.iter().filter(|at| (*from..from + 1_000).contains(*at)).count() <= 4, "{told:?}");
        }
    }

    #[test]
    fn a_crowd_that_arrives_is_told_every_two_seconds() {
        let told = storm(Change::Watchers, 10_000);

        assert_eq!(told.len(), 5, "{told:?}");
    }

    #[test]
    fn a_new_number_does_not_wait_for_the_pace_of_watchers() {
        let start = Instant::now();
        let mut counting = Counting::default();
        let (_, first) = counting.changed(Change::Numbers, start).expect("due");
        assert!(counting.due(first));
        assert_eq!(counting.told(start), None);

        let (slow, watchers) = counting.changed(Change::Watchers, start).expect("due");
        let (quick, numbers) = counting.changed(Change::Numbers, start).expect("sooner");

        assert!(quick < slow);
        assert!(counting.due(numbers));
        assert!(!counting.due(watchers), "its timer was overtaken");
    }

    #[test]
    fn what_changes_while_counts_are_made_is_told_afterwards() {
        let start = Instant::now();
        let mut counting = Counting::default();
        let (_, round) = counting.changed(Change::Numbers, start).expect("due");
        assert!(counting.due(round));

        assert_eq!(counting.changed(Change::Numbers, start), None);
        assert!(counting.told(start).is_some());
    }
}
