//! The embedded journal: its contract, and what only it promises.

mod corruption;
mod properties;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::contract::{Place, Told, append, journal_contract, payloads, read_all};
use super::embedded::{EmbeddedJournal, OpenError, Opened, Options};
use super::recovery::Refusal;
use super::{Draft, Journal, ReadError, Record};
use crate::vocabulary::ids::Position;

/// A directory that is gone when the test is over.
pub(super) struct Directory {
    root: tempfile::TempDir,
    segment_bytes: u64,
}

impl Directory {
    pub(super) fn new(segment_bytes: u64) -> Self {
        // In memory where that can be had: these tests open thousands of journals, and none looks at the disk behind its files.
        let memory = Path::new("/dev/shm");
        let root = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        Self { root: root.expect("a directory"), segment_bytes }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.root.path().join("journal")
    }

    pub(super) fn try_open(&self) -> Result<Opened, OpenError> {
        open_at(&self.path(), self.segment_bytes)
    }

    pub(super) fn open(&self) -> Opened {
        self.try_open().expect("opens")
    }

    /// The files as they are now, in another directory: what a killed process leaves.
    pub(super) fn copy(&self) -> Self {
        let copy = Self::new(self.segment_bytes);
        copy_directory(&self.path(), &copy.path());
        copy
    }

    pub(super) fn segments(&self) -> Vec<PathBuf> {
        super::segment::list_segments(&self.path()).expect("lists").into_iter().map(|(_, path)| path).collect()
    }
}

pub(super) fn open_at(path: &Path, segment_bytes: u64) -> Result<Opened, OpenError> {
    // A journal that is read from memory would not notice what was done to its files.
    let options = Options { segment_bytes, recent_bytes_max: 2000, ..Options::default() };
    EmbeddedJournal::open(path, options)
}

pub(super) fn copy_directory(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("makes");
    for entry in std::fs::read_dir(from).expect("lists") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy_directory(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("copies");
        }
    }
}

/// Position and bytes: locators differ between copies that were opened a different number of times.
pub(super) fn plain(records: &[Record]) -> Vec<(Position, Vec<u8>)> {
    records.iter().map(|record| (record.position, record.bytes.clone())).collect()
}

impl Place for Directory {
    fn tight() -> Self {
        Self::new(8 * 1024)
    }

    fn roomy() -> Self {
        Self::new(2 * super::RECORD_BYTES_MAX as u64)
    }

    fn open(&self) -> Arc<dyn Journal> {
        Arc::new(self.open().journal)
    }
}

mod contract {
    //! With segments so small that most tests pass several, and nearly nothing in memory.
    use super::*;

    journal_contract!(Directory);
}

mod contract_from_memory {
    //! With as much in memory as a server keeps: all reads but those after a restart come from there.
    use super::*;

    struct InMemory(Directory);

    impl Place for InMemory {
        fn tight() -> Self {
            Self(Directory::tight())
        }

        fn roomy() -> Self {
            Self(Directory::roomy())
        }

        fn open(&self) -> Arc<dyn Journal> {
            let options = Options { segment_bytes: self.0.segment_bytes, ..Options::default() };
            Arc::new(EmbeddedJournal::open(&self.0.path(), options).expect("opens").journal)
        }
    }

    journal_contract!(InMemory);
}

#[test]
fn with_an_interval_the_records_of_a_crowd_share_a_sync() {
    let directory = Directory::new(8192);
    let options = Options { sync_interval: Duration::from_secs(4), ..Options::default() };
    let journal = EmbeddedJournal::open(&directory.path(), options).expect("opens").journal;
    let rings = Arc::new(AtomicUsize::new(0));
    let counted = rings.clone();
    journal.set_bell(Arc::new(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
    }));
    let told = Told::new();

    // The first record's caller holds the journal up until a crowd has gathered.
    let (go_on, held) = std::sync::mpsc::channel::<()>();
    let durable = Box::new(move |_, _| held.recv().expect("released"));
    journal.append(Draft { bytes: b"first".to_vec(), durable }).expect("appends");
    for payload in payloads(20, 0) {
        journal.append(told.draft(&payload)).expect("appends");
    }
    go_on.send(()).expect("held");
    for _ in 0..2 {
        // Longer than a sync takes, and shorter than the interval.
        std::thread::sleep(Duration::from_millis(30));
        for payload in payloads(20, 0) {
            journal.append(told.draft(&payload)).expect("appends");
        }
    }

    assert_eq!((0..60).map(|_| told.next().0.0).collect::<Vec<_>>(), (2..=61).collect::<Vec<_>>());
    journal.close();
    // Without the interval each of the three crowds would have had a sync of its own.
    let rings = rings.load(Ordering::SeqCst);
    assert!(rings <= 2, "{rings} syncs");
}

#[test]
fn only_one_may_have_a_journal_open() {
    let directory = Directory::new(8192);
    let first = directory.open();

    assert!(matches!(directory.try_open(), Err(OpenError::InUse { .. })));

    drop(first);
    assert!(directory.try_open().is_ok());
}

