//! What waits for standbys, and where each of them stands: a pure value.
//!
//! Commits go in, then their place in the log, then how far each standby is. What everybody sees, and what is kept, comes out in the order of
//! the commits.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::super::Ledger;
use crate::substrate::store::LogPosition;
use crate::support::faults::planted;
use crate::vocabulary::ids::Position;

/// What is done when everybody sees something.
pub(super) type News = Box<dyn FnOnce(&Ledger) + Send>;

/// What is done when something is kept.
#[derive(Default)]
pub(super) struct Keepsakes {
    pub(super) positions: Vec<Position>,
    pub(super) waiters: Vec<oneshot::Sender<()>>,
}

/// What shares one question for its place in the log.
#[derive(Default)]
pub(super) struct Group {
    news: Vec<News>,
    keepsakes: Keepsakes,
    /// Since when the oldest of it waits.
    since: Option<Instant>,
}

impl Group {
    fn is_empty(&self) -> bool {
        self.since.is_none()
    }
}

/// Whether a standby is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Stand {
    /// It is neither read nor waited for.
    #[default]
    Out,
    /// It is waited for from now on, and read once it has replayed what others have seen without it.
    Joining,
    Read,
}

#[derive(Debug, Default)]
struct Standing {
    stand: Stand,
    /// When it was asked last; `None`: it did not answer.
    replayed: Option<LogPosition>,
    /// What was called seen when it was asked the time before.
    seen_before: LogPosition,
    /// What others may have seen when it was let in.
    joins_at: LogPosition,
    rests_until: Option<Instant>,
}

impl Standing {
    fn is_awaited(&self) -> bool {
        self.stand != Stand::Out
    }
}

/// What a look at a standby came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    Stays,
    /// It is close enough to be waited for: [`Line::join`] follows.
    MayJoin,
    /// It is read from now on.
    In,
    /// It was read or waited for, and is not any more: it was silent, or so far behind.
    Out(Option<Duration>),
}

/// What waits, in the order of the commits, and who is waited for.
#[derive(Default)]
pub(super) struct Line {
    /// Committed, but it is not known yet where.
    fresh: Group,
    /// Committed before the log was there. The news of the first `told` are out already.
    placed: VecDeque<(LogPosition, Group)>,
    told: usize,
    /// All that was called seen lies before it.
    seen: LogPosition,
    standings: Vec<Standing>,
}

impl Line {
    pub(super) fn of(standbys: usize) -> Self {
        Self { standings: (0..standbys).map(|_| Standing::default()).collect(), ..Self::default() }
    }

    pub(super) fn hold_news(&mut self, news: News) {
        self.fresh_group().news.push(news);
    }

    pub(super) fn hold_positions(&mut self, positions: impl IntoIterator<Item = Position>) {
        self.fresh_group().keepsakes.positions.extend(positions);
    }

    pub(super) fn hold_waiter(&mut self, waiter: oneshot::Sender<()>) {
        self.fresh_group().keepsakes.waiters.push(waiter);
    }

    fn fresh_group(&mut self) -> &mut Group {
        self.fresh.since.get_or_insert_with(Instant::now);
        &mut self.fresh
    }

    /// What is new, to be placed; `None` if nothing is.
    pub(super) fn take_fresh(&mut self) -> Option<Group> {
        let fresh = std::mem::take(&mut self.fresh);
        (!fresh.is_empty()).then_some(fresh)
    }

    /// All of the group was committed before the log was there.
    pub(super) fn place(&mut self, position: LogPosition, group: Group) {
        self.placed.push_back((position, group));
    }

    /// It could not be asked where: the group is asked for again, before what came meanwhile.
    pub(super) fn give_back(&mut self, mut group: Group) {
        let later = std::mem::take(&mut self.fresh);
        group.news.extend(later.news);
        group.keepsakes.positions.extend(later.keepsakes.positions);
        group.keepsakes.waiters.extend(later.keepsakes.waiters);
        self.fresh = group;
    }

    /// Everything before this place counts as seen: it was committed before anybody was served.
    pub(super) fn begin(&mut self, position: LogPosition) {
        self.seen = self.seen.max(position);
        self.standings.iter_mut().for_each(|standing| standing.seen_before = position);
    }

    pub(super) fn seen(&self) -> LogPosition {
        self.seen
    }

    pub(super) fn is_read(&self, at: usize) -> bool {
        self.standings[at].stand == Stand::Read
    }

