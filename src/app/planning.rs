//! Plans for operators, one at a time, on the ledger's threads: a walk over everything goes in, what it found comes out.
//!
//! Full: who comes second is told when to come back. Who goes away, and a server that stops, ends the walk at the page in hand; the place is free
//! again when the walk has ended, and not before.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::api::admin::OperationError;

/// Each reads everything twice: a second one would only make both slower.
const PLANS_MAX: usize = 1;
/// When who comes second may try again. How long a walk takes, nobody knows before its end.
const RETRY_AFTER_S: u64 = 10;
/// How soon a plan hears that the server stops.
const LOOK_EVERY: Duration = Duration::from_millis(100);

pub(super) struct Planning {
    runtime: Handle,
    places: Arc<Semaphore>,
    draining: Arc<AtomicBool>,
}

impl Planning {
    pub(super) fn new(runtime: &Handle, draining: &Arc<AtomicBool>) -> Self {
        Self { runtime: runtime.clone(), places: Arc::new(Semaphore::new(PLANS_MAX)), draining: Arc::clone(draining) }
    }

    pub(super) async fn run<T: Send + 'static>(&self, walk: impl Future<Output = T> + Send + 'static) -> Result<T, OperationError> {
        let busy = OperationError::Busy { retry_after_s: RETRY_AFTER_S };
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else { return Err(busy) };
        let mut running = Running(self.runtime.spawn(async move {
            let _place = place;
            walk.await
        }));
        match select(&mut running.0, pin!(self.stopping())).await {
            Either::Left((Ok(found), _)) => Ok(found),
            Either::Left((Err(error), _)) => Err(OperationError::Internal(Box::new(error))),
            Either::Right(_) => Err(OperationError::Unavailable { retry_after_s: RETRY_AFTER_S }),
        }
    }

    async fn stopping(&self) {
        while !self.draining.load(Ordering::SeqCst) {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// A walk, as long as somebody waits for it.
struct Running<T>(JoinHandle<T>);

impl<T> Drop for Running<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn planning() -> Planning {
        Planning::new(&Handle::current(), &Arc::default())
    }

    #[tokio::test]
    async fn a_second_plan_is_refused_until_the_first_is_made() {
        let planning = planning();
        let (go_on, held) = tokio::sync::oneshot::channel();
        let mut first = pin!(planning.run(held));
        assert!(first.as_mut().now_or_never().is_none());

        let second = planning.run(std::future::ready(2)).await;
        assert!(matches!(second, Err(OperationError::Busy { retry_after_s: RETRY_AFTER_S })), "{second:?}");

        go_on.send(1).expect("it waits");
        assert_eq!(first.await.expect("it was made"), Ok(1));
        assert_eq!(planning.run(std::future::ready(3)).await.expect("the place is free"), 3);
    }

    #[tokio::test]
    async fn who_goes_away_ends_the_walk_and_frees_the_place() {
        let planning = planning();
        let (lives, mut ended) = tokio::sync::oneshot::channel::<()>();
        let walk = async move {
            let _lives = lives;
            std::future::pending::<()>().await;
        };
        assert!(planning.run(walk).now_or_never().is_none());

        assert!((&mut ended).await.is_err(), "the walk was dropped");
        let free = async {
            while planning.places.available_permits() == 0 {
                tokio::task::yield_now().await
            }
        };
        tokio::time::timeout(Duration::from_secs(30), free).await.expect("the place is free");
        planning.run(std::future::ready(())).await.expect("a plan");
    }

    #[tokio::test]
    async fn a_walk_that_panics_is_a_fault_and_frees_the_place() {
        let planning = planning();
        let walk = async { std::panic::resume_unwind(Box::new("planted")) };

        let failed: Result<(), OperationError> = planning.run(walk).await;

        assert!(matches!(failed, Err(OperationError::Internal(_))), "{failed:?}");
        planning.run(std::future::ready(())).await.expect("a plan");
    }

    #[tokio::test]
    async fn a_server_that_stops_waits_for_no_plan() {
        let planning = planning();
        planning.draining.store(true, Ordering::SeqCst);

        let ended = planning.run(std::future::pending::<()>()).await;

        assert!(matches!(ended, Err(OperationError::Unavailable { .. })), "{ended:?}");
    }
}
