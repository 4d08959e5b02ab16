//! The stream's hub, on a thread of its own, and the desk at which sockets find it.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;

use crate::stream::desk::{Above, Departures, Desk, Limits};
use crate::stream::stream_hub::{HINTS_MAX, ORDERS_MAX, SayGoodbye, StreamHub};
use crate::substrate::bus::{Bus, Interest};
use crate::support::clock::Clock;
use crate::support::config;
use crate::support::mailbox::Mailbox;

/// How long the hub may take to tell all sockets that the server stops.
const GOODBYE_PATIENCE: Duration = Duration::from_secs(5);

pub(super) struct Streams {
    pub(super) desk: Arc<Desk>,
    hub: Mailbox<StreamHub>,
}

impl Streams {
    /// To be started before anything publishes what a socket may want to hear.
    pub(super) fn start(above: Above, config: &config::Stream, bus: &dyn Bus, clock: &Arc<dyn Clock>) -> Self {
        let limits = Limits::of(config);
        let departures = Arc::new(Departures::default());
        let arbiter = Arbiter::new();
        let (above_hub, departed, interest) = (above.clone(), Arc::clone(&departures), Arc::new(Interest::default()));
        let listener = bus.listen(HINTS_MAX, Arc::clone(&interest));
        let hub = StreamHub::start_in_arbiter(&arbiter.handle(), move |_| StreamHub::new(above_hub, limits, departed, listener, interest));
        let bell = Mailbox::new(hub.clone(), "stream_hub_bell", 1);
        let hub = Mailbox::new(hub, "stream_hub", ORDERS_MAX);
        let desk = Arc::new(Desk::new(above, limits, Arc::clone(clock), hub.clone(), bell, departures));
        Self { desk, hub }
    }

    /// No new sockets from here on; those that are open are told when to come back, and close.
    pub(super) async fn say_goodbye(&self) {
        self.desk.close();
        let told = async {
            if let Ok(reply) = self.hub.ask_within(SayGoodbye, GOODBYE_PATIENCE).await {
                let _gone = reply.await;
            }
        };
        if tokio::time::timeout(GOODBYE_PATIENCE, told).await.is_err() {
            tracing::warn!("the sockets could not be told that the server stops");
        }
    }
}
