//! The desk of one destination: parcels of all dispatchers for one shard's inboxes, delivered together.
//!
//! Parcels come in from any number of sources, each in a basket; while one transaction is under way the next ones gather, and go into one
//! transaction. A basket that waits may still be filled further. Each source has a cursor of its own, so they need no order among each other.
//! What is committed is told to the bus when everybody who reads the shard sees it, in the order of the commits.
//! Where the processors are busy the desk rests after a transaction as long as it took: each carries more then, where many small ones would
//! cost several times as much, and what was accepted is applied before everybody has heard of what was applied before it.
//! Promise: each source hears how its own parcels fared; one that fails does not fail the others. Bound: one submission of each source.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Ground;
use super::book::{PARCEL_NOTICES_MAX, Parcel};
use super::delivery::{self, DeliveryError, Tools};
use super::unshown::Hiding;
use crate::substrate::bus::{Bus, Hint};
use crate::substrate::store::StoreError;
use crate::support::clock::Clock;
use crate::support::faults::planted;
use crate::support::lock::lock;
use crate::support::processors;
use crate::support::snowflake::IdMaker;
use crate::vocabulary::owner::ShardIndex;

/// Notices of one transaction, if it has more than one source's.
const NOTICES_MAX: usize = 2000;
/// The longest rest.
const REST_MAX: Duration = Duration::from_millis(5);

/// What one source brings to a desk, until the desk takes it. The default is one that was taken.
#[derive(Debug, Default)]
pub struct Basket(Mutex<Option<Vec<Parcel>>>);

impl Basket {
    pub fn of(parcels: Vec<Parcel>) -> Self {
        Self(Mutex::new(Some(parcels)))
    }

    /// Puts what is due now in the place of what was due before, if there is room for more and it was not taken.
    pub fn refill(&self, due: impl FnOnce() -> Vec<Parcel>) {
        if let Some(parcels) = lock(&self.0).as_mut()
            && notices_of(parcels) < PARCEL_NOTICES_MAX
        {
            *parcels = due();
        }
    }

    fn take_if(&self, fits: impl FnOnce(usize) -> bool) -> Option<Vec<Parcel>> {
        lock(&self.0).take_if(|parcels| fits(notices_of(parcels)))
    }
}

fn notices_of(parcels: &[Parcel]) -> usize {
    parcels.iter().map(|parcel| parcel.notices.len()).sum()
}

/// What the desk took of a source, and how it fared.
#[derive(Debug)]
pub struct Delivered {
    pub parcels: Vec<Parcel>,
    pub result: Result<(), DeliveryError>,
}

/// One source's basket, and where its answer goes.
struct Submission {
    basket: Arc<Basket>,
    answer: oneshot::Sender<Delivered>,
}

/// What was taken for one transaction.
struct Taken {
    parcels: Vec<Parcel>,
    answer: oneshot::Sender<Delivered>,
}

impl Taken {
    fn answer(self, result: Result<(), DeliveryError>) {
        let Self { parcels, answer } = self;
        // Whoever brought it may have stopped: it asks the destination how far it came.
        let _stopped = answer.send(Delivered { parcels, result });
    }
}

/// Where all dispatchers bring what is for one shard.
pub struct Desk {
    ground: Arc<dyn Ground>,
    shard: ShardIndex,
    ids: Arc<IdMaker>,
    bus: Arc<dyn Bus>,
    clock: Arc<dyn Clock>,
    waiting: Mutex<Vec<Submission>>,
    /// Whoever has the turn delivers for all who wait, but not before this moment.
    turn: tokio::sync::Mutex<Instant>,
    /// Windows were to be closed, and nobody knows whether they were: they may not be due again.
    unsure: AtomicBool,
}

impl Desk {
    pub fn new(ground: Arc<dyn Ground>, shard: ShardIndex, ids: Arc<IdMaker>, bus: Arc<dyn Bus>, clock: Arc<dyn Clock>) -> Self {
        let turn = tokio::sync::Mutex::new(Instant::now());
        Self { ground, shard, ids, bus, clock, waiting: Mutex::default(), turn, unsure: AtomicBool::new(false) }
    }

