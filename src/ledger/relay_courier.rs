//! The courier of one shard: takes the rows that its lanes decided for other owners to the shards of those owners.
//!
//! Events come in from committed batches that everybody sees, or from the database where the news did not fit or the process was restarted; deliveries
//! go out to the destinations' supervisors. Promise: each row arrives once, in the order of its lane, since the destination
//! moves its cursor in the same transaction. Full: it stops taking news and reads the database later. A destination that is down is
//! tried again; the others do not wait for it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tokio::runtime::Handle;

use super::Ledger;
use super::routes::{Done, Routes};
use super::settlement::{self, Unsure};
use super::shard::NEWS_MAX;
use super::topology::Topology;
use super::write_supervisor::{CursorsMoved, Deliver, Relayed, WriteSupervisor};
use crate::substrate::store::StoreError;
use crate::substrate::store::rows::{LaneRow, SourceLane};
use crate::support::chain::Chain;
use crate::support::faults::planted;
use crate::support::mailbox::{Envelope, Gone, Mailbox, Order, Refused};
use crate::vocabulary::event::{Event, decode_events};
use crate::vocabulary::ids::Position;
use crate::vocabulary::owner::{Lane, ShardIndex};

/// How long to wait before a destination, or the own database, is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(200);
/// How often the database learns how far the lanes are relayed: each costs a transaction, and only tidies up.
const REPORT_EVERY: Duration = Duration::from_millis(250);
/// Event rows that are read at once.
const EVENT_ROWS: u64 = 64;
/// How long a delivery waits for a place in its destination's mailbox.
const PLACE_PATIENCE: Duration = Duration::from_secs(1);

/// From committed batches: there is something to take along. Refused when one is waiting already, which is as good.
pub struct Ring;

impl Order for Ring {
    type Reply = ();
}

pub struct RelayCourier {
    ledger: Arc<Ledger>,
    shard: ShardIndex,
    runtime: Handle,
    supervisors: Vec<Mailbox<WriteSupervisor>>,
    routes: Routes,
    /// Lanes whose events must be read from the database, and up to where; none until the lanes were read at start.
    unread: HashMap<Lane, Position>,
    /// Entries of a lane that was not read yet: its events say what they came to, and those without any came to nothing.
    unsure: HashMap<Lane, Unsure>,
    /// Lanes with events that cannot be read: nothing of theirs is relayed, and none of their event rows go.
    stuck: HashSet<Lane>,
    reading: bool,
    /// A report waits for standbys.
    reporting: bool,
    /// Deliveries under way, and destinations whose cursors are being asked for.
    under_way: HashSet<(ShardIndex, bool)>,
    asking: HashSet<ShardIndex>,
    /// Destinations that were told something else than thought: left alone for a while, then asked.
    resting: HashSet<ShardIndex>,
}

impl RelayCourier {
    /// `lanes` is where the shard's lanes are at start, as its database says; `unsure` are applied entries of which only the
    /// events know what they came to.
    pub fn new(
        ledger: Arc<Ledger>,
        shard: ShardIndex,
        runtime: Handle,
        supervisors: Vec<Mailbox<WriteSupervisor>>,
        lanes: &[LaneRow],
        unsure: HashMap<Lane, Unsure>,
    ) -> Self {
        let mut routes = Routes::new(shard);
        let mut unread = HashMap::new();
        for row in lanes {
            routes.begin(row.lane, row.relayed);
            if row.applied > row.relayed {
                unread.insert(row.lane, row.applied);
            }
        }
        Self {
            ledger,
            shard,
            runtime,
            supervisors,
            routes,
            unread,
            unsure,
            stuck: HashSet::new(),
            reading: false,
            reporting: false,
            under_way: HashSet::new(),
            asking: HashSet::new(),
            resting: HashSet::new(),
        }
    }

    fn step(&mut self, context: &mut Context<Self>) {
        fail::fail_point!("courier::panic");
        if planted("relay::stalled") {
            return;
        }
        self.take_news();
        self.show();
        self.read_events(context);
        for (destination, urgent) in self.routes.waiting() {
            if self.resting.contains(&destination) {
                continue;
            }
            if self.routes.knows_cursors(destination) {
                self.deliver(destination, urgent, context);
            } else {
                self.ask_cursors(destination, context);
            }
        }
    }