    pub(super) fn replayed(&self, at: usize) -> Option<LogPosition> {
        self.standings[at].replayed
    }

    /// Whether there is anything for standbys to replay.
    pub(super) fn waits(&self) -> bool {
        !self.placed.is_empty()
    }

    /// A standby was asked how far it is.
    pub(super) fn looked(&mut self, at: usize, replayed: Option<LogPosition>, lag_max: Duration, now: Instant) -> Turn {
        let seen = self.seen;
        let standing = &mut self.standings[at];
        standing.replayed = replayed;
        let seen_before = std::mem::replace(&mut standing.seen_before, seen);
        let Some(replayed) = replayed else { return if self.leave(at, None) { Turn::Out(None) } else { Turn::Stays } };
        match standing.stand {
            Stand::Out => {
                let rests = standing.rests_until.is_some_and(|until| now < until);
                if replayed >= seen_before && !rests { Turn::MayJoin } else { Turn::Stays }
            }
            Stand::Joining | Stand::Read => {
                let lag = self.lag(replayed, now);
                if lag > lag_max {
                    self.leave(at, None);
                    return Turn::Out(Some(lag));
                }
                let standing = &mut self.standings[at];
                if standing.stand == Stand::Joining && replayed >= seen.max(standing.joins_at) {
                    standing.stand = Stand::Read;
                    return Turn::In;
                }
                Turn::Stays
            }
        }
    }

    /// It is waited for from now on. Readers may have seen everything up to `log_end` without it.
    pub(super) fn join(&mut self, at: usize, log_end: LogPosition) {
        self.standings[at].joins_at = log_end;
        self.standings[at].stand = Stand::Joining;
    }

    /// It is neither read nor waited for, until then at least; says whether it was.
    pub(super) fn leave(&mut self, at: usize, rests_until: Option<Instant>) -> bool {
        let standing = &mut self.standings[at];
        standing.rests_until = rests_until.or(standing.rests_until);
        std::mem::replace(&mut standing.stand, Stand::Out) != Stand::Out
    }

