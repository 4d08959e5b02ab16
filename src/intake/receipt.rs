//! What a client asks for, and what it is answered.

use std::time::Duration;

use super::admission::Quota;
use crate::ledger::view::Seen;
use crate::support::error_kind::ErrorKind;
use crate::vocabulary::Millis;
use crate::vocabulary::command::{Command, Resource, SubscriptionMode, WriteKind};
use crate::vocabulary::entry::ReadMark;
use crate::vocabulary::ids::{CommentId, Position, PostId, UserId, WriteId};
use crate::vocabulary::preferences::Preferences;
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
    EditProfile { display_name: Option<DisplayName>, bio: Option<Option<Bio>>, if_revision: Option<Position> },
    MarkRead { mark: ReadMark },
    SetPreferences { preferences: Preferences },
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

impl Wish {
    /// The command, with the id that a new object gets. A wish without a new object leaves it unused.
    pub(super) fn into_command(self, fresh: u64) -> Command {
        match self {
            Self::CreatePost { body } => Command::CreatePost { post: PostId::from_raw(fresh), body },
            Self::EditPost { post, body, if_revision } => Command::EditPost { post, body, if_revision },
            Self::DeletePost { post, if_revision } => Command::DeletePost { post, if_revision },
            Self::SetPostLike { post, liked } => Command::SetPostLike { post, liked },
            Self::SetSubscription { post, mode } => Command::SetSubscription { post, mode },
            Self::CreateComment { post, parent, body } => {
                Command::CreateComment { post, comment: CommentId::from_raw(fresh), parent, body }
            }
            Self::EditComment { post, comment, body, if_revision } => Command::EditComment { post, comment, body, if_revision },
            Self::DeleteComment { post, comment, if_revision } => Command::DeleteComment { post, comment, if_revision },
            Self::SetCommentLike { post, comment, liked } => Command::SetCommentLike { post, comment, liked },
            Self::SetFollow { followee, notify } => Command::SetFollow { followee, notify },
            Self::SetBlock { other, blocking } => Command::SetBlock { other, blocking },
            Self::SetMute { other, muting } => Command::SetMute { other, muting },
            Self::EditProfile { display_name, bio, if_revision: None } => Command::EditProfile { display_name, bio },
            Self::EditProfile { display_name, bio, if_revision: Some(revision) } => Command::EditProfileIf { revision, display_name, bio },
            Self::MarkRead { mark } => Command::MarkRead { mark },
            Self::SetPreferences { preferences } => Command::SetPreferences { preferences },
        }
    }

    /// The same without what `If-Match` named.
    pub(super) fn unconditional(mut self) -> Self {
        match &mut self {
            Self::EditPost { if_revision, .. }
            | Self::DeletePost { if_revision, .. }
            | Self::EditComment { if_revision, .. }
            | Self::DeleteComment { if_revision, .. }
            | Self::EditProfile { if_revision, .. } => *if_revision = None,
            _ => {}
        }
        self
    }

    /// Whether it makes an object that needs an id.
    pub(super) fn creates(&self) -> bool {
        matches!(self, Self::CreatePost { .. } | Self::CreateComment { .. })
    }

    /// The other user whom it is about.
    pub(super) fn other(&self) -> Option<UserId> {
        match self {
            Self::SetFollow { followee: other, .. } | Self::SetBlock { other, .. } | Self::SetMute { other, .. } => Some(*other),
            _ => None,
        }
    }
}
