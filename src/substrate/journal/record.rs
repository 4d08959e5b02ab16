//! The frame of one record: bytes in, bytes out, no files.
//!
//! ```text
//! magic 4 · checksum 4 · checksum of the frame before 4 · length 4 · epoch 4 · position 8 · durable 8 · payload
//! ```
//!
//! All numbers are little endian. The checksum is CRC32C over everything after itself (the payload by its own CRC32C, so that it
//! can be computed before the position is known), seeded with the journal's id: frames of another journal never pass. Each
//! frame names its predecessor's checksum, so frames can neither be left out nor swapped, and `durable`, a position whose sync
//! had returned before the frame was made: any later frame that is whole proves that those up to it were acknowledged.

use super::{JournalId, RECORD_BYTES_MAX};
use crate::support::faults::planted;
use crate::vocabulary::ids::Position;

/// What each frame begins with; the last byte is the format.
const MAGIC: [u8; 4] = *b"SJR\x01";

/// The bytes of a frame before its payload.
pub(super) const FRAME_HEADER_BYTES: usize = 36;

/// What all checksums of one journal (or of one shard's parking) begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seed(u32);

impl Seed {
    /// The seed of a journal; `purpose` tells its parts from each other.
    pub(super) fn of(id: JournalId, purpose: &str) -> Self {
        Self(crc32c::crc32c_append(crc32c::crc32c(id.0.as_bytes()), purpose.as_bytes()))
    }

    /// A checksum of `bytes` under this seed.
    pub(super) fn checksum(self, bytes: &[u8]) -> u32 {
        crc32c::crc32c_append(self.0, bytes)
    }
}

/// What a frame says of itself beside its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    /// The checksum of the frame before.
    pub(super) before: u32,
    /// Which opening of the journal wrote it.
    pub(super) epoch: u32,
    pub(super) position: Position,
    /// A position that was durable when the frame was made.
    pub(super) durable: Position,
}

/// A frame that is whole.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    pub(super) stamp: Stamp,
    pub(super) checksum: u32,
    pub(super) payload: &'a [u8],
}

impl Frame<'_> {
    /// The bytes it takes in the file.
    pub(super) fn encoded_bytes(&self) -> usize {
        FRAME_HEADER_BYTES + self.payload.len()
    }
}

/// Why bytes are not a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flaw {
    /// Only zeros where a header could be: nothing was written here.
    Blank,
    /// The bytes end before the frame does.
    Short,
    Magic,
    Length,
    Checksum,
    /// Whole, but not the frame that belongs here.
    OutOfPlace,
}

impl Flaw {
    pub(super) fn what(self) -> &'static str {
        match self {
            Self::Blank => "nothing is written where a record must be",
            Self::Short => "a record is cut off",
            Self::Magic => "no record begins here",
            Self::Length => "a record says a length that cannot be",
            Self::Checksum => "a record does not match its checksum",
            Self::OutOfPlace => "a record is not where it belongs",
        }
    }
}

/// Appends a frame to `buffer` and returns its checksum. `payload_checksum` is the plain CRC32C of `payload`.
pub(super) fn encode(buffer: &mut Vec<u8>, seed: Seed, stamp: Stamp, payload: &[u8], payload_checksum: u32) -> u32 {
    let mut header = [0_u8; FRAME_HEADER_BYTES];
    header[0..4].copy_from_slice(&MAGIC);
    header[8..12].copy_from_slice(&stamp.before.to_le_bytes());
    header[12..16].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    header[16..20].copy_from_slice(&stamp.epoch.to_le_bytes());
    header[20..28].copy_from_slice(&stamp.position.0.to_le_bytes());
    header[28..36].copy_from_slice(&stamp.durable.0.to_le_bytes());
    let checksum = checksum_of(seed, &header, payload_checksum);
    header[4..8].copy_from_slice(&checksum.to_le_bytes());
    buffer.extend_from_slice(&header);
    buffer.extend_from_slice(payload);
    checksum
}

/// The frame at the beginning of `bytes`. Nothing is allocated, whatever length it claims.
pub(super) fn decode(bytes: &[u8], seed: Seed) -> Result<Frame<'_>, Flaw> {
    let Some(header) = bytes.first_chunk::<FRAME_HEADER_BYTES>() else {
        return Err(if bytes.iter().all(|byte| *byte == 0) { Flaw::Blank } else { Flaw::Short });
    };
    if header[0..4] != MAGIC {
        return Err(if header.iter().all(|byte| *byte == 0) { Flaw::Blank } else { Flaw::Magic });
    }
    let length = read_u32(header, 12) as usize;
    if length > RECORD_BYTES_MAX {
        return Err(Flaw::Length);
    }
    let payload = bytes.get(FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + length).ok_or(Flaw::Short)?;
    let checksum = read_u32(header, 4);
    if checksum_of(seed, header, crc32c::crc32c(payload)) != checksum && !planted("journal::skip_checksum") {
        return Err(Flaw::Checksum);
    }
    let stamp = Stamp {
        before: read_u32(header, 8),
        epoch: read_u32(header, 16),
        position: Position(read_u64(header, 20)),
        durable: Position(read_u64(header, 28)),
    };
    Ok(Frame { stamp, checksum, payload })
}

