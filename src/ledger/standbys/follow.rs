//! The tasks that follow the standbys of one shard: one asks where commits are in the log, one asks each standby how far it is, and one alone
//! tells what came of it, so that it is told in order.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::future::join_all;

use super::line::{Group, Turn};
use super::{Ledger, Standbys};
use crate::substrate::store::{LogPosition, Standby, StoreError};
use crate::support::chain::Chain;
use crate::support::faults::planted;
use crate::support::lock::lock;
use crate::vocabulary::owner::ShardIndex;

/// How soon the standbys are asked again while something waits for them.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// And while nothing waits, for the metrics.
const LOOK_IDLE: Duration = Duration::from_secs(1);
/// The longest pause after looks that brought nothing.
const LOOK_LONGEST: Duration = Duration::from_millis(250);
/// What has waited this long stands for standbys that do not come: from then on the shard may fill only its share of the journal.
const HELD_BACK_AFTER: Duration = Duration::from_secs(5);

/// Follows the standbys of one shard: run it as a task, one for each that has some.
pub async fn follow(ledger: Arc<Ledger>, shard: ShardIndex) {
    let of_shard = Following { ledger: &ledger, shard, standbys: &ledger.shard(shard).standbys };
    let begun = of_shard.ask_log_end().await;
    lock(&of_shard.standbys.line).begin(begun);
    of_shard.standbys.seen_to.fetch_max(begun.0, Ordering::SeqCst);
    let each = (0..of_shard.standbys.followed.len()).map(|at| of_shard.follow_standby(at));
    futures_util::future::join3(of_shard.place_commits(begun), join_all(each), of_shard.settle()).await;
}

#[derive(Clone, Copy)]
struct Following<'ledger> {
    ledger: &'ledger Ledger,
    shard: ShardIndex,
    standbys: &'ledger Standbys,
}

