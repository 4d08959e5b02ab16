//! How fresh the reads of one request must be, and how fresh they were.
//!
//! What its reader has seen before goes in, and what he has seen then comes out; in between both travel with the task that answers him, so that
//! nothing that reads has to hand them on. Without a scope reads have no needs and tell nothing.

use std::cell::RefCell;

use crate::substrate::store::LogPosition;
use crate::vocabulary::owner::ShardIndex;

/// A state of a shard that somebody has seen: all of it lies before this place in the log of the primary of that epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogMark {
    pub shard: ShardIndex,
    pub epoch: u64,
    pub position: LogPosition,
}

impl LogMark {
    /// The later of two marks of one shard.
    fn later(self, other: Self) -> Self {
        if (other.epoch, other.position) > (self.epoch, self.position) { other } else { self }
    }
}

/// By shard, at most one each.
#[derive(Debug, Clone, Default)]
pub struct LogMarks(Vec<LogMark>);

impl LogMarks {
    /// Goes on to a mark that is later than the one of its shard.
    pub fn note(&mut self, mark: LogMark) {
        match self.0.iter_mut().find(|known| known.shard == mark.shard) {
            Some(known) => *known = known.later(mark),
            None => self.0.push(mark),
        }
    }

    pub fn of(&self, shard: ShardIndex) -> Option<LogMark> {
        self.0.iter().find(|mark| mark.shard == shard).copied()
    }

    pub fn iter(&self) -> impl Iterator<Item = LogMark> {
        self.0.iter().copied()
    }
}

impl FromIterator<LogMark> for LogMarks {
    fn from_iter<T: IntoIterator<Item = LogMark>>(marks: T) -> Self {
        let mut all = Self::default();
        marks.into_iter().for_each(|mark| all.note(mark));
        all
    }
}

tokio::task_local! {
    static SEEN: RefCell<LogMarks>;
}

/// Reads at least as fresh as `seen` says; [`seen_so_far`] tells what came to it.
pub async fn no_older_than<T>(seen: LogMarks, reads: impl Future<Output = T>) -> T {
    SEEN.scope(RefCell::new(seen), reads).await
}

/// What the reader of this task has seen by now, before it and in it.
pub fn seen_so_far() -> LogMarks {
    SEEN.try_with(|seen| seen.borrow().clone()).unwrap_or_default()
}

/// What he has seen of a shard.
pub(super) fn needed(shard: ShardIndex) -> Option<LogMark> {
    SEEN.try_with(|seen| seen.borrow().of(shard)).ok().flatten()
}

/// He is shown this.
pub(super) fn note(mark: LogMark) {
    // Outside of a request nobody asks for it.
    let _unasked = SEEN.try_with(|seen| seen.borrow_mut().note(mark));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(shard: u16, epoch: u64, position: u64) -> LogMark {
        LogMark { shard: ShardIndex(shard), epoch, position: LogPosition(position) }
    }

    #[tokio::test]
    async fn a_reader_never_goes_back_and_an_epoch_outweighs_a_place() {
        let before = [mark(0, 1, 50), mark(1, 2, 7)].into_iter().collect();

        let seen = no_older_than(before, async {
            note(mark(0, 1, 40));
            note(mark(1, 3, 2));
            note(mark(2, 1, 9));
            seen_so_far()
        })
        .await;

        assert_eq!(seen.iter().collect::<Vec<_>>(), [mark(0, 1, 50), mark(1, 3, 2), mark(2, 1, 9)]);
        note(mark(0, 1, 1));
        assert_eq!(seen_so_far().iter().count(), 0);
    }
}
