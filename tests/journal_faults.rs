//! The embedded journal under planted faults. A program of its own, since fail points are shared by all of a process.
//!
//! Each check is run again with a fault planted that it must catch; `control` in a name says so.

#![cfg(feature = "faults")]
#![expect(clippy::expect_used, reason = "all of it is a test")]

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use sosik::substrate::journal::embedded::{EmbeddedJournal, Opened, Options};
use sosik::substrate::journal::{AppendError, Draft, Journal};
use sosik::vocabulary::ids::Position;

const PATIENCE: Duration = Duration::from_secs(30);

/// What became of a draft.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fate {
    Told(Position, Vec<u8>),
    Dropped(Vec<u8>),
}

/// The fates of all drafts, in the order in which they became known.
#[derive(Default)]
struct Fates {
    known: Mutex<Vec<Fate>>,
    more: Condvar,
}

impl Fates {
    fn add(&self, fate: Fate) {
        self.known.lock().expect("a lock").push(fate);
        self.more.notify_all();
    }

    fn all(&self) -> Vec<Fate> {
        self.known.lock().expect("a lock").clone()
    }

    /// The nth fate of all, counted from 0.
    fn wait_for(&self, nth: usize) -> Fate {
        let known = self.known.lock().expect("a lock");
        let (known, _) = self.more.wait_timeout_while(known, PATIENCE, |known| known.len() <= nth).expect("a lock");
        known.get(nth).expect("every draft has a fate").clone()
    }
}

/// Tells a draft's fate when it is called or dropped.
struct Witness {
    bytes: Vec<u8>,
    fates: Option<Arc<Fates>>,
}

impl Drop for Witness {
    fn drop(&mut self) {
        if let Some(fates) = self.fates.take() {
            fates.add(Fate::Dropped(std::mem::take(&mut self.bytes)));
        }
    }
}

/// A journal whose fail-stop is counted.
struct Rig {
    opened: Opened,
    stops: Arc<AtomicUsize>,
    fates: Arc<Fates>,
    /// What had become known to anybody when the process would have ended.
    known_at_stop: Arc<Mutex<Vec<Fate>>>,
    appended: AtomicUsize,
}

impl Rig {
    fn open(directory: &Path) -> Self {
        let fates = Arc::new(Fates::default());
        let stops = Arc::new(AtomicUsize::new(0));
        let known_at_stop = Arc::new(Mutex::new(Vec::new()));
        let (counted, at_stop, known) = (stops.clone(), known_at_stop.clone(), fates.clone());
        let fail_stop = Arc::new(move |_: &str| {
            *at_stop.lock().expect("a lock") = known.all();
            counted.fetch_add(1, Ordering::SeqCst);
        });
        let options = Options { segment_bytes: 8 * 1024, fail_stop, ..Options::default() };
        let opened = EmbeddedJournal::open(directory, options).expect("opens");
        Self { opened, stops, fates, known_at_stop, appended: AtomicUsize::new(0) }
    }

    fn journal(&self) -> &dyn Journal {
        &self.opened.journal
    }

    fn try_append(&self, bytes: &[u8]) -> Result<(), AppendError> {
        let mut witness = Witness { bytes: bytes.to_vec(), fates: Some(self.fates.clone()) };
        self.appended.fetch_add(1, Ordering::SeqCst);
        self.journal().append(Draft {
            bytes: bytes.to_vec(),
            durable: Box::new(move |position, _| {
                if let Some(fates) = witness.fates.take() {
                    fates.add(Fate::Told(position, std::mem::take(&mut witness.bytes)));
                }
            }),
        })
    }

    fn append(&self, bytes: &[u8]) {
        self.try_append(bytes).expect("appends");
    }

    /// The fate of the draft that was appended last, when all before it are known.
    fn last_fate(&self) -> Fate {
        self.fates.wait_for(self.appended.load(Ordering::SeqCst) - 1)
    }

    /// Appends and waits until readers can see it too, which is a little later than that it was told.
    fn append_and_wait(&self, bytes: &[u8]) -> Fate {
        self.append(bytes);
        let fate = self.last_fate();
        if let Fate::Told(position, _) = fate {
            wait_until(|| self.journal().durable() >= position || self.stops.load(Ordering::SeqCst) > 0);
        }
        fate
    }

