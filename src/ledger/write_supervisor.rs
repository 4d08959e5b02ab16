//! The supervisor of one shard's writes: it keeps the queue, its workers do the jobs.
//!
//! Durable entries come in from the journal, by its own cursor, and, ahead of them, what callers wait for; relayed rows
//! come from the couriers. Batches of lanes go out to workers, as many at once as the limit allows. Promise: the entries of a lane take
//! effect in order, each once; no job is lost with a worker. Full: it stops reading the journal; couriers wait for a place.
//!
//! A job that fails because the database is down is tried again, with a growing pause, and never gives up. One that fails
//! for no such reason, or panics, is tried three times; then its entries are tried one by one, and the one that fails alone is stored
//! as a dead letter.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use tokio::runtime::Handle;

use super::job::{Job, LaneRun, Parcel};
use super::lanes::{Lanes, entry_bytes};
use super::limiter::{Limiter, Sample};
use super::write_worker::{Execute, JobError, WriteWorker, told};
use super::{Ledger, Shard};
use crate::substrate::journal::ReadError;
use crate::substrate::store::StoreError;
use crate::support::chain::Chain;
use crate::support::mailbox::{Envelope, Gone, Mailbox, Order, Ticket};
use crate::vocabulary::command::{Entry, EntryUnreadable};
use crate::vocabulary::ids::Position;
use crate::vocabulary::owner::{Lane, LaneAddress, ShardIndex};

