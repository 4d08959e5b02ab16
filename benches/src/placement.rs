//! Where the server looks for a row: the shard of an id or a name, by the map in the data folder.
//!
//! The hashes are those of `vocabulary::owner`, which are fixed for all time. What was placed wrongly `sosik fsck` names, and every house
//! that is filled from outside is checked by it.

use std::path::{Path, PathBuf};

use crate::Outcome;

/// The map of a data folder: one SQLite file a member, directory slots.
#[derive(Debug, Clone)]
pub(crate) struct Placement {
    slots: Vec<usize>,
    pub(crate) files: Vec<PathBuf>,
}

impl Placement {
    pub(crate) fn read(data: &Path) -> Outcome<Self> {
        let text = std::fs::read_to_string(data.join("topology.json"))?;
        let map: serde_json::Value = serde_json::from_str(&text)?;
        let slots = map["placement"]["slots"].as_array().ok_or("not a map of slots")?;
        let slots = slots.iter().map(|slot| slot.as_u64().map(|slot| slot as usize)).collect::<Option<_>>().ok_or("not a slot")?;
        let members = map["members"].as_array().ok_or("no members")?;
        let file = |member: &serde_json::Value| member.as_str().map(|name| data.join(format!("{name}.db")));
        Ok(Self { slots, files: members.iter().map(file).collect::<Option<_>>().ok_or("a member without a name")? })
    }

    /// The shard of an id.
    pub(crate) fn of_id(&self, id: u64) -> usize {
        self.slots[mix(id) as usize % self.slots.len()]
    }

    /// The shard of a name's key, like `name:bob`.
    pub(crate) fn of_name(&self, key: &str) -> usize {
        let folded = key.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
        self.slots[mix(folded) as usize % self.slots.len()]
    }
}

fn mix(mut value: u64) -> u64 {
    value ^= value >> 33;
    value = value.wrapping_mul(0xff51_afd7_ed55_8ccd);
    value ^= value >> 33;
    value = value.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    value ^ (value >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_mixed_as_the_server_mixes_them() {
        assert_eq!(mix(42), 9_297_814_886_316_923_340);
    }
}
