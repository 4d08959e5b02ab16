//! What operators see and do, on the second listener. The layer lets only the admin role in.
//!
//! What there is to see is gathered by [`Operations`], which `app.rs` fills; here are the shapes.

mod handlers;
pub(super) use handlers::*;

use futures_util::future::LocalBoxFuture;

use crate::ledger::shard_plan::{ShardPlan, Wanted};
use crate::support::error_kind::ErrorKind;
use crate::vocabulary::Millis;
use crate::vocabulary::ids::WriteId;

/// One shard.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ShardReport {
    pub index: u16,
    pub name: String,
    /// `serving`, or why it is not.
    pub state: String,
    /// Entries that wait for it.
    pub pending: u64,
    pub dead_letters: u64,
    /// In the order of the configuration.
    pub standbys: Vec<StandbyReport>,
}

/// One standby of a shard.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct StandbyReport {
    pub address: String,
    /// `read`, `behind` (it answers, and is not read), or `silent`.
    pub state: &'static str,
    /// Bytes of the primary's log that it has not replayed.
    pub behind_bytes: u64,
}

/// One lane of one shard.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct LaneReport {
    pub shard: String,
    pub lane: u16,
    pub applied: u64,
    pub relayed: u64,
    /// The last position of the journal: entries between are this lane's or others'.
    pub durable: u64,
}

/// The workers of one shard.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct WorkersReport {
    pub shard: String,
    /// Whether the number is found by measuring.
    pub adaptive: bool,
    /// How many batches may run at once now.
    pub limit: u32,
    pub running: u32,
    pub batch_latency_ms: f64,
}

/// How many workers there shall be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkersSetting {
    Adaptive,
    Fixed(u32),
}

/// The journal.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct JournalReport {
    pub id: String,
    pub first: u64,
    pub durable: u64,
    pub waiting_entries: u64,
    pub waiting_bytes: u64,
    pub disk_bytes: u64,
    pub bytes_max: u64,
}

/// A write that could not be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    pub write: WriteId,
    pub shard: String,
    pub lane: u16,
    pub position: u64,
    pub kind: &'static str,
    pub error: String,
    pub died_at: Millis,
}

/// Why an operator's call was not done.
#[derive(Debug, thiserror::Error)]
pub enum OperationError {
    #[error("there is no such dead letter")]
    NotFound,
    #[error("the shard cannot be asked")]
    Unavailable { retry_after_s: u64 },
    #[error("another plan is being made, and there is one at a time")]
    Busy { retry_after_s: u64 },
    #[error("the call failed")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl OperationError {
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound => ErrorKind::NotFound,
            Self::Unavailable { retry_after_s } | Self::Busy { retry_after_s } => ErrorKind::Unavailable { retry_after_s: *retry_after_s },
            Self::Internal(_) => ErrorKind::Internal,
        }
    }
}

/// What the rest of the server tells and does for operators, and for the probes.
pub trait Operations: Send + Sync {
    /// Why requests should not come here now; `None` when they should. Called by every probe: it must not wait.
    fn unready(&self) -> Option<String>;
    /// The name of the shard where an object with this id lives, if it owns itself.
    fn shard_of(&self, id: u64) -> String;
    /// All metrics in the text format of Prometheus.
    fn metrics(&self) -> String;
    fn shards(&self) -> LocalBoxFuture<'_, Result<Vec<ShardReport>, OperationError>>;
    fn lanes(&self) -> LocalBoxFuture<'_, Result<Vec<LaneReport>, OperationError>>;
    fn workers(&self) -> LocalBoxFuture<'_, Result<Vec<WorkersReport>, OperationError>>;
    fn set_workers(&self, setting: WorkersSetting) -> LocalBoxFuture<'_, Result<(), OperationError>>;
    fn journal(&self) -> LocalBoxFuture<'_, Result<JournalReport, OperationError>>;
    /// Reads everything, which takes as long as there is much: [`OperationError::Busy`] while another plan is made. Dropped, it ends.
    fn plan(&self, wanted: Wanted) -> LocalBoxFuture<'_, Result<ShardPlan, OperationError>>;
    /// Those after `after`, oldest first.
    fn dead_letters(&self, after: Option<WriteId>, limit: usize) -> LocalBoxFuture<'_, Result<Vec<DeadLetter>, OperationError>>;
    fn dead_letter(&self, write: WriteId) -> LocalBoxFuture<'_, Result<DeadLetter, OperationError>>;
    /// Applies it anew: a new entry with the same ids.
    fn retry(&self, write: WriteId) -> LocalBoxFuture<'_, Result<(), OperationError>>;
    /// Rejects it for good.
    fn discard(&self, write: WriteId) -> LocalBoxFuture<'_, Result<(), OperationError>>;
}
