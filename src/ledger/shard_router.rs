//! The owner of the map: which shard holds what.
//!
//! Changes of the map come in as messages; a snapshot goes out that all readers share without asking. What the map is does not
//! change while the server runs in this release, so the one message asks for it.

use std::sync::Arc;

use actix::prelude::*;
use arc_swap::ArcSwap;

use super::topology::Topology;
use crate::support::mailbox::{Envelope, Order};

/// From an operator: what the map is now.
pub struct Describe;

impl Order for Describe {
    type Reply = Topology;
}

/// Owns the map and publishes it.
pub struct ShardRouter {
    map: Topology,
    published: Arc<ArcSwap<Topology>>,
}

impl ShardRouter {
    /// `published` is what readers look at.
    pub fn new(map: Topology, published: Arc<ArcSwap<Topology>>) -> Self {
        Self { map, published }
    }
}

impl Actor for ShardRouter {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Context<Self>) {
        fail::fail_point!("router::panic");
        self.published.store(Arc::new(self.map.clone()));
    }
}

impl Handler<Envelope<Describe>> for ShardRouter {
    type Result = ();

    fn handle(&mut self, envelope: Envelope<Describe>, _: &mut Context<Self>) {
        envelope.ticket.answer(self.map.clone());
    }
}
