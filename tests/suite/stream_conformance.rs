//! The cases of the Autobahn test suite, by its numbers, as far as they can be asked of a server that is no echo: where the suite sends a
//! text and wants it back, an op stands here and its answer is wanted.

use serde_json::json;

use crate::stream_protocol::person;
use crate::support::client::Person;
use crate::support::raw_socket::{CLOSE, CONTINUATION, FINAL, Frame, PING, PONG, Raw, TEXT, masked};

const PING_OP: &[u8] = br#"{"op":"ping"}"#;
const PROTOCOL: u16 = 1002;
const NOT_UTF_8: u16 = 1007;

/// All bytes are sent at once; then the server closes with this code.
async fn assert_closed(person: &Person, case: &str, bytes: &[u8], code: u16) {
    let mut raw = Raw::open(person).await;
    raw.send(bytes).await;
    assert_eq!(raw.close_code().await, code, "case {case}");
}

/// All bytes are sent at once; the op in them is answered.
async fn assert_answered(person: &Person, case: &str, bytes: &[u8]) {
    let mut raw = Raw::open(person).await;
    raw.send(bytes).await;
    loop {
        let frame = raw.answer().await.unwrap_or_else(|| panic!("case {case}: the connection ended"));
        if frame.first == FINAL | TEXT {
            assert_eq!(serde_json::from_slice::<serde_json::Value>(&frame.payload).expect("JSON"), json!({"event": "pong"}), "case {case}");
            return;
        }
        assert_eq!(frame.first, FINAL | PONG, "case {case}: {frame:?}");
    }
}

fn frames(parts: &[(u8, &[u8])]) -> Vec<u8> {
    parts.iter().flat_map(|(first, payload)| masked(*first, payload)).collect()
}

/// A ping op of so many bytes, with this text in a member that is not read.
fn op_with(text: &[u8]) -> Vec<u8> {
    [br#"{"op":"watch","post":""#, text, br#""}"#].concat()
}

#[tokio::test]
async fn chapters_1_and_2_texts_of_all_lengths_and_pings() {
    let (_server, person) = person().await;
    for length in [13, 125, 126, 127, 128, 4096] {
        let op = format!("{{\"op\":\"ping\"{}}}", " ".repeat(length - PING_OP.len()));
        assert_answered(&person, &format!("1.1, {length} bytes"), &masked(FINAL | TEXT, op.as_bytes())).await;
    }

    let mut raw = Raw::open(&person).await;
    for payload in [&b""[..], b"hello", &[0, 255, 254, 253, 252, 251, 0, 255], &[0xfe; 125]] {
        raw.send_frame(FINAL | PING, payload).await;
        assert_eq!(raw.answer().await, Some(Frame { first: FINAL | PONG, payload: payload.to_vec() }), "cases 2.1 to 2.4");
    }
    assert_closed(&person, "2.5", &masked(FINAL | PING, &[0xfe; 126]), PROTOCOL).await;
    let mut bytewise = Raw::open(&person).await;
    for byte in masked(FINAL | PING, &[0xfe; 125]) {
        bytewise.send(&[byte]).await;
    }
    assert_eq!(bytewise.answer().await, Some(Frame { first: FINAL | PONG, payload: vec![0xfe; 125] }), "case 2.6");
    assert_answered(&person, "2.7", &frames(&[(FINAL | PONG, b""), (FINAL | TEXT, PING_OP)])).await;
    assert_answered(&person, "2.8", &frames(&[(FINAL | PONG, b"unasked"), (FINAL | TEXT, PING_OP)])).await;
    let mut many = Raw::open(&person).await;
    let payloads: Vec<Vec<u8>> = (0..10).map(|number: u8| format!("payload-{number}").into_bytes()).collect();
    many.send(&payloads.iter().flat_map(|payload| masked(FINAL | PING, payload)).collect::<Vec<u8>>()).await;
    for payload in payloads {
        assert_eq!(many.answer().await, Some(Frame { first: FINAL | PONG, payload }), "cases 2.10 and 2.11");
    }
}

#[tokio::test]
async fn chapters_3_and_4_reserved_bits_and_opcodes() {
    let (_server, person) = person().await;
    for bits in 1..=7 {
        for opcode in [TEXT, 0x2, PING, CLOSE] {
            assert_closed(&person, &format!("3.{bits}, opcode {opcode}"), &masked(FINAL | bits << 4 | opcode, b""), PROTOCOL).await;
        }
        let after_an_op = [masked(FINAL | TEXT, PING_OP), masked(FINAL | bits << 4 | TEXT, PING_OP)].concat();
        assert_closed(&person, &format!("3.{bits}, after an op"), &after_an_op, PROTOCOL).await;
    }
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        for payload in [&b""[..], b"reserved opcode payload"] {
            assert_closed(&person, &format!("4, opcode {opcode}"), &masked(FINAL | opcode, payload), PROTOCOL).await;
            let after_an_op = [masked(FINAL | TEXT, PING_OP), masked(FINAL | opcode, payload)].concat();
            assert_closed(&person, &format!("4, opcode {opcode}, after an op"), &after_an_op, PROTOCOL).await;
        }
    }
}

