//! An embedded journal as it lies on the disk, for commands that must not change it.
//!
//! All files are checked as an opening checks them, and refused for the same reasons. Nothing is written: a torn tail is told of
//! and left where it is. No process may have the journal open meanwhile; the lock of the data folder sees to that.

use std::path::{Path, PathBuf};

use super::batch::Batch;
use super::embedded::{self, MARK_NAME, OpenError, PARKED_NAME, io_at};
use super::mark::Mark;
use super::parking;
use super::record::Seed;
use super::recovery::{Cut, Expectation, Order, Recovered, look};
use super::segment::Segment;
use super::{JournalId, ReadError, Record};
use crate::vocabulary::ids::Position;

/// Records of the journal, or of one shard's parking.
pub struct Held {
    segments: Vec<Segment>,
    last: Position,
}

/// What was found.
pub struct JournalLook {
    pub id: JournalId,
    pub main: Held,
    /// The first position that is still held; one above the last when it is empty.
    pub first: Position,
    /// How many records the main segments hold.
    pub records: u64,
    /// The torn tail that the next opening cuts off: it was never acknowledged.
    pub torn: Option<Cut>,
    directory: PathBuf,
}

impl JournalLook {
    /// Which journal is in the directory, without a look at what it holds.
    pub fn id(directory: &Path) -> Result<Option<JournalId>, OpenError> {
        embedded::read_id(directory)
    }

    /// `None` if there is no journal in the directory.
    pub fn at(directory: &Path) -> Result<Option<Self>, OpenError> {
        let Some(id) = embedded::read_id(directory)? else { return Ok(None) };
        let path = directory.join(MARK_NAME);
        let seed = Seed::of(id, "main");
        let mark = Mark::look(&path, seed).map_err(io_at(&path))?;
        let recovered = look(directory, Expectation { journal: id, seed, order: Order::Contiguous, mark })?;
        let (records, torn) = (recovered.records, recovered.cut.clone());
        let main = Held::of(recovered, mark.durable);
        let first = main.segments.first().map_or(main.last, |segment| segment.header.after).next();
        Ok(Some(Self { id, main, first, records, torn, directory: directory.to_path_buf() }))
    }

    /// What is parked for a shard.
    pub fn parked(&self, shard: &str) -> Result<Held, ReadError> {
        let directory = self.directory.join(PARKED_NAME).join(parking::directory_name(shard));
        if !directory.is_dir() {
            return Ok(Held { segments: Vec::new(), last: Position::START });
        }
        let path = directory.join(parking::MARK_NAME);
        let seed = Seed::of(self.id, shard);
        let mark = Mark::look(&path, seed).map_err(parking::io_at(&path))?;
        let recovered = look(&directory, Expectation { journal: self.id, seed, order: Order::Rising, mark })?;
        Ok(Held::of(recovered, mark.durable))
    }
}

impl Held {
    fn of(recovered: Recovered, durable: Position) -> Self {
        Self { last: recovered.last.unwrap_or(durable), segments: recovered.segments }
    }

    /// The last position, or where the next one follows.
    pub fn last(&self) -> Position {
        self.last
    }

    /// The records from `from` on, in order, at least one if there is any, up to about `bytes_max`.
    pub fn read(&self, from: Position, bytes_max: usize) -> Result<Vec<Record>, ReadError> {
        let mut batch = Batch::new(bytes_max);
        let at = self.segments.partition_point(|segment| segment.last() < from);
        for segment in &self.segments[at..] {
            if segment.read(from, self.last, &mut batch)? {
                break;
            }
        }
        Ok(batch.into_records())
    }
}
