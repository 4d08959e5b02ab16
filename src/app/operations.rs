//! What operators see and do, gathered from the stages.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;

use super::actors::Actors;
use super::planning::Planning;
use crate::api::admin::{
    DeadLetter, JournalReport, LaneReport, OperationError, Operations, ShardReport, StandbyReport, WorkersReport, WorkersSetting,
};
use crate::intake::{Intake, SubmitError};
use crate::ledger::limiter::Limiter;
use crate::ledger::shard::planted_outage;
use crate::ledger::shard_plan::{ShardPlan, Wanted};
use crate::ledger::write_supervisor::{Observation, Observe, SetWorkers};
use crate::ledger::writes::Known;
use crate::ledger::{Ledger, Shard, settlement, standbys};
use crate::stream::desk::Desk;
use crate::substrate::store::rows::{DeadLetterRow, LaneRow, Rows};
use crate::substrate::store::{Snapshot, Store, StoreError, in_time};
use crate::support::mailbox::{Gone, Mailbox, Refused};
use crate::support::telemetry::Telemetry;
use crate::vocabulary::command::Entry;
use crate::vocabulary::event::KeptWrite;
use crate::vocabulary::ids::WriteId;
use crate::vocabulary::owner::{Owner, PlacementKey};
use crate::vocabulary::rejection::Rejection;

const RETRY_AFTER_S: u64 = 2;

pub(super) struct Operator {
    pub(super) ledger: Arc<Ledger>,
    pub(super) intake: Intake,
    pub(super) actors: Actors,
    pub(super) stream: Arc<Desk>,
    pub(super) planning: Planning,
    pub(super) telemetry: Arc<Telemetry>,
    /// The ends of the adaptive limit.
    pub(super) bounds: (u16, u16),
    pub(super) bytes_max: u64,
    pub(super) draining: Arc<AtomicBool>,
    /// Held while a dead letter is retried or discarded: another operator is told to come again.
    pub(super) deciding: tokio::sync::Mutex<()>,
}

impl Operator {
    async fn observe(&self, shard: &Shard) -> Result<Observation, OperationError> {
        let supervisor = self.supervisor(shard);
        let asked = supervisor.try_ask(Observe).map_err(refused)?;
        asked.await.map_err(gone)
    }

    fn supervisor(&self, shard: &Shard) -> &Mailbox<crate::ledger::write_supervisor::WriteSupervisor> {
        &self.actors.supervisors[usize::from(shard.index.0)]
    }

    /// The letter, and the shard that holds it, unless it is being retried.
    async fn letter_to_decide(&self, write: WriteId) -> Result<(&Shard, DeadLetterRow, Entry), OperationError> {
        // Asked first: whoever applies a retry takes the letter away with it.
        let known = self.ledger.writes.known(write);
        let (shard, row) = self.letter(write).await?;
        if matches!(known, Some(Known::Waiting(waiting)) if waiting.position != row.position) {
            return Err(OperationError::Unavailable { retry_after_s: RETRY_AFTER_S });
        }
        let entry = Entry::decode(row.position, &row.entry).map_err(internal)?;
        Ok((shard, row, entry))
    }

    /// Whether a discard was cut short after its word was given.
    async fn is_discarded(&self, entry: &Entry) -> Result<bool, OperationError> {
        let mut snapshot = self.ledger.shard_of(&Owner::User(entry.author)).store.snapshot().await.map_err(unreadable)?;
        let kept = snapshot.kept_write(entry.author, entry.write).await.map_err(unreadable)?;
        Ok(kept.is_some_and(|kept| kept.rejection == Some(Rejection::Discarded)))
    }

    /// The letter, and the shard that holds it. One that cannot be read may hold it, if none of the others does.
    async fn letter(&self, write: WriteId) -> Result<(&Shard, DeadLetterRow), OperationError> {
        let mut missing = OperationError::NotFound;
        for shard in &self.ledger.shards {
            match read(shard, async |snapshot| snapshot.dead_letter(write).await).await {
                Ok(Some(row)) => return Ok((shard, row)),
                Ok(None) => {}
                Err(error) => missing = error,
            }
        }
        Err(missing)
    }

    /// What each shard has of something that is listed. One that cannot be read is left out: its own report says so, and the others' must not
    /// wait for it. If none can be read there is no list.
    async fn of_each<T>(&self, look: impl AsyncFn(&Shard, &mut Snapshot) -> Result<Vec<T>, StoreError>) -> Result<Vec<T>, OperationError> {
        let mut listed = Vec::new();
        let mut unread = Vec::new();
        for shard in &self.ledger.shards {
            match read(shard, async |snapshot| look(shard, snapshot).await).await {
                Ok(found) => listed.extend(found),
                Err(error) => unread.push(error),
            }
        }
        match unread.pop() {
            Some(error) if unread.len() + 1 == self.ledger.shards.len() => Err(error),
            _ => Ok(listed),
        }
    }

