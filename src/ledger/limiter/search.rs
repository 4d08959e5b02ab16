//! The search: stands on a limit, tries one above and one below it, moves for a gain, takes smaller steps when neither side has one, and
//! holds when the smallest have none either.

use super::estimate::Estimate;
use super::{Decision, Reason, Sample};

/// Batches of a window: enough to see a tenth through usual noise; more where more are in flight, so that each slot counts twice.
const WINDOW_MIN: u32 = 32;
/// At the start the differences are large and time is short.
const START_WINDOW_MIN: u32 = 8;
/// What a doubling must bring at the start to go on.
const START_GAIN: f64 = 0.06;
/// Windows on trial after which the best guess decides there.
const START_ROUNDS_MAX: u32 = 4;
/// A step at its widest, as a share of the limit.
const STEP_MAX: f64 = 1.0 / 3.0;
/// A step at its smallest. It is one for the limits that matter: a sharp peak can lose 5 % over two.
const STEP_MIN: f64 = 1.0 / 64.0;
/// What a step up must bring, as a share of the step. On a curve that flattens out, steps that bring less are left within 5 % of its height.
const UP_GAIN: f64 = 0.045;
/// What a step down may cost, as a share of the step.
const DOWN_LOSS: f64 = 0.03;
/// A difference counts when it is that many standard errors clear of its threshold.
const CLEAR_ERRORS: f64 = 2.0;
/// Windows on each side after which the best guess decides.
const ROUNDS_MAX: u32 = 6;
/// Windows of the longest hold: a trial that loses a third of a window then costs 1 %.
const HOLD_WINDOWS_MAX: u32 = 32;
/// A window that differs by more from what was written before has left the noise.
const DRIFT: f64 = 0.3;
/// Windows in a row that must differ: one may be a checkpoint.
const DRIFT_WINDOWS: u32 = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Up,
    Down,
}

impl Direction {
    fn turned(self) -> Self {
        match self {
            Self::Up => Self::Down,
            Self::Down => Self::Up,
        }
    }
}

#[derive(Debug)]
enum Phase {
    Hold { windows_left: u32, strange: u32 },
    Trial(Trial),
}

#[derive(Debug)]
struct Trial {
    candidate: u16,
    on_candidate: bool,
    rounds: u32,
    tried: Estimate,
    /// Samples that did not use the limit up.
    unfilled: u32,
}

#[derive(Debug)]
pub(super) struct Search {
    min: u16,
    max: u16,
    /// The limit that it stands on.
    base: u16,
    /// What that limit writes, as last measured.
    stand: Estimate,
    /// The limit now: the base, or the one on trial.
    limit: u16,
    phase: Phase,
    window: Estimate,
    /// Batches to come that ran under an earlier limit.
    unsettled: u32,
    direction: Direction,
    /// Until the first trial that brings nothing: doubles.
    starting: bool,
    /// How far the next trial goes, as a share of the base.
    step: f64,
    /// Trials in a row that brought nothing, at this step.
    rejected: u32,
    /// Windows of the next hold.
    hold_windows: u32,
}

impl Search {
    pub(super) fn new(min: u16, max: u16) -> Self {
        Self {
            min,
            max,
            base: min,
            stand: Estimate::default(),
            limit: min,
            phase: Phase::Hold { windows_left: 1, strange: 0 },
            window: Estimate::default(),
            unsettled: 0,
            direction: Direction::Up,
            starting: true,
            step: STEP_MAX,
            rejected: 0,
            hold_windows: 1,
        }
    }

    pub(super) fn limit(&self) -> u16 {
        self.limit
    }

    pub(super) fn observe(&mut self, sample: Sample) -> Option<Decision> {
        if self.unsettled > 0 {
            self.unsettled -= 1;
            return None;
        }
        // Handed over under a wider limit: where batches run in step, such a one can end long after the change, and slows what it joins.
        if sample.in_flight > self.limit {
            return None;
        }
        let window = self.window_batches();
        if sample.in_flight < self.limit {
            return self.note_unfilled(window);
        }
        self.window.add(sample);
        if self.window.count() < window {
            return None;
        }
        let full = std::mem::take(&mut self.window);
        match &mut self.phase {
            Phase::Hold { .. } => self.end_hold_window(full),
            Phase::Trial(_) => self.end_trial_window(&full),
        }
    }

    fn window_batches(&self) -> u32 {
        (if self.starting { START_WINDOW_MIN } else { WINDOW_MIN }).max(2 * u32::from(self.limit))
    }

    /// The shard has less to do than the limit allows. A trial that cannot be filled is given up, or it would go on for ever.
    fn note_unfilled(&mut self, window: u32) -> Option<Decision> {
        let Phase::Trial(trial) = &mut self.phase else { return None };
        trial.unfilled += 1;
        if trial.unfilled < window {
            return None;
        }
        self.direction = self.direction.turned();
        self.hold(1);
        self.set_limit(self.base);
        Some(self.decision(Reason::Unfilled, None))
    }

