//! A WebSocket whose every byte is the test's own.

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::client::Person;
use super::socket::EVENT_TIMEOUT;

pub(crate) const TEXT: u8 = 0x1;
pub(crate) const BINARY: u8 = 0x2;
pub(crate) const CONTINUATION: u8 = 0x0;
pub(crate) const CLOSE: u8 = 0x8;
pub(crate) const PING: u8 = 0x9;
pub(crate) const PONG: u8 = 0xa;
pub(crate) const FINAL: u8 = 0x80;

/// A WebSocket whose every byte is ours.
pub(crate) struct Raw {
    pub(crate) stream: TcpStream,
    pub(crate) buffer: Vec<u8>,
}

/// A frame of the server.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) first: u8,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    pub(crate) fn close_code(&self) -> Option<u16> {
        (self.first == FINAL | CLOSE && self.payload.len() >= 2).then(|| u16::from_be_bytes([self.payload[0], self.payload[1]]))
    }
}

/// A frame as clients send it.
pub(crate) fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        length @ 0..=125 => bytes.push(0x80 | length as u8),
        length @ 126..=65_535 => {
            bytes.push(0x80 | 126);
            bytes.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            bytes.push(0x80 | 127);
            bytes.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    let mask = [0x12, 0x34, 0x56, 0x78];
    bytes.extend_from_slice(&mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

impl Raw {
    /// Signed in and greeted.
    pub(crate) async fn open(person: &Person) -> Self {
        let mut stream = TcpStream::connect(person.address.authority()).await.expect("a connection");
        let head = format!(
            "GET /v1/stream HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw==\r\nAuthorization: Bearer {}\r\n\r\n",
            person.address.authority(),
            person.token.as_deref().expect("signed in")
        );
        stream.write_all(head.as_bytes()).await.expect("it is sent");
        let mut raw = Self { stream, buffer: Vec::new() };
        let end = loop {
            if let Some(end) = raw.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            assert!(raw.read_more().await, "the handshake is answered");
        };
        let answer = String::from_utf8_lossy(&raw.buffer[..end]).into_owned();
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        raw.buffer.drain(..end);
        let hello = raw.frame().await.expect("a greeting");
        assert!(String::from_utf8_lossy(&hello.payload).contains("hello"));
        raw
    }

    async fn read_more(&mut self) -> bool {
        let read = timeout(EVENT_TIMEOUT, self.stream.read_buf(&mut self.buffer)).await.expect("bytes in time");
        read.is_ok_and(|count| count > 0)
    }

    /// The next frame; `None` at the end of the connection.
    pub(crate) async fn frame(&mut self) -> Option<Frame> {
        loop {
            let length = self.buffer.get(1).map(|byte| usize::from(byte & 0x7f));
            let (header, length) = match (length, &self.buffer[..]) {
                (Some(126), [_, _, high, low, ..]) => (4, usize::from(u16::from_be_bytes([*high, *low]))),
                (Some(length), _) if length < 126 => (2, length),
                _ => (usize::MAX, 0),
            };
            if header != usize::MAX && self.buffer.len() >= header + length {
                let frame = Frame { first: self.buffer[0], payload: self.buffer[header..header + length].to_vec() };
                assert_eq!(self.buffer[1] & 0x80, 0, "the server does not mask");
                self.buffer.drain(..header + length);
                return Some(frame);
            }
            if !self.read_more().await {
                return None;
            }
        }
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).await.is_ok()
    }

    pub(crate) async fn send_frame(&mut self, first: u8, payload: &[u8]) -> bool {
        self.send(&masked(first, payload)).await
    }

    /// The next event or pong: whatever is no ping.
    pub(crate) async fn answer(&mut self) -> Option<Frame> {
        loop {
            let frame = self.frame().await?;
            if frame.first != FINAL | PING {
                return Some(frame);
            }
        }
    }

    pub(crate) async fn event(&mut self) -> Value {
        let frame = self.answer().await.expect("a frame");
        assert_eq!(frame.first, FINAL | TEXT, "{frame:?}");
        serde_json::from_slice(&frame.payload).expect("JSON")
    }

    /// The code with which the server closes, after whatever else it says. 0: it cut the connection.
    pub(crate) async fn close_code(&mut self) -> u16 {
        while let Some(frame) = self.frame().await {
            if let Some(code) = frame.close_code() {
                return code;
            }
        }
        0
    }
}
