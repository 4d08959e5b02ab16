use proptest::prelude::*;

use super::simulation::{Batch, Database, LIKES, POSTS, Shard, best_fixed};
use super::*;
use crate::support::cases::cases;

const MAX: u16 = 64;
const ANY_LANES: u16 = u16::MAX;
/// Batches after which the search must have arrived.
const WARM_UP: u32 = 8_000;
const MEASURED: u32 = 10_000;

/// Rows a second that the adaptive limit writes once it has arrived.
fn rate_found(database: Database, batch: Batch, seed: u64) -> f64 {
    let (mut limiter, mut shard) = (Limiter::adaptive(1, MAX), Shard::new(seed));
    shard.run(&mut limiter, database, batch, WARM_UP, ANY_LANES);
    shard.run(&mut limiter, database, batch, MEASURED, ANY_LANES)
}

fn databases() -> Vec<(&'static str, Database)> {
    let fast = Database::fast();
    vec![
        ("fast", fast),
        ("slow", fast.slowed(50.0)),
        ("one writer", Database { parallel: 1.0, contention: 0.02, ..fast }),
        ("one writer and a queue", Database { queues: true, parallel: 1.0, ..fast }),
        ("a queue", Database { queues: true, ..fast }),
        ("a queue, hurt by a crowd", Database { queues: true, contention: 0.04, ..fast }),
        ("two at once", Database { parallel: 2.0, ..fast }),
        ("hurt by a crowd", Database { contention: 0.05, ..fast }),
        ("wide", Database { parallel: 40.0, contention: 0.01, ..fast }),
        ("sharing its syncs", Database { parallel: 64.0, sharing: 0.2, ..fast }),
        ("quiet", Database { noise: 0.0, ..fast }),
        ("noisy", Database { noise: 0.8, ..fast }),
        // Batches of two limits run in step beside each other, and a wide one ends long after the limit was lowered.
        ("wide, quiet, hurt by a crowd", Database { parallel: 39.0, contention: 0.05, noise: 0.0, ..fast }),
    ]
}

#[test]
fn the_limit_that_is_found_writes_within_5_percent_of_the_best_fixed_one() {
    for (name, database) in databases() {
        for (size, batch) in [("likes", LIKES), ("posts", POSTS)] {
            let share = rate_found(database, batch, 42) / best_fixed(database, batch, MAX);
            assert!(share >= 0.95, "{name}, {size}: {share:.3}");
        }
    }
}

/// The control: numbers set by hand that do not fit lose far more than 5 %, so the test above can fail.
#[test]
fn a_number_that_does_not_fit_loses_far_more() {
    let crowd = Database { contention: 0.05, ..Database::fast() };
    for limit in [1, 4, MAX] {
        let rate = Shard::new(42).run(&mut Limiter::fixed(limit), crowd, LIKES, MEASURED, ANY_LANES);
        assert!(rate / best_fixed(crowd, LIKES, MAX) < 0.8, "{limit}");
    }
}

#[test]
fn one_writer_at_a_time_needs_few_workers() {
    let (mut limiter, mut shard) = (Limiter::adaptive(1, MAX), Shard::new(3));
    shard.run(&mut limiter, Database { parallel: 1.0, ..Database::fast() }, LIKES, WARM_UP, ANY_LANES);

    assert!(limiter.limit() <= 3, "{}", limiter.limit());
}

#[test]
fn it_recovers_after_the_database_was_slow_and_narrow_for_a_while() {
    let wide = Database { parallel: 24.0, contention: 0.02, ..Database::fast() };
    let narrow = Database { parallel: 1.0, contention: 0.2, ..wide.slowed(10.0) };
    let (mut limiter, mut shard) = (Limiter::adaptive(1, MAX), Shard::new(11));
    shard.run(&mut limiter, wide, LIKES, WARM_UP, ANY_LANES);

    shard.run(&mut limiter, narrow, LIKES, WARM_UP, ANY_LANES);
    let under_stress = shard.run(&mut limiter, narrow, LIKES, MEASURED, ANY_LANES) / best_fixed(narrow, LIKES, MAX);
    shard.run(&mut limiter, wide, LIKES, WARM_UP, ANY_LANES);
    let afterwards = shard.run(&mut limiter, wide, LIKES, MEASURED, ANY_LANES) / best_fixed(wide, LIKES, MAX);

    assert!(under_stress >= 0.95 && afterwards >= 0.95, "{under_stress:.3}, then {afterwards:.3}");
}

