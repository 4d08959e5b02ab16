//! Segment files: a header, then frames without a gap, then (while it is the last one) zeros that were written beforehand.
//!
//! A segment's name is its first position. Its header says the journal, the segment's number, the epoch that wrote it and where
//! the chain of checksums stood. A segment is written in one opening of the journal only: each opening begins a new one.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::batch::Batch;
use super::disk;
use super::record::{self, FRAME_HEADER_BYTES, Flaw, Seed, read_u32, read_u64};
use super::{JournalId, Locator, ReadError, Record};
use crate::vocabulary::ids::Position;

const MAGIC: [u8; 8] = *b"SOSIKSEG";
/// The layout of segments and frames. A binary that knows only older ones refuses to open.
pub(super) const FORMAT: u32 = 1;
pub(super) const SEGMENT_HEADER_BYTES: usize = 64;
pub(super) const SEGMENT_SUFFIX: &str = ".segment";

/// One entry of the sparse index for so many bytes: what a read from a position may have to skip.
const INDEX_STRIDE_BYTES: u64 = 64 * 1024;
/// What one read asks of the file at least; a page of entries is rarely smaller.
const READ_BYTES_MIN: usize = 64 * 1024;
/// What one read asks of the file at most, however much the caller would take.
const READ_BYTES_MAX: usize = 1024 * 1024;

/// What a segment says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) journal: JournalId,
    /// Rises with each segment; names it in locators.
    pub(super) number: u32,
    pub(super) epoch: u32,
    /// The last position before this segment.
    pub(super) after: Position,
    /// The checksum of the last frame before this segment.
    pub(super) chain: u32,
}

/// Why a header is not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeaderFlaw {
    Damaged,
    /// Written by a release that knows this layout, which we do not.
    Format(u32),
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        bytes[0..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[12..28].copy_from_slice(self.journal.0.as_bytes());
        bytes[28..32].copy_from_slice(&self.number.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.epoch.to_le_bytes());
        bytes[36..44].copy_from_slice(&self.after.0.to_le_bytes());
        bytes[44..48].copy_from_slice(&self.chain.to_le_bytes());
        let checksum = crc32c::crc32c(&bytes[..60]);
        bytes[60..64].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, HeaderFlaw> {
        let header = bytes.first_chunk::<SEGMENT_HEADER_BYTES>().ok_or(HeaderFlaw::Damaged)?;
        if header[0..8] != MAGIC || crc32c::crc32c(&header[..60]) != read_u32(header, 60) {
            return Err(HeaderFlaw::Damaged);
        }
        let format = read_u32(header, 8);
        if format != FORMAT {
            return Err(HeaderFlaw::Format(format));
        }
        let mut id = [0; 16];
        id.copy_from_slice(&header[12..28]);
        Ok(Self {
            journal: JournalId(uuid::Uuid::from_bytes(id)),
            number: read_u32(header, 28),
            epoch: read_u32(header, 32),
            after: Position(read_u64(header, 36)),
            chain: read_u32(header, 44),
        })
    }

    pub(super) fn file_name(&self) -> String {
        format!("{:020}{SEGMENT_SUFFIX}", self.after.next())
    }
}

/// The segment files of a directory, by the first position that their names say, ascending.
pub(super) fn list_segments(directory: &Path) -> io::Result<Vec<(Position, PathBuf)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        let first = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(SEGMENT_SUFFIX));
        if let Some(first) = first.and_then(|digits| digits.parse().ok()) {
            found.push((Position(first), path));
        }
    }
    found.sort();
    Ok(found)
}

/// A place where a read may begin.
#[derive(Debug, Clone, Copy)]
struct IndexEntry {
    position: Position,
    offset: u64,
}

/// A segment that can be read, and written by the one that owns its end.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) header: SegmentHeader,
    pub(super) path: PathBuf,
    pub(super) file: File,
    seed: Seed,
    /// Where the durable frames end.
    end: AtomicU64,
    /// The last position whose frame is before `end`.
    last: AtomicU64,
    index: Mutex<Vec<IndexEntry>>,
}

impl Segment {
    pub(super) fn new(header: SegmentHeader, path: PathBuf, file: File, seed: Seed) -> Self {
        Self {
            header,
            path,
            file,
            seed,
            end: AtomicU64::new(SEGMENT_HEADER_BYTES as u64),
            last: AtomicU64::new(header.after.0),
            index: Mutex::new(Vec::new()),
        }
    }

    /// Where the durable frames end.
    pub(super) fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    pub(super) fn last(&self) -> Position {
        Position(self.last.load(Ordering::Acquire))
    }