    fn take_news(&mut self) {
        let letters = self.ledger.shard(self.shard).take_news();
        let topology = self.ledger.topology.load();
        letters.seen.into_iter().for_each(|(lane, position)| self.routes.seen_by_all(lane, position));
        // First: what comes after such a lane's missing events must not be entered before them, or they would count as done.
        for look in letters.looks {
            let unread = self.unread.entry(look.lane).or_default();
            *unread = look.position.max(*unread);
            self.unsure.entry(look.lane).or_default().extend(look.unsure);
        }
        for news in letters.news {
            let behind = self.unread.get_mut(&news.lane);
            if let Some(unread) = behind {
                // Its events are behind others that must be read first: they will be read with them.
                *unread = news.position.max(*unread);
            } else if self.routes.owed() > NEWS_MAX && !news.owed.is_empty() {
                self.unread.insert(news.lane, news.position);
            } else {
                self.enter(&topology, news.lane, news.position, news.owed);
            }
        }
    }

    fn enter(&mut self, topology: &Topology, lane: Lane, through: Position, events: Vec<Event>) {
        let done = self.routes.enter(topology, lane, through, events);
        self.settle(done);
    }

    /// All rows of these events have arrived.
    fn settle(&mut self, done: Vec<Done>) {
        for Done { lane, event } in done {
            let position = event.position;
            if settlement::relayed(&self.ledger, self.shard, lane, event) {
                self.routes.arrived_unseen(lane, position);
            }
        }
    }

    /// Says how far the lanes can be seen by everybody.
    fn show(&mut self) {
        let shown = self.routes.newly_shown();
        if shown.is_empty() {
            return;
        }
        let visible = &self.ledger.shard(self.shard).visible;
        shown.into_iter().for_each(|(lane, position)| visible.reached(lane, position));
        visible.ring();
    }

    /// Reads the events of one lane that is behind, what callers wait for first.
    fn read_events(&mut self, context: &mut Context<Self>) {
        if self.reading || self.routes.owed() > NEWS_MAX {
            return;
        }
        let readable = self.unread.iter().filter(|(lane, _)| !self.stuck.contains(lane));
        let next = readable.min_by_key(|(lane, _)| (!lane.is_urgent(), **lane)).map(|(lane, through)| (*lane, *through));
        let Some((lane, through)) = next else { return };
        self.reading = true;
        let (ledger, shard) = (Arc::clone(&self.ledger), self.shard);
        let after = self.routes.seen(lane);
        let read = self.runtime.spawn(async move {
            let shard = ledger.shard(shard);
            let rows = shard.store.snapshot().await?.events_after(lane, after, EVENT_ROWS).await?;
            if ledger.is_staged(shard.index, lane) {
                shard.standbys.seen().await;
            }
            Ok::<_, StoreError>(rows)
        });
        context.spawn(read.into_actor(self).map(move |read, courier, context| {
            courier.reading = false;
            match read {
                Ok(Ok(rows)) => {
                    let through = if (rows.len() as u64) < EVENT_ROWS { through } else { Position::START };
                    courier.enter_rows(lane, through, &rows);
                    courier.step(context);
                }
                Ok(Err(error)) => courier.try_later(&error, context),
                Err(error) => tracing::error!(%error, "reading events was cut short"),
            }
        }));
    }

    /// Enters rows that were read. `through`: these were the last, and the lane was seen to be there.
    fn enter_rows(&mut self, lane: Lane, through: Position, rows: &[crate::substrate::store::rows::EventsRow]) {
        let topology = self.ledger.topology.load();
        for row in rows {
            match decode_events(&row.payload) {
                Ok(events) => {
                    settlement::found_decided(&self.ledger, self.shard, &events, self.unsure.entry(lane).or_default());
                    self.enter(&topology, lane, row.position, events);
                }
                Err(error) => {
                    tracing::error!(shard = %self.ledger.shard(self.shard).name, lane = lane.0, position = %row.position, %error, "an event row cannot be read; the lane's relays stop here");
                    self.stuck.insert(lane);
                    return;
                }
            }
        }
        self.enter(&topology, lane, through, Vec::new());
        if self.unread.get(&lane).is_some_and(|unread| *unread <= self.routes.seen(lane)) {
            self.unread.remove(&lane);
            settlement::found_idle(&self.ledger, self.shard, self.unsure.remove(&lane).unwrap_or_default());
        }
    }