impl Following<'_> {
    fn name(&self) -> &str {
        &self.ledger.shard(self.shard).name
    }

    /// Where the primary's log ends, as soon as it answers.
    async fn ask_log_end(self) -> LogPosition {
        loop {
            match self.ledger.shard(self.shard).store.log_position().await {
                Ok(position) => {
                    self.standbys.note_log_end(position);
                    return position;
                }
                Err(error) => {
                    tracing::debug!(shard = self.name(), error = %Chain(&error), "where the primary's log ends is not known");
                    self.show_wait();
                    tokio::time::sleep(LOOK_LONGEST).await;
                }
            }
        }
    }

    /// Asks the primary, again and again, where its log is after the commits of what is new.
    async fn place_commits(self, begun: LogPosition) {
        let mut before = begun;
        loop {
            let _idle = tokio::time::timeout(LOOK_IDLE, self.standbys.held.notified()).await;
            let fresh = lock(&self.standbys.line).take_fresh();
            if let Some(fresh) = fresh {
                let asked = self.ledger.shard(self.shard).store.log_position().await;
                match self.place(fresh, before, asked) {
                    Some(position) => {
                        before = position;
                        self.standbys.placed.notify_waiters();
                        self.standbys.moved.notify_one();
                    }
                    None => {
                        self.ask_log_end().await;
                        self.standbys.held.notify_one();
                    }
                }
            }
            self.show_wait();
            // What is committed meanwhile shares the next question.
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Says where the log was, if that is known. `before`: where it was the time before, which a planted fault takes for it.
    fn place(self, group: Group, before: LogPosition, asked: Result<LogPosition, StoreError>) -> Option<LogPosition> {
        let mut line = lock(&self.standbys.line);
        let Ok(position) = asked else {
            // It was committed all the same, and is placed when the primary answers again.
            line.give_back(group);
            return None;
        };
        self.standbys.note_log_end(position);
        line.place(if planted("standbys::place_early") { before } else { position }, group);
        Some(position)
    }

    /// Tells what everybody sees, and releases what is kept.
    async fn settle(self) {
        loop {
            self.standbys.moved.notified().await;
            let (news, seen) = {
                let mut line = lock(&self.standbys.line);
                (line.take_seen(), line.seen())
            };
            self.standbys.seen_to.fetch_max(seen.0, Ordering::SeqCst);
            for told in news {
                told(self.ledger);
            }
            let kept = lock(&self.standbys.line).take_kept();
            self.ledger.backlog.release(kept.positions);
            for waiter in kept.waiters {
                let _left = waiter.send(());
            }
        }
    }

    /// Asks one standby, as long as something waits, how far it is. Each by itself: one that hangs does not hold up another.
    async fn follow_standby(self, at: usize) {
        let (mut pause, mut silent) = (LOOK_EVERY, None);
        let mut known = None;
        loop {
            let standby = &self.standbys.followed[at].standby;
            let lag_max = self.standbys.lag_max;
            let asked = tokio::time::timeout(lag_max, standby.replayed()).await;
            let replayed = asked.unwrap_or(Err(StoreError::NoAnswer { waited: lag_max }));
            self.show(standby, &replayed, &mut silent);
            let replayed = replayed.ok();
            self.take(at, replayed).await;
            pause = if replayed == known { (pause * 2).min(LOOK_LONGEST) } else { LOOK_EVERY };
            known = replayed;
            // Heard from here on: what is placed between the look and the wait is not missed.
            let placed = self.standbys.placed.notified();
            if lock(&self.standbys.line).waits() {
                tokio::time::sleep(pause).await;
            } else {
                let _idle = tokio::time::timeout(if self.standbys.is_read(at) { LOOK_IDLE } else { LOOK_LONGEST }, placed).await;
            }
        }
    }

    /// What a look at a standby came to: whether it is read, and waited for.
    async fn take(self, at: usize, replayed: Option<LogPosition>) {
        let standby = &self.standbys.followed[at].standby;
        let turn = {
            let mut line = lock(&self.standbys.line);
            let turn = line.looked(at, replayed, self.standbys.lag_max, Instant::now());
            self.standbys.show_read(at, &line);
            turn
        };
        if let Some(replayed) = replayed {
            standby.note(replayed);
        }
        self.standbys.moved.notify_one();
        let (shard, address) = (self.name(), standby.address());
        match turn {
            // Of one that is silent the log tells already.
            Turn::Stays | Turn::Out(None) => {}
            Turn::In => tracing::info!(shard, standby = address, "the standby has all that was seen, and is read"),
            Turn::Out(Some(lag)) => {
                tracing::warn!(shard, standby = address, lag_ms = lag.as_millis() as u64, "a standby is too far behind, and is not read");
            }
            Turn::MayJoin => self.let_in(at, replayed).await,
        }
        let labels = [("shard", shard.to_owned()), ("standby", address.to_owned())];
        metrics::gauge!("sosik_standby_is_read", &labels).set(f64::from(u8::from(self.standbys.is_read(at))));
    }

    /// A standby that is close is waited for, if it can be read, and if readers are let in at all. One that started again has to come to where
    /// it was before.
    async fn let_in(self, at: usize, replayed: Option<LogPosition>) {
        let shard = self.ledger.shard(self.shard);
        let standby = &self.standbys.followed[at].standby;
        if !shard.reader.is_open() || replayed < Some(standby.known()) {
            return;
        }
        let tried = async { standby.reads().snapshot().await?.lanes().await };
        let tried = tokio::time::timeout(self.standbys.lag_max, tried).await;
        if let Ok(Err(error)) = &tried {
            tracing::debug!(shard = self.name(), standby = standby.address(), error = %Chain(error), "the standby cannot be read");
        }
        if !matches!(tried, Ok(Ok(_))) {
            return;
        }
        // Asked after readers were let in: what they may have seen lies before it.
        if let Ok(log_end) = shard.store.log_position().await {
            self.standbys.note_log_end(log_end);
            lock(&self.standbys.line).join(at, log_end);
        }
    }

    /// `silent`: why it did not answer the last time.
    fn show(self, standby: &Standby, replayed: &Result<LogPosition, StoreError>, silent: &mut Option<String>) {
        let (shard, address) = (self.name(), standby.address());
        let labels = [("shard", shard.to_owned()), ("standby", address.to_owned())];
        metrics::gauge!("sosik_standby_up", &labels).set(f64::from(u8::from(replayed.is_ok())));
        match replayed {
            Ok(replayed) => {
                let behind = self.standbys.log_end().0.saturating_sub(replayed.0);
                metrics::gauge!("sosik_standby_lag_bytes", &labels).set(behind as f64);
                if silent.take().is_some() {
                    tracing::info!(shard, standby = address, "the standby answers again");
                }
            }
            Err(error) => {
                let error = Chain(error).to_string();
                if silent.as_ref() != Some(&error) {
                    tracing::warn!(shard, standby = address, %error, "a standby does not answer, and is not read; the journal waits for one that does");
                }
                *silent = Some(error);
            }
        }
    }

    /// How long the oldest has waited for any of them; too long, and the shard is held back.
    fn show_wait(self) {
        let waited = lock(&self.standbys.line).unkept_for(Instant::now());
        metrics::gauge!("sosik_standby_wait_seconds", "shard" => self.name().to_owned()).set(waited.as_secs_f64());
        let (was, is) = (self.ledger.backlog.is_held_back(self.shard), waited >= HELD_BACK_AFTER);
        if was != is {
            self.ledger.backlog.set_held_back(self.shard, is);
            let shard = self.name();
            if is {
                tracing::warn!(
                    shard,
                    "no standby replays the shard; the journal keeps what was applied, up to the shard's share of its bound"
                );
            } else {
                tracing::info!(shard, "a standby has caught up with the shard");
            }
        }
    }
}
