//! How fast one user may write.
//!
//! A user goes in; his quota, or the wait until it has room, comes out. Bounded by the users who wrote lately: see [`WriteRates::tidy`].

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota as Rate, RateLimiter};

use crate::support::config::Limits;
use crate::vocabulary::ids::UserId;

/// The window that rates are told in, in seconds.
const WINDOW_S: u64 = 60;

/// The rate limit that applied, for the `RateLimit` fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    pub limit: u32,
    pub remaining: u32,
    /// Seconds until it is whole again.
    pub reset_s: u64,
    pub window_s: u64,
}

/// A user is over his rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooFast {
    pub(super) retry_after_s: u64,
    pub(super) quota: Quota,
}

type Limiter = RateLimiter<UserId, DashMapStateStore<UserId>, DefaultClock, StateInformationMiddleware>;

/// The rates of all users; without limits there is nothing to keep.
pub(super) struct WriteRates(Option<(NonZeroU32, Limiter)>);

impl WriteRates {
    pub(super) fn new(limits: &Limits) -> Self {
        let per_minute = NonZeroU32::new(limits.writes_per_minute).filter(|_| limits.enabled);
        Self(per_minute.map(|rate| {
            let limiter = RateLimiter::dashmap(Rate::per_minute(rate)).with_middleware::<StateInformationMiddleware>();
            (rate, limiter)
        }))
    }

    /// Counts a write of this user.
    pub(super) fn check(&self, user: UserId) -> Result<(), TooFast> {
        let Some((rate, limiter)) = &self.0 else { return Ok(()) };
        match limiter.check_key(&user) {
            Ok(_) => Ok(()),
            Err(not_until) => {
                let wait = not_until.wait_time_from(DefaultClock::default().now());
                let retry_after_s = seconds_up(wait);
                Err(TooFast { retry_after_s, quota: Quota { limit: rate.get(), remaining: 0, reset_s: retry_after_s, window_s: WINDOW_S } })
            }
        }
    }

    /// Forgets users whose quota is whole again.
    pub(super) fn tidy(&self) {
        if let Some((_, limiter)) = &self.0 {
            limiter.retain_recent();
            limiter.shrink_to_fit();
        }
    }
}

fn seconds_up(wait: Duration) -> u64 {
    (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(enabled: bool) -> Limits {
        Limits { enabled, writes_per_minute: 3, ..crate::support::config::Config::default().limits }
    }

    #[test]
    fn a_user_over_his_rate_is_told_when_to_come_back() {
        let rates = WriteRates::new(&limits(true));
        let user = UserId::from_raw(1);
        for _ in 0..3 {
            assert_eq!(rates.check(user), Ok(()));
        }

        let refused = rates.check(user).expect_err("over the rate");

        assert!((1..=20).contains(&refused.retry_after_s), "{refused:?}");
        assert_eq!(refused.quota.limit, 3);
        assert_eq!(rates.check(UserId::from_raw(2)), Ok(()));
    }

    #[test]
    fn without_limits_nobody_is_too_fast() {
        let rates = WriteRates::new(&limits(false));

        assert!((0..100).all(|_| rates.check(UserId::from_raw(1)).is_ok()));
    }
}
