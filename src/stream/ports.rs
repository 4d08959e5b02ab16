//! What the stream needs of the stages above it, as traits that they fill in: who somebody is, what stands in his inbox, and what
//! a post looks like to him. Objects come as JSON, so that they look the same on the stream as everywhere else.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::future::LocalBoxFuture;

use super::frame::Numbers;
use crate::vocabulary::Millis;
use crate::vocabulary::entry::InboxLine;
use crate::vocabulary::ids::{CommentId, NotificationId, Position, PostId, SessionId, UserId};
use crate::vocabulary::progress::Settled;

/// Who is signed in on a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signed {
    pub user: UserId,
    /// `None` for tokens of foreign issuers and of operators.
    pub session: Option<SessionId>,
    /// The end of the token.
    pub expires_at: Millis,
}

/// Why a token does not sign in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsigned {
    Refused,
    /// It may be good; what is needed to judge it cannot be read now.
    Unavailable,
}

/// Who may come in, and stay.
pub trait Door: Send + Sync {
    fn authenticate<'a>(&'a self, token: &'a str) -> LocalBoxFuture<'a, Result<Signed, Unsigned>>;
    /// Whether he is still signed in, as far as his session goes.
    fn is_signed_in(&self, signed: &Signed) -> bool;
}

/// An op that cannot be done: the name of a problem, and what a person reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub code: &'static str,
    pub detail: String,
}

/// Where an inbox stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    pub epoch: String,
    /// The number of the last entry; 0 if there is none.
    pub seq: u64,
    /// The lowest number that is still kept; one above `seq` if there is none.
    pub min_seq: u64,
    pub unread: u64,
}

/// A place of an inbox, with its entry as JSON; without one it was withdrawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub seq: u64,
    pub data: Option<String>,
}

/// What people who are told of one cause see of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedLine {
    /// What is alike for them, for [`Inboxes::entry`]; `None` if nothing is.
    pub json: Option<String>,
    /// Those who see something else: they read their entries themselves.
    pub apart: HashSet<UserId>,
}

/// The inboxes, as they stand in the databases.
pub trait Inboxes: Send + Sync {
    fn standing(&self, user: UserId) -> LocalBoxFuture<'_, Result<Standing, Refusal>>;
    /// The first entries above `seq`, in order, at most `limit` of them.
    fn after(&self, user: UserId, seq: u64, limit: usize) -> LocalBoxFuture<'_, Result<Vec<Entry>, Refusal>>;
    /// Marks everything up to a number as read.
    fn mark_read(&self, user: UserId, up_to: u64) -> LocalBoxFuture<'_, Result<(), Refusal>>;
    /// What those who are told of a line see of it.
    fn line<'a>(&'a self, line: &'a Arc<InboxLine>, told: &'a [UserId]) -> LocalBoxFuture<'a, Result<SharedLine, Refusal>>;
    /// The JSON of one person's new entry about that line.
    fn entry(&self, seq: u64, id: NotificationId, line: &str) -> String;
}

/// A post as somebody who starts to watch it sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    pub author: UserId,
    pub numbers: Numbers,
}

/// A post as everybody sees it now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    Numbers(Numbers),
    /// By the write at this position.
    Deleted(Position),
    /// Nobody but its author, if at all.
    Unseen,
}

/// What pages show.
pub trait Pages: Send + Sync {
    /// Whether this person may watch the post, and its numbers now.
    fn look(&self, viewer: UserId, post: PostId) -> LocalBoxFuture<'_, Result<Look, Refusal>>;
    /// Its numbers now, as everybody sees them.
    fn numbers(&self, post: PostId) -> LocalBoxFuture<'_, Result<Sight, Refusal>>;
    /// The post; `None` once there is nothing to be seen.
    fn post(&self, post: PostId) -> LocalBoxFuture<'_, Result<Option<String>, Refusal>>;
    /// The comment, also one that was deleted; `None` if its post is gone.
    fn comment(&self, post: PostId, comment: CommentId) -> LocalBoxFuture<'_, Result<Option<String>, Refusal>>;
    /// Which of these people may not see what the author wrote.
    fn hidden_from<'a>(&'a self, author: UserId, viewers: &'a [UserId]) -> LocalBoxFuture<'a, Result<HashSet<UserId>, Refusal>>;
    /// A write as its author may follow it; `None` for those that nobody follows.
    fn write(&self, settled: &Settled) -> Option<String>;
}
