//! The embedded journal: a directory of segments, written by one thread of one process.
//!
//! Opening checks everything that is there, cuts a tail that was never acknowledged, refuses anything else that is not as it
//! was written, and begins a new segment under a new epoch. The directory holds:
//!
//! ```text
//! lock             held while a process has the journal open
//! journal.id       who it is
//! mark             through where it was durable, and what was trimmed
//! <first>.segment  the records
//! next.prepared    the next segment, made ahead
//! parked/<shard>/  the same for the records of one stopped shard
//! ```

use std::fs::{File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::batch::Batch;
use super::disk;
use super::mark::Mark;
use super::parking::Parking;
use super::prepare::{PREPARED_NAME, Preparer, make_blank_file};
use super::record::Seed;
use super::recovery::{Cut, Expectation, Order, Recovered, Refusal, SEGMENT_BYTES_MAX, recover};
use super::segment::{SEGMENT_HEADER_BYTES, Segment, SegmentHeader, framed_bytes, list_segments};
use super::shared::{Parts, Shared};
use super::writer::{Writer, begin_segment};
use super::{AppendError, Bell, Draft, Journal, JournalId, Locator, RECORD_BYTES_MAX, ReadError, Record};
use crate::vocabulary::ids::Position;

const LOCK_NAME: &str = "lock";
const ID_NAME: &str = "journal.id";
pub(super) const MARK_NAME: &str = "mark";
pub(super) const PARKED_NAME: &str = "parked";

/// Holds a page of records at least, so that a setting cannot stop the journal.
const SEGMENT_BYTES_MIN: u64 = 4 * 1024;

/// What happens when the journal cannot be trusted any more: by default the process is aborted. A hook that returns leaves a
/// journal that takes nothing.
pub type FailStop = Arc<dyn Fn(&str) + Send + Sync>;

/// How a journal is opened.
#[derive(Clone)]
pub struct Options {
    /// The size of a segment. A record must fit into one.
    pub segment_bytes: u64,
    /// What is kept in memory of the newest records, for readers.
    pub recent_bytes_max: usize,
    /// The least time from one sync to the next while a crowd of records comes. A few, or one after a rest, are synced at once.
    pub sync_interval: Duration,
    /// A new journal begins above this: the highest position of any shard. A journal that exists goes on where it stands.
    pub at_least: Position,
    /// What to do when the journal cannot be trusted any more.
    pub fail_stop: FailStop,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            // Some 100 000 small records: rotation is rare, trimming fine enough, and zeroing the next one takes milliseconds.
            segment_bytes: 16 * 1024 * 1024,
            // Supervisors that keep up never read the disk.
            recent_bytes_max: 4 * 1024 * 1024,
            sync_interval: Duration::ZERO,
            at_least: Position::START,
            // Not `exit`: no destructor of a program that cannot be trusted may run, and none may hang.
            fail_stop: Arc::new(|_| std::process::abort()),
        }
    }
}

/// Why a journal was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the journal {directory} is in use by another process")]
    InUse { directory: String },
    #[error("could not open the journal: {path}")]
    Io {
        path: String,
        #[source]
        source: io::Error,
    },
    #[error("the file {file} does not hold the id of a journal")]
    Id {
        file: String,
        #[source]
        source: uuid::Error,
    },
    /// There are segments, but nothing says whose they are.
    #[error("the journal {directory} has segments but no {ID_NAME}")]
    IdMissing { directory: String },
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// An open journal, and what was found.
pub struct Opened {
    pub journal: EmbeddedJournal,
    pub report: Report,
}

/// What opening found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub id: JournalId,
    /// Whether it was made now.
    pub created: bool,
    pub epoch: u32,
    /// How many records it holds.
    pub records: u64,
    pub last: Position,
    /// A tail that was never acknowledged, and was cut off.
    pub cut: Option<Cut>,
}

