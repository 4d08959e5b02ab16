//! The door of one shard's database: opening it, its schema, who it is, and the two kinds of transactions.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use sea_orm::sea_query::{Expr, ExprTrait, OnConflict, Query};
use sea_orm::{DatabaseConnection, DbBackend};
#[cfg(feature = "faults")]
use sea_orm::{DbErr, error::ConnAcquireErr};
use sosik_entities::{accounts, lanes, sessions, shard};
use sosik_migration::{Migrator, MigratorTrait};
use uuid::Uuid;

use crate::support::faults::planted;
use crate::vocabulary::Millis;
use crate::vocabulary::ids::{Position, UserId};
use crate::vocabulary::owner::{LANES, Owner};

use super::accounts::role_code;
use super::connect::{self, Backend, StoreOptions};
use super::error::StoreError;
use super::kept_writes;
use super::link::{Link, Pool};
use super::membership::Joined;
use super::read_side::ReadSide;
use super::rows::Role;
use super::snapshot::Snapshot;
use super::tenure::Chosen;
use super::values::{get, number, small, unsigned, unsigned_or_null};
use super::write_tx::WriteTx;

/// One shard's database. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    writer: Pool,
    reads: ReadSide,
    options: Arc<StoreOptions>,
    /// It broke what must hold, or failed to make durable what was committed.
    stopped: Arc<AtomicBool>,
    /// The name of its file, by which a fault is planted in one shard only.
    #[cfg(feature = "faults")]
    file: Arc<str>,
}

/// What [`Store::migrate`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migrated {
    /// The names of the migrations that were run now, in their order.
    pub steps: Vec<String>,
}

/// Who a shard says it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardIdentity {
    /// The journal that it joined.
    pub journal: Option<Uuid>,
    /// Its name at that time.
    pub shard_name: Option<String>,
    /// How many lanes it was made with.
    pub lanes: u16,
    /// Raised each time another primary takes over.
    pub epoch: u64,
    /// It says that it has all its entries up to here; `None` if it was never asked to say so.
    pub complete_to: Option<Position>,
}

/// A row if the table `shard` is there.
const SQLITE_HAS_SHARD: &str = "SELECT name FROM sqlite_master WHERE type = 'table' AND name = 'shard'";
const POSTGRES_HAS_SHARD: &str = "SELECT relname FROM pg_class WHERE oid = to_regclass('shard')";
/// The one row of the table `shard`.
pub(super) const SHARD_ROW: i64 = 1;
/// Rows that one purge takes away, so that it does not hold the writer for long; the caller comes again while it gets this many.
pub const PURGE_ROWS_MAX: u64 = 1000;

impl Store {
    /// Connects, and refuses a database that could lose what it committed. It does not look at the schema.
    pub async fn open(backend: &Backend, options: StoreOptions) -> Result<Self, StoreError> {
        let chosen = Arc::default();
        let pools = connect::open(backend, &options, &chosen).await?;
        let reads = ReadSide { pool: pools.reader, shapes: Arc::default(), patience: options.patience(backend), chosen };
        Ok(Self {
            writer: pools.writer,
            reads,
            options: Arc::new(options),
            stopped: Arc::default(),
            #[cfg(feature = "faults")]
            file: backend.file_stem().into(),
        })
    }

    /// Brings the schema up to this binary's, and makes the rows of the lanes. A newer schema is refused and left alone.
    pub async fn migrate(&self) -> Result<Migrated, StoreError> {
        let known: Vec<String> = Migrator::migrations().iter().map(|migration| migration.name().to_owned()).collect();
        let schema = self.schema(false).await?;
        let present: Vec<String> = Migrator::get_migration_models(&*schema).await?.into_iter().map(|model| model.version).collect();
        match present.iter().filter(|version| !known.contains(version)).max() {
            // The migrator would refuse it as well: the fault opens the data as it is.
            Some(_) if planted("store::accept_newer_data") => {}
            Some(found) => {
                let known = known.last().cloned().unwrap_or_default();
                return Err(StoreError::NewerSchema { found: found.clone(), known });
            }
            None => Migrator::up(&*schema, None).await?,
        }
        close_schema(schema).await?;
        self.make_first_rows().await?;
        Ok(Migrated { steps: known.into_iter().filter(|name| !present.contains(name)).collect() })
    }

