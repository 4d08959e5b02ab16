//! Where the server looks for a row: the shard of an id or a name, by the map in the data folder.
//!
//! It is the server's own map that answers. What was placed wrongly `sosik fsck` names, and every house that is filled from outside is
//! checked by it.

use std::path::{Path, PathBuf};

use sosik::ledger::topology::Topology;
use sosik::vocabulary::owner::{NameKey, Owner, PlacementKey};

use crate::Outcome;

/// The map of a data folder: one SQLite file a member.
#[derive(Debug, Clone)]
pub(crate) struct Placement {
    map: Topology,
    pub(crate) files: Vec<PathBuf>,
}

impl Placement {
    pub(crate) fn read(data: &Path) -> Outcome<Self> {
        let map: Topology = serde_json::from_slice(&std::fs::read(data.join("topology.json"))?)?;
        let files = map.members().iter().map(|name| data.join(format!("{name}.db"))).collect();
        Ok(Self { map, files })
    }

    /// The shard of an id.
    pub(crate) fn of_id(&self, id: u64) -> usize {
        self.of(PlacementKey::Id(id))
    }

    /// The shard of a name's key, like `name:bob`.
    pub(crate) fn of_name(&self, key: &str) -> usize {
        self.of(Owner::Name(NameKey::from_row(key.to_owned())).placement_key())
    }

    fn of(&self, key: PlacementKey) -> usize {
        usize::from(self.map.place(key).0)
    }
}
