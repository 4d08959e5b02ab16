//! `sosik id`: what an id says.

use super::{CliError, say};
use crate::ledger::topology::Topology;
use crate::support::config::Config;
use crate::support::timestamp::Timestamp;
use crate::vocabulary::ids::{IdParts, PostId};
use crate::vocabulary::owner::PlacementKey;

/// Prints the same as `GET /v1/ids/{id}`. The shard is that of the configured members, stored map or not.
pub(super) fn print(config: &Config, text: &str) -> Result<(), CliError> {
    let id: PostId = text.parse().map_err(|error: crate::vocabulary::ids::NotAnId| CliError::Refused(error.to_string()))?;
    let parts = IdParts::of(id.raw());
    let topology = Topology::of(&config.shards);
    let shard = topology.place(PlacementKey::Id(id.raw()));
    let told = serde_json::json!({
        "id": id,
        "timestamp": Timestamp(parts.timestamp_ms),
        "datacenter": parts.datacenter,
        "worker": parts.worker,
        "sequence": parts.sequence,
        "shard": topology.members()[usize::from(shard.0)],
    });
    say(&told.to_string());
    Ok(())
}