    /// Delivers what is in the basket of one source when its turn comes, with what others bring. `None`: whoever had the turn ended without an
    /// answer.
    pub async fn deliver(&self, basket: Arc<Basket>) -> Option<Delivered> {
        if planted("inbox::seq_outside") {
            // A planted fault needs somebody who delivers at the same time, as a process that should be dead would.
            let parcels = basket.take_if(|_| true)?;
            let result = self.try_deliver(&parcels.iter().collect::<Vec<_>>()).await;
            return Some(Delivered { parcels, result });
        }
        let (answer, mut answered) = oneshot::channel();
        lock(&self.waiting).push(Submission { basket, answer });
        let mut rested = self.turn.lock().await;
        loop {
            match answered.try_recv() {
                Ok(delivered) => return Some(delivered),
                Err(oneshot::error::TryRecvError::Closed) => return None,
                Err(oneshot::error::TryRecvError::Empty) => {
                    tokio::time::sleep_until(*rested).await;
                    let began = Instant::now();
                    self.deliver_next().await;
                    *rested = Instant::now() + began.elapsed().min(processors::patience(REST_MAX));
                }
            }
        }
    }

    /// One transaction for those who came first.
    async fn deliver_next(&self) {
        let together = self.take();
        let parcels: Vec<&Parcel> = together.iter().flat_map(|taken| &taken.parcels).collect();
        metrics::histogram!("sosik_delivery_sources").record(together.len() as f64);
        let result = self.try_deliver(&parcels).await;
        if together.len() > 1 && result.is_err() {
            // Each for itself: most often one source was not where it thought. A database that is down is not asked again for each.
            let mut is_down = result.is_err_and(|error| error.is_down());
            for taken in together {
                let parcels: Vec<&Parcel> = taken.parcels.iter().collect();
                let alone = if is_down { Err(DeliveryError::Down) } else { self.try_deliver(&parcels).await };
                is_down |= alone.as_ref().is_err_and(DeliveryError::is_down);
                taken.answer(alone);
            }
            return;
        }
        let mut result = Some(result);
        for taken in together {
            taken.answer(result.take().unwrap_or(Ok(())));
        }
    }

    async fn try_deliver(&self, parcels: &[&Parcel]) -> Result<(), DeliveryError> {
        let tools = self.tools();
        let delivered = delivery::deliver(self.ground.store(self.shard), &tools, parcels, self.clock.now()).await;
        if matches!(delivered, Err(DeliveryError::Store(StoreError::Fenced))) {
            // A commit succeeded although its answer did not come, and its hints went with it.
            self.tell_missed();
        }
        self.tell(tools, delivered)
    }

    /// Sockets look for themselves.
    fn tell_missed(&self) {
        // It only tells: there is nothing that could fail.
        let _told = self.tell(self.tools(), Ok(vec![Hint::Missed]));
    }

    /// Closes windows of the shard's inboxes that are due, if there are some.
    pub async fn close_windows(&self) -> Result<(), DeliveryError> {
        let (store, now) = (self.ground.store(self.shard), self.clock.now());
        let mut more = store.snapshot().await?.windows_are_due(now).await?;
        if self.unsure.swap(false, Ordering::AcqRel) {
            self.tell_missed();
        }
        while more {
            let tools = self.tools();
            let closed = delivery::close_windows(store, &tools, now).await;
            more = closed.as_ref().is_ok_and(|(_, more)| *more);
            self.unsure.store(matches!(closed, Err(DeliveryError::Store(_))), Ordering::Release);
            self.tell(tools, closed.map(|(hints, _)| hints))?;
        }
        Ok(())
    }

    fn tools(&self) -> Tools {
        let unshown = self.ground.unshown(self.shard).filter(|_| !planted("inbox::show_early"));
        Tools { ids: Arc::clone(&self.ids), hiding: unshown.map(Hiding::of) }
    }

    /// Tells what was committed, and shows it. Where nobody knows whether it was, it is shown when it would be seen.
    fn tell(&self, tools: Tools, delivered: Result<Vec<Hint>, DeliveryError>) -> Result<(), DeliveryError> {
        let (hints, result) = match delivered {
            Ok(hints) => (hints, Ok(())),
            Err(error) => (Vec::new(), Err(error)),
        };
        match tools.hiding {
            None => hints.into_iter().for_each(|hint| self.bus.publish(hint)),
            Some(hiding) => {
                let bus = Arc::clone(&self.bus);
                let told = move || {
                    hiding.show();
                    hints.into_iter().for_each(|hint| bus.publish(hint));
                };
                self.ground.when_seen(self.shard, Box::new(told));
            }
        }
        result
    }

    /// Those who came first, as many as fit; the first in any case.
    fn take(&self) -> Vec<Taken> {
        let mut waiting = lock(&self.waiting);
        let (mut notices, mut taken) = (0, Vec::new());
        for submission in &*waiting {
            let fits = |count| {
                notices += count;
                taken.is_empty() || notices <= NOTICES_MAX
            };
            let Some(parcels) = submission.basket.take_if(fits) else { break };
            taken.push(parcels);
        }
        let submissions = waiting.drain(..taken.len());
        submissions.zip(taken).map(|(Submission { answer, .. }, parcels)| Taken { parcels, answer }).collect()
    }
}
