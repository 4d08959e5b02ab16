//! The supervisor of one shard's writes: it keeps the queue, its workers do the jobs.
//!
//! Durable entries come in from the journal, by its own cursor, and, ahead of them, what callers wait for; relayed rows
//! come from the couriers. Batches of lanes go out to workers, as many at once as the limit allows. Promise: the entries of a lane take
//! effect in order, each once; no job is lost with a worker. Full: it stops reading the journal; couriers wait for a place.
//!
//! A job that fails because the database is down is tried again, with a growing pause, and never gives up. One that panics is tried three
//! times; then its entries are tried one by one, and the one that fails alone is stored as a dead letter. A database that breaks what must
//! hold is not written to any more: the shard stops, and what was accepted for it waits.

mod failures;
mod pace;
mod refill;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use tokio::runtime::Handle;

use super::job::{Job, LaneRun, Parcel};
use super::lanes::{Lanes, entry_bytes};
use super::limiter::{Limiter, Sample};
use super::write_worker::{Execute, JobError, WriteWorker};
use super::{Ledger, Shard};
use crate::support::company::Company;
use crate::support::mailbox::{Envelope, Gone, Mailbox, Order, Ticket};
use crate::vocabulary::command::Entry;
use crate::vocabulary::ids::Position;
use crate::vocabulary::owner::{Lane, LaneAddress, ShardIndex};

/// A batch of content that is smaller than this waits for company, if so many rows come within the time: a transaction has a cost of its own
/// whatever its size, and writes each page once however many rows are new on it.
const COMPANY_ROWS: u32 = 512;
const COMPANY_WITHIN: Duration = Duration::from_millis(100);
/// Where less comes, from the beginning of one batch of content to that of the next at least twice as long as the one before took, shared by
/// the workers, but no longer than this.
const GATHERING_MAX: Duration = Duration::from_millis(5);
/// A batch of what callers wait for is small, so that the next one does not wait long.
const URGENT_ROWS_MAX: usize = 128;
/// The first pause of a shard that is down, and of a worker that panicked.
const PAUSE_FIRST: Duration = Duration::from_millis(50);

/// From the journal, the couriers and the clock: look what there is to do. Refused when one is waiting already, which is as good.
pub struct Ring;

impl Order for Ring {
    type Reply = ();
}

/// From a courier: lay these rows down. The answer comes when they are committed; `Err` if its cursors are not where it thinks.
pub struct Deliver(pub Vec<Parcel>);

impl Order for Deliver {
    type Reply = Result<(), CursorsMoved>;
}

/// The destination was told something else meanwhile: read its cursors again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the destination's cursors are not where they were known to be")]
pub struct CursorsMoved;

/// From the shard's own courier: the event rows up to here have served.
pub struct Relayed(pub Vec<(Lane, Position)>);

impl Order for Relayed {
    type Reply = ();
}

/// From an operator: work with so many at once, or adaptively.
pub struct SetWorkers(pub Limiter);

impl Order for SetWorkers {
    type Reply = ();
}

/// From an operator, and the tests: what it is doing.
pub struct Observe;

impl Order for Observe {
    type Reply = Observation;
}

/// The observable state of a supervisor.
#[derive(Debug, Clone, PartialEq)]
pub struct Observation {
    pub limit: usize,
    pub adaptive: bool,
    pub in_flight: usize,
    pub waiting: usize,
    pub cursor: Position,
    pub panics: u64,
    pub failures: u64,
    pub dead_letters: u64,
    /// How long the last committed batch took, in milliseconds.
    pub batch_latency_ms: f64,
    /// Why the shard is down, if it is.
    pub down: Option<String>,
}

/// From `app`, at the end: finish the batches in hand and start no more.
pub struct Drain;

impl Order for Drain {
    type Reply = ();
}

/// The limits of a batch, from the configuration.
#[derive(Debug, Clone, Copy)]
pub struct BatchBounds {
    pub rows: usize,
    pub bytes: usize,
}

struct InFlight {
    job: Arc<Job>,
    attempts: u32,
    began: Instant,
    /// Jobs in flight when it was handed over, itself included.
    crowd: u16,
    delivery: Option<Ticket<Result<(), CursorsMoved>>>,
}

struct Retry {
    job: Arc<Job>,
    attempts: u32,
    delivery: Option<Ticket<Result<(), CursorsMoved>>>,
}

