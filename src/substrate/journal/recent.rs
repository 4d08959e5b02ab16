//! The newest groups in memory, so that readers at the end of the journal need neither the file nor a checksum.
//!
//! Bounded by bytes: what is older is read from its segment. The bytes are the buffer that was written; nothing is copied
//! before somebody reads.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError, RwLock};

use super::batch::Batch;
use super::record::FRAME_HEADER_BYTES;
use super::{Locator, Record};
use crate::vocabulary::ids::Position;

/// Records that were written together to one segment.
pub(super) struct Chunk {
    /// The encoded frames of the whole group, and where each ends.
    pub(super) bytes: Arc<Vec<u8>>,
    pub(super) ends: Arc<Vec<u32>>,
    /// Which frames of the group are meant.
    pub(super) frames: std::ops::Range<usize>,
    /// The position of the first of them.
    pub(super) first: Position,
    /// Where the first of them lies; the others follow it in the same segment.
    pub(super) locator: Locator,
}

impl Chunk {
    fn begin_of(&self, frame: usize) -> usize {
        frame.checked_sub(1).map_or(0, |before| self.ends[before] as usize)
    }

    fn size(&self) -> usize {
        let end = self.frames.end.checked_sub(1).map_or(0, |last| self.ends[last] as usize);
        end - self.begin_of(self.frames.start) + self.frames.len() * size_of::<u32>()
    }

    fn last(&self) -> Position {
        Position(self.first.0 + self.frames.len() as u64 - 1)
    }

    fn payload(&self, nth: usize) -> &[u8] {
        let frame = self.frames.start + nth;
        &self.bytes[self.begin_of(frame) + FRAME_HEADER_BYTES..self.ends[frame] as usize]
    }

    fn record(&self, nth: usize) -> Record {
        let offset = self.begin_of(self.frames.start + nth) - self.begin_of(self.frames.start);
        Record {
            position: Position(self.first.0 + nth as u64),
            locator: Locator(self.locator.0 + offset as u64),
            bytes: self.payload(nth).to_vec(),
        }
    }
}

/// The ring of chunks.
pub(super) struct Recent {
    bytes_max: usize,
    ring: RwLock<Ring>,
}

#[derive(Default)]
struct Ring {
    chunks: VecDeque<Arc<Chunk>>,
    bytes: usize,
}

impl Recent {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, ring: RwLock::default() }
    }

    /// Adds the newest chunk; the oldest go.
    pub(super) fn push(&self, chunk: Chunk) {
        let mut ring = self.ring.write().unwrap_or_else(PoisonError::into_inner);
        ring.bytes += chunk.size();
        ring.chunks.push_back(Arc::new(chunk));
        while ring.bytes > self.bytes_max
            && let Some(oldest) = ring.chunks.pop_front()
        {
            ring.bytes -= oldest.size();
        }
    }

    /// Adds the records from `from` through `through` that are held, as far as `batch` takes them. Returns whether it refused one.
    pub(super) fn read(&self, from: Position, through: Position, batch: &mut Batch) -> bool {
        let mut next = from;
        while next <= through
            && let Some(chunk) = self.holding(next)
        {
            for nth in (next.0 - chunk.first.0) as usize..chunk.frames.len() {
                let record = chunk.first.0 + nth as u64;
                if record > through.0 {
                    return false;
                }
                if !batch.takes(chunk.payload(nth).len()) {
                    return true;
                }
                batch.push(chunk.record(nth));
            }
            next = chunk.last().next();
        }
        false
    }

    /// One record, if it is held.
    pub(super) fn read_at(&self, locator: Locator) -> Option<Record> {
        let chunk = {
            let ring = self.ring.read().unwrap_or_else(PoisonError::into_inner);
            let after = ring.chunks.partition_point(|chunk| chunk.locator <= locator);
            ring.chunks.get(after.checked_sub(1)?)?.clone()
        };
        let first = chunk.begin_of(chunk.frames.start) as u64;
        let begin = first + (locator.0 - chunk.locator.0);
        let nth = if begin == first {
            0
        } else {
            // Each further frame begins where the one before it ends.
            chunk.ends[chunk.frames.start..chunk.frames.end - 1].binary_search_by_key(&begin, |end| u64::from(*end)).ok()? + 1
        };
        Some(chunk.record(nth))
    }

    fn holding(&self, position: Position) -> Option<Arc<Chunk>> {
        let ring = self.ring.read().unwrap_or_else(PoisonError::into_inner);
        let after = ring.chunks.partition_point(|chunk| chunk.first <= position);
        let chunk = ring.chunks.get(after.checked_sub(1)?)?;
        (position <= chunk.last()).then(|| chunk.clone())
    }
}
