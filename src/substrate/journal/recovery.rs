//! Opening segment files again: what must be whole, what may be cut, and what refuses the start.
//!
//! A directory of segments and what its mark says come in; the segments, checked frame by frame, come out. Everything that was
//! durable must be there: what the mark covers, what a later segment follows, and what any later whole frame calls durable.
//! What is broken beyond that was never acknowledged; it is cut off, and the caller logs it. Nothing is changed on the disk
//! before all of it was judged.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::disk;
use super::mark::MarkValue;
use super::record::{self, Flaw, Seed, Stamp};
use super::segment::{HeaderFlaw, SEGMENT_HEADER_BYTES, Segment, SegmentHeader, list_segments};
use super::{JournalId, ReadError};
use crate::vocabulary::ids::Position;

/// What is read of one file at most; no setting makes a longer segment, so the rest was never ours.
pub(super) const SEGMENT_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// How positions follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// By one: the journal.
    Contiguous,
    /// Upwards: parking, which holds what belongs to one shard.
    Rising,
}

/// Why segments cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("could not open the journal file {file}")]
    Io {
        file: String,
        #[source]
        source: io::Error,
    },
    /// Something that was acknowledged is not as it was written.
    #[error("the journal file {file} is damaged at byte {offset}: {what}")]
    Damaged { file: String, offset: u64, what: &'static str },
    #[error("the journal file {file} belongs to the journal {found}, not to {expected}")]
    Foreign { file: String, found: uuid::Uuid, expected: uuid::Uuid },
    #[error("the journal file {file} has format {format}, which a newer release wrote")]
    Newer { file: String, format: u32 },
}

impl Refusal {
    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let file = disk::shown(path);
        move |source| Self::Io { file, source }
    }

    fn damaged(path: &Path, offset: u64, what: &'static str) -> Self {
        Self::Damaged { file: disk::shown(path), offset, what }
    }
}

impl From<Refusal> for ReadError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Io { file, source } => Self::Io { file, offset: 0, source },
            Refusal::Damaged { file, offset, what } => Self::Damaged { file, offset, what },
            Refusal::Foreign { file, .. } => Self::Damaged { file, offset: 0, what: "it belongs to another journal" },
            Refusal::Newer { file, .. } => Self::Damaged { file, offset: 0, what: "a newer release wrote it" },
        }
    }
}

/// A torn tail that was cut off: it was never acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    pub file: String,
    pub offset: u64,
    pub bytes: u64,
    /// Why the first of these bytes are not a record.
    pub what: &'static str,
}

/// What is expected of a directory of segments.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expectation {
    pub(super) journal: JournalId,
    pub(super) seed: Seed,
    pub(super) order: Order,
    pub(super) mark: MarkValue,
}

/// What was found.
#[derive(Debug)]
pub(super) struct Recovered {
    /// Ascending; each holds at least one record. All of it is durable.
    pub(super) segments: Vec<Segment>,
    /// The last position, or where the journal stood before its first one; `None` if there never was a segment.
    pub(super) last: Option<Position>,
    pub(super) chain: u32,
    pub(super) epoch: u32,
    pub(super) number: u32,
    pub(super) records: u64,
    pub(super) cut: Option<Cut>,
}

/// One file as it was judged.
struct Judged {
    path: PathBuf,
    file: File,
    header: SegmentHeader,
    frames: Vec<(Position, u64)>,
    chain: u32,
    /// Why the frames end where they end.
    flaw: Flaw,
    bytes: Vec<u8>,
}

impl Judged {
    fn end(&self) -> u64 {
        self.frames.last().map_or(SEGMENT_HEADER_BYTES as u64, |(_, end)| *end)
    }

    fn last(&self) -> Position {
        self.frames.last().map_or(self.header.after, |(position, _)| *position)
    }
}

/// Opens all segments of `directory`, and cuts what was torn.
pub(super) fn recover(directory: &Path, expected: Expectation) -> Result<Recovered, Refusal> {
    let Survey { mut recovered, tail, useless } = survey(directory, expected, disk::open_file)?;
    for path in &useless {
        disk::remove_file(path).map_err(Refusal::io(path))?;
    }
    if let Some(tail) = tail {
        recovered.cut = settle(&tail, expected.mark.durable).map_err(Refusal::io(&tail.path))?;
        recovered.take(tail, expected.seed);
    }
    disk::sync_directory(directory).map_err(Refusal::io(directory))?;
    Ok(recovered)
}

