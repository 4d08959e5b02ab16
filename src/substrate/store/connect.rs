//! How a database is opened, and what must be true of it: a [`Backend`] goes in, one pool that writes and one that reads
//! come out. A database that would not keep what it is told is refused.
//!
//! A file's schema is made by the same migrations as a server's, over connections that are there for that alone.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sea_orm::{ConnectOptions, Database, DatabaseConnection};

use super::error::StoreError;
use super::link::Pool;
use super::membership::Wanted;
use super::sqlite::{FilePlan, FilePool, STATEMENTS_KEPT};
use super::standby::Known;
use super::tenure::{Chosen, PrimarySight};
use crate::support::config::PostgresUrl;

mod postgres;

/// Which database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Backend {
    /// A file, made if there is none; its folder must exist.
    Sqlite(PathBuf),
    /// A server; the database must be there.
    Postgres(PostgresUrl),
}

#[cfg(feature = "faults")]
impl Backend {
    /// The name of the file without its ending; empty for a server.
    pub(super) fn file_stem(&self) -> &str {
        match self {
            Self::Sqlite(path) => path.file_stem().and_then(std::ffi::OsStr::to_str).unwrap_or_default(),
            Self::Postgres(_) => "",
        }
    }
}

/// Bounds of the connections of one shard.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// Connections for snapshots.
    pub readers: u32,
    /// Connections for transactions that write. SQLite has one writer whatever is said here.
    pub writers: u32,
    /// How long a caller waits in line for a connection before the shard counts as down.
    pub pool_wait: Duration,
    /// PostgreSQL: how long one statement may take.
    pub statement_wait: Duration,
    /// PostgreSQL: how long it may wait for what another transaction holds.
    pub lock_wait: Duration,
    /// PostgreSQL: how long a transaction may stand without a statement.
    pub idle_wait: Duration,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            readers: 2,
            writers: 16,
            pool_wait: Duration::from_secs(5),
            statement_wait: Duration::from_secs(30),
            lock_wait: Duration::from_secs(5),
            idle_wait: Duration::from_secs(30),
        }
    }
}

impl StoreOptions {
    /// How long to wait for an answer before nothing more is expected. A file needs no such bound.
    pub(super) fn patience(&self, backend: &Backend) -> Option<Duration> {
        match backend {
            Backend::Sqlite(_) => None,
            Backend::Postgres(_) => Some(self.statement_wait + ANSWER_MARGIN),
        }
    }
}

/// The first SQLite without the loss of committed data when two connections write and checkpoint a WAL at the same moment
/// (<https://www.sqlite.org/wal.html#walresetbug>).
const SQLITE_VERSION_MIN: (&str, [u32; 3]) = ("3.51.3", [3, 51, 3]);
/// Only another process can hold the writer's lock, and there should be none: a short wait tells soon.
const SQLITE_BUSY_WAIT: Duration = Duration::from_millis(250);
/// The server itself ends a statement at its time; an answer that is not there so much later does not come.
const ANSWER_MARGIN: Duration = Duration::from_secs(5);
/// Pages of the log after which the writer moves them into the file: 16 MiB, so that a page that is changed often is moved once.
const WAL_CHECKPOINT_PAGES: &str = "4000";
/// What a checkpoint leaves of the log's file.
const WAL_BYTES_KEPT: &str = "67108864";
/// KiB of pages that a connection keeps in memory; negative means KiB to SQLite.
const WRITER_CACHE: &str = "-16384";
const READER_CACHE: &str = "-4096";
/// What each connection that writes is told, and each that reads.
const WRITER_PRAGMAS: [(&str, &str); 7] = [
    ("mmap_size", "0"),
    ("temp_store", "memory"),
    ("journal_mode", "wal"),
    ("synchronous", "full"),
    ("wal_autocheckpoint", WAL_CHECKPOINT_PAGES),
    ("journal_size_limit", WAL_BYTES_KEPT),
    ("cache_size", WRITER_CACHE),
];
const READER_PRAGMAS: [(&str, &str); 4] =
    [("mmap_size", "0"), ("temp_store", "memory"), ("query_only", "on"), ("cache_size", READER_CACHE)];

/// The two pools of a shard.
pub(super) struct Pools {
    pub(super) writer: Pool,
    pub(super) reader: Pool,
}

/// `chosen`: what new connections to a server are held to, once it is known.
pub(super) async fn open(backend: &Backend, options: &StoreOptions, chosen: &Arc<OnceLock<Chosen>>) -> Result<Pools, StoreError> {
    match backend {
        Backend::Sqlite(path) => open_sqlite(path, options).await,
        Backend::Postgres(url) => postgres::open(url, options, chosen).await,
    }
}

