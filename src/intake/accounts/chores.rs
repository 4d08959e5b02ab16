//! Writes that follow from a sign-in and that nobody waits for: an account's back-off, a stronger hash, the end of a surplus session.
//!
//! They are done after the answer, so that its time tells nothing of the account. Full: the chore is left out and logged; the limits
//! still stand in memory, the hash is made stronger at the next login, the session ends at the one after.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::DECIDE_WITHIN;
use super::seam::AccountLedger;
use crate::support::chain::Chain;
use crate::vocabulary::command::Command;
use crate::vocabulary::ids::UserId;

/// Chores that wait. One takes a few milliseconds, and failures come at the pace of hashing.
const QUEUE_MAX: usize = 1024;

/// A command that nobody waits for.
pub(super) struct Chore {
    pub(super) author: UserId,
    pub(super) command: Command,
}

pub(super) struct ChoreSender(mpsc::Sender<Chore>);

/// The chores, for one task to run.
pub struct Chores {
    ledger: Arc<dyn AccountLedger>,
    waiting: mpsc::Receiver<Chore>,
}

pub(super) fn chores(ledger: Arc<dyn AccountLedger>) -> (ChoreSender, Chores) {
    let (sender, waiting) = mpsc::channel(QUEUE_MAX);
    (ChoreSender(sender), Chores { ledger, waiting })
}

impl ChoreSender {
    pub(super) fn add(&self, author: UserId, command: Command) {
        if self.0.try_send(Chore { author, command }).is_err() {
            tracing::warn!(user.id = %author, "a chore of sign-in was left out: too many wait");
        }
    }
}

impl Chores {
    /// Does chores until sign-in itself is dropped.
    pub async fn run(mut self) {
        while self.step().await {}
    }

    /// Waits for one chore and does it. `false`: there will be no more.
    pub async fn step(&mut self) -> bool {
        let Some(Chore { author, command }) = self.waiting.recv().await else { return false };
        fail::fail_point!("chores::panic");
        if let Err(error) = self.ledger.decide(author, command, false, DECIDE_WITHIN).await {
            tracing::warn!(user.id = %author, error = %Chain(&error), "a chore of sign-in was not done");
        }
        true
    }

    /// Chores that wait now.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }
}
