//! The bytes of a WebSocket: limits, fragments, control frames, and whatever else somebody may send.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::client::{Person, within};
use crate::support::raw_socket::{BINARY, CLOSE, CONTINUATION, FINAL, Frame, PING, PONG, Raw, TEXT, masked};
use crate::support::server::{Server, Settings};
use crate::support::socket::{EVENT_TIMEOUT, Events, Socket};
use crate::support::{Seeded, seed};

pub(crate) async fn person() -> (Server, Person) {
    let server = Server::start_with(Settings::default().with("stream.sockets_per_user", "1000")).await;
    let person = Person::join(&server, "raw").await;
    (server, person)
}

/// A ping op of exactly this many bytes.
fn ping_of(bytes: usize) -> String {
    format!("{{\"op\":\"ping\"{}}}", " ".repeat(bytes - 13))
}

#[tokio::test]
async fn a_frame_may_have_4_kib_and_not_a_byte_more() {
    let (_server, person) = person().await;
    let mut fits = Raw::open(&person).await;
    fits.send_frame(FINAL | TEXT, ping_of(4096).as_bytes()).await;
    assert_eq!(fits.event().await, json!({"event": "pong"}));

    let mut over = Raw::open(&person).await;
    over.send_frame(FINAL | TEXT, ping_of(4097).as_bytes()).await;
    assert_eq!(over.close_code().await, 1009);

    let mut announced = Raw::open(&person).await;
    announced.send(&[FINAL | TEXT, 0x80 | 127, 0, 0, 0, 0, 0x40, 0, 0, 0, 1, 2, 3, 4]).await;
    assert_eq!(announced.close_code().await, 1009, "before a gigabyte comes");

    let mut in_parts = Raw::open(&person).await;
    in_parts.send_frame(TEXT, &[b' '; 4000]).await;
    in_parts.send_frame(FINAL | CONTINUATION, &[b' '; 97]).await;
    assert_eq!(in_parts.close_code().await, 1009, "parts count together");
}

