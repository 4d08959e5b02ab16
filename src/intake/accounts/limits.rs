//! How often somebody may try to sign in: per address at a steady rate, per account with exponential back-off; and how often who has
//! signed in may refresh, or change his password.
//!
//! An attempt in, a permit or a wait out. Attempts that are still being checked count as failures, so a thousand guesses at once are no
//! more than a few. Not a lock-out weapon: a device that the account has a live session on has counters of its own, and does not
//! pay for strangers. In memory and bounded, the least used are forgotten first; an account's back-off is kept in its row as well.
//! All times come from the caller. `limits.enabled = false` lets everything pass.

use std::sync::{Arc, Mutex};

use moka::sync::Cache;

use super::AccountSettings;
use crate::support::lock::lock;
use crate::vocabulary::Millis;
use crate::vocabulary::ids::UserId;
use crate::vocabulary::owner::mix;

/// Failures of an account that cost nothing: typing errors.
pub(super) const FREE_FAILURES: u32 = 5;
/// The first wait; each further failure doubles it.
const BACK_OFF_FIRST_MS: u64 = 1_000;
/// The longest wait: with it 96 guesses a day are left.
pub(super) const BACK_OFF_MAX_MS: u64 = 15 * 60 * 1000;
/// Accounts, and addresses, that are remembered: at about 200 bytes each.
const REMEMBERED_MAX: u64 = 100_000;
/// Refreshes of one user, and changes of his password: each is a write that goes before everybody's content. Fifty tabs that wake up at once
/// are below it.
const ACCOUNT_WRITES_PER_MINUTE: u32 = 120;
/// Keeps them apart: a thief's refreshes do not keep the owner from changing his password.
const PASSWORD_SALT: u64 = 0x6368_616e_6765;
const MINUTE_MS: u64 = 60 * 1000;
const HOUR_MS: u64 = 60 * MINUTE_MS;

/// Wait before the next attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wait {
    pub(super) retry_after_s: u64,
}

impl Wait {
    fn until(then: Millis, now: Millis) -> Self {
        Self { retry_after_s: then.saturating_sub(now).div_ceil(1000).max(1) }
    }
}

/// What an account's row says of earlier failures.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Persisted {
    pub(super) failures: u32,
    pub(super) until: Millis,
}

/// A failure that led to a back-off, to be persisted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BackedOff {
    pub(super) failures: u32,
    pub(super) until: Millis,
}

#[derive(Debug, Default)]
struct Failures {
    count: u32,
    in_flight: u32,
    until: Millis,
}

/// The limits of signing in and registering.
pub(super) struct Limits {
    enabled: bool,
    logins: Rate,
    registrations: Rate,
    account_writes: Rate,
    accounts: Cache<u64, Arc<Mutex<Failures>>>,
}

/// An attempt that may go on. Dropped without a result, it counts as none.
pub(super) struct Attempt {
    failures: Option<Arc<Mutex<Failures>>>,
}

impl Limits {
    pub(super) fn new(settings: &AccountSettings) -> Self {
        Self {
            enabled: settings.limits_enabled,
            logins: Rate::new(settings.logins_per_minute, MINUTE_MS),
            registrations: Rate::new(settings.registrations_per_hour, HOUR_MS),
            account_writes: Rate::new(ACCOUNT_WRITES_PER_MINUTE, MINUTE_MS),
            accounts: Cache::new(REMEMBERED_MAX),
        }
    }

    /// One login from this address.
    pub(super) fn login_from(&self, address_hash: u64, now: Millis) -> Result<(), Wait> {
        if self.enabled { self.logins.take(address_hash, now) } else { Ok(()) }
    }

    /// One registration from this address.
    pub(super) fn registration_from(&self, address_hash: u64, now: Millis) -> Result<(), Wait> {
        if self.enabled { self.registrations.take(address_hash, now) } else { Ok(()) }
    }

    /// One refresh by this user.
    pub(super) fn refresh_of(&self, user: UserId, now: Millis) -> Result<(), Wait> {
        if self.enabled { self.account_writes.take(mix(user.raw()), now) } else { Ok(()) }
    }

    /// One new password of this user.
    pub(super) fn password_of(&self, user: UserId, now: Millis) -> Result<(), Wait> {
        if self.enabled { self.account_writes.take(mix(user.raw() ^ PASSWORD_SALT), now) } else { Ok(()) }
    }