pub struct WriteSupervisor {
    ledger: Arc<Ledger>,
    shard: ShardIndex,
    runtime: Handle,
    bounds: BatchBounds,
    limiter: Limiter,
    lanes: Lanes,
    /// All entries up to here were read from the journal.
    cursor: Position,
    /// All parked entries up to here were read, and up to where there are any.
    parked_cursor: Position,
    reading: bool,
    idle: Vec<Mailbox<WriteWorker>>,
    in_flight: HashMap<u64, InFlight>,
    next_job: u64,
    deliveries: VecDeque<Retry>,
    retries: VecDeque<Retry>,
    relayed: Vec<(Lane, Position)>,
    /// When the last batch of content began, how long the last one took that has ended, and whether a next one waits for company.
    content_began: Instant,
    content_took: Duration,
    gathering: bool,
    company: Company,
    paused: bool,
    pause: Duration,
    failures_in_row: u32,
    panics: u64,
    failures: u64,
    dead_letters: u64,
    last_batch: Duration,
    down: Option<String>,
    /// What it has in hand takes too long.
    slow: bool,
    /// The database broke what must hold: nothing more is begun until the next start.
    broken: bool,
    draining: Option<Ticket<()>>,
}

impl WriteSupervisor {
    /// `lanes` says where each lane is; entries are read from the journal after `cursor`, and from the parked ones first.
    pub fn new(
        ledger: Arc<Ledger>,
        shard: ShardIndex,
        runtime: Handle,
        bounds: BatchBounds,
        limiter: Limiter,
        lanes: Lanes,
        cursor: Position,
    ) -> Self {
        let company = Company::new(COMPANY_ROWS.min(u32::try_from(bounds.rows).unwrap_or(u32::MAX)), COMPANY_WITHIN, GATHERING_MAX);
        Self {
            ledger,
            shard,
            runtime,
            bounds,
            limiter,
            lanes,
            cursor,
            parked_cursor: Position::START,
            reading: false,
            idle: Vec::new(),
            in_flight: HashMap::new(),
            next_job: 0,
            deliveries: VecDeque::new(),
            retries: VecDeque::new(),
            relayed: Vec::new(),
            content_began: Instant::now(),
            content_took: Duration::ZERO,
            gathering: false,
            company,
            paused: false,
            pause: PAUSE_FIRST,
            failures_in_row: 0,
            panics: 0,
            failures: 0,
            dead_letters: 0,
            last_batch: Duration::ZERO,
            down: None,
            slow: false,
            broken: false,
            draining: None,
        }
    }

    fn shard(&self) -> &Shard {
        self.ledger.shard(self.shard)
    }

    /// How many jobs may be at work at once.
    fn workers(&self) -> usize {
        usize::from(self.limiter.limit())
    }

    /// Does all that can be done now.
    fn step(&mut self, context: &mut Context<Self>) {
        fail::fail_point!("supervisor::panic");
        if self.draining.is_some() {
            self.finish_draining(context);
            return;
        }
        if self.workers() == 0 || self.broken {
            return;
        }
        self.look_at_pace();
        for entry in self.shard().take_urgent(URGENT_ROWS_MAX * 8) {
            self.queue(entry);
        }
        let mut content_is_due = false;
        while !self.paused && self.in_flight.len() < self.workers() {
            // What was waited for goes to all workers that are idle.
            content_is_due = content_is_due || self.content_is_due(context);
            let Some(next) = self.next_job(content_is_due) else { break };
            self.start(next, context);
        }
        self.refill(context);
    }

    fn queue(&mut self, entry: Arc<Entry>) {
        let LaneAddress { shard, lane } = self.ledger.address_of(&entry.home());
        if shard == self.shard {
            self.lanes.push(lane, entry);
        }
    }

    /// Whether a batch of content may begin. A lone write does at once; on a busy shard a small batch waits for company, since each
    /// transaction costs its share of the processor whatever its size.
    fn content_is_due(&mut self, context: &mut Context<Self>) -> bool {
        let since = self.content_began.elapsed();
        let (waiting, bytes) = self.lanes.waiting();
        let workers = u32::try_from(self.workers()).unwrap_or(u32::MAX).max(1);
        let patience = (self.content_took * 2 / workers).min(GATHERING_MAX).max(self.company.patience());
        if since >= patience || waiting >= self.company.enough() || bytes >= self.bounds.bytes {
            return true;
        }
        if !self.gathering && waiting > 0 {
            self.gathering = true;
            context.run_later(patience - since, |supervisor, context| {
                supervisor.gathering = false;
                supervisor.step(context);
            });
        }
        false
    }

