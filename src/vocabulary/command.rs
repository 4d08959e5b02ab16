//! A write as a value: what somebody asked for, valid by construction, as it stands in the journal.
//!
//! The enums here are stored. New variants go to the end and fields are never taken away, so that a newer binary reads an
//! older journal.

use super::Millis;
use super::entry::ReadMark;
use super::ids::{CommentId, Position, PostId, SessionId, UserId, WriteId};
use super::owner::{NameKey, Owner};
use super::preferences::Preferences;
use super::relation::FollowNotify;
use super::text::{Bio, CommentBody, DisplayName, PostBody, Username};

/// How a person wants to hear of a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SubscriptionMode {
    Subscribed,
    Muted,
    Default,
}

/// What a write does. The author is in the [`Entry`].
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Command {
    CreatePost {
        post: PostId,
        body: PostBody,
    },
    /// `if_revision` is what `If-Match` named.
    EditPost {
        post: PostId,
        body: PostBody,
        if_revision: Option<Position>,
    },
    DeletePost {
        post: PostId,
        if_revision: Option<Position>,
    },
    SetPostLike {
        post: PostId,
        liked: bool,
    },
    SetSubscription {
        post: PostId,
        mode: SubscriptionMode,
    },
    CreateComment {
        post: PostId,
        comment: CommentId,
        parent: Option<CommentId>,
        body: CommentBody,
    },
    EditComment {
        post: PostId,
        comment: CommentId,
        body: CommentBody,
        if_revision: Option<Position>,
    },
    DeleteComment {
        post: PostId,
        comment: CommentId,
        if_revision: Option<Position>,
    },
    SetCommentLike {
        post: PostId,
        comment: CommentId,
        liked: bool,
    },
    /// `None` takes the follow back.
    SetFollow {
        followee: UserId,
        notify: Option<FollowNotify>,
    },
    SetBlock {
        other: UserId,
        blocking: bool,
    },
    SetMute {
        other: UserId,
        muting: bool,
    },
    /// The outer `Option` is "was it sent", the inner one of `bio` "is it cleared".
    EditProfile {
        display_name: Option<DisplayName>,
        bio: Option<Option<Bio>>,
    },
    /// Takes the name, makes the account and opens its first session.
    Register {
        username: Username,
        display_name: DisplayName,
        password_hash: String,
        session: NewSession,
    },
    /// Makes a user for a foreign issuer's subject.
    AdoptSubject {
        issuer: String,
        subject: String,
        display_name: DisplayName,
    },
    OpenSession {
        session: NewSession,
    },
    /// Uses up the refresh token of generation `from`; the time of the entry decides the grace.
    RotateSession {
        session: SessionId,
        from: u32,
    },
    EndSession {
        session: SessionId,
    },
    /// Sets a new password and ends all sessions but `keep`.
    ChangePassword {
        password_hash: String,
        keep: Option<SessionId>,
    },
    /// The same password under stronger parameters: ends nothing. Has no effect unless `replaces` is the hash that stands then:
    /// the password may have been changed since it was compared.
    RehashPassword {
        password_hash: String,
        replaces: String,
    },
    /// Too many failed logins: strangers wait until then. 0 clears it.
    BackOffLogin {
        until: Millis,
        failures: u32,
    },
    MarkRead {
        mark: ReadMark,
    },
    SetPreferences {
        preferences: Preferences,
    },
    /// As [`Command::EditProfile`], if the profile is still the one that `If-Match` named.
    EditProfileIf {
        revision: Position,
        display_name: Option<DisplayName>,
        bio: Option<Option<Bio>>,
    },
}

/// A session to open. Its refresh token is of generation 0.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct NewSession {
    pub session: SessionId,
    /// What the client calls itself, for the list of sessions; at most [`NewSession::DEVICE_CHARACTERS_MAX`].
    pub device: String,
    /// A keyed hash of the client's address, to know the device again; 0 if unknown.
    pub address_hash: u64,
}

