//! Parking: records that wait for one stopped shard, copied aside so that the main segments can be trimmed.
//!
//! Each shard has a directory of segments as the main ones, with positions that only rise, and a mark of its own. Here the mark
//! is synced with each call: what was parked may be gone from the main segments a moment later. A shard's files are
//! checked when it is first asked for, so damage here stops that shard and not the others.

use std::collections::HashMap;
use std::fmt::Write;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::batch::Batch;
use super::disk;
use super::mark::Mark;
use super::record::{self, Seed, Stamp};
use super::recovery::{Expectation, Order, recover};
use super::segment::{Segment, SegmentHeader};
use super::shared::Shared;
use super::writer::begin_segment;
use super::{JournalId, ReadError, Record};
use crate::vocabulary::ids::Position;

pub(super) const MARK_NAME: &str = "mark";
const BLANK_NAME: &str = "next.prepared";
/// What is encoded before it is written; a segment may be larger than it should by so much.
const WRITE_BYTES: usize = 1024 * 1024;

/// The parking of all shards.
pub(super) struct Parking {
    directory: PathBuf,
    journal: JournalId,
    segment_bytes: u64,
    main: Arc<Shared>,
    shards: Mutex<HashMap<String, Arc<Mutex<Option<Lot>>>>>,
}

/// One shard's parked records.
struct Lot {
    directory: PathBuf,
    journal: JournalId,
    seed: Seed,
    mark: Mark,
    epoch: u32,
    number: u32,
    /// Of the last frame that was written, whether it is still held or not.
    chain: u32,
    last: Position,
    segments: Vec<Segment>,
    /// Whether the last of `segments` was begun since opening, and so may be written to.
    writable: bool,
}

impl Parking {
    pub(super) fn new(directory: PathBuf, journal: JournalId, segment_bytes: u64, main: Arc<Shared>) -> Self {
        Self { directory, journal, segment_bytes, main, shards: Mutex::default() }
    }

    pub(super) fn park(&self, shard: &str, records: &[Record]) -> Result<(), ReadError> {
        self.with(shard, true, |lot| {
            let parked = lot.park(records, self.segment_bytes);
            parked.map_err(|trouble| match trouble {
                Trouble::Untouched(source) => lot.error(source),
                Trouble::Doubtful(source) => {
                    self.main.fail_stop("could not sync parked records", &source);
                    lot.error(source)
                }
            })
        })
        .map(|_| ())
    }

    pub(super) fn read(&self, shard: &str, after: Position, bytes_max: usize) -> Result<Vec<Record>, ReadError> {
        let mut batch = Batch::new(bytes_max);
        self.with(shard, false, |lot| {
            let from = Position(after.0.saturating_add(1));
            let at = lot.segments.partition_point(|segment| segment.last() < from);
            for segment in &lot.segments[at..] {
                if segment.read(from, lot.last, &mut batch)? {
                    break;
                }
            }
            Ok(())
        })?;
        Ok(batch.into_records())
    }

    pub(super) fn through(&self, shard: &str) -> Result<Option<Position>, ReadError> {
        let through = self.with(shard, false, |lot| Ok(lot.segments.last().map(Segment::last)))?;
        Ok(through.flatten())
    }

    pub(super) fn trim(&self, shard: &str, through: Position) -> Result<(), ReadError> {
        self.with(shard, false, |lot| lot.trim(through).map_err(|source| lot.error(source))).map(|_| ())
    }

    /// Does something with a shard's lot. `None` if it has none and none is wanted.
    fn with<T>(&self, shard: &str, make: bool, act: impl FnOnce(&mut Lot) -> Result<T, ReadError>) -> Result<Option<T>, ReadError> {
        let slot = self.shards.lock().unwrap_or_else(PoisonError::into_inner).entry(shard.to_owned()).or_default().clone();
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.is_none() {
            let directory = self.directory.join(directory_name(shard));
            let exists = directory.try_exists().map_err(io_at(&directory))?;
            if !exists && !make {
                return Ok(None);
            }
            *slot = Some(Lot::open(directory, self.journal, shard)?);
        }
        slot.as_mut().map(act).transpose()
    }
}

/// Why records were not parked.
enum Trouble {
    /// They are not there, and all is as before.
    Untouched(io::Error),
    /// Nobody knows.
    Doubtful(io::Error),
}