    fn end_hold_window(&mut self, full: Estimate) -> Option<Decision> {
        let limit = self.base;
        let Phase::Hold { windows_left, strange } = &mut self.phase else { return None };
        *windows_left -= 1;
        let (change, _) = full.gain_over(limit, &self.stand, limit);
        let first = self.stand.count() == 0;
        *strange = if !first && !(-DRIFT / (1.0 + DRIFT)..=DRIFT).contains(&change) { *strange + 1 } else { 0 };
        let drifted = *strange >= DRIFT_WINDOWS;
        if *windows_left > 0 && !drifted {
            return None;
        }
        if self.starting && !drifted {
            // Together with what it wrote on trial: at the start windows are small.
            self.stand.join(&full);
        } else {
            self.stand = full;
        }
        if drifted {
            self.look_again();
        }
        let decision = self.begin_trial();
        if drifted { decision.map(|decision| Decision { reason: Reason::Drifted, gain: Some(change), ..decision }) } else { decision }
    }

    /// Tries the next limit in the direction of the search, or the other one at an end.
    fn begin_trial(&mut self) -> Option<Decision> {
        if self.min == self.max {
            self.hold(HOLD_WINDOWS_MAX);
            return None;
        }
        if self.base == self.max {
            self.starting = false;
            self.direction = Direction::Down;
        } else if self.base == self.min {
            self.direction = Direction::Up;
        }
        let candidate = self.neighbour();
        self.phase = Phase::Trial(Trial { candidate, on_candidate: true, rounds: 0, tried: Estimate::default(), unfilled: 0 });
        self.set_limit(candidate);
        Some(self.decision(Reason::Trial, None))
    }

    /// One step away, at least by one. A step up and one down undo each other, but for rounding.
    fn neighbour(&self) -> u16 {
        let share = |share: f64| ((f64::from(self.base) * share).round() as u16).max(1);
        match self.direction {
            Direction::Up if self.starting => self.base.saturating_mul(2).min(self.max),
            Direction::Up => self.base.saturating_add(share(self.step)).min(self.max),
            Direction::Down => self.base.saturating_sub(share(self.step / (1.0 + self.step))).max(self.min),
        }
    }

    /// Everything is open again.
    fn look_again(&mut self) {
        (self.step, self.rejected, self.hold_windows) = (STEP_MAX, 0, 1);
    }

    fn end_trial_window(&mut self, full: &Estimate) -> Option<Decision> {
        let base_limit = self.base;
        let Phase::Trial(trial) = &mut self.phase else { return None };
        if trial.on_candidate {
            trial.tried.join(full);
            trial.rounds += 1;
        } else {
            self.stand.join(full);
        }
        let candidate = trial.candidate;
        let (gain, error) = trial.tried.gain_over(candidate, &self.stand, base_limit);
        let threshold = match self.direction {
            _ if self.starting => START_GAIN,
            Direction::Up => UP_GAIN * self.step,
            Direction::Down => -DOWN_LOSS * self.step,
        };
        let clear = (gain - threshold).abs() > CLEAR_ERRORS * error;
        let rounds_max = if self.starting { START_ROUNDS_MAX } else { ROUNDS_MAX };
        if clear || trial.rounds >= rounds_max {
            return if gain > threshold { self.accept(candidate, gain) } else { self.reject(gain) };
        }
        if self.starting {
            // Time is short: what the lower limit writes is not looked at again.
            trial.unfilled = 0;
            return None;
        }
        trial.on_candidate = !trial.on_candidate;
        let (limit, reason) = if trial.on_candidate { (candidate, Reason::Trial) } else { (base_limit, Reason::Compare) };
        self.set_limit(limit);
        Some(self.decision(reason, Some(gain)))
    }

    /// Stands on the candidate, and goes on the same way after a window, with a wider step.
    fn accept(&mut self, candidate: u16, gain: f64) -> Option<Decision> {
        if let Phase::Trial(trial) = &self.phase {
            self.stand = trial.tried;
        }
        self.base = candidate;
        (self.step, self.rejected, self.hold_windows) = ((self.step * 2.0).min(STEP_MAX), 0, 1);
        self.hold(1);
        self.set_limit(candidate);
        Some(self.decision(Reason::Accepted, Some(gain)))
    }

    /// Back to the base, and the other way next. When neither way was better: a smaller step, and with the smallest a longer hold.
    fn reject(&mut self, gain: f64) -> Option<Decision> {
        if self.starting {
            // The step was a doubling: what lies between is tried next, from the same side.
            self.starting = false;
        } else {
            self.direction = self.direction.turned();
            self.rejected += 1;
        }
        // At an end there is one way only.
        let ways = if self.base == self.min || self.base == self.max { 1 } else { 2 };
        if self.rejected >= ways {
            self.rejected = 0;
            // A step of less than one is no smaller than one.
            if self.step > STEP_MIN && f64::from(self.base) * self.step > 1.0 {
                self.step = (self.step / 2.0).max(STEP_MIN);
            } else {
                self.hold_windows = (self.hold_windows * 2).min(HOLD_WINDOWS_MAX);
            }
        }
        self.hold(self.hold_windows);
        self.set_limit(self.base);
        Some(self.decision(Reason::Rejected, Some(gain)))
    }

    fn hold(&mut self, windows: u32) {
        self.phase = Phase::Hold { windows_left: windows, strange: 0 };
    }

    /// What runs now was started under the old limit: it is not counted.
    fn set_limit(&mut self, limit: u16) {
        self.window = Estimate::default();
        if limit != self.limit {
            self.unsettled = u32::from(self.limit.max(limit));
            self.limit = limit;
        }
    }

    fn decision(&self, reason: Reason, gain: Option<f64>) -> Decision {
        Decision { reason, limit: self.limit, base: self.base, gain }
    }
}