/// The journal in a directory of this machine. Closed when it is dropped.
pub struct EmbeddedJournal {
    shared: Arc<Shared>,
    preparer: Arc<Preparer>,
    parking: Parking,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// The lock goes with the file.
    _lock: File,
}

impl EmbeddedJournal {
    /// Opens or makes the journal in `directory`.
    pub fn open(directory: &Path, options: Options) -> Result<Opened, OpenError> {
        disk::create_directory(directory).map_err(io_at(directory))?;
        let lock = lock(directory)?;
        let prepared = directory.join(PREPARED_NAME);
        disk::remove_file(&prepared).map_err(io_at(&prepared))?;

        let (id, created) = identify(directory)?;
        let seed = Seed::of(id, "main");
        let mark_path = directory.join(MARK_NAME);
        let mark = Mark::open(&mark_path, seed).map_err(io_at(&mark_path))?;
        let expected = Expectation { journal: id, seed, order: Order::Contiguous, mark: mark.value() };
        let recovered = recover(directory, expected)?;
        let last = recovered.last.unwrap_or(options.at_least);
        let report = Report { id, created, epoch: recovered.epoch + 1, records: recovered.records, last, cut: recovered.cut.clone() };

        let segment_bytes = options.segment_bytes.clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX);
        let header = SegmentHeader { journal: id, number: recovered.number + 1, epoch: report.epoch, after: last, chain: recovered.chain };
        let active = make_blank_file(&prepared, segment_bytes, &AtomicBool::new(true))
            .and_then(|blank| begin_segment(directory, blank, &prepared, header, seed))
            .map_err(io_at(directory))?;
        let marked = mark.write(|value| {
            (value.durable, value.epoch) = (last, report.epoch);
            if recovered.last.is_none() {
                // What is below a new journal's first position is not missing.
                value.trimmed = last;
            }
        });
        marked.and_then(|()| mark.sync()).map_err(io_at(&mark_path))?;
        let journal = Self::start(directory, &options, recovered, active, mark, seed, lock).map_err(io_at(directory))?;
        journal.tell(&report);
        Ok(Opened { journal, report })
    }

    fn start(
        directory: &Path,
        options: &Options,
        recovered: Recovered,
        active: Segment,
        mark: Mark,
        seed: Seed,
        lock: File,
    ) -> io::Result<Self> {
        let segment_bytes = options.segment_bytes.clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX);
        let SegmentHeader { journal: id, epoch, after, chain, .. } = active.header;
        let active = Arc::new(active);
        let mut segments: Vec<_> = recovered.segments.into_iter().map(Arc::new).collect();
        segments.push(active.clone());
        let fits = segment_bytes as usize - SEGMENT_HEADER_BYTES - framed_bytes(0);
        let shared = Arc::new(Shared::new(Parts {
            id,
            seed,
            epoch,
            directory: directory.to_path_buf(),
            segment_bytes,
            record_bytes_max: RECORD_BYTES_MAX.min(fits),
            sync_interval: options.sync_interval,
            recent_bytes_max: options.recent_bytes_max,
            last: after,
            chain,
            segments,
            mark,
            fail_stop: options.fail_stop.clone(),
        }));
        let parking = Parking::new(directory.join(PARKED_NAME), id, segment_bytes, shared.clone());
        let preparer = Arc::new(Preparer::start(directory, segment_bytes)?);
        let writer = Writer::new(shared.clone(), preparer.clone(), active);
        let thread = std::thread::Builder::new().name("journal".to_owned()).spawn(move || writer.run())?;
        Ok(Self { shared, preparer, parking, thread: Mutex::new(Some(thread)), _lock: lock })
    }

    fn tell(&self, report: &Report) {
        self.shared.measures.disk_bytes.set(self.shared.disk_bytes() as f64);
        if let Some(cut) = &report.cut {
            self.shared.measures.cut_bytes.increment(cut.bytes);
            tracing::warn!(
                file = cut.file,
                offset = cut.offset,
                bytes = cut.bytes,
                reason = cut.what,
                "the journal's tail was torn and has been cut off; it was never acknowledged"
            );
        }
        tracing::info!(
            journal.id = %report.id.0, epoch = report.epoch, created = report.created, records = report.records,
            last = %report.last, "journal opened"
        );
    }

    fn segment_holding(&self, position: Position) -> Option<Arc<Segment>> {
        let segments = self.shared.segments.read().unwrap_or_else(PoisonError::into_inner);
        let after = segments.partition_point(|segment| segment.header.after < position);
        Some(segments[after.checked_sub(1)?].clone())
    }

    fn segment_numbered(&self, number: u32) -> Option<Arc<Segment>> {
        let segments = self.shared.segments.read().unwrap_or_else(PoisonError::into_inner);
        let at = segments.partition_point(|segment| segment.header.number < number);
        segments.get(at).filter(|segment| segment.header.number == number).cloned()
    }
}

