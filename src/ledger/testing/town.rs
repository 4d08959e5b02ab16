//! A ledger on four real databases, moved by hand: each lane and each delivery only when a test says so.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;

use super::memory_journal::MemoryJournal;
use crate::ledger::backlog::Backlog;
use crate::ledger::blocks::Blocks;
use crate::ledger::cards::Cards;
use crate::ledger::hot_posts::HotPosts;
use crate::ledger::job::{Job, LaneRun, Parcel};
use crate::ledger::kept_keys::KeptKeys;
use crate::ledger::pending::{Pending, Shows, Topic};
use crate::ledger::routes::{Done, Routes};
use crate::ledger::shard_reader::ShardReader;
use crate::ledger::standbys::Standbys;
use crate::ledger::topology::Topology;
use crate::ledger::view::View;
use crate::ledger::writes::Writes;
use crate::ledger::{Ledger, Shard, recovery, settlement, write_worker};
use crate::substrate::bus::LocalBus;
use crate::substrate::journal::{Draft, Journal};
use crate::substrate::store::{Backend, Store, StoreOptions};
use crate::support::clock::{Clock, ManualClock};
use crate::support::config::Config;
use crate::vocabulary::command::{Command, Entry};
use crate::vocabulary::event::{NewAccount, Relay, decode_events};
use crate::vocabulary::ids::{Position, UserId, WriteId};
use crate::vocabulary::owner::{LaneAddress, Owner, ShardIndex};
use crate::vocabulary::text::{DisplayName, Username};

/// A shard, and where its file is copied from: a migration takes longer than a test.
fn template() -> &'static tempfile::TempDir {
    static TEMPLATE: OnceLock<tempfile::TempDir> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("shard.sqlite");
        let made = std::thread::spawn(move || {
            runtime().block_on(async {
                let store = Store::open(&Backend::Sqlite(path), StoreOptions::default()).await.expect("opens");
                store.migrate().await.expect("migrates");
                store.checkpoint().await.expect("one file");
                store.close().await.expect("closes");
            });
        });
        made.join().expect("a template");
        folder
    })
}

pub(in crate::ledger) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

pub(in crate::ledger) struct Town {
    pub(in crate::ledger) ledger: Arc<Ledger>,
    pub(in crate::ledger) view: View,
    pub(in crate::ledger) journal: Arc<MemoryJournal>,
    clock: Arc<ManualClock>,
    waiting: BTreeMap<(u16, u16), VecDeque<Arc<Entry>>>,
    applied: HashMap<(u16, u16), Position>,
    pub(in crate::ledger) routes: Vec<Routes>,
    folder: tempfile::TempDir,
}