    /// Whether the schema is this binary's: `false` if it is older, an error if it is newer. Changes nothing.
    pub async fn is_current(&self) -> Result<bool, StoreError> {
        let schema = self.schema(true).await?;
        let is_current = Migrator::get_pending_migrations_read_only(&*schema).await?.is_empty();
        close_schema(schema).await?;
        Ok(is_current)
    }

    /// What migrations go over: a server's own pool, and for a file a connection of its own.
    async fn schema(&self, read_only: bool) -> Result<Cow<'_, DatabaseConnection>, StoreError> {
        match if read_only { &self.reads.pool } else { &self.writer } {
            Pool::Server(connection) => Ok(Cow::Borrowed(connection)),
            Pool::File(file) => Ok(Cow::Owned(connect::for_schema(file.path(), read_only, &self.options).await?)),
        }
    }

    async fn make_first_rows(&self) -> Result<(), StoreError> {
        let tx = self.begin().await?;
        let mut lane_rows = Query::insert();
        lane_rows.into_table(lanes::Entity).columns([
            lanes::Column::Lane,
            lanes::Column::Applied,
            lanes::Column::Relayed,
            lanes::Column::Notified,
        ]);
        for lane in 0..LANES {
            lane_rows.values_panic([i64::from(lane).into(), 0_i64.into(), 0_i64.into(), 0_i64.into()]);
        }
        lane_rows.on_conflict(OnConflict::column(lanes::Column::Lane).do_nothing().to_owned());
        tx.link.execute(&lane_rows).await?;
        let shard_row = Query::insert()
            .into_table(shard::Entity)
            .columns([shard::Column::Id])
            .values_panic([SHARD_ROW.into()])
            .on_conflict(OnConflict::column(shard::Column::Id).do_nothing().to_owned())
            .take();
        tx.link.execute(&shard_row).await?;
        tx.commit().await
    }

    /// What it has joined, whatever its schema is; `None` if it is empty, or has joined nothing yet.
    pub async fn joined(&self) -> Result<Option<Joined>, StoreError> {
        let snapshot = self.snapshot().await?;
        let there = if self.reads.pool.backend() == DbBackend::Sqlite { SQLITE_HAS_SHARD } else { POSTGRES_HAS_SHARD };
        if snapshot.link.rows_of(there, Vec::new()).await?.is_empty() {
            return Ok(None);
        }
        let query = Query::select().columns([shard::Column::Journal, shard::Column::ShardName]).from(shard::Entity).take();
        match snapshot.link.rows(&query).await?.first() {
            Some(row) => Ok(Joined::of(get(row, 0)?, get(row, 1)?)),
            None => Ok(None),
        }
    }

    pub async fn identity(&self) -> Result<ShardIdentity, StoreError> {
        let snapshot = self.snapshot().await?;
        identity(&snapshot.link).await
    }

    /// Writes into the shard which journal it belongs to. Only the first time: later it must be the same again.
    pub async fn join(&self, journal: Uuid, shard_name: &str) -> Result<(), StoreError> {
        let tx = self.begin().await?;
        let update = Query::update()
            .table(shard::Entity)
            .value(shard::Column::Journal, journal.to_string())
            .value(shard::Column::ShardName, shard_name)
            .and_where(Expr::col(shard::Column::Id).eq(SHARD_ROW))
            .and_where(Expr::col(shard::Column::Journal).is_null())
            .take();
        if tx.link.execute(&update).await? == 1 {
            return tx.commit().await;
        }
        let found = identity(&tx.link).await?;
        if found.journal == Some(journal) && found.shard_name.as_deref() == Some(shard_name) {
            return Ok(());
        }
        Err(StoreError::JoinedAlready {
            journal: found.journal.map(|journal| journal.to_string()).unwrap_or_default(),
            shard_name: found.shard_name.unwrap_or_default(),
        })
    }

    /// Writes another journal into the shard. What the one before still held of this shard is lost: only on an operator's word.
    pub async fn join_another(&self, journal: Uuid, shard_name: &str) -> Result<(), StoreError> {
        let tx = self.begin().await?;
        let update = Query::update()
            .table(shard::Entity)
            .value(shard::Column::Journal, journal.to_string())
            .value(shard::Column::ShardName, shard_name)
            .and_where(Expr::col(shard::Column::Id).eq(SHARD_ROW))
            .take();
        tx.link.execute(&update).await?;
        tx.commit().await
    }

    /// Writes down that the shard has all its entries up to `through`, but for those that are parked for it. It never goes back.
    pub async fn complete_to_raise(&self, through: Position) -> Result<(), StoreError> {
        let tx = self.begin().await?;
        raise_complete_to(&tx.link, through).await?;
        tx.commit().await
    }

    /// A transaction that writes. On SQLite there is one at a time, and this waits in line for it.
    pub async fn begin(&self) -> Result<WriteTx, StoreError> {
        fail::fail_point!("store::begin", |_| Err(StoreError::Database(DbErr::ConnectionAcquire(ConnAcquireErr::Timeout))));
        #[cfg(feature = "faults")]
        self.plant_read_only().await?;
        let link = self.reads.link(self.writer.begin_writing(self.patience()).await?);
        if self.stopped.load(Ordering::Relaxed) {
            return Err(StoreError::Stopped);
        }
        Ok(WriteTx { link, is_checked: false, stopped: Arc::clone(&self.stopped) })
    }

    /// What it holds cannot be trusted: nobody writes to it any more before the next start.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Where it is read.
    pub fn reads(&self) -> &ReadSide {
        &self.reads
    }

    /// A consistent state to read from.
    pub async fn snapshot(&self) -> Result<Snapshot, StoreError> {
        self.reads.snapshot().await
    }

    /// Gives an account a role; `false` if there is no such account.
    pub async fn account_set_role(&self, user: UserId, role: Role) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        // A batch that has read the account would write it back as it was.
        tx.lanes_lock(&[Owner::Account(user).lane()]).await?;
        let update = Query::update()
            .table(accounts::Entity)
            .value(accounts::Column::Role, role_code(role))
            .and_where(Expr::col(accounts::Column::User).eq(number(user.raw())))
            .take();
        let changed = tx.link.execute(&update).await? == 1;
        tx.commit().await?;
        Ok(changed)
    }

    /// Forgets kept writes whose time was over before `before`, at most [`PURGE_ROWS_MAX`]; answers how many.
    pub async fn kept_writes_purge(&self, before: Millis) -> Result<u64, StoreError> {
        let tx = self.begin().await?;
        let purged = kept_writes::purge(&tx.link, before, PURGE_ROWS_MAX).await?;
        tx.commit().await?;
        Ok(purged)
    }

    /// Forgets sessions that ended before `ended_before`, or were not used since `unused_since`, at most [`PURGE_ROWS_MAX`] of each; answers
    /// how many.
    pub async fn sessions_purge(&self, ended_before: Millis, unused_since: Millis) -> Result<u64, StoreError> {
        let tx = self.begin().await?;
        let mut purged = 0;
        for (column, before) in [(sessions::Column::EndedAt, ended_before), (sessions::Column::LastUsedAt, unused_since)] {
            let over = Query::select()
                .column(sessions::Column::Session)
                .from(sessions::Entity)
                .and_where(Expr::col(column).lt(number(before)))
                .limit(PURGE_ROWS_MAX)
                .take();
            let delete =
                Query::delete().from_table(sessions::Entity).and_where(Expr::col(sessions::Column::Session).in_subquery(over)).take();
            purged += tx.link.execute(&delete).await?;
        }
        tx.commit().await?;
        Ok(purged)
    }

    /// Moves SQLite's log into the file and empties it; PostgreSQL sees to that itself.
    pub async fn checkpoint(&self) -> Result<(), StoreError> {
        match &self.writer {
            Pool::File(file) => file.run("PRAGMA wal_checkpoint(TRUNCATE)").await,
            Pool::Server(_) => Ok(()),
        }
    }

    /// Ends all connections, after the transactions that are running.
    pub async fn close(&self) -> Result<(), StoreError> {
        self.reads.pool.close().await?;
        self.writer.close().await
    }

    /// The server's connections that write.
    pub(super) fn server(&self) -> Result<&DatabaseConnection, StoreError> {
        self.writer.server()
    }

    /// Runs a text on a connection that writes: to plant faults with.
    #[cfg(any(test, feature = "faults"))]
    pub(super) async fn run_on_writer(&self, text: &str) -> Result<(), StoreError> {
        match &self.writer {
            Pool::File(file) => file.run(text).await,
            Pool::Server(connection) => Ok(sea_orm::ConnectionTrait::execute_unprepared(connection, text).await.map(|_| ())?),
        }
    }

    pub(super) fn patience(&self) -> Option<Duration> {
        self.reads.patience
    }

    pub(super) fn chosen(&self) -> &Arc<OnceLock<Chosen>> {
        &self.reads.chosen
    }

    /// A planted fault: SQLite itself refuses to write, as on a file system that became read-only.
    #[cfg(feature = "faults")]
    async fn plant_read_only(&self) -> Result<(), StoreError> {
        if let Some(read_only) = crate::support::faults::is_read_only(&self.file) {
            self.run_on_writer(if read_only { "PRAGMA query_only = on" } else { "PRAGMA query_only = off" }).await?;
        }
        Ok(())
    }
}

