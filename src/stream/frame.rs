//! A frame: written as JSON once, shared by all who receive it, as a WebSocket frame or as a server-sent event.
//!
//! What an event is goes in, bytes for the socket come out. The server's frames are not masked (RFC 6455, section 5.1), so
//! their bytes are the same for every client, header included. The server-sent form is made when the first such reader needs it.

mod events;

pub use events::{Bye, Hello, Numbers, ResetReason};

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::close_code::CloseCode;
use crate::vocabulary::ids::PostId;

/// Room before the text for the largest header of an unmasked frame.
const HEADER_BYTES_MAX: usize = 10;
const FINAL_TEXT: u8 = 0x81;
const FINAL_CLOSE: u8 = 0x88;
const FINAL_PING: u8 = 0x89;
const FINAL_PONG: u8 = 0x8a;
/// The longest payload of a control frame.
const CONTROL_BYTES_MAX: usize = 125;

/// What a frame is to the outbox that holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A place of the inbox: what a reader resumes from.
    Notification(u64),
    /// A place of the inbox to go on from.
    Reset(u64),
    /// Superseded by the next counts of the same post.
    Counts(PostId),
    Other,
    /// Of the protocol, without a name: not for readers of server-sent events.
    Control,
}

/// Cheap to clone.
#[derive(Debug, Clone)]
pub struct Frame(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    kind: Kind,
    event: &'static str,
    wire: Bytes,
    header: usize,
    sse: OnceLock<Bytes>,
}

impl Frame {
    /// A text frame around JSON.
    fn text(kind: Kind, event: &'static str, write: impl FnOnce(&mut Vec<u8>)) -> Self {
        let mut bytes = Vec::with_capacity(256);
        bytes.resize(HEADER_BYTES_MAX, 0);
        write(&mut bytes);
        let length = bytes.len() - HEADER_BYTES_MAX;
        let header = header_bytes(length);
        let start = HEADER_BYTES_MAX - header;
        put_header(&mut bytes[start..HEADER_BYTES_MAX], FINAL_TEXT, length);
        bytes.shrink_to_fit();
        Self(Arc::new(Inner { kind, event, wire: Bytes::from(bytes).slice(start..), header, sse: OnceLock::new() }))
    }

    fn control(opcode: u8, payload: &[u8]) -> Self {
        let payload = &payload[..payload.len().min(CONTROL_BYTES_MAX)];
        let mut bytes = vec![opcode, payload.len() as u8];
        bytes.extend_from_slice(payload);
        Self(Arc::new(Inner { kind: Kind::Control, event: "", wire: Bytes::from(bytes), header: 2, sse: OnceLock::new() }))
    }

    /// The frame that begins, or answers, the closing handshake.
    pub fn close(code: CloseCode) -> Self {
        let mut payload = code.code().to_be_bytes().to_vec();
        payload.extend_from_slice(code.reason().as_bytes());
        Self::control(FINAL_CLOSE, &payload)
    }

    /// The question whether the client is still there.
    pub fn ping() -> Self {
        Self::control(FINAL_PING, &[])
    }

    /// The answer to the client's ping.
    pub fn pong_to(payload: &[u8]) -> Self {
        Self::control(FINAL_PONG, payload)
    }

    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// As a WebSocket frame.
    pub fn wire(&self) -> &Bytes {
        &self.0.wire
    }

    /// The JSON alone.
    pub fn json(&self) -> &[u8] {
        &self.0.wire[self.0.header..]
    }

    /// As a server-sent event, without an id. JSON has no line breaks of its own.
    pub fn sse(&self) -> Bytes {
        let made = self.0.sse.get_or_init(|| {
            if self.0.kind == Kind::Control {
                return Bytes::from_static(b":\n\n");
            }
            let mut text = Vec::with_capacity(self.json().len() + self.0.event.len() + 20);
            text.extend_from_slice(b"event: ");
            text.extend_from_slice(self.0.event.as_bytes());
            text.extend_from_slice(b"\ndata: ");
            text.extend_from_slice(self.json());
            text.extend_from_slice(b"\n\n");
            Bytes::from(text)
        });
        made.clone()
    }

    /// How much of an outbox it takes, in bytes.
    pub fn weight(&self) -> usize {
        self.0.wire.len()
    }
}

fn header_bytes(length: usize) -> usize {
    match length {
        0..=125 => 2,
        126..=65_535 => 4,
        _ => 10,
    }
}

fn put_header(header: &mut [u8], opcode: u8, length: usize) {
    header[0] = opcode;
    match header.len() {
        2 => header[1] = length as u8,
        4 => {
            header[1] = 126;
            header[2..].copy_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            header[1] = 127;
            header[2..].copy_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_length(length: usize) -> Frame {
        Frame::text(Kind::Other, "pong", |bytes| bytes.extend(std::iter::repeat_n(b'x', length)))
    }

    #[test]
    fn the_header_has_the_shortest_form_for_its_length() {
        // RFC 6455, section 5.2: the minimal number of bytes must be used.
        let cases: [(usize, &[u8]); 5] = [
            (0, &[0x81, 0]),
            (125, &[0x81, 125]),
            (126, &[0x81, 126, 0, 126]),
            (65_535, &[0x81, 126, 0xff, 0xff]),
            (65_536, &[0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ];
        for (length, header) in cases {
            let frame = of_length(length);
            assert_eq!(&frame.wire()[..header.len()], header);
            assert_eq!(frame.json().len(), length);
            assert_eq!(frame.wire().len(), header.len() + length);
        }
    }

    #[test]
    fn a_close_frame_carries_code_and_reason() {
        let frame = Frame::close(CloseCode::BadFrame);
        let wire = frame.wire();

        assert_eq!(wire[0], 0x88);
        assert_eq!(usize::from(wire[1]), wire.len() - 2);
        assert_eq!(u16::from_be_bytes([wire[2], wire[3]]), 4400);
        assert_eq!(&wire[4..], CloseCode::BadFrame.reason().as_bytes());
    }

    #[test]
    fn a_pong_is_cut_to_what_a_control_frame_may_hold() {
        assert_eq!(Frame::pong_to(&[7; 200]).wire().len(), 2 + 125);
    }

    #[test]
    fn a_server_sent_event_names_its_event_and_holds_the_same_json() {
        let frame = Frame::pong();

        assert_eq!(&frame.sse()[..], b"event: pong\ndata: {\"event\":\"pong\"}\n\n");
        assert_eq!(&Frame::ping().sse()[..], b":\n\n");
    }
}