impl Lot {
    fn open(directory: PathBuf, journal: JournalId, shard: &str) -> Result<Self, ReadError> {
        disk::create_directory(&directory).map_err(io_at(&directory))?;
        // The one that holds it may have been left undurable, and a power cut could take a new lot away with it.
        for parent in directory.ancestors().skip(2).take(1) {
            disk::sync_directory(parent).map_err(io_at(parent))?;
        }
        let seed = Seed::of(journal, shard);
        let path = directory.join(MARK_NAME);
        let mark = Mark::open(&path, seed).map_err(io_at(&path))?;
        let recovered = recover(&directory, Expectation { journal, seed, order: Order::Rising, mark: mark.value() })?;
        if let Some(cut) = &recovered.cut {
            tracing::warn!(
                file = cut.file,
                offset = cut.offset,
                bytes = cut.bytes,
                reason = cut.what,
                "the tail of parked records was torn and has been cut off"
            );
        }
        let last = recovered.last.unwrap_or(Position::START).max(mark.value().durable);
        let mut lot = Self {
            directory,
            journal,
            seed,
            mark,
            epoch: recovered.epoch + 1,
            number: recovered.number,
            chain: recovered.chain,
            last,
            segments: recovered.segments,
            writable: false,
        };
        lot.note(last).map_err(io_at(&path))?;
        Ok(lot)
    }

    fn note(&mut self, last: Position) -> io::Result<()> {
        self.mark.write(|value| (value.durable, value.epoch) = (last, self.epoch))?;
        self.mark.sync()
    }

    fn park(&mut self, records: &[Record], segment_bytes: u64) -> Result<(), Trouble> {
        let known = self.last;
        let mut rest = records.iter().filter(|record| record.position > known).peekable();
        while rest.peek().is_some() {
            let full = self.segments.last().is_none_or(|segment| segment.end() >= segment_bytes);
            if full || !self.writable {
                self.begin_segment().map_err(Trouble::Untouched)?;
            }
            self.write(&mut rest)?;
        }
        Ok(())
    }

    /// Writes and syncs as many records as one write takes.
    fn write<'a>(&mut self, records: &mut impl Iterator<Item = &'a Record>) -> Result<(), Trouble> {
        let Some(segment) = self.segments.last() else { return Ok(()) };
        let mut bytes = Vec::new();
        let mut frames = Vec::new();
        let (mut last, mut chain) = (self.last, self.chain);
        let begin = segment.end();
        for record in records {
            if record.position <= last {
                continue;
            }
            let stamp = Stamp { before: chain, epoch: self.epoch, position: record.position, durable: self.last };
            chain = record::encode(&mut bytes, self.seed, stamp, &record.bytes, crc32c::crc32c(&record.bytes));
            last = record.position;
            frames.push((last, begin + bytes.len() as u64));
            if bytes.len() >= WRITE_BYTES {
                break;
            }
        }

        if let Err(error) = segment.file.write_all_at(&bytes, begin) {
            let cut = segment.file.set_len(begin).and_then(|()| segment.file.sync_all());
            return Err(cut.map_or_else(Trouble::Doubtful, |()| Trouble::Untouched(error)));
        }
        disk::sync_data(&segment.file).map_err(Trouble::Doubtful)?;
        segment.extend(frames.into_iter());
        (self.last, self.chain) = (last, chain);
        self.note(last).map_err(Trouble::Doubtful)
    }

    fn begin_segment(&mut self) -> io::Result<()> {
        let header =
            SegmentHeader { journal: self.journal, number: self.number + 1, epoch: self.epoch, after: self.last, chain: self.chain };
        let path = self.directory.join(BLANK_NAME);
        disk::remove_file(&path)?;
        let blank = disk::create_file(&path)?;
        let segment = begin_segment(&self.directory, blank, &path, header, self.seed)?;
        // An empty one of the same name, left when a write failed, was replaced.
        self.segments.retain(|held| held.path != segment.path);
        self.segments.push(segment);
        self.number = header.number;
        self.writable = true;
        Ok(())
    }

    fn trim(&mut self, through: Position) -> io::Result<()> {
        let count = self.segments.partition_point(|segment| segment.last() <= through);
        let Some(last) = count.checked_sub(1).map(|at| self.segments[at].last()) else { return Ok(()) };
        self.mark.write(|value| value.trimmed = value.trimmed.max(last))?;
        self.mark.sync()?;
        for segment in self.segments.drain(..count) {
            disk::remove_file(&segment.path)?;
        }
        self.writable &= !self.segments.is_empty();
        disk::sync_directory(&self.directory)
    }

    fn error(&self, source: io::Error) -> ReadError {
        ReadError::Io { file: disk::shown(&self.directory), offset: 0, source }
    }
}

pub(super) fn io_at(path: &Path) -> impl FnOnce(io::Error) -> ReadError {
    let file = disk::shown(path);
    move |source| ReadError::Io { file, offset: 0, source }
}

/// A name for the shard's directory: what is not a plain character is written as its code.
pub(super) fn directory_name(shard: &str) -> String {
    let mut name = String::from("shard-");
    for byte in shard.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' {
            name.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(name, "%{byte:02x}");
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_shard_name_leaves_the_parking_directory_or_meets_another() {
        assert_eq!(directory_name("s1"), "shard-s1");
        assert_eq!(directory_name("../x"), "shard-%2e%2e%2fx");
        assert_ne!(directory_name("a b"), directory_name("a%20b"));
        assert_eq!(directory_name(""), "shard-");
    }
}