/// As [`recover`], and leaves everything as it is: `cut` is what would be.
pub(super) fn look(directory: &Path, expected: Expectation) -> Result<Recovered, Refusal> {
    let Survey { mut recovered, tail, useless: _ } = survey(directory, expected, disk::open_file_to_read)?;
    if let Some(tail) = tail {
        recovered.cut = torn(&tail).map_err(Refusal::io(&tail.path))?;
        recovered.take(tail, expected.seed);
    }
    Ok(recovered)
}

/// What was found before anything is changed.
struct Survey {
    /// Without the tail.
    recovered: Recovered,
    /// The last segment, which may be torn.
    tail: Option<Judged>,
    /// Files that an opening removes: trimmed ones, and one that was begun and never used.
    useless: Vec<PathBuf>,
}

fn survey(directory: &Path, expected: Expectation, open: fn(&Path) -> io::Result<File>) -> Result<Survey, Refusal> {
    let mut listed = list_segments(directory).map_err(Refusal::io(directory))?;
    let trimmed = listed.windows(2).take_while(|pair| pair[1].0 <= expected.mark.trimmed.next()).count();
    let leftovers: Vec<_> = listed.drain(..trimmed).collect();

    let mut recovered = Recovered {
        segments: Vec::with_capacity(listed.len()),
        last: None,
        chain: 0,
        epoch: expected.mark.epoch,
        number: 0,
        records: 0,
        cut: None,
    };
    let mut tail: Option<Judged> = None;
    let mut blank: Option<PathBuf> = None;
    let count = listed.len();
    for (at, (first, path)) in listed.into_iter().enumerate() {
        let judged = match judge(&path, first, expected, open)? {
            Some(judged) => judged,
            None if at + 1 == count => {
                blank = Some(path);
                break;
            }
            None => return Err(Refusal::damaged(&path, 0, "the header of a segment is damaged")),
        };
        if at == 0 && expected.mark.epoch > 0 && judged.header.after > expected.mark.trimmed {
            return Err(Refusal::damaged(&path, 0, "segments are missing before it"));
        }
        if let Some(previous) = tail.take() {
            check_follows(&previous, &judged)?;
            recovered.take(previous, expected.seed);
        }
        tail = Some(judged);
    }

    let held = tail.as_ref().map(Judged::last);
    if expected.mark.durable > held.unwrap_or(expected.mark.trimmed) {
        return Err(match (&blank, &tail) {
            (Some(blank), _) => Refusal::damaged(blank, 0, "the header of a segment is damaged"),
            (None, Some(tail)) => Refusal::damaged(&tail.path, tail.end(), tail.flaw.what()),
            (None, None) => Refusal::damaged(directory, 0, "its segments are missing"),
        });
    }
    if let Some(tail) = &tail {
        let beyond = &tail.bytes[tail.end() as usize..];
        if record::proof_of_durability(beyond, expected.seed, tail.last()).is_some() {
            return Err(Refusal::damaged(&tail.path, tail.end(), tail.flaw.what()));
        }
    }

    let useless = leftovers.into_iter().map(|(_, path)| path).chain(blank).collect();
    Ok(Survey { recovered, tail, useless })
}

impl Recovered {
    fn take(&mut self, judged: Judged, seed: Seed) {
        self.last = Some(judged.last());
        self.chain = judged.chain;
        self.epoch = self.epoch.max(judged.header.epoch);
        self.number = judged.header.number;
        self.records += judged.frames.len() as u64;
        if judged.frames.is_empty() {
            return;
        }
        let segment = Segment::new(judged.header, judged.path, judged.file, seed);
        segment.extend(judged.frames.into_iter());
        self.segments.push(segment);
    }
}