impl NewSession {
    pub const DEVICE_CHARACTERS_MAX: usize = 200;
}

/// An idempotency key as its user sent it, with a digest of the command that came with it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct KeyUse {
    pub key: String,
    pub digest: [u8; 16],
}

/// One line of the journal. Its position is the record's, not part of the bytes.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Entry {
    #[serde(skip)]
    pub position: Position,
    pub write: WriteId,
    pub author: UserId,
    pub accepted_at: Millis,
    pub key: Option<KeyUse>,
    pub command: Command,
}

/// The bytes are not an entry: written by a newer release, or a fault of ours.
#[derive(Debug, thiserror::Error)]
#[error("could not read the journal entry at position {position}")]
pub struct EntryUnreadable {
    pub position: Position,
    #[source]
    source: postcard::Error,
}

impl Entry {
    /// The bytes that go into the journal.
    pub fn encode(&self) -> Result<Vec<u8>, postcard::Error> {
        postcard::to_stdvec(self)
    }

    /// The entry that the journal holds at `position`.
    pub fn decode(position: Position, bytes: &[u8]) -> Result<Self, EntryUnreadable> {
        let mut entry: Self = postcard::from_bytes(bytes).map_err(|source| EntryUnreadable { position, source })?;
        entry.position = position;
        Ok(entry)
    }

    /// The owner whose lane decides this write, and may reject it.
    pub fn home(&self) -> Owner {
        self.command.home(self.author)
    }
}

impl Command {
    /// The owner whose lane decides. A pair of users is decided by the side with the smaller id, so that it has one order.
    pub fn home(&self, author: UserId) -> Owner {
        match self {
            Self::CreatePost { post, .. }
            | Self::EditPost { post, .. }
            | Self::DeletePost { post, .. }
            | Self::SetPostLike { post, .. }
            | Self::SetSubscription { post, .. }
            | Self::CreateComment { post, .. }
            | Self::EditComment { post, .. }
            | Self::DeleteComment { post, .. }
            | Self::SetCommentLike { post, .. } => Owner::Post(*post),
            Self::SetFollow { followee: other, .. } | Self::SetBlock { other, .. } => Owner::User(author.min(*other)),
            Self::SetMute { .. } => Owner::User(author),
            Self::Register { username, .. } => Owner::Name(NameKey::of_username(username)),
            Self::AdoptSubject { issuer, subject, .. } => Owner::Name(NameKey::of_subject(issuer, subject)),
            Self::EditProfile { .. }
            | Self::EditProfileIf { .. }
            | Self::OpenSession { .. }
            | Self::RotateSession { .. }
            | Self::EndSession { .. }
            | Self::ChangePassword { .. }
            | Self::RehashPassword { .. }
            | Self::BackOffLogin { .. } => Owner::Account(author),
            Self::MarkRead { .. } | Self::SetPreferences { .. } => Owner::Inbox(author),
        }
    }