#[tokio::test]
async fn chapter_5_fragments() {
    let (_server, person) = person().await;
    let (first, last) = PING_OP.split_at(5);
    assert_closed(&person, "5.1", &frames(&[(PING, b"fragment1"), (FINAL | CONTINUATION, b"fragment2")]), PROTOCOL).await;
    assert_closed(&person, "5.2", &frames(&[(PONG, b"fragment1"), (FINAL | CONTINUATION, b"fragment2")]), PROTOCOL).await;
    assert_answered(&person, "5.3", &frames(&[(TEXT, first), (FINAL | CONTINUATION, last)])).await;
    assert_answered(&person, "5.6", &frames(&[(TEXT, first), (FINAL | PING, b"between"), (FINAL | CONTINUATION, last)])).await;
    for first_byte in [FINAL | CONTINUATION, CONTINUATION] {
        let orphan = frames(&[(first_byte, b"non-continuation payload"), (FINAL | TEXT, PING_OP)]);
        assert_closed(&person, "5.9 to 5.14", &orphan, PROTOCOL).await;
    }
    let twice = frames(&[(TEXT, first), (FINAL | CONTINUATION, last), (CONTINUATION, b"x"), (FINAL | TEXT, PING_OP)]);
    assert_closed(&person, "5.15", &twice, PROTOCOL).await;
    assert_closed(&person, "5.18", &frames(&[(TEXT, b"fragment1"), (FINAL | TEXT, b"fragment2")]), PROTOCOL).await;
    let pings_between = frames(&[
        (TEXT, &PING_OP[..3]),
        (CONTINUATION, &PING_OP[3..6]),
        (FINAL | PING, b"pongme 1!"),
        (CONTINUATION, &PING_OP[6..9]),
        (CONTINUATION, b""),
        (FINAL | PING, b"pongme 2!"),
        (FINAL | CONTINUATION, &PING_OP[9..]),
    ]);
    assert_answered(&person, "5.19 and 5.20", &pings_between).await;
}

