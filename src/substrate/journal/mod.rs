//! The journal: where a write is durable before anybody is told that it was accepted.
//!
//! Records in, positions out. A record's position is its place in the one order of all writes: 1, 2, 3 … without a gap. Its
//! bytes are opaque here. Nothing is told to anybody before the sync that covers it has returned; a failed sync ends the
//! process. Full: the caller's admission keeps it below its bound; the disk being full is `AppendError::Full`.

mod batch;
pub mod embedded;
pub mod expectations;
pub mod look;

#[cfg(test)]
pub(crate) mod contract;
mod disk;
mod mark;
mod measures;
mod parking;
mod prepare;
mod recent;
mod record;
mod recovery;
mod segment;
mod shared;
#[cfg(test)]
mod tests;
mod writer;

use std::sync::Arc;

use crate::vocabulary::ids::Position;

/// Who this journal is. Written into each shard when it joins, so that a foreign or restored journal is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct JournalId(pub uuid::Uuid);

/// Where a record lies, to read it again without a search. Only good for the journal that gave it, until it is trimmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Locator(pub u64);

/// A record to append.
pub struct Draft {
    /// At most [`RECORD_BYTES_MAX`].
    pub bytes: Vec<u8>,
    /// Called once the sync of the record's group has returned, in the order of positions, on the journal's own thread, and
    /// before any reader can see the record. It must be quick and must not block. Dropped uncalled when the append failed.
    pub durable: Box<dyn FnOnce(Position, Locator) + Send>,
}

/// The most bytes of one record: twice the largest request body that is accepted.
pub const RECORD_BYTES_MAX: usize = 512 * 1024;

/// A record as it was read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub position: Position,
    pub locator: Locator,
    pub bytes: Vec<u8>,
}

#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The disk has no room: the record was not written and will not be. May be tried again.
    #[error("no room on the disk for the journal")]
    Full(#[source] std::io::Error),
    /// The journal is closing.
    #[error("the journal is closed")]
    Closed,
    #[error("a record of {0} bytes is larger than the journal takes")]
    TooLarge(usize),
}

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("could not read the journal file {file} at byte {offset}")]
    Io {
        file: String,
        offset: u64,
        #[source]
        source: std::io::Error,
    },
    /// A checksum or a length that cannot be: the data is not what was written.
    #[error("the journal file {file} is damaged at byte {offset}: {what}")]
    Damaged { file: String, offset: u64, what: &'static str },
    #[error("position {0} is no longer in the journal")]
    Trimmed(Position),
}

impl ReadError {
    /// Whether the data is not what was written: then the journal must not be gone on with.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged { .. })
    }
}

/// Called after each sync, with the last position that is durable now. A bell: it carries nothing that must not be lost.
pub type Bell = Arc<dyn Fn(Position) + Send + Sync>;

/// The contract of a journal. Implementations are held to one suite.
///
/// All calls may come from any thread. `append` never blocks on the disk; `read_*`, `park*` and `trim` do, and belong on a
/// thread that may.
pub trait Journal: Send + Sync {
    fn id(&self) -> JournalId;

    /// Takes a record; it gets the next position in the order of the calls. An error here is definite: it was not written and
    /// will not be. After `Ok`, exactly one of two things happens: `durable` is called, or it is dropped because the disk was
    /// full (definite: the record was cut off again) or the process is ending.
    fn append(&self, draft: Draft) -> Result<(), AppendError>;

    /// The last position whose sync has returned; [`Position::START`] if there is none.
    fn durable(&self) -> Position;

    /// The first position that is still held; `durable().next()` when it is empty.
    fn first(&self) -> Position;

    /// The durable records from `from` on, in order, at least one if there is any, up to about `bytes_max`. Each is checked
    /// against its checksum. `from` below [`Journal::first`] is [`ReadError::Trimmed`].
    fn read(&self, from: Position, bytes_max: usize) -> Result<Vec<Record>, ReadError>;

    /// One durable record again.
    fn read_at(&self, locator: Locator) -> Result<Record, ReadError>;

    /// Rings `bell` after each sync from now on; one bell a journal.
    fn set_bell(&self, bell: Bell);

    /// The last position that [`Journal::trim`] would give back now; `None` if that is nothing.
    fn trimmable(&self, through: Position) -> Option<Position>;

    /// Gives back the room of all records up to and with `through`: whole segments, as far as they hold nothing else.
    fn trim(&self, through: Position) -> Result<(), ReadError>;

    /// Bytes of the main segments on the disk now.
    fn disk_bytes(&self) -> u64;

    /// Copies records, which keep their positions, to the parking segments of a stopped shard and syncs them. Positions must
    /// rise from call to call for one shard; those at or below the last one parked are skipped.
    fn park(&self, shard: &str, records: &[Record]) -> Result<(), ReadError>;

    /// The parked records of a shard after `after`, in order, at least one if there is any, up to about `bytes_max`.
    fn read_parked(&self, shard: &str, after: Position, bytes_max: usize) -> Result<Vec<Record>, ReadError>;

    /// The last position that is parked for a shard.
    fn parked_through(&self, shard: &str) -> Result<Option<Position>, ReadError>;

    /// Gives back the room of parked records up to and with `through`.
    fn trim_parked(&self, shard: &str, through: Position) -> Result<(), ReadError>;

    /// Refuses further appends, syncs what was taken, and returns when its callbacks have been called.
    fn close(&self);
}