    fn wait_for_stop(&self) {
        wait_until(|| self.stops.load(Ordering::SeqCst) > 0);
    }
}

fn wait_until(condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < PATIENCE, "waited too long");
        std::thread::yield_now();
    }
}

/// A directory in memory where that can be had: the faults are planted, not the disk's.
fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.expect("a directory")
}

fn payload(nth: usize) -> Vec<u8> {
    format!("record {nth} {}", "x".repeat(200)).into_bytes()
}

fn contents(directory: &Path) -> Vec<Vec<u8>> {
    let opened = EmbeddedJournal::open(directory, Options::default()).expect("opens again");
    let mut all = Vec::new();
    let mut next = opened.journal.first();
    while next <= opened.journal.durable() {
        for record in opened.journal.read(next, 100_000).expect("reads") {
            assert_eq!(record.position, next);
            next = next.next();
            all.push(record.bytes);
        }
    }
    all
}

/// Five records, then a sync that fails with three more in hand. What was known of the three when the process ended.
fn a_failed_sync() -> (Rig, tempfile::TempDir) {
    let directory = scratch();
    let rig = Rig::open(directory.path());
    for nth in 0..5 {
        assert!(matches!(rig.append_and_wait(&payload(nth)), Fate::Told(..)));
    }
    fail::cfg("journal::before_sync", "pause").expect("is a fault");
    for nth in 5..8 {
        rig.append(&payload(nth));
    }
    fail::cfg("journal::sync_fails", "1*return").expect("is a fault");
    fail::remove("journal::before_sync");
    rig.wait_for_stop();
    (rig, directory)
}

#[test]
fn a_failed_sync_tells_nobody_and_ends_the_process() {
    let _scenario = fail::FailScenario::setup();

    let (rig, directory) = a_failed_sync();

    assert_eq!(rig.known_at_stop.lock().expect("a lock")[5..], []);
    assert_eq!(rig.journal().durable(), Position(5));
    assert!(matches!(rig.try_append(b"late"), Err(AppendError::Closed)));
    rig.journal().close();
    assert_eq!(rig.stops.load(Ordering::SeqCst), 1, "it is not tried again");
    drop(rig);
    assert!(contents(directory.path()).len() >= 5);
}

#[test]
fn a_failed_sync_control_early_acknowledgement_is_caught() {
    let _scenario = fail::FailScenario::setup();
    fail::cfg("journal::ack_early", "return").expect("is a fault");

    let (rig, _directory) = a_failed_sync();

    assert_ne!(rig.known_at_stop.lock().expect("a lock")[5..], []);
}

#[test]
fn a_failed_sync_control_a_skipped_sync_is_caught() {
    let _scenario = fail::FailScenario::setup();
    let directory = scratch();
    let rig = Rig::open(directory.path());
    fail::cfg("journal::skip_sync", "return").expect("is a fault");
    fail::cfg("journal::sync_fails", "return").expect("is a fault");

    // A journal that does not sync cannot see that syncing fails.
    assert!(matches!(rig.append_and_wait(b"lost"), Fate::Told(..)));
    assert_eq!(rig.stops.load(Ordering::SeqCst), 0);
}

/// Whether anything was told or readable while the sync had not returned.
fn seen_before_the_sync() -> bool {
    let directory = scratch();
    let rig = Rig::open(directory.path());
    assert!(matches!(rig.append_and_wait(&payload(0)), Fate::Told(..)));
    let (reached, reaches) = channel();
    let reached = Mutex::new(reached);
    let (release, released) = channel::<()>();
    let released = Mutex::new(released);
    fail::cfg_callback("journal::before_sync", move || {
        reached.lock().expect("a lock").send(()).expect("the test listens");
        released.lock().expect("a lock").recv().expect("the test releases");
    })
    .expect("is a fault");
    rig.append(&payload(1));
    reaches.recv_timeout(PATIENCE).expect("the sync is reached");

    let told = rig.fates.all().len() > 1;
    let readable = !rig.journal().read(Position(2), 1000).expect("reads").is_empty() || rig.journal().durable() > Position(1);

    release.send(()).expect("the journal waits");
    fail::remove("journal::before_sync");
    told || readable
}