#[tokio::test]
async fn chapter_6_texts_that_are_utf_8_and_texts_that_are_not() {
    let (_server, person) = person().await;
    let valid: [&[u8]; 14] = [
        "Hello-µ@ßöäüàá-UTF-8!!".as_bytes(),
        "\u{3ba}\u{1f79}\u{3c3}\u{3bc}\u{3b5}".as_bytes(),
        b"\xc2\x80",
        b"\xe0\xa0\x80",
        b"\xf0\x90\x80\x80",
        b"\x7f",
        b"\xdf\xbf",
        b"\xef\xbf\xbf",
        b"\xf4\x8f\xbf\xbf",
        b"\xed\x9f\xbf",
        b"\xee\x80\x80",
        b"\xef\xbf\xbd",
        b"\xef\xb7\x90",
        b"\xf0\x9f\xbf\xbe",
    ];
    for text in valid {
        let mut raw = Raw::open(&person).await;
        let op = op_with(text);
        // Cut everywhere, in the middle of characters too; together below the limit of frames.
        let (first, last) = op.split_at(op.len() - 4);
        raw.send(&frames(&[(TEXT, first), (FINAL | CONTINUATION, last)])).await;
        assert_eq!(raw.event().await["code"], "malformed", "{text:x?} is a text, only no id of a post");
    }
    let invalid: [(&str, &[u8]); 34] = [
        ("6.3.1", b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80\x65\x64\x69\x74\x65\x64"),
        ("6.6.1", b"\xce"),
        ("6.6.3", b"\xce\xba\xe1"),
        ("6.6.4", b"\xce\xba\xe1\xbd"),
        ("6.6.6", b"\xce\xba\xe1\xbd\xb9\xcf"),
        ("6.8.1", b"\xf8\x88\x80\x80\x80"),
        ("6.8.2", b"\xfc\x84\x80\x80\x80\x80"),
        ("6.10.1", b"\xf7\xbf\xbf\xbf"),
        ("6.10.2", b"\xfb\xbf\xbf\xbf\xbf"),
        ("6.10.3", b"\xfd\xbf\xbf\xbf\xbf\xbf"),
        ("6.11.5", b"\xf4\x90\x80\x80"),
        ("6.12.1", b"\x80"),
        ("6.12.2", b"\xbf"),
        ("6.12.3", b"\x80\xbf"),
        ("6.12.8", b"\x80\x81\x82\x83\x84\x85\x86\x87\x88\x89\x8a\x8b\x8c\x8d\x8e\x8f\x90\x91\x92\x93\x94\x95\x96"),
        ("6.13.1", b"\xc0\x20\xc1\x20\xc2\x20\xdf\x20"),
        ("6.13.2", b"\xe0\x20\xe1\x20\xef\x20"),
        ("6.13.3", b"\xf0\x20\xf1\x20\xf7\x20"),
        ("6.13.4", b"\xf8\x20\xfb\x20"),
        ("6.13.5", b"\xfc\x20"),
        ("6.14.1", b"\xc0"),
        ("6.14.2", b"\xe0\x80"),
        ("6.14.3", b"\xf0\x80\x80"),
        ("6.14.6", b"\xdf"),
        ("6.14.7", b"\xef\xbf"),
        ("6.15.1", b"\xc0\xe0\x80\xf0\x80\x80\xf8\x80\x80\x80\xfc\x80\x80\x80\x80\xdf\xef\xbf\xf7\xbf\xbf"),
        ("6.16.1", b"\xfe"),
        ("6.16.2", b"\xff"),
        ("6.17.1", b"\xc0\xaf"),
        ("6.17.2", b"\xe0\x80\xaf"),
        ("6.18.2", b"\xe0\x9f\xbf"),
        ("6.19.1", b"\xc0\x80"),
        ("6.20.1", b"\xed\xa0\x80"),
        ("6.21.1", b"\xed\xa0\x80\xed\xb0\x80"),
    ];
    for (case, text) in invalid {
        assert_closed(&person, case, &masked(FINAL | TEXT, text), NOT_UTF_8).await;
        let op = op_with(text);
        let (first, last) = op.split_at(op.len() - 3);
        assert_closed(&person, &format!("{case}, in parts"), &frames(&[(TEXT, first), (FINAL | CONTINUATION, last)]), NOT_UTF_8).await;
    }
}

#[tokio::test]
async fn chapter_7_goodbyes() {
    let (_server, person) = person().await;
    let close = |code: u16, reason: &[u8]| masked(FINAL | CLOSE, &[&code.to_be_bytes(), reason].concat());
    let mut after_an_op = Raw::open(&person).await;
    after_an_op.send(&[masked(FINAL | TEXT, PING_OP), close(1000, b"")].concat()).await;
    assert_eq!(after_an_op.event().await, json!({"event": "pong"}), "case 7.1.1");
    assert_eq!(after_an_op.close_code().await, 1000, "case 7.1.1");
    for (case, after) in [("7.1.2", close(1000, b"")), ("7.1.3", masked(FINAL | PING, b"late")), ("7.1.4", masked(FINAL | TEXT, PING_OP))] {
        let mut raw = Raw::open(&person).await;
        raw.send(&[close(1000, b""), after].concat()).await;
        let frame = raw.answer().await.expect("a close frame");
        assert_eq!(frame.first, FINAL | CLOSE, "case {case}: {frame:?}");
        assert_eq!(raw.frame().await, None, "case {case}: nothing comes after it");
    }
    assert_closed(&person, "7.1.5", &[masked(TEXT, b"{"), close(1000, b""), masked(FINAL | CONTINUATION, b"}")].concat(), 1000).await;

    let reason = [b'*'; 123];
    assert_closed(&person, "7.3.1", &masked(FINAL | CLOSE, b""), 1000).await;
    assert_closed(&person, "7.3.2", &masked(FINAL | CLOSE, b"a"), PROTOCOL).await;
    assert_closed(&person, "7.3.3", &close(1000, b""), 1000).await;
    assert_closed(&person, "7.3.4", &close(1000, b"Hello World!"), 1000).await;
    assert_closed(&person, "7.3.5", &close(1000, &reason), 1000).await;
    assert_closed(&person, "7.3.6", &close(1000, &[&reason[..], b"*"].concat()), PROTOCOL).await;
    assert_closed(&person, "7.5.1", &close(1000, b"\xce\xba\xe1\xbd\xb9\xed\xa0\x80"), PROTOCOL).await;
    for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999] {
        assert_closed(&person, &format!("7.7, {code}"), &close(code, b""), 1000).await;
    }
    for code in [0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999] {
        assert_closed(&person, &format!("7.9, {code}"), &close(code, b""), PROTOCOL).await;
    }
}