    /// The next thing to do: what was begun, then what callers wait for, then the rest in turn.
    fn next_job(&mut self, content_is_due: bool) -> Option<Retry> {
        if let Some(retry) = self.retries.pop_front() {
            return Some(retry);
        }
        if self.lanes.has_free(true) {
            let runs = self.lanes.take(true, URGENT_ROWS_MAX, self.bounds.bytes, usize::MAX);
            return Some(Retry { job: Arc::new(Job::Batch(runs)), attempts: 0, delivery: None });
        }
        if let Some(delivery) = self.deliveries.pop_front() {
            return Some(delivery);
        }
        if content_is_due && self.lanes.has_free(false) {
            self.content_began = Instant::now();
            // Leaves lanes for the workers that are idle beside this one.
            let places = self.workers().saturating_sub(self.in_flight.len()).max(1);
            let lanes = usize::from(crate::vocabulary::owner::CONTENT_LANES).div_ceil(places);
            let runs = self.lanes.take(false, self.bounds.rows, self.bounds.bytes, lanes);
            self.company.came(runs.iter().map(|run| run.entries.len()).sum(), self.content_began);
            return Some(Retry { job: Arc::new(Job::Batch(runs)), attempts: 0, delivery: None });
        }
        if self.relayed.is_empty() {
            return None;
        }
        Some(Retry { job: Arc::new(Job::Relayed(std::mem::take(&mut self.relayed))), attempts: 0, delivery: None })
    }

    fn start(&mut self, next: Retry, context: &mut Context<Self>) {
        let id = self.next_job;
        self.next_job += 1;
        let worker = self.idle.pop().unwrap_or_else(|| self.hire());
        let reply = worker.try_ask(Execute(Arc::clone(&next.job)));
        let crowd = u16::try_from(self.in_flight.len() + 1).unwrap_or(u16::MAX);
        let flight = InFlight { job: next.job, attempts: next.attempts, began: Instant::now(), crowd, delivery: next.delivery };
        self.in_flight.insert(id, flight);
        self.show_in_flight();
        let ended = async move {
            match reply {
                Ok(reply) => (reply.await, worker),
                Err(_refused) => (Err(Gone), worker),
            }
        };
        context.spawn(ended.into_actor(self).map(move |(result, worker), supervisor, context| {
            supervisor.ended(id, result, worker, context);
        }));
    }

    fn show_limit(&self) {
        metrics::gauge!("sosik_workers_limit", "shard" => self.shard().name.to_string()).set(f64::from(self.limiter.limit()));
    }

    fn show_in_flight(&self) {
        metrics::gauge!("sosik_batches_in_flight", "shard" => self.shard().name.to_string()).set(self.in_flight.len() as f64);
    }

    fn hire(&self) -> Mailbox<WriteWorker> {
        let worker = WriteWorker::new(Arc::clone(&self.ledger), self.shard, self.runtime.clone());
        Mailbox::new(worker.start(), "write_worker", 1)
    }

    /// A job has ended, one way or the other. A worker that panicked is let go; its job is not.
    fn ended(&mut self, id: u64, result: Result<Result<(), JobError>, Gone>, worker: Mailbox<WriteWorker>, context: &mut Context<Self>) {
        let Some(flight) = self.in_flight.remove(&id) else { return };
        self.show_in_flight();
        let result = match result {
            Ok(result) => {
                self.idle.push(worker);
                result
            }
            Err(Gone) => Err(JobError::Panicked("the worker is gone".to_owned())),
        };
        match result {
            Ok(()) => self.committed(flight),
            Err(error) => self.not_done(flight, &error, context),
        }
        self.step(context);
    }

    fn committed(&mut self, flight: InFlight) {
        let elapsed = flight.began.elapsed();
        self.kept_pace(elapsed);
        metrics::histogram!("sosik_job_seconds", "job" => flight.job.name()).record(elapsed);
        metrics::counter!("sosik_job_rows_total", "job" => flight.job.name()).increment(flight.job.rows() as u64);
        match flight.job.as_ref() {
            Job::Batch(runs) => {
                self.last_batch = elapsed;
                if runs.iter().any(|run| !run.lane.is_urgent()) {
                    self.content_took = elapsed;
                }
                self.observe(runs, elapsed, flight.crowd);
                runs.iter().for_each(|run| self.lanes.done(run));
            }
            Job::Bury { run, .. } => {
                self.dead_letters += 1;
                self.lanes.done(run);
            }
            Job::Deliver(_) | Job::Relayed(_) => {}
        }
        if let Some(ticket) = flight.delivery {
            ticket.answer(Ok(()));
        }
        self.failures_in_row = 0;
        self.pause = PAUSE_FIRST;
        if !self.broken && self.down.take().is_some() {
            tracing::info!(shard = %self.shard().name, "the shard takes writes again");
            self.ledger.backlog.set_stopped(self.shard, false);
        }
    }

