//! Which shard an owner lives on. A pure value with a version: the same owner, the same topology, the same shard, on every node and for all time.
//!
//! Three strategies. `directory`: 1024 hash slots, each given to a member; a new member takes over slots, and only their owners move. `modulo`: the
//! hash modulo the number of members; no table, but nearly all owners move when the number changes. `range`: by id, which is by time; nothing
//! moves for a new member, but all new posts go to one of them. What was chosen stands in the data folder; a configuration that says something
//! else is refused, since the rows already lie where the old one put them.

mod change;
pub mod plan;
pub mod spread;

use std::io;
use std::path::{Path, PathBuf};

use crate::support::config::{Shards, Strategy};
use crate::support::data_folder::write_atomically;
use crate::vocabulary::owner::{LaneAddress, Owner, PlacementKey, ShardIndex, mix};

/// Slots of a directory: each holds under 0.1 % of the owners, so that members can be evened out finely, and the table stays small.
pub const SLOTS: usize = 1024;
/// Ids are 63 bits.
const ID_SPACE: u64 = 1 << 63;
const FORMAT: u32 = 1;
const FILE: &str = "topology.json";
const FILE_MODE: u32 = 0o600;

/// Why there is no topology to start with.
#[derive(Debug, thiserror::Error)]
pub enum TopologyError {
    #[error("could not {action} {}", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} is not a topology", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("{} is not a topology: {what}", path.display())]
    Invalid { path: PathBuf, what: &'static str },
    #[error(
        "the shards hold data placed by {stored}, but {key} says {configured}: moving data between shards is not part of this release; set it back"
    )]
    Changed { key: &'static str, stored: String, configured: String },
}

/// Who lives where.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topology {
    format: u32,
    /// Raised with every change of the map.
    version: u64,
    /// The names of the shards; a [`ShardIndex`] is a place in this list.
    members: Vec<String>,
    placement: Placement,
}

#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase", tag = "strategy", deny_unknown_fields)]
enum Placement {
    /// The member of each slot.
    Directory {
        slots: Vec<u16>,
    },
    Modulo,
    /// The lowest id of each member, rising from 0.
    Range {
        from: Vec<u64>,
    },
}

impl Topology {
    /// The topology that a configuration asks for. The configuration is checked: it has members, and ranges that rise from 0.
    pub fn of(shards: &Shards) -> Self {
        let count = shards.members.len().max(1);
        let placement = match shards.strategy {
            Strategy::Directory => Placement::Directory { slots: (0..SLOTS).map(|slot| (slot % count) as u16).collect() },
            Strategy::Modulo => Placement::Modulo,
            Strategy::Range => {
                let share = ID_SPACE / count as u64;
                let members = shards.members.iter().enumerate();
                Placement::Range { from: members.map(|(index, member)| member.from.unwrap_or(index as u64 * share)).collect() }
            }
        };
        Self { format: FORMAT, version: 1, members: shards.members.iter().map(|member| member.name.clone()).collect(), placement }
    }

    /// The topology in force: the stored one if the configuration agrees with it, or, the first time, the one it asks for, stored.
    pub fn open(folder: &Path, shards: &Shards) -> Result<Self, TopologyError> {
        let path = folder.join(FILE);
        let configured = Self::of(shards);
        if let Some(stored) = Self::read(&path)? {
            return stored.reconcile(&configured);
        }
        configured.write(&path)?;
        Ok(configured)
    }

    /// As [`Topology::open`], and nothing is stored: for who only reads.
    pub fn look(folder: &Path, shards: &Shards) -> Result<Self, TopologyError> {
        let configured = Self::of(shards);
        match Self::read(&folder.join(FILE))? {
            Some(stored) => stored.reconcile(&configured),
            None => Ok(configured),
        }
    }

