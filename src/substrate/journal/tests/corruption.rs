//! Journals that something was done to: the start is refused, or everything that was acknowledged is there as it was written.
//!
//! `Torn` has a mark that stands before its last three records, as a power cut leaves it: what follows may be cut. `Marked` has
//! the mark of a killed process, which says exactly what was acknowledged: nothing may be missing.

use std::path::{Path, PathBuf};

use super::super::contract::{append, payloads, read_all};
use super::super::embedded::OpenError;
use super::super::record::FRAME_HEADER_BYTES;
use super::super::recovery::Refusal;
use super::super::segment::{SEGMENT_HEADER_BYTES, list_segments};
use super::super::{Journal, Record};
use super::{Directory, open_at, plain};
use crate::vocabulary::ids::Position;

const SEGMENT_BYTES: u64 = 8 * 1024;
const PAYLOAD_BYTES: usize = 100;
const FRAME_BYTES: usize = FRAME_HEADER_BYTES + PAYLOAD_BYTES;

/// A journal of three segments that was copied as it stood; the last one has 10 records.
struct Sample {
    directory: Directory,
    records: Vec<Record>,
    /// The file and the bytes of its last segment, and where its frames end.
    tail: (PathBuf, Vec<u8>, usize),
}

#[derive(PartialEq, Clone, Copy)]
enum Mark {
    Marked,
    /// The mark is from before the last three records, of which the last two came in one group.
    Torn,
}

impl Sample {
    fn new(mark: Mark) -> Self {
        let live = Directory::new(SEGMENT_BYTES);
        let opened = live.open();
        let a_segment = (SEGMENT_BYTES as usize - SEGMENT_HEADER_BYTES) / FRAME_BYTES;
        let mut records = append(&opened.journal, payloads(2 * a_segment + 7, PAYLOAD_BYTES));
        let before = std::fs::read(live.path().join("mark")).expect("reads");
        records.extend(append_as_one_group(&opened.journal, 3));
        let directory = live.copy();
        if mark == Mark::Torn {
            std::fs::write(directory.path().join("mark"), before).expect("writes");
        }
        let path = directory.segments().pop().expect("a segment");
        let bytes = std::fs::read(&path).expect("reads");
        assert_eq!(directory.segments().len(), 3);
        Self { directory, records, tail: (path, bytes, SEGMENT_HEADER_BYTES + 10 * FRAME_BYTES) }
    }

    fn acknowledged(&self, mark: Mark) -> usize {
        self.records.len() - if mark == Mark::Torn { 3 } else { 0 }
    }

    /// Opens a copy whose last segment is `bytes`.
    fn open_with_tail(&self, bytes: &[u8]) -> Outcome {
        std::fs::write(&self.tail.0, bytes).expect("writes");
        self.open()
    }

    fn open(&self) -> Outcome {
        outcome(&self.directory.copy().path())
    }
}

/// Records of which all but the first share a sync, since the journal's thread is kept busy by the first: none of them says
/// that another one of them was durable.
fn append_as_one_group(journal: &dyn Journal, count: usize) -> Vec<Record> {
    let (release, held) = std::sync::mpsc::channel::<()>();
    let (began, begins) = std::sync::mpsc::channel();
    let released = std::sync::Mutex::new(Some(held));
    journal.set_bell(std::sync::Arc::new(move |_| {
        if let Some(held) = released.lock().expect("a lock").take() {
            began.send(()).expect("the test listens");
            held.recv().expect("the test releases");
        }
    }));
    let mut records = append(journal, payloads(1, PAYLOAD_BYTES));
    begins.recv().expect("the bell rang");
    let told = super::super::contract::Told::new();
    for payload in payloads(count - 1, PAYLOAD_BYTES) {
        journal.append(told.draft(&payload)).expect("appends");
    }
    release.send(()).expect("the journal waits");
    for payload in payloads(count - 1, PAYLOAD_BYTES) {
        let (position, locator) = told.next();
        records.push(Record { position, locator, bytes: payload });
    }
    super::super::contract::wait_until(|| journal.durable() >= records[count - 1].position);
    records
}

