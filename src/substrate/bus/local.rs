//! The bus of one process: a bounded queue for each listener.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

use arc_swap::ArcSwap;
use metrics::Counter;
use tokio::sync::mpsc::{self, error::TrySendError};

use super::{Bus, Hint, Interest, Listener};

/// Hints that were told to somebody. The metric's handle: looking it up costs more than counting.
static TOLD: LazyLock<Counter> = LazyLock::new(|| metrics::counter!("sosik_bus_hints_told_total"));

/// Tells the listeners of this process. Cheap without any.
#[derive(Debug, Default)]
pub struct LocalBus {
    /// Few, and hardly ever changed; read for each hint.
    ears: ArcSwap<Vec<Ear>>,
}

#[derive(Debug, Clone)]
struct Ear {
    hints: mpsc::Sender<Arc<Hint>>,
    interest: Arc<Interest>,
    lost: Arc<AtomicBool>,
}

impl Bus for LocalBus {
    fn publish(&self, hint: Hint) {
        let ears = self.ears.load();
        if !ears.iter().any(|ear| ear.hints.is_closed() || ear.interest.wants(&hint)) {
            return;
        }
        TOLD.increment(1);
        let hint = Arc::new(hint);
        let mut left = false;
        for ear in ears.iter().filter(|ear| ear.hints.is_closed() || ear.interest.wants(&hint)) {
            match ear.hints.try_send(Arc::clone(&hint)) {
                Ok(()) => {}
                Err(TrySendError::Full(_)) => {
                    ear.lost.store(true, Ordering::Release);
                    metrics::counter!("sosik_bus_hints_lost_total").increment(1);
                }
                Err(TrySendError::Closed(_)) => left = true,
            }
        }
        if left {
            self.ears.rcu(|ears| ears.iter().filter(|ear| !ear.hints.is_closed()).cloned().collect::<Vec<_>>());
        }
    }

    fn listen(&self, hints_max: usize, interest: Arc<Interest>) -> Listener {
        let (sender, hints) = mpsc::channel(hints_max);
        let lost = Arc::new(AtomicBool::new(false));
        let ear = Ear { hints: sender, interest, lost: Arc::clone(&lost) };
        self.ears.rcu(|ears| ears.iter().cloned().chain([ear.clone()]).collect::<Vec<_>>());
        Listener { hints, lost }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Heard, PostNews, Topic};
    use super::*;
    use crate::vocabulary::ids::{Position, PostId};

    fn hint(position: u64) -> Hint {
        Hint::Post { post: PostId::from_raw(1), position: Position(position), news: PostNews::Counts }
    }

    /// Interested in the post that the hints are about.
    fn curious() -> Arc<Interest> {
        let interest = Arc::new(Interest::default());
        interest.enter(Topic::Post(PostId::from_raw(1)));
        interest
    }

    async fn position(listener: &mut Listener) -> Option<u64> {
        match listener.next().await {
            Some(Heard::Hint(hint)) => match *hint {
                Hint::Post { position, .. } => Some(position.0),
                _ => None,
            },
            _ => None,
        }
    }

    #[tokio::test]
    async fn every_listener_hears_every_hint_in_order() {
        let bus = LocalBus::default();
        let (mut one, mut other) = (bus.listen(8, curious()), bus.listen(8, curious()));

        (1..=3).for_each(|position| bus.publish(hint(position)));

        for listener in [&mut one, &mut other] {
            for expected in 1..=3 {
                assert_eq!(position(listener).await, Some(expected));
            }
        }
    }

    #[tokio::test]
    async fn a_listener_that_does_not_keep_up_is_told_that_it_lost_hints_and_slows_nobody() {
        let bus = LocalBus::default();
        let (mut slow, mut quick) = (bus.listen(2, curious()), bus.listen(8, curious()));

        (1..=5).for_each(|position| bus.publish(hint(position)));

        assert_eq!(slow.next().await, Some(Heard::Lost));
        assert_eq!((position(&mut slow).await, position(&mut slow).await), (Some(1), Some(2)));
        bus.publish(hint(6));
        assert_eq!(position(&mut slow).await, Some(6));
        for expected in 1..=6 {
            assert_eq!(position(&mut quick).await, Some(expected));
        }
    }

    #[tokio::test]
    async fn a_listener_that_left_is_forgotten() {
        let bus = LocalBus::default();
        drop(bus.listen(1, curious()));

        bus.publish(hint(1));

        assert!(bus.ears.load().is_empty());
    }
}
