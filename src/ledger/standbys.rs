//! What the standbys of one shard have replayed: the journal keeps an entry, and a source its events, until one of them could take over.
//!
//! What was committed goes in, after its commit; it comes out when one configured standby has replayed that commit. Many commits share one
//! question to the primary (where its log ends now) and one to each standby, beside the lanes and not in their way. Without standbys all
//! comes out at once. Full: nothing here is; what is held is counted in the [`super::backlog::Backlog`], and acceptance ends there.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::sync::{Notify, oneshot};

use super::Ledger;
use crate::substrate::store::{LogPosition, Standby, StoreError};
use crate::support::chain::Chain;
use crate::support::faults::planted;
use crate::support::lock::lock;
use crate::vocabulary::ids::Position;
use crate::vocabulary::owner::ShardIndex;

/// How soon the standbys are asked again while something waits for them.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// And while nothing waits, for the metrics.
const LOOK_IDLE: Duration = Duration::from_secs(1);
/// The longest pause after looks that brought nothing.
const LOOK_LONGEST: Duration = Duration::from_millis(250);
/// What has waited this long stands for standbys that do not come: from then on the shard may fill only its share of the journal.
const HELD_BACK_AFTER: Duration = Duration::from_secs(5);

/// The standbys of one shard; most shards have none.
#[derive(Default)]
pub struct Standbys {
    standbys: Vec<Standby>,
    held: Mutex<Held>,
    /// Rung when something is held, and when it is known where.
    bell: Notify,
    placed: Notify,
    /// Where the primary's log was when it was asked last.
    log_end: AtomicU64,
}

/// What waits, in the order of the commits.
#[derive(Default)]
struct Held {
    /// Committed, but it is not known yet where.
    fresh: Group,
    /// Committed before the log was there.
    placed: VecDeque<(LogPosition, Group)>,
}

#[derive(Default)]
struct Group {
    positions: Vec<Position>,
    waiters: Vec<oneshot::Sender<()>>,
    /// Since when the oldest of it waits.
    since: Option<Instant>,
}

impl Group {
    fn is_empty(&self) -> bool {
        self.positions.is_empty() && self.waiters.is_empty()
    }
}

impl Standbys {
    pub fn new(standbys: Vec<Standby>) -> Self {
        Self { standbys, ..Self::default() }
    }

    /// Whether anything is ever waited for.
    pub fn are_there(&self) -> bool {
        !self.standbys.is_empty()
    }

    /// Ends when a standby has replayed all that was committed before this call.
    pub async fn replayed(&self) {
        if !self.are_there() {
            return;
        }
        let (waiter, replayed) = oneshot::channel();
        self.hold(|group| group.waiters.push(waiter));
        if replayed.await.is_err() {
            // The task that looks is gone, and with it the server: nothing is said to be replayed any more.
            std::future::pending::<()>().await;
        }
    }

    /// The furthest that a standby's own copy of the shard says it is complete to; `None` without standbys.
    pub async fn complete_to(&self) -> Option<Position> {
        let asked = join_all(self.standbys.iter().map(Standby::complete_to)).await;
        self.are_there().then(|| asked.into_iter().flatten().max().unwrap_or_default())
    }

    fn hold(&self, add: impl FnOnce(&mut Group)) {
        let mut held = lock(&self.held);
        let fresh = &mut held.fresh;
        add(fresh);
        fresh.since.get_or_insert_with(Instant::now);
        drop(held);
        self.bell.notify_one();
    }

    pub async fn close(&self) -> Result<(), StoreError> {
        for standby in &self.standbys {
            standby.close().await?;
        }
        Ok(())
    }
}

/// Gives back the journal's entries of a shard that were applied by commits that have succeeded: at once, or when a standby has them too.
pub(super) fn release(ledger: &Ledger, shard: ShardIndex, applied: impl IntoIterator<Item = Position>) {
    let standbys = &ledger.shard(shard).standbys;
    if standbys.are_there() && !planted("standbys::skip_wait") {
        standbys.hold(|group| group.positions.extend(applied));
    } else {
        ledger.backlog.release(applied);
    }
}