#[derive(Debug)]
enum Outcome {
    Refused { file: PathBuf, offset: u64 },
    Opened { held: Vec<(Position, Vec<u8>)>, cut: Option<(u64, u64)> },
}

fn outcome(path: &Path) -> Outcome {
    match open_at(path, SEGMENT_BYTES) {
        Ok(opened) => {
            let held = plain(&read_all(&opened.journal));
            // It must also be a journal that goes on.
            let next = append(&opened.journal, [b"more".to_vec()]).remove(0);
            assert_eq!(next.position.0, held.len() as u64 + 1);
            assert_eq!(opened.journal.read(next.position, 100).expect("reads"), [next]);
            Outcome::Opened { held, cut: opened.report.cut.map(|cut| (cut.offset, cut.bytes)) }
        }
        Err(OpenError::Refused(Refusal::Damaged { file, offset, .. })) => Outcome::Refused { file: file.into(), offset },
        Err(error) => panic!("neither opened nor damaged: {error}"),
    }
}

impl Sample {
    /// The only two things that may happen to a damaged journal.
    fn assert_nothing_acknowledged_is_lost(&self, outcome: &Outcome, acknowledged: usize, what: &str) {
        if let Outcome::Opened { held, .. } = outcome {
            assert!(held.len() >= acknowledged, "{what}: {} of {acknowledged} records are left", held.len());
            assert_eq!(held[..], plain(&self.records)[..held.len()], "{what}");
        }
    }

    fn assert_refused_in_tail(&self, outcome: &Outcome, at: usize, what: &str) {
        let Outcome::Refused { file, offset } = outcome else { panic!("{what}: was opened") };
        assert_eq!(file.file_name(), self.tail.0.file_name(), "{what}");
        assert_eq!(*offset, at as u64, "{what}");
    }
}

#[test]
fn a_torn_tail_is_cut_at_every_byte_of_the_last_three_records() {
    let sample = Sample::new(Mark::Torn);
    let (_, bytes, end) = &sample.tail;
    let begin = end - 3 * FRAME_BYTES;
    for length in begin..*end {
        let whole = (length - begin) / FRAME_BYTES;
        for (what, mut torn) in [("truncated", bytes[..length].to_vec()), ("zeroed", bytes.clone())] {
            torn[length..].fill(0);

            let outcome = sample.open_with_tail(&torn);

            let Outcome::Opened { held, cut } = outcome else { panic!("{what} at {length}: refused") };
            assert_eq!(held, plain(&sample.records)[..sample.records.len() - 3 + whole], "{what} at {length}");
            let expected = begin + whole * FRAME_BYTES;
            assert!(cut.is_none_or(|(offset, _)| offset == expected as u64), "{what} at {length}: {cut:?}");
        }
    }
}

#[test]
fn a_tail_that_was_acknowledged_is_never_cut() {
    // Caught fault: a mark that is not written, or written behind the acknowledgement.
    let sample = Sample::new(Mark::Marked);
    let (_, bytes, end) = &sample.tail;
    for length in (end - 3 * FRAME_BYTES..*end).step_by(7) {
        let mut torn = bytes.clone();
        torn[length..].fill(0);

        let outcome = sample.open_with_tail(&torn);

        let at = SEGMENT_HEADER_BYTES + (length - SEGMENT_HEADER_BYTES) / FRAME_BYTES * FRAME_BYTES;
        sample.assert_refused_in_tail(&outcome, at, &format!("cut at {length}"));
    }
}

#[test]
fn every_bit_of_the_last_record_is_guarded() {
    for mark in [Mark::Torn, Mark::Marked] {
        let sample = Sample::new(mark);
        let (_, bytes, end) = &sample.tail;
        for bit in (end - FRAME_BYTES) * 8..end * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);

            let outcome = sample.open_with_tail(&flipped);

            match (mark, &outcome) {
                (Mark::Marked, _) => sample.assert_refused_in_tail(&outcome, end - FRAME_BYTES, &format!("bit {bit}")),
                (Mark::Torn, Outcome::Opened { held, .. }) => {
                    assert_eq!(held[..], plain(&sample.records)[..sample.records.len() - 1], "bit {bit}");
                }
                (Mark::Torn, Outcome::Refused { .. }) => panic!("bit {bit}: an unacknowledged tail was not cut"),
            }
        }
    }
}

