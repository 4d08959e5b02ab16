//! A minimal WebSocket client, and the stream's ops on it: a handshake, short frames out, messages in. Frames are found by their headers
//! and nothing is decoded that is not asked for, so that ten thousand of them cost little beside the server.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Outcome;

/// Most frames are shorter; room for more is made when it is needed, and kept small since there are many sockets.
const BUFFER_BYTES: usize = 1024;
const FINAL_TEXT: u8 = 0x81;
const FINAL_BINARY: u8 = 0x82;
const FINAL_CLOSE: u8 = 0x88;
const FINAL_PING: u8 = 0x89;
const FINAL_PONG: u8 = 0x8a;

pub(crate) struct Socket {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// Bytes of the buffer that were looked at.
    taken: usize,
}

impl Socket {
    /// Signed in, and greeted.
    pub(crate) async fn open(address: SocketAddr, token: &str) -> Outcome<Self> {
        let mut socket = Self::upgrade(address, "/v1/stream", &format!("Authorization: Bearer {token}\r\n")).await?;
        socket.text_with("\"hello\"").await?;
        Ok(socket)
    }

    /// A connection after its handshake. More headers end with their line ends.
    pub(crate) async fn upgrade(address: SocketAddr, path: &str, headers: &str) -> Outcome<Self> {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw==\r\n{headers}\r\n"
        );
        stream.write_all(head.as_bytes()).await?;
        let mut socket = Self { stream, buffer: Vec::with_capacity(BUFFER_BYTES), taken: 0 };
        let end = loop {
            if let Some(end) = socket.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            socket.read_more().await?;
        };
        if !socket.buffer.starts_with(b"HTTP/1.1 101") {
            return Err(format!("no upgrade: {}", String::from_utf8_lossy(&socket.buffer[..end])).into());
        }
        socket.taken = end;
        Ok(socket)
    }

    async fn read_more(&mut self) -> io::Result<()> {
        self.buffer.drain(..self.taken);
        self.taken = 0;
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// Sends a short frame. The mask of zeros is a mask too.
    async fn send(&mut self, first: u8, payload: &[u8]) -> io::Result<()> {
        let mut frame = vec![first, 0x80 | payload.len() as u8, 0, 0, 0, 0];
        frame.extend_from_slice(payload);
        self.stream.write_all(&frame).await
    }

    /// Sends a short message of bytes.
    pub(crate) async fn send_bytes(&mut self, payload: &[u8]) -> io::Result<()> {
        self.send(FINAL_BINARY, payload).await
    }

    pub(crate) async fn watch(&mut self, post: &str) -> Outcome<()> {
        self.send(FINAL_TEXT, format!(r#"{{"op":"watch","post":"{post}"}}"#).as_bytes()).await?;
        self.text_with("\"watching\"").await.map(drop)
    }

    /// The next message, as a place in the buffer. Pings are answered.
    pub(crate) async fn message(&mut self) -> Outcome<&[u8]> {
        loop {
            let Some((first, payload)) = frame_in(&self.buffer[self.taken..]) else {
                self.read_more().await?;
                continue;
            };
            let payload = self.taken + payload.start..self.taken + payload.end;
            self.taken = payload.end;
            match first {
                FINAL_TEXT | FINAL_BINARY => return Ok(&self.buffer[payload]),
                FINAL_PING => self.send(FINAL_PONG, &[]).await?,
                FINAL_CLOSE => return Err(format!("closed: {}", String::from_utf8_lossy(&self.buffer[payload])).into()),
                _ => {}
            }
        }
    }

    /// Reads until a frame holds this; how many it was.
    pub(crate) async fn text_with(&mut self, wanted: &str) -> Outcome<u64> {
        let mut frames = 0;
        loop {
            let text = self.message().await?;
            frames += 1;
            if text.windows(wanted.len()).any(|window| window == wanted.as_bytes()) {
                return Ok(frames);
            }
        }
    }
}

/// The first byte of the first frame, and where its payload lies; `None` if it is not whole.
fn frame_in(bytes: &[u8]) -> Option<(u8, std::ops::Range<usize>)> {
    let (start, length) = match *bytes {
        [_, 126, high, low, ..] => (4, usize::from(u16::from_be_bytes([high, low]))),
        [_, 127, ..] => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?) as usize),
        [_, length, ..] if length < 126 => (2, usize::from(length)),
        _ => return None,
    };
    (bytes.len() >= start + length).then(|| (bytes[0], start..start + length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_found_once_it_is_whole() {
        let short = [0x81, 2, b'h', b'i', 0x81];
        assert_eq!(frame_in(&short), Some((0x81, 2..4)));
        assert_eq!(frame_in(&short[..3]), None);

        let mut long = vec![0x81, 126, 1, 0];
        long.extend([b'x'; 256]);
        assert_eq!(frame_in(&long), Some((0x81, 4..260)));
        assert_eq!(frame_in(&long[..259]), None);
    }
}
