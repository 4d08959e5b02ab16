//! What happened: the outcome of an entry on its home lane, as the lane's `events` row keeps it, and the rows it owes to
//! other owners (`Relay`).
//!
//! Stored: new variants go to the end.

use super::Millis;
use super::command::{KeyUse, NewSession, Resource, SubscriptionMode, WriteKind};
use super::ids::{CommentId, Position, PostId, SessionId, UserId, WriteId};
use super::owner::{NameKey, Owner};
use super::rejection::Rejection;
use super::relation::{FollowNotify, PairState};
use super::text::{DisplayName, Username};

/// One entry's outcome. Entries without any effect (a like that was set already) have none, unless they owe a relay.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Event {
    pub position: Position,
    pub write: WriteId,
    pub author: UserId,
    pub accepted_at: Millis,
    pub happened: Happened,
    /// Rows that belong to other owners. They cannot be rejected there.
    pub relays: Vec<Relay>,
}

/// What really changed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Happened {
    Nothing,
    PostCreated {
        post: PostId,
        mentions: Vec<Username>,
    },
    PostEdited {
        post: PostId,
        mentions: Vec<Username>,
    },
    PostDeleted {
        post: PostId,
    },
    PostLiked {
        post: PostId,
    },
    PostUnliked {
        post: PostId,
    },
    Subscribed {
        post: PostId,
        mode: SubscriptionMode,
    },
    CommentCreated {
        post: PostId,
        comment: CommentId,
        parent: Option<CommentId>,
        mentions: Vec<Username>,
    },
    CommentEdited {
        post: PostId,
        comment: CommentId,
        mentions: Vec<Username>,
    },
    CommentDeleted {
        post: PostId,
        comment: CommentId,
    },
    CommentLiked {
        post: PostId,
        comment: CommentId,
    },
    CommentUnliked {
        post: PostId,
        comment: CommentId,
    },
    Followed {
        followee: UserId,
    },
    Unfollowed {
        followee: UserId,
    },
    BlockSet {
        other: UserId,
        blocking: bool,
    },
    MuteSet {
        other: UserId,
        muting: bool,
    },
    ProfileEdited,
    NameTaken,
    SessionOpened {
        session: SessionId,
    },
    SessionRotated {
        session: SessionId,
    },
    SessionsEnded {
        sessions: Vec<SessionId>,
    },
    PasswordChanged {
        sessions: Vec<SessionId>,
    },
    LoginBackedOff,
    Rejected(Rejection),
    /// Set again after it had been taken back: counted as before, and nobody is told of it a second time.
    PostLikedAgain {
        post: PostId,
    },
    CommentLikedAgain {
        post: PostId,
        comment: CommentId,
    },
    FollowedAgain {
        followee: UserId,
    },
    /// A follow that stands has another bell; it is no news to the one followed.
    FollowBellSet {
        followee: UserId,
        notify: FollowNotify,
    },
    /// It could not be applied and is a dead letter: it changed nothing, and stays accepted until an operator decides.
    SetAside,
}

/// A row that another owner's lane is owed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Relay {
    /// To the author: a post for the index of his posts, or its end.
    AuthorPost { author: UserId, post: PostId, deleted: bool },
    /// To the side of the pair that did not decide: the state from that side.
    Pair { owner: UserId, other: UserId, state: PairState },
    /// To a new user: his account row, and the session that the registration opened.
    Account(Box<NewAccount>),
    /// To the name of a user who came by a foreign issuer: it is taken from now on.
    Name { name: NameKey, user: UserId },
    /// To the author: a write that must be remembered for 24 hours, for its key or its rejection.
    KeptWrite { author: UserId, kept: Box<KeptWrite> },
}

impl Relay {
    /// Whose row it is.
    pub fn owner(&self) -> Owner {
        match self {
            Self::AuthorPost { author, .. } | Self::KeptWrite { author, .. } => Owner::User(*author),
            Self::Pair { owner, .. } => Owner::User(*owner),
            Self::Account(account) => Owner::Account(account.user),
            Self::Name { name, .. } => Owner::Name(name.clone()),
        }
    }
}

/// An account row as a registration makes it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct NewAccount {
    pub user: UserId,
    pub username: Username,
    pub display_name: DisplayName,
    /// `None` for a user of a foreign issuer: he cannot log in here.
    pub password_hash: Option<String>,
    pub session: Option<NewSession>,
    pub opened_at: Millis,
}

/// What is remembered of a write after it left the journal.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct KeptWrite {
    pub write: WriteId,
    pub kind: WriteKind,
    pub resource: Resource,
    pub key: Option<KeyUse>,
    pub rejection: Option<Rejection>,
    pub accepted_at: Millis,
}

impl KeptWrite {
    /// How long it is remembered after its acceptance, in milliseconds.
    pub const KEPT_MS: u64 = 24 * 60 * 60 * 1000;
}

/// The events of one lane in one batch, as the bytes of an `events` row.
pub fn encode_events(events: &[Event]) -> Result<Vec<u8>, postcard::Error> {
    postcard::to_stdvec(events)
}

/// The inverse of [`encode_events`].
pub fn decode_events(bytes: &[u8]) -> Result<Vec<Event>, postcard::Error> {
    postcard::from_bytes(bytes)
}