#[test]
fn damage_before_the_mark_refuses_the_start_and_names_file_and_offset() {
    // Caught fault: a reader that stops at the first bad record and calls the rest torn.
    for mark in [Mark::Torn, Mark::Marked] {
        let sample = Sample::new(mark);
        for (at, path) in sample.directory.segments().into_iter().enumerate() {
            let bytes = std::fs::read(&path).expect("reads");
            for frame in [0, 3, 6] {
                let begin = SEGMENT_HEADER_BYTES + frame * FRAME_BYTES;
                let mut flipped = bytes.clone();
                flipped[begin + 50] ^= 0x10;
                std::fs::write(&path, flipped).expect("writes");

                let outcome = sample.open();

                let Outcome::Refused { file, offset } = outcome else { panic!("segment {at}, frame {frame}: was opened") };
                assert_eq!((file.file_name(), offset), (path.file_name(), begin as u64));
            }
            std::fs::write(&path, bytes).expect("writes");
        }
    }
}

#[test]
fn without_a_mark_later_records_still_prove_what_was_durable() {
    // A power cut may take what the mark said last; the stamps in the frames are synced with them.
    let sample = Sample::new(Mark::Torn);
    std::fs::remove_file(sample.directory.path().join("mark")).expect("removes");
    let (_, bytes, end) = &sample.tail;
    let mut flipped = bytes.clone();
    flipped[end - 4 * FRAME_BYTES + 20] ^= 1;

    let outcome = sample.open_with_tail(&flipped);

    sample.assert_refused_in_tail(&outcome, end - 4 * FRAME_BYTES, "the record before the last group");
}

#[test]
fn a_damaged_segment_header_refuses_the_start_if_anything_in_it_was_durable() {
    for mark in [Mark::Torn, Mark::Marked] {
        let sample = Sample::new(mark);
        for path in sample.directory.segments() {
            let bytes = std::fs::read(&path).expect("reads");
            for bit in (0..SEGMENT_HEADER_BYTES * 8).step_by(3) {
                let mut flipped = bytes.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                std::fs::write(&path, flipped).expect("writes");

                let Outcome::Refused { file, offset: 0 } = sample.open() else { panic!("bit {bit} of {}", path.display()) };

                assert_eq!(file.file_name(), path.file_name());
            }
            std::fs::write(&path, bytes).expect("writes");
        }
    }
}

#[test]
fn zeroed_pages_are_cut_or_refused() {
    for mark in [Mark::Torn, Mark::Marked] {
        let sample = Sample::new(mark);
        let acknowledged = sample.acknowledged(mark);
        for path in sample.directory.segments() {
            let bytes = std::fs::read(&path).expect("reads");
            for begin in (0..bytes.len()).step_by(512) {
                let mut zeroed = bytes.clone();
                zeroed[begin..(begin + 512).min(bytes.len())].fill(0);
                let harmless = zeroed == bytes;
                std::fs::write(&path, zeroed).expect("writes");

                let outcome = sample.open();

                sample.assert_nothing_acknowledged_is_lost(&outcome, acknowledged, &format!("zeroed at {begin}"));
                assert!(!harmless || matches!(outcome, Outcome::Opened { .. }));
            }
            std::fs::write(&path, bytes).expect("writes");
        }
    }
}

#[test]
fn swapped_blocks_are_cut_or_refused() {
    // Caught faults: no mark, or one that nobody looks at.
    for mark in [Mark::Torn, Mark::Marked] {
        let sample = Sample::new(mark);
        let (_, bytes, end) = &sample.tail;
        for size in [64, FRAME_BYTES] {
            let blocks = (end - SEGMENT_HEADER_BYTES) / size;
            for (one, other) in (0..blocks).flat_map(|one| (one + 1..blocks).map(move |other| (one, other))).step_by(5) {
                let (one, other) = (SEGMENT_HEADER_BYTES + one * size, SEGMENT_HEADER_BYTES + other * size);
                let mut swapped = bytes.clone();
                let (low, high) = swapped.split_at_mut(other);
                low[one..one + size].swap_with_slice(&mut high[..size]);

                let outcome = sample.open_with_tail(&swapped);

                let what = format!("swapped {size} bytes at {one} and {other}");
                sample.assert_nothing_acknowledged_is_lost(&outcome, sample.acknowledged(mark), &what);
            }
        }
    }
}

