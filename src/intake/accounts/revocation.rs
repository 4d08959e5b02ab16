//! The sessions that have ended and whose access tokens have not: those tokens are refused.
//!
//! Fed on each commit that ends sessions, and at start, a shard at a time, with what ended within the life of a token. Bounded by
//! that life: each entry goes once no token of its session can be good any more, and each was a journal write, which admission
//! bounds. Nothing else may evict one: that would bring a dead session back. The life is the longest that may be configured: a token may have
//! been signed before the configured one was made shorter.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock};

use super::seam::{AccountLedger, EndedSession, ShardUnavailable};
use crate::support::auth::token::LEEWAY_S;
use crate::support::chain::Chain;
use crate::support::config::ACCESS_TTL_MAX;
use crate::vocabulary::Millis;
use crate::vocabulary::ids::SessionId;
use crate::vocabulary::owner::ShardIndex;

/// A token may be signed this long after the write that allowed it, while another write ends its session.
const SIGNING_MARGIN_MS: u64 = 60_000;
/// How long an ended session is remembered.
const KEPT_MS: u64 = (ACCESS_TTL_MAX.as_secs() + LEEWAY_S) * 1000 + SIGNING_MARGIN_MS;
/// How often entries that are over are looked for.
const PRUNE_INTERVAL_MS: u64 = 60_000;

/// The set of ended sessions.
#[derive(Default)]
pub struct Revocations {
    ended: RwLock<HashMap<SessionId, Millis>>,
    /// So that a request with nothing revoked takes no lock.
    count: AtomicUsize,
    pruned_at: AtomicU64,
    loaded: RwLock<HashSet<ShardIndex>>,
    /// How many shards are loaded, again to spare the lock.
    all_loaded: AtomicUsize,
}

impl Revocations {
    /// Whether the session's tokens are refused.
    pub fn is_ended(&self, session: SessionId) -> bool {
        // Nobody who was told of an end may pass afterwards: the count is raised before `end` returns.
        self.count.load(Ordering::Acquire) > 0 && self.ended.read().unwrap_or_else(PoisonError::into_inner).contains_key(&session)
    }

    /// The sessions end now: to be called when the commit that ends them is known.
    pub fn end(&self, sessions: impl IntoIterator<Item = SessionId>, ended_at: Millis) {
        let mut ended = self.ended.write().unwrap_or_else(PoisonError::into_inner);
        for session in sessions {
            let at = ended.entry(session).or_insert(ended_at);
            *at = ended_at.max(*at);
        }
        self.prune(&mut ended, ended_at);
        self.count.store(ended.len(), Ordering::Release);
    }

    /// Entries now.
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads, for each shard that was not read yet, what ended lately. To be called at start and again until it answers `true`:
    /// all shards were read. Commits must be fed from before the first call.
    pub async fn load(&self, ledger: &dyn AccountLedger, now: Millis) -> bool {
        let mut all = true;
        for shard in ledger.shards() {
            if self.is_loaded(shard) {
                continue;
            }
            if let Err(error) = self.load_shard(ledger, shard, now).await {
                tracing::warn!(
                    shard.index = shard.0,
                    error = %Chain(&error),
                    "ended sessions not read: tokens of its users are refused"
                );
                all = false;
            }
        }
        if all {
            self.all_loaded.store(1, Ordering::Release);
        }
        all
    }

    /// Whether the shard's ended sessions are known. Before that no token of its users can be believed.
    pub fn is_loaded(&self, shard: ShardIndex) -> bool {
        self.all_loaded.load(Ordering::Acquire) > 0 || self.loaded.read().unwrap_or_else(PoisonError::into_inner).contains(&shard)
    }

    async fn load_shard(&self, ledger: &dyn AccountLedger, shard: ShardIndex, now: Millis) -> Result<(), ShardUnavailable> {
        for EndedSession { session, ended_at } in ledger.sessions_ended_since(shard, now.saturating_sub(KEPT_MS)).await? {
            self.end([session], ended_at);
        }
        self.loaded.write().unwrap_or_else(PoisonError::into_inner).insert(shard);
        Ok(())
    }

    fn prune(&self, ended: &mut HashMap<SessionId, Millis>, now: Millis) {
        let pruned_at = self.pruned_at.load(Ordering::Relaxed);
        if now.saturating_sub(pruned_at) < PRUNE_INTERVAL_MS {
            return;
        }
        self.pruned_at.store(now, Ordering::Relaxed);
        ended.retain(|_, ended_at| now.saturating_sub(*ended_at) < KEPT_MS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ended_session_stays_ended_while_a_token_of_it_can_live_and_then_goes() {
        // Planted fault: an entry that is evicted by number, or kept for ever.
        let revocations = Revocations::default();
        let session = SessionId::from_raw;
        revocations.end([session(1)], 1_000_000);
        for number in 2..200_000 {
            revocations.end([session(number)], 1_000_000 + KEPT_MS - 1);
        }
        assert!(revocations.is_ended(session(1)));
        assert!(!revocations.is_ended(session(200_000)));

        revocations.end([session(200_000)], 1_000_000 + KEPT_MS + PRUNE_INTERVAL_MS);
        assert!(!revocations.is_ended(session(1)), "no token of it can be good");
        assert_eq!(revocations.len(), 199_999);
    }

    #[test]
    fn a_clock_set_back_brings_no_session_back() {
        let revocations = Revocations::default();
        revocations.end([SessionId::from_raw(1)], 10_000_000);
        revocations.end([SessionId::from_raw(2)], 5_000_000);
        revocations.end([SessionId::from_raw(1)], 5_000_000);

        assert!(revocations.is_ended(SessionId::from_raw(1)));
        assert!(revocations.is_ended(SessionId::from_raw(2)));
    }
}
