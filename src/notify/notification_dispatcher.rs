//! The dispatcher of one shard: follows the events of its lanes and tells those who should know, wherever they live.
//!
//! Bells come in when something became visible; it reads the events itself, so a lost bell costs only time. Deliveries go out to the shards of
//! the recipients, one at a time to each. Promise: each recipient has each entry once, in the order of its lane. Full: it stops reading
//! events. A destination that is down is tried again; the others do not wait for it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use tokio::runtime::Handle;

use super::book::Book;
use super::delivery::DeliveryError;
use super::desk::{Basket, Delivered, Desk};
use super::planner::{LaneAsked, LanePlan, OpenPages, PlanError, Planner};
use super::retention::{self, Retention};
use super::{Ground, Visible};
use crate::substrate::store::rows::{LaneRow, SourceLane};
use crate::substrate::store::{NoticeMark, Store, StoreError, StoreErrorKind};
use crate::support::chain::Chain;
use crate::support::clock::Clock;
use crate::support::company::Company;
use crate::support::config::Notify;
use crate::support::faults::planted;
use crate::support::mailbox::{Envelope, Order, Ticket};
use crate::vocabulary::ids::Position;
use crate::vocabulary::owner::{Lane, ShardIndex};

/// Notices in a dispatcher's hands: past that it looks for no more, and the events wait in their rows.
const NOTICES_MAX: usize = 20_000;
/// How long to wait before a shard that did not answer is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(200);
/// From one look to the next so many events are waited for, if they come within the time: many cost little more than a few, in reading them and
/// in each inbox shard's transaction.
const COMPANY_EVENTS: u32 = 512;
const COMPANY_WITHIN: Duration = Duration::from_millis(100);
/// Where less comes, at least as long as the look took, but no longer than this.
const GATHERING_MAX: Duration = Duration::from_millis(5);
/// How often windows that are due are looked for.
const TIDY_EVERY: Duration = Duration::from_millis(250);
/// How often the database learns how far the lanes are told.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// How often old entries are looked for.
const FORGET_EVERY: Duration = Duration::from_secs(600);

/// From the ledger: something became visible. Refused when one is waiting already, which is as good.
pub struct Ring;

impl Order for Ring {
    type Reply = ();
}

/// From `app`, at the end: finish what is in hand and begin nothing more.
pub struct Drain;

impl Order for Drain {
    type Reply = ();
}

/// What a dispatcher stands on.
#[derive(Clone)]
pub struct DispatcherParts {
    pub ground: Arc<dyn Ground>,
    pub clock: Arc<dyn Clock>,
    /// Where what is for each shard is brought, by its index.
    pub desks: Arc<[Arc<Desk>]>,
    pub settings: Notify,
    /// Bytes of this shard's cache of participants.
    pub cache_bytes: u64,
    pub runtime: Handle,
}

pub struct NotificationDispatcher {
    parts: DispatcherParts,
    shard: ShardIndex,
    planner: Arc<Planner>,
    book: Book,
    lanes: Vec<Lane>,
    /// Events that were not planned to their end.
    open: HashMap<Lane, OpenPages>,
    /// What is being done now, each at most once.
    planning: bool,
    closing: bool,
    reporting: bool,
    forgetting: bool,
    forgotten_at: Option<Instant>,
    /// With what waits at the destination's desk; there may be nothing of it any more.
    delivering: HashMap<ShardIndex, Arc<Basket>>,
    asking: HashSet<ShardIndex>,
    reported_at: Instant,
    company: Company,
    /// Until then nothing is planned: events gather, or a plan failed, of all lanes or of one.
    plan_after: Option<Instant>,
    held: HashMap<Lane, Instant>,
    draining: Option<Ticket<()>>,
}

impl NotificationDispatcher {
    /// `lanes` is where the shard's lanes are at start, as its database says.
    pub fn new(parts: DispatcherParts, shard: ShardIndex, lanes: &[LaneRow]) -> Self {
        let mut book = Book::new(shard);
        for row in lanes {
            book.begin(row.lane, row.notified);
        }
        let planner = Planner::new(Arc::clone(&parts.ground), shard, parts.cache_bytes, parts.settings.automatic_up_to);
        Self {
            parts,
            shard,
            planner: Arc::new(planner),
            book,
            lanes: lanes.iter().map(|row| row.lane).collect(),
            open: HashMap::new(),
            planning: false,
            closing: false,
            reporting: false,
            forgetting: false,
            forgotten_at: None,
            delivering: HashMap::new(),
            asking: HashSet::new(),
            reported_at: Instant::now(),
            company: Company::new(COMPANY_EVENTS, COMPANY_WITHIN, GATHERING_MAX),
            plan_after: None,
            held: HashMap::new(),
            draining: None,
        }
    }

