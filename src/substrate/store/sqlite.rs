//! Connections to a shard's file, used on the thread that asks.
//!
//! Statements go in; rows and counts come out, without a trip to another thread and back: a transaction of fifteen statements would make
//! thirty. A statement works on pages in memory; what may wait for the disk is a commit, so whoever writes much has threads of his own for
//! it. Promise: a transaction that is dropped leaves nothing. Full: the caller waits in line for a connection, and then the shard is
//! unavailable.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::types::{FromSql, FromSqlError, ToSqlOutput, Value as FileValue, ValueRef};
use rusqlite::{Connection, OpenFlags};
use sea_orm::error::ConnAcquireErr;
use sea_orm::{DbErr, Statement, Value};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::StoreError;
use crate::support::lock::lock;

/// Prepared statements a connection keeps: about thirty tables, each with one to load and one to save, and what else is asked.
pub(super) const STATEMENTS_KEPT: usize = 256;

/// How a file's connections are made, and how many there are.
#[derive(Debug)]
pub(super) struct FilePlan {
    pub(super) path: PathBuf,
    pub(super) read_only: bool,
    /// What each connection is told first.
    pub(super) pragmas: &'static [(&'static str, &'static str)],
    /// How long a connection waits for what another process holds.
    pub(super) busy_wait: Duration,
    /// How long a caller waits in line.
    pub(super) pool_wait: Duration,
}

/// The connections of one kind to one file.
#[derive(Debug)]
pub(super) struct FilePool {
    plan: FilePlan,
    idle: Mutex<Vec<Connection>>,
    places: Arc<Semaphore>,
    size: u32,
}

/// One line of a file's answer.
#[derive(Debug)]
pub(super) struct FileLine(Vec<FileValue>);

impl FileLine {
    pub(super) fn get<T: FromSql>(&self, index: usize) -> Result<T, DbErr> {
        let value = self.0.get(index).ok_or_else(|| DbErr::Type(format!("there is no column {index}")))?;
        T::column_result(ValueRef::from(value)).map_err(|error| unreadable(index, &error))
    }
}

fn unreadable(index: usize, error: &FromSqlError) -> DbErr {
    DbErr::Type(format!("the column {index} cannot be read: {error}"))
}

impl FilePool {
    /// Opens the first connection, so that a file that cannot be used is noticed.
    pub(super) fn open(plan: FilePlan, size: u32) -> Result<Arc<Self>, StoreError> {
        let first = connect(&plan)?;
        let size = size.max(1);
        Ok(Arc::new(Self { plan, idle: Mutex::new(vec![first]), places: Arc::new(Semaphore::new(size as usize)), size }))
    }

    /// Begins a transaction: `BEGIN` and its kind.
    pub(super) async fn begin(self: &Arc<Self>, begin: &str) -> Result<FileTransaction, StoreError> {
        let session = self.session().await?;
        #[cfg(feature = "faults")]
        crate::support::faults::hang_file(&self.plan.path);
        session.with(|connection| connection.prepare_cached(begin)?.raw_execute())?;
        Ok(FileTransaction { session })
    }

    /// Runs statements without parameters outside of any transaction.
    pub(super) async fn run(self: &Arc<Self>, text: &str) -> Result<(), StoreError> {
        self.session().await?.with(|connection| connection.execute_batch(text))
    }

    /// The one value that a question gives.
    pub(super) async fn answer<T: FromSql>(self: &Arc<Self>, question: &str) -> Result<T, StoreError> {
        self.session().await?.with(|connection| connection.query_row(question, [], |row| row.get(0)))
    }

    async fn session(self: &Arc<Self>) -> Result<Session, StoreError> {
        let refused = |why| StoreError::Database(DbErr::ConnectionAcquire(why));
        let waited = tokio::time::timeout(self.plan.pool_wait, Arc::clone(&self.places).acquire_owned()).await;
        let place = waited.map_err(|_elapsed| refused(ConnAcquireErr::Timeout))?;
        let place = place.map_err(|_closed| refused(ConnAcquireErr::ConnectionClosed))?;
        let idle = lock(&self.idle).pop();
        let connection = idle.map_or_else(|| connect(&self.plan), Ok)?;
        Ok(Session { connection: Mutex::new(Some(connection)), pool: Arc::clone(self), _place: place })
    }

