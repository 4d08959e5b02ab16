//! The waiting entries of a shard, by lane: what a supervisor forms its batches from.
//!
//! Entries go in, in order for each lane; runs come out, of lanes that no batch has in hand. A pure value, without a clock.

use std::collections::VecDeque;
use std::sync::Arc;

use super::job::LaneRun;
use crate::vocabulary::command::Entry;
use crate::vocabulary::ids::Position;
use crate::vocabulary::owner::{LANES, Lane};

#[derive(Debug, Default)]
struct LaneQueue {
    applied: Position,
    /// The last entry that was queued, to skip what comes again.
    queued: Position,
    waiting: VecDeque<Arc<Entry>>,
    busy: bool,
    /// So many of the next entries are taken one by one: a batch with them failed.
    careful: usize,
}

/// All lanes of one shard.
#[derive(Debug)]
pub struct Lanes {
    queues: Vec<LaneQueue>,
    waiting: usize,
    bytes: usize,
    /// Where the next batch begins to look, so that no lane is always last.
    turn: usize,
}

impl Default for Lanes {
    fn default() -> Self {
        Self { queues: (0..LANES).map(|_| LaneQueue::default()).collect(), waiting: 0, bytes: 0, turn: 0 }
    }
}

impl Lanes {
    /// Where a lane is, as its database says.
    pub fn set_applied(&mut self, lane: Lane, applied: Position) {
        let queue = self.queue(lane);
        queue.applied = applied;
        queue.queued = queue.queued.max(applied);
    }

    /// Queues an entry, unless it was queued or applied before.
    pub fn push(&mut self, lane: Lane, entry: Arc<Entry>) {
        let size = entry_bytes(&entry);
        let queue = self.queue(lane);
        if entry.position <= queue.queued {
            return;
        }
        queue.queued = entry.position;
        queue.waiting.push_back(entry);
        self.waiting += 1;
        self.bytes += size;
    }

    /// Entries and bytes that wait here.
    pub fn waiting(&self) -> (usize, usize) {
        (self.waiting, self.bytes)
    }

    pub fn has_free(&self, urgent: bool) -> bool {
        self.free(urgent).next().is_some()
    }

    /// Takes runs for one batch: at most `rows` entries and, but for the first, `bytes`; of at most `lanes` lanes.
    pub fn take(&mut self, urgent: bool, rows: usize, bytes: usize, lanes: usize) -> Vec<LaneRun> {
        let free: Vec<u16> = self.free(urgent).collect();
        let mut runs: Vec<LaneRun> = Vec::new();
        let (mut rows_left, mut bytes_left) = (rows, bytes);
        for index in free.iter().copied().take(lanes) {
            let alone = self.queue(Lane(index)).careful > 0;
            if alone && !runs.is_empty() {
                continue;
            }
            let run = self.take_run(Lane(index), if alone { 1 } else { rows_left }, &mut bytes_left, runs.is_empty());
            rows_left = rows_left.saturating_sub(run.entries.len());
            if !run.entries.is_empty() {
                self.queue(Lane(index)).busy = true;
                runs.push(run);
            }
            if alone || rows_left == 0 || bytes_left == 0 {
                break;
            }
        }
        self.turn = self.turn.wrapping_add(runs.len().max(1));
        runs
    }

    fn take_run(&mut self, lane: Lane, rows: usize, bytes_left: &mut usize, first: bool) -> LaneRun {
        let queue = self.queue(lane);
        let known = queue.applied;
        let mut entries = Vec::new();
        let mut freed = 0;
        while entries.len() < rows {
            let Some(entry) = queue.waiting.front() else { break };
            let size = entry_bytes(entry);
            let fits = size <= *bytes_left || (first && entries.is_empty());
            if !fits {
                *bytes_left = 0;
                break;
            }
            *bytes_left = bytes_left.saturating_sub(size);
            freed += size;
            entries.extend(queue.waiting.pop_front());
        }
        self.waiting -= entries.len();
        self.bytes -= freed;
        LaneRun { lane, known, entries }
    }

    /// A batch is committed: the lane is free and further on.
    pub fn done(&mut self, run: &LaneRun) {
        let queue = self.queue(run.lane);
        queue.applied = queue.applied.max(run.last());
        queue.busy = false;
        queue.careful = queue.careful.saturating_sub(run.entries.len());
    }

