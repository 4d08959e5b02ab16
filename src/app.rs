//! The composition root: picks the substrate, starts the stages bottom-up, and owns the order in which they stop.
//!
//! A checked configuration goes in, a running server comes out. Nothing is answered before everything below it is
//! recovered. On the way down the API stops first, then intake, then the workers finish the batch in hand.

mod account_ledger;
mod actors;
mod doors;
mod housekeeping;
mod journal_keeper;
mod notices;
mod operations;
mod planning;
mod primaries;
mod primary_watch;
mod shards;
mod streams;
mod tasks;
pub mod threads;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use arc_swap::ArcSwap;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::api::ports::Reader;
use crate::api::settings::Settings;
use crate::api::stream::{StreamDoor, StreamInboxes, StreamPages};
use crate::api::{self, Services};
use crate::intake::Intake;
use crate::intake::accounts::{AccountParts, AccountSettings, Accounts};
use crate::ledger::backlog::Backlog;
use crate::ledger::blocks::Blocks;
use crate::ledger::cards::Cards;
use crate::ledger::kept_keys::KeptKeys;
use crate::ledger::pending::Pending;
use crate::ledger::recovery;
use crate::ledger::standbys;
use crate::ledger::topology::Topology;
use crate::ledger::view::View;
use crate::ledger::writes::Writes;
use crate::ledger::{Ledger, Shard};
use crate::notify::desk::Desk;
use crate::notify::notification_dispatcher::DispatcherParts;
use crate::notify::{Ground, Inbox};
use crate::stream::desk::Above;
use crate::substrate::bus::LocalBus;
use crate::substrate::journal::expectations::Expectations;
use crate::substrate::store::FIRST_EPOCH;
use crate::substrate::store::rows::LaneRow;
use crate::support::auth::hashing::{HashingLimits, HashingPool};
use crate::support::auth::issuers::Issuers;
use crate::support::auth::keys::KeyRing;
use crate::support::auth::seal::Sealer;
use crate::support::auth::secret::MasterSecret;
use crate::support::auth::token::Tokens;
use crate::support::chain::Chain;
use crate::support::clock::Clock;
use crate::support::config::{Config, Issuer, Member};
use crate::support::data_folder::{DataFolder, claim_worker};
use crate::support::processors;
use crate::support::snowflake::IdMaker;
use crate::support::telemetry::Telemetry;
use crate::vocabulary::ids::Position;

use account_ledger::LedgerForAccounts;
use actors::Actors;
use notices::Notices;
use operations::Operator;
use planning::Planning;
use primary_watch::PrimaryWatch;
use streams::Streams;
use tasks::Tasks;
use threads::ThreadGroups;

pub use primaries::raise;
pub use shards::{connect, open_any, open_store, open_without_journal};

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
#[error("could not {doing}")]
pub struct StartError {
    doing: String,
    #[source]
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl StartError {
    /// Says what was being done when `source` happened.
    pub fn while_doing<E: std::error::Error + Send + Sync + 'static>(doing: &str) -> impl FnOnce(E) -> Self + use<E> {
        let doing = doing.to_owned();
        move |source| Self { doing, source: Box::new(source) }
    }
}

/// The data folder's part for keys.
pub const KEYS_FOLDER: &str = "keys";
/// The data folder's part for the journal.
pub const JOURNAL_FOLDER: &str = "journal";
/// The name that our access tokens carry as their audience.
pub const AUDIENCE: &str = "sosik";
/// The part of the cache that is for participants of posts, of all shards together.
const PARTICIPANTS_PART: u64 = 8;
/// How long a supervisor may take to finish the batch in hand.
const DRAIN_PATIENCE: Duration = Duration::from_secs(5);
/// How long the databases may take to close: one that hangs never would.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);
/// The whole way down. Requests in hand may take the greater part of it (`api`).
const STOP_WITHIN: Duration = Duration::from_secs(28);

/// A server that listens.
pub struct App {
    public: SocketAddr,
    admin: SocketAddr,
    servers: Vec<ServerHandle>,
    ending: Vec<actix_web::rt::task::JoinHandle<std::io::Result<()>>>,
    ledger: Arc<Ledger>,
    actors: Actors,
    streams: Streams,
    draining: Arc<AtomicBool>,
    start_again: Arc<Notify>,
    _folder: DataFolder,
}