#[test]
fn nothing_is_told_or_readable_before_its_sync_has_returned() {
    let _scenario = fail::FailScenario::setup();

    assert!(!seen_before_the_sync());
}

#[test]
fn nothing_before_its_sync_control_early_acknowledgement_is_caught() {
    let _scenario = fail::FailScenario::setup();
    fail::cfg("journal::ack_early", "return").expect("is a fault");

    assert!(seen_before_the_sync());
}

/// Appends until the disk "is full", a while longer, and again when there is room; gives what was told.
fn through_a_full_disk(directory: &Path, actions: &str) -> Vec<(Position, Vec<u8>)> {
    let rig = Rig::open(directory);
    let mut told = Vec::new();
    let (mut dropped, mut refused) = (0, 0);
    for nth in 0..300 {
        if nth == 100 {
            fail::cfg("journal::full", actions).expect("is a fault");
        }
        if nth == 200 {
            fail::remove("journal::full");
        }
        loop {
            match rig.try_append(&payload(nth)) {
                Ok(()) => match rig.last_fate() {
                    Fate::Told(position, bytes) => told.push((position, bytes)),
                    Fate::Dropped(bytes) => {
                        assert_eq!(bytes, payload(nth));
                        dropped += 1;
                    }
                },
                // Refused at once; its fate is the error, and its witness says that it was dropped.
                Err(AppendError::Full(_)) => {
                    assert!(matches!(rig.last_fate(), Fate::Dropped(_)));
                    refused += 1;
                    if nth >= 200 {
                        // There is room again: tried until it is noticed.
                        std::thread::yield_now();
                        continue;
                    }
                }
                Err(error) => panic!("{error}"),
            }
            break;
        }
    }
    assert!(dropped > 0 && refused > 0, "{dropped} dropped, {refused} refused");
    assert_eq!(rig.stops.load(Ordering::SeqCst), 0);
    wait_until(|| rig.journal().durable() == Position(told.len() as u64));
    assert!(told.len() >= 200);
    told
}

#[test]
fn a_full_disk_refuses_for_sure_and_the_journal_goes_on_when_there_is_room() {
    let _scenario = fail::FailScenario::setup();
    for actions in ["return", "5*off->20*return->off", "50%return"] {
        let directory = scratch();

        let told = through_a_full_disk(directory.path(), actions);

        let positions: Vec<_> = told.iter().map(|(position, _)| position.0).collect();
        assert_eq!(positions, (1..=told.len() as u64).collect::<Vec<_>>(), "{actions}");
        // What was refused is gone for good, half-written or not.
        assert_eq!(contents(directory.path()), told.into_iter().map(|(_, bytes)| bytes).collect::<Vec<_>>(), "{actions}");
    }
}

#[test]
fn records_behind_a_group_that_had_no_room_are_dropped_with_it() {
    let _scenario = fail::FailScenario::setup();
    let directory = scratch();
    let rig = Rig::open(directory.path());
    fail::cfg("journal::before_write", "pause").expect("is a fault");
    fail::cfg("journal::full", "1*return").expect("is a fault");
    for nth in 0..10 {
        rig.append(&payload(nth));
    }

    fail::remove("journal::before_write");

    rig.last_fate();
    assert!(rig.fates.all().iter().all(|fate| matches!(fate, Fate::Dropped(_))));
    wait_until(|| rig.try_append(b"first").is_ok());
    assert_eq!(rig.last_fate(), Fate::Told(Position(1), b"first".to_vec()));
    drop(rig);
    assert_eq!(contents(directory.path()), [b"first".to_vec()]);
}

/// Catches a segment that is there under its name, and is taken for one that was not begun.
#[test]
fn a_directory_that_cannot_be_synced_ends_the_process_whatever_the_reason() {
    let _scenario = fail::FailScenario::setup();
    let directory = scratch();
    let rig = Rig::open(directory.path());
    fail::cfg("journal::directory_full", "1*return->off").expect("is a fault");

    let mut nth = 0;
    while nth < 300 && rig.try_append(&payload(nth)).is_ok() && matches!(rig.last_fate(), Fate::Told(..)) {
        nth += 1;
    }

    rig.wait_for_stop();
    assert!(matches!(rig.try_append(b"more"), Err(AppendError::Closed)));
}