impl Town {
    pub(in crate::ledger) async fn with_users(users: u64) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        for member in &Config::default().shards.members {
            std::fs::copy(template().path().join("shard.sqlite"), folder.path().join(&member.name)).expect("a copy");
        }
        let town = Self::open(folder, Arc::default()).await;
        for raw in 1..=users {
            town.settle_in(UserId::from_raw(raw)).await;
        }
        town
    }

    async fn open(folder: tempfile::TempDir, journal: Arc<MemoryJournal>) -> Self {
        let shards = Config::default().shards;
        let topology = Topology::of(&shards);
        let mut opened = Vec::new();
        let hot_posts = Arc::new(HotPosts::new(1 << 20, shards.members.len()));
        for (index, member) in shards.members.iter().enumerate() {
            let backend = Backend::Sqlite(folder.path().join(&member.name));
            let store = Store::open(&backend, StoreOptions::default()).await.expect("opens");
            let name: Arc<str> = member.name.as_str().into();
            let (at, standbys) = (ShardIndex(index as u16), Arc::<Standbys>::default());
            let (reader, reading) = ShardReader::new(Arc::clone(&name), at, store.clone(), Arc::clone(&standbys), &hot_posts);
            for of_server in reading {
                tokio::runtime::Handle::current().spawn(of_server.run());
            }
            opened.push(Shard::new(at, name, store, reader, standbys, tokio::runtime::Handle::current()));
        }
        let clock = Arc::new(ManualClock::at(1_000_000));
        let shared: Arc<dyn Journal> = Arc::clone(&journal) as Arc<dyn Journal>;
        let count = opened.len();
        let names = opened.iter().map(|shard| Arc::clone(&shard.name)).collect();
        let ledger = Arc::new(Ledger {
            topology: Arc::new(ArcSwap::from_pointee(topology)),
            shards: opened,
            backlog: Backlog::new(1 << 30, count, journal.first()),
            // No room for decoded entries: each pending one is read from the journal.
            pending: Pending::new(Arc::clone(&shared), names, 0),
            journal: shared,
            writes: Writes::default(),
            kept_keys: KeptKeys::default(),
            cards: Cards::new(1 << 16),
            blocks: Blocks::new(1 << 16),
            hot_posts,
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            bus: Arc::new(LocalBus::default()),
            sessions_ended: OnceLock::new(),
        });
        let routes = (0..count as u16).map(|shard| Routes::new(ShardIndex(shard))).collect();
        let view = View::new(Arc::clone(&ledger));
        Self { ledger, view, journal, clock, waiting: BTreeMap::new(), applied: HashMap::new(), routes, folder }
    }

    async fn settle_in(&self, user: UserId) {
        let account = NewAccount {
            user,
            username: Username::parse(&format!("user_{user}")).expect("a username"),
            display_name: DisplayName::parse(format!("User {user}")).expect("a name"),
            password_hash: None,
            session: None,
            opened_at: 0,
        };
        let mut transition = crate::ledger::apply::Transition::default();
        transition.relay(Position::START, &Relay::Account(Box::new(account)));
        let mut transaction = self.ledger.shard_of(&Owner::Account(user)).store.begin().await.expect("begins");
        transaction.rows_save(&transition.finish().rows).await.expect("saves");
        transaction.commit().await.expect("commits");
    }

    pub(in crate::ledger) fn home(&self, author: UserId, command: &Command) -> LaneAddress {
        self.ledger.address_of(&command.home(author))
    }

    /// As intake would make it, before it has a position.
    pub(in crate::ledger) fn entry(&self, author: UserId, command: Command) -> Entry {
        self.clock.advance(1_000);
        let write = WriteId::from_raw(self.journal.durable().0 + 1);
        Entry { position: crate::ledger::view::PROVISIONAL, write, author, accepted_at: self.clock.now(), key: None, command }
    }

    /// An entry becomes durable.
    pub(in crate::ledger) fn accept(&mut self, entry: Entry) -> Arc<Entry> {
        let home = self.ledger.address_of(&entry.home());
        let bytes = entry.encode().expect("bytes");
        let room = self.ledger.backlog.reserve(bytes.len(), home.shard, true).expect("room").keep();
        let ledger = Arc::clone(&self.ledger);
        let mut opened = entry.clone();
        let durable = Box::new(move |position, locator| {
            opened.position = position;
            ledger.opened(opened, home, room, locator);
        });
        self.journal.append(Draft { bytes, durable }).expect("appends");
        let entry = Arc::new(Entry { position: self.journal.durable(), ..entry });
        self.waiting.entry((home.shard.0, home.lane.0)).or_default().push_back(Arc::clone(&entry));
        entry
    }

    pub(in crate::ledger) fn write(&mut self, author: UserId, command: Command) -> Arc<Entry> {
        let entry = self.entry(author, command);
        self.accept(entry)
    }

    /// Lanes with entries that wait.
    pub(in crate::ledger) fn lanes(&self) -> Vec<LaneAddress> {
        let waiting = self.waiting.iter().filter(|(_, queue)| !queue.is_empty());
        waiting.map(|((shard, lane), _)| LaneAddress { shard: ShardIndex(*shard), lane: crate::vocabulary::owner::Lane(*lane) }).collect()
    }

    /// Commits the next entries of a lane. Returns them.
    pub(in crate::ledger) async fn apply(&mut self, lane: LaneAddress, count: usize) -> Vec<Arc<Entry>> {
        let key = (lane.shard.0, lane.lane.0);
        let queue = self.waiting.entry(key).or_default();
        let entries: Vec<Arc<Entry>> = queue.drain(..count.min(queue.len())).collect();
        if entries.is_empty() {
            return entries;
        }
        let known = self.applied.get(&key).copied().unwrap_or_default();
        let run = LaneRun { lane: lane.lane, known, entries: entries.clone() };
        self.applied.insert(key, run.last());
        write_worker::run(&self.ledger, lane.shard, &Job::Batch(vec![run])).await.expect("commits");
        let letters = self.ledger.shard(lane.shard).take_news();
        let topology = self.ledger.topology.load_full();
        for news in letters.news {
            self.routes[usize::from(lane.shard.0)].enter(&topology, news.lane, news.position, news.owed);
        }
        entries
    }

    /// Deliveries that are due: from, to, urgent.
    pub(in crate::ledger) fn due(&self) -> Vec<(ShardIndex, ShardIndex, bool)> {
        let routes = self.routes.iter().enumerate();
        routes
            .flat_map(|(from, routes)| routes.waiting().into_iter().map(move |(to, urgent)| (ShardIndex(from as u16), to, urgent)))
            .collect()
    }

    /// Delivers the parcel of one lane.
    pub(in crate::ledger) async fn deliver(&mut self, (from, to, urgent): (ShardIndex, ShardIndex, bool), which: usize) {
        let routes = &mut self.routes[usize::from(from.0)];
        if !routes.knows_cursors(to) {
            let mut snapshot = self.ledger.shard(to).store.snapshot().await.expect("a snapshot");
            let cursors = snapshot.relay_cursors().await.expect("cursors");
            drop(snapshot);
            let done = routes.set_cursors(to, &cursors);
            for Done { lane, event } in done {
                settlement::relayed(&self.ledger, from, lane, event);
            }
        }
        let mut parcels: Vec<Parcel> = routes.parcels(to, urgent);
        if parcels.is_empty() {
            return;
        }
        parcels.sort_by_key(|parcel| parcel.source);
        let parcels = vec![parcels.swap_remove(which % parcels.len())];
        write_worker::run(&self.ledger, to, &Job::Deliver(parcels.clone())).await.expect("delivers");
        let done = self.routes[usize::from(from.0)].delivered(to, &parcels);
        for Done { lane, event } in done {
            settlement::relayed(&self.ledger, from, lane, event);
        }
    }

    pub(in crate::ledger) async fn deliver_all(&mut self) {
        while let Some(due) = self.due().first().copied() {
            self.deliver(due, 0).await;
        }
    }

    /// Everything that was accepted takes effect everywhere.
    pub(in crate::ledger) async fn finish(&mut self) {
        for lane in self.lanes() {
            self.apply(lane, usize::MAX).await;
        }
        self.deliver_all().await;
    }

    /// The process ends, and starts again from the journal and the databases.
    pub(in crate::ledger) async fn restart(self) -> Self {
        for shard in &self.ledger.shards {
            shard.store.close().await.expect("closes");
        }
        let Self { journal, folder, .. } = self;
        let mut town = Self::open(folder, journal).await;
        let mut lanes = Vec::new();
        for shard in &town.ledger.shards {
            lanes.push(shard.store.snapshot().await.expect("a snapshot").lanes().await.expect("lanes"));
        }
        let beginnings = recovery::recover(&town.ledger, &lanes, &vec![Position::START; lanes.len()]).expect("recovers");
        let topology = town.ledger.topology.load_full();
        for (at, (rows, beginning)) in lanes.iter().zip(beginnings).enumerate() {
            let mut unsure = beginning.unsure;
            for row in rows {
                town.applied.insert((at as u16, row.lane.0), row.applied);
                town.routes[at].begin(row.lane, row.relayed);
                let mut snapshot = town.ledger.shards[at].store.snapshot().await.expect("a snapshot");
                let events = snapshot.events_after(row.lane, row.relayed, 10_000).await.expect("events");
                drop(snapshot);
                let mut unsettled = unsure.remove(&row.lane).unwrap_or_default();
                for row in events {
                    let events = decode_events(&row.payload).expect("events");
                    settlement::found_decided(&town.ledger, ShardIndex(at as u16), &events, &mut unsettled);
                    town.routes[at].enter(&topology, row.lane, row.position, events);
                }
                town.routes[at].enter(&topology, row.lane, row.applied, Vec::new());
                settlement::found_idle(&town.ledger, ShardIndex(at as u16), unsettled);
            }
        }
        let mut from = town.journal.first();
        while let Some(last) = town.take_in(from) {
            from = last.next();
        }
        town
    }

    /// Queues entries of the journal that their lanes have not applied; returns the last one read.
    fn take_in(&mut self, from: Position) -> Option<Position> {
        let records = self.journal.read(from, 0).expect("reads");
        for record in &records {
            let entry = Arc::new(Entry::decode(record.position, &record.bytes).expect("an entry"));
            let home = self.ledger.address_of(&entry.home());
            let key = (home.shard.0, home.lane.0);
            if entry.position > self.applied[&key] {
                self.waiting.entry(key).or_default().push_back(entry);
            }
        }
        records.last().map(|record| record.position)
    }
}