impl Journal for EmbeddedJournal {
    fn id(&self) -> JournalId {
        self.shared.id
    }

    fn append(&self, draft: Draft) -> Result<(), AppendError> {
        self.shared.append(draft)
    }

    fn durable(&self) -> Position {
        self.shared.durable()
    }

    fn first(&self) -> Position {
        let segments = self.shared.segments.read().unwrap_or_else(PoisonError::into_inner);
        segments.first().map_or(self.durable(), |segment| segment.header.after).next()
    }

    fn read(&self, from: Position, bytes_max: usize) -> Result<Vec<Record>, ReadError> {
        let durable = self.durable();
        let mut batch = Batch::new(bytes_max);
        let mut next = from;
        while next <= durable {
            let segment = self.segment_holding(next).ok_or(ReadError::Trimmed(next))?;
            let mut refused = self.shared.recent.read(next, durable, &mut batch);
            if batch.end_or(next) == next && !refused {
                refused = segment.read(next, durable, &mut batch)?;
            }
            if refused || batch.end_or(next) == next {
                break;
            }
            next = batch.end_or(next);
        }
        Ok(batch.into_records())
    }

    fn read_at(&self, locator: Locator) -> Result<Record, ReadError> {
        let (number, offset) = locator.parts();
        fail::fail_point!("journal::damaged", |_| Err(ReadError::Damaged { file: String::new(), offset, what: "planted" }));
        // The position of what is gone is not known; what is known is the last one that is gone.
        let segment = self.segment_numbered(number).ok_or_else(|| ReadError::Trimmed(Position(self.first().0 - 1)))?;
        match self.shared.recent.read_at(locator) {
            Some(record) => Ok(record),
            None => segment.read_at(offset),
        }
    }

    fn set_bell(&self, bell: Bell) {
        *self.shared.bell.lock().unwrap_or_else(PoisonError::into_inner) = Some(bell);
    }

    fn trimmable(&self, through: Position) -> Option<Position> {
        let segments = self.shared.segments.read().unwrap_or_else(PoisonError::into_inner);
        Some(segments[trimmable(&segments, through).checked_sub(1)?].last())
    }

    fn trim(&self, through: Position) -> Result<(), ReadError> {
        let mut segments = self.shared.segments.write().unwrap_or_else(PoisonError::into_inner);
        let count = trimmable(&segments, through);
        if count == 0 {
            return Ok(());
        }
        let gone: Vec<_> = segments.drain(..count).collect();
        drop(segments);
        self.remove(&gone).map_err(|(path, source)| ReadError::Io { file: disk::shown(&path), offset: 0, source })
    }

    fn disk_bytes(&self) -> u64 {
        self.shared.disk_bytes()
    }

    fn park(&self, shard: &str, records: &[Record]) -> Result<(), ReadError> {
        self.parking.park(shard, records)
    }

    fn read_parked(&self, shard: &str, after: Position, bytes_max: usize) -> Result<Vec<Record>, ReadError> {
        self.parking.read(shard, after, bytes_max)
    }