    async fn forget_letter(&self, shard: &Shard, letter: &DeadLetterRow) -> Result<(), OperationError> {
        let mut transaction = shard.store.begin().await.map_err(unreadable)?;
        transaction.dead_letter_delete(letter.write, letter.position).await.map_err(unreadable)?;
        transaction.commit().await.map_err(unreadable)
    }
}

impl Operations for Operator {
    fn unready(&self) -> Option<String> {
        if self.draining.load(Ordering::SeqCst) {
            return Some("the server is stopping".to_owned());
        }
        (!self.actors.are_alive() || !self.stream.is_alive()).then(|| "a part of the server has stopped".to_owned())
    }

    fn shard_of(&self, id: u64) -> String {
        let index = self.ledger.topology.load().place(PlacementKey::Id(id));
        self.ledger.shard(index).name.to_string()
    }

    fn metrics(&self) -> String {
        self.telemetry.render()
    }

    fn shards(&self) -> LocalBoxFuture<'_, Result<Vec<ShardReport>, OperationError>> {
        async move {
            let mut reports = Vec::new();
            for shard in &self.ledger.shards {
                let observation = self.observe(shard).await?;
                let letters = read(shard, async |snapshot| snapshot.dead_letters_count().await).await;
                reports.push(ShardReport {
                    index: shard.index.0,
                    name: shard.name.to_string(),
                    state: observation.down.unwrap_or_else(|| "serving".to_owned()),
                    pending: self.ledger.backlog.waiting_on(shard.index),
                    dead_letters: letters.unwrap_or_default(),
                    standbys: shard.standbys.reports().into_iter().map(standby_shown).collect(),
                });
            }
            Ok(reports)
        }
        .boxed_local()
    }

    fn lanes(&self) -> LocalBoxFuture<'_, Result<Vec<LaneReport>, OperationError>> {
        async move {
            let durable = self.ledger.journal.durable();
            let reports = async |shard: &Shard, snapshot: &mut Snapshot| {
                let report = |row: LaneRow| LaneReport {
                    shard: shard.name.to_string(),
                    lane: row.lane.0,
                    applied: row.applied.0,
                    relayed: row.relayed.0,
                    durable: durable.0,
                };
                Ok(snapshot.lanes().await?.into_iter().map(report).collect())
            };
            self.of_each(reports).await
        }
        .boxed_local()
    }

    fn workers(&self) -> LocalBoxFuture<'_, Result<Vec<WorkersReport>, OperationError>> {
        async move {
            let mut reports = Vec::new();
            for shard in &self.ledger.shards {
                let observation = self.observe(shard).await?;
                reports.push(WorkersReport {
                    shard: shard.name.to_string(),
                    adaptive: observation.adaptive,
                    limit: observation.limit as u32,
                    running: observation.in_flight as u32,
                    batch_latency_ms: observation.batch_latency_ms,
                });
            }
            Ok(reports)
        }
        .boxed_local()
    }

    fn set_workers(&self, setting: WorkersSetting) -> LocalBoxFuture<'_, Result<(), OperationError>> {
        async move {
            for supervisor in &self.actors.supervisors {
                let limiter = match setting {
                    WorkersSetting::Adaptive => Limiter::adaptive(self.bounds.0, self.bounds.1),
                    WorkersSetting::Fixed(workers) => Limiter::fixed(u16::try_from(workers).unwrap_or(u16::MAX)),
                };
                supervisor.try_ask(SetWorkers(limiter)).map_err(refused)?.await.map_err(gone)?;
            }
            Ok(())
        }
        .boxed_local()
    }

    fn journal(&self) -> LocalBoxFuture<'_, Result<JournalReport, OperationError>> {
        let journal = &self.ledger.journal;
        let (waiting_entries, waiting_bytes) = self.ledger.backlog.waiting();
        let report = JournalReport {
            id: journal.id().0.to_string(),
            first: journal.first().0,
            durable: journal.durable().0,
            waiting_entries,
            waiting_bytes,
            disk_bytes: journal.disk_bytes(),
            bytes_max: self.bytes_max,
        };
        async move { Ok(report) }.boxed_local()
    }

    fn plan(&self, wanted: Wanted) -> LocalBoxFuture<'_, Result<ShardPlan, OperationError>> {
        let topology = self.ledger.topology.load_full();
        let stores: Vec<Store> = self.ledger.shards.iter().map(|shard| shard.store.clone()).collect();
        let walk = async move { ShardPlan::count(&topology, &stores, &wanted).await };
        async move { self.planning.run(walk).await?.map_err(unreadable) }.boxed_local()
    }

    fn dead_letters(&self, after: Option<WriteId>, limit: usize) -> LocalBoxFuture<'_, Result<Vec<DeadLetter>, OperationError>> {
        async move {
            // The oldest of all are among the oldest of each.
            let page = async |shard: &Shard, snapshot: &mut Snapshot| {
                let rows = snapshot.dead_letters_page(after, limit as u64).await?;
                Ok(rows.iter().map(|row| shown(shard, row)).collect())
            };
            let mut letters: Vec<DeadLetter> = self.of_each(page).await?;
            letters.sort_by_key(|letter| letter.write);
            letters.truncate(limit);
            Ok(letters)
        }
        .boxed_local()
    }

    fn dead_letter(&self, write: WriteId) -> LocalBoxFuture<'_, Result<DeadLetter, OperationError>> {
        async move { self.letter(write).await.map(|(shard, row)| shown(shard, &row)) }.boxed_local()
    }

    fn retry(&self, write: WriteId) -> LocalBoxFuture<'_, Result<(), OperationError>> {
        async move {
            let _deciding = self.deciding.try_lock().map_err(|_busy| OperationError::Unavailable { retry_after_s: RETRY_AFTER_S })?;
            let (shard, row, entry) = self.letter_to_decide(write).await?;
            if self.is_discarded(&entry).await? {
                self.forget_letter(shard, &row).await?;
                return Err(OperationError::NotFound);
            }
            // Its letter goes in the transaction that applies it: no crash leaves one of a write that took effect.
            self.intake.append_again(entry).await.map_err(not_taken)?;
            Ok(())
        }
        .boxed_local()
    }

    fn discard(&self, write: WriteId) -> LocalBoxFuture<'_, Result<(), OperationError>> {
        async move {
            let _deciding = self.deciding.try_lock().map_err(|_busy| OperationError::Unavailable { retry_after_s: RETRY_AFTER_S })?;
            let (shard, row, entry) = self.letter_to_decide(write).await?;
            let kept = KeptWrite {
                write,
                kind: entry.command.kind(),
                resource: entry.command.resource(entry.author),
                key: entry.key.clone(),
                rejection: Some(Rejection::Discarded),
                // Later than what is kept for its key, also where the clock was set back.
                accepted_at: self.ledger.clock.now().max(entry.accepted_at + 1),
            };
            settlement::set_aside(&self.ledger, &entry);
            let authors = &self.ledger.shard_of(&Owner::User(entry.author)).store;
            let mut transaction = authors.begin().await.map_err(unreadable)?;
            transaction.rows_save(&Rows { kept_writes: vec![(entry.author, kept)], ..Rows::default() }).await.map_err(unreadable)?;
            transaction.commit().await.map_err(unreadable)?;
            self.forget_letter(shard, &row).await
        }
        .boxed_local()
    }
}