    /// Lets the limit learn from a committed batch.
    fn observe(&mut self, runs: &[LaneRun], latency: Duration, in_flight: u16) {
        let entries = runs.iter().flat_map(|run| &run.entries);
        let (rows, bytes) = entries.fold((0, 0), |(rows, bytes), entry| (rows + 1, bytes + entry_bytes(entry) as u64));
        if let Some(decision) = self.limiter.observe(Sample { latency, rows, bytes, in_flight }) {
            let shard = self.shard().name.to_string();
            metrics::counter!("sosik_workers_decisions_total", "shard" => shard, "reason" => decision.reason.as_str()).increment(1);
            self.show_limit();
        }
    }

    fn finish_draining(&mut self, context: &mut Context<Self>) {
        if self.in_flight.is_empty()
            && let Some(ticket) = self.draining.take()
        {
            ticket.answer(());
            context.stop();
        }
    }
}

impl Actor for WriteSupervisor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        self.show_limit();
        self.show_in_flight();
        self.step(context);
    }
}

impl Handler<Envelope<Ring>> for WriteSupervisor {
    type Result = ();

    fn handle(&mut self, envelope: Envelope<Ring>, context: &mut Context<Self>) {
        // The place is free before the look, so that a bell rung during it is heard.
        envelope.ticket.answer(());
        self.step(context);
    }
}

impl Handler<Envelope<Deliver>> for WriteSupervisor {
    type Result = ();

    fn handle(&mut self, envelope: Envelope<Deliver>, context: &mut Context<Self>) {
        let Envelope { order: Deliver(parcels), ticket } = envelope;
        let urgent = parcels.iter().any(|parcel| parcel.source.lane.is_urgent());
        let delivery = Retry { job: Arc::new(Job::Deliver(parcels)), attempts: 0, delivery: Some(ticket) };
        if urgent {
            self.deliveries.push_front(delivery);
        } else {
            self.deliveries.push_back(delivery);
        }
        self.step(context);
    }
}

impl Handler<Envelope<Relayed>> for WriteSupervisor {
    type Result = ();

    fn handle(&mut self, envelope: Envelope<Relayed>, context: &mut Context<Self>) {
        let Envelope { order: Relayed(lanes), ticket } = envelope;
        for (lane, through) in lanes {
            match self.relayed.iter_mut().find(|(known, _)| *known == lane) {
                Some((_, known)) => *known = through.max(*known),
                None => self.relayed.push((lane, through)),
            }
        }
        ticket.answer(());
        self.step(context);
    }
}

impl Handler<Envelope<SetWorkers>> for WriteSupervisor {
    type Result = ();

    fn handle(&mut self, envelope: Envelope<SetWorkers>, context: &mut Context<Self>) {
        self.limiter = envelope.order.0;
        self.show_limit();
        envelope.ticket.answer(());
        self.step(context);
    }
}

impl Handler<Envelope<Observe>> for WriteSupervisor {
    type Result = ();

    fn handle(&mut self, envelope: Envelope<Observe>, _: &mut Context<Self>) {
        envelope.ticket.answer(Observation {
            limit: self.workers(),
            adaptive: self.limiter.is_adaptive(),
            in_flight: self.in_flight.len(),
            waiting: self.lanes.waiting().0,
            cursor: self.cursor,
            panics: self.panics,
            failures: self.failures,
            dead_letters: self.dead_letters,
            batch_latency_ms: self.last_batch.as_secs_f64() * 1000.0,
            down: self.down.clone(),
        });
    }
}

impl Handler<Envelope<Drain>> for WriteSupervisor {
    type Result = ();

    fn handle(&mut self, envelope: Envelope<Drain>, context: &mut Context<Self>) {
        self.draining = Some(envelope.ticket);
        self.finish_draining(context);
    }
}