impl App {
    /// Recovers what is in the data folder, and serves it. To be called inside an actix `System`.
    pub async fn start(
        config: Config,
        telemetry: Arc<Telemetry>,
        clock: Arc<dyn Clock>,
        groups: &ThreadGroups,
    ) -> Result<Self, StartError> {
        let runtime = &groups.ledger;
        let folder = DataFolder::open(&config.data.dir).map_err(StartError::while_doing("open the data folder"))?;
        let claim = claim_worker(folder.path(), config.node.datacenter, config.node.worker)
            .map_err(StartError::while_doing("claim the worker number"))?;
        let ids = IdMaker::open(folder.path(), claim, Arc::clone(&clock)).map_err(StartError::while_doing("open the ids"))?;
        let ids = Arc::new(ids);
        let topology = Topology::open(folder.path(), &config.shards).map_err(StartError::while_doing("open the map of shards"))?;
        let listeners = doors::listen(&config.server)?;

        let opened = shards::open(&config, folder.path(), &groups.reads).await?;
        let map = Arc::new(ArcSwap::from_pointee(topology.clone()));
        let first = opened.journal.first();
        let journal_id = opened.journal.id();
        let cache = config.cache.capacity;
        let ledger = Arc::new(Ledger {
            topology: Arc::clone(&map),
            backlog: Backlog::new(config.journal.max_bytes, opened.shards.len(), first),
            pending: Pending::new(Arc::clone(&opened.journal), opened.names(), cache / 4),
            writes: Writes::default(),
            kept_keys: KeptKeys::default(),
            cards: Cards::new(cache / 8),
            blocks: Blocks::new(cache / 8),
            hot_posts: opened.hot_posts,
            clock: Arc::clone(&clock),
            bus: Arc::new(LocalBus::default()),
            sessions_ended: std::sync::OnceLock::new(),
            shards: opened.shards,
            journal: opened.journal,
        });
        let mut beginnings = recover(&ledger, &opened.lanes, &opened.expectations, runtime).await?;
        for (shard, beginning) in ledger.shards.iter().zip(&mut beginnings) {
            shard.reader.reopening().wait_for(std::mem::take(&mut beginning.unapplied));
        }

        let intake = Intake::new(Arc::clone(&ledger), Arc::clone(&ids), &config.limits);
        let secret = MasterSecret::open(&folder.file(KEYS_FOLDER)).map_err(StartError::while_doing("open the secret"))?;
        let mut tasks = Tasks::new(runtime);
        let (accounts, tokens) = accounts(&config, folder.path(), &ledger, &intake, &ids, &secret, &mut tasks, &clock)?;
        let ground: Arc<dyn Ground> = Arc::clone(&ledger) as Arc<dyn Ground>;
        let desk = |shard: &Shard| {
            let (bus, clock) = (Arc::clone(&ledger.bus), Arc::clone(&clock));
            Arc::new(Desk::new(Arc::clone(&ground), shard.index, Arc::clone(&ids), bus, clock))
        };
        let notify = DispatcherParts {
            desks: ledger.shards.iter().map(desk).collect(),
            ground: Arc::clone(&ground),
            clock: Arc::clone(&clock),
            settings: config.notify.clone(),
            cache_bytes: cache / PARTICIPANTS_PART / ledger.shards.len() as u64,
            runtime: runtime.clone(),
        };
        let actors = Actors::start(&ledger, topology, &config, runtime, beginnings, &opened.lanes, &notify);
        for shard in ledger.shards.iter().filter(|shard| shard.standbys.are_there()) {
            tasks.start("following standbys", standbys::follow(Arc::clone(&ledger), shard.index));
        }
        load_revocations(&accounts, &ledger, &intake, &mut tasks).await;
        tasks.start("looking at the processors", processors::watch());
        housekeeping::start(&ledger, &intake, &config.auth, tokens, Arc::clone(&telemetry), &mut tasks);
        let start_again = watch_primaries(&config, &ledger, &opened.expectations, &mut tasks);
        journal_keeper::start(&ledger, Arc::clone(&opened.expectations), config.journal.max_bytes, &mut tasks);

        let view = View::new(Arc::clone(&ledger));
        let epoch = |shard: &Shard| opened.expectations.of(&shard.name).map_or(FIRST_EPOCH, |expected| expected.tenure.epoch);
        let inbox = Inbox::new(ground, journal_id.0, ledger.shards.iter().map(epoch));
        let above = Above {
            door: Arc::new(StreamDoor(Arc::clone(&accounts))),
            inboxes: Arc::new(StreamInboxes {
                inbox: inbox.clone(),
                view: view.clone(),
                intake: intake.clone(),
                runtime: groups.reads.clone(),
            }),
            pages: Arc::new(StreamPages(view.clone())),
        };
        let streams = Streams::start(above, &config.stream, ledger.bus.as_ref(), &clock);
        let draining = Arc::new(AtomicBool::new(false));
        runtime.spawn(actors::watch(actors.clone(), Arc::clone(&streams.desk), tasks, Arc::clone(&draining)));
        let operator = Operator {
            ledger: Arc::clone(&ledger),
            intake: intake.clone(),
            actors: actors.clone(),
            stream: Arc::clone(&streams.desk),
            planning: Planning::new(runtime, &draining),
            telemetry,
            bounds: actors::adaptive_bounds(&config),
            bytes_max: config.journal.max_bytes,
            draining: Arc::clone(&draining),
            deciding: tokio::sync::Mutex::default(),
        };
        let notices = Notices { inbox, view: view.clone(), runtime: groups.reads.clone() };
        let services = Arc::new(Services {
            reads: Arc::new(Reader { view, runtime: groups.reads.clone() }),
            notifications: Arc::new(notices),
            writes: Arc::new(intake),
            sign_in: accounts,
            operations: Arc::new(operator),
            stream: Some(Arc::clone(&streams.desk)),
            sealer: Sealer::new(&secret),
            journal: journal_id.0,
            has_standbys: config.shards.members.iter().any(|member| !member.replicas.is_empty()),
            settings: Settings::of(&config.server, &config.api),
        });
        Self::serve(services, listeners, ledger, actors, streams, draining, start_again, folder)
    }

