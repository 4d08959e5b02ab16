//! How busy the machine's processors are: what can wait for company waits where they are, and goes at once where there is leisure.
//!
//! Counted from `/proc/stat`, for all processes: a neighbour's work leaves ours no more room than our own does. Where it cannot be read the
//! processors count as idle, and nothing waits for that reason.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How often it is looked at: often enough to notice a rush before it is over.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// From this part of idle time on there is leisure, and below that one there is none; in parts of 1000.
const LEISURE: u32 = 200;
const RUSH: u32 = 50;
/// A whole, in parts.
const WHOLE: u32 = 1000;

/// Of a thousand parts, how many speak for waiting.
static RUSHED: AtomicU32 = AtomicU32::new(0);

/// How long to wait, of the longest time that waiting can bring anything: nothing at leisure, all of it in a rush.
pub fn patience(longest: Duration) -> Duration {
    longest * RUSHED.load(Ordering::Relaxed) / WHOLE
}

/// Looks again and again; run it as a task.
pub async fn watch() {
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut before = None;
    loop {
        looks.tick().await;
        let now = std::fs::read_to_string("/proc/stat").ok().and_then(|stat| Ticks::of(&stat));
        let idle = before.zip(now).and_then(|(before, now)| Ticks::idle_part(before, now));
        RUSHED.store(idle.map_or(0, rushed), Ordering::Relaxed);
        metrics::gauge!("sosik_processors_idle_ratio").set(f64::from(idle.unwrap_or(WHOLE)) / f64::from(WHOLE));
        before = now;
    }
}

fn rushed(idle: u32) -> u32 {
    (LEISURE.saturating_sub(idle) * WHOLE / (LEISURE - RUSH)).min(WHOLE)
}

/// What all processors did since the machine started, in ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ticks {
    idle: u64,
    all: u64,
}

impl Ticks {
    /// From the first line of `/proc/stat` (proc_stat(5)): user, nice, system, idle, iowait, irq, softirq, steal.
    fn of(stat: &str) -> Option<Self> {
        let line = stat.lines().next()?.strip_prefix("cpu ")?;
        let ticks: Vec<u64> = line.split_whitespace().take(8).map_while(|field| field.parse().ok()).collect();
        // A processor that waits for a disk could do something else.
        Some(Self { idle: ticks.get(3)? + ticks.get(4)?, all: ticks.iter().sum() })
    }

    /// Between two looks, in parts of a thousand; `None` if no tick went by.
    fn idle_part(before: Self, now: Self) -> Option<u32> {
        let (idle, all) = (now.idle.checked_sub(before.idle)?, now.all.checked_sub(before.all)?);
        u32::try_from((idle * u64::from(WHOLE)).checked_div(all)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_time_is_counted_from_two_looks() {
        let first = "cpu  100 0 50 800 50 0 0 0 7 7\ncpu0 1 2 3\n";
        let second = "cpu  160 0 70 810 60 0 0 0 9 9\ncpu0 1 2 3\n";

        let (before, now) = (Ticks::of(first).expect("ticks"), Ticks::of(second).expect("ticks"));

        assert_eq!(before, Ticks { idle: 850, all: 1000 });
        assert_eq!(Ticks::idle_part(before, now), Some(200));
        assert_eq!(Ticks::idle_part(now, now), None);
        for unreadable in ["", "cpu x", "intr 5", "cpu  1 2 3"] {
            assert_eq!(Ticks::of(unreadable), None, "{unreadable:?}");
        }
    }

    #[test]
    fn waiting_grows_from_leisure_to_a_rush() {
        let by_idle = [(1000, 0), (200, 0), (125, 500), (50, 1000), (0, 1000)];
        for (idle, expected) in by_idle {
            assert_eq!(rushed(idle), expected, "{idle}");
        }
    }
}
