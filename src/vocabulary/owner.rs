//! Owners and lanes: which one writer changes a row.
//!
//! Every row and every counter belongs to one owner; an owner's shard comes from the topology, its lane from a hash. A lane
//! is applied strictly in journal order, so no row ever has two writers.

use super::ids::{PostId, UserId};

/// Lanes of a shard that carry content: posts with all that hangs on them, and users' relations.
pub const CONTENT_LANES: u16 = 32;
/// Lanes of a shard that carry what a caller waits for: names, accounts, sessions, profiles. They are served first.
pub const ACCOUNT_LANES: u16 = 8;
/// Lanes of a shard that carry inboxes: read marks and preferences, for which a caller waits too. They are apart from the accounts', so that
/// no sign-in waits for a crowd that is being told.
pub const INBOX_LANES: u16 = 8;
/// All lanes of a shard; their numbers are 0 to this: content, accounts, inboxes.
pub const LANES: u16 = CONTENT_LANES + ACCOUNT_LANES + INBOX_LANES;

/// The number of a lane within its shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct Lane(pub u16);

impl Lane {
    /// Whether a caller waits for what this lane carries.
    pub fn is_urgent(self) -> bool {
        self.0 >= CONTENT_LANES
    }
}

/// The number of a shard: its place in the list of members.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct ShardIndex(pub u16);

/// One lane of one shard: where an entry is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneAddress {
    pub shard: ShardIndex,
    pub lane: Lane,
}

/// What owns rows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Owner {
    /// The post itself, its comments, likes and subscriptions.
    Post(PostId),
    /// A user's side of follows and blocks, his mutes, the index of his posts, what is kept of his writes.
    User(UserId),
    /// A user's account row, profile and sessions.
    Account(UserId),
    /// A name that may be taken once: a username, or a foreign issuer's subject.
    Name(NameKey),
    /// A user's inbox, what he read of it, and what he wants to hear of.
    Inbox(UserId),
}

/// What topology places by: an id (has a time in it, so it can be ranged over) or only a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlacementKey {
    Id(u64),
    Hash(u64),
}

impl Owner {
    /// What decides the owner's shard. `User`, `Account` and `Inbox` of one id always share a shard.
    pub fn placement_key(&self) -> PlacementKey {
        match self {
            Self::Post(post) => PlacementKey::Id(post.raw()),
            Self::User(user) | Self::Account(user) | Self::Inbox(user) => PlacementKey::Id(user.raw()),
            Self::Name(name) => PlacementKey::Hash(name.hash()),
        }
    }

    /// The owner's lane on its shard.
    pub fn lane(&self) -> Lane {
        let (hash, first, count) = match self {
            Self::Post(post) => (mix(post.raw()), 0, CONTENT_LANES),
            Self::User(user) => (mix(user.raw()), 0, CONTENT_LANES),
            Self::Account(user) => (mix(user.raw()), CONTENT_LANES, ACCOUNT_LANES),
            Self::Name(name) => (name.hash(), CONTENT_LANES, ACCOUNT_LANES),
            Self::Inbox(user) => (mix(user.raw()), CONTENT_LANES + ACCOUNT_LANES, INBOX_LANES),
        };
        // The high half: the low bits choose the directory slot, and lanes should not follow slots.
        Lane(first + ((hash >> 32) % u64::from(count)) as u16)
    }
}

/// A name that is given out once, in its canonical text: `name:bob`, or `subject:` with issuer and subject.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct NameKey(String);

impl NameKey {
    /// The key of a username.
    pub fn of_username(username: &super::text::Username) -> Self {
        Self(format!("name:{username}"))
    }

    /// The key of a foreign issuer's subject. A newline separates the two, which neither can hold.
    pub fn of_subject(issuer: &str, subject: &str) -> Self {
        Self(format!("subject:{issuer}\n{subject}"))
    }

    /// A key as a row gave it back.
    pub fn from_row(text: String) -> Self {
        Self(text)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// FNV-1a (<http://www.isthe.com/chongo/tech/comp/fnv/>) finished by [`mix`]: fixed for all time, since rows are placed by it.
    pub fn hash(&self) -> u64 {
        let folded =
            self.0.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
        mix(folded)
    }
}

/// The finaliser of MurmurHash3 (Austin Appleby, public domain): spreads ids, whose low bits hardly vary, over all 64 bits.
/// Fixed for all time, since rows are placed by it.
pub fn mix(mut value: u64) -> u64 {
    value ^= value >> 33;
    value = value.wrapping_mul(0xff51_afd7_ed55_8ccd);
    value ^= value >> 33;
    value = value.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    value ^ (value >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::text::Username;

    #[test]
    fn accounts_and_content_have_lanes_of_their_own() {
        for raw in 1..1000 {
            assert!(!Owner::Post(PostId::from_raw(raw)).lane().is_urgent());
            assert!(!Owner::User(UserId::from_raw(raw)).lane().is_urgent());
            assert!(Owner::Account(UserId::from_raw(raw)).lane().is_urgent());
            let (account, inbox) = (Owner::Account(UserId::from_raw(raw)).lane(), Owner::Inbox(UserId::from_raw(raw)).lane());
            assert!(inbox.is_urgent() && account < inbox && inbox.0 < LANES);
        }
    }

    #[test]
    fn placement_never_changes_between_releases() {
        // Rows on disk were placed by these numbers: a failure here means that data would no longer be found.
        assert_eq!(mix(42), 9_297_814_886_316_923_340);
        let name = NameKey::of_username(&Username::parse("bob").expect("a username"));
        assert_eq!(name.hash(), name.hash());
        assert_eq!(Owner::Post(PostId::from_raw(42)).lane(), Lane(((mix(42) >> 32) % 32) as u16));
    }
}