    /// The `kind` of the Write that clients see.
    pub fn kind(&self) -> WriteKind {
        match self {
            Self::CreatePost { .. } => WriteKind::PostCreate,
            Self::EditPost { .. } => WriteKind::PostEdit,
            Self::DeletePost { .. } => WriteKind::PostDelete,
            Self::SetPostLike { liked: true, .. } => WriteKind::LikeSet,
            Self::SetPostLike { liked: false, .. } => WriteKind::LikeUnset,
            Self::SetSubscription { .. } => WriteKind::SubscriptionSet,
            Self::CreateComment { .. } => WriteKind::CommentCreate,
            Self::EditComment { .. } => WriteKind::CommentEdit,
            Self::DeleteComment { .. } => WriteKind::CommentDelete,
            Self::SetCommentLike { liked: true, .. } => WriteKind::CommentLikeSet,
            Self::SetCommentLike { liked: false, .. } => WriteKind::CommentLikeUnset,
            Self::SetFollow { notify: Some(_), .. } => WriteKind::FollowSet,
            Self::SetFollow { notify: None, .. } => WriteKind::FollowUnset,
            Self::SetBlock { blocking: true, .. } => WriteKind::BlockSet,
            Self::SetBlock { blocking: false, .. } => WriteKind::BlockUnset,
            Self::SetMute { muting: true, .. } => WriteKind::MuteSet,
            Self::SetMute { muting: false, .. } => WriteKind::MuteUnset,
            Self::EditProfile { .. } | Self::EditProfileIf { .. } => WriteKind::ProfileEdit,
            Self::MarkRead { .. } => WriteKind::NotificationsRead,
            Self::SetPreferences { .. } => WriteKind::PreferencesSet,
            Self::Register { .. }
            | Self::AdoptSubject { .. }
            | Self::OpenSession { .. }
            | Self::RotateSession { .. }
            | Self::EndSession { .. }
            | Self::ChangePassword { .. }
            | Self::RehashPassword { .. }
            | Self::BackOffLogin { .. } => WriteKind::Account,
        }
    }

    /// The path of the object it is about, as clients see it.
    pub fn resource(&self, author: UserId) -> Resource {
        match self {
            Self::CreatePost { post, .. }
            | Self::EditPost { post, .. }
            | Self::DeletePost { post, .. }
            | Self::SetPostLike { post, .. }
            | Self::SetSubscription { post, .. } => Resource::Post(*post),
            Self::CreateComment { post, comment, .. }
            | Self::EditComment { post, comment, .. }
            | Self::DeleteComment { post, comment, .. }
            | Self::SetCommentLike { post, comment, .. } => Resource::Comment(*post, *comment),
            Self::SetFollow { followee: other, .. } | Self::SetBlock { other, .. } | Self::SetMute { other, .. } => Resource::User(*other),
            _ => Resource::User(author),
        }
    }
}

/// The object that a write is about. Displayed as its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum Resource {
    Post(PostId),
    Comment(PostId, CommentId),
    User(UserId),
}

impl std::fmt::Display for Resource {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Post(post) => write!(formatter, "/v1/posts/{post}"),
            Self::Comment(post, comment) => write!(formatter, "/v1/posts/{post}/comments/{comment}"),
            Self::User(user) => write!(formatter, "/v1/users/{user}"),
        }
    }
}

/// What clients see as the `kind` of a Write. Stored with kept writes: append only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum WriteKind {
    PostCreate,
    PostEdit,
    PostDelete,
    LikeSet,
    LikeUnset,
    SubscriptionSet,
    CommentCreate,
    CommentEdit,
    CommentDelete,
    CommentLikeSet,
    CommentLikeUnset,
    FollowSet,
    FollowUnset,
    BlockSet,
    BlockUnset,
    MuteSet,
    MuteUnset,
    ProfileEdit,
    /// Sign-in and sessions: never shown.
    Account,
    NotificationsRead,
    PreferencesSet,
}

impl WriteKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PostCreate => "post.create",
            Self::PostEdit => "post.edit",
            Self::PostDelete => "post.delete",
            Self::LikeSet => "like.set",
            Self::LikeUnset => "like.unset",
            Self::SubscriptionSet => "subscription.set",
            Self::CommentCreate => "comment.create",
            Self::CommentEdit => "comment.edit",
            Self::CommentDelete => "comment.delete",
            Self::CommentLikeSet => "comment_like.set",
            Self::CommentLikeUnset => "comment_like.unset",
            Self::FollowSet => "follow.set",
            Self::FollowUnset => "follow.unset",
            Self::BlockSet => "block.set",
            Self::BlockUnset => "block.unset",
            Self::MuteSet => "mute.set",
            Self::MuteUnset => "mute.unset",
            Self::ProfileEdit => "profile.edit",
            Self::Account => "account",
            Self::NotificationsRead => "notifications.read",
            Self::PreferencesSet => "preferences.set",
        }
    }
}