    fn store(&self, shard: ShardIndex) -> Store {
        self.parts.ground.store(shard).clone()
    }

    fn name_of(&self, shard: ShardIndex) -> &str {
        self.parts.ground.name(shard)
    }

    fn visible(&self) -> &Visible {
        self.parts.ground.visible(self.shard)
    }

    /// Does all that can be done now.
    fn step(&mut self, context: &mut Context<Self>) {
        if self.draining.is_some() {
            self.finish_draining(context);
            return;
        }
        if planted("notify::stalled") {
            return;
        }
        self.plan(context);
        for destination in self.book.destinations() {
            if self.book.knows_cursors(destination) {
                self.deliver(destination, context);
            } else {
                self.ask_cursors(destination, context);
            }
        }
    }

    /// Lanes in which more can be seen than was planned.
    fn due_lanes(&self) -> Vec<LaneAsked> {
        let now = Instant::now();
        let free = self.lanes.iter().filter(|lane| self.held.get(lane).is_none_or(|until| now >= *until));
        let asked = free.filter_map(|lane| {
            let (planned, open) = (self.book.planned(*lane), self.open.get(lane).cloned());
            let visible = self.visible().of(*lane);
            (open.is_some() || visible > planned).then_some(LaneAsked { lane: *lane, planned, visible, open })
        });
        asked.collect()
    }

    fn plan(&mut self, context: &mut Context<Self>) {
        let too_soon = self.plan_after.is_some_and(|after| Instant::now() < after);
        if self.planning || too_soon || self.book.waiting() > NOTICES_MAX {
            return;
        }
        let asked = self.due_lanes();
        if asked.is_empty() {
            return;
        }
        self.planning = true;
        let (planner, began) = (Arc::clone(&self.planner), Instant::now());
        let planned = self.parts.runtime.spawn(async move { planner.plan(asked).await });
        context.spawn(planned.into_actor(self).map(move |planned, dispatcher, context| {
            dispatcher.planning = false;
            match planned {
                Ok(Ok(plans)) => {
                    dispatcher.gather(began, &plans, context);
                    plans.into_iter().for_each(|(lane, plan)| dispatcher.planned(lane, plan, context));
                    dispatcher.refill();
                }
                Ok(Err(error)) => {
                    dispatcher.plan_after = Some(Instant::now() + RETRY_AFTER);
                    dispatcher.plan_failed(&error, context);
                }
                Err(error) => {
                    dispatcher.plan_after = Some(Instant::now() + RETRY_AFTER);
                    tracing::error!(%error, "planning was cut short; trying again");
                    context.run_later(RETRY_AFTER, Self::step);
                }
            }
            dispatcher.step(context);
        }));
    }

    /// Lets events gather before the next look. What was left of this one waits for nothing.
    fn gather(&mut self, began: Instant, plans: &[(Lane, Result<LanePlan, PlanError>)], context: &mut Context<Self>) {
        let planned = || plans.iter().filter_map(|(_, plan)| plan.as_ref().ok());
        self.company.came(planned().map(|plan| plan.events).sum(), began);
        if planned().all(|plan| plan.open.is_none() && !plan.more) {
            let pause = began.elapsed().min(GATHERING_MAX).max(self.company.patience());
            self.plan_after = Some(Instant::now() + pause);
            context.run_later(pause, Self::step);
        }
    }

    fn planned(&mut self, lane: Lane, plan: Result<LanePlan, PlanError>, context: &mut Context<Self>) {
        match plan {
            Ok(plan) => self.enter(plan),
            Err(error) => {
                self.held.insert(lane, Instant::now() + RETRY_AFTER);
                self.plan_failed(&error, context);
            }
        }
    }

    fn enter(&mut self, plan: LanePlan) {
        let LanePlan { lane, notices, planned, open, .. } = plan;
        self.held.remove(&lane);
        self.book.enter(lane, notices);
        self.book.set_planned(lane, planned);
        match open {
            Some(open) => self.open.insert(lane, open),
            None => self.open.remove(&lane),
        };
    }

    /// Nothing of it was kept: it is planned again.
    fn plan_failed(&self, error: &PlanError, context: &mut Context<Self>) {
        let is_down = matches!(error, PlanError::Store(store) if store.kind() == StoreErrorKind::Unavailable);
        if is_down {
            tracing::debug!(shard = self.name_of(self.shard), error = %Chain(error), "who is to be told cannot be read; trying again");
        } else {
            tracing::error!(shard = self.name_of(self.shard), error = %Chain(error), "who is to be told cannot be found out; trying again");
        }
        context.run_later(RETRY_AFTER, Self::step);
    }

