//! The durable truth.
//!
//! Entries come in from the journal, in order; rows come out, in the databases, once. Readers get what is there with their
//! own pending writes laid over. Promise: each entry takes effect exactly once or is rejected for good, whatever is replayed.
//! Full: nothing here is; `intake` asks the [`backlog::Backlog`] for room before it accepts.

pub mod apply;
pub mod backlog;
pub mod blocks;
pub mod cards;
pub mod census;
pub mod freshness;
pub mod fsck;
pub mod hot_posts;
pub mod job;
pub mod kept_keys;
pub mod lanes;
pub mod limiter;
pub mod pending;
pub mod recovery;
pub mod relay_courier;
pub mod reopening;
pub mod routes;
pub mod settlement;
pub mod shard;
pub mod shard_plan;
pub mod shard_reader;
pub mod shard_router;
pub mod standbys;
#[cfg(test)]
mod testing;
mod tickets;
pub mod topology;
pub mod view;
pub mod write_supervisor;
pub mod write_worker;
pub mod writes;

pub use shard::Shard;

use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use futures_util::future::{BoxFuture, join_all};

use backlog::{Backlog, Room};
use blocks::Blocks;
use cards::Cards;
use hot_posts::HotPosts;
use kept_keys::KeptKeys;
use pending::Pending;
use topology::Topology;
use writes::{Waiting, Writes};

use crate::notify::{Ground, Unshown, Visible};
use crate::substrate::bus::Bus;
use crate::substrate::journal::{Journal, Locator};
use crate::substrate::store::Store;
use crate::support::clock::Clock;
use crate::vocabulary::command::Entry;
use crate::vocabulary::owner::{Lane, LaneAddress, Owner, ShardIndex};

/// What the stages of the ledger share. The actors change it; everybody reads it.
pub struct Ledger {
    /// The map that readers use; the `ShardRouter` publishes it.
    pub topology: Arc<ArcSwap<Topology>>,
    /// In the order of their [`ShardIndex`].
    pub shards: Vec<Shard>,
    pub journal: Arc<dyn Journal>,
    pub backlog: Backlog,
    pub pending: Pending,
    pub writes: Writes,
    pub kept_keys: KeptKeys,
    pub cards: Cards,
    pub blocks: Blocks,
    pub hot_posts: Arc<HotPosts>,
    pub clock: Arc<dyn Clock>,
    /// Where those with an open socket hear what was committed.
    pub bus: Arc<dyn Bus>,
    /// Told of sessions that a committed write ended; whoever refuses their tokens fills it in.
    pub sessions_ended: OnceLock<settlement::SessionsEnded>,
}

impl Ledger {
    /// Where an owner's rows live.
    pub fn index_of(&self, owner: &Owner) -> ShardIndex {
        self.topology.load().place(owner.placement_key())
    }

    /// The lane that decides what an owner's rows become.
    pub fn address_of(&self, owner: &Owner) -> LaneAddress {
        LaneAddress { shard: self.index_of(owner), lane: owner.lane() }
    }

    pub fn shard_of(&self, owner: &Owner) -> &Shard {
        self.shard(self.index_of(owner))
    }

    /// # Panics
    /// If there is no such shard: indexes come from the topology, which has one for each.
    pub fn shard(&self, index: ShardIndex) -> &Shard {
        &self.shards[usize::from(index.0)]
    }

    /// Whether what a lane commits is not seen by everybody at once: standbys of its shard are read. What account and inbox lanes write is read
    /// on the primary.
    pub fn is_staged(&self, shard: ShardIndex, lane: Lane) -> bool {
        !lane.is_urgent() && self.shard(shard).standbys.are_there()
    }

    /// Ends when all that was committed on any shard before this call has been replayed by those of its standbys that are read, and one at
    /// least: whatever it rested on can go then. At once where there are none.
    pub async fn replayed_everywhere(&self) {
        join_all(self.shards.iter().map(|shard| shard.standbys.replayed())).await;
    }

    /// An entry is durable: from now on its author sees it, its state can be asked for, and its shard will apply it. Called in
    /// the order of positions, before any reader of the journal can see the entry.
    pub fn opened(&self, entry: Entry, home: LaneAddress, room: Room, locator: Locator) {
        let position = entry.position;
        let write = entry.write;
        let entry = Arc::new(entry);
        self.backlog.opened(position, room);
        self.pending.add(&entry, home, locator);
        self.writes.accepted(write, Waiting { position, locator, shard: home.shard });
        if home.lane.is_urgent() {
            self.shard(home.shard).push_urgent(entry);
        }
    }
}

impl Ground for Ledger {
    fn shards(&self) -> u16 {
        self.shards.len() as u16
    }

    fn name(&self, shard: ShardIndex) -> &str {
        &self.shard(shard).name
    }

    fn place(&self, owner: &Owner) -> ShardIndex {
        self.index_of(owner)
    }

    fn store(&self, shard: ShardIndex) -> &Store {
        &self.shard(shard).store
    }

    fn visible(&self, shard: ShardIndex) -> &Visible {
        &self.shard(shard).visible
    }

    fn is_readable(&self, shard: ShardIndex) -> bool {
        self.shard(shard).reader.is_open()
    }

    fn unshown(&self, shard: ShardIndex) -> Option<&Arc<Unshown>> {
        let shard = self.shard(shard);
        shard.standbys.are_there().then_some(&shard.unshown)
    }

    fn when_seen(&self, shard: ShardIndex, news: Box<dyn FnOnce() + Send>) {
        standbys::when_seen(self, shard, move |_| news());
    }

    fn replayed(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.replayed_everywhere())
    }
}
