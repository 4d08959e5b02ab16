//! The one thread that writes the journal: groups in, durable positions out.
//!
//! While one group is being synced the next one gathers, so a sync is always shared by all who came meanwhile. For each group:
//! write, sync, mark, tell the drafts in the order of positions, publish, ring the bell. No room: the group is cut off again,
//! dropped with all that gathered behind it, and its positions are given to the next. Anything else that fails ends the process.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::disk;
use super::prepare::Preparer;
use super::recent::Chunk;
use super::record::{self, Seed};
use super::segment::{Segment, SegmentHeader};
use super::shared::{Durable, Group, Shared};
use crate::vocabulary::ids::Position;

/// So many records that gathered during a sync are a crowd, in which each may wait for the others; a lone one never does.
const CROWD: usize = 4;
/// After the disk was full, how long appends are refused at once before one is tried again.
const FULL_RETRY_AFTER: Duration = Duration::from_millis(50);
/// After so much rest the mark is made durable.
const REST: Duration = Duration::from_millis(200);
/// A buffer that one large group made is not kept for the small ones.
const BUFFER_BYTES_KEPT: usize = 1024 * 1024;
const RECORDS_KEPT: usize = 8 * 1024;

/// Why a group could not be made durable.
enum Trouble {
    /// Nothing of it is on the disk, and nothing is doubtful.
    NoRoom(io::Error),
    Broken(&'static str, io::Error),
}

impl Trouble {
    fn of(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::Broken(what, error)
    }

    fn of_room_or(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| if disk::is_out_of_room(&error) { Self::NoRoom(error) } else { Self::Broken(what, error) }
    }
}

/// The thread's own side: it alone writes to the last segment.
pub(super) struct Writer {
    shared: Arc<Shared>,
    preparer: Arc<Preparer>,
    active: Arc<Segment>,
    /// The checksum of the last durable frame.
    chain: u32,
    /// When the last group began to be written.
    synced_at: Instant,
    /// Whom to tell of the group in hand. Here, and not in a function, so that they outlive an error or a panic: to drop one
    /// says that its record is not on the disk.
    durables: std::vec::IntoIter<Durable>,
}

/// Where the frames of a chunk go.
struct Placement {
    frames: std::ops::Range<usize>,
    ends: Arc<Vec<u32>>,
    /// Where the chunk begins in the group's bytes, and where in the segment.
    begin: usize,
    offset: u64,
    first: Position,
    last: Position,
}

impl Placement {
    /// Each frame's position and the offsets at which it begins and ends.
    fn each(&self) -> impl Iterator<Item = (Position, u64, u64)> {
        let mut begin = self.offset;
        self.ends[self.frames.clone()].iter().zip(self.first.0..).map(move |(end, position)| {
            let end = self.offset + (*end as usize - self.begin) as u64;
            let frame = (Position(position), begin, end);
            begin = end;
            frame
        })
    }
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, preparer: Arc<Preparer>, active: Arc<Segment>) -> Self {
        let chain = active.header.chain;
        Self { shared, preparer, active, chain, synced_at: Instant::now(), durables: Vec::new().into_iter() }
    }

