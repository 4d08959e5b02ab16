//! What has to be done now and then: measuring the drain, folding metrics, forgetting what is past its time.

use std::sync::Arc;
use std::time::Duration;

use super::tasks::Tasks;
use crate::intake::Intake;
use crate::ledger::Ledger;
use crate::substrate::store::PURGE_ROWS_MAX;
use crate::support::auth::token::Tokens;
use crate::support::chain::Chain;
use crate::support::config::Auth;
use crate::support::telemetry::Telemetry;

/// How often something is done.
const TICK: Duration = Duration::from_secs(1);
/// Ticks between two rounds of forgetting.
const FORGET_EVERY: u64 = 600;
/// Ticks between two foldings of the metrics and roundings-up of the rate limits.
const TIDY_EVERY: u64 = 5;
/// Sessions that are over are kept for so long, in milliseconds: no token of theirs can be good any more.
const SESSIONS_KEPT_MS: u64 = 7 * 24 * 60 * 60 * 1000;

struct Housekeeper {
    ledger: Arc<Ledger>,
    /// How long after its last use a session is over, in milliseconds.
    refresh_ttl_ms: u64,
}

/// Starts the rounds; they end with the runtime.
pub(super) fn start(ledger: &Arc<Ledger>, intake: &Intake, auth: &Auth, tokens: Arc<Tokens>, telemetry: Arc<Telemetry>, tasks: &mut Tasks) {
    let refresh_ttl_ms = u64::try_from(auth.refresh_ttl.as_millis()).unwrap_or(u64::MAX);
    let keeper = Housekeeper { ledger: Arc::clone(ledger), refresh_ttl_ms };
    let intake = intake.clone();
    let clock = Arc::clone(&ledger.clock);
    // Apart from the rest, which must not wait for somebody else's server.
    tasks.start("reading the keys of issuers", async move {
        let mut ticks = tokio::time::interval(TICK * TIDY_EVERY as u32);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            tokens.issuers().refresh_due(clock.now()).await;
        }
    });
    tasks.start("housekeeping", async move {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        for round in 0_u64.. {
            ticks.tick().await;
            keeper.ledger.backlog.measure(keeper.ledger.clock.now());
            keeper.show();
            if round % TIDY_EVERY == 0 {
                telemetry.upkeep();
                intake.tidy();
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

    /// Takes away what is past its time, some rows at a time so that writes do not wait long.
    async fn forget(&self) {
        let now = self.ledger.clock.now();
        let ended_before = now.saturating_sub(SESSIONS_KEPT_MS);
        let unused_since = ended_before.saturating_sub(self.refresh_ttl_ms);
        for shard in &self.ledger.shards {
            loop {
                let forgotten = match shard.store.kept_writes_purge(now).await {
                    Ok(writes) => shard.store.sessions_purge(ended_before, unused_since).await.map(|sessions| writes.max(sessions)),
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
