//! A worker of one shard: does one job, in one transaction, and says how it ended.
//!
//! A job goes in; `Ok` comes out when it is committed and everybody was told. The job runs as a task of its own: the mailbox
//! stays shut meanwhile, and a panic in the job comes back as a value. Full: a worker takes one job at a time.

use std::sync::Arc;

use actix::prelude::*;
use tokio::runtime::Handle;

use super::apply::{Transition, needs_of, relay_needs_of, set_aside};
use super::job::{Job, LaneRun, Parcel};
use super::settlement::{self, LaneOutcome};
use super::{Ledger, Shard};
use crate::substrate::store::rows::{Counters, DeadLetterRow, EventsRow, Needs, Rows};
use crate::substrate::store::{LaneMove, StoreError, StoreErrorKind};
use crate::support::chain::Chain;
use crate::support::faults::planted;
use crate::support::mailbox::{Envelope, Order};
use crate::vocabulary::event::{Happened, encode_events};
use crate::vocabulary::owner::ShardIndex;

/// From the supervisor: do this job. Never refused: the supervisor asks only an idle worker.
pub struct Execute(pub Arc<Job>);

impl Order for Execute {
    type Reply = Result<(), JobError>;
}

/// Why a job was not done. Nothing of it was kept.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    #[error("the shard's database did not do it")]
    Store(#[from] StoreError),
    #[error("the events could not be turned into bytes")]
    Encode(#[from] postcard::Error),
    #[error("the job panicked: {0}")]
    Panicked(String),
}

impl JobError {
    /// Whether the database is down, and nothing is wrong with the job.
    pub fn is_shard_down(&self) -> bool {
        matches!(self, Self::Store(error) if error.kind() == StoreErrorKind::Unavailable)
    }

    /// Whether the database gave way to another transaction: it can be tried again at once.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_conflict())
    }

    /// Whether the database cannot be trusted with this job nor with another.
    pub fn is_broken_shard(&self) -> bool {
        matches!(self, Self::Store(error) if matches!(error.kind(), StoreErrorKind::Invariant | StoreErrorKind::NewerSchema))
    }

    /// Whether a lane or a cursor is not where it was known to be.
    pub fn is_fenced(&self) -> bool {
        matches!(self, Self::Store(error) if error.kind() == StoreErrorKind::Fenced)
    }
}

pub struct WriteWorker {
    ledger: Arc<Ledger>,
    shard: ShardIndex,
    runtime: Handle,
}

impl WriteWorker {
    pub fn new(ledger: Arc<Ledger>, shard: ShardIndex, runtime: Handle) -> Self {
        Self { ledger, shard, runtime }
    }
}

impl Actor for WriteWorker {
    type Context = Context<Self>;
}

impl Handler<Envelope<Execute>> for WriteWorker {
    type Result = ();

    fn handle(&mut self, envelope: Envelope<Execute>, context: &mut Context<Self>) {
        fail::fail_point!("worker::panic_in_actor");
        let Envelope { order: Execute(job), ticket } = envelope;
        let (ledger, shard) = (Arc::clone(&self.ledger), self.shard);
        let task = self.runtime.spawn(async move { run(&ledger, shard, &job).await });
        let finished = async move {
            let result = match task.await {
                Ok(result) => result,
                Err(error) => Err(JobError::Panicked(panic_text(error))),
            };
            ticket.answer(result);
        };
        context.wait(finished.into_actor(self));
    }
}

fn panic_text(error: tokio::task::JoinError) -> String {
    match error.try_into_panic() {
        Ok(panic) => match panic.downcast::<String>() {
            Ok(text) => *text,
            Err(panic) => panic.downcast::<&'static str>().map_or_else(|_| "without a message".to_owned(), |text| (*text).to_owned()),
        },
        Err(_) => "the task was cancelled".to_owned(),
    }
}