#[test]
fn a_duplicated_tail_and_garbage_are_cut() {
    let sample = Sample::new(Mark::Marked);
    let (_, bytes, end) = &sample.tail;
    let garbage: Vec<u8> = (0..500_u32).map(|nth| (nth.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for (what, added) in [
        ("the last record again", &bytes[end - FRAME_BYTES..*end]),
        ("the last three again", &bytes[end - 3 * FRAME_BYTES..*end]),
        ("the whole segment again", &bytes[..*end]),
        ("garbage", &garbage),
        ("ones", &[0xff; 200]),
    ] {
        for in_place in [true, false] {
            let mut tail = bytes[..*end].to_vec();
            tail.extend_from_slice(added);
            if in_place && tail.len() < bytes.len() {
                tail.resize(bytes.len(), 0);
            }

            let Outcome::Opened { held, cut } = sample.open_with_tail(&tail) else { panic!("{what}: refused") };

            assert_eq!(held, plain(&sample.records), "{what}");
            assert_eq!(cut, Some((*end as u64, added.len() as u64)), "{what}");
        }
    }
}

#[test]
fn a_stale_segment_put_back_is_never_taken_for_the_journal() {
    let directory = Directory::new(SEGMENT_BYTES);
    let opened = directory.open();
    append(&opened.journal, payloads(40, PAYLOAD_BYTES));
    drop(opened);
    let old: Vec<_> = list_segments(&directory.path()).expect("lists");
    let saved: Vec<_> = old.iter().map(|(first, path)| (*first, std::fs::read(path).expect("reads"))).collect();
    let opened = directory.open();
    append(&opened.journal, payloads(200, PAYLOAD_BYTES));
    let acknowledged = opened.journal.durable();
    opened.journal.trim(Position(41)).expect("trims");
    let first = opened.journal.first();
    let held = plain(&read_all(&opened.journal));
    assert!(first > Position(1));

    for (stale_first, bytes) in &saved {
        for name in [*stale_first, first, Position(acknowledged.0 - 3), acknowledged.next()] {
            let copy = directory.copy();
            std::fs::write(copy.path().join(format!("{:020}.segment", name.0)), bytes).expect("writes");

            match open_at(&copy.path(), SEGMENT_BYTES) {
                Ok(left) => assert_eq!(plain(&read_all(&left.journal)), held, "put back as {name}"),
                Err(OpenError::Refused(Refusal::Damaged { .. })) => assert_ne!(name, *stale_first, "a leftover of a trim refuses"),
                Err(error) => panic!("{error}"),
            }
        }
    }
}

#[test]
fn a_record_of_another_history_of_the_same_journal_is_never_served() {
    // Two copies went on differently: journal, epoch, positions and lengths agree. Caught fault: a chain that is not checked.
    let mine = Directory::new(SEGMENT_BYTES);
    drop(mine.open());
    let other = mine.copy();
    let (mine_open, other_open) = (mine.open(), other.open());
    let records: Vec<_> = (0..5).flat_map(|nth| append(&mine_open.journal, [vec![nth; PAYLOAD_BYTES]])).collect();
    (0..5).for_each(|nth| drop(append(&other_open.journal, [vec![nth + 100; PAYLOAD_BYTES]])));
    let foreign = std::fs::read(&other.segments()[0]).expect("reads");
    for mark in [Mark::Marked, Mark::Torn] {
        for nth in 0..5 {
            let copy = mine.copy();
            if mark == Mark::Torn {
                std::fs::remove_file(copy.path().join("mark")).expect("removes");
            }
            let path = copy.segments().remove(0);
            let mut bytes = std::fs::read(&path).expect("reads");
            let frame = SEGMENT_HEADER_BYTES + nth * FRAME_BYTES..SEGMENT_HEADER_BYTES + (nth + 1) * FRAME_BYTES;
            bytes[frame.clone()].copy_from_slice(&foreign[frame.clone()]);
            std::fs::write(&path, bytes).expect("writes");

            match outcome(&copy.path()) {
                Outcome::Refused { offset, .. } => {
                    // The first foreign record continues the same chain: it is its successor that does not.
                    let expected = if nth == 0 { frame.end } else { frame.start };
                    assert_eq!(offset, expected as u64, "record {nth}");
                }
                // Only the last record, of which nothing says that it was durable.
                Outcome::Opened { held, .. } => {
                    assert_eq!((mark == Mark::Torn, nth, held), (true, 4, plain(&records[..4])));
                }
            }
        }
    }
}

#[test]
fn a_missing_segment_refuses_the_start() {
    for mark in [Mark::Torn, Mark::Marked] {
        let sample = Sample::new(mark);
        for missing in 0..3 {
            let copy = sample.directory.copy();
            std::fs::remove_file(&copy.segments()[missing]).expect("removes");

            assert!(matches!(outcome(&copy.path()), Outcome::Refused { .. }), "without segment {missing}");
        }
    }
}

#[test]
fn an_older_last_segment_put_back_refuses_the_start() {
    let directory = Directory::new(SEGMENT_BYTES);
    let opened = directory.open();
    append(&opened.journal, payloads(10, PAYLOAD_BYTES));
    let older = std::fs::read(&directory.segments()[0]).expect("reads");
    append(&opened.journal, payloads(10, PAYLOAD_BYTES));
    let copy = directory.copy();
    std::fs::write(&copy.segments()[0], older).expect("writes");

    let Outcome::Refused { offset, .. } = outcome(&copy.path()) else { panic!("was opened") };

    assert_eq!(offset, (SEGMENT_HEADER_BYTES + 10 * FRAME_BYTES) as u64);
}

#[test]
fn a_torn_write_behind_parked_records_is_cut() {
    let directory = Directory::new(SEGMENT_BYTES);
    let opened = directory.open();
    let records = append(&opened.journal, payloads(20, PAYLOAD_BYTES));
    opened.journal.park("north", &records[..10]).expect("parks");
    let copy = directory.copy();
    let (_, path) = list_segments(&copy.path().join("parked/shard-north")).expect("lists").remove(0);
    let mut bytes = std::fs::read(&path).expect("reads");
    bytes.extend(b"SJR\x01 and then the power went");
    std::fs::write(&path, bytes).expect("writes");

    let opened = copy.open();

    let parked = |journal: &dyn Journal| plain(&journal.read_parked("north", Position::START, 1_000_000).expect("reads"));
    assert_eq!(parked(&opened.journal), plain(&records[..10]));
    opened.journal.park("north", &records).expect("parks the rest");
    assert_eq!(parked(&opened.journal), plain(&records));
}

#[test]
fn damaged_parking_stops_its_shard_only() {
    let directory = Directory::new(SEGMENT_BYTES);
    let opened = directory.open();
    let records = append(&opened.journal, payloads(150, PAYLOAD_BYTES));
    opened.journal.park("north", &records).expect("parks");
    opened.journal.park("south", &records).expect("parks");
    let parked = list_segments(&directory.path().join("parked/shard-north")).expect("lists");
    let (_, path) = &parked[parked.len() - 1];
    let bytes = std::fs::read(path).expect("reads");
    let end = bytes.iter().rposition(|byte| *byte != 0).expect("not empty");
    for at in [100, end] {
        let copy = directory.copy();
        let mut flipped = bytes.clone();
        flipped[at] ^= 1;
        std::fs::write(copy.path().join("parked/shard-north").join(path.file_name().expect("a name")), flipped).expect("writes");

        let opened = copy.open();

        let north = opened.journal.read_parked("north", Position::START, 1000);
        assert!(matches!(north, Err(super::ReadError::Damaged { .. })), "{north:?}");
        assert_eq!(plain(&opened.journal.read_parked("south", Position::START, 1_000_000).expect("reads")), plain(&records));
    }
}