async fn close_schema(schema: Cow<'_, DatabaseConnection>) -> Result<(), StoreError> {
    match schema {
        Cow::Borrowed(_) => Ok(()),
        Cow::Owned(connection) => Ok(connection.close().await?),
    }
}

pub(super) async fn raise_complete_to(link: &Link, through: Position) -> Result<(), StoreError> {
    let complete_to = || Expr::col(shard::Column::CompleteTo);
    let update = Query::update()
        .table(shard::Entity)
        .value(shard::Column::CompleteTo, number(through.0))
        .and_where(Expr::col(shard::Column::Id).eq(SHARD_ROW))
        .and_where(complete_to().is_null().or(complete_to().lt(number(through.0))))
        .take();
    link.execute(&update).await.map(|_| ())
}

async fn identity(link: &Link) -> Result<ShardIdentity, StoreError> {
    let query = Query::select()
        .columns([shard::Column::Journal, shard::Column::ShardName, shard::Column::CompleteTo, shard::Column::Epoch])
        .from(shard::Entity)
        .and_where(Expr::col(shard::Column::Id).eq(SHARD_ROW))
        .take();
    let rows = link.rows(&query).await?;
    let Some(row) = rows.first() else {
        return Err(StoreError::Unreadable { table: "shard", what: "its row is missing".to_owned() });
    };
    let journal = get::<Option<String>>(row, 0)?;
    let journal = journal.map(|text| Uuid::parse_str(&text)).transpose();
    let journal = journal.map_err(|error| StoreError::Unreadable { table: "shard", what: error.to_string() })?;
    let count = Query::select().expr(Expr::col(lanes::Column::Lane).count()).from(lanes::Entity).take();
    let counted = link.rows(&count).await?;
    let lanes = counted.first().map_or(Ok(0), |row| small(row, 0))?;
    Ok(ShardIdentity {
        journal,
        shard_name: get(row, 1)?,
        lanes,
        complete_to: unsigned_or_null(row, 2)?.map(Position),
        epoch: unsigned(row, 3)?,
    })
}