    /// Asks a destination how far it has been told: the first time, and when it knew better.
    fn ask_cursors(&mut self, destination: ShardIndex, context: &mut Context<Self>) {
        if !self.asking.insert(destination) {
            return;
        }
        let store = self.store(destination);
        let read = self.parts.runtime.spawn(async move { store.snapshot().await?.notice_cursors().await });
        context.spawn(read.into_actor(self).map(
            move |read: Result<Result<HashMap<SourceLane, NoticeMark>, StoreError>, _>, dispatcher, context| {
                dispatcher.asking.remove(&destination);
                match read {
                    Ok(Ok(cursors)) => {
                        dispatcher.book.set_cursors(destination, &cursors);
                        dispatcher.refill();
                        dispatcher.step(context);
                    }
                    Ok(Err(error)) => dispatcher.try_later(destination, &DeliveryError::Store(error), context),
                    Err(error) => tracing::error!(%error, "asking for cursors was cut short"),
                }
            },
        ));
    }

    /// What waits at a desk takes with it what became due meanwhile.
    fn refill(&self) {
        for (destination, basket) in &self.delivering {
            basket.refill(|| self.book.parcels(*destination));
        }
    }

    fn deliver(&mut self, destination: ShardIndex, context: &mut Context<Self>) {
        if self.delivering.contains_key(&destination) {
            return;
        }
        let parcels = self.book.parcels(destination);
        if parcels.is_empty() {
            return;
        }
        let Some(desk) = self.parts.desks.get(usize::from(destination.0)).map(Arc::clone) else { return };
        let basket = Arc::new(Basket::of(parcels));
        self.delivering.insert(destination, Arc::clone(&basket));
        let delivered = self.parts.runtime.spawn(async move {
            let began = Instant::now();
            let delivered = desk.deliver(basket).await;
            metrics::histogram!("sosik_delivery_seconds").record(began.elapsed());
            delivered
        });
        context.spawn(delivered.into_actor(self).map(move |delivered, dispatcher, context| {
            dispatcher.delivering.remove(&destination);
            match delivered {
                Ok(Some(delivered)) => dispatcher.ended(destination, delivered, context),
                Ok(None) | Err(_) => {
                    tracing::error!(shard = dispatcher.name_of(destination), "a delivery was cut short; asking how far it came");
                    context.run_later(RETRY_AFTER, move |dispatcher, context| dispatcher.ask_cursors(destination, context));
                }
            }
        }));
    }

    fn ended(&mut self, destination: ShardIndex, delivered: Delivered, context: &mut Context<Self>) {
        let Delivered { parcels, result } = delivered;
        match result {
            Ok(()) => {
                let notices: usize = parcels.iter().map(|parcel| parcel.notices.len()).sum();
                metrics::counter!("sosik_notices_delivered_total").increment(notices as u64);
                self.book.delivered(destination, &parcels);
                self.step(context);
            }
            // It was told further than we knew: a commit succeeded although its answer did not come.
            Err(DeliveryError::Store(StoreError::Fenced)) => self.ask_cursors(destination, context),
            Err(error) => self.try_later(destination, &error, context),
        }
    }

    /// Leaves a destination alone for a while: it counts as being delivered to.
    fn hold(&mut self, destination: ShardIndex, time: Duration, context: &mut Context<Self>) {
        self.delivering.insert(destination, Arc::default());
        context.run_later(time, move |dispatcher, context| {
            dispatcher.delivering.remove(&destination);
            dispatcher.step(context);
        });
    }

    fn try_later(&mut self, destination: ShardIndex, error: &DeliveryError, context: &mut Context<Self>) {
        if error.is_down() {
            tracing::debug!(shard = self.name_of(destination), error = %Chain(error), "inboxes cannot be reached; trying again");
        } else {
            tracing::error!(shard = self.name_of(destination), error = %Chain(error), "inboxes were not told; trying again");
        }
        self.hold(destination, RETRY_AFTER, context);
    }

    fn tidy(&mut self, context: &mut Context<Self>) {
        if self.draining.is_some() {
            return;
        }
        if planted("notify::before_visible") {
            self.see_too_early(context);
        }
        let shard = self.name_of(self.shard);
        metrics::gauge!("sosik_notices_waiting", "shard" => shard.to_owned()).set(self.book.waiting() as f64);
        metrics::gauge!("sosik_lanes_untold", "shard" => shard.to_owned()).set(self.due_lanes().len() as f64);
        self.report(context);
        self.close_windows(context);
        self.forget(context);
        self.step(context);
    }

