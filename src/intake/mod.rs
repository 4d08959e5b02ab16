//! Takes commands, answers with receipts. At most one receipt per key. Full: an error with the wait we expect.

pub mod accounts;

use std::time::Duration;

use crate::ledger::view::{CommentView, PostView, UserView};
use crate::support::error_kind::ErrorKind;
use crate::vocabulary::Millis;
use crate::vocabulary::command::{Resource, SubscriptionMode, WriteKind};
use crate::vocabulary::ids::{CommentId, Position, PostId, UserId, WriteId};
use crate::vocabulary::rejection::Rejection;
use crate::vocabulary::relation::FollowNotify;
use crate::vocabulary::text::{Bio, CommentBody, DisplayName, PostBody};

/// What a client asks for; ids of new objects are given by intake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    CreatePost { body: PostBody },
    EditPost { post: PostId, body: PostBody, if_revision: Option<Position> },
    DeletePost { post: PostId, if_revision: Option<Position> },
    SetPostLike { post: PostId, liked: bool },
    SetSubscription { post: PostId, mode: SubscriptionMode },
    CreateComment { post: PostId, parent: Option<CommentId>, body: CommentBody },
    EditComment { post: PostId, comment: CommentId, body: CommentBody, if_revision: Option<Position> },
    DeleteComment { post: PostId, comment: CommentId, if_revision: Option<Position> },
    SetCommentLike { post: PostId, comment: CommentId, liked: bool },
    SetFollow { followee: UserId, notify: Option<FollowNotify> },
    SetBlock { other: UserId, blocking: bool },
    SetMute { other: UserId, muting: bool },
    EditProfile { display_name: Option<DisplayName>, bio: Option<Option<Bio>> },
}

/// A wish with what came beside it.
#[derive(Debug, Clone)]
pub struct Submission {
    pub author: UserId,
    pub wish: Wish,
    /// `Idempotency-Key`, without the quotes of a structured-field string.
    pub key: Option<String>,
    /// How long to hold the answer until the write is visible; zero answers at acceptance.
    pub wait: Duration,
}

/// The state of a write, as its author may ask for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteStatus {
    pub write: WriteId,
    pub kind: WriteKind,
    pub resource: Resource,
    pub state: WriteState,
    pub accepted_at: Option<Millis>,
    pub committed_at: Option<Millis>,
    pub visible_at: Option<Millis>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteState {
    Accepted,
    Committed,
    Visible,
    Rejected(Rejection),
}

/// The answer to an accepted write.
#[derive(Debug, Clone)]
pub struct Receipt {
    pub status: WriteStatus,
    /// The resource as its author now sees it; `Nothing` when it was deleted or its shard cannot be read.
    pub seen: Seen,
    /// The answer of an earlier request with the same key.
    pub replayed: bool,
    pub position: Position,
}

#[derive(Debug, Clone)]
pub enum Seen {
    Nothing,
    Post(Box<PostView>),
    Comment(Box<CommentView>),
    User(Box<UserView>),
}

/// The rate limit that applied, for the `RateLimit` fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    pub limit: u32,
    pub remaining: u32,
    /// Seconds until it is whole again.
    pub reset_s: u64,
    pub window_s: u64,
}

/// Why a write was not accepted: all but `Indefinite` are definite.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    #[error("the write is refused: {0:?}")]
    Refused(Rejection),
    #[error("{field}: {detail}")]
    Invalid { field: &'static str, code: &'static str, detail: String },
    #[error("the queue is full")]
    Overloaded { retry_after_s: u64 },
    #[error("the shard {shard} has used up its share of the queue")]
    Unavailable { shard: String, retry_after_s: u64 },
    #[error("this user writes too fast")]
    TooFast { retry_after_s: u64, quota: Quota },
    #[error("the idempotency key was used with another body")]
    KeyReused,
    #[error("a request with this idempotency key is in flight")]
    KeyInUse,
    #[error("the outcome is not known")]
    Indefinite,
    #[error("the write could not be taken")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl SubmitError {
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Refused(rejection) => rejection_kind(*rejection),
            Self::Invalid { .. } => ErrorKind::Invalid,
            Self::Overloaded { retry_after_s } => ErrorKind::Overloaded { retry_after_s: *retry_after_s },
            Self::Unavailable { retry_after_s, .. } => ErrorKind::Unavailable { retry_after_s: *retry_after_s },
            Self::TooFast { retry_after_s, .. } => ErrorKind::TooManyRequests { retry_after_s: *retry_after_s },
            Self::KeyReused => ErrorKind::KeyReused,
            Self::KeyInUse => ErrorKind::KeyInUse,
            Self::Indefinite => ErrorKind::Indefinite,
            Self::Internal(_) => ErrorKind::Internal,
        }
    }
}

/// The kind that a rejection answers with.
pub fn rejection_kind(rejection: Rejection) -> ErrorKind {
    match rejection {
        Rejection::NotFound => ErrorKind::NotFound,
        Rejection::Gone => ErrorKind::Gone,
        Rejection::Forbidden => ErrorKind::Forbidden,
        Rejection::PreconditionFailed => ErrorKind::PreconditionFailed,
        Rejection::UsernameTaken => ErrorKind::UsernameTaken,
        Rejection::SubjectTaken | Rejection::Discarded => ErrorKind::Conflict,
        Rejection::SessionEnded => ErrorKind::Unauthenticated,
    }
}

/// Where writes come in. Cheap to clone.
#[derive(Clone)]
pub struct Intake;

#[expect(clippy::todo, clippy::unused_async, reason = "the signatures come before the bodies")]
impl Intake {
    /// Accepts a write: `Ok` once it is durable, or visible as the submission asks.
    pub async fn submit(&self, _submission: Submission) -> Result<Receipt, SubmitError> {
        todo!()
    }

    /// The state of one of the author's writes; `None` if it is not his or forgotten.
    pub async fn write_status(&self, _author: UserId, _write: WriteId) -> Result<Option<WriteStatus>, SubmitError> {
        todo!()
    }
}
