//! What fan-out is compared with: a `nats-server` with a WebSocket listener, whose subscribers use the same sockets as our watchers.
//!
//! It may put several messages into one frame, so messages are counted, by the protocol's own lines.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Outcome;
use crate::server::cpu_of;
use crate::socket::Socket;

const START_LIMIT: Duration = Duration::from_secs(10);
const SUBJECT: &str = "tidings";
/// Free ports, which the server writes into a file.
const CONFIGURATION: &str = "listen: \"127.0.0.1:-1\"\nports_file_dir: \".\"\nwebsocket { listen: \"127.0.0.1:-1\", no_tls: true }\n";

pub(crate) struct Peer {
    publishers: SocketAddr,
    subscribers: SocketAddr,
    child: Child,
    _folder: tempfile::TempDir,
}

impl Peer {
    pub(crate) async fn start(binary: &Path) -> Outcome<Self> {
        let binary = binary.canonicalize().map_err(|error| format!("{}: {error}", binary.display()))?;
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("nats.conf"), CONFIGURATION)?;
        let mut command = Command::new(binary);
        command.args(["-c", "nats.conf"]).current_dir(folder.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn()?;
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut peer = Self { publishers: nowhere, subscribers: nowhere, child, _folder: folder };
        let began = Instant::now();
        while began.elapsed() < START_LIMIT {
            if let Some((publishers, subscribers)) = peer.ports() {
                (peer.publishers, peer.subscribers) = (publishers, subscribers);
                return Ok(peer);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Err("nats-server does not say where it listens".into())
    }

    fn ports(&self) -> Option<(SocketAddr, SocketAddr)> {
        let file = self._folder.path().join(format!("nats-server_{}.ports", self.child.id()));
        let ports: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(file).ok()?).ok()?;
        let address = |kind: &str, scheme: &str| ports[kind][0].as_str()?.strip_prefix(scheme)?.parse().ok();
        Some((address("nats", "nats://")?, address("websocket", "ws://")?))
    }

    pub(crate) fn cpu_seconds(&self) -> Outcome<f64> {
        cpu_of(self.child.id())
    }

    /// A socket that is subscribed.
    pub(crate) async fn subscribe(&self) -> Outcome<Subscriber> {
        let mut subscriber = Subscriber { socket: Socket::upgrade(self.subscribers, "/", "").await?, lines: Lines::default() };
        let orders = format!("CONNECT {{\"verbose\":false}}\r\nSUB {SUBJECT} 1\r\nPING\r\n");
        subscriber.socket.send_bytes(orders.as_bytes()).await?;
        while !subscriber.read().await?.contains(&Line::Pong) {}
        Ok(subscriber)
    }

    pub(crate) async fn publisher(&self) -> Outcome<Publisher> {
        let mut stream = TcpStream::connect(self.publishers).await?;
        stream.set_nodelay(true)?;
        stream.write_all(b"CONNECT {\"verbose\":false}\r\nPING\r\n").await?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"PONG\r\n") {
            if stream.read_buf(&mut answer).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
        Ok(Publisher(stream))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Both fail only when it has ended, which is what is wanted.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

pub(crate) struct Publisher(TcpStream);

impl Publisher {
    pub(crate) async fn publish(&mut self, payload: &[u8]) -> io::Result<()> {
        let mut order = format!("PUB {SUBJECT} {}\r\n", payload.len()).into_bytes();
        order.extend_from_slice(payload);
        order.extend_from_slice(b"\r\n");
        self.0.write_all(&order).await
    }
}

pub(crate) struct Subscriber {
    socket: Socket,
    lines: Lines,
}

impl Subscriber {
    /// How many messages the next frame brought.
    pub(crate) async fn messages(&mut self) -> Outcome<u64> {
        Ok(self.read().await?.into_iter().filter(|line| *line == Line::Message).count() as u64)
    }

    async fn read(&mut self) -> Outcome<Vec<Line>> {
        let lines = self.lines.of(self.socket.message().await?)?;
        if lines.contains(&Line::Ping) {
            self.socket.send_bytes(b"PONG\r\n").await?;
        }
        Ok(lines)
    }
}

/// What a line of the protocol is, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Message,
    Ping,
    Pong,
    Other,
}

/// Finds the lines in frames, which may end anywhere.
#[derive(Debug, Default)]
struct Lines {
    line: Vec<u8>,
    /// Bytes of a payload, with its line end, that are still to come.
    payload: usize,
}

impl Lines {
    fn of(&mut self, mut bytes: &[u8]) -> Outcome<Vec<Line>> {
        let mut found = Vec::new();
        while !bytes.is_empty() {
            let skipped = self.payload.min(bytes.len());
            self.payload -= skipped;
            bytes = &bytes[skipped..];
            let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
                self.line.extend_from_slice(bytes);
                break;
            };
            self.line.extend_from_slice(&bytes[..end]);
            bytes = &bytes[end + 1..];
            found.push(self.finish()?);
        }
        Ok(found)
    }

    /// `MSG <subject> <subscription> <bytes>`, and a payload behind it.
    fn finish(&mut self) -> Outcome<Line> {
        let text = String::from_utf8(std::mem::take(&mut self.line))?;
        Ok(match text.split_whitespace().next() {
            Some("MSG") => {
                let length: usize = text.split_whitespace().next_back().unwrap_or_default().parse()?;
                self.payload = length + b"\r\n".len();
                Line::Message
            }
            Some("PING") => Line::Ping,
            Some("PONG") => Line::Pong,
            Some("-ERR") => return Err(text.into()),
            _ => Line::Other,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_counted_however_they_are_cut() {
        let bytes = b"INFO {}\r\nMSG tidings 1 5\r\nMSG x\r\nMSG tidings 1 2\r\nhi\r\nPING\r\n";
        let expected = [Line::Other, Line::Message, Line::Message, Line::Ping];

        for cut in 1..bytes.len() {
            let mut lines = Lines::default();
            let mut found = lines.of(&bytes[..cut]).expect("lines");
            found.extend(lines.of(&bytes[cut..]).expect("lines"));
            assert_eq!(found, expected, "cut at {cut}");
        }
    }
}
