//! Random histories and random damage, against a plain vector.

use std::path::PathBuf;

use proptest::prelude::*;

use super::super::contract::{append, read_all};
use super::super::embedded::{OpenError, Opened};
use super::super::{Journal, ReadError, Record};
use super::{Directory, plain};
use crate::support::cases::cases;
use crate::vocabulary::ids::Position;

#[derive(Debug, Clone)]
enum Step {
    Append {
        lengths: Vec<usize>,
    },
    Read {
        from: u64,
        bytes_max: usize,
    },
    ReadAt {
        nth: prop::sample::Index,
    },
    Trim {
        through: u64,
    },
    Reopen,
    /// The process is killed: what it left is opened.
    Crash,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => prop::collection::vec(prop_oneof![8 => 0..200_usize, 1 => 1000..4000_usize], 1..20).prop_map(|lengths| Step::Append { lengths }),
        3 => (0..200_u64, 0..5000_usize).prop_map(|(from, bytes_max)| Step::Read { from, bytes_max }),
        2 => any::<prop::sample::Index>().prop_map(|nth| Step::ReadAt { nth }),
        1 => (0..200_u64).prop_map(|through| Step::Trim { through }),
        1 => Just(Step::Reopen),
        1 => Just(Step::Crash),
    ];
    prop::collection::vec(step, 1..25)
}

/// The journal as a vector: the record at position `n` is `records[n - 1]`.
#[derive(Default)]
struct Model {
    records: Vec<Record>,
    trimmed: Position,
}

impl Model {
    fn check_read(&self, journal: &dyn Journal, from: Position, bytes_max: usize) {
        let read = journal.read(from, bytes_max);
        if from < journal.first() {
            assert!(matches!(read, Err(ReadError::Trimmed(_))));
            return;
        }
        let read = read.expect("reads");
        let rest = self.records.get(from.0 as usize - 1..).unwrap_or_default();
        assert_eq!(read[..], rest[..read.len()]);
        let bytes: usize = read.iter().map(|record| record.bytes.len()).sum();
        assert!(read.len() <= 1 || bytes <= bytes_max);
        // It stops only because the next one does not fit.
        assert!(rest.get(read.len()).is_none_or(|next| !read.is_empty() && bytes + next.bytes.len() > bytes_max));
    }

    fn check(&self, journal: &dyn Journal) {
        assert_eq!(journal.durable(), Position(self.records.len() as u64));
        assert!(journal.first() <= self.trimmed.next());
        assert_eq!(read_all(journal), self.records[journal.first().0 as usize - 1..]);
    }
}

fn payload(seed: usize, length: usize) -> Vec<u8> {
    (0..length).map(|at| (seed.wrapping_mul(31) ^ at.wrapping_mul(7)) as u8).collect()
}

proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn a_journal_is_a_vector_that_forgets_only_what_was_trimmed(steps in steps()) {
        let mut directory = Directory::new(8 * 1024);
        let mut open: Opened = directory.open();
        let mut model = Model::default();
        for step in steps {
            match step {
                Step::Append { lengths } => {
                    let known = model.records.len();
                    let payloads = lengths.iter().enumerate().map(|(nth, length)| payload(known + nth, *length));
                    model.records.extend(append(&open.journal, payloads));
                }
                Step::Read { from, bytes_max } => model.check_read(&open.journal, Position(from), bytes_max),
                Step::ReadAt { nth } if !model.records.is_empty() => {
                    let record = nth.get(&model.records);
                    match open.journal.read_at(record.locator) {
                        Ok(read) => prop_assert_eq!(&read, record),
                        Err(ReadError::Trimmed(_)) => prop_assert!(record.position < open.journal.first()),
                        Err(error) => panic!("{error}"),
                    }
                }
                Step::ReadAt { .. } => {}
                Step::Trim { through } => {
                    let through = Position(through).min(open.journal.durable());
                    open.journal.trim(through).expect("trims");
                    model.trimmed = model.trimmed.max(through);
                }
                Step::Reopen => {
                    drop(open);
                    open = directory.open();
                    model.check(&open.journal);
                }
                Step::Crash => {
                    let left = directory.copy();
                    drop(open);
                    directory = left;
                    open = directory.open();
                    prop_assert_eq!(&open.report.cut, &None);
                    model.check(&open.journal);
                }
            }
        }
        model.check(&open.journal);
    }
}