impl Town {
    /// Whether nothing waits in a lane, and it owes nothing.
    pub(in crate::ledger) fn is_clean(&self, lane: LaneAddress) -> bool {
        let idle = self.waiting.get(&(lane.shard.0, lane.lane.0)).is_none_or(VecDeque::is_empty);
        idle && !self.routes[usize::from(lane.shard.0)].owes(lane.lane)
    }

    /// Whether an entry is committed and its rows have not all arrived.
    pub(in crate::ledger) fn is_owed(&self, lane: LaneAddress, position: Position) -> bool {
        self.routes[usize::from(lane.shard.0)].is_owed(lane.lane, position)
    }

    /// Everything of one lane takes effect everywhere.
    pub(in crate::ledger) async fn finish_lane(&mut self, lane: LaneAddress) {
        self.apply(lane, usize::MAX).await;
        while self.routes[usize::from(lane.shard.0)].owes(lane.lane) {
            for due in self.due().into_iter().filter(|(from, ..)| *from == lane.shard) {
                for which in 0..40 {
                    self.deliver(due, which).await;
                }
            }
        }
    }

    /// Own writes that still count as pending although all is done.
    pub(in crate::ledger) async fn forgotten(&self, author: UserId, users: u64, posts: &[crate::vocabulary::ids::PostId]) -> Vec<String> {
        let mut topics = vec![Topic::Authored, Topic::Pairs, Topic::Profile];
        topics.extend(posts.iter().map(|post| Topic::Post(*post)));
        topics.extend((1..=users).map(|raw| Topic::Pair(UserId::from_raw(raw))));
        let mut left = Vec::new();
        for topic in topics {
            let pending = self.ledger.pending.of(author, topic, Shows::Everything).await.expect("readable");
            left.extend(pending.into_iter().map(|write| format!("still pending: {:?}", write.entry)));
        }
        let waiting = self.ledger.backlog.waiting();
        left.extend((waiting != (0, 0)).then(|| format!("not released: {waiting:?}")));
        left
    }
}

