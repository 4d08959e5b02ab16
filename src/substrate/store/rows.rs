//! Rows as plain values, what a caller needs of them, and what a batch adds to counters.
//!
//! [`Needs`] goes in, [`Rows`] comes out: the same value is what a batch saves. Nothing here knows SQL.

use std::collections::HashMap;

use crate::vocabulary::Millis;
use crate::vocabulary::command::SubscriptionMode;
use crate::vocabulary::entry::ReadMark;
use crate::vocabulary::event::KeptWrite;
use crate::vocabulary::ids::{CommentId, Position, PostId, SessionId, UserId, WriteId};
use crate::vocabulary::owner::{Lane, NameKey, ShardIndex};
use crate::vocabulary::preferences::Preferences;
use crate::vocabulary::relation::PairState;
use crate::vocabulary::text::{Bio, CommentBody, DisplayName, PostBody, Username};

/// A post. `revision` is the position of the last write that changed its text; a deleted one is a tombstone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostRow {
    pub post: PostId,
    pub author: UserId,
    /// Empty once deleted.
    pub body: PostBody,
    pub revision: Position,
    pub edited_at: Option<Millis>,
    pub deleted: bool,
}

/// A comment. `answered`: it has ever had a reply, so it keeps its place when it is deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommentRow {
    pub comment: CommentId,
    pub post: PostId,
    pub author: UserId,
    pub parent: Option<CommentId>,
    /// Empty once deleted.
    pub body: CommentBody,
    pub revision: Position,
    pub edited_at: Option<Millis>,
    pub deleted: bool,
    pub answered: bool,
}

/// A like of a post or of a comment: unset ones stay as tombstones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LikeRow {
    pub liked: bool,
    pub position: Position,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubscriptionRow {
    pub mode: SubscriptionMode,
    pub position: Position,
}

/// One side of a pair of users.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelationRow {
    pub state: PairState,
    /// The owner has followed the other before or does now, so that a follow set again is known as such.
    pub has_followed: bool,
    /// The same from the other side.
    pub was_followed: bool,
    pub position: Position,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MuteRow {
    pub muting: bool,
    pub position: Position,
}

/// The author's index of his posts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuthorPostRow {
    pub deleted: bool,
    pub position: Position,
}

/// The role of an account: operators have `Admin`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    User,
    Admin,
}

/// An account. `revision` is the position of the last write that changed the profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountRow {
    pub user: UserId,
    pub username: Username,
    pub display_name: DisplayName,
    pub bio: Option<Bio>,
    /// PHC string; `None` for users of foreign issuers.
    pub password_hash: Option<String>,
    /// Read, and never saved with the row: only [`super::Store::account_set_role`] changes it.
    pub role: Role,
    pub revision: Position,
    /// Failed logins that led to a back-off, and until when strangers wait.
    pub failed_logins: u32,
    pub backed_off_until: Millis,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRow {
    pub session: SessionId,
    pub user: UserId,
    pub device: String,
    pub address_hash: u64,
    pub opened_at: Millis,
    pub last_used_at: Millis,
    /// The generation of the refresh token that is good now, and when it came.
    pub generation: u32,
    pub rotated_at: Millis,
    pub ended_at: Option<Millis>,
    pub position: Position,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameRow {
    pub user: UserId,
    pub position: Position,
}

/// What somebody wants to hear of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreferencesRow {
    pub preferences: Preferences,
    pub position: Position,
}

/// `likes` and `comments` of a post; `position` is that of the last write that moved one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PostCounters {
    pub likes: i64,
    pub comments: i64,
    pub position: Position,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UserCounters {
    pub posts: i64,
    pub followers: i64,
    pub following: i64,
}

/// Which rows to load. Lists may hold a key twice and in any order; the store sorts and folds them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Needs {
    pub posts: Vec<PostId>,
    pub post_counters: Vec<PostId>,
    pub post_likes: Vec<(PostId, UserId)>,
    pub subscriptions: Vec<(PostId, UserId)>,
    pub comments: Vec<CommentId>,
    pub comment_counters: Vec<CommentId>,
    pub comment_likes: Vec<(CommentId, UserId)>,
    /// Owner, other.
    pub relations: Vec<(UserId, UserId)>,
    pub mutes: Vec<(UserId, UserId)>,
    pub author_posts: Vec<(UserId, PostId)>,
    pub user_counters: Vec<UserId>,
    pub accounts: Vec<UserId>,
    pub sessions: Vec<SessionId>,
    /// All sessions of these users that have not ended.
    pub sessions_of: Vec<UserId>,
    pub names: Vec<NameKey>,
    pub preferences: Vec<UserId>,
}

/// Rows by key. As an answer: those that exist. As a saving: those that changed, inserted or replaced as a whole where the
/// stored position is lower.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rows {
    pub posts: HashMap<PostId, PostRow>,
    pub post_likes: HashMap<(PostId, UserId), LikeRow>,
    pub subscriptions: HashMap<(PostId, UserId), SubscriptionRow>,
    pub comments: HashMap<CommentId, CommentRow>,
    pub comment_likes: HashMap<(CommentId, UserId), LikeRow>,
    pub relations: HashMap<(UserId, UserId), RelationRow>,
    pub mutes: HashMap<(UserId, UserId), MuteRow>,
    pub author_posts: HashMap<(UserId, PostId), AuthorPostRow>,
    pub accounts: HashMap<UserId, AccountRow>,
    pub sessions: HashMap<SessionId, SessionRow>,
    pub names: HashMap<NameKey, NameRow>,
    /// Only saved, never loaded through `Needs`; keyed by the author.
    pub kept_writes: Vec<(UserId, KeptWrite)>,
    pub preferences: HashMap<UserId, PreferencesRow>,
    /// Not saved with the rows, but by [`super::WriteTx::inbox_mark_read`], one after the other.
    pub read_marks: Vec<(UserId, ReadMark)>,
    pub counters: Counters,
}

/// Counters by key. Loaded: their values, absent ones are zero. Saved: what to add, except that `position` replaces a lower one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    pub posts: HashMap<PostId, PostCounters>,
    /// Likes of a comment.
    pub comments: HashMap<CommentId, i64>,
    pub users: HashMap<UserId, UserCounters>,
}

/// One lane as its shard keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneRow {
    pub lane: Lane,
    /// The position of the last entry that took effect, or was rejected.
    pub applied: Position,
    /// All relays of entries up to here have reached their owners.
    pub relayed: Position,
    /// All who should know of entries up to here were told.
    pub notified: Position,
}

/// How far a destination shard has been told by one lane of a source shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceLane {
    pub shard: ShardIndex,
    pub lane: Lane,
}

/// What a batch wrote for one lane: the events of its entries up to `position`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventsRow {
    pub lane: Lane,
    pub position: Position,
    /// [`crate::vocabulary::event::encode_events`].
    pub payload: Vec<u8>,
}

/// An entry that could not be applied, kept whole until an operator retries or discards it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetterRow {
    pub write: WriteId,
    pub lane: Lane,
    pub position: Position,
    /// The entry's bytes as the journal held them.
    pub entry: Vec<u8>,
    /// What went wrong, the error chain.
    pub error: String,
    pub died_at: Millis,
}