#[test]
fn a_journal_that_stops_at_any_point_holds_all_that_was_told() {
    let _scenario = fail::FailScenario::setup();
    for point in ["before_write", "before_sync", "after_sync", "after_publish", "rotate"] {
        for after in [0, 1, 7, 40] {
            let directory = scratch();
            let rig = Rig::open(directory.path());
            fail::cfg(format!("journal::{point}"), &format!("{after}*off->panic")).expect("is a fault");
            let mut appended = Vec::new();
            let mut told = 0;
            while rig.stops.load(Ordering::SeqCst) == 0 {
                let bytes = payload(appended.len());
                if rig.try_append(&bytes).is_err() {
                    break;
                }
                appended.push(bytes);
                if let Fate::Told(position, _) = rig.last_fate() {
                    told += 1;
                    assert_eq!(position, Position(told));
                }
            }
            fail::remove(format!("journal::{point}"));
            drop(rig);

            let held = contents(directory.path());

            assert!(held.len() >= told as usize, "{point} after {after}: {told} told, {} held", held.len());
            assert_eq!(held[..], appended[..held.len()], "{point} after {after}");
        }
    }
}

#[test]
fn a_trim_that_stops_halfway_loses_nothing_else() {
    let _scenario = fail::FailScenario::setup();
    let directory = scratch();
    let rig = Rig::open(directory.path());
    for nth in 0..200 {
        rig.append_and_wait(&payload(nth));
    }
    fail::cfg("journal::trim", "panic").expect("is a fault");
    let stopped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| rig.journal().trim(Position(100))));
    assert!(stopped.is_err());
    fail::remove("journal::trim");
    drop(rig);

    let held = contents(directory.path());

    assert!(held.len() >= 100 && held.len() < 200, "{}", held.len());
    assert_eq!(held[..], (200 - held.len()..200).map(payload).collect::<Vec<_>>());
}

#[test]
fn a_failed_sync_of_parked_records_ends_the_process() {
    let _scenario = fail::FailScenario::setup();
    let directory = scratch();
    let rig = Rig::open(directory.path());
    rig.append_and_wait(&payload(0));
    let records = rig.journal().read(Position(1), 1000).expect("reads");
    rig.journal().park("north", &[]).expect("parks");
    fail::cfg("journal::sync_fails", "return").expect("is a fault");

    let parked = rig.journal().park("north", &records);

    assert!(parked.is_err());
    assert!(rig.stops.load(Ordering::SeqCst) >= 1);
}

/// What an opening makes of a journal whose last record has one flipped bit: the altered record, if it is served.
fn altered_record_is_served() -> bool {
    let folder = tempfile::tempdir().expect("a folder");
    let rig = Rig::open(folder.path());
    rig.append(b"first");
    rig.append(b"second");
    rig.fates.wait_for(1);
    rig.journal().close();
    drop(rig);
    let newest = std::fs::read_dir(folder.path()).expect("a folder").flatten().map(|entry| entry.path());
    let segment = newest.filter(|path| path.extension().is_some_and(|kind| kind == "segment")).max().expect("a segment");
    let mut bytes = std::fs::read(&segment).expect("reads");
    let at = bytes.windows(6).position(|window| window == b"second").expect("the record");
    bytes[at] ^= 1;
    std::fs::write(&segment, bytes).expect("writes");

    match EmbeddedJournal::open(folder.path(), Options::default()) {
        Ok(opened) => opened.journal.read(Position(1), 1 << 20).expect("reads").iter().any(|record| record.bytes == b"recond"),
        Err(refused) => {
            assert!(refused.to_string().contains("is damaged at byte"), "{refused}");
            false
        }
    }
}

#[test]
fn an_altered_record_is_never_served() {
    let _scenario = fail::FailScenario::setup();
    assert!(!altered_record_is_served());
}

#[test]
fn an_altered_record_control_a_skipped_checksum_is_caught() {
    let _scenario = fail::FailScenario::setup();
    fail::cfg("journal::skip_checksum", "return").expect("a fault");
    assert!(altered_record_is_served(), "the fault had no effect");
}