/// Reads one file up to the first bytes that do not follow. `None`: it has no header, and nothing in it was durable.
fn judge(path: &Path, first: Position, expected: Expectation, open: fn(&Path) -> io::Result<File>) -> Result<Option<Judged>, Refusal> {
    let file = open(path).map_err(Refusal::io(path))?;
    let mut bytes = Vec::new();
    (&file).take(SEGMENT_BYTES_MAX).read_to_end(&mut bytes).map_err(Refusal::io(path))?;
    let header = match SegmentHeader::decode(&bytes) {
        Ok(header) => header,
        Err(HeaderFlaw::Format(format)) => return Err(Refusal::Newer { file: disk::shown(path), format }),
        Err(HeaderFlaw::Damaged) => {
            let before = Position(first.0.saturating_sub(1));
            return match record::proof_of_durability(&bytes, expected.seed, before) {
                Some(_) => Err(Refusal::damaged(path, 0, "the header of a segment is damaged")),
                None => Ok(None),
            };
        }
    };
    if header.journal != expected.journal {
        return Err(Refusal::Foreign { file: disk::shown(path), found: header.journal.0, expected: expected.journal.0 });
    }
    if header.after.0.checked_add(1) != Some(first.0) {
        return Err(Refusal::damaged(path, 0, "its header names another first position than its name"));
    }

    let mut judged = Judged { path: path.to_path_buf(), file, header, frames: Vec::new(), chain: header.chain, flaw: Flaw::Blank, bytes };
    loop {
        let end = judged.end() as usize;
        match record::decode(&judged.bytes[end..], expected.seed) {
            Ok(frame) if follows(&judged, frame.stamp, expected.order) => {
                let (position, checksum, length) = (frame.stamp.position, frame.checksum, frame.encoded_bytes());
                judged.frames.push((position, (end + length) as u64));
                judged.chain = checksum;
            }
            Ok(_) => {
                judged.flaw = Flaw::OutOfPlace;
                return Ok(Some(judged));
            }
            Err(flaw) => {
                judged.flaw = flaw;
                return Ok(Some(judged));
            }
        }
    }
}

fn follows(judged: &Judged, stamp: Stamp, order: Order) -> bool {
    let last = judged.last();
    let in_order = match order {
        Order::Contiguous => Some(stamp.position.0) == last.0.checked_add(1),
        Order::Rising => stamp.position > last,
    };
    in_order && stamp.before == judged.chain && stamp.epoch == judged.header.epoch
}

/// A segment is only begun when the one before was synced to its end: whatever is missing there was durable.
fn check_follows(previous: &Judged, next: &Judged) -> Result<(), Refusal> {
    if previous.last() < next.header.after {
        return Err(Refusal::damaged(&previous.path, previous.end(), previous.flaw.what()));
    }
    if previous.last() > next.header.after {
        return Err(Refusal::damaged(&next.path, 0, "it begins before the end of the segment before it"));
    }
    let continues = next.header.chain == previous.chain && next.header.epoch >= previous.header.epoch;
    if !continues || next.header.number <= previous.header.number {
        return Err(Refusal::damaged(&next.path, 0, "it does not continue the segment before it"));
    }
    Ok(())
}

/// Makes the tail durable as it was judged, without what is torn. Frames above the mark are written again: after a sync that
/// failed, Linux shows them from memory and calls them clean although the disk never got them.
fn settle(tail: &Judged, marked: Position) -> io::Result<Option<Cut>> {
    let end = tail.end() as usize;
    let sure = tail.frames.iter().take_while(|(position, _)| *position <= marked).last().map_or(0, |(_, end)| *end as usize);
    let cut = torn(tail)?;
    tail.file.write_all_at(&tail.bytes[sure..end], sure as u64)?;
    tail.file.set_len(end as u64)?;
    tail.file.sync_all()?;
    Ok(cut)
}

/// What is torn of the tail, if anything is.
fn torn(tail: &Judged) -> io::Result<Option<Cut>> {
    let end = tail.end() as usize;
    let length = tail.file.metadata()?.len();
    let beyond_read = length - tail.bytes.len() as u64;
    let torn = match tail.bytes[end..].iter().rposition(|byte| *byte != 0) {
        _ if beyond_read > 0 => length - end as u64,
        Some(last) => last as u64 + 1,
        None => return Ok(None),
    };
    Ok(Some(Cut { file: disk::shown(&tail.path), offset: end as u64, bytes: torn, what: tail.flaw.what() }))
}
