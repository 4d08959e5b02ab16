use std::collections::HashSet;

use fail::FailScenario;

use super::*;
use crate::support::clock::{ManualClock, SystemClock};
use crate::support::data_folder::claim_worker;
use crate::vocabulary::ids::IdParts;

const NOON: u64 = ID_EPOCH_MS + 50_000_000_000;
const HOUR: u64 = 3_600_000;

/// A folder, a clock that the test moves, and no fault planted by a neighbour while this lives.
struct Rig {
    folder: tempfile::TempDir,
    clock: Arc<ManualClock>,
    _no_faults: FailScenario<'static>,
}

impl Rig {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder"), clock: Arc::new(ManualClock::at(NOON)), _no_faults: FailScenario::setup() }
    }

    fn open(&self) -> IdMaker {
        let claim = claim_worker(self.folder.path(), 3, 17).expect("free");
        IdMaker::open(self.folder.path(), claim, Arc::clone(&self.clock) as Arc<dyn Clock>).expect("opens")
    }
}

fn take(maker: &IdMaker, count: usize) -> Vec<u64> {
    (0..count).map(|_| maker.next().expect("an id")).collect()
}

fn assert_rising(ids: &[u64]) {
    assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "each id is above the one before");
}

#[test]
fn an_id_says_where_and_when_it_was_made() {
    let rig = Rig::new();

    let parts = IdParts::of(rig.open().next().expect("an id"));

    assert_eq!(parts, IdParts { timestamp_ms: NOON, datacenter: 3, worker: 17, sequence: 0 });
}

#[test]
fn a_clock_that_is_set_back_or_stands_never_makes_an_id_again() {
    let rig = Rig::new();
    let maker = rig.open();
    let mut ids = take(&maker, 10);

    for now in [NOON, NOON - 1, NOON - 1_000, NOON - HOUR, 0, NOON + HOUR, NOON, NOON + 1] {
        rig.clock.set(now);
        // More than a millisecond has room for.
        ids.extend(take(&maker, 5_000));
    }

    assert_rising(&ids);
}

#[test]
fn a_clock_that_is_set_back_across_a_restart_never_makes_an_id_again() {
    let rig = Rig::new();
    let mut ids = Vec::new();

    for now in [NOON, NOON - 1, NOON - 1_000, NOON - HOUR, 0, NOON + HOUR, NOON, NOON + HOUR] {
        rig.clock.set(now);
        ids.extend(take(&rig.open(), 5_000));
    }

    assert_rising(&ids);
}

#[test]
fn the_reservation_is_on_the_disk_before_an_id_beyond_it_is_given_out() {
    let rig = Rig::new();
    let maker = rig.open();

    for step in 0..2_000_u64 {
        rig.clock.set(NOON + step * 7);
        let made = IdParts::of(maker.next().expect("an id")).timestamp_ms;
        let reserved = read_reservation(&maker.shared.path).expect("reads").expect("is there") + ID_EPOCH_MS;
        assert!(made < reserved, "an id of {made} with time reserved up to {reserved}");
    }
}

/// How many ids a second life makes again, with the clock set back between the two.
fn repeated_across_a_restart(rig: &Rig) -> usize {
    let first: HashSet<u64> = take(&rig.open(), 20_000).into_iter().collect();
    rig.clock.set(NOON - 1);
    take(&rig.open(), 20_000).into_iter().filter(|id| first.contains(id)).count()
}

#[test]
fn two_lives_have_no_id_in_common() {
    assert_eq!(repeated_across_a_restart(&Rig::new()), 0);
}

/// The control of the test above: without the reservation it would fail.
#[cfg(feature = "faults")]
#[test]
fn two_lives_would_have_ids_in_common_if_the_reservation_were_skipped() {
    let rig = Rig::new();
    fail::cfg("snowflake::skip_reservation", "return").expect("a fault");

    assert!(repeated_across_a_restart(&rig) > 0);
}

