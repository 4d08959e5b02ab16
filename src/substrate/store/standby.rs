//! A standby of a shard in PostgreSQL: how much of the primary's log it has replayed, and where it is read.
//!
//! How far it is comes by one statement a look, over one connection that is made when it is first needed: a standby that is down delays no
//! start. Promised: it follows the primary that is expected, by the names and the epoch in its copy of the shard; and nobody reads an older state
//! from it than was known of it before, also when it has started again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, DbErr, RuntimeErr, Statement};

use crate::support::config::PostgresUrl;
use crate::vocabulary::ids::Position;

use super::connect::{self, StoreOptions};
use super::error::StoreError;
use super::line::Line;
use super::link::{Pool, answered};
use super::membership::Joined;
use super::read_side::ReadSide;
use super::shard::Store;
use super::tenure::Chosen;
use super::values::{get, unsigned_or_null};

/// A place in a server's write-ahead log: bytes since its beginning. Places of one primary's log can be compared, of two not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct LogPosition(pub u64);

/// One configured standby.
pub struct Standby {
    address: String,
    /// For looks alone, so that they wait behind no reader.
    connection: DatabaseConnection,
    reads: ReadSide,
    known: Arc<Known>,
}

/// The furthest that a standby is known to have replayed.
#[derive(Debug, Default)]
pub(super) struct Known(AtomicU64);

impl Known {
    fn note(&self, position: LogPosition) {
        self.0.fetch_max(position.0, Ordering::SeqCst);
    }

    pub(super) fn position(&self) -> LogPosition {
        LogPosition(self.0.load(Ordering::SeqCst))
    }
}

const PRIMARY_STANDS: &str = "SELECT CAST(pg_current_wal_lsn() - '0/0'::pg_lsn AS bigint)";
const STANDBY_STANDS: &str = "SELECT pg_is_in_recovery(), CAST(pg_last_wal_replay_lsn() - '0/0'::pg_lsn AS bigint), epoch, journal, shard_name, \
     complete_to FROM shard";
/// Where a server's log is, whichever of the two it is.
pub(super) const HERE_STANDS: &str = "SELECT CAST(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END \
     - '0/0'::pg_lsn AS bigint)";

impl Standby {
    /// Connects when it is asked first, and is read only while it carries the epoch of `primary`.
    pub async fn open(url: &PostgresUrl, options: &StoreOptions, primary: &Store) -> Result<Self, StoreError> {
        let known = Arc::<Known>::default();
        let connection = connect::standby(url, options).await?;
        let pool = Pool::Server(connect::standby_reads(url, options, primary.chosen(), &known).await?);
        let patience = Some(options.pool_wait);
        let reads = ReadSide { pool, patience, ..primary.reads().clone() };
        Ok(Self { address: url.address(), connection, reads, known })
    }

    /// Where it is, as operators know it.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Where it is read.
    pub fn reads(&self) -> &ReadSide {
        &self.reads
    }

    /// The furthest that it is known to have replayed: whoever reads it gets at least that.
    pub fn known(&self) -> LogPosition {
        self.known.position()
    }

    /// It was seen to be there.
    pub fn note(&self, replayed: LogPosition) {
        self.known.note(replayed);
    }

    /// How far it has replayed.
    pub async fn replayed(&self) -> Result<LogPosition, StoreError> {
        Ok(self.stands().await?.0)
    }

    /// How far its copy of the shard says that it is complete.
    pub async fn complete_to(&self) -> Result<Position, StoreError> {
        Ok(self.stands().await?.1)
    }

    /// Both. A server that is no standby, as the primary itself where it is listed too, or one of another shard or primary, has nothing to say
    /// about ours, and is an error.
    async fn stands(&self) -> Result<(LogPosition, Position), StoreError> {
        let row = one_row(&self.connection, self.reads.patience, STANDBY_STANDS).await?;
        let (true, Some(replayed)) = (get(&row, 0)?, unsigned_or_null(&row, 1)?) else {
            return Err(StoreError::NoStandby { address: self.address.clone() });
        };
        if let Some(Chosen { tenure, shard }) = self.reads.chosen.get() {
            shard.check_copy(Joined::of(get(&row, 3)?, get(&row, 4)?).as_ref())?;
            let found = unsigned_or_null(&row, 2)?.unwrap_or_default();
            if found != tenure.epoch {
                return Err(StoreError::OtherEpoch { found, expected: tenure.epoch });
            }
        }
        Ok((LogPosition(replayed), unsigned_or_null(&row, 5)?.map(Position).unwrap_or_default()))
    }

    pub async fn close(&self) -> Result<(), StoreError> {
        self.reads.pool.close().await?;
        Ok(self.connection.close_by_ref().await?)
    }
}

impl Store {
    /// Where the primary's log ends now. What was committed before this is asked lies before it; what is committed meanwhile may not.
    pub async fn log_position(&self) -> Result<LogPosition, StoreError> {
        log_position_in(&one_row(self.server()?, self.patience(), PRIMARY_STANDS).await?)
    }
}

pub(super) fn log_position_in(row: &Line) -> Result<LogPosition, StoreError> {
    Ok(LogPosition(unsigned_or_null(row, 0)?.unwrap_or_default()))
}

pub(super) async fn one_row(
    connection: &DatabaseConnection,
    patience: Option<Duration>,
    question: &'static str,
) -> Result<Line, StoreError> {
    let row = answered(patience, connection.query_one_raw(Statement::from_string(DbBackend::Postgres, question))).await?;
    row.map(Line::Server).ok_or_else(|| no_answer(question))
}

pub(super) fn no_answer(question: &str) -> StoreError {
    StoreError::Database(DbErr::Query(RuntimeErr::Internal(format!("no answer to {question}"))))
}
