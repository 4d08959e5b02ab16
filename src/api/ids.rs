//! What an id says by itself.

use serde::Serialize;

use super::call::{Answer, Call};
use super::reply;
use crate::support::timestamp::Timestamp;
use crate::vocabulary::ids::{IdParts, PostId};

#[derive(Serialize)]
struct IdBody {
    id: PostId,
    timestamp: Timestamp,
    datacenter: u8,
    worker: u8,
    sequence: u16,
    /// Where an object that owns itself lives.
    shard: String,
}

/// `GET /v1/ids/{id}`. Any id: of what kind of object it is, it does not say.
pub(super) async fn get_id(call: Call) -> Answer {
    let viewer = call.viewer()?;
    let id: PostId = call.id("id")?;
    let parts = IdParts::of(id.raw());
    let body = IdBody {
        id,
        timestamp: Timestamp(parts.timestamp_ms),
        datacenter: parts.datacenter,
        worker: parts.worker,
        sequence: parts.sequence,
        shard: call.services.operations.shard_of(id.raw()),
    };
    reply::data(&call, viewer, &body, None)
}
