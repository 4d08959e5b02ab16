//! A minimal HTTP/1.1 client on one kept connection: bytes out, status and body in. It does no more than the measurement
//! needs, so that the generator's own cost stays small beside the server's.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Outcome;

pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// What came back; head and body lie in the connection's buffer.
pub(crate) struct Response<'connection> {
    pub(crate) status: u16,
    pub(crate) body: &'connection [u8],
    head: &'connection [u8],
}

impl Response<'_> {
    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        field(std::str::from_utf8(self.head).ok()?, name)
    }
}

/// The bytes of a request. A body is JSON.
pub(crate) fn request(method: &str, path: &str, token: Option<&str>, body: Option<&str>) -> Vec<u8> {
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: bench\r\n");
    if let Some(token) = token {
        text.push_str(&format!("Authorization: Bearer {token}\r\n"));
    }
    match body {
        Some(body) => text.push_str(&format!("Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len())),
        None if method == "GET" => text.push_str("\r\n"),
        None => text.push_str("Content-Length: 0\r\n\r\n"),
    }
    text.into_bytes()
}

/// The bytes of a request without a body, with further headers.
pub(crate) fn request_with(method: &str, path: &str, token: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {token}\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    text.into_bytes()
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(16 * 1024) })
    }

    /// Sends a request and reads its answer.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> io::Result<Response<'_>> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        let head = loop {
            if let Some(end) = head_end(&self.buffer) {
                break Head::parse(&self.buffer[..end], end)?;
            }
            self.read_more().await?;
        };
        while self.buffer.len() < head.length + head.body_length {
            self.read_more().await?;
        }
        Ok(Response {
            status: head.status,
            body: &self.buffer[head.length..head.length + head.body_length],
            head: &self.buffer[..head.length],
        })
    }

    async fn read_more(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// Sends a request whose answer must have this status; its JSON.
    pub(crate) async fn json(&mut self, request: &[u8], status: u16) -> Outcome<serde_json::Value> {
        let response = self.exchange(request).await?;
        if response.status != status {
            let body = String::from_utf8_lossy(response.body);
            return Err(format!("expected {status}, got {}: {body}", response.status).into());
        }
        Ok(if response.body.is_empty() { serde_json::Value::Null } else { serde_json::from_slice(response.body)? })
    }

    /// The same, as text.
    pub(crate) async fn text(&mut self, request: &[u8]) -> Outcome<String> {
        Ok(String::from_utf8_lossy(self.exchange(request).await?.body).into_owned())
    }
}

struct Head {
    status: u16,
    length: usize,
    body_length: usize,
}

fn head_end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|window| window == b"\r\n\r\n").map(|place| place + 4)
}

/// A header's value, whatever the case of its name.
fn field<'head>(head: &'head str, name: &str) -> Option<&'head str> {
    head.lines().find_map(|line| line.split_once(':').filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()))
}

impl Head {
    fn parse(bytes: &[u8], length: usize) -> io::Result<Self> {
        let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        let text = std::str::from_utf8(bytes).map_err(|error| invalid(&error.to_string()))?;
        let status = text.get(9..12).and_then(|status| status.parse().ok()).ok_or_else(|| invalid("no status"))?;
        let body_length = match field(text, "content-length") {
            Some(value) => value.parse().map_err(|error: std::num::ParseIntError| invalid(&error.to_string()))?,
            None if status == 204 || status == 304 => 0,
            None => return Err(invalid("an answer without a length")),
        };
        Ok(Self { status, length, body_length })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_tells_status_and_length_whatever_its_case() {
        let bytes = b"HTTP/1.1 202 Accepted\r\ncontent-LENGTH: 17\r\nx: y\r\n\r\nbody";
        let end = head_end(bytes).expect("an end");

        let head = Head::parse(&bytes[..end], end).expect("a head");

        assert_eq!((head.status, head.body_length, &bytes[head.length..]), (202, 17, &b"body"[..]));
    }
}
