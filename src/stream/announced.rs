//! The length that a client's frame announces, looked at before its bytes are collected: the codec of actix-ws compares it with the
//! limit only when the whole frame has come (actix-http 3.20, `ws/frame.rs`), and would collect a gigabyte until then.

use super::CLIENT_FRAME_BYTES_MAX;

/// Opcode, length, its longest extension, mask.
const HEADER_BYTES_MAX: usize = 14;
const MASK_BYTES: usize = 4;

/// A frame is longer than a client may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a frame announces more than {CLIENT_FRAME_BYTES_MAX} bytes")]
pub struct TooLong;

/// Follows the frames in a client's bytes.
#[derive(Debug, Default)]
pub struct Announced {
    header: [u8; HEADER_BYTES_MAX],
    known: u8,
    /// Of the payload that has not come yet.
    left: u16,
}

impl Announced {
    /// Looks at the next bytes, however they are cut.
    pub fn pass(&mut self, mut bytes: &[u8]) -> Result<(), TooLong> {
        while let Some((first, rest)) = bytes.split_first() {
            if self.left > 0 {
                let passed = usize::from(self.left).min(bytes.len());
                self.left -= passed as u16;
                bytes = &bytes[passed..];
                continue;
            }
            self.header[usize::from(self.known)] = *first;
            self.known += 1;
            bytes = rest;
            if let Some(length) = self.length() {
                if length > CLIENT_FRAME_BYTES_MAX as u64 {
                    return Err(TooLong);
                }
                self.left = length as u16;
                self.known = 0;
            }
        }
        Ok(())
    }

    /// The length of the payload, once the header is whole. What is wrong with it otherwise is the codec's to find.
    fn length(&self) -> Option<u64> {
        let known = &self.header[..usize::from(self.known)];
        let [_, second, ..] = known else { return None };
        let mask = if second & 0x80 == 0 { 0 } else { MASK_BYTES };
        let extension = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        if known.len() < 2 + extension {
            return None;
        }
        let length = match extension {
            0 => u64::from(second & 0x7f),
            _ => known[2..2 + extension].iter().fold(0, |length, byte| length << 8 | u64::from(*byte)),
        };
        // A length that is too long is told at once: the mask need not come.
        (length > CLIENT_FRAME_BYTES_MAX as u64 || known.len() == 2 + extension + mask).then_some(length)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(length: usize) -> Vec<u8> {
        let mut bytes = vec![0x81];
        match length {
            0..=125 => bytes.push(0x80 | length as u8),
            126..=65_535 => {
                bytes.push(0x80 | 126);
                bytes.extend_from_slice(&(length as u16).to_be_bytes());
            }
            _ => {
                bytes.push(0x80 | 127);
                bytes.extend_from_slice(&(length as u64).to_be_bytes());
            }
        }
        bytes.extend_from_slice(&[1, 2, 3, 4]);
        bytes.extend(std::iter::repeat_n(0x7f, length));
        bytes
    }

    fn passes(bytes: &[u8], cut: usize) -> bool {
        let mut announced = Announced::default();
        bytes.chunks(cut).all(|chunk| announced.pass(chunk).is_ok())
    }

    #[test]
    fn a_long_frame_is_known_by_its_header_alone() {
        let gigabyte = [0x81, 0xff, 0, 0, 0, 0, 0x40, 0, 0, 0];
        assert!(!passes(&gigabyte, 1));
        assert!(!passes(&[0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], 100));
        assert!(!passes(&[0x81, 0xfe, 0x10, 0x01], 100));
        assert!(passes(&gigabyte[..9], 1));
    }

    proptest! {
        #[test]
        fn frames_up_to_the_limit_pass_however_they_are_cut(lengths in prop::collection::vec(0..=4096_usize, 1..6), cut in 1..5000_usize) {
            let bytes: Vec<u8> = lengths.iter().flat_map(|length| frame(*length)).collect();
            prop_assert!(passes(&bytes, cut));
            let with_a_long_one: Vec<u8> = [bytes, frame(4097)].concat();
            prop_assert!(!passes(&with_a_long_one, cut));
        }
    }
}
