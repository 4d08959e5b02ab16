//! The low-water mark: a small file that says through which position the journal was durable, and what was trimmed.
//!
//! It is written after a sync has returned and *before* anybody is told, and itself synced only at rotation, at rest and at
//! close. So it never says too much; after a killed process it says exactly what was acknowledged, and after a power cut it may
//! be a little behind, where the stamps in the frames help. Two slots in two sectors are written in turn: a torn write leaves
//! the other one.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::disk;
use super::record::{Seed, read_u32, read_u64};
use crate::vocabulary::ids::Position;

const MAGIC: [u8; 8] = *b"SOSIKMK\x01";
const SLOT_BYTES: usize = 40;
/// One sector each, which disks write whole.
const SLOT_STRIDE: u64 = 512;

/// What a mark says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct MarkValue {
    /// Everything up to here was synced.
    pub(super) durable: Position,
    /// Everything up to here may be gone.
    pub(super) trimmed: Position,
    /// The opening that wrote it.
    pub(super) epoch: u32,
}

/// The mark of a journal or of one shard's parking.
#[derive(Debug)]
pub(super) struct Mark {
    file: File,
    seed: Seed,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    sequence: u64,
    value: MarkValue,
    synced: bool,
}

impl Mark {
    /// Opens or makes the file. A slot that cannot be read counts as not written.
    pub(super) fn open(path: &Path, seed: Seed) -> io::Result<Self> {
        let file = disk::open_or_create_file(path)?;
        let (sequence, value) = newest(&file, seed);
        if file.metadata()?.len() < 2 * SLOT_STRIDE {
            file.set_len(2 * SLOT_STRIDE)?;
        }
        Ok(Self { file, seed, state: Mutex::new(State { sequence, value, synced: true }) })
    }

    /// What the file says, without opening it for writing. Where there is none, nothing was written.
    pub(super) fn look(path: &Path, seed: Seed) -> io::Result<MarkValue> {
        match disk::open_file_to_read(path) {
            Ok(file) => Ok(newest(&file, seed).1),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(MarkValue::default()),
            Err(error) => Err(error),
        }
    }

    pub(super) fn value(&self) -> MarkValue {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).value
    }

    /// Changes what it says, in the page cache only.
    pub(super) fn write(&self, change: impl FnOnce(&mut MarkValue)) -> io::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state.value);
        state.sequence += 1;
        state.synced = false;
        let slot = encode_slot(self.seed, state.sequence, state.value);
        self.file.write_all_at(&slot, (state.sequence % 2) * SLOT_STRIDE)
    }

    /// Makes what it says durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if state.synced {
                return Ok(());
            }
            // Before the sync, and without holding the lock over it: a write meanwhile makes it unsynced again.
            state.synced = true;
        }
        disk::sync_data(&self.file)
    }

    pub(super) fn is_synced(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).synced
    }
}

/// The slot that was written last.
fn newest(file: &File, seed: Seed) -> (u64, MarkValue) {
    let slots = [0, 1].into_iter().filter_map(|slot| read_slot(file, slot, seed));
    slots.max_by_key(|(sequence, _)| *sequence).unwrap_or_default()
}

fn encode_slot(seed: Seed, sequence: u64, value: MarkValue) -> [u8; SLOT_BYTES] {
    let mut slot = [0; SLOT_BYTES];
    slot[0..8].copy_from_slice(&MAGIC);
    slot[8..16].copy_from_slice(&sequence.to_le_bytes());
    slot[16..24].copy_from_slice(&value.durable.0.to_le_bytes());
    slot[24..32].copy_from_slice(&value.trimmed.0.to_le_bytes());
    slot[32..36].copy_from_slice(&value.epoch.to_le_bytes());
    let checksum = seed.checksum(&slot[..36]);
    slot[36..40].copy_from_slice(&checksum.to_le_bytes());
    slot
}

fn read_slot(file: &File, slot: u64, seed: Seed) -> Option<(u64, MarkValue)> {
    let mut bytes = [0; SLOT_BYTES];
    // A slot that is not there is one that was never written.
    file.read_exact_at(&mut bytes, slot * SLOT_STRIDE).ok()?;
    if bytes[0..8] != MAGIC || seed.checksum(&bytes[..36]) != read_u32(&bytes, 36) {
        return None;
    }
    let value = MarkValue { durable: Position(read_u64(&bytes, 16)), trimmed: Position(read_u64(&bytes, 24)), epoch: read_u32(&bytes, 32) };
    Some((read_u64(&bytes, 8), value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::substrate::journal::JournalId;

    fn seed() -> Seed {
        Seed::of(JournalId(uuid::Uuid::from_u128(1)), "main")
    }

    #[test]
    fn a_mark_says_after_reopening_what_was_written_last() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("mark");
        let mark = Mark::open(&path, seed()).expect("opens");
        assert_eq!(mark.value(), MarkValue::default());
        for durable in 1..=5 {
            mark.write(|value| value.durable = Position(durable)).expect("writes");
        }
        mark.write(|value| value.trimmed = Position(3)).expect("writes");

        let again = Mark::open(&path, seed()).expect("opens");

        assert_eq!(again.value(), MarkValue { durable: Position(5), trimmed: Position(3), epoch: 0 });
    }

    #[test]
    fn a_torn_mark_falls_back_to_the_one_before_and_never_says_more() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("mark");
        let mark = Mark::open(&path, seed()).expect("opens");
        mark.write(|value| value.durable = Position(1)).expect("writes");
        mark.write(|value| value.durable = Position(2)).expect("writes");
        let bytes = std::fs::read(&path).expect("reads");

        for bit in 0..SLOT_BYTES * 8 {
            let mut torn = bytes.clone();
            torn[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, torn).expect("writes");

            assert_eq!(Mark::open(&path, seed()).expect("opens").value().durable, Position(1), "bit {bit}");
        }
    }
}
