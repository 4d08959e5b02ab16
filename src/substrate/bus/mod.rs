//! The bus: what happened just now, for whoever has a socket open.
//!
//! Hints go in from the stages that saw something become visible; every [`Listener`] gets each of them that it is interested in, in the
//! order in which one publisher gave them. A hint may be lost and promises nothing: the rows are the truth. Full: a listener that does not keep up
//! loses hints and is told that it did, so that it looks at the rows itself; a publisher never waits.

mod interest;
mod local;

pub use interest::{Interest, Topic};
pub use local::LocalBus;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc;

use crate::vocabulary::entry::InboxLine;
use crate::vocabulary::ids::{CommentId, NotificationId, Position, PostId, SessionId, UserId};
use crate::vocabulary::progress::Settled;

/// What somebody may want to hear of at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hint {
    /// Entries of one cause stand in these inboxes, and may be shown.
    Inbox { line: Arc<InboxLine>, told: Vec<Told> },
    /// An unread entry was withdrawn.
    Withdrawn { user: UserId, seq: u64, unread: u64 },
    /// The user marked entries as read, on one of his devices.
    Read { user: UserId, up_to: u64, unread: u64 },
    /// The state of a write changed; for its author.
    Write(Settled),
    /// Sign-ins ended: their sockets must go.
    SessionsEnded { sessions: Vec<SessionId> },
    /// Something about a post became visible, by the write at this position.
    Post { post: PostId, position: Position, news: PostNews },
    /// Something was committed of which nobody knows any more whom it is about.
    Missed,
}

/// A place in somebody's inbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    pub user: UserId,
    pub seq: u64,
    pub id: NotificationId,
}

/// What watchers of a post hear of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PostNews {
    Edited,
    Deleted,
    CommentCreated(CommentId),
    CommentEdited(CommentId),
    CommentDeleted(CommentId),
    /// Its likes or comments are another number.
    Counts,
}

/// Where hints go.
pub trait Bus: Send + Sync {
    /// Tells all listeners that are interested. Never waits.
    fn publish(&self, hint: Hint);

    /// Hears from now on what `interest` wants; `hints_max` may wait.
    fn listen(&self, hints_max: usize, interest: Arc<Interest>) -> Listener;
}

/// One who listens.
#[derive(Debug)]
pub struct Listener {
    hints: mpsc::Receiver<Arc<Hint>>,
    lost: Arc<AtomicBool>,
}

/// What a listener hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    Hint(Arc<Hint>),
    /// Hints were lost since the last one heard: what matters must be read again.
    Lost,
}

impl Listener {
    /// The next hint; `None` when the bus is gone.
    pub async fn next(&mut self) -> Option<Heard> {
        // Before the hint: what was lost came before those that still wait, or between them.
        if self.lost.swap(false, Ordering::AcqRel) {
            return Some(Heard::Lost);
        }
        self.hints.recv().await.map(Heard::Hint)
    }
}