    /// Notes durable frames that follow the ones noted before, each by its position and end.
    pub(super) fn extend(&self, frames: impl Iterator<Item = (Position, u64)>) {
        let mut index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        let mut begin = self.end();
        let mut last = self.last();
        for (position, end) in frames {
            if index.last().is_none_or(|entry| begin - entry.offset >= INDEX_STRIDE_BYTES) {
                index.push(IndexEntry { position, offset: begin });
            }
            begin = end;
            last = position;
        }
        self.last.store(last.0, Ordering::Release);
        self.end.store(begin, Ordering::Release);
    }

    pub(super) fn locator(&self, offset: u64) -> Locator {
        Locator((u64::from(self.header.number) << 32) | offset)
    }

    /// Reads the records with `from <= position <= through`, as far as `batch` takes them. Each is checked against its checksum,
    /// and against its predecessor where that was read too. Returns whether the batch refused one.
    pub(super) fn read(&self, from: Position, through: Position, batch: &mut Batch) -> Result<bool, ReadError> {
        let end = self.end();
        let mut offset = self.offset_before(from);
        let mut before = None;
        let mut want = batch.room().clamp(READ_BYTES_MIN, READ_BYTES_MAX);
        while offset < end {
            let block = self.read_block(offset, want.min((end - offset) as usize))?;
            let mut used = 0;
            while used < block.len() {
                let frame = match record::decode(&block[used..], self.seed) {
                    Ok(frame) => frame,
                    Err(Flaw::Short) => break,
                    Err(flaw) => return Err(self.damaged(offset + used as u64, flaw)),
                };
                let out_of_place = frame.stamp.epoch != self.header.epoch || before.is_some_and(|checksum| checksum != frame.stamp.before);
                if out_of_place {
                    return Err(self.damaged(offset + used as u64, Flaw::OutOfPlace));
                }
                let position = frame.stamp.position;
                if position > through {
                    return Ok(false);
                }
                if position >= from {
                    if !batch.takes(frame.payload.len()) {
                        return Ok(true);
                    }
                    batch.push(Record { position, locator: self.locator(offset + used as u64), bytes: frame.payload.to_vec() });
                }
                before = Some(frame.checksum);
                used += frame.encoded_bytes();
            }
            if used == 0 {
                // One frame is larger than the block: ask for all of it, if what it claims can be and is there.
                let needed = record::claimed_bytes(&block).filter(|bytes| *bytes > block.len() && *bytes as u64 <= end - offset);
                want = needed.ok_or_else(|| self.damaged(offset, Flaw::Short))?;
            }
            offset += used as u64;
        }
        Ok(false)
    }

    /// The record whose frame begins at `offset`.
    pub(super) fn read_at(&self, offset: u64) -> Result<Record, ReadError> {
        let end = self.end();
        if offset < SEGMENT_HEADER_BYTES as u64 || offset >= end {
            return Err(self.damaged(offset, Flaw::OutOfPlace));
        }
        let held = (end - offset) as usize;
        let mut block = self.read_block(offset, held.min(4096))?;
        if let Some(bytes) = record::claimed_bytes(&block).filter(|bytes| *bytes > block.len() && *bytes <= held) {
            block = self.read_block(offset, bytes)?;
        }
        let frame = record::decode(&block, self.seed).map_err(|flaw| self.damaged(offset, flaw))?;
        Ok(Record { position: frame.stamp.position, locator: self.locator(offset), bytes: frame.payload.to_vec() })
    }

    fn offset_before(&self, position: Position) -> u64 {
        let index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        let after = index.partition_point(|entry| entry.position <= position);
        after.checked_sub(1).map_or(SEGMENT_HEADER_BYTES as u64, |at| index[at].offset)
    }

    fn read_block(&self, offset: u64, length: usize) -> Result<Vec<u8>, ReadError> {
        let mut block = vec![0; length];
        match self.file.read_exact_at(&mut block, offset) {
            Ok(()) => Ok(block),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(self.damaged(offset, Flaw::Short)),
            Err(source) => Err(ReadError::Io { file: disk::shown(&self.path), offset, source }),
        }
    }

    fn damaged(&self, offset: u64, flaw: Flaw) -> ReadError {
        ReadError::Damaged { file: disk::shown(&self.path), offset, what: flaw.what() }
    }
}

/// How many bytes a record takes in a segment.
pub(super) fn framed_bytes(payload_bytes: usize) -> usize {
    FRAME_HEADER_BYTES + payload_bytes
}