/// Looks into one shard's database, if it answers in time.
async fn read<T>(shard: &Shard, look: impl AsyncFn(&mut Snapshot) -> Result<T, StoreError>) -> Result<T, OperationError> {
    let looked = async {
        planted_outage(&shard.name)?;
        look(&mut shard.store.snapshot().await?).await
    };
    in_time(looked).await.map_err(unreadable)
}

fn shown(shard: &Shard, row: &DeadLetterRow) -> DeadLetter {
    let kind = Entry::decode(row.position, &row.entry).map_or("unreadable", |entry| entry.command.kind().as_str());
    DeadLetter {
        write: row.write,
        shard: shard.name.to_string(),
        lane: row.lane.0,
        position: row.position.0,
        kind,
        error: row.error.clone(),
        died_at: row.died_at,
    }
}

fn standby_shown(standby: standbys::StandbyReport) -> StandbyReport {
    let standbys::StandbyReport { address, answers, is_read, behind_bytes } = standby;
    let state = match (is_read, answers) {
        (true, _) => "read",
        (false, true) => "behind",
        (false, false) => "silent",
    };
    StandbyReport { address, state, behind_bytes }
}

fn unreadable(error: StoreError) -> OperationError {
    tracing::warn!(error = %crate::support::chain::Chain(&error), "an operator's call could not reach a shard");
    OperationError::Unavailable { retry_after_s: RETRY_AFTER_S }
}

fn refused(_: Refused) -> OperationError {
    OperationError::Unavailable { retry_after_s: RETRY_AFTER_S }
}

fn gone(_: Gone) -> OperationError {
    OperationError::Unavailable { retry_after_s: RETRY_AFTER_S }
}

fn not_taken(error: SubmitError) -> OperationError {
    match error {
        SubmitError::Overloaded { retry_after_s } | SubmitError::Unavailable { retry_after_s, .. } => {
            OperationError::Unavailable { retry_after_s }
        }
        error => internal(error),
    }
}

fn internal(error: impl std::error::Error + Send + Sync + 'static) -> OperationError {
    OperationError::Internal(Box::new(error))
}
