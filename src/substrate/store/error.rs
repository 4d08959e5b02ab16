//! What can go wrong with a database, and what a caller does about it: [`StoreErrorKind`].

use sea_orm::error::ConnAcquireErr;
use sea_orm::sqlx::Error as SqlxError;
use sea_orm::{DbErr, RuntimeErr};

/// What a caller does about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StoreErrorKind {
    /// The shard is down: busy, locked, full, read-only, gone. Nothing is wrong with what was asked; ask again later.
    Unavailable,
    /// Somebody else moved the lane or cursor. Nothing of the transaction was kept: read where it is now.
    Fenced,
    /// The data is of a newer release: this binary must not touch it.
    NewerSchema,
    /// What never should happen: a broken constraint, a row that cannot be read, a damaged file. The shard stops.
    Invariant,
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the database could not do it")]
    Database(#[source] DbErr),
    #[error("the shard's file could not do it")]
    Sqlite(#[source] rusqlite::Error),
    #[error("the database gets no more writes before the next start: it broke what must hold")]
    Stopped,
    #[error("the shard is a file, which has no server to ask")]
    NoServer,
    #[error("could not prepare the file {path}")]
    File {
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error("could not connect to {address}")]
    Connect {
        address: String,
        #[source]
        source: SqlxError,
    },
    #[error("the database did not answer within {waited:?}")]
    NoAnswer { waited: std::time::Duration },
    #[error("{address} takes no writes: it is a standby, or default_transaction_read_only is on")]
    OnlyReads { address: String },
    #[error("the database carries the epoch {found} of its shard, and {expected} is expected: another primary has taken its place")]
    OtherEpoch { found: u64, expected: u64 },
    #[error("the database is {found}; wanted is {wanted}")]
    OtherShard { found: String, wanted: String },
    #[error("the shard has a new primary, and is brought up to date")]
    Reopening,
    #[error("none of the shard's hosts is its primary: {hosts}")]
    NoPrimary { hosts: String },
    #[error("{address} is no standby: it replays nobody's log")]
    NoStandby { address: String },
    #[error("the database runs with {setting} = {found}: {breaks}")]
    UnsafeSetting { setting: &'static str, found: String, breaks: &'static str },
    #[error("a lane or a cursor is not where it was known to be")]
    Fenced,
    #[error("a lane or a cursor would not move forward")]
    NotForward,
    #[error("the data has the migration {found}, which is newer than this program: it knows up to {known}")]
    NewerSchema { found: String, known: String },
    #[error("this shard has joined the journal {journal} as {shard_name}")]
    JoinedAlready { journal: String, shard_name: String },
    #[error("SQLite {found} is too old: {needed} is the first without the known loss of data in WAL mode")]
    SqliteTooOld { found: String, needed: &'static str },
    #[error("the database refused the setting {setting}: it is {found}")]
    SettingRefused { setting: &'static str, found: String },
    #[error("a row of {table} cannot be read: {what}")]
    Unreadable { table: &'static str, what: String },
    #[error("a kept write could not be turned into bytes or back")]
    KeptWrite(#[source] postcard::Error),
}

impl From<DbErr> for StoreError {
    fn from(error: DbErr) -> Self {
        Self::Database(error)
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl StoreError {
    pub fn kind(&self) -> StoreErrorKind {
        match self {
            Self::Database(error) => database_kind(error),
            Self::Sqlite(error) => sqlite_kind(error),
            Self::Connect { source, .. } => sqlx_kind(source),
            Self::File { .. }
            | Self::NoAnswer { .. }
            | Self::OnlyReads { .. }
            | Self::NoStandby { .. }
            | Self::OtherEpoch { .. }
            | Self::OtherShard { .. }
            | Self::NoPrimary { .. }
            | Self::Reopening => StoreErrorKind::Unavailable,
            Self::Fenced => StoreErrorKind::Fenced,
            Self::NewerSchema { .. } => StoreErrorKind::NewerSchema,
            Self::NotForward
            | Self::Stopped
            | Self::JoinedAlready { .. }
            | Self::SqliteTooOld { .. }
            | Self::SettingRefused { .. }
            | Self::UnsafeSetting { .. }
            | Self::Unreadable { .. }
            | Self::NoServer
            | Self::KeptWrite(_) => StoreErrorKind::Invariant,
        }
    }
}

impl StoreError {
    /// Whether its server had ended the connection, or is not there.
    pub(super) fn is_lost_connection(&self) -> bool {
        match self.sqlx() {
            Some(SqlxError::Io(_)) => true,
            Some(SqlxError::Database(error)) => error.code().is_some_and(|code| ENDED.contains(&&*code)),
            _ => false,
        }
    }

    fn sqlx(&self) -> Option<&SqlxError> {
        let Self::Database(DbErr::Conn(runtime) | DbErr::Exec(runtime) | DbErr::Query(runtime)) = self else { return None };
        let RuntimeErr::SqlxError(source) = runtime else { return None };
        Some(source)
    }

    /// Whether it was rolled back in favour of another transaction, so that it can be tried again at once.
    pub fn is_conflict(&self) -> bool {
        let Some(source) = self.sqlx() else { return false };
        source.as_database_error().and_then(|error| error.code()).is_some_and(|code| CONFLICTS.contains(&&*code))
    }
}

/// PostgreSQL: admin_shutdown, crash_shutdown.
const ENDED: [&str; 2] = ["57P01", "57P02"];
/// PostgreSQL: serialization_failure, deadlock_detected.
const CONFLICTS: [&str; 2] = ["40001", "40P01"];

fn database_kind(error: &DbErr) -> StoreErrorKind {
    match error {
        DbErr::ConnectionAcquire(ConnAcquireErr::Timeout | ConnAcquireErr::ConnectionClosed) => StoreErrorKind::Unavailable,
        DbErr::Conn(runtime) | DbErr::Exec(runtime) | DbErr::Query(runtime) => match runtime {
            RuntimeErr::SqlxError(source) => sqlx_kind(source),
            RuntimeErr::Internal(_) => StoreErrorKind::Invariant,
        },
        _ => StoreErrorKind::Invariant,
    }
}

fn sqlx_kind(error: &SqlxError) -> StoreErrorKind {
    match error {
        // Protocol: the connection carries something that is not an answer. It is dropped; a new one may do better.
        SqlxError::Io(_)
        | SqlxError::Tls(_)
        | SqlxError::Protocol(_)
        | SqlxError::PoolTimedOut
        | SqlxError::PoolClosed
        | SqlxError::WorkerCrashed
        | SqlxError::BeginFailed => StoreErrorKind::Unavailable,
        SqlxError::Database(database) => {
            let code = database.code().unwrap_or_default();
            let passing = match code.parse::<u32>() {
                Ok(number) if code.len() < SQLSTATE_CHARACTERS => sqlite_is_passing(number),
                _ => postgres_is_passing(&code),
            };
            if passing { StoreErrorKind::Unavailable } else { StoreErrorKind::Invariant }
        }
        _ => StoreErrorKind::Invariant,
    }
}

/// A code of PostgreSQL has five characters; one of SQLite has at most four digits (<https://www.sqlite.org/rescode.html>).
const SQLSTATE_CHARACTERS: usize = 5;

fn sqlite_kind(error: &rusqlite::Error) -> StoreErrorKind {
    match error.sqlite_error() {
        Some(failure) if sqlite_is_passing(failure.extended_code.cast_unsigned()) => StoreErrorKind::Unavailable,
        _ => StoreErrorKind::Invariant,
    }
}

/// PERM, BUSY, LOCKED, NOMEM, READONLY, INTERRUPT, IOERR, FULL, CANTOPEN, PROTOCOL: the low byte of an extended code.
fn sqlite_is_passing(code: u32) -> bool {
    matches!(code & 0xff, 3 | 5 | 6 | 7 | 8 | 9 | 10 | 13 | 14 | 15) && !FAILED_SYNCS.contains(&code)
}

/// IOERR_FSYNC and IOERR_DIR_FSYNC. Linux reports such a failure once and marks the pages clean: a second try would succeed and mean nothing.
const FAILED_SYNCS: [u32; 2] = [1034, 1290];

/// By class (<https://www.postgresql.org/docs/18/errcodes-appendix.html>): 08 connection, 28 not let in, 3D no such database,
/// 40 rolled back for another, 53 out of disk, memory or connections, 55 lock or object in use, 57 an operator, 58 the
/// system's I/O; and 25006, a server that only reads, and 25P03, a session that stood still in its transaction and was ended.
fn postgres_is_passing(code: &str) -> bool {
    ["25006", "25P03"].contains(&code) || ["08", "28", "3D", "40", "53", "55", "57", "58"].iter().any(|class| code.starts_with(class))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_sync_is_no_passing_error_of_the_disk() {
        let kind = |code| StoreError::Sqlite(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None)).kind();

        // IOERR_WRITE, FULL, READONLY.
        for passing in [778, 13, 8] {
            assert_eq!(kind(passing), StoreErrorKind::Unavailable, "{passing}");
        }
        // IOERR_FSYNC, IOERR_DIR_FSYNC, CORRUPT, NOTADB.
        for broken in [1034, 1290, 11, 26] {
            assert_eq!(kind(broken), StoreErrorKind::Invariant, "{broken}");
        }
    }
}
