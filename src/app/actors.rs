//! The ledger's actors: started bottom-up, wired by bells, drained in the order of a write's way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix::prelude::*;
use tokio::runtime::Handle;

use super::tasks::Tasks;
use crate::ledger::limiter::Limiter;
use crate::ledger::recovery::Beginning;
use crate::ledger::relay_courier::{self, RelayCourier};
use crate::ledger::shard_reader::ShardReader;
use crate::ledger::shard_router::ShardRouter;
use crate::ledger::topology::Topology;
use crate::ledger::write_supervisor::{self, BatchBounds, WriteSupervisor};
use crate::ledger::{Ledger, Shard};
use crate::notify::notification_dispatcher::{self, DispatcherParts, NotificationDispatcher};
use crate::stream::desk::Desk;
use crate::substrate::store::rows::LaneRow;
use crate::support::config::{Config, Member, Workers};
use crate::support::faults::planted;
use crate::support::mailbox::Mailbox;
use crate::vocabulary::owner::ShardIndex;

/// Orders to a supervisor that wait: two deliveries from each courier of up to 30 shards, and an operator.
const SUPERVISOR_ORDERS_MAX: usize = 64;
/// Orders to a dispatcher, apart from bells: to drain.
const DISPATCHER_ORDERS_MAX: usize = 2;
/// Orders to the router: only operators ask it.
const ROUTER_ORDERS_MAX: usize = 8;
/// How soon it is noticed that an actor has stopped.
const LOOK_EVERY: Duration = Duration::from_millis(250);

#[derive(Clone)]
pub(super) struct Actors {
    pub(super) router: Mailbox<ShardRouter>,
    pub(super) supervisors: Vec<Mailbox<WriteSupervisor>>,
    couriers: Vec<Mailbox<RelayCourier>>,
    dispatchers: Vec<Mailbox<NotificationDispatcher>>,
    /// Of tasks, not of actors; without them a shard is written to and not read.
    readers: Vec<ShardReader>,
}

impl Actors {
    pub(super) fn start(
        ledger: &Arc<Ledger>,
        topology: Topology,
        config: &Config,
        runtime: &Handle,
        beginnings: Vec<Beginning>,
        lanes: &[Vec<LaneRow>],
        notify: &DispatcherParts,
    ) -> Self {
        let arbiter = Arbiter::new();
        let arbiter = arbiter.handle();
        let published = Arc::clone(&ledger.topology);
        let router = ShardRouter::start_in_arbiter(&arbiter, move |_| ShardRouter::new(topology, published));
        let router = Mailbox::new(router, "shard_router", ROUTER_ORDERS_MAX);

        let bounds = BatchBounds { rows: config.write.batch_rows as usize, bytes: config.write.batch_bytes as usize };
        let mut supervisors = Vec::new();
        let mut bells = Vec::new();
        let mut unsure = Vec::new();
        for (index, beginning) in beginnings.into_iter().enumerate() {
            let shard = ShardIndex(index as u16);
            let (ledger, runtime, limiter) = (Arc::clone(ledger), runtime.clone(), limiter(config));
            unsure.push(beginning.unsure);
            let supervisor = WriteSupervisor::start_in_arbiter(&arbiter, move |_| {
                WriteSupervisor::new(ledger, shard, runtime, bounds, limiter, beginning.lanes, beginning.cursor)
            });
            // A bell that waits is as good as two: it has a place of its own, so that orders never crowd it out.
            bells.push(Mailbox::new(supervisor.clone(), "write_supervisor_bell", 1));
            supervisors.push(Mailbox::new(supervisor, "write_supervisor", SUPERVISOR_ORDERS_MAX));
        }
        for (shard, bell) in ledger.shards.iter().zip(&bells) {
            let bell = bell.clone();
            shard.set_bell(Box::new(move || {
                let _rung_already = bell.try_tell(write_supervisor::Ring);
            }));
        }
        ledger.journal.set_bell(Arc::new(move |_| {
            for bell in &bells {
                let _rung_already = bell.try_tell(write_supervisor::Ring);
            }
        }));
        let couriers = ledger.shards.iter().zip(lanes).zip(unsure);
        let couriers = couriers.map(|((shard, lanes), unsure)| {
            let (ledger, runtime, supervisors, lanes) = (Arc::clone(ledger), runtime.clone(), supervisors.clone(), lanes.clone());
            let index = shard.index;
            let courier =
                RelayCourier::start_in_arbiter(&arbiter, move |_| RelayCourier::new(ledger, index, runtime, supervisors, &lanes, unsure));
            let mailbox = Mailbox::new(courier, "relay_courier", 1);
            let bell = mailbox.clone();
            shard.set_courier_bell(Box::new(move || {
                let _rung_already = bell.try_tell(relay_courier::Ring);
            }));
            mailbox
        });
        let couriers = couriers.collect();
        let dispatchers = ledger.shards.iter().zip(lanes).map(|(shard, lanes)| dispatcher(&arbiter, notify, shard, lanes)).collect();
        let readers = ledger.shards.iter().map(|shard| shard.reader.clone()).collect();
        Self { router, supervisors, couriers, dispatchers, readers }
    }