#[test]
fn it_follows_a_database_that_degrades_slowly() {
    let database = Database { parallel: 16.0, contention: 0.03, ..Database::fast() };
    let (mut limiter, mut shard) = (Limiter::adaptive(1, MAX), Shard::new(5));
    shard.run(&mut limiter, database, LIKES, WARM_UP, ANY_LANES);

    for step in 1..=12 {
        let worn = Database { parallel: 16.0 - f64::from(step), ..database.slowed(1.0 + 0.2 * f64::from(step)) };
        shard.run(&mut limiter, worn, LIKES, WARM_UP / 2, ANY_LANES);
    }

    let worn = Database { parallel: 4.0, ..database.slowed(3.4) };
    let share = shard.run(&mut limiter, worn, LIKES, MEASURED, ANY_LANES) / best_fixed(worn, LIKES, MAX);
    assert!(share >= 0.95, "{share:.3}");
}

#[test]
fn a_trial_that_cannot_be_filled_is_given_up() {
    let (mut limiter, mut shard) = (Limiter::adaptive(1, MAX), Shard::new(9));

    // The entries all belong to three lanes: no more than three batches can be in flight, whatever is allowed.
    shard.run(&mut limiter, Database::fast(), LIKES, WARM_UP, 3);
    assert!(limiter.limit() <= 6, "{}", limiter.limit());

    shard.run(&mut limiter, Database::fast(), LIKES, WARM_UP, ANY_LANES);
    assert!(limiter.limit() >= 6, "{}", limiter.limit());
}

/// One unlucky look at a few batches must not end the first steps: a database with latencies as PostgreSQL on two processors has them.
#[test]
fn a_few_hundred_batches_lead_near_the_best_number_whatever_the_noise() {
    let shared = Database { parallel: 6.0, sharing: 0.15, contention: 0.03, noise: 0.6, ..Database::fast() };
    let best = best_fixed(shared, LIKES, MAX);
    for seed in 1..=40_u64 {
        let (mut limiter, mut shard) = (Limiter::adaptive(1, MAX), Shard::new(seed * 7919));

        shard.run(&mut limiter, shared, LIKES, 250, ANY_LANES);
        let share = shard.run(&mut limiter, shared, LIKES, 250, ANY_LANES) / best;

        assert!(share >= 0.8, "seed {seed}: {share:.3}");
    }
}

#[test]
fn a_fixed_limit_stays_what_it_is() {
    for limit in [0, 1, 7] {
        let mut limiter = Limiter::fixed(limit);
        assert_eq!(limiter.observe(Sample { latency: Duration::from_secs(9), rows: 1, bytes: 1, in_flight: 1 }), None);
        assert_eq!((limiter.limit(), limiter.is_adaptive()), (limit, false));
    }
}

#[test]
fn each_change_of_the_limit_is_a_decision_that_can_be_seen() {
    let mut limiter = Limiter::adaptive(1, MAX);
    for index in 0..20_000_u64 {
        let (before, in_flight) = (limiter.limit(), limiter.limit());
        let latency = Duration::from_micros(1_000 + (index * 7919) % 100 + 200 * u64::from(before.saturating_sub(8)));

        let decision = limiter.observe(Sample { latency, rows: 100, bytes: 0, in_flight });

        assert!(limiter.limit() == before || decision.is_some());
        assert!(decision.is_none_or(|decision| decision.limit == limiter.limit()));
    }
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn whatever_it_is_told_it_stays_between_min_and_max(
        min in 1..20_u16,
        above in 0..100_u16,
        samples in proptest::collection::vec((0..10_000_000_000_u64, 0..2_000_u32, 0..10_000_000_u64, 0..200_u16), 0..3_000),
        full in proptest::bool::ANY,
    ) {
        let (max, mut limiter) = (min + above, Limiter::adaptive(min, min + above));
        for (nanos, rows, bytes, in_flight) in samples {
            let in_flight = if full { limiter.limit() } else { in_flight };
            limiter.observe(Sample { latency: Duration::from_nanos(nanos), rows, bytes, in_flight });
            prop_assert!((min..=max).contains(&limiter.limit()));
        }
    }
}

proptest! {
    // Few, since each is thousands of batches; PROPTEST_CASES asks for more.
    #![proptest_config(cases(12))]

    #[test]
    fn it_arrives_on_databases_of_any_width(parallel in 1..48_u32, contention in 0..6_u32, noise in 0..5_u32, seed in 1..u64::MAX) {
        let database = Database {
            parallel: f64::from(parallel),
            contention: f64::from(contention) / 100.0,
            noise: f64::from(noise) / 10.0,
            ..Database::fast()
        };

        // The mean of three runs: one alone is at times caught in the middle of a trial.
        let mean = (0..3).map(|run| rate_found(database, LIKES, seed ^ (run << 20))).sum::<f64>() / 3.0;
        let share = mean / best_fixed(database, LIKES, MAX);

        prop_assert!(share >= 0.95, "{:?}: {:.3}", database, share);
    }
}
