//! When those whose sockets end together shall come back: not together.

/// The soonest, in milliseconds: a restart takes about that long.
const RETRY_MIN_MS: u64 = 1_000;
/// So many sockets may come back in a second.
const RETURNS_PER_SECOND: u64 = 1_000;
/// The latest.
const RETRY_MAX_MS: u64 = 60_000;
/// Also a few are spread over this time.
const SPREAD_MIN_MS: u64 = 2_000;

/// How long the socket that drew `lot` (any number) waits, of `sockets` that end at once.
pub(super) fn retry_ms(lot: u64, sockets: u64) -> u64 {
    let spread = (sockets.saturating_mul(1_000) / RETURNS_PER_SECOND).clamp(SPREAD_MIN_MS, RETRY_MAX_MS - RETRY_MIN_MS);
    RETRY_MIN_MS + lot % spread
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::owner::mix;

    #[test]
    fn a_crowd_comes_back_spread_over_time() {
        let sockets = 10_000;
        let mut waits: Vec<u64> = (0..sockets).map(|socket| retry_ms(mix(socket), sockets)).collect();
        waits.sort_unstable();

        assert!(waits[0] >= RETRY_MIN_MS && waits[waits.len() - 1] <= RETRY_MAX_MS);
        let most_in_a_second =
            waits.iter().map(|from| waits.partition_point(|wait| *wait < from + 1_000) - waits.partition_point(|wait| wait < from)).max();
        assert!(most_in_a_second < Some(1_200), "{most_in_a_second:?}");
    }

    #[test]
    fn the_wait_is_bounded_whatever_the_crowd() {
        for sockets in [0, 1, 100_000_000, u64::MAX] {
            for lot in [0, 1, u64::MAX] {
                assert!((RETRY_MIN_MS..=RETRY_MAX_MS).contains(&retry_ms(lot, sockets)));
            }
        }
    }
}