#[test]
fn ten_million_ids_on_eight_threads_are_unique_and_rise_on_each() {
    const THREADS: usize = 8;
    let rig = Rig::new();
    let maker = Arc::new(rig.open());

    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let maker = Arc::clone(&maker);
            std::thread::spawn(move || take(&maker, 10_000_000 / THREADS))
        })
        .collect();
    // The clock stands, so the ids are a count without gaps: one bit each shows a repetition.
    let mut seen = vec![0_u64; 10_000_000 / 64 + 64];
    for thread in threads {
        let ids = thread.join().expect("a thread");
        assert_rising(&ids);
        for id in ids {
            let parts = IdParts::of(id);
            let count = ((parts.timestamp_ms - NOON) << SEQUENCE_BITS) + u64::from(parts.sequence);
            let (word, bit) = (&mut seen[count as usize / 64], 1 << (count % 64));
            assert_eq!(*word & bit, 0, "{id} was made twice");
            *word |= bit;
        }
    }
    assert_eq!(seen.iter().map(|word| word.count_ones()).sum::<u32>(), 10_000_000);
}

#[test]
fn many_restarts_do_not_drift_into_the_future() {
    let rig = Rig::new();

    for _ in 0..200 {
        take(&rig.open(), 10);
    }

    // 3 s for the first, then only what a count ahead of the clock reserves.
    let ahead = IdParts::of(rig.open().next().expect("an id")).timestamp_ms - NOON;
    assert!(ahead <= RESERVE_AHEAD_MS + 201 * RESERVE_COUNTING_MS, "{ahead} ms ahead");
    rig.clock.advance(ahead + RESERVE_COUNTING_MS);
    let caught_up = IdParts::of(rig.open().next().expect("an id")).timestamp_ms;
    assert!(caught_up <= rig.clock.now() + RESERVE_COUNTING_MS, "the clock has caught up");
}

#[test]
fn the_background_renews_before_the_reservation_runs_out() {
    let rig = Rig::new();
    let maker = rig.open();
    let reserved = maker.shared.reserved_until.load(Ordering::Acquire);

    rig.clock.advance(RESERVE_AHEAD_MS - 1);
    maker.next().expect("an id within the reservation");

    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while maker.shared.reserved_until.load(Ordering::Acquire) == reserved {
        assert!(std::time::Instant::now() < deadline, "renewed");
        std::thread::yield_now();
    }
}

#[test]
fn without_a_disk_ids_end_with_the_reservation_and_go_on_when_it_is_back() {
    let rig = Rig::new();
    let maker = rig.open();
    let before = maker.next().expect("an id");
    let (path, aside) = (rig.folder.path().to_owned(), rig.folder.path().with_extension("aside"));
    std::fs::rename(&path, &aside).expect("moves the folder away");

    assert!(maker.next().is_ok(), "time that is reserved needs no disk");
    rig.clock.advance(RESERVE_AHEAD_MS);
    assert!(matches!(maker.next(), Err(IdError::Reservation { .. })));

    std::fs::rename(&aside, &path).expect("moves it back");
    assert!(maker.next().expect("an id") > before);
}

#[test]
fn a_reservation_that_cannot_be_read_stops_the_start_and_is_named() {
    let rig = Rig::new();
    std::fs::write(rig.folder.path().join("ids-3-17"), "yesterday").expect("writes");
    let claim = claim_worker(rig.folder.path(), 3, 17).expect("free");

    let refused = IdMaker::open(rig.folder.path(), claim, Arc::new(SystemClock)).err().expect("refused").to_string();

    assert!(refused.contains("ids-3-17"), "{refused}");
}

#[test]
fn ids_end_with_the_year_2094_and_do_not_wrap() {
    let rig = Rig::new();
    let maker = rig.open();

    rig.clock.set(ID_EPOCH_MS + TICK_MAX);

    assert!(matches!(maker.next(), Err(IdError::Exhausted)));
}