    #[expect(clippy::too_many_arguments, reason = "the composition root hands over what it has made")]
    fn serve(
        services: Arc<Services>,
        (public, admin): (TcpListener, TcpListener),
        ledger: Arc<Ledger>,
        actors: Actors,
        streams: Streams,
        draining: Arc<AtomicBool>,
        start_again: Arc<Notify>,
        folder: DataFolder,
    ) -> Result<Self, StartError> {
        let address = |listener: &TcpListener| listener.local_addr().map_err(StartError::while_doing("read the bound address"));
        let (public_address, admin_address) = (address(&public)?, address(&admin)?);
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        let listening = || StartError::while_doing("serve HTTP");
        let servers = [
            api::public_server(Arc::clone(&services), public, workers).map_err(listening())?,
            api::admin_server(services, admin).map_err(listening())?,
        ];
        Ok(Self {
            public: public_address,
            admin: admin_address,
            servers: servers.iter().map(actix_web::dev::Server::handle).collect(),
            ending: servers.into_iter().map(actix_web::rt::spawn).collect(),
            ledger,
            actors,
            streams,
            draining,
            start_again,
            _folder: folder,
        })
    }

    /// Where clients, and where operators, find it.
    pub fn addresses(&self) -> (SocketAddr, SocketAddr) {
        (self.public, self.admin)
    }

    /// Ends when the server should stop and start again, to take over a new primary.
    pub async fn should_start_again(&self) {
        self.start_again.notified().await;
    }

    /// Stops in the order of a write's way, in time whatever hangs.
    pub async fn stop(self) {
        if tokio::time::timeout(STOP_WITHIN, self.go_down()).await.is_err() {
            tracing::warn!("the way down took too long and ends here; what was not finished is done after the next start");
        }
        tracing::info!("stopped");
    }

    /// No new requests, then no new entries, then no new batches.
    async fn go_down(self) {
        tracing::info!("stopping: no new requests from here on");
        self.draining.store(true, std::sync::atomic::Ordering::SeqCst);
        let servers = futures_util::future::join_all(self.servers.iter().map(|server| server.stop(true)));
        futures_util::future::join(servers, self.streams.say_goodbye()).await;
        for ended in self.ending {
            let _served = ended.await;
        }
        let journal = Arc::clone(&self.ledger.journal);
        let _closed = tokio::task::spawn_blocking(move || journal.close()).await;
        self.actors.drain(DRAIN_PATIENCE).await;
        journal_keeper::record_complete(&self.ledger, DRAIN_PATIENCE).await;
        futures_util::future::join_all(self.ledger.shards.iter().map(close)).await;
    }
}

async fn close(shard: &Shard) {
    let closed = async { shard.store.close().await.and(shard.standbys.close().await) };
    match tokio::time::timeout(CLOSE_PATIENCE, closed).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(shard = %shard.name, error = %Chain(&error), "closing the shard's database"),
        Err(_elapsed) => tracing::warn!(shard = %shard.name, "the shard's database did not close in time"),
    }
}