    fn parked_through(&self, shard: &str) -> Result<Option<Position>, ReadError> {
        self.parking.through(shard)
    }

    fn trim_parked(&self, shard: &str, through: Position) -> Result<(), ReadError> {
        self.parking.trim(shard, through)
    }

    fn close(&self) {
        self.shared.close();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            // A draft's callback may hold the last reference: the thread cannot wait for itself.
            && thread.thread().id() != std::thread::current().id()
            && thread.join().is_err()
        {
            tracing::error!("the journal's thread panicked");
        }
        self.preparer.stop();
    }
}

/// How many of the first segments hold nothing after `through`; the last one is being written.
fn trimmable(segments: &[Arc<Segment>], through: Position) -> usize {
    segments[..segments.len() - 1].partition_point(|segment| segment.last() <= through)
}

impl EmbeddedJournal {
    /// Deletes the files of segments that nobody needs. The mark says so first: a trim that was interrupted is finished when
    /// the journal is opened again.
    fn remove(&self, gone: &[Arc<Segment>]) -> Result<(), (PathBuf, io::Error)> {
        let Some(last) = gone.last() else { return Ok(()) };
        let mark = &self.shared.mark;
        let marked = mark.write(|value| value.trimmed = value.trimmed.max(last.last())).and_then(|()| mark.sync());
        if let Err(error) = marked {
            self.shared.fail_stop("could not sync the journal's mark", &error);
            return Err((self.shared.directory.join(MARK_NAME), error));
        }
        fail::fail_point!("journal::trim");
        for segment in gone {
            disk::remove_file(&segment.path).map_err(|error| (segment.path.clone(), error))?;
        }
        self.shared.measures.disk_bytes.set(self.shared.disk_bytes() as f64);
        disk::sync_directory(&self.shared.directory).map_err(|error| (self.shared.directory.clone(), error))
    }
}

impl Drop for EmbeddedJournal {
    fn drop(&mut self) {
        self.close();
    }
}

impl Locator {
    /// The segment's number and the offset in it.
    fn parts(self) -> (u32, u64) {
        ((self.0 >> 32) as u32, self.0 & u64::from(u32::MAX))
    }
}

pub(super) fn io_at(path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    let path = disk::shown(path);
    move |source| OpenError::Io { path, source }
}

fn lock(directory: &Path) -> Result<File, OpenError> {
    let path = directory.join(LOCK_NAME);
    let file = disk::open_or_create_file(&path).map_err(io_at(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { directory: disk::shown(directory) }),
        Err(TryLockError::Error(source)) => Err(io_at(&path)(source)),
    }
}

/// Reads the journal's id, or makes one where there is no journal yet.
fn identify(directory: &Path) -> Result<(JournalId, bool), OpenError> {
    if let Some(id) = read_id(directory)? {
        return Ok((id, false));
    }
    if !list_segments(directory).map_err(io_at(directory))?.is_empty() {
        return Err(OpenError::IdMissing { directory: disk::shown(directory) });
    }
    let path = directory.join(ID_NAME);
    let id = JournalId(uuid::Uuid::new_v4());
    write_id(directory, &path, id).map_err(io_at(&path))?;
    Ok((id, true))
}

/// `None` where there is no journal yet.
pub(super) fn read_id(directory: &Path) -> Result<Option<JournalId>, OpenError> {
    let path = directory.join(ID_NAME);
    match std::fs::read(&path) {
        Ok(bytes) => match String::from_utf8_lossy(&bytes).trim().parse() {
            Ok(id) => Ok(Some(JournalId(id))),
            Err(source) => Err(OpenError::Id { file: disk::shown(&path), source }),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_at(&path)(error)),
    }
}

fn write_id(directory: &Path, path: &Path, id: JournalId) -> io::Result<()> {
    let new = path.with_extension("new");
    disk::remove_file(&new)?;
    let mut file = disk::create_file(&new)?;
    writeln!(file, "{}", id.0)?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    disk::sync_directory(directory)
}