    pub(super) fn path(&self) -> &Path {
        &self.plan.path
    }

    /// Ends all connections, after what is running.
    pub(super) async fn close(&self) {
        if let Ok(_all) = self.places.acquire_many(self.size).await {
            self.places.close();
        }
        lock(&self.idle).clear();
    }
}

fn connect(plan: &FilePlan) -> Result<Connection, StoreError> {
    let access = if plan.read_only { OpenFlags::SQLITE_OPEN_READ_ONLY } else { OpenFlags::SQLITE_OPEN_READ_WRITE };
    // One thread at a time uses a connection: it needs no lock of its own.
    let connection = Connection::open_with_flags(&plan.path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(plan.busy_wait)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    for (name, value) in plan.pragmas {
        connection.execute_batch(&format!("PRAGMA {name} = {value}"))?;
    }
    Ok(connection)
}

/// A connection on loan. It goes back when this is dropped, without a transaction.
#[derive(Debug)]
struct Session {
    /// Only while this is dropped is there none. The lock is never waited for: it lets a shared transaction be used by one at a time.
    connection: Mutex<Option<Connection>>,
    pool: Arc<FilePool>,
    _place: OwnedSemaphorePermit,
}

impl Session {
    fn with<T>(&self, work: impl FnOnce(&Connection) -> Result<T, rusqlite::Error>) -> Result<T, StoreError> {
        let connection = lock(&self.connection);
        let Some(connection) = connection.as_ref() else {
            return Err(StoreError::Database(DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed)));
        };
        Ok(work(connection)?)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let Some(connection) = self.connection.get_mut().unwrap_or_else(PoisonError::into_inner).take() else { return };
        if !connection.is_autocommit() && connection.execute_batch("ROLLBACK").is_err() {
            // Whatever state it is in, nobody gets it: the next one opens another.
            return;
        }
        lock(&self.pool.idle).push(connection);
    }
}

/// A transaction on a file. Dropped without [`FileTransaction::commit`], nothing of it is kept.
#[derive(Debug)]
pub(super) struct FileTransaction {
    session: Session,
}

impl FileTransaction {
    pub(super) fn query(&self, statement: &Statement) -> Result<Vec<FileLine>, StoreError> {
        self.session.with(|connection| {
            let mut prepared = connection.prepare_cached(&statement.sql)?;
            bind(&mut prepared, values_of(statement))?;
            let mut found = Vec::new();
            collect(&mut prepared, &mut found)?;
            Ok(found)
        })
    }

    /// Asks the same for each of these, whose parameters `push` gives.
    pub(super) fn query_each<T>(
        &self,
        text: &str,
        each: impl IntoIterator<Item = T>,
        push: impl Fn(T, &mut Vec<Value>),
    ) -> Result<Vec<FileLine>, StoreError> {
        self.session.with(|connection| {
            let mut prepared = connection.prepare_cached(text)?;
            let (mut values, mut found) = (Vec::new(), Vec::new());
            for one in each {
                values.clear();
                push(one, &mut values);
                bind(&mut prepared, &values)?;
                collect(&mut prepared, &mut found)?;
            }
            Ok(found)
        })
    }

    /// How many rows it changed.
    pub(super) fn execute(&self, statement: &Statement) -> Result<u64, StoreError> {
        self.session.with(|connection| {
            let mut prepared = connection.prepare_cached(&statement.sql)?;
            bind(&mut prepared, values_of(statement))?;
            Ok(prepared.raw_execute()? as u64)
        })
    }