/// Rung when a shard has another primary.
fn watch_primaries(config: &Config, ledger: &Arc<Ledger>, expectations: &Arc<Expectations>, tasks: &mut Tasks) -> Arc<Notify> {
    let start_again = Arc::new(Notify::new());
    if config.shards.members.iter().all(Member::is_in_postgres) {
        let watch = PrimaryWatch {
            ledger: Arc::clone(ledger),
            expectations: Arc::clone(expectations),
            hosts: config.shards.members.iter().map(Member::postgres_hosts).collect(),
            options: shards::postgres_options(&config.postgres),
        };
        let bell = Arc::clone(&start_again);
        tasks.start("watching primaries", async move {
            watch.run().await;
            bell.notify_one();
        });
    }
    start_again
}

async fn recover(
    ledger: &Arc<Ledger>,
    lanes: &Arc<Vec<Vec<LaneRow>>>,
    expectations: &Expectations,
    runtime: &Handle,
) -> Result<Vec<recovery::Beginning>, StartError> {
    let of = |shard: &Shard| expectations.of(&shard.name).map(|expected| expected.read_from).unwrap_or_default();
    let read_from: Vec<Position> = ledger.shards.iter().map(of).collect();
    let (ledger, lanes) = (Arc::clone(ledger), Arc::clone(lanes));
    let recovered = runtime.spawn_blocking(move || recovery::recover(&ledger, &lanes, &read_from)).await;
    recovered.map_err(StartError::while_doing("read the journal"))?.map_err(StartError::while_doing("recover from the journal"))
}

/// Tokens and their keys, as the server and the command line use them.
pub fn tokens(config: &Config, folder: &std::path::Path, now: crate::vocabulary::Millis) -> Result<Tokens, StartError> {
    let keys = KeyRing::open(&folder.join(KEYS_FOLDER), now).map_err(StartError::while_doing("open the keys"))?;
    let foreign = config.auth.issuers.iter().map(Issuer::settings).collect();
    let own = config.own_issuer();
    let issuers = Issuers::new(foreign, own).map_err(StartError::while_doing("set up the foreign issuers"))?;
    Ok(Tokens::new(Arc::new(keys), Arc::new(issuers), own.to_owned(), AUDIENCE.to_owned()))
}

#[expect(clippy::too_many_arguments, reason = "the composition root hands each part what it stands on")]
fn accounts(
    config: &Config,
    folder: &std::path::Path,
    ledger: &Arc<Ledger>,
    intake: &Intake,
    ids: &Arc<IdMaker>,
    secret: &MasterSecret,
    tasks: &mut Tasks,
    clock: &Arc<dyn Clock>,
) -> Result<(Arc<Accounts>, Arc<Tokens>), StartError> {
    let hashing = HashingPool::start(HashingLimits::default()).map_err(StartError::while_doing("start the hashing pool"))?;
    let new_id = Arc::clone(ids);
    let tokens = Arc::new(tokens(config, folder, clock.now())?);
    let parts = AccountParts {
        ledger: Arc::new(LedgerForAccounts::new(Arc::clone(ledger), intake.clone())),
        tokens: Arc::clone(&tokens),
        hashing: Arc::new(hashing),
        clock: Arc::clone(clock),
        ids: Arc::new(move || new_id.next()),
    };
    let settings = AccountSettings {
        access_ttl: config.auth.access_ttl,
        refresh_ttl: config.auth.refresh_ttl,
        limits_enabled: config.limits.enabled,
        logins_per_minute: config.limits.logins_per_minute,
        registrations_per_hour: config.limits.registrations_per_hour,
        ..AccountSettings::default()
    };
    let (accounts, chores) = Accounts::new(settings, parts, secret);
    tasks.start("the chores of sign-in", chores.run());
    let revocations = Arc::clone(accounts.revocations());
    let told_at = Arc::clone(clock);
    let told = Box::new(move |sessions: &[crate::vocabulary::ids::SessionId]| revocations.end(sessions.iter().copied(), told_at.now()));
    let _first = ledger.sessions_ended.set(told);
    Ok((Arc::new(accounts), tokens))
}

/// Reads the sessions that ended lately: before anything is served, and where a shard does not answer, again and again until it does.
async fn load_revocations(accounts: &Arc<Accounts>, ledger: &Arc<Ledger>, intake: &Intake, tasks: &mut Tasks) {
    let revocations = Arc::clone(accounts.revocations());
    let seam = LedgerForAccounts::new(Arc::clone(ledger), intake.clone());
    let clock = Arc::clone(&ledger.clock);
    if revocations.load(&seam, clock.now()).await {
        return;
    }
    tasks.start("reading the ended sessions", async move {
        while !revocations.load(&seam, clock.now()).await {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    });
}
