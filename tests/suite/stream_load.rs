//! Sockets that do not read, and how little everybody else notices.
//!
//! Control: an outbox without a bound must be caught.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::support::client::{Person, within};
use crate::support::server::{Server, Settings};
use crate::support::socket::{EVENT_TIMEOUT, Socket};
use crate::support::{faults, number_from_environment};

/// A signed-in WebSocket with a small window that watches a post and then reads nothing.
async fn stalled(person: &Person, post: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    let address = person.address.authority().parse().expect("an address");
    let mut stream = socket.connect(address).await.expect("a connection");
    let head = format!(
        "GET /v1/stream HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw==\r\nAuthorization: Bearer {}\r\n\r\n",
        person.token.as_deref().expect("signed in")
    );
    stream.write_all(head.as_bytes()).await.expect("it is sent");
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("\"hello\"") {
        assert!(stream.read_buf(&mut seen).await.expect("bytes") > 0);
    }
    let op = json!({"op": "watch", "post": post}).to_string();
    // Masked with zeros, which is a mask too.
    let mut frame = vec![0x81, 0x80 | op.len() as u8, 0, 0, 0, 0];
    frame.extend_from_slice(op.as_bytes());
    stream.write_all(&frame).await.expect("it is sent");
    while !String::from_utf8_lossy(&seen).contains("\"watching\"") {
        assert!(stream.read_buf(&mut seen).await.expect("bytes") > 0);
    }
    stream
}

/// A post whose author has sockets that read nothing, beside others who do.
struct Page {
    server: Server,
    writer: Person,
    author: Person,
    reader: Person,
    post: String,
    awake: Socket,
    beside: JoinSet<u16>,
    asleep: Vec<TcpStream>,
}

impl Page {
    /// So many sockets stall, and as many read.
    async fn with_stalled(count: u64, settings: Settings) -> Self {
        let settings = settings.with("stream.outbox_bytes", "320KiB").with("stream.sockets_per_user", "10000");
        let server = Server::start_with(settings).await;
        let people = Person::join_many(&server, "stall", 3).await;
        let [writer, reader, author] = <[Person; 3]>::try_from(people).expect("three people");
        let post = author.publish("a busy page").await;
        let mut awake = Socket::open(&reader).await;
        awake.watch(&post).await;
        let mut beside = JoinSet::new();
        for _ in 1..count {
            let mut socket = Socket::open(&reader).await;
            socket.watch(&post).await;
            beside.spawn(socket.drain());
        }
        let mut asleep = Vec::new();
        for _ in 0..count {
            asleep.push(stalled(&author, &post).await);
        }
        Self { server, writer, author, reader, post, awake, beside, asleep }
    }

    /// How many sockets were closed because they are too slow.
    async fn closed(&self) -> usize {
        self.reader.metric("sosik_stream_closes_total{code=\"4429\"}").await as usize
    }

    /// Writes comments until all that stall are closed, or so many: how many were written, and what the slowest took to one who is awake.
    async fn comment_until_closed(&mut self, comments_max: u64) -> (u64, Duration) {
        // The longest comment in bytes: a few fill what the kernel holds for a reader.
        let body = "\u{1f4ec}".repeat(5000);
        let mut slowest = Duration::ZERO;
        let mut written = 0;
        while written < comments_max && self.closed().await < self.asleep.len() {
            let began = Instant::now();
            let comment = self.writer.write_comment(&self.post, &body).send().await.expect(202).text_at("/comment/id");
            self.awake.event_where("comment", |event| event["data"]["id"] == json!(comment)).await;
            slowest = slowest.max(began.elapsed());
            written += 1;
        }
        (written, slowest)
    }
}

/// More than what the kernel holds for a reader and what an outbox may hold.
const COMMENTS_MAX: u64 = 400;

/// A close frame of the server with the code that says "too slow, come back": its length is the second byte.
fn says_too_slow(seen: &[u8]) -> bool {
    seen.windows(4).any(|frame| frame[0] == 0x88 && frame[2..] == 4429_u16.to_be_bytes())
}

