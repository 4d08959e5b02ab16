//! Sockets that do not read, and how little everybody else notices.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::support::client::{Person, within};
use crate::support::number_from_environment;
use crate::support::server::{Server, Settings};
use crate::support::socket::{EVENT_TIMEOUT, Socket};

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

/// T7.3. `SOSIK_TEST_STALLED` sockets stall, and as many read.
#[tokio::test]
async fn readers_that_stall_are_closed_and_slow_nobody() {
    let count = number_from_environment("SOSIK_TEST_STALLED", 20);
    let settings = Settings::default().with("stream.outbox_bytes", "320KiB").with("stream.sockets_per_user", "10000");
    let server = Server::start_with(settings).await;
    let people = Person::join_many(&server, "stall", 3).await;
    let [author, reader, sleeper] = &people[..] else { panic!("three people") };
    let post = author.publish("a busy page").await;
    let mut awake = Socket::open(reader).await;
    awake.watch(&post).await;
    let mut beside = JoinSet::new();
    for _ in 1..count {
        let mut socket = Socket::open(reader).await;
        socket.watch(&post).await;
        beside.spawn(socket.drain());
    }
    let mut asleep = Vec::new();
    for _ in 0..count {
        asleep.push(stalled(sleeper, &post).await);
    }
    let before = server.resident_kib();

    // The longest comment in bytes: a few fill what the kernel holds for a reader.
    let body = "\u{1f4ec}".repeat(5000);
    let mut slowest = Duration::ZERO;
    let mut written = 0;
    while reader.metric("sosik_stream_closes_total{code=\"4429\"}").await < asleep.len() as f64 {
        assert!(written < 400, "the stalled sockets are not closed");
        let began = Instant::now();
        let comment = author.write_comment(&post, &body).send().await.expect(202).text_at("/comment/id");
        awake.event_where("comment", |event| event["data"]["id"] == json!(comment)).await;
        slowest = slowest.max(began.elapsed());
        written += 1;
    }

    assert!(beside.try_join_next().is_none(), "one who reads was closed");
    assert!(slowest < Duration::from_secs(3), "the slowest comment took {slowest:?} to a reader who is awake");
    let grown = server.resident_kib().saturating_sub(before);
    assert!(grown < 100 * 1024 + count * 64, "{grown} KiB more after {written} comments");
    within(EVENT_TIMEOUT, "the stalled sockets to be forgotten", async || {
        (reader.metric("sosik_stream_sockets ").await <= count as f64).then_some(())
    })
    .await;
    // One that wakes up reads why.
    let mut seen = Vec::new();
    let woken = asleep.first_mut().expect("a stalled one");
    let read = tokio::time::timeout(EVENT_TIMEOUT, woken.read_to_end(&mut seen)).await.expect("the end comes");
    assert!(read.is_err() || seen.windows(2).any(|pair| pair == 4429_u16.to_be_bytes()), "neither a code nor a cut");
    awake.settled().await;
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
