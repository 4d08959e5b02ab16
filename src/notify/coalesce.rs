//! How long likes and follows gather before they become one entry: the first is told at once, and the longer a storm lasts the longer
//! each window is. A pure function.

use crate::vocabulary::Millis;

/// How long the windows last, one after the other; the last length stays.
const WINDOWS_MS: [Millis; 5] = [1_000, 10_000, 60_000, 600_000, 3_600_000];

/// When a window of this stage that opens now is due.
pub fn due_at(now: Millis, stage: u8) -> Millis {
    now + WINDOWS_MS[usize::from(stage).min(WINDOWS_MS.len() - 1)]
}

/// The stage after this one.
pub fn next_stage(stage: u8) -> u8 {
    stage.saturating_add(1).min(WINDOWS_MS.len() as u8 - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_grow_and_then_stay() {
        let mut stage = 0;
        let mut lengths = Vec::new();
        for _ in 0..7 {
            lengths.push(due_at(5, stage) - 5);
            stage = next_stage(stage);
        }

        assert_eq!(lengths, [1_000, 10_000, 60_000, 600_000, 3_600_000, 3_600_000, 3_600_000]);
    }

    #[test]
    fn a_storm_of_a_day_makes_few_entries() {
        let (mut now, mut stage, mut entries) = (0, 0, 1);
        while now < 24 * 3_600_000 {
            now = due_at(now, stage);
            stage = next_stage(stage);
            entries += 1;
        }

        assert!(entries < 32, "{entries}");
    }
}
