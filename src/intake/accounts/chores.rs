//! Writes that follow from a sign-in and that nobody waits for: an account's back-off, a stronger hash, the end of a surplus session.
//!
//! They are done after the answer, so that its time tells nothing of the account; those of one shard one by one, so that a shard that decides
//! nothing keeps waiting only its own. Full: the chore is left out and logged; the limits still stand in memory, the hash is made stronger at
//! the next login, the session ends at the one after.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::join_all;
use tokio::sync::mpsc;

use super::DECIDE_WITHIN;
use super::seam::AccountLedger;
use crate::support::chain::Chain;
use crate::vocabulary::command::Command;
use crate::vocabulary::ids::UserId;
use crate::vocabulary::owner::ShardIndex;

/// Chores that wait for one shard. One takes a few milliseconds, and failures come at the pace of hashing.
const QUEUE_MAX: usize = 1024;

/// A command that nobody waits for.
struct Chore {
    author: UserId,
    command: Command,
}

pub(super) struct ChoreSender {
    ledger: Arc<dyn AccountLedger>,
    queues: HashMap<ShardIndex, mpsc::Sender<Chore>>,
}

/// The chores, for one task to run.
pub struct Chores(Vec<ShardChores>);

/// Those of one shard.
struct ShardChores {
    ledger: Arc<dyn AccountLedger>,
    waiting: mpsc::Receiver<Chore>,
}

pub(super) fn chores(ledger: Arc<dyn AccountLedger>) -> (ChoreSender, Chores) {
    let mut chores = Vec::new();
    let mut queues = HashMap::new();
    for shard in ledger.shards() {
        let (sender, waiting) = mpsc::channel(QUEUE_MAX);
        queues.insert(shard, sender);
        chores.push(ShardChores { ledger: Arc::clone(&ledger), waiting });
    }
    (ChoreSender { ledger, queues }, Chores(chores))
}

impl ChoreSender {
    pub(super) fn add(&self, author: UserId, command: Command) {
        let queue = self.queues.get(&self.ledger.shard_of(author));
        if queue.is_none_or(|queue| queue.try_send(Chore { author, command }).is_err()) {
            tracing::warn!(user.id = %author, "a chore of sign-in was left out: too many wait");
        }
    }
}

impl Chores {
    /// Does chores until sign-in itself is dropped.
    pub async fn run(self) {
        join_all(self.0.into_iter().map(ShardChores::run)).await;
    }

    /// Does those that wait now, one after another.
    #[cfg(test)]
    pub(super) async fn do_waiting(&mut self) {
        for shard in &mut self.0 {
            while !shard.waiting.is_empty() {
                assert!(shard.step().await);
            }
        }
    }

    /// Chores that wait now.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.0.iter().map(|shard| shard.waiting.len()).sum()
    }
}

impl ShardChores {
    async fn run(mut self) {
        while self.step().await {}
    }

    /// Waits for one chore and does it. `false`: there will be no more.
    async fn step(&mut self) -> bool {
        let Some(Chore { author, command }) = self.waiting.recv().await else { return false };
        fail::fail_point!("chores::panic");
        if let Err(error) = self.ledger.decide(author, command, false, DECIDE_WITHIN).await {
            tracing::warn!(user.id = %author, error = %Chain(&error), "a chore of sign-in was not done");
        }
        true
    }
}
