//! What a worker does in one transaction.

use std::sync::Arc;

use crate::substrate::store::rows::SourceLane;
use crate::vocabulary::Millis;
use crate::vocabulary::command::Entry;
use crate::vocabulary::event::Relay;
use crate::vocabulary::ids::Position;
use crate::vocabulary::owner::Lane;

/// Entries of one lane, in order, to be applied from where the lane is known to be.
#[derive(Debug, Clone)]
pub struct LaneRun {
    pub lane: Lane,
    pub known: Position,
    pub entries: Vec<Arc<Entry>>,
}

impl LaneRun {
    /// Where the lane will be.
    pub fn last(&self) -> Position {
        self.entries.last().map_or(self.known, |entry| entry.position)
    }
}

/// Relayed rows from one lane of a source shard, in order.
#[derive(Debug, Clone)]
pub struct Parcel {
    pub source: SourceLane,
    pub known: Position,
    pub next: Position,
    pub relays: Vec<(Position, Relay)>,
}

/// One transaction's work.
#[derive(Debug, Clone)]
pub enum Job {
    /// Apply entries: rows, counters, events, and the lanes moved on.
    Batch(Vec<LaneRun>),
    /// Lay down rows that other lanes decided.
    Deliver(Vec<Parcel>),
    /// All relays of these lanes up to these positions have arrived: their event rows go.
    Relayed(Vec<(Lane, Position)>),
    /// Store an entry that cannot be applied as a dead letter, and move its lane past it.
    Bury { run: LaneRun, error: String, died_at: Millis },
}

impl Job {
    /// Entries or relayed rows in it, for the limiter and the metrics.
    pub fn rows(&self) -> usize {
        match self {
            Self::Batch(runs) => runs.iter().map(|run| run.entries.len()).sum(),
            Self::Deliver(parcels) => parcels.iter().map(|parcel| parcel.relays.len()).sum(),
            Self::Relayed(lanes) => lanes.len(),
            Self::Bury { .. } => 1,
        }
    }

    pub fn name(&self) -> &'static str {
        match self {
            Self::Batch(_) => "batch",
            Self::Deliver(_) => "deliver",
            Self::Relayed(_) => "relayed",
            Self::Bury { .. } => "bury",
        }
    }
}
