//! What two users are to each other, seen from one side.

/// Whether a follower hears of new posts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum FollowNotify {
    /// Not said: told, unless the author has very many followers.
    Automatic,
    Always,
    Never,
}

/// The state of a pair from the owner's side. Either side's row can be turned into the other's with [`PairState::flipped`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct PairState {
    pub following: Option<Follow>,
    pub followed_by: Option<Follow>,
    pub blocking: bool,
    pub blocked_by: bool,
}

/// A follow that stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Follow {
    /// The journal position of the write that set it; orders the lists.
    pub since: super::ids::Position,
    pub notify: FollowNotify,
}

impl PairState {
    /// The same pair from the other side.
    #[must_use]
    pub fn flipped(self) -> Self {
        Self { following: self.followed_by, followed_by: self.following, blocking: self.blocked_by, blocked_by: self.blocking }
    }

    /// Whether one of the two has blocked the other.
    pub fn is_blocked(self) -> bool {
        self.blocking || self.blocked_by
    }
}