    /// One guess at an account's password. `account` is a hash of its name, whether or not it exists; `device` the address hash of a
    /// device that the account knows, and `None` for strangers, who share one counter.
    pub(super) fn guess(&self, account: u64, device: Option<u64>, persisted: Persisted, now: Millis) -> Result<Attempt, Wait> {
        if !self.enabled {
            return Ok(Attempt { failures: None });
        }
        let key = device.map_or(account, |device| mix(account ^ mix(device)));
        let failures = self.accounts.get_with(key, Arc::default);
        {
            let mut state = lock(&failures);
            if device.is_none() {
                state.count = state.count.max(persisted.failures);
                state.until = state.until.max(persisted.until);
            }
            // A clock that was set back must not lengthen a wait beyond the longest one.
            let until = state.until.min(now.saturating_add(BACK_OFF_MAX_MS));
            if now < until {
                return Err(Wait::until(until, now));
            }
            if state.in_flight > 0 && state.count.saturating_add(state.in_flight) >= FREE_FAILURES {
                return Err(Wait { retry_after_s: 1 });
            }
            state.in_flight += 1;
        }
        Ok(Attempt { failures: Some(failures) })
    }
}

impl Attempt {
    /// The password was wrong. Answers the back-off that this led to, if any.
    pub(super) fn failed(self, now: Millis) -> Option<BackedOff> {
        let failures = self.failures.as_ref()?;
        let mut state = lock(failures);
        state.count = state.count.saturating_add(1);
        let beyond = state.count.checked_sub(FREE_FAILURES)?;
        let wait_ms = 1_u64.checked_shl(beyond).and_then(|factor| BACK_OFF_FIRST_MS.checked_mul(factor));
        state.until = now.saturating_add(wait_ms.map_or(BACK_OFF_MAX_MS, |wait_ms| wait_ms.min(BACK_OFF_MAX_MS)));
        Some(BackedOff { failures: state.count, until: state.until })
    }

    /// The password was right: whoever knows it has nothing left to guess.
    pub(super) fn succeeded(self) {
        if let Some(failures) = &self.failures {
            let mut state = lock(failures);
            state.count = 0;
            state.until = 0;
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if let Some(failures) = &self.failures {
            let mut state = lock(failures);
            state.in_flight = state.in_flight.saturating_sub(1);
        }
    }
}

/// So many a window for each key, given back evenly (GCRA): a full window may come at once.
struct Rate {
    interval_ms: u64,
    window_ms: u64,
    /// When the key's allowance would be whole again.
    whole_at: Cache<u64, Arc<Mutex<Millis>>>,
}

impl Rate {
    fn new(per_window: u32, window_ms: u64) -> Self {
        Self { interval_ms: window_ms / u64::from(per_window.max(1)), window_ms, whole_at: Cache::new(REMEMBERED_MAX) }
    }

