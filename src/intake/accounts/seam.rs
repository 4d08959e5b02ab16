//! What sign-in needs of the stages below it: a decision for a command, and rows.

use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::substrate::store::rows::{Needs, Rows};
use crate::vocabulary::Millis;
use crate::vocabulary::command::Command;
use crate::vocabulary::ids::{Position, SessionId, UserId};
use crate::vocabulary::owner::{Owner, ShardIndex};
use crate::vocabulary::rejection::Rejection;

/// What the home lane said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It took effect, or had before; `at` is the time of its entry.
    Done {
        position: Position,
        at: Millis,
    },
    Rejected(Rejection),
}

/// No decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecideError {
    #[error("the journal takes no more writes now")]
    Overloaded { retry_after_s: u64 },
    #[error("the shard takes no writes now")]
    Unavailable { retry_after_s: u64 },
    /// The time was over after the journal write had begun.
    #[error("the write was not decided in time; it may still happen")]
    Indefinite,
}

/// The owner's shard cannot be read now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a shard cannot be read now")]
pub struct ShardUnavailable {
    pub retry_after_s: u64,
}

/// A session that has ended, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndedSession {
    pub session: SessionId,
    pub ended_at: Millis,
}

/// The ledger as sign-in sees it.
pub trait AccountLedger: Send + Sync {
    /// Journals a command on behalf of `author` and waits until it is decided and, if `until_visible`, all its rows are there. A
    /// caller who leaves does not take it back.
    fn decide(
        &self,
        author: UserId,
        command: Command,
        until_visible: bool,
        within: Duration,
    ) -> BoxFuture<'_, Result<Decision, DecideError>>;

    /// Committed rows of one owner's shard, from one snapshot, on the primary: what was decided before the call is there.
    fn rows(&self, owner: Owner, needs: Needs) -> BoxFuture<'_, Result<Rows, ShardUnavailable>>;

    /// Where a user's sessions live.
    fn shard_of(&self, user: UserId) -> ShardIndex;

    /// All shards that hold sessions.
    fn shards(&self) -> Vec<ShardIndex>;

    /// The sessions of one shard that ended at `since` or later.
    fn sessions_ended_since(&self, shard: ShardIndex, since: Millis) -> BoxFuture<'_, Result<Vec<EndedSession>, ShardUnavailable>>;
}
