//! Opens the databases and the journal, and makes sure that they belong together.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use super::{JOURNAL_FOLDER, StartError, primaries};
use crate::ledger::Shard;
use crate::ledger::hot_posts::HotPosts;
use crate::ledger::recovery::check_shard;
use crate::ledger::shard_reader::ShardReader;
use crate::ledger::standbys::Standbys;
use crate::substrate::journal::Journal;
use crate::substrate::journal::embedded::{EmbeddedJournal, Options};
use crate::substrate::journal::expectations::Expectations;
use crate::substrate::journal::look::JournalLook;
use crate::substrate::store::rows::LaneRow;
use crate::substrate::store::{Backend, Chosen, OfJournal, ShardIdentity, Standby, Store, StoreError, StoreOptions, Tenure, Wanted};
use crate::support::config::{Config, Member, Postgres};
use crate::vocabulary::ids::Position;
use crate::vocabulary::owner::ShardIndex;

/// Connections for reads of a SQLite shard: one shares its snapshots among many, the others serve pages.
pub(super) const READERS: u32 = 3;

/// How long the records of a crowd may wait for each other before they are synced together. Chosen, not yet found by measuring.
const SYNC_INTERVAL: Duration = Duration::from_micros(500);

/// The journal's room comes back by whole segments: so many of them make its bound, unless that made them very small or large.
const SEGMENTS_MIN: u64 = 16;
const SEGMENT_BYTES_MIN: u64 = 1 << 20;
const SEGMENT_BYTES_MAX: u64 = 16 << 20;

/// The substrate, opened.
pub(super) struct Opened {
    pub(super) journal: Arc<dyn Journal>,
    pub(super) expectations: Arc<Expectations>,
    pub(super) shards: Vec<Shard>,
    pub(super) hot_posts: Arc<HotPosts>,
    /// Where each shard's lanes are.
    pub(super) lanes: Arc<Vec<Vec<LaneRow>>>,
}

impl Opened {
    pub(super) fn names(&self) -> Vec<Arc<str>> {
        self.shards.iter().map(|shard| Arc::clone(&shard.name)).collect()
    }
}

/// A database that was opened, and what its server says of it; a file says nothing before it is asked.
type Found = (Store, Option<Tenure>);

/// Opens a member's database: of several hosts the one that is the primary. It does not look at the schema; once that is there the store can be
/// held to the primary that was chosen.
pub async fn connect(config: &Config, member: &Member, folder: &Path) -> Result<(Store, Option<Chosen>), StartError> {
    let (wanted, expected) = (wanted(member, folder)?, expected_tenure(member, folder)?);
    let (store, found) = connect_wanted(config, member, folder, &wanted, expected).await?;
    Ok((store, found.map(|tenure| Chosen { tenure, shard: wanted })))
}

/// The database is looked at before anything is changed in it: it may be another shard's, behind a URL that was mistaken.
async fn connect_wanted(
    config: &Config,
    member: &Member,
    folder: &Path,
    wanted: &Wanted,
    expected: Option<Tenure>,
) -> Result<Found, StartError> {
    let doing = || StartError::while_doing::<StoreError>(&format!("open the shard {}", member.name));
    let (store, found) = if let Some(file) = member.sqlite_file(folder) {
        let options = StoreOptions { readers: READERS, ..StoreOptions::default() };
        (Store::open(&Backend::Sqlite(file), options).await.map_err(doing())?, None)
    } else {
        let options = postgres_options(&config.postgres);
        let primary = primaries::find(&member.postgres_hosts(), &options, wanted, expected).await.map_err(doing())?;
        (Store::open(&Backend::Postgres(primary.url), options).await.map_err(doing())?, Some(primary.sight.tenure))
    };
    let joined = store.joined().await.map_err(doing())?;
    wanted.check(joined.as_ref()).map_err(doing())?;
    Ok((store, found))
}

/// Opens and migrates a member's database for an operator who says what it is: if need be also one that is not what the journal expects. With
/// PostgreSQL's timeline of it.
pub async fn open_any(config: &Config, member: &Member, folder: &Path, unexpected_too: bool) -> Result<(Store, Option<u32>), StartError> {
    let (wanted, expected) = (wanted(member, folder)?, expected_tenure(member, folder)?);
    let found = match connect_wanted(config, member, folder, &wanted, expected).await {
        Err(error) if unexpected_too && is_unexpected(&error) => connect_wanted(config, member, folder, &wanted, None).await?,
        found => found?,
    };
    let (store, tenure) = found;
    migrate(member, &store).await?;
    Ok((store, timeline(tenure)))
}

/// PostgreSQL's timeline of it; a file has none.
fn timeline(found: Option<Tenure>) -> Option<u32> {
    found.and_then(|tenure| tenure.timeline)
}

/// Whether another database may do on an operator's word. One that does not answer is none.
fn is_unexpected(error: &StartError) -> bool {
    matches!(error.source.downcast_ref(), Some(StoreError::NoPrimary { .. } | StoreError::OtherEpoch { .. }))
}

/// A member's shard, of the journal in this folder if there is one yet.
fn wanted(member: &Member, folder: &Path) -> Result<Wanted, StartError> {
    let journal = JournalLook::id(&folder.join(JOURNAL_FOLDER)).map_err(StartError::while_doing("read which journal this is"))?;
    Ok(Wanted { shard_name: member.name.clone(), journal: journal.map_or(OfJournal::New, |journal| OfJournal::This(journal.0)) })
}

fn expected_tenure(member: &Member, folder: &Path) -> Result<Option<Tenure>, StartError> {
    Ok(expectations_of(folder)?.of(&member.name).map(|expected| expected.tenure))
}