/// What a server that takes writes says of the shard, over a connection for this question alone.
pub(super) async fn sight(url: &PostgresUrl, options: &StoreOptions, shard: &Wanted) -> Result<PrimarySight, StoreError> {
    postgres::sight(url, options, shard).await
}

/// One connection to a standby, made when it is first used.
pub(super) async fn standby(url: &PostgresUrl, options: &StoreOptions) -> Result<DatabaseConnection, StoreError> {
    postgres::standby(url, options).await
}

/// Connections by which a standby is read, made when they are used: to one of the shard and the epoch of `chosen`, and no older than `known`.
pub(super) async fn standby_reads(
    url: &PostgresUrl,
    options: &StoreOptions,
    chosen: &Arc<OnceLock<Chosen>>,
    known: &Arc<Known>,
) -> Result<DatabaseConnection, StoreError> {
    postgres::standby_reads(url, options, chosen, known).await
}

async fn open_sqlite(path: &Path, options: &StoreOptions) -> Result<Pools, StoreError> {
    make_private_file(path).map_err(|source| StoreError::File { path: path.display().to_string(), source })?;
    let plan = |read_only, pragmas| FilePlan {
        path: path.to_owned(),
        read_only,
        pragmas,
        busy_wait: SQLITE_BUSY_WAIT,
        pool_wait: options.pool_wait,
    };
    let writer = FilePool::open(plan(false, &WRITER_PRAGMAS), 1)?;
    assert_sqlite_is_safe(&writer).await?;
    let reader = FilePool::open(plan(true, &READER_PRAGMAS), options.readers)?;
    Ok(Pools { writer: Pool::File(writer), reader: Pool::File(reader) })
}

/// A connection for migrations, or to see whether there are any to be run.
pub(super) async fn for_schema(path: &Path, read_only: bool, options: &StoreOptions) -> Result<DatabaseConnection, StoreError> {
    let path = path.to_owned();
    // The address is only there to say which driver: the file is named below, so that its name needs no escaping.
    let mut connect = common_options("sqlite::memory:".to_owned(), 1, options);
    connect.map_sqlx_sqlite_opts(move |_| {
        let base = SqliteConnectOptions::new().filename(&path).read_only(read_only).foreign_keys(false).busy_timeout(SQLITE_BUSY_WAIT);
        let kept = if read_only { base } else { base.journal_mode(SqliteJournalMode::Wal).synchronous(SqliteSynchronous::Full) };
        quiet(kept)
    });
    Ok(Database::connect(connect).await?)
}

/// Statements carry what people wrote: they never go to the log.
fn quiet<T: sea_orm::sqlx::ConnectOptions>(options: T) -> T {
    options.disable_statement_logging()
}

fn common_options(url: String, connections: u32, options: &StoreOptions) -> ConnectOptions {
    let mut connect = ConnectOptions::new(url);
    connect.max_connections(connections.max(1)).acquire_timeout(options.pool_wait).connect_timeout(options.pool_wait);
    connect.sqlx_logging(false).record_stmt_in_spans(false);
    connect
}

/// Makes the file so that only its owner can read it, before SQLite would make it with the usual rights. The log files that
/// SQLite puts beside it get the same rights as the file.
fn make_private_file(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};

    match std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            // The name of the new file must survive a power cut as well as what is written into it.
            std::fs::File::open(folder)?.sync_all()
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            let rights = std::fs::metadata(path)?.permissions().mode() & 0o777;
            if rights & 0o077 == 0 { Ok(()) } else { std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)) }
        }
        Err(error) => Err(error),
    }
}

async fn assert_sqlite_is_safe(writer: &Arc<FilePool>) -> Result<(), StoreError> {
    let (needed, needed_parts) = SQLITE_VERSION_MIN;
    let version: String = writer.answer("SELECT sqlite_version()").await?;
    let parts: Vec<u32> = version.split('.').map(|part| part.parse().unwrap_or(0)).collect();
    if parts.as_slice() < needed_parts.as_slice() {
        return Err(StoreError::SqliteTooOld { found: version, needed });
    }
    let mode: String = writer.answer("PRAGMA journal_mode").await?;
    if mode != "wal" {
        return Err(StoreError::SettingRefused { setting: "journal_mode=wal", found: mode });
    }
    let synchronous: i64 = writer.answer("PRAGMA synchronous").await?;
    if synchronous != SYNCHRONOUS_FULL {
        return Err(StoreError::SettingRefused { setting: "synchronous=full", found: synchronous.to_string() });
    }
    Ok(())
}

/// What `PRAGMA synchronous` answers for FULL.
const SYNCHRONOUS_FULL: i64 = 2;
