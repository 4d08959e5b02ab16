//! An inbox line: what a person is told, and why. Kinds and groups as clients see them, and the numbers that the rows keep.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::Millis;
use super::ids::{CommentId, NotificationId, PostId, UserId};

/// Why somebody is told. Stored by [`NotificationKind::code`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NotificationKind {
    Post,
    Comment,
    Reply,
    Mention,
    Like,
    Follow,
}

impl NotificationKind {
    pub const ALL: [Self; 6] = [Self::Post, Self::Comment, Self::Reply, Self::Mention, Self::Like, Self::Follow];

    /// As clients see it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Post => "post",
            Self::Comment => "comment",
            Self::Reply => "reply",
            Self::Mention => "mention",
            Self::Like => "like",
            Self::Follow => "follow",
        }
    }

    /// Fixed for all time, since rows hold it.
    pub fn code(self) -> u8 {
        match self {
            Self::Post => 1,
            Self::Comment => 2,
            Self::Reply => 3,
            Self::Mention => 4,
            Self::Like => 5,
            Self::Follow => 6,
        }
    }

    /// The inverse of [`NotificationKind::code`].
    pub fn of_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }
}

/// Entries that a grouped page joins. As text: `like:post:123`, `post:user:7`, `follow`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct Group {
    pub kind: NotificationKind,
    pub target: Target,
}

/// What the entries of a group have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub enum Target {
    /// The recipient himself: those who follow him.
    Me,
    /// Posts by this user.
    User(UserId),
    Post(PostId),
    Comment(CommentId),
}

impl fmt::Display for Group {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.kind.as_str())?;
        match self.target {
            Target::Me => Ok(()),
            Target::User(user) => write!(formatter, ":user:{user}"),
            Target::Post(post) => write!(formatter, ":post:{post}"),
            Target::Comment(comment) => write!(formatter, ":comment:{comment}"),
        }
    }
}

/// The text is not the name of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a group: expected a text like like:post:123")]
pub struct NotAGroup;

impl FromStr for Group {
    type Err = NotAGroup;

    fn from_str(text: &str) -> Result<Self, NotAGroup> {
        let (kind, rest) = text.split_once(':').map_or((text, None), |(kind, rest)| (kind, Some(rest)));
        let kind = NotificationKind::ALL.into_iter().find(|known| known.as_str() == kind).ok_or(NotAGroup)?;
        let target = match rest.map(|rest| rest.split_once(':').ok_or(NotAGroup)).transpose()? {
            None => Target::Me,
            Some(("user", id)) => Target::User(id.parse().map_err(|_cause| NotAGroup)?),
            Some(("post", id)) => Target::Post(id.parse().map_err(|_cause| NotAGroup)?),
            Some(("comment", id)) => Target::Comment(id.parse().map_err(|_cause| NotAGroup)?),
            Some(_) => return Err(NotAGroup),
        };
        Ok(Self { kind, target })
    }
}

/// What an entry says, apart from whose it is: one value for all who are told of one cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboxLine {
    pub group: Group,
    /// Newest first, at most [`InboxLine::ACTORS_MAX`].
    pub actors: Vec<UserId>,
    /// How many different people it stands for.
    pub count: u32,
    pub post: Option<PostId>,
    pub comment: Option<CommentId>,
    pub created_at: Millis,
}

impl InboxLine {
    pub const ACTORS_MAX: usize = 3;

    pub fn kind(&self) -> NotificationKind {
        self.group.kind
    }
}

/// What is withdrawn from all inboxes together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum About {
    /// The post alone, and nothing of its comments.
    Post(PostId),
    /// Comments of one post.
    Comments(PostId, Arc<[CommentId]>),
}

/// What has become of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EntryState {
    Unread,
    Read,
    /// It keeps its place, and nothing of it is shown any more.
    Withdrawn,
}

/// One place of an inbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboxEntry {
    /// 1, 2, 3 … without a gap for each recipient.
    pub seq: u64,
    pub id: NotificationId,
    pub line: Arc<InboxLine>,
    pub state: EntryState,
}

/// Where an inbox stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InboxState {
    /// The number of the last entry; 0 if there was none yet.
    pub seq: u64,
    /// The first entry that is still kept; `seq + 1` if none is.
    pub min_seq: u64,
    pub unread: u64,
    /// All entries up to here were marked read together.
    pub read_up_to: u64,
}

impl InboxState {
    /// An inbox that nothing was put into yet.
    pub const EMPTY: Self = Self { seq: 0, min_seq: 1, unread: 0, read_up_to: 0 };
}

impl Default for InboxState {
    fn default() -> Self {
        Self::EMPTY
    }
}

/// Which entries somebody has read.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum ReadMark {
    /// All up to this `seq`.
    UpTo(u64),
    /// Those of these groups that are there when it takes effect; at most [`ReadMark::GROUPS_MAX`].
    Groups(Vec<Group>),
}

impl ReadMark {
    pub const GROUPS_MAX: usize = 100;
}

/// Names the life of an inbox: numbers of another epoch say nothing. As text: 16 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Epoch(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_named_by_its_kind_and_what_its_entries_share() {
        let post = PostId::from_raw(123);
        let cases = [
            (Group { kind: NotificationKind::Like, target: Target::Post(post) }, "like:post:123"),
            (Group { kind: NotificationKind::Like, target: Target::Comment(CommentId::from_raw(9)) }, "like:comment:9"),
            (Group { kind: NotificationKind::Post, target: Target::User(UserId::from_raw(7)) }, "post:user:7"),
            (Group { kind: NotificationKind::Follow, target: Target::Me }, "follow"),
        ];

        for (group, text) in cases {
            assert_eq!(group.to_string(), text);
            assert_eq!(text.parse::<Group>(), Ok(group));
        }
    }

    #[test]
    fn what_names_no_group_is_refused() {
        for text in ["", "like:", "like:post", "like:post:", "like:post:x", "like:page:1", "love:post:1", "like:post:1:2", ":post:1"] {
            assert_eq!(text.parse::<Group>(), Err(NotAGroup), "{text:?}");
        }
    }

    #[test]
    fn a_kind_comes_back_from_its_code() {
        for kind in NotificationKind::ALL {
            assert_eq!(NotificationKind::of_code(kind.code()), Some(kind));
        }
        assert_eq!(NotificationKind::of_code(0), None);
    }
}