    /// Works until the journal is closed or broken. A panic, which only a draft or a bell could cause, breaks it too.
    pub(super) fn run(mut self) {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.work()));
        match outcome {
            Ok(Ok(())) => {}
            Ok(Err((what, error))) => self.shared.fail_stop(what, &error),
            Err(_) => self.shared.fail_stop("the journal's thread panicked", &io::Error::other("panic")),
        }
    }

    fn work(&mut self) -> Result<(), (&'static str, io::Error)> {
        self.preparer.request();
        while let Some(group) = self.next_group()? {
            self.durables = group.durables.into_iter();
            self.synced_at = Instant::now();
            match self.write_group(group.bytes, group.ends) {
                Ok(()) => {}
                Err(Trouble::NoRoom(error)) => {
                    self.give_up(&error).map_err(|error| ("could not cut off a group for lack of room", error))?
                }
                Err(Trouble::Broken(what, error)) => return Err((what, error)),
            }
        }
        self.shared.mark.sync().map_err(|error| ("could not sync the journal's mark", error))
    }

    /// Waits for a group; `None` when the journal is closed and all is written.
    fn next_group(&self) -> Result<Option<Group>, (&'static str, io::Error)> {
        let mut gathering = self.shared.gathering();
        while gathering.group.ends.is_empty() {
            if gathering.closed {
                return Ok(None);
            }
            gathering.writer_rests = true;
            if self.shared.mark.is_synced() {
                gathering = self.shared.wake.wait(gathering).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let (woken, timeout) = self.shared.wake.wait_timeout(gathering, REST).unwrap_or_else(PoisonError::into_inner);
            gathering = woken;
            if timeout.timed_out() && gathering.group.ends.is_empty() {
                drop(gathering);
                self.shared.mark.sync().map_err(|error| ("could not sync the journal's mark", error))?;
                gathering = self.shared.gathering();
            }
        }
        gathering.writer_rests = false;
        let since = self.synced_at.elapsed();
        if since < self.shared.sync_interval && gathering.group.ends.len() >= CROWD && !gathering.closed {
            drop(gathering);
            std::thread::sleep(self.shared.sync_interval - since);
            gathering = self.shared.gathering();
        }
        let records = gathering.group.ends.len().min(RECORDS_KEPT);
        let empty = Group {
            bytes: Vec::with_capacity(gathering.group.bytes.len().min(BUFFER_BYTES_KEPT)),
            ends: Vec::with_capacity(records),
            durables: Vec::with_capacity(records),
        };
        Ok(Some(std::mem::replace(&mut gathering.group, empty)))
    }

    /// Writes a group, in one piece unless a segment ends within it.
    fn write_group(&mut self, bytes: Vec<u8>, ends: Vec<u32>) -> Result<(), Trouble> {
        let (bytes, ends) = (Arc::new(bytes), Arc::new(ends));
        let mut done = 0;
        while done < ends.len() {
            let begin = done.checked_sub(1).map_or(0, |before| ends[before] as usize);
            let room = self.shared.segment_bytes.saturating_sub(self.active.end()) as usize;
            let fitting = ends[done..].partition_point(|end| *end as usize - begin <= room);
            if fitting == 0 {
                self.rotate()?;
                continue;
            }
            let last = self.active.last();
            let placement = Placement {
                frames: done..done + fitting,
                ends: ends.clone(),
                begin,
                offset: self.active.end(),
                first: last.next(),
                last: Position(last.0 + fitting as u64),
            };
            self.write_chunk(&bytes, &placement)?;
            done += fitting;
        }
        Ok(())
    }

    fn write_chunk(&mut self, group: &Arc<Vec<u8>>, placement: &Placement) -> Result<(), Trouble> {
        let end = placement.ends[placement.frames.end - 1] as usize;
        let bytes = &group[placement.begin..end];
        let began = Instant::now();
        if acknowledges_early() {
            self.tell(placement);
        }
        fail::fail_point!("journal::before_write");
        write(&self.active, bytes, placement.offset).map_err(Trouble::of_room_or("could not write to the journal"))?;
        fail::fail_point!("journal::before_sync");
        disk::sync_data(&self.active.file).map_err(Trouble::of("could not sync the journal"))?;
        fail::fail_point!("journal::after_sync");
        self.shared.mark.write(|mark| mark.durable = placement.last).map_err(Trouble::of("could not write the journal's mark"))?;

        self.active.extend(placement.each().map(|(position, _, end)| (position, end)));
        let begin_of_last = placement.each().last().map_or(0, |(_, begin, _)| (begin - placement.offset) as usize);
        self.chain = record::claimed_checksum(&bytes[begin_of_last..]);
        self.shared.recent.push(Chunk {
            bytes: group.clone(),
            ends: placement.ends.clone(),
            frames: placement.frames.clone(),
            first: placement.first,
            locator: self.active.locator(placement.offset),
        });
        let measures = &self.shared.measures;
        measures.records.increment(placement.frames.len() as u64);
        measures.bytes.increment(bytes.len() as u64);
        measures.syncs.increment(1);
        measures.group_records.record(placement.frames.len() as f64);
        measures.sync_seconds.record(began.elapsed());

        self.tell(placement);
        self.shared.durable.store(placement.last.0, Ordering::Release);
        fail::fail_point!("journal::after_publish");
        let bell = self.shared.bell.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(bell) = bell {
            bell(placement.last);
        }
        Ok(())
    }

    /// Calls the drafts of a chunk, in the order of positions.
    fn tell(&mut self, placement: &Placement) {
        for ((position, offset, _), durable) in placement.each().zip(self.durables.by_ref()) {
            durable(position, self.active.locator(offset));
        }
    }

    /// Ends the segment, whose records are all durable, and begins the next one.
    fn rotate(&mut self) -> Result<(), Trouble> {
        fail::fail_point!("journal::full", |_| Err(Trouble::NoRoom(rustix::io::Errno::NOSPC.into())));
        let header = SegmentHeader {
            journal: self.shared.id,
            number: self.active.header.number + 1,
            epoch: self.shared.epoch,
            after: self.active.last(),
            chain: self.chain,
        };
        let blank = self.preparer.take().map_err(Trouble::of_room_or("could not prepare a segment"))?;
        let begun = begin_segment(&self.shared.directory, blank, self.preparer.path(), header, self.shared.seed);
        self.active = Arc::new(begun.map_err(Trouble::of_room_or("could not begin a segment"))?);
        self.shared.segments.write().unwrap_or_else(PoisonError::into_inner).push(self.active.clone());
        self.shared.measures.disk_bytes.set(self.shared.disk_bytes() as f64);
        self.preparer.request();
        self.shared.mark.sync().map_err(Trouble::of("could not sync the journal's mark"))
    }

    /// Cuts off what was written of the group in hand and drops it, with all that gathered behind it: their positions and their
    /// chain follow records that will not be.
    fn give_up(&mut self, reason: &io::Error) -> io::Result<()> {
        self.active.file.set_len(self.active.end())?;
        self.active.file.sync_all()?;

        let mut gathering = self.shared.gathering();
        let behind = std::mem::take(&mut gathering.group);
        gathering.next = self.active.last().next();
        gathering.chain = self.chain;
        gathering.full_until = Some(Instant::now() + FULL_RETRY_AFTER);
        drop(gathering);

        let dropped = self.durables.len() + behind.durables.len();
        tracing::warn!(error = %reason, records = dropped, "no room on the disk for the journal: records were refused");
        self.shared.measures.dropped.increment(dropped as u64);
        self.durables = Vec::new().into_iter();
        Ok(())
    }
}

/// Turns a blank file into the segment that `header` says. Its name is durable when this returns; its header is with its first
/// group.
pub(super) fn begin_segment(directory: &Path, blank: File, blank_path: &Path, header: SegmentHeader, seed: Seed) -> io::Result<Segment> {
    blank.write_all_at(&header.encode(), 0)?;
    fail::fail_point!("journal::rotate");
    let path = directory.join(header.file_name());
    std::fs::rename(blank_path, &path)?;
    // The name is there, durable or not: whatever the reason, this is no lack of room after which nothing has happened.
    disk::sync_directory(directory).map_err(io::Error::other)?;
    Ok(Segment::new(header, path, blank, seed))
}

fn write(segment: &Segment, bytes: &[u8], offset: u64) -> io::Result<()> {
    fail::fail_point!("journal::full", |_| {
        segment.file.write_all_at(&bytes[..bytes.len() / 2], offset)?;
        Err(rustix::io::Errno::NOSPC.into())
    });
    segment.file.write_all_at(bytes, offset)
}

/// A planted fault: the drafts are told before anything is on the disk.
fn acknowledges_early() -> bool {
    fail::fail_point!("journal::ack_early", |_| true);
    false
}
