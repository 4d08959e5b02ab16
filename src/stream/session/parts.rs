//! A message that comes in several frames, put together. At most as long as one frame may be.

use crate::stream::CLIENT_FRAME_BYTES_MAX;
use crate::stream::close_code::CloseCode;

/// Holds nothing between messages.
#[derive(Debug, Default)]
pub(super) struct Parts(Option<Vec<u8>>);

impl Parts {
    pub(super) fn begin(&mut self, bytes: &[u8]) -> Result<(), CloseCode> {
        self.0 = Some(Vec::new());
        self.add(bytes)
    }

    pub(super) fn add(&mut self, bytes: &[u8]) -> Result<(), CloseCode> {
        // The codec lets no part through that continues nothing.
        let whole = self.0.get_or_insert_default();
        if whole.len() + bytes.len() > CLIENT_FRAME_BYTES_MAX {
            return Err(CloseCode::FrameTooBig);
        }
        whole.extend_from_slice(bytes);
        Ok(())
    }

    pub(super) fn end(&mut self, bytes: &[u8]) -> Result<String, CloseCode> {
        self.add(bytes)?;
        String::from_utf8(self.0.take().unwrap_or_default()).map_err(|_cause: std::string::FromUtf8Error| CloseCode::NotUtf8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_may_be_split_over_two_parts() {
        let mut parts = Parts::default();
        let text = "소식".as_bytes();

        parts.begin(&text[..1]).expect("fits");
        parts.add(&text[1..5]).expect("fits");

        assert_eq!(parts.end(&text[5..]).as_deref(), Ok("소식"));
        parts.begin(&text[..1]).expect("fits");
        assert_eq!(parts.end(b""), Err(CloseCode::NotUtf8));
    }

    #[test]
    fn parts_are_together_no_longer_than_a_frame() {
        let mut parts = Parts::default();
        parts.begin(&[b'x'; 4000]).expect("fits");
        assert_eq!(parts.end(&[b'x'; 96]).map(|text| text.len()), Ok(4096));

        parts.begin(&[b'x'; 4000]).expect("fits");
        assert_eq!(parts.add(&[b'x'; 97]), Err(CloseCode::FrameTooBig));
    }
}