    /// How long the first commit has waited that lies behind this place.
    fn lag(&self, replayed: LogPosition, now: Instant) -> Duration {
        let at = self.placed.partition_point(|(position, _)| *position <= replayed);
        let since = self.placed.get(at).and_then(|(_, group)| group.since);
        since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    /// How long the oldest has waited that no standby has, placed or not.
    pub(super) fn unkept_for(&self, now: Instant) -> Duration {
        let furthest = self.standings.iter().filter_map(|standing| standing.replayed).max().unwrap_or_default();
        let placed = self.lag(furthest, now);
        let fresh = self.fresh.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        placed.max(fresh)
    }

    /// What all who are waited for have replayed.
    fn awaited_have(&self) -> LogPosition {
        let awaited = self.standings.iter().filter(|standing| standing.is_awaited());
        awaited.map(|standing| standing.replayed.unwrap_or_default()).min().unwrap_or(LogPosition(u64::MAX))
    }

    /// The news of what everybody sees now.
    pub(super) fn take_seen(&mut self) -> Vec<News> {
        let have = self.awaited_have();
        let mut all = Vec::new();
        while let Some((position, group)) = self.placed.get_mut(self.told).filter(|(position, _)| *position <= have) {
            all.append(&mut group.news);
            self.seen = self.seen.max(*position);
            self.told += 1;
        }
        all
    }

    /// What is kept now, of that which is seen.
    pub(super) fn take_kept(&mut self) -> Keepsakes {
        let furthest = self.standings.iter().filter_map(|standing| standing.replayed).max().unwrap_or_default();
        let mut kept = Keepsakes::default();
        if planted("standbys::one_is_enough") {
            let early = self.placed.iter_mut().take_while(|(position, _)| *position <= furthest);
            early.for_each(|(_, group)| kept.positions.append(&mut group.keepsakes.positions));
        }
        while self.told > 0
            && let Some((_, group)) = self.placed.pop_front_if(|(position, _)| *position <= furthest)
        {
            self.told -= 1;
            kept.positions.extend(group.keepsakes.positions);
            kept.waiters.extend(group.keepsakes.waiters);
        }
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAG_MAX: Duration = Duration::from_secs(10);

    fn at(position: u64) -> LogPosition {
        LogPosition(position)
    }

    fn committed(line: &mut Line, position: u64) {
        line.hold_news(Box::new(|_| {}));
        line.hold_positions([Position(position)]);
        let group = line.take_fresh().expect("something new");
        line.place(at(position), group);
    }

    /// A standby that has all of the log is read.
    fn enter(line: &mut Line, standby: usize, end: u64, now: Instant) {
        assert_eq!(line.looked(standby, Some(at(end)), LAG_MAX, now), Turn::MayJoin);
        line.join(standby, at(end));
        assert_eq!(line.looked(standby, Some(at(end)), LAG_MAX, now), Turn::In);
    }

    fn out(line: &mut Line) -> (usize, Vec<u64>) {
        let news = line.take_seen().len();
        (news, line.take_kept().positions.into_iter().map(|position| position.0).collect())
    }

    #[test]
    fn what_is_committed_is_seen_when_all_that_are_read_have_it_and_kept_when_one_has() {
        let now = Instant::now();
        let mut line = Line::of(2);
        line.begin(at(100));
        committed(&mut line, 110);
        assert_eq!(out(&mut line), (1, vec![]), "nobody is read, so all see it; nobody could take over with it");
        line.looked(0, Some(at(110)), LAG_MAX, now);
        assert_eq!(out(&mut line), (0, vec![110]));

        enter(&mut line, 0, 110, now);
        enter(&mut line, 1, 110, now);
        committed(&mut line, 120);
        assert_eq!(out(&mut line), (0, vec![]));
        line.looked(0, Some(at(130)), LAG_MAX, now);
        assert_eq!(out(&mut line), (0, vec![]), "the other has not replayed it");
        line.looked(1, Some(at(120)), LAG_MAX, now);
        assert_eq!(out(&mut line), (1, vec![120]));
        assert_eq!(line.seen(), at(120));
    }

    #[test]
    fn a_standby_that_is_too_far_behind_or_silent_is_waited_for_no_more() {
        let now = Instant::now();
        let mut line = Line::of(2);
        line.begin(at(100));
        enter(&mut line, 0, 100, now);
        enter(&mut line, 1, 100, now);
        committed(&mut line, 110);

        assert_eq!(line.looked(0, Some(at(100)), LAG_MAX, now + LAG_MAX / 2), Turn::Stays);
        assert!(matches!(line.looked(0, Some(at(100)), LAG_MAX, now + LAG_MAX * 2), Turn::Out(Some(lag)) if lag > LAG_MAX));
        assert_eq!(line.looked(1, None, LAG_MAX, now), Turn::Out(None));
        assert_eq!(line.looked(1, None, LAG_MAX, now), Turn::Stays);
        assert_eq!(out(&mut line), (1, vec![]));
        assert!(!line.is_read(0) && !line.is_read(1));
    }

    #[test]
    fn a_standby_comes_back_only_with_all_that_was_seen_without_it() {
        let now = Instant::now();
        let mut line = Line::of(1);
        line.begin(at(100));
        committed(&mut line, 110);
        assert_eq!(out(&mut line).0, 1);

        assert_eq!(line.looked(0, Some(at(105)), LAG_MAX, now), Turn::MayJoin, "it had all when it was asked before");
        line.join(0, at(115));
        committed(&mut line, 120);
        assert_eq!(out(&mut line).0, 0, "it is waited for already");
        assert_eq!(line.looked(0, Some(at(112)), LAG_MAX, now), Turn::Stays);
        assert!(!line.is_read(0));
        assert_eq!(line.looked(0, Some(at(115)), LAG_MAX, now), Turn::In);
        line.leave(0, Some(now + REST_OF_TEST));
        assert_eq!(line.looked(0, Some(at(120)), LAG_MAX, now), Turn::Stays, "it failed a read a moment ago");
        assert_eq!(line.looked(0, Some(at(120)), LAG_MAX, now + REST_OF_TEST), Turn::MayJoin);
    }

    #[test]
    fn a_standby_that_is_far_behind_is_not_waited_for() {
        let now = Instant::now();
        let mut line = Line::of(1);
        line.begin(at(100));
        assert_eq!(line.looked(0, Some(at(50)), LAG_MAX, now), Turn::Stays);
        committed(&mut line, 110);
        out(&mut line);
        line.looked(0, Some(at(60)), LAG_MAX, now);
        assert_eq!(line.looked(0, Some(at(70)), LAG_MAX, now), Turn::Stays);
    }

    const REST_OF_TEST: Duration = Duration::from_secs(1);
}