impl Town {
    /// Commits all that waits in a lane; nobody hears of it.
    #[cfg(feature = "faults")]
    pub(in crate::ledger) async fn apply_unheard(&mut self, lane: LaneAddress) -> Vec<Arc<Entry>> {
        let key = (lane.shard.0, lane.lane.0);
        let entries: Vec<Arc<Entry>> = self.waiting.remove(&key).unwrap_or_default().into();
        let run = LaneRun { lane: lane.lane, known: self.applied.get(&key).copied().unwrap_or_default(), entries: entries.clone() };
        self.applied.insert(key, run.last());
        fail::cfg("worker::after_commit", "panic").expect("a fault");
        let ledger = Arc::clone(&self.ledger);
        let lost = tokio::runtime::Handle::current()
            .spawn(async move { write_worker::run(&ledger, lane.shard, &Job::Batch(vec![run])).await })
            .await;
        fail::remove("worker::after_commit");
        assert!(lost.is_err_and(|error| error.is_panic()));
        entries
    }

    /// Does what the courier does with its letters.
    pub(in crate::ledger) async fn read_news(&mut self, shard: ShardIndex) {
        let letters = self.ledger.shard(shard).take_news();
        let topology = self.ledger.topology.load_full();
        let routes = &mut self.routes[usize::from(shard.0)];
        for mut look in letters.looks {
            let mut snapshot = self.ledger.shard(shard).store.snapshot().await.expect("a snapshot");
            for row in snapshot.events_after(look.lane, routes.seen(look.lane), 10_000).await.expect("events") {
                let events = decode_events(&row.payload).expect("events");
                settlement::found_decided(&self.ledger, shard, &events, &mut look.unsure);
                routes.enter(&topology, look.lane, row.position, events);
            }
            routes.enter(&topology, look.lane, look.position, Vec::new());
            settlement::found_idle(&self.ledger, shard, look.unsure);
        }
        for news in letters.news {
            routes.enter(&topology, news.lane, news.position, news.owed);
        }
    }
}

impl Town {
    /// As [`Town::apply`], and hands out the letters to the courier instead of delivering them.
    pub(in crate::ledger) async fn apply_untold(&mut self, lane: LaneAddress, count: usize) -> Vec<crate::ledger::shard::News> {
        let key = (lane.shard.0, lane.lane.0);
        let queue = self.waiting.entry(key).or_default();
        let entries: Vec<Arc<Entry>> = queue.drain(..count.min(queue.len())).collect();
        let run = LaneRun { lane: lane.lane, known: self.applied.get(&key).copied().unwrap_or_default(), entries };
        self.applied.insert(key, run.last());
        write_worker::run(&self.ledger, lane.shard, &Job::Batch(vec![run])).await.expect("commits");
        self.ledger.shard(lane.shard).take_news().news
    }
}