/// The single step of a worker.
pub(super) async fn run(ledger: &Ledger, shard: ShardIndex, job: &Job) -> Result<(), JobError> {
    let shard = ledger.shard(shard);
    #[cfg(feature = "faults")]
    crate::support::faults::hold_shard(&shard.name).await;
    super::shard::planted_outage(&shard.name)?;
    match job {
        Job::Batch(runs) => apply_batch(ledger, shard, runs).await,
        Job::Deliver(parcels) => deliver(ledger, shard, parcels).await,
        Job::Relayed(lanes) => {
            let mut transaction = shard.store.begin().await?;
            transaction.lanes_lock(&lanes.iter().map(|(lane, _)| *lane).collect::<Vec<_>>()).await?;
            transaction.lanes_relayed(lanes).await?;
            Ok(transaction.commit().await?)
        }
        Job::Bury { run, error, died_at } => bury(ledger, shard, run, error, *died_at).await,
    }
}

async fn apply_batch(ledger: &Ledger, shard: &Shard, runs: &[LaneRun]) -> Result<(), JobError> {
    fail::fail_point!("worker::before_batch");
    if planted("pending::drop_early") {
        runs.iter().flat_map(|run| &run.entries).for_each(|entry| ledger.pending.remove(entry));
    }
    let moves: Vec<LaneMove> = runs.iter().map(|run| LaneMove { lane: run.lane, known: run.known, next: run.last() }).collect();
    let mut needs = Needs::default();
    for entry in runs.iter().flat_map(|run| &run.entries) {
        needs_of(entry, &mut needs);
    }

    #[cfg(feature = "faults")]
    crate::support::faults::gate("worker::holds_batch").await;
    let mut transaction = shard.store.begin().await?;
    transaction.lanes_advance(&moves).await?;
    let mut transition = Transition::over(transaction.rows_load(&needs).await?);
    let happened: Vec<Vec<_>> = runs.iter().map(|run| decide(&mut transition, run)).collect();
    super::shard::planted_breach(&shard.name)?;
    let mut effects = transition.finish();
    let apart = planted("apply::counter_apart").then(|| std::mem::take(&mut effects.rows.counters));
    transaction.rows_save(&effects.rows).await?;
    let mut read = Vec::with_capacity(effects.rows.read_marks.len());
    for (recipient, mark) in &effects.rows.read_marks {
        read.push((*recipient, transaction.inbox_mark_read(*recipient, mark).await?));
    }
    fail::fail_point!("worker::between_rows_and_events");
    let mut events = effects.events.into_iter().peekable();
    let mut outcomes = Vec::with_capacity(runs.len());
    let mut rows = Vec::with_capacity(runs.len());
    for (run, happened) in runs.iter().zip(happened) {
        let count = happened.len();
        let last = run.last();
        let mut of_run = Vec::with_capacity(count);
        // Events come in the order of the entries, run after run.
        for entry in &run.entries {
            of_run.extend(events.next_if(|event| event.position == entry.position));
        }
        if !of_run.is_empty() {
            rows.push(EventsRow { lane: run.lane, position: last, payload: encode_events(&of_run)? });
        }
        outcomes.push(LaneOutcome { lane: run.lane, last, happened, events: of_run });
    }
    transaction.events_insert(&rows).await?;
    let entries = runs.iter().flat_map(|run| &run.entries).filter(|entry| shard.may_be_retried(entry.write));
    transaction.dead_letters_retried(&entries.map(|entry| (entry.write, entry.position)).collect::<Vec<_>>()).await?;
    fail::fail_point!("worker::before_commit");
    #[cfg(feature = "faults")]
    crate::support::faults::gate("worker::holds_transaction").await;
    ledger.hot_posts.committing(shard.index, &moves, &effects.rows);
    transaction.commit().await?;
    fail::fail_point!("worker::after_commit");
    if let Some(counters) = apart {
        save_counters_apart(shard, counters).await?;
    }
    if planted("worker::write_elsewhere") {
        save_elsewhere(ledger, shard, &effects.rows).await?;
    }

    shard.batch_committed();
    settlement::batch_committed(ledger, shard.index, moves, effects.rows);
    settlement::marked_read(ledger, &read);
    for (run, outcome) in runs.iter().zip(outcomes) {
        settlement::lane_committed(ledger, shard.index, &run.entries, outcome);
    }
    Ok(())
}

