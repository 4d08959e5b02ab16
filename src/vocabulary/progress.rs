//! Where a write is on its way, as its author may follow it.

use super::Millis;
use super::command::{Resource, WriteKind};
use super::ids::{UserId, WriteId};
use super::rejection::Rejection;

/// Where a write is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    Accepted,
    Committed { at: Millis },
    Visible { committed_at: Millis, at: Millis },
    Rejected { rejection: Rejection, at: Millis },
}

/// A write that was decided, as it can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settled {
    pub write: WriteId,
    pub author: UserId,
    pub kind: WriteKind,
    pub resource: Resource,
    pub accepted_at: Millis,
    pub progress: Progress,
}
