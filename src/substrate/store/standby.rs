//! A standby of a shard in PostgreSQL, as far as the shard's own safety needs it: how much of the primary's log it has replayed.
//!
//! One statement a look, over one connection that is made when it is first needed: a standby that is down delays no start. Nothing is
//! served from here.

use std::time::Duration;

use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, DbErr, RuntimeErr, Statement};

use crate::support::config::PostgresUrl;
use crate::vocabulary::ids::Position;

use super::connect::{self, StoreOptions};
use super::error::StoreError;
use super::line::Line;
use super::link::answered;
use super::shard::Store;
use super::values::{get, unsigned_or_null};

/// A place in a server's write-ahead log: bytes since its beginning. Places of one primary's log can be compared, of two not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct LogPosition(pub u64);

/// One configured standby.
pub struct Standby {
    address: String,
    connection: DatabaseConnection,
    patience: Option<Duration>,
}

const PRIMARY_STANDS: &str = "SELECT CAST(pg_current_wal_lsn() - '0/0'::pg_lsn AS bigint)";
const STANDBY_COMPLETE_TO: &str = "SELECT complete_to FROM shard";
const STANDBY_STANDS: &str = "SELECT pg_is_in_recovery(), CAST(pg_last_wal_replay_lsn() - '0/0'::pg_lsn AS bigint)";

impl Standby {
    /// Connects when it is asked first.
    pub async fn open(url: &PostgresUrl, options: &StoreOptions) -> Result<Self, StoreError> {
        let connection = connect::standby(url, options).await?;
        Ok(Self { address: url.address(), connection, patience: Some(options.pool_wait) })
    }

    /// Where it is, as operators know it.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// How far it has replayed. A server that is no standby has nothing to say about another's log, and is an error.
    pub async fn replayed(&self) -> Result<LogPosition, StoreError> {
        let row = one_row(&self.connection, self.patience, STANDBY_STANDS).await?;
        match (get(&row, 0)?, unsigned_or_null(&row, 1)?) {
            (true, Some(position)) => Ok(LogPosition(position)),
            _ => Err(StoreError::NoStandby { address: self.address.clone() }),
        }
    }

    /// How far its copy of the shard says that it is complete.
    pub async fn complete_to(&self) -> Result<Position, StoreError> {
        let row = one_row(&self.connection, self.patience, STANDBY_COMPLETE_TO).await?;
        Ok(unsigned_or_null(&row, 0)?.map(Position).unwrap_or_default())
    }

    pub async fn close(&self) -> Result<(), StoreError> {
        Ok(self.connection.close_by_ref().await?)
    }
}

impl Store {
    /// Where the primary's log ends now. What was committed before this is asked lies before it; what is committed meanwhile may not.
    pub async fn log_position(&self) -> Result<LogPosition, StoreError> {
        let row = one_row(self.server()?, self.patience(), PRIMARY_STANDS).await?;
        Ok(LogPosition(unsigned_or_null(&row, 0)?.unwrap_or_default()))
    }
}

pub(super) async fn one_row(
    connection: &DatabaseConnection,
    patience: Option<Duration>,
    question: &'static str,
) -> Result<Line, StoreError> {
    let row = answered(patience, connection.query_one_raw(Statement::from_string(DbBackend::Postgres, question))).await?;
    row.map(Line::Server).ok_or_else(|| StoreError::Database(DbErr::Query(RuntimeErr::Internal(format!("no answer to {question}")))))
}