#[test]
fn a_new_journal_begins_above_the_highest_position_of_any_shard() {
    let directory = tempfile::tempdir().expect("a directory");
    let options = Options { at_least: Position(500), ..Options::default() };
    let opened = EmbeddedJournal::open(directory.path(), options.clone()).expect("opens");
    assert!(opened.report.created);
    assert_eq!((opened.journal.durable(), opened.journal.first()), (Position(500), Position(501)));
    assert_eq!(append(&opened.journal, payloads(1, 0))[0].position, Position(501));
    drop(opened);

    let opened = EmbeddedJournal::open(directory.path(), Options { at_least: Position(9), ..options }).expect("opens");

    assert!(!opened.report.created);
    assert_eq!((opened.journal.durable(), opened.journal.first()), (Position(501), Position(501)));
}

#[test]
fn every_opening_has_a_higher_epoch_and_empty_ones_leave_no_files() {
    let directory = Directory::new(8192);

    let epochs: Vec<_> = (0..5).map(|_| directory.open().report.epoch).collect();

    assert_eq!(epochs, [1, 2, 3, 4, 5]);
    assert_eq!(directory.segments().len(), 1);
}

#[test]
fn its_files_are_for_its_owner_only() {
    let directory = Directory::new(8192);
    let opened = directory.open();
    let records = append(&opened.journal, payloads(100, 500));
    opened.journal.park("north", &records).expect("parks");

    let mut looked_at = 0;
    let mut open = vec![directory.path()];
    while let Some(path) = open.pop() {
        let metadata = std::fs::metadata(&path).expect("exists");
        assert_eq!(metadata.permissions().mode() & 0o077, 0, "{}", path.display());
        looked_at += 1;
        if metadata.is_dir() {
            open.extend(std::fs::read_dir(&path).expect("lists").map(|entry| entry.expect("an entry").path()));
        }
    }
    assert!(looked_at > 10);
}

#[test]
fn a_killed_process_leaves_every_record_that_was_told() {
    let directory = Directory::new(8192);
    let opened = directory.open();
    let mut all = Vec::new();
    for _ in 0..30 {
        all.extend(append(&opened.journal, payloads(7, 100)));

        let left = directory.copy().open();

        assert_eq!(plain(&read_all(&left.journal)), plain(&all));
        assert_eq!(left.report.cut, None);
    }
}

#[test]
fn a_trim_that_was_interrupted_is_finished_at_the_next_opening() {
    let directory = Directory::new(8192);
    let opened = directory.open();
    let all = append(&opened.journal, payloads(200, 500));
    let before = directory.copy();
    opened.journal.trim(Position(100)).expect("trims");
    let first = opened.journal.first();
    // The mark says what was trimmed, but the files are all there still; then some of them are.
    std::fs::copy(directory.path().join("mark"), before.path().join("mark")).expect("copies");
    let halfway = before.copy();
    std::fs::remove_file(&halfway.segments()[0]).expect("removes");

    for left in [before, halfway] {
        let left = left.open();

        assert_eq!(left.journal.first(), first);
        assert_eq!(plain(&read_all(&left.journal)), plain(&all[(first.0 - 1) as usize..]));
    }
}

#[test]
fn a_segment_of_a_newer_release_refuses_the_start() {
    let directory = Directory::new(8192);
    append(&directory.open().journal, payloads(3, 0));
    let path = directory.segments().remove(0);
    let mut bytes = std::fs::read(&path).expect("reads");
    bytes[8..12].copy_from_slice(&2_u32.to_le_bytes());
    let checksum = crc32c::crc32c(&bytes[..60]);
    bytes[60..64].copy_from_slice(&checksum.to_le_bytes());
    std::fs::write(&path, bytes).expect("writes");

    let refused = directory.try_open().err().expect("is refused");

    assert!(matches!(refused, OpenError::Refused(Refusal::Newer { format: 2, .. })), "{refused}");
}

#[test]
fn segments_of_another_journal_refuse_the_start() {
    let (mine, other) = (Directory::new(8192), Directory::new(8192));
    append(&mine.open().journal, payloads(3, 0));
    append(&other.open().journal, payloads(3, 0));
    std::fs::copy(&other.segments()[0], &mine.segments()[0]).expect("copies");

    let refused = mine.try_open().err().expect("is refused");

    assert!(matches!(refused, OpenError::Refused(Refusal::Foreign { .. })), "{refused}");
}

#[test]
fn segments_without_an_id_and_an_id_that_is_none_refuse_the_start() {
    let directory = Directory::new(8192);
    append(&directory.open().journal, payloads(3, 0));
    std::fs::write(directory.path().join("journal.id"), "not an id").expect("writes");
    assert!(matches!(directory.try_open(), Err(OpenError::Id { .. })));

    std::fs::remove_file(directory.path().join("journal.id")).expect("removes");

    assert!(matches!(directory.try_open(), Err(OpenError::IdMissing { .. })));
}

#[test]
fn damage_under_a_running_journal_is_an_error_and_not_a_record() {
    let directory = Directory::new(64 * 1024);
    let opened = directory.open();
    let all = append(&opened.journal, payloads(50, 500));
    let path = directory.segments().remove(0);
    let mut bytes = std::fs::read(&path).expect("reads");
    bytes[64 + 536 * 10 + 100] ^= 1;
    std::fs::write(&path, bytes).expect("writes");

    let sequential = opened.journal.read(Position(1), 1_000_000);
    let single = opened.journal.read_at(all[10].locator);

    assert!(matches!(sequential, Err(ReadError::Damaged { offset: 5424, .. })), "{sequential:?}");
    assert!(matches!(single, Err(ReadError::Damaged { offset: 5424, .. })), "{single:?}");
}