/// Entries that wait in memory; the rest waits in the journal.
const WAITING_ENTRIES_MAX: usize = 16_000;
const WAITING_BYTES_MAX: usize = 8 << 20;
/// What is read from the journal at once.
const READ_BYTES: usize = 512 << 10;
/// A batch of what callers wait for is small, so that the next one does not wait long.
const URGENT_ROWS_MAX: usize = 128;
/// Tries of a job that fails without its database being down.
const ATTEMPTS_MAX: u32 = 3;
/// The pauses of a shard that is down, and of a worker that panicked.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_LONGEST: Duration = Duration::from_secs(2);
/// A shard that is down for so many tries in a row counts as stopped: its share of the queue is bounded.
const FAILURES_UNTIL_STOPPED: u32 = 3;

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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    pub limit: usize,
    pub adaptive: bool,
    pub in_flight: usize,
    pub waiting: usize,
    pub cursor: Position,
    pub panics: u64,
    pub failures: u64,
    pub dead_letters: u64,
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
    paused: bool,
    pause: Duration,
    failures_in_row: u32,
    panics: u64,
    failures: u64,
    dead_letters: u64,
    down: Option<String>,
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
            paused: false,
            pause: PAUSE_FIRST,
            failures_in_row: 0,
            panics: 0,
            failures: 0,
            dead_letters: 0,
            down: None,
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
        if self.draining.is_some() {
            self.finish_draining(context);
            return;
        }
        if self.workers() == 0 {
            return;
        }
        for entry in self.shard().take_urgent(URGENT_ROWS_MAX * 8) {
            self.queue(entry);
        }
        while !self.paused && self.in_flight.len() < self.workers() {
            let Some(next) = self.next_job() else { break };
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

    /// The next thing to do: what was begun, then what callers wait for, then the rest in turn.
    fn next_job(&mut self) -> Option<Retry> {
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
        if self.lanes.has_free(false) {
            // Leaves lanes for the workers that are idle beside this one.
            let places = self.workers().saturating_sub(self.in_flight.len()).max(1);
            let lanes = usize::from(crate::vocabulary::owner::CONTENT_LANES).div_ceil(places);
            let runs = self.lanes.take(false, self.bounds.rows, self.bounds.bytes, lanes);
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
        let flight = InFlight { job: next.job, attempts: next.attempts, began: Instant::now(), delivery: next.delivery };
        self.in_flight.insert(id, flight);
        metrics::gauge!("sosik_batches_in_flight", "shard" => self.shard().name.to_string()).set(self.in_flight.len() as f64);
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

    fn hire(&self) -> Mailbox<WriteWorker> {
        let worker = WriteWorker::new(Arc::clone(&self.ledger), self.shard, self.runtime.clone());
        Mailbox::new(worker.start(), "write_worker", 1)
    }

    /// A job has ended, one way or the other. A worker that panicked is let go; its job is not.
    fn ended(&mut self, id: u64, result: Result<Result<(), JobError>, Gone>, worker: Mailbox<WriteWorker>, context: &mut Context<Self>) {
        let Some(flight) = self.in_flight.remove(&id) else { return };
        let result = match result {
            Ok(result) => {
                self.idle.push(worker);
                result
            }
            Err(Gone) => Err(JobError::Panicked("the worker is gone".to_owned())),
        };
        match result {
            Ok(()) => self.committed(flight),
            Err(error) if error.is_shard_down() => self.shard_down(flight, &error, context),
            Err(error) if error.is_fenced() => self.fenced(flight, context),
            Err(error) => self.failed(flight, &error, context),
        }
        self.step(context);
    }

    fn committed(&mut self, flight: InFlight) {
        let elapsed = flight.began.elapsed();
        metrics::histogram!("sosik_job_seconds", "job" => flight.job.name()).record(elapsed);
        metrics::counter!("sosik_job_rows_total", "job" => flight.job.name()).increment(flight.job.rows() as u64);
        match flight.job.as_ref() {
            Job::Batch(runs) => {
                self.observe(runs, elapsed);
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
        if self.down.take().is_some() {
            tracing::info!(shard = %self.shard().name, "the shard takes writes again");
            self.ledger.backlog.set_stopped(self.shard, false);
        }
    }

    /// Lets the limit learn from a committed batch.
    fn observe(&mut self, runs: &[LaneRun], latency: Duration) {
        let entries = runs.iter().flat_map(|run| &run.entries);
        let (rows, bytes) = entries.fold((0, 0), |(rows, bytes), entry| (rows + 1, bytes + entry_bytes(entry) as u64));
        let in_flight = u16::try_from(self.in_flight.len() + 1).unwrap_or(u16::MAX);
        if let Some(decision) = self.limiter.observe(Sample { latency, rows, bytes, in_flight }) {
            let shard = self.shard().name.to_string();
            metrics::gauge!("sosik_workers_limit", "shard" => shard.clone()).set(f64::from(decision.limit));
            metrics::counter!("sosik_workers_decisions_total", "shard" => shard, "reason" => decision.reason.as_str()).increment(1);
        }
    }

    fn shard_down(&mut self, flight: InFlight, error: &JobError, context: &mut Context<Self>) {
        self.failures += 1;
        self.failures_in_row += 1;
        let reason = told(error);
        if self.down.is_none() {
            tracing::warn!(shard = %self.shard().name, error = %reason, "the shard's database does not take writes; trying again");
        }
        self.down = Some(reason);
        if self.failures_in_row >= FAILURES_UNTIL_STOPPED {
            self.ledger.backlog.set_stopped(self.shard, true);
        }
        self.retries.push_back(Retry { job: flight.job, attempts: flight.attempts, delivery: flight.delivery });
        self.pause(context);
    }

    fn failed(&mut self, flight: InFlight, error: &JobError, context: &mut Context<Self>) {
        self.failures += 1;
        self.panics += u64::from(matches!(error, JobError::Panicked(_)));
        let (attempts, job) = (flight.attempts + 1, flight.job);
        let reason = told(error);
        tracing::error!(shard = %self.shard().name, job = job.name(), rows = job.rows(), attempts, error = %reason, "a job failed");
        if attempts < ATTEMPTS_MAX {
            self.retries.push_back(Retry { job, attempts, delivery: flight.delivery });
            self.pause(context);
            return;
        }
        match job.as_ref() {
            Job::Batch(runs) => match runs.as_slice() {
                [run] if run.entries.len() == 1 => {
                    let bury = Job::Bury { run: run.clone(), error: reason, died_at: self.ledger.clock.now() };
                    self.retries.push_back(Retry { job: Arc::new(bury), attempts: 0, delivery: None });
                }
                runs => runs.iter().for_each(|run| self.lanes.put_back(run, true)),
            },
            // Relayed rows cannot be refused, and a dead letter that cannot be stored must not be lost: the shard is broken.
            Job::Deliver(_) | Job::Relayed(_) | Job::Bury { .. } => {
                self.down = Some(reason);
                self.ledger.backlog.set_stopped(self.shard, true);
                self.retries.push_back(Retry { job, attempts: ATTEMPTS_MAX - 1, delivery: flight.delivery });
                self.pause(context);
            }
        }
    }

    /// A lane or a cursor was further than we knew: a commit succeeded although its answer did not come. Look where the lanes are.
    fn fenced(&mut self, flight: InFlight, context: &mut Context<Self>) {
        if let Some(ticket) = flight.delivery {
            if let Job::Deliver(parcels) = flight.job.as_ref() {
                let relays = parcels.iter().flat_map(|parcel| &parcel.relays).map(|(_, relay)| relay);
                super::settlement::maybe_delivered(&self.ledger, relays);
            }
            ticket.answer(Err(CursorsMoved));
            return;
        }
        tracing::warn!(shard = %self.shard().name, job = flight.job.name(), "a lane was further than known; looking where it is");
        self.paused = true;
        let store = self.shard().store.clone();
        let looked = async move { store.snapshot().await?.lanes().await };
        context.spawn(looked.into_actor(self).map(move |rows: Result<_, StoreError>, supervisor, context| {
            supervisor.paused = false;
            match rows {
                Ok(rows) => supervisor.catch_up(&flight.job, &rows),
                Err(error) => supervisor.shard_down(flight, &JobError::Store(error), context),
            }
            supervisor.step(context);
        }));
    }

    fn catch_up(&mut self, job: &Job, rows: &[crate::substrate::store::rows::LaneRow]) {
        let runs = match job {
            Job::Batch(runs) => runs.as_slice(),
            Job::Bury { run, .. } => std::slice::from_ref(run),
            Job::Deliver(_) | Job::Relayed(_) => &[],
        };
        for run in runs {
            self.lanes.put_back(run, false);
            let Some(row) = rows.iter().find(|row| row.lane == run.lane) else { continue };
            let applied = self.lanes.catch_up(run.lane, row.applied);
            if matches!(job, Job::Bury { .. }) {
                applied.iter().for_each(|entry| super::settlement::buried(&self.ledger, entry));
                continue;
            }
            super::settlement::found_applied(&self.ledger, self.shard, run.lane, row.applied, &applied);
        }
    }

    fn pause(&mut self, context: &mut Context<Self>) {
        if self.paused {
            return;
        }
        self.paused = true;
        context.run_later(self.pause, |supervisor, context| {
            supervisor.paused = false;
            supervisor.step(context);
        });
        self.pause = (self.pause * 2).min(PAUSE_LONGEST);
    }

    /// Reads on in the journal when there is room for it here.
    fn refill(&mut self, context: &mut Context<Self>) {
        let (entries, bytes) = self.lanes.waiting();
        let has_room = entries < WAITING_ENTRIES_MAX / 2 && bytes < WAITING_BYTES_MAX / 2;
        if self.reading || !has_room || self.cursor >= self.ledger.journal.durable() {
            return;
        }
        self.reading = true;
        let ledger = Arc::clone(&self.ledger);
        let (shard, cursor, parked) = (self.shard, self.cursor, self.parked_cursor);
        let read = self.runtime.spawn_blocking(move || read_on(&ledger, shard, cursor, parked));
        context.spawn(read.into_actor(self).map(|read, supervisor, context| {
            supervisor.reading = false;
            match read {
                Ok(Ok(read)) => supervisor.take_in(read, context),
                Ok(Err(error)) => fail_stop(&error),
                Err(error) => tracing::error!(error = %error, "reading the journal was cut short"),
            }
        }));
    }

    fn take_in(&mut self, read: Read, context: &mut Context<Self>) {
        self.cursor = read.cursor;
        self.parked_cursor = read.parked_cursor;
        for entry in read.entries {
            let lane = entry.home().lane();
            // What callers wait for came by its own way, and stands in the lane's queue or is behind it.
            self.lanes.push(lane, entry);
        }
        self.step(context);
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

/// What was read from the journal.
struct Read {
    cursor: Position,
    parked_cursor: Position,
    entries: Vec<Arc<Entry>>,
}

#[derive(Debug, thiserror::Error)]
enum ReadOnError {
    #[error("could not read the journal")]
    Journal(#[from] ReadError),
    #[error(transparent)]
    Entry(#[from] EntryUnreadable),
}

/// Reads the entries of one shard after the cursor: the parked ones first, as far as the main segments no longer have them.
fn read_on(ledger: &Ledger, shard: ShardIndex, cursor: Position, parked_cursor: Position) -> Result<Read, ReadOnError> {
    let first = ledger.journal.first();
    let name = &ledger.shard(shard).name;
    if cursor.next() < first {
        let parked = ledger.journal.read_parked(name, parked_cursor.max(cursor), READ_BYTES)?;
        if let Some(last) = parked.last().map(|record| record.position) {
            let mut entries = Vec::with_capacity(parked.len());
            for record in parked {
                let entry = Entry::decode(record.position, &record.bytes)?;
                entries.extend((!entry.home().lane().is_urgent()).then(|| Arc::new(entry)));
            }
            return Ok(Read { cursor: last, parked_cursor: last, entries });
        }
    }
    let from = cursor.next().max(first);
    let records = match ledger.journal.read(from, READ_BYTES) {
        // Parked and trimmed between the look and the reading: the next look finds it where it is now.
        Err(ReadError::Trimmed(_)) => return Ok(Read { cursor, parked_cursor, entries: Vec::new() }),
        records => records?,
    };
    let cursor = records.last().map_or(Position(from.0 - 1), |record| record.position);
    let mut entries = Vec::with_capacity(records.len() / ledger.shards.len().max(1));
    for record in records {
        let entry = Entry::decode(record.position, &record.bytes)?;
        let address = ledger.address_of(&entry.home());
        if address.shard == shard && !address.lane.is_urgent() {
            entries.push(Arc::new(entry));
        }
    }
    Ok(Read { cursor, parked_cursor, entries })
}

/// A journal that cannot be read back must not be gone on with.
fn fail_stop(error: &ReadOnError) -> ! {
    tracing::error!(error = %Chain(error), "the journal cannot be read; stopping, so that nothing is applied out of order");
    std::process::exit(crate::support::EXIT_FAIL_STOP)
}

impl Actor for WriteSupervisor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
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