#[tokio::test]
async fn fragments_are_put_together_with_control_frames_between_them() {
    let (_server, person) = person().await;
    let mut raw = Raw::open(&person).await;

    raw.send_frame(TEXT, br#"{"op":"#).await;
    raw.send_frame(FINAL | PING, b"between").await;
    raw.send_frame(CONTINUATION, b"").await;
    raw.send_frame(FINAL | CONTINUATION, br#""ping"}"#).await;

    assert_eq!(raw.answer().await, Some(Frame { first: FINAL | PONG, payload: b"between".to_vec() }));
    assert_eq!(raw.event().await, json!({"event": "pong"}));
    let split_over_packets = masked(FINAL | TEXT, br#"{"op":"ping"}"#);
    for byte in &split_over_packets {
        raw.send(&[*byte]).await;
        raw.stream.flush().await.expect("flushed");
    }
    assert_eq!(raw.event().await, json!({"event": "pong"}));
}

#[tokio::test]
async fn a_ping_is_answered_with_its_own_payload_and_an_unasked_pong_with_nothing() {
    let (_server, person) = person().await;
    let mut raw = Raw::open(&person).await;

    for payload in [&b""[..], b"x", &[0xff; 125]] {
        raw.send_frame(FINAL | PONG, b"unasked").await;
        raw.send_frame(FINAL | PING, payload).await;
        assert_eq!(raw.answer().await, Some(Frame { first: FINAL | PONG, payload: payload.to_vec() }));
    }
}

#[tokio::test]
async fn a_close_frame_is_answered_and_the_connection_ends_soon() {
    let (_server, person) = person().await;
    for payload in [&[][..], &1000_u16.to_be_bytes(), &[0x03, 0xe8, b'b', b'y', b'e'], &4999_u16.to_be_bytes()] {
        let mut raw = Raw::open(&person).await;
        raw.send_frame(FINAL | CLOSE, payload).await;
        let frame = raw.answer().await.expect("a close frame");
        assert_eq!(frame.first, FINAL | CLOSE, "{frame:?}");
        let ended = timeout(Duration::from_secs(3), raw.frame()).await;
        assert_eq!(ended.expect("the end comes soon"), None, "nothing comes after it");
    }
}

#[tokio::test]
async fn what_is_no_websocket_frame_ends_the_socket() {
    let (_server, person) = person().await;
    let long_ping = masked(FINAL | PING, &[0; 126]);
    let cases: [(&str, Vec<u8>); 11] = [
        ("unmasked", [&[FINAL | TEXT, 13][..], br#"{"op":"ping"}"#].concat()),
        ("a reserved bit", masked(FINAL | TEXT | 0x40, b"{}")),
        ("all reserved bits", masked(FINAL | TEXT | 0x70, b"{}")),
        ("an unknown opcode", masked(FINAL | 0x3, b"{}")),
        ("an unknown control opcode", masked(FINAL | 0xb, b"")),
        ("a control frame of 126 bytes", long_ping),
        ("a ping in fragments", masked(PING, b"x")),
        ("a continuation of nothing", masked(FINAL | CONTINUATION, b"x")),
        ("a text within a text", [masked(TEXT, b"{"), masked(FINAL | TEXT, b"}")].concat()),
        ("a close frame of one byte", masked(FINAL | CLOSE, &[3])),
        ("a close code that is not to be sent", masked(FINAL | CLOSE, &1005_u16.to_be_bytes())),
    ];
    for (what, bytes) in cases {
        let mut raw = Raw::open(&person).await;
        raw.send(&bytes).await;
        let code = raw.close_code().await;
        assert!([1002, 1007].contains(&code), "{what}: {code}");
    }
}

#[tokio::test]
async fn a_text_that_is_not_utf_8_ends_the_socket() {
    let (_server, person) = person().await;
    let surrogate = [0xed, 0xa0, 0x80];
    for bytes in [&[0xff][..], &[0xc0, 0xaf], &surrogate, &[0xf4, 0x90, 0x80, 0x80], &[0xe2, 0x82]] {
        let mut raw = Raw::open(&person).await;
        raw.send_frame(FINAL | TEXT, bytes).await;
        assert_eq!(raw.close_code().await, 1007, "{bytes:x?}");
        let mut raw = Raw::open(&person).await;
        raw.send_frame(TEXT, &bytes[..1]).await;
        raw.send_frame(FINAL | CONTINUATION, &bytes[1..]).await;
        assert_eq!(raw.close_code().await, 1007, "{bytes:x?} in two parts");
    }
}

#[tokio::test]
async fn a_frame_that_is_no_op_ends_the_socket_and_a_bad_member_does_not() {
    let (_server, person) = person().await;
    for text in ["", "x", "[]", r#"{"op":"fly"}"#, r#"{"op":"#, &"[".repeat(4096)] {
        let mut raw = Raw::open(&person).await;
        raw.send_frame(FINAL | TEXT, text.as_bytes()).await;
        assert_eq!(raw.close_code().await, 4400, "{text:.40}");
    }
    let mut binary = Raw::open(&person).await;
    binary.send_frame(FINAL | BINARY, br#"{"op":"ping"}"#).await;
    assert_eq!(binary.close_code().await, 4400);

    let mut socket = Socket::open(&person).await;
    for text in [r#"{"op":"ping","x":1}"#, r#"{"op":"read","up_to":-1}"#, r#"{"op":"watch","post":17}"#, r#"{"op":"resume"}"#] {
        socket.send_text(text).await;
        assert_eq!(socket.event("error").await["code"], "malformed", "{text}");
    }
    socket.settled().await;
}

#[tokio::test]
async fn more_than_twenty_frames_a_second_end_the_socket_whatever_they_are() {
    let (_server, person) = person().await;
    let mut calm = Socket::open(&person).await;
    for _ in 0..20 {
        calm.send(&json!({"op": "ping"})).await;
    }
    for _ in 0..20 {
        calm.event("pong").await;
    }

    for (what, frame) in [
        ("ops", masked(FINAL | TEXT, br#"{"op":"ping"}"#)),
        ("pings", masked(FINAL | PING, b"")),
        ("pongs", masked(FINAL | PONG, b"")),
        ("the parts of one message", masked(CONTINUATION, b"")),
    ] {
        let mut raw = Raw::open(&person).await;
        if what.starts_with("the parts") {
            raw.send_frame(TEXT, b"").await;
        }
        let flood = frame.repeat(200);
        raw.send(&flood).await;
        assert_eq!(raw.close_code().await, 4429, "{what}");
    }
}

#[tokio::test]
async fn a_client_that_does_not_answer_is_hung_up_on_and_one_that_does_is_not() {
    let (server, person) = person().await;
    let (mut silent, mut polite) = (Raw::open(&person).await, Raw::open(&person).await);
    let mut events = Events::open(&person, "", None).await;
    let began = Instant::now();
    let long = Duration::from_secs(40);

    let hung_up = async {
        let ping = timeout(long, silent.stream.read_buf(&mut silent.buffer)).await.expect("a ping").expect("a ping");
        assert_eq!((&silent.buffer[..ping], began.elapsed() > Duration::from_secs(20)), (&[FINAL | PING, 0][..], true));
        let read = timeout(long, silent.stream.read_buf(&mut silent.buffer)).await.expect("the end");
        assert!(read.is_err() || read.is_ok_and(|count| count == 0));
        assert!((33..40).contains(&began.elapsed().as_secs()), "after {:?}", began.elapsed());
    };
    let answered = async {
        timeout(long, polite.stream.read_buf(&mut polite.buffer)).await.expect("a ping").expect("a ping");
        polite.buffer.clear();
        polite.send_frame(FINAL | PONG, b"").await;
    };
    let commented = async { timeout(Duration::from_secs(20), events.comment()).await.expect("a comment line") };
    tokio::join!(hung_up, answered, commented);

    polite.send_frame(FINAL | TEXT, br#"{"op":"ping"}"#).await;
    assert_eq!(polite.event().await, json!({"event": "pong"}));
    drop(server);
}

/// What cannot be read is not read again and again until the client has gone.
#[tokio::test]
async fn a_frame_that_cannot_be_read_keeps_nobody_busy() {
    let (server, person) = person().await;
    let mut sockets = Vec::new();
    for _ in 0..10 {
        sockets.push(Raw::open(&person).await);
    }
    let before = server.processor_ticks();

    for raw in &mut sockets {
        raw.send_frame(FINAL | TEXT | 0x40, b"{}").await;
    }
    for raw in &mut sockets {
        assert_eq!(raw.close_code().await, 1002);
        assert_eq!(raw.frame().await, None, "it is cut after a while");
    }

    let ticks = server.processor_ticks() - before;
    assert!(ticks < 60, "{ticks} hundredths of a second of processor time, for nothing");
}

/// R1: whatever comes, the server answers with a close code or cuts, and goes on.
#[tokio::test]
async fn noise_ends_sockets_and_nothing_else() {
    let (server, person) = person().await;
    let mut random = Seeded::new(seed("noise_ends_sockets_and_nothing_else"));
    let mut witness = Socket::open(&person).await;
    for _ in 0..150 {
        let mut raw = Raw::open(&person).await;
        let mut bytes = match random.below(3) {
            0 => (0..random.below(300)).map(|_| random.next() as u8).collect(),
            1 => masked(FINAL | TEXT, br#"{"op":"resume","epoch":"x","after":17}"#),
            _ => masked(random.next() as u8, &vec![b'{'; random.below(5000) as usize]),
        };
        for _ in 0..random.below(4) {
            if !bytes.is_empty() {
                let place = random.below(bytes.len() as u64) as usize;
                bytes[place] = random.next() as u8;
            }
        }
        raw.send(&bytes).await;
        // What it says, if anything, is a frame; then the client leaves.
        let _ = timeout(Duration::from_millis(20), raw.frame()).await;
    }
    witness.settled().await;
    within(EVENT_TIMEOUT, "the places of those who left", async || {
        let metrics = person.admin_call(reqwest::Method::GET, "/metrics").send().await;
        metrics.text.lines().any(|line| line == "sosik_stream_sockets 1").then_some(())
    })
    .await;
    drop(server);
}

#[tokio::test]
async fn a_handshake_that_is_none_is_refused() {
    let (server, person) = person().await;
    let token = person.token.as_deref().expect("signed in");
    let head = |fields: &str| format!("GET /v1/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n{fields}\r\n");
    let key = "Sec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw==\r\n";
    let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\n";
    for (what, fields, status) in [
        ("no key", format!("{upgrade}Sec-WebSocket-Version: 13\r\n"), "400"),
        ("an old version", format!("{upgrade}{key}Sec-WebSocket-Version: 8\r\n"), "426"),
        ("no version", format!("{upgrade}{key}"), "426"),
    ] {
        let mut stream = TcpStream::connect(server.address.authority()).await.expect("a connection");
        stream.write_all(head(&fields).as_bytes()).await.expect("it is sent");
        let mut answer = vec![0; 16];
        stream.read_exact(&mut answer).await.expect("an answer");
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{what}: {answer}");
    }
}