    /// A batch was not committed: its entries wait again, at the head. `careful`: one by one from now on.
    pub fn put_back(&mut self, run: &LaneRun, careful: bool) {
        let bytes: usize = run.entries.iter().map(|entry| entry_bytes(entry)).sum();
        let queue = self.queue(run.lane);
        queue.busy = false;
        for entry in run.entries.iter().rev() {
            queue.waiting.push_front(Arc::clone(entry));
        }
        if careful {
            queue.careful = queue.careful.max(run.entries.len());
        }
        self.waiting += run.entries.len();
        self.bytes += bytes;
    }

    /// Drops what a lane has applied already: its database was further than we knew. Returns the entries dropped.
    pub fn catch_up(&mut self, lane: Lane, applied: Position) -> Vec<Arc<Entry>> {
        let queue = self.queue(lane);
        queue.applied = applied;
        let mut dropped = Vec::new();
        while queue.waiting.front().is_some_and(|entry| entry.position <= applied) {
            dropped.extend(queue.waiting.pop_front());
        }
        let bytes: usize = dropped.iter().map(|entry| entry_bytes(entry)).sum();
        self.waiting -= dropped.len();
        self.bytes -= bytes;
        dropped
    }

    fn free(&self, urgent: bool) -> impl Iterator<Item = u16> {
        let count = usize::from(LANES);
        (0..count)
            .map(move |step| ((self.turn + step) % count) as u16)
            .filter(move |index| Lane(*index).is_urgent() == urgent)
            .filter(|index| self.queues.get(usize::from(*index)).is_some_and(|queue| !queue.busy && !queue.waiting.is_empty()))
    }

    fn queue(&mut self, lane: Lane) -> &mut LaneQueue {
        &mut self.queues[usize::from(lane.0)]
    }
}

/// About what an entry takes in a transaction.
pub fn entry_bytes(entry: &Entry) -> usize {
    use crate::vocabulary::command::Command;
    let body = match &entry.command {
        Command::CreatePost { body, .. } | Command::EditPost { body, .. } => body.as_str().len(),
        Command::CreateComment { body, .. } | Command::EditComment { body, .. } => body.as_str().len(),
        _ => 0,
    };
    body + 64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::command::Command;
    use crate::vocabulary::ids::{PostId, UserId, WriteId};

    fn entry(position: u64) -> Arc<Entry> {
        let command = Command::SetPostLike { post: PostId::from_raw(1), liked: true };
        let (write, author) = (WriteId::from_raw(position), UserId::from_raw(1));
        Arc::new(Entry { position: Position(position), write, author, accepted_at: 0, key: None, command })
    }

    fn positions(runs: &[LaneRun]) -> Vec<u64> {
        runs.iter().flat_map(|run| &run.entries).map(|entry| entry.position.0).collect()
    }

    #[test]
    fn a_lane_in_hand_gives_nothing_until_its_batch_ends() {
        let mut lanes = Lanes::default();
        lanes.push(Lane(0), entry(1));
        lanes.push(Lane(0), entry(2));

        let runs = lanes.take(false, 1, 1000, 40);
        assert_eq!(positions(&runs), [1]);
        assert!(lanes.take(false, 10, 1000, 40).is_empty());

        lanes.done(&runs[0]);
        let next = lanes.take(false, 10, 1000, 40);
        assert_eq!(positions(&next), [2]);
        assert_eq!(next[0].known, Position(1));
    }

    #[test]
    fn an_entry_that_comes_again_is_not_queued_again() {
        let mut lanes = Lanes::default();
        lanes.set_applied(Lane(0), Position(5));
        for position in [4, 5, 6, 6] {
            lanes.push(Lane(0), entry(position));
        }

        assert_eq!(positions(&lanes.take(false, 10, 1000, 40)), [6]);
    }

    #[test]
    fn a_failed_batch_comes_back_in_order_and_one_by_one() {
        let mut lanes = Lanes::default();
        for position in 1..=3 {
            lanes.push(Lane(0), entry(position));
        }
        let runs = lanes.take(false, 2, 1000, 40);
        lanes.put_back(&runs[0], true);

        for expected in [vec![1], vec![2], vec![3]] {
            let runs = lanes.take(false, 10, 1000, 40);
            assert_eq!(positions(&runs), expected);
            lanes.done(&runs[0]);
        }
        assert_eq!(lanes.waiting(), (0, 0));
    }

    #[test]
    fn a_batch_keeps_to_its_bytes_but_takes_one_entry_of_any_size() {
        let mut lanes = Lanes::default();
        for position in 1..=3 {
            lanes.push(Lane(0), entry(position));
        }

        assert_eq!(positions(&lanes.take(false, 10, 10, 40)), [1]);
    }
}