    /// The stored topology, if the configured one places in the same way over the same members. A directory keeps its slots: they are not
    /// configured.
    pub fn reconcile(self, configured: &Self) -> Result<Self, TopologyError> {
        if self.strategy() != configured.strategy() {
            let (stored, configured) = (format!("{:?}", self.strategy()), format!("{:?}", configured.strategy()));
            return Err(TopologyError::Changed {
                key: "shards.strategy",
                stored: stored.to_lowercase(),
                configured: configured.to_lowercase(),
            });
        }
        if self.members != configured.members {
            let (stored, configured) = (self.members.join(", "), configured.members.join(", "));
            return Err(TopologyError::Changed { key: "shards.members", stored: format!("the members {stored}"), configured });
        }
        match (&self.placement, &configured.placement) {
            (Placement::Range { from: stored }, Placement::Range { from: configured }) if stored != configured => {
                let (stored, configured) = (format!("ranges from {stored:?}"), format!("{configured:?}"));
                Err(TopologyError::Changed { key: "shards.members.from", stored, configured })
            }
            _ => Ok(self),
        }
    }

    /// The shard of a key.
    pub fn place(&self, key: PlacementKey) -> ShardIndex {
        let count = self.members.len() as u64;
        // Ids are mixed first: their low bits are a sequence that is nearly always small. Hashes are mixed already.
        let hash = match key {
            PlacementKey::Id(id) => mix(id),
            PlacementKey::Hash(hash) => hash,
        };
        let index = match (&self.placement, key) {
            (Placement::Directory { slots }, _) => slots[hash as usize % SLOTS],
            (Placement::Range { from }, PlacementKey::Id(id)) => (from.partition_point(|from| *from <= id).max(1) - 1) as u16,
            // A name has no id and no time, so no range of ids can hold it: it goes by its hash, evenly, under both strategies.
            (Placement::Modulo, _) | (Placement::Range { .. }, PlacementKey::Hash(_)) => (hash % count) as u16,
        };
        ShardIndex(index)
    }

    /// The shard and the lane of an owner.
    pub fn address(&self, owner: &Owner) -> LaneAddress {
        LaneAddress { shard: self.place(owner.placement_key()), lane: owner.lane() }
    }

    pub fn version(&self) -> u64 {
        self.version
    }

    pub fn strategy(&self) -> Strategy {
        match self.placement {
            Placement::Directory { .. } => Strategy::Directory,
            Placement::Modulo => Strategy::Modulo,
            Placement::Range { .. } => Strategy::Range,
        }
    }

    /// The names of the shards, in the order of their indexes.
    pub fn members(&self) -> &[String] {
        &self.members
    }

    /// All shards.
    pub fn shards(&self) -> impl Iterator<Item = ShardIndex> + use<> {
        (0..self.members.len() as u16).map(ShardIndex)
    }

    fn read(path: &Path) -> Result<Option<Self>, TopologyError> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(TopologyError::Io { action: "read", path: path.to_owned(), source }),
        };
        let topology: Self =
            serde_json::from_slice(&bytes).map_err(|source| TopologyError::Unreadable { path: path.to_owned(), source })?;
        topology.check().map_err(|what| TopologyError::Invalid { path: path.to_owned(), what })?;
        Ok(Some(topology))
    }

    fn write(&self, path: &Path) -> Result<(), TopologyError> {
        let bytes = serde_json::to_vec(self).map_err(|source| TopologyError::Unreadable { path: path.to_owned(), source })?;
        write_atomically(path, &bytes, FILE_MODE).map_err(|source| TopologyError::Io { action: "write", path: path.to_owned(), source })
    }

    /// What placing relies on, for a value that came from a file.
    fn check(&self) -> Result<(), &'static str> {
        if self.format != FORMAT {
            return Err("its format is not 1: a newer release wrote it");
        }
        if self.members.is_empty() || self.members.len() > usize::from(u16::MAX) {
            return Err("it has no members, or too many");
        }
        match &self.placement {
            Placement::Directory { slots } if slots.len() != SLOTS => Err("it has not 1024 slots"),
            Placement::Directory { slots } if slots.iter().any(|member| usize::from(*member) >= self.members.len()) => {
                Err("a slot names a member that is not there")
            }
            Placement::Range { from } if from.len() != self.members.len() => Err("it has not one range a member"),
            Placement::Range { from } if from[0] != 0 || from.windows(2).any(|pair| pair[0] >= pair[1]) => {
                Err("its ranges do not rise from 0")
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