    fn take(&self, key: u64, now: Millis) -> Result<(), Wait> {
        let slot = self.whole_at.get_with(key, Arc::default);
        let mut whole_at = lock(&slot);
        // No further in the future than the window, whatever the clock did.
        let start = (*whole_at).clamp(now, now.saturating_add(self.window_ms));
        let after = start.saturating_add(self.interval_ms);
        if after > now.saturating_add(self.window_ms) {
            return Err(Wait::until(after.saturating_sub(self.window_ms), now));
        }
        *whole_at = after;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = 1_800_000_000_000;
    const ALICE: u64 = 1;

    fn limits() -> Limits {
        Limits::new(&AccountSettings::default())
    }

    fn fail(limits: &Limits, device: Option<u64>, now: Millis) -> Result<Option<BackedOff>, Wait> {
        limits.guess(ALICE, device, Persisted::default(), now).map(|attempt| attempt.failed(now))
    }

    #[test]
    fn an_address_has_its_logins_a_minute_and_then_waits_for_the_next() {
        let limits = limits();
        for _ in 0..10 {
            assert_eq!(limits.login_from(7, NOW), Ok(()));
        }
        assert_eq!(limits.login_from(7, NOW), Err(Wait { retry_after_s: 6 }));
        assert_eq!(limits.login_from(8, NOW), Ok(()), "another address");
        assert_eq!(limits.login_from(7, NOW + 5_999), Err(Wait { retry_after_s: 1 }));
        assert_eq!(limits.login_from(7, NOW + 6_000), Ok(()));
        assert!(limits.login_from(7, NOW + 6_000).is_err());
    }

    #[test]
    fn registrations_are_counted_by_the_hour() {
        let limits = limits();
        for _ in 0..20 {
            assert_eq!(limits.registration_from(7, NOW), Ok(()));
        }
        assert_eq!(limits.registration_from(7, NOW), Err(Wait { retry_after_s: 180 }));
        assert_eq!(limits.registration_from(7, NOW + HOUR_MS), Ok(()));
    }

    #[test]
    fn a_user_refreshes_and_changes_his_password_so_often_a_minute() {
        let limits = limits();
        let (ann, bob) = (UserId::from_raw(1), UserId::from_raw(2));
        for _ in 0..ACCOUNT_WRITES_PER_MINUTE {
            assert_eq!(limits.refresh_of(ann, NOW), Ok(()));
        }
        assert_eq!(limits.refresh_of(ann, NOW), Err(Wait { retry_after_s: 1 }));
        assert_eq!((limits.refresh_of(bob, NOW), limits.password_of(ann, NOW)), (Ok(()), Ok(())));
        assert_eq!(limits.refresh_of(ann, NOW + 500), Ok(()));
        let refused = (1..=ACCOUNT_WRITES_PER_MINUTE).find(|_| limits.password_of(bob, NOW).is_err());
        assert_eq!(refused, None);
        assert!(limits.password_of(bob, NOW).is_err());
    }

    #[test]
    fn a_clock_set_back_does_not_lock_anybody_out() {
        let limits = limits();
        for _ in 0..10 {
            assert_eq!(limits.login_from(7, NOW), Ok(()));
        }
        let a_year_back = NOW - 365 * 24 * HOUR_MS;
        assert_eq!(limits.login_from(7, a_year_back).map_err(|wait| wait.retry_after_s <= 60), Err(true));

        for _ in 0..20 {
            let _ = limits.guess(ALICE, None, Persisted { failures: 20, until: NOW }, NOW).map(|attempt| attempt.failed(NOW));
        }
        let wait = limits.guess(ALICE, None, Persisted::default(), a_year_back).err().map(|wait| wait.retry_after_s);
        assert_eq!(wait, Some(BACK_OFF_MAX_MS / 1000));
    }

    #[test]
    fn waits_double_from_the_sixth_failure_on_up_to_a_quarter_of_an_hour() {
        let limits = limits();
        let mut now = NOW;
        let mut waits = Vec::new();
        for _ in 0..20 {
            let backed_off = fail(&limits, None, now).expect("waited long enough");
            let until = backed_off.map_or(now, |backed_off| backed_off.until);
            waits.push((until - now) / 1000);
            if until > now {
                assert!(fail(&limits, None, until - 1).is_err(), "waits to the end");
            }
            now = until;
        }
        assert_eq!(waits, [0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900, 900, 900, 900]);
    }

    #[test]
    fn guesses_at_once_are_no_more_than_the_free_ones() {
        // Planted fault: counting a failure only when it is known (a thousand guesses in parallel).
        let limits = limits();
        let attempts: Vec<_> = (0..1000).filter_map(|_| limits.guess(ALICE, None, Persisted::default(), NOW).ok()).collect();
        assert_eq!(attempts.len(), FREE_FAILURES as usize);

        drop(attempts);
        assert!(limits.guess(ALICE, None, Persisted::default(), NOW).is_ok(), "who left gives the place back");
    }

    #[test]
    fn a_known_device_pays_for_itself_only() {
        // Planted fault: a lock-out weapon, where strangers' failures shut the owner out.
        let limits = limits();
        for _ in 0..FREE_FAILURES {
            assert!(fail(&limits, None, NOW).is_ok());
        }
        assert!(fail(&limits, None, NOW).is_err());

        for _ in 0..FREE_FAILURES {
            assert!(fail(&limits, Some(7), NOW).is_ok());
        }
        assert!(fail(&limits, Some(7), NOW).is_err(), "and is no way around the limit");
        assert!(fail(&limits, Some(8), NOW).is_ok());
    }

    #[test]
    fn what_the_row_says_counts_as_if_it_had_been_seen() {
        let limits = limits();
        let persisted = Persisted { failures: 7, until: NOW + 4_000 };

        assert_eq!(limits.guess(ALICE, None, persisted, NOW).err(), Some(Wait { retry_after_s: 4 }));
        let next = limits.guess(ALICE, None, persisted, NOW + 4_000).ok().and_then(|attempt| attempt.failed(NOW + 4_000));
        assert_eq!(next, Some(BackedOff { failures: 8, until: NOW + 12_000 }));
        assert!(limits.guess(ALICE, Some(7), persisted, NOW).is_ok(), "a known device is exempt");
    }

    #[test]
    fn success_forgets_and_disabled_limits_let_all_pass() {
        let limits = limits();
        for _ in 0..4 {
            assert!(fail(&limits, None, NOW).is_ok());
        }
        assert!(limits.guess(ALICE, None, Persisted::default(), NOW).map(Attempt::succeeded).is_ok());
        assert_eq!(fail(&limits, None, NOW), Ok(None));

        let off = Limits::new(&AccountSettings { limits_enabled: false, ..AccountSettings::default() });
        for _ in 0..100 {
            assert_eq!(fail(&off, None, NOW), Ok(None));
            assert_eq!(off.login_from(7, NOW), Ok(()));
            assert_eq!((off.refresh_of(UserId::from_raw(1), NOW), off.password_of(UserId::from_raw(1), NOW)), (Ok(()), Ok(())));
            assert_eq!(off.registration_from(7, NOW), Ok(()));
        }
    }
}