    /// Tells the own shard how far its lanes are told, so that their event rows go.
    fn report(&mut self, context: &mut Context<Self>) {
        if self.reporting || self.reported_at.elapsed() < REPORT_EVERY {
            return;
        }
        self.reported_at = Instant::now();
        let moved = self.book.progress();
        if moved.is_empty() {
            return;
        }
        self.reporting = true;
        let (store, lanes) = (self.store(self.shard), moved.clone());
        let ground = Arc::clone(&self.parts.ground);
        let reported = self.parts.runtime.spawn(async move {
            // Events are all that inboxes which a failover takes back could be told from again.
            ground.replayed().await;
            report(&store, &lanes).await
        });
        context.spawn(reported.into_actor(self).map(move |reported, dispatcher, _| {
            dispatcher.reporting = false;
            if !matches!(reported, Ok(Ok(()))) {
                dispatcher.book.unreported(&moved);
            }
        }));
    }

    /// Turns windows of this shard's own inboxes that are due into entries.
    fn close_windows(&mut self, context: &mut Context<Self>) {
        if self.closing {
            return;
        }
        self.closing = true;
        let Some(desk) = self.parts.desks.get(usize::from(self.shard.0)).map(Arc::clone) else { return };
        let closed = self.parts.runtime.spawn(async move { desk.close_windows().await });
        context.spawn(closed.into_actor(self).map(|closed, dispatcher, _| {
            dispatcher.closing = false;
            match closed {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::debug!(shard = dispatcher.name_of(dispatcher.shard), error = %Chain(&error), "windows were not closed; trying again")
                }
                Err(error) => tracing::error!(%error, "closing windows was cut short"),
            }
        }));
    }

    /// Takes away old entries of this shard's own inboxes.
    fn forget(&mut self, context: &mut Context<Self>) {
        if self.forgetting || self.forgotten_at.is_some_and(|at| at.elapsed() < FORGET_EVERY && !planted("notify::forget_often")) {
            return;
        }
        self.forgetting = true;
        self.forgotten_at = Some(Instant::now());
        let (store, now) = (self.store(self.shard), self.parts.clock.now());
        let Notify { retention, retention_entries, .. } = self.parts.settings;
        let kept = Retention { age_ms: u64::try_from(retention.as_millis()).unwrap_or(u64::MAX), entries: u64::from(retention_entries) };
        let forgotten = self.parts.runtime.spawn(async move { retention::forget(&store, kept, now).await });
        context.spawn(forgotten.into_actor(self).map(|forgotten, dispatcher, _| {
            dispatcher.forgetting = false;
            if let Ok(Err(error)) = forgotten {
                tracing::warn!(shard = dispatcher.name_of(dispatcher.shard), error = %Chain(&error), "old entries could not be taken away");
            }
        }));
    }

    /// A planted fault: what is committed is told, whether others can see it or not.
    fn see_too_early(&self, context: &mut Context<Self>) {
        let store = self.store(self.shard);
        let read = async move { store.snapshot().await?.lanes().await };
        context.spawn(read.into_actor(self).map(|lanes: Result<Vec<LaneRow>, StoreError>, dispatcher, _| {
            lanes.into_iter().flatten().for_each(|row| dispatcher.visible().reached(row.lane, row.applied));
        }));
    }

    fn finish_draining(&mut self, context: &mut Context<Self>) {
        // A report only tidies up, and may wait for a standby that does not come.
        let busy = !self.delivering.is_empty() || self.planning || self.closing || self.forgetting;
        if busy {
            context.run_later(TIDY_EVERY / 10, Self::step);
        } else if let Some(ticket) = self.draining.take() {
            ticket.answer(());
            context.stop();
        }
    }
}

async fn report(store: &Store, lanes: &[(Lane, Position)]) -> Result<(), StoreError> {
    let mut tx = store.begin().await?;
    tx.lanes_lock(&lanes.iter().map(|(lane, _)| *lane).collect::<Vec<_>>()).await?;
    tx.lanes_notified(lanes).await?;
    tx.commit().await
}

impl Actor for NotificationDispatcher {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        context.run_interval(TIDY_EVERY, Self::tidy);
        self.step(context);
    }
}

impl Handler<Envelope<Ring>> for NotificationDispatcher {
    type Result = ();

    fn handle(&mut self, envelope: Envelope<Ring>, context: &mut Context<Self>) {
        // The place is free before the look, so that a bell rung during it is heard.
        envelope.ticket.answer(());
        self.step(context);
    }
}

impl Handler<Envelope<Drain>> for NotificationDispatcher {
    type Result = ();

    fn handle(&mut self, envelope: Envelope<Drain>, context: &mut Context<Self>) {
        self.draining = Some(envelope.ticket);
        self.step(context);
    }
}
