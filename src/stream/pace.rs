//! How fast a client may send.

use std::time::Instant;

/// Frames a second, and at once.
pub(super) const FRAMES_PER_SECOND: f64 = 20.0;

/// A bucket of frames that fills with time.
#[derive(Debug)]
pub(super) struct Pace {
    frames: f32,
    at: Instant,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self { frames: FRAMES_PER_SECOND as f32, at: now }
    }

    /// Takes one; `false` if there is none.
    pub(super) fn takes(&mut self, now: Instant) -> bool {
        let filled = f64::from(self.frames) + now.saturating_duration_since(self.at).as_secs_f64() * FRAMES_PER_SECOND;
        let frames = filled.min(FRAMES_PER_SECOND);
        self.at = now;
        self.frames = (frames - 1.0).max(0.0) as f32;
        frames >= 1.0
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn twenty_frames_at_once_are_taken_and_the_next_is_not() {
        let now = Instant::now();
        let mut pace = Pace::new(now);

        assert!((0..20).all(|_| pace.takes(now)));
        assert!(!pace.takes(now));
        assert!(pace.takes(now + Duration::from_millis(60)));
    }

    #[test]
    fn twenty_a_second_are_taken_for_ever_and_no_more_are_saved_up() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        assert!((1..1000).all(|number| pace.takes(start + Duration::from_millis(50 * number))));

        let later = start + Duration::from_secs(3600);
        assert_eq!((0..100).filter(|_| pace.takes(later)).count(), 20);
    }
}
