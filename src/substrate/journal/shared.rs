//! What the journal's thread shares with those who append and read; here appends become frames and wait for it.
//!
//! Drafts in, frames in one buffer out, in the order of positions. Nothing here touches the disk. Full: refused.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use super::disk;
use super::embedded::FailStop;
use super::mark::Mark;
use super::measures::Measures;
use super::recent::Recent;
use super::record::{self, Seed, Stamp};
use super::segment::Segment;
use super::{AppendError, Bell, Draft, JournalId, Locator};
use crate::vocabulary::ids::Position;

/// What may wait for the journal's thread. Admission, which counts the same bytes until they are applied, stays far below: it is
/// a bound against a fault of ours, and what passes it is refused as if the disk were full.
pub(super) const GATHERED_BYTES_MAX: usize = 256 * 1024 * 1024;

pub(super) type Durable = Box<dyn FnOnce(Position, Locator) + Send>;

/// Records on their way to the disk: their frames, where each ends, and whom to tell.
#[derive(Default)]
pub(super) struct Group {
    pub(super) bytes: Vec<u8>,
    pub(super) ends: Vec<u32>,
    pub(super) durables: Vec<Durable>,
}

/// Where appends meet the journal's thread.
pub(super) struct Gathering {
    pub(super) group: Group,
    pub(super) next: Position,
    pub(super) chain: u32,
    pub(super) closed: bool,
    pub(super) writer_rests: bool,
    pub(super) full_until: Option<Instant>,
}

/// What the journal's thread shares with those who append and read.
pub(super) struct Shared {
    pub(super) id: JournalId,
    pub(super) seed: Seed,
    pub(super) epoch: u32,
    pub(super) directory: PathBuf,
    pub(super) segment_bytes: u64,
    pub(super) record_bytes_max: usize,
    pub(super) sync_interval: Duration,
    gathering: Mutex<Gathering>,
    pub(super) wake: Condvar,
    pub(super) durable: AtomicU64,
    /// Ascending; the last one is being written.
    pub(super) segments: RwLock<Vec<Arc<Segment>>>,
    pub(super) recent: Recent,
    pub(super) mark: Mark,
    pub(super) bell: Mutex<Option<Bell>>,
    pub(super) measures: Measures,
    fail_stop: FailStop,
}

/// What the parts of [`Shared`] are made of.
pub(super) struct Parts {
    pub(super) id: JournalId,
    pub(super) seed: Seed,
    pub(super) epoch: u32,
    pub(super) directory: PathBuf,
    pub(super) segment_bytes: u64,
    pub(super) record_bytes_max: usize,
    pub(super) sync_interval: Duration,
    pub(super) recent_bytes_max: usize,
    pub(super) last: Position,
    pub(super) chain: u32,
    pub(super) segments: Vec<Arc<Segment>>,
    pub(super) mark: Mark,
    pub(super) fail_stop: FailStop,
}

impl Shared {
    pub(super) fn new(parts: Parts) -> Self {
        let gathering = Gathering {
            group: Group::default(),
            next: parts.last.next(),
            chain: parts.chain,
            closed: false,
            writer_rests: false,
            full_until: None,
        };
        Self {
            id: parts.id,
            seed: parts.seed,
            epoch: parts.epoch,
            directory: parts.directory,
            segment_bytes: parts.segment_bytes,
            record_bytes_max: parts.record_bytes_max,
            sync_interval: parts.sync_interval,
            gathering: Mutex::new(gathering),
            wake: Condvar::new(),
            durable: AtomicU64::new(parts.last.0),
            segments: RwLock::new(parts.segments),
            recent: Recent::new(parts.recent_bytes_max),
            mark: parts.mark,
            bell: Mutex::new(None),
            measures: Measures::describe(),
            fail_stop: parts.fail_stop,
        }
    }

    pub(super) fn durable(&self) -> Position {
        Position(self.durable.load(Ordering::Acquire))
    }

    pub(super) fn gathering(&self) -> MutexGuard<'_, Gathering> {
        self.gathering.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a draft the next position and a place in the group that gathers.
    pub(super) fn append(&self, draft: Draft) -> Result<(), AppendError> {
        let length = draft.bytes.len();
        if length > self.record_bytes_max {
            return Err(AppendError::TooLarge(length));
        }
        let payload_checksum = crc32c::crc32c(&draft.bytes);
        let durable = self.durable();

        let mut gathering = self.gathering();
        if gathering.closed {
            return Err(AppendError::Closed);
        }
        if let Some(until) = gathering.full_until {
            if Instant::now() < until {
                return Err(AppendError::Full(io::ErrorKind::StorageFull.into()));
            }
            gathering.full_until = None;
        }
        if gathering.group.bytes.len() + length > GATHERED_BYTES_MAX {
            return Err(AppendError::Full(io::ErrorKind::QuotaExceeded.into()));
        }
        let Gathering { group, next, chain, .. } = &mut *gathering;
        let stamp = Stamp { before: *chain, epoch: self.epoch, position: *next, durable };
        *chain = record::encode(&mut group.bytes, self.seed, stamp, &draft.bytes, payload_checksum);
        *next = next.next();
        group.ends.push(group.bytes.len() as u32);
        group.durables.push(draft.durable);
        let wakes = std::mem::take(&mut gathering.writer_rests);
        drop(gathering);

        if wakes {
            self.wake.notify_one();
        }
        Ok(())
    }

    /// Refuses further appends; the thread ends when it has written what was taken.
    pub(super) fn close(&self) {
        self.gathering().closed = true;
        self.wake.notify_all();
    }

    /// Ends the process, or in a test what its hook does; then nothing more is taken.
    pub(super) fn fail_stop(&self, what: &str, error: &io::Error) {
        tracing::error!(%error, what, directory = %disk::shown(&self.directory), "the journal cannot be trusted: stopping");
        (self.fail_stop)(what);
        let mut gathering = self.gathering();
        gathering.closed = true;
        let group = std::mem::take(&mut gathering.group);
        drop(gathering);
        drop(group);
    }

    /// Bytes of the main segments on the disk.
    pub(super) fn disk_bytes(&self) -> u64 {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        let finished: u64 = segments.iter().rev().skip(1).map(|segment| segment.end()).sum();
        finished + segments.last().map_or(0, |last| last.end().max(self.segment_bytes))
    }
}