/// Decides a run's entries, in order.
fn decide(transition: &mut Transition, run: &LaneRun) -> Vec<Happened> {
    #[cfg(feature = "faults")]
    run.entries.iter().for_each(|entry| crate::support::faults::poison(entry));
    if planted("apply::reverse_order") {
        let backwards: Vec<Happened> = run.entries.iter().rev().map(|entry| transition.apply(entry)).collect();
        return backwards.into_iter().rev().collect();
    }
    run.entries.iter().map(|entry| transition.apply(entry)).collect()
}

/// A planted fault: the counters follow their rows in a transaction of their own.
async fn save_counters_apart(shard: &Shard, counters: Counters) -> Result<(), JobError> {
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    let mut transaction = shard.store.begin().await?;
    transaction.rows_save(&Rows { counters, ..Rows::default() }).await?;
    Ok(transaction.commit().await?)
}

/// A planted fault: posts stand on the next shard as well.
async fn save_elsewhere(ledger: &Ledger, shard: &Shard, rows: &Rows) -> Result<(), JobError> {
    let next = &ledger.shards[(usize::from(shard.index.0) + 1) % ledger.shards.len()];
    let mut transaction = next.store.begin().await?;
    transaction.rows_save(&Rows { posts: rows.posts.clone(), ..Rows::default() }).await?;
    Ok(transaction.commit().await?)
}

async fn deliver(ledger: &Ledger, shard: &Shard, parcels: &[Parcel]) -> Result<(), JobError> {
    fail::fail_point!("relay::before_delivery");
    let mut needs = Needs::default();
    let mut lanes = Vec::new();
    for (_, relay) in parcels.iter().flat_map(|parcel| &parcel.relays) {
        relay_needs_of(relay, &mut needs);
        lanes.push(relay.owner().lane());
    }
    lanes.sort_unstable();
    lanes.dedup();

    let mut transaction = shard.store.begin().await?;
    transaction.lanes_lock(&lanes).await?;
    let unguarded = planted("relay::skip_cursor");
    for parcel in parcels.iter().filter(|_| !unguarded) {
        transaction.relay_cursor_advance(parcel.source, parcel.known, parcel.next).await?;
    }
    // Without the cursor the rows count once more, as if they were new.
    let before = if unguarded { Rows::default() } else { transaction.rows_load(&needs).await? };
    let mut transition = Transition::over(before);
    for (position, relay) in parcels.iter().flat_map(|parcel| &parcel.relays) {
        transition.relay(*position, relay);
    }
    let effects = transition.finish();
    transaction.rows_save(&effects.rows).await?;
    transaction.commit().await?;
    fail::fail_point!("relay::after_delivery");

    settlement::rows_committed(ledger, &effects.rows);
    Ok(())
}

async fn bury(ledger: &Ledger, shard: &Shard, run: &LaneRun, error: &str, died_at: u64) -> Result<(), JobError> {
    let Some(entry) = run.entries.first() else { return Ok(()) };
    let letter = DeadLetterRow {
        write: entry.write,
        lane: run.lane,
        position: entry.position,
        entry: entry.encode()?,
        error: error.to_owned(),
        died_at,
    };
    // Before an operator can see it.
    shard.has_letter(entry.write);
    let mut transaction = shard.store.begin().await?;
    let moves = [LaneMove { lane: run.lane, known: run.known, next: entry.position }];
    transaction.lanes_advance(&moves).await?;
    transaction.dead_letter_insert(&letter).await?;
    // Tells a replay what became of it, and takes its key to the author: a retry of the request must find it also after a restart.
    let mut event = set_aside(entry);
    if planted("worker::bury_without_key") {
        event.relays.clear();
    }
    let payload = encode_events(std::slice::from_ref(&event))?;
    transaction.events_insert(&[EventsRow { lane: run.lane, position: entry.position, payload }]).await?;
    transaction.commit().await?;
    #[cfg(feature = "faults")]
    crate::support::faults::gate("worker::holds_burial").await;
    settlement::batch_committed(ledger, shard.index, moves.to_vec(), Rows::default());

    tracing::error!(shard = %shard.name, write.id = %entry.write, position = %entry.position, %error, "an entry could not be applied and is a dead letter");
    settlement::buried(ledger, shard.index, run.lane, entry, event);
    Ok(())
}

/// The error and its causes, for the log and for a dead letter.
pub fn told(error: &JobError) -> String {
    Chain(error).to_string()
}