    /// Does the same with each of these, whose parameters `push` gives.
    pub(super) fn execute_each<T>(
        &self,
        text: &str,
        each: impl IntoIterator<Item = T>,
        push: impl Fn(T, &mut Vec<Value>),
    ) -> Result<(), StoreError> {
        self.session.with(|connection| {
            let mut prepared = connection.prepare_cached(text)?;
            let mut values = Vec::new();
            for one in each {
                values.clear();
                push(one, &mut values);
                bind(&mut prepared, &values)?;
                prepared.raw_execute()?;
            }
            Ok(())
        })
    }

    /// After `Ok` it is durable.
    pub(super) fn commit(self) -> Result<(), StoreError> {
        self.session.with(|connection| {
            #[cfg(feature = "faults")]
            plant_failed_sync(&self.session.pool.plan.path)?;
            connection.prepare_cached("COMMIT")?.raw_execute()
        })?;
        Ok(())
    }
}

/// A planted fault: the disk does not take a commit, once.
#[cfg(feature = "faults")]
fn plant_failed_sync(path: &Path) -> Result<(), rusqlite::Error> {
    let shard = path.file_stem().unwrap_or_default().to_string_lossy();
    if crate::support::faults::sync_fails(&shard) {
        return Err(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR_FSYNC), None));
    }
    Ok(())
}

fn values_of(statement: &Statement) -> &[Value] {
    statement.values.as_ref().map_or(&[][..], |values| &values.0)
}

fn collect(prepared: &mut rusqlite::CachedStatement<'_>, found: &mut Vec<FileLine>) -> Result<(), rusqlite::Error> {
    let columns = prepared.column_count();
    let mut rows = prepared.raw_query();
    while let Some(row) = rows.next()? {
        // Of its full length at once: collecting what may fail would let it grow by steps.
        let mut cells = Vec::with_capacity(columns);
        for index in 0..columns {
            cells.push(FileValue::try_from(row.get_ref(index)?)?);
        }
        found.push(FileLine(cells));
    }
    Ok(())
}

fn bind(prepared: &mut rusqlite::CachedStatement<'_>, values: &[Value]) -> Result<(), rusqlite::Error> {
    if prepared.parameter_name(1).is_none() {
        return values.iter().enumerate().try_for_each(|(index, value)| prepared.raw_bind_parameter(index + 1, Parameter(value)));
    }
    // Written by hand, with numbers as PostgreSQL has them: `$2` is a name to SQLite.
    for (index, value) in values.iter().enumerate() {
        if let Some(place) = prepared.parameter_index(&format!("${}", index + 1))? {
            prepared.raw_bind_parameter(place, Parameter(value))?;
        }
    }
    Ok(())
}

/// What our tables hold: numbers, texts, bytes and truth.
struct Parameter<'a>(&'a Value);

impl rusqlite::ToSql for Parameter<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let borrowed = match self.0 {
            Value::BigInt(Some(number)) => ValueRef::Integer(*number),
            Value::BigUnsigned(Some(number)) => ValueRef::Integer(number.cast_signed()),
            Value::Int(Some(number)) => ValueRef::Integer((*number).into()),
            Value::Unsigned(Some(number)) => ValueRef::Integer((*number).into()),
            Value::SmallInt(Some(number)) => ValueRef::Integer((*number).into()),
            Value::Bool(Some(truth)) => ValueRef::Integer((*truth).into()),
            Value::String(Some(text)) => ValueRef::Text(text.as_bytes()),
            Value::Bytes(Some(bytes)) => ValueRef::Blob(bytes),
            Value::BigInt(None)
            | Value::BigUnsigned(None)
            | Value::Int(None)
            | Value::Unsigned(None)
            | Value::SmallInt(None)
            | Value::Bool(None)
            | Value::String(None)
            | Value::Bytes(None) => ValueRef::Null,
            other => return Err(rusqlite::Error::ToSqlConversionFailure(format!("no table holds {other:?}").into())),
        };
        Ok(ToSqlOutput::Borrowed(borrowed))
    }
}
