//! What a reader sees: objects with the reader's own pending writes laid over.

pub use crate::substrate::store::CommentOrder as Order;
use crate::substrate::store::{StoreError, StoreErrorKind};
use crate::support::chain::Chain;
use crate::support::error_kind::ErrorKind;
use crate::vocabulary::Millis;
use crate::vocabulary::command::SubscriptionMode;
use crate::vocabulary::ids::{CommentId, Position, PostId, UserId};
use crate::vocabulary::text::{Bio, CommentBody, DisplayName, PostBody, Username};

/// A user as he stands beside what he wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorCard {
    pub user: UserId,
    pub username: Username,
    pub display_name: DisplayName,
    pub bio: Option<Bio>,
    /// The position of the last change of the profile; a card only moves forward.
    pub revision: Position,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostView {
    pub post: PostId,
    /// The position of the last write shown, counters included.
    pub version: Position,
    /// The position of the last write that changed the text.
    pub revision: Position,
    pub author: AuthorCard,
    pub body: PostBody,
    pub edited_at: Option<Millis>,
    pub likes: u64,
    pub comments: u64,
    /// Only for a signed-in reader.
    pub viewer: Option<PostViewer>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PostViewer {
    pub liked: bool,
    pub subscription: SubscriptionMode,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommentView {
    pub comment: CommentId,
    pub post: PostId,
    pub parent: Option<CommentId>,
    pub revision: Position,
    pub author: AuthorCard,
    /// `None` once deleted (it keeps its place because it was answered).
    pub body: Option<CommentBody>,
    pub edited_at: Option<Millis>,
    pub likes: u64,
    /// Whether the reader likes it; only for a signed-in reader.
    pub liked: Option<bool>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserView {
    pub card: AuthorCard,
    pub followers: u64,
    pub following: u64,
    pub posts: u64,
    /// Only for a signed-in reader who is not this user.
    pub viewer: Option<UserViewer>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UserViewer {
    pub following: bool,
    pub followed_by: bool,
    pub blocking: bool,
    pub muting: bool,
}

/// A page of a list; `next` is the key to go on from, absent at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T, K> {
    pub items: Vec<T>,
    pub next: Option<K>,
}

/// How a request names a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserRef {
    Id(UserId),
    Name(Username),
}

/// Why an object cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    #[error("there is no such object for this reader")]
    NotFound,
    #[error("it was deleted")]
    Gone,
    #[error("the shard {shard} cannot be read")]
    Unavailable { shard: String },
    #[error("the read failed")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl ViewError {
    /// Seconds after which a shard that cannot be read is worth another try.
    pub const RETRY_AFTER_S: u64 = 2;

    /// What a reader is told of an inbox that could not be read; the log gets the cause.
    pub fn of_inbox(error: StoreError) -> Self {
        tracing::warn!(error = %Chain(&error), "an inbox could not be read");
        match error.kind() {
            StoreErrorKind::Unavailable => Self::Unavailable { shard: "of the inbox".to_owned() },
            _ => Self::Internal(Box::new(error)),
        }
    }

    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound => ErrorKind::NotFound,
            Self::Gone => ErrorKind::Gone,
            Self::Unavailable { .. } => ErrorKind::Unavailable { retry_after_s: Self::RETRY_AFTER_S },
            Self::Internal(_) => ErrorKind::Internal,
        }
    }
}