/// Follows the standbys of one shard: run it as a task, one for each that has some.
pub async fn follow(ledger: Arc<Ledger>, shard: ShardIndex) {
    let of_shard = Following { ledger: &ledger, shard, standbys: &ledger.shard(shard).standbys };
    let each = of_shard.standbys.standbys.iter().map(|standby| of_shard.follow_standby(standby));
    futures_util::future::join(of_shard.place_commits(), join_all(each)).await;
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

    /// Asks the primary, again and again, where its log is after the commits of what is new.
    async fn place_commits(self) {
        loop {
            let _idle = tokio::time::timeout(LOOK_IDLE, self.standbys.bell.notified()).await;
            while let Err(error) = self.place().await {
                tracing::debug!(shard = self.name(), error = %Chain(&error), "where the primary's log ends is not known");
                self.show_wait();
                tokio::time::sleep(LOOK_LONGEST).await;
            }
            self.show_wait();
            // What is committed meanwhile shares the next question.
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn place(self) -> Result<(), StoreError> {
        let fresh = std::mem::take(&mut lock(&self.standbys.held).fresh);
        if fresh.is_empty() {
            return Ok(());
        }
        match self.ledger.shard(self.shard).store.log_position().await {
            Ok(position) => {
                let before = self.standbys.log_end.swap(position.0, Ordering::Relaxed);
                let position = if planted("standbys::place_early") { LogPosition(before) } else { position };
                lock(&self.standbys.held).placed.push_back((position, fresh));
                self.standbys.placed.notify_waiters();
                Ok(())
            }
            Err(error) => {
                // It was committed all the same, and is placed when the primary answers again.
                let mut held = lock(&self.standbys.held);
                let later = std::mem::replace(&mut held.fresh, fresh);
                held.fresh.positions.extend(later.positions);
                held.fresh.waiters.extend(later.waiters);
                Err(error)
            }
        }
    }

    /// Asks one standby, as long as something waits, how far it is. Each by itself: one that hangs does not hold up another.
    async fn follow_standby(self, standby: &Standby) {
        let (mut pause, mut silent) = (LOOK_EVERY, None);
        loop {
            let replayed = standby.replayed().await;
            self.show(standby, &replayed, &mut silent);
            let free = self.take(replayed.unwrap_or_default());
            pause = if free.is_empty() { (pause * 2).min(LOOK_LONGEST) } else { LOOK_EVERY };
            self.ledger.backlog.release(free.positions);
            for waiter in free.waiters {
                let _left = waiter.send(());
            }
            // Heard from here on: what is placed between the look and the wait is not missed.
            let placed = self.standbys.placed.notified();
            if lock(&self.standbys.held).placed.is_empty() {
                let _idle = tokio::time::timeout(LOOK_IDLE, placed).await;
            } else {
                tokio::time::sleep(pause).await;
            }
        }
    }

    /// What lies before `replayed` in the primary's log.
    fn take(self, replayed: LogPosition) -> Group {
        let mut free = Group::default();
        let mut held = lock(&self.standbys.held);
        while let Some((_, group)) = held.placed.pop_front_if(|(position, _)| *position <= replayed) {
            free.positions.extend(group.positions);
            free.waiters.extend(group.waiters);
        }
        free
    }

    /// `silent`: why it did not answer the last time.
    fn show(self, standby: &Standby, replayed: &Result<LogPosition, StoreError>, silent: &mut Option<String>) {
        let (shard, address) = (self.name(), standby.address());
        let labels = [("shard", shard.to_owned()), ("standby", address.to_owned())];
        metrics::gauge!("sosik_standby_up", &labels).set(f64::from(u8::from(replayed.is_ok())));
        match replayed {
            Ok(replayed) => {
                let log_end = self.standbys.log_end.load(Ordering::Relaxed);
                metrics::gauge!("sosik_standby_lag_bytes", &labels).set(log_end.saturating_sub(replayed.0) as f64);
                if silent.take().is_some() {
                    tracing::info!(shard, standby = address, "the standby answers again");
                }
            }
            Err(error) => {
                let error = Chain(error).to_string();
                if silent.as_ref() != Some(&error) {
                    tracing::warn!(shard, standby = address, %error, "a standby does not answer; the journal waits for one that does");
                }
                *silent = Some(error);
            }
        }
    }

    /// How long the oldest has waited; too long, and the shard is held back.
    fn show_wait(self) {
        let held = lock(&self.standbys.held);
        let oldest = held.placed.front().map_or(held.fresh.since, |(_, group)| group.since);
        drop(held);
        let waited = oldest.map_or(Duration::ZERO, |since| since.elapsed());
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