/// The length that a header claims for its whole frame, if it may be believed; to know how much to read.
pub(super) fn claimed_bytes(header: &[u8]) -> Option<usize> {
    let header = header.first_chunk::<FRAME_HEADER_BYTES>()?;
    let length = read_u32(header, 12) as usize;
    (header[0..4] == MAGIC && length <= RECORD_BYTES_MAX).then_some(FRAME_HEADER_BYTES + length)
}

/// The checksum that the frame at the beginning of `bytes`, which was just encoded, carries.
pub(super) fn claimed_checksum(bytes: &[u8]) -> u32 {
    read_u32(bytes, 4)
}

/// Looks in bytes that are not a chain of frames for a whole frame which proves that something above `last` was durable.
/// Returns its offset.
pub(super) fn proof_of_durability(bytes: &[u8], seed: Seed, last: Position) -> Option<usize> {
    let mut offset = 0;
    while let Some(found) = bytes[offset..].windows(MAGIC.len()).position(|window| window == MAGIC) {
        offset += found;
        if let Ok(frame) = decode(&bytes[offset..], seed)
            && frame.stamp.durable > last
        {
            return Some(offset);
        }
        offset += 1;
    }
    None
}

fn checksum_of(seed: Seed, header: &[u8; FRAME_HEADER_BYTES], payload_checksum: u32) -> u32 {
    crc32c::crc32c_append(seed.checksum(&header[8..]), &payload_checksum.to_le_bytes())
}

pub(super) fn read_u32(bytes: &[u8], at: usize) -> u32 {
    let mut value = [0; 4];
    value.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(value)
}

pub(super) fn read_u64(bytes: &[u8], at: usize) -> u64 {
    let mut value = [0; 8];
    value.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp { before: 7, epoch: 3, position: Position(42), durable: Position(40) };

    fn seed() -> Seed {
        Seed::of(JournalId(uuid::Uuid::from_u128(1)), "main")
    }

    fn encoded(payload: &[u8]) -> Vec<u8> {
        let mut buffer = Vec::new();
        encode(&mut buffer, seed(), STAMP, payload, crc32c::crc32c(payload));
        buffer
    }

    #[test]
    fn a_frame_is_read_as_it_was_written() {
        for payload in [&b""[..], b"x", &[9; 1000]] {
            let bytes = encoded(payload);

            let frame = decode(&bytes, seed()).expect("whole");

            assert_eq!((frame.stamp, frame.payload, frame.encoded_bytes()), (STAMP, payload, bytes.len()));
        }
    }

    #[test]
    fn a_frame_with_any_bit_changed_is_refused() {
        let bytes = encoded(b"hello");
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);

            assert!(decode(&changed, seed()).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_frame_that_ends_early_is_refused() {
        let bytes = encoded(b"hello");
        for length in 0..bytes.len() {
            assert!(decode(&bytes[..length], seed()).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn a_frame_of_another_journal_is_refused() {
        let other = Seed::of(JournalId(uuid::Uuid::from_u128(2)), "main");

        assert_eq!(decode(&encoded(b"hello"), other), Err(Flaw::Checksum));
    }

    #[test]
    fn a_length_that_cannot_be_is_refused_before_it_is_believed() {
        let mut bytes = encoded(b"hello");
        bytes[12..16].copy_from_slice(&u32::MAX.to_le_bytes());

        assert_eq!(decode(&bytes, seed()), Err(Flaw::Length));
        assert_eq!(claimed_bytes(&bytes), None);
    }

    #[test]
    fn only_a_frame_that_names_a_later_durable_position_proves_anything() {
        let mut bytes = b"garbage SJR\x01 and more of it, long enough to be a header".to_vec();
        bytes.extend(encoded(b"hello"));

        assert!(proof_of_durability(&bytes, seed(), Position(39)).is_some());
        assert_eq!(proof_of_durability(&bytes, seed(), Position(40)), None);
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_bytes_never_panic_the_decoder(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let mut framed = MAGIC.to_vec();
            framed.extend(&bytes);
            let _ = decode(&bytes, seed());
            proptest::prop_assert!(decode(&framed, seed()).is_err());
            proptest::prop_assert_eq!(proof_of_durability(&framed, seed(), Position(0)), None);
        }
    }
}