    fn try_later(&self, error: &StoreError, context: &mut Context<Self>) {
        tracing::debug!(shard = %self.ledger.shard(self.shard).name, error = %Chain(error), "the courier tries again");
        context.run_later(RETRY_AFTER, Self::step);
    }

    /// Asks a destination how far it has been told: the first time, and when it knew better.
    fn ask_cursors(&mut self, destination: ShardIndex, context: &mut Context<Self>) {
        if !self.asking.insert(destination) {
            return;
        }
        let store = self.ledger.shard(destination).store.clone();
        let read = self.runtime.spawn(async move { store.snapshot().await?.relay_cursors().await });
        context.spawn(read.into_actor(self).map(
            move |read: Result<Result<HashMap<SourceLane, Position>, StoreError>, _>, courier, context| {
                courier.asking.remove(&destination);
                match read {
                    Ok(Ok(cursors)) => {
                        let done = courier.routes.set_cursors(destination, &cursors);
                        courier.settle(done);
                        courier.step(context);
                    }
                    Ok(Err(error)) => courier.try_later(&error, context),
                    Err(error) => tracing::error!(%error, "asking for cursors was cut short"),
                }
            },
        ));
    }

    fn deliver(&mut self, destination: ShardIndex, urgent: bool, context: &mut Context<Self>) {
        if self.under_way.contains(&(destination, urgent)) {
            return;
        }
        let parcels = self.routes.parcels(destination, urgent);
        if parcels.is_empty() {
            return;
        }
        self.under_way.insert((destination, urgent));
        let supervisor = self.supervisors[usize::from(destination.0)].clone();
        let delivered = async move {
            let answer = match supervisor.ask_within(Deliver(parcels.clone()), PLACE_PATIENCE).await {
                Ok(reply) => reply.await.map_err(|Gone| Refused::Gone),
                Err(refused) => Err(refused),
            };
            (answer, parcels)
        };
        context.spawn(delivered.into_actor(self).map(move |(answer, parcels), courier, context| {
            courier.under_way.remove(&(destination, urgent));
            match answer {
                Ok(Ok(())) => {
                    let done = courier.routes.delivered(destination, &parcels);
                    courier.settle(done);
                    courier.step(context);
                }
                Ok(Err(CursorsMoved)) => courier.rest(destination, context),
                Err(Refused::Busy) => courier.step(context),
                // The destination is being drained: what is owed is delivered after the next start.
                Err(Refused::Gone) => {}
            }
        }));
    }

    /// A destination that lost what it had been told would refuse each delivery: it is not asked without a pause.
    fn rest(&mut self, destination: ShardIndex, context: &mut Context<Self>) {
        tracing::warn!(shard = %self.ledger.shard(self.shard).name, destination = %self.ledger.shard(destination).name, "a destination was told something else than thought");
        metrics::counter!("sosik_relay_cursors_moved_total").increment(1);
        self.resting.insert(destination);
        context.run_later(RETRY_AFTER, move |courier, context| {
            courier.resting.remove(&destination);
            courier.ask_cursors(destination, context);
        });
    }

    /// Tells the own shard how far its lanes are relayed, so that their event rows go: once no destination could lose the rows again.
    fn report(&mut self, context: &mut Context<Self>) {
        if self.reporting {
            return;
        }
        let moved = self.routes.progress();
        if moved.is_empty() {
            return;
        }
        self.reporting = true;
        let ledger = Arc::clone(&self.ledger);
        let replayed = async move { ledger.replayed_everywhere().await };
        context.spawn(replayed.into_actor(self).map(move |(), courier, _| {
            courier.reporting = false;
            if courier.supervisors[usize::from(courier.shard.0)].try_tell(Relayed(moved.clone())).is_err() {
                courier.routes.unreported(&moved);
            }
        }));
    }
}

impl Actor for RelayCourier {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        context.run_interval(REPORT_EVERY, |courier, context| {
            courier.report(context);
            courier.step(context);
        });
        self.step(context);
    }
}

impl Handler<Envelope<Ring>> for RelayCourier {
    type Result = ();

    fn handle(&mut self, envelope: Envelope<Ring>, context: &mut Context<Self>) {
        // The place is free before the look, so that a bell rung during it is heard.
        envelope.ticket.answer(());
        self.step(context);
    }
}

#[cfg(test)]
mod tests;