/// T7.3. `SOSIK_TEST_STALLED` sockets stall, and as many read.
#[tokio::test]
async fn readers_that_stall_are_closed_and_slow_nobody_and_resume_where_they_were() {
    let count = number_from_environment("SOSIK_TEST_STALLED", 20);
    let mut page = Page::with_stalled(count, Settings::default()).await;
    let before = page.server.resident_kib();

    let (written, slowest) = page.comment_until_closed(COMMENTS_MAX).await;

    assert_eq!(page.closed().await, page.asleep.len(), "the stalled sockets are not closed after {written} comments");
    assert!(page.beside.try_join_next().is_none(), "one who reads was closed");
    assert!(slowest < Duration::from_secs(3), "the slowest comment took {slowest:?} to a reader who is awake");
    // The last of them has some seconds yet to read why; those that were closed much earlier are cut off.
    let woken = page.asleep.iter_mut().map(|socket| async {
        let mut seen = Vec::new();
        let end = tokio::time::timeout(EVENT_TIMEOUT, socket.read_to_end(&mut seen)).await.expect("the end comes");
        (says_too_slow(&seen), end)
    });
    let woken = futures_util::future::join_all(woken).await;
    assert!(woken.iter().any(|(told, _)| *told), "nobody was told why: {woken:?}");
    let grown = page.server.resident_kib().saturating_sub(before);
    assert!(grown < 100 * 1024 + count * 64, "{grown} KiB more after {written} comments");
    within(EVENT_TIMEOUT, "the stalled sockets to be forgotten", async || {
        (page.reader.metric("sosik_stream_sockets ").await <= count as f64).then_some(())
    })
    .await;
    let (mut again, hello) = Socket::greeted(&page.author).await;
    again.resume(hello["epoch"].as_str().expect("an epoch"), 0).await;
    for seq in 1..=written {
        assert_eq!(again.event("notification").await["seq"], seq, "of {written} comments");
    }
    page.awake.settled().await;
}

#[tokio::test]
async fn control_an_outbox_without_a_bound_is_caught() {
    let mut page = Page::with_stalled(3, Settings::default().fault((faults::OUTBOX_UNBOUNDED, "return"))).await;

    page.comment_until_closed(COMMENTS_MAX).await;

    assert!(page.closed().await < page.asleep.len(), "the fault had no effect");
}

/// T9.3. `SOSIK_TEST_STORM` sockets come at once, and all again after a restart, without the wait that they are asked for.
#[tokio::test]
async fn a_storm_of_sockets_is_survived_and_everybody_gets_in() {
    let count = number_from_environment("SOSIK_TEST_STORM", 300) as usize;
    let settings = Settings::default().with("stream.sockets_per_user", "100000");
    let mut server = Server::start_with(settings).await;
    let person = Person::join(&server, "storm").await;
    for start in ["the first", "the second"] {
        let mut coming = JoinSet::new();
        for _ in 0..count {
            let person = person.clone();
            coming.spawn(async move { Socket::open(&person).await });
        }
        let (mut probes, mut sockets) = (0, Vec::new());
        while sockets.len() < count {
            assert_eq!(person.get("/livez").send().await.status, 200, "in the storm after {start} start");
            probes += 1;
            while let Some(socket) = coming.try_join_next() {
                sockets.push(socket.expect("a greeting"));
            }
            tokio::task::yield_now().await;
        }
        assert!(probes > 0, "nobody asked");
        within(EVENT_TIMEOUT, "all of them to be counted", async || {
            (person.metric("sosik_stream_sockets ").await >= count as f64).then_some(())
        })
        .await;

        let mut leaving = JoinSet::new();
        for mut socket in sockets {
            leaving.spawn(async move { (socket.event("bye").await["retry_ms"].as_u64(), socket.close_code().await) });
        }
        server.terminate().await;
        for (retry_ms, code) in leaving.join_all().await {
            assert!(retry_ms.is_some_and(|retry_ms| retry_ms > 0) && code == 1001, "{retry_ms:?} {code}");
        }
        server.restart().await;
    }
}
