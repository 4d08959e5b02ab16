//! What has to be done now and then: measuring the drain, giving back the journal's room, parking what waits for a stopped
//! shard, forgetting what is past its time.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinError;

use super::tasks::Tasks;
use crate::intake::Intake;
use crate::ledger::{Ledger, Shard};
use crate::substrate::journal::{ReadError, Record};
use crate::substrate::store::PURGE_ROWS_MAX;
use crate::support::auth::token::Tokens;
use crate::support::chain::Chain;
use crate::support::telemetry::Telemetry;
use crate::vocabulary::command::Entry;
use crate::vocabulary::ids::Position;

/// How often the journal is looked after.
const TICK: Duration = Duration::from_secs(1);
/// Ticks between two rounds of forgetting.
const FORGET_EVERY: u64 = 600;
/// Ticks between two foldings of the metrics and roundings-up of the rate limits.
const TIDY_EVERY: u64 = 5;
/// What is read of the journal at once for parking.
const PARK_READ_BYTES: usize = 4 << 20;
/// A stopped shard's entries are parked when the main segments fill this part of the bound.
const PARK_ABOVE_PART: u64 = 8;
/// Ended sessions are kept for so long, in milliseconds: no token of theirs can be good any more.
const SESSIONS_KEPT_MS: u64 = 7 * 24 * 60 * 60 * 1000;

struct Housekeeper {
    ledger: Arc<Ledger>,
    bytes_max: u64,
    /// For each shard, how far the main segments were searched for entries to park.
    searched: Vec<Position>,
}

/// Starts the rounds; they end with the runtime.
pub(super) fn start(
    ledger: &Arc<Ledger>,
    intake: &Intake,
    tokens: Arc<Tokens>,
    telemetry: Arc<Telemetry>,
    bytes_max: u64,
    tasks: &mut Tasks,
) {
    let mut keeper = Housekeeper { ledger: Arc::clone(ledger), bytes_max, searched: vec![Position::START; ledger.shards.len()] };
    let intake = intake.clone();
    tasks.start("housekeeping", async move {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        for round in 0_u64.. {
            ticks.tick().await;
            keeper.ledger.backlog.measure(keeper.ledger.clock.now());
            keeper.show();
            let looked_after = tokio::task::spawn_blocking(move || {
                keeper.look_after_journal();
                keeper
            });
            match looked_after.await.map_err(JoinError::try_into_panic) {
                Ok(back) => keeper = back,
                Err(Ok(panic)) => std::panic::resume_unwind(panic),
                // The runtime ends.
                Err(Err(_cancelled)) => return,
            }
            if round % TIDY_EVERY == 0 {
                telemetry.upkeep();
                intake.tidy();
                tokens.issuers().refresh_due(keeper.ledger.clock.now()).await;
            }
            if round % FORGET_EVERY == 0 {
                keeper.forget().await;
            }
        }
    });
}

impl Housekeeper {
    fn show(&self) {
        let (entries, bytes) = self.ledger.backlog.waiting();
        metrics::gauge!("sosik_journal_waiting_entries").set(entries as f64);
        metrics::gauge!("sosik_journal_waiting_bytes").set(bytes as f64);
        for shard in &self.ledger.shards {
            let waiting = self.ledger.backlog.waiting_on(shard.index);
            metrics::gauge!("sosik_shard_waiting_entries", "shard" => shard.name.to_string()).set(waiting as f64);
            let stopped = self.ledger.backlog.is_stopped(shard.index);
            metrics::gauge!("sosik_shard_stopped", "shard" => shard.name.to_string()).set(f64::from(u8::from(stopped)));
        }
    }

    fn look_after_journal(&mut self) {
        fail::fail_point!("housekeeping::panic");
        let ledger = Arc::clone(&self.ledger);
        for shard in &ledger.shards {
            let crowded = ledger.journal.disk_bytes() > self.bytes_max / PARK_ABOVE_PART;
            let looked_after = if ledger.backlog.is_stopped(shard.index) && crowded { self.park(shard) } else { Ok(()) };
            if let Err(error) = looked_after.and_then(|()| self.trim_parked(shard)) {
                tracing::error!(shard = %shard.name, error = %Chain(&error), "could not park entries");
            }
        }
        if let Err(error) = ledger.journal.trim(ledger.backlog.released_through()) {
            tracing::error!(error = %Chain(&error), "could not give back the journal's room");
        }
    }

    /// Copies what waits for a stopped shard out of the main segments.
    fn park(&mut self, shard: &Shard) -> Result<(), ReadError> {
        let at = usize::from(shard.index.0);
        let mut from = self.searched[at].next().max(self.ledger.journal.first());
        while from <= self.ledger.journal.durable() {
            let records = self.ledger.journal.read(from, PARK_READ_BYTES)?;
            let Some(last) = records.last().map(|record| record.position) else { break };
            let waiting: Vec<Record> = records.into_iter().filter(|record| self.waits_for(record, shard)).collect();
            self.ledger.journal.park(&shard.name, &waiting)?;
            self.ledger.backlog.park(waiting.iter().map(|record| record.position));
            self.searched[at] = last;
            from = last.next();
        }
        Ok(())
    }

    fn waits_for(&self, record: &Record, shard: &Shard) -> bool {
        self.ledger.backlog.is_waiting(record.position)
            && Entry::decode(record.position, &record.bytes).is_ok_and(|entry| self.ledger.index_of(&entry.home()) == shard.index)
    }

    fn trim_parked(&self, shard: &Shard) -> Result<(), ReadError> {
        let Some(through) = self.ledger.journal.parked_through(&shard.name)? else { return Ok(()) };
        let done = self.ledger.backlog.first_parked(shard.index).map_or(through, |first| Position(first.0 - 1));
        self.ledger.journal.trim_parked(&shard.name, done)
    }

    /// Takes away what is past its time, some rows at a time so that writes do not wait long.
    async fn forget(&self) {
        let now = self.ledger.clock.now();
        for shard in &self.ledger.shards {
            loop {
                let forgotten = match shard.store.kept_writes_purge(now).await {
                    Ok(writes) => {
                        shard.store.sessions_purge(now.saturating_sub(SESSIONS_KEPT_MS)).await.map(|sessions| writes.max(sessions))
                    }
                    Err(error) => Err(error),
                };
                match forgotten {
                    Ok(rows) if rows >= PURGE_ROWS_MAX => tokio::task::yield_now().await,
                    Ok(_) => break,
                    Err(error) => {
                        tracing::warn!(shard = %shard.name, error = %Chain(&error), "could not forget what is past its time");
                        break;
                    }
                }
            }
        }
    }
}