/// Something that happens to a file.
#[derive(Debug, Clone)]
enum Mutation {
    Flip { at: prop::sample::Index, bit: u8 },
    Overwrite { at: prop::sample::Index, bytes: Vec<u8> },
    Zero { at: prop::sample::Index, length: usize },
    Truncate { at: prop::sample::Index },
    Copy { from: prop::sample::Index, to: prop::sample::Index, length: usize },
    Append { bytes: Vec<u8> },
    Remove,
    ReplaceBy { other: prop::sample::Index },
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let index = any::<prop::sample::Index>;
    let bytes = || prop::collection::vec(any::<u8>(), 1..60);
    prop_oneof![
        4 => (index(), 0..8_u8).prop_map(|(at, bit)| Mutation::Flip { at, bit }),
        2 => (index(), bytes()).prop_map(|(at, bytes)| Mutation::Overwrite { at, bytes }),
        2 => (index(), 1..5000_usize).prop_map(|(at, length)| Mutation::Zero { at, length }),
        2 => index().prop_map(|at| Mutation::Truncate { at }),
        2 => (index(), index(), 1..2000_usize).prop_map(|(from, to, length)| Mutation::Copy { from, to, length }),
        1 => bytes().prop_map(|bytes| Mutation::Append { bytes }),
        1 => Just(Mutation::Remove),
        1 => index().prop_map(|other| Mutation::ReplaceBy { other }),
    ]
}

impl Mutation {
    fn apply(self, files: &[PathBuf], path: &PathBuf) {
        // A mutation before it may have removed the file.
        let mut bytes = std::fs::read(path).unwrap_or_default();
        let length = bytes.len();
        let position = |index: &prop::sample::Index| if length == 0 { 0 } else { index.index(length) };
        match self {
            Self::Flip { at, bit } if length > 0 => bytes[position(&at)] ^= 1 << bit,
            Self::Flip { .. } => {}
            Self::Overwrite { at, bytes: new } => {
                let at = position(&at);
                bytes.splice(at..(at + new.len()).min(length), new);
            }
            Self::Zero { at, length: zeros } => {
                let at = position(&at);
                bytes[at..(at + zeros).min(length)].fill(0);
            }
            Self::Truncate { at } => bytes.truncate(position(&at)),
            Self::Copy { from, to, length: copied } => {
                let (from, to) = (position(&from), position(&to));
                let copied = copied.min(length - from).min(length - to);
                bytes.copy_within(from..from + copied, to);
            }
            Self::Append { bytes: new } => bytes.extend(new),
            Self::Remove => {
                let _ = std::fs::remove_file(path);
                return;
            }
            Self::ReplaceBy { other } => bytes = std::fs::read(other.get(files)).unwrap_or_default(),
        }
        std::fs::write(path, bytes).expect("writes");
    }
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn a_mutated_journal_is_refused_or_holds_all_that_was_acknowledged(
        mutations in prop::collection::vec((any::<prop::sample::Index>(), mutation()), 1..4),
        rounds in prop::collection::vec(1..60_usize, 1..4),
        reopened in any::<bool>(),
        power_cut in any::<bool>(),
    ) {
        let mut directory = Directory::new(4 * 1024);
        let mut open = directory.open();
        let mut all = Vec::new();
        let mut marked = 0;
        let mut mark = Vec::new();
        for count in rounds {
            // What a power cut leaves of the mark may be older than the last records.
            marked = all.len();
            mark = std::fs::read(directory.path().join("mark")).expect("reads");
            if reopened {
                drop(open);
                open = directory.open();
            }
            let known = all.len();
            all.extend(plain(&append(&open.journal, (0..count).map(|nth| payload(known + nth, 10 + nth * 3)))));
        }
        let left = directory.copy();
        drop(open);
        directory = left;
        if power_cut {
            std::fs::write(directory.path().join("mark"), mark).expect("writes");
        } else {
            marked = all.len();
        }
        let files = directory.segments();

        for (file, mutation) in mutations {
            let path = file.get(&files);
            mutation.apply(&files, path);
        }

        match directory.try_open() {
            Ok(opened) => {
                let held = plain(&read_all(&opened.journal));
                prop_assert!(held.len() >= marked, "{} of {} records are left", held.len(), marked);
                prop_assert_eq!(&held[..], &all[..held.len()]);
            }
            Err(OpenError::Refused(_)) => {}
            Err(error) => panic!("neither opened nor refused: {error}"),
        }
    }

    #[test]
    fn with_a_mutated_mark_a_journal_still_holds_all_that_was_written(
        mutations in prop::collection::vec(mutation(), 1..4),
        count in 1..60_usize,
    ) {
        let live = Directory::new(4 * 1024);
        let opened = live.open();
        let all = plain(&append(&opened.journal, (0..count).map(|nth| payload(nth, 10 + nth * 3))));
        let directory = live.copy();
        let path = directory.path().join("mark");

        for mutation in mutations {
            mutation.apply(std::slice::from_ref(&path), &path);
        }

        let opened = directory.try_open().expect("a mark that says nothing refuses nothing");
        prop_assert_eq!(plain(&read_all(&opened.journal)), all);
    }
}