fn expectations_of(folder: &Path) -> Result<Expectations, StartError> {
    Expectations::open(&folder.join(JOURNAL_FOLDER)).map_err(StartError::while_doing("read what the journal expects"))
}

pub(super) fn postgres_options(postgres: &Postgres) -> StoreOptions {
    StoreOptions {
        readers: postgres.readers.into(),
        writers: postgres.writers.into(),
        pool_wait: postgres.connect_timeout,
        statement_wait: postgres.statement_timeout,
        lock_wait: postgres.lock_timeout,
        idle_wait: postgres.idle_in_transaction_timeout,
    }
}

/// Opens and migrates a member's database.
pub async fn open_store(config: &Config, member: &Member, folder: &Path) -> Result<Store, StartError> {
    let (store, _) = connect(config, member, folder).await?;
    migrate(member, &store).await?;
    Ok(store)
}

/// As [`open_store`], for a shard whose journal is lost.
pub async fn open_without_journal(config: &Config, member: &Member, folder: &Path) -> Result<Store, StartError> {
    let wanted = Wanted { shard_name: member.name.clone(), journal: OfJournal::Any };
    let (store, _) = connect_wanted(config, member, folder, &wanted, expected_tenure(member, folder)?).await?;
    migrate(member, &store).await?;
    Ok(store)
}

async fn migrate(member: &Member, store: &Store) -> Result<(), StartError> {
    let name = &member.name;
    let migrated = store.migrate().await.map_err(StartError::while_doing(&format!("migrate the shard {name}")))?;
    if !migrated.steps.is_empty() {
        tracing::info!(shard = %name, steps = migrated.steps.len(), "migrated");
    }
    Ok(())
}

async fn open_standbys(config: &Config, member: &Member, primary: &Store) -> Result<Vec<Standby>, StartError> {
    let mut standbys = Vec::with_capacity(member.replicas.len());
    for url in member.replica_urls() {
        let doing = StartError::while_doing::<StoreError>(&format!("set up a standby of the shard {}", member.name));
        standbys.push(Standby::open(&url, &postgres_options(&config.postgres), primary).await.map_err(doing)?);
    }
    Ok(standbys)
}

pub(super) async fn open(config: &Config, folder: &Path, reads_run_on: &Handle) -> Result<Opened, StartError> {
    let expectations = expectations_of(folder)?;
    let mut stores: Vec<(Arc<str>, Store, ShardIdentity, Vec<LaneRow>)> = Vec::new();
    let mut timelines = Vec::new();
    for member in &config.shards.members {
        let expected = expectations.of(&member.name).map(|expected| expected.tenure);
        let (store, found) = connect_wanted(config, member, folder, &wanted(member, folder)?, expected).await?;
        migrate(member, &store).await?;
        timelines.push(timeline(found));
        let doing = || StartError::while_doing::<StoreError>(&format!("read the shard {}", member.name));
        let identity = store.identity().await.map_err(doing())?;
        let lanes = store.snapshot().await.map_err(doing())?.lanes().await.map_err(doing())?;
        stores.push((member.name.as_str().into(), store, identity, lanes));
    }
    let highest = stores.iter().flat_map(|(_, _, _, lanes)| lanes).map(|row| row.applied).max().unwrap_or(Position::START);
    let segment_bytes = (config.journal.max_bytes / SEGMENTS_MIN).clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX);
    let options = Options { at_least: highest, sync_interval: SYNC_INTERVAL, segment_bytes, ..Options::default() };
    let opened = EmbeddedJournal::open(&folder.join(JOURNAL_FOLDER), options).map_err(StartError::while_doing("open the journal"))?;
    if let Some(cut) = &opened.report.cut {
        tracing::warn!(?cut, "the journal's tail was torn, never acknowledged, and was cut off");
    }
    let journal: Arc<dyn Journal> = Arc::new(opened.journal);
    for ((name, store, identity, lanes), timeline) in stores.iter().zip(timelines) {
        // Nothing is written into a shard of another journal.
        check_shard(name, identity.journal, journal.id(), journal.durable().next(), lanes)
            .map_err(StartError::while_doing("match journal and shards"))?;
        primaries::meet(name, store, identity, timeline, journal.as_ref(), &expectations).await?;
    }

    let hot_posts = Arc::new(HotPosts::new(config.cache.capacity / 2, stores.len()));
    let mut shards = Vec::with_capacity(stores.len());
    let mut all_lanes = Vec::with_capacity(stores.len());
    for (index, (name, store, identity, lanes)) in stores.into_iter().enumerate() {
        let (at, member) = (ShardIndex(index as u16), &config.shards.members[index]);
        let standbys = Arc::new(Standbys::new(&name, open_standbys(config, member, &store).await?, member.lag_max()));
        let (reader, reads) = ShardReader::new(Arc::clone(&name), at, store.clone(), Arc::clone(&standbys), &hot_posts);
        let shard = Shard::new(at, Arc::clone(&name), store, reader, standbys, reads_run_on.clone());
        let doing = || StartError::while_doing::<StoreError>(&format!("read the dead letters of the shard {name}"));
        let newest = shard.store.snapshot().await.map_err(doing())?.dead_letter_newest().await.map_err(doing())?;
        newest.into_iter().for_each(|write| shard.has_letter(write));
        if identity.journal.is_none() {
            let joining = StartError::while_doing::<StoreError>(&format!("join the shard {name}"));
            shard.store.join(journal.id().0, &name).await.map_err(joining)?;
        }
        for of_server in reads {
            reads_run_on.spawn(of_server.run());
        }
        shards.push(shard);
        all_lanes.push(lanes);
    }
    Ok(Opened { journal, expectations: Arc::new(expectations), shards, hot_posts, lanes: Arc::new(all_lanes) })
}