    /// Lets the batches in hand finish and starts no more; then the deliveries.
    pub(super) async fn drain(&self, patience: Duration) {
        let batches = self.supervisors.iter().map(|supervisor| async move {
            let drained = async {
                if let Ok(reply) = supervisor.ask_within(write_supervisor::Drain, patience).await {
                    let _gone = reply.await;
                }
            };
            if tokio::time::timeout(patience, drained).await.is_err() {
                tracing::warn!("a batch did not finish in time; it is applied after the next start");
            }
        });
        futures_util::future::join_all(batches).await;
        let deliveries = self.dispatchers.iter().map(|dispatcher| async move {
            let drained = async {
                if let Ok(reply) = dispatcher.ask_within(notification_dispatcher::Drain, patience).await {
                    let _gone = reply.await;
                }
            };
            if tokio::time::timeout(patience, drained).await.is_err() {
                tracing::warn!("a delivery did not finish in time; it is made after the next start");
            }
        });
        futures_util::future::join_all(deliveries).await;
    }

    /// Whether all of them run.
    pub(super) fn are_alive(&self) -> bool {
        let ledger =
            self.router.is_alive() && self.supervisors.iter().all(Mailbox::is_alive) && self.couriers.iter().all(Mailbox::is_alive);
        ledger && self.dispatchers.iter().all(Mailbox::is_alive) && self.readers.iter().all(ShardReader::is_alive)
    }
}

/// Ends the process when an actor has stopped unasked, or a task beside them has panicked: it would go on accepting what nobody applies, hold
/// sockets that nobody tells anything, or fill the journal, whose room nobody gives back. The next start replays it.
pub(super) async fn watch(actors: Actors, stream: Arc<Desk>, mut tasks: Tasks, draining: Arc<AtomicBool>) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        if draining.load(Ordering::SeqCst) {
            return;
        }
        let lost = if actors.are_alive() && stream.is_alive() { tasks.lost() } else { Some("an actor") };
        if let Some(part) = lost
            && !planted("app::skip_watch")
        {
            tracing::error!(
                part,
                "a part of the server has stopped unasked, and the process ends; start it again: what was accepted is replayed. \
                 If it ends again, the panic before this line is what to report"
            );
            std::process::abort();
        }
    }
}

/// Follows one shard, and is rung when something of it becomes visible.
fn dispatcher(arbiter: &ArbiterHandle, parts: &DispatcherParts, shard: &Shard, lanes: &[LaneRow]) -> Mailbox<NotificationDispatcher> {
    let (parts, index, lanes) = (parts.clone(), shard.index, lanes.to_vec());
    let dispatcher = NotificationDispatcher::start_in_arbiter(arbiter, move |_| NotificationDispatcher::new(parts, index, &lanes));
    let bell = Mailbox::new(dispatcher.clone(), "notification_dispatcher_bell", 1);
    shard.visible.set_bell(Box::new(move || {
        let _rung_already = bell.try_tell(notification_dispatcher::Ring);
    }));
    Mailbox::new(dispatcher, "notification_dispatcher", DISPATCHER_ORDERS_MAX)
}

fn limiter(config: &Config) -> Limiter {
    match config.write.workers {
        Workers::Adaptive => {
            let (least, most) = adaptive_bounds(config);
            Limiter::adaptive(least, most)
        }
        Workers::Fixed(workers) => Limiter::fixed(workers),
    }
}

/// The ends of the adaptive limit: batches without a connection would only wait for one.
pub(super) fn adaptive_bounds(config: &Config) -> (u16, u16) {
    let postgres = config.shards.members.first().is_some_and(Member::is_in_postgres);
    let most = if postgres { config.write.workers_max.min(config.postgres.batches_max()) } else { config.write.workers_max };
    (config.write.workers_min.min(most), most)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::config::PostgresUrl;

    #[test]
    fn a_search_for_the_best_number_of_batches_ends_where_the_connections_do() {
        let mut config = Config::default();
        (config.write.workers_min, config.write.workers_max) = (14, 64);
        config.postgres.writers = 16;
        assert_eq!(adaptive_bounds(&config), (14, 64), "files have no connections that could run out");

        let url = "postgres://sosik@db1/social_1";
        assert!(PostgresUrl::is_meant(url));
        for member in &mut config.shards.members {
            url.clone_into(&mut member.url);
        }
        assert_eq!(adaptive_bounds(&config), (12, 12));
    }
}
