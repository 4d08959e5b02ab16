//! R4 and R5: requests that no client should send, over raw sockets, and bodies that no parser should meet.

use std::io::ErrorKind;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::client::{Person, nonce};
use crate::support::faults;
use crate::support::server::{Server, Settings};

/// The most that a request body may be.
const BODY_BYTES_MAX: usize = 256 * 1024;

/// How long the first bytes of an answer may take, and how long a server is silent that says no more.
const ANSWERS_WITHIN: Duration = Duration::from_secs(60);
const SILENT_FOR: Duration = Duration::from_secs(3);
/// How long a client may send a body that was refused unread.
const UNREAD_ENDS_WITHIN: Duration = Duration::from_secs(30);
/// How long a head that never ends may be waited for.
const HEAD_ENDS_WITHIN: Duration = Duration::from_secs(15);

/// Sends the bytes, reads until the server closes or is silent, and gives what came.
async fn exchange(server: &Server, request: &[u8]) -> String {
    let mut socket = TcpStream::connect(server.address.authority()).await.expect("a connection");
    // The server may close before it has read everything.
    drop(socket.write_all(request).await);
    let mut answer = Vec::new();
    let mut patience = ANSWERS_WITHIN;
    while let Ok(Ok(1..)) = tokio::time::timeout(patience, socket.read_buf(&mut answer)).await {
        patience = SILENT_FOR;
    }
    String::from_utf8_lossy(&answer).into_owned()
}

fn statuses(answer: &str) -> Vec<&str> {
    answer.split("HTTP/1.1 ").skip(1).map(|part| part.get(..3).unwrap_or_default()).collect()
}

#[tokio::test]
async fn a_request_that_two_parsers_could_read_differently_is_refused_once_and_closed() {
    let server = Server::start().await;
    let smuggled = "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n";
    let vectors = [
        (
            "length and chunked",
            format!("POST /v1/posts HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"),
        ),
        ("two lengths", format!("POST /v1/posts HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 4\r\n\r\nabcd{smuggled}")),
        ("a list of lengths", format!("POST /v1/posts HTTP/1.1\r\nHost: x\r\nContent-Length: 0, 4\r\n\r\n{smuggled}")),
        ("a signed length", format!("POST /v1/posts HTTP/1.1\r\nHost: x\r\nContent-Length: +4\r\n\r\nabcd{smuggled}")),
        ("unknown coding", format!("POST /v1/posts HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{smuggled}")),
        (
            "a bad chunk size",
            format!("POST /v1/posts HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nx\r\n0\r\n\r\n{smuggled}"),
        ),
        (
            "a chunk size too large",
            format!("POST /v1/posts HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nx\r\n{smuggled}"),
        ),
        ("a space before the colon", format!("GET /v1/feed HTTP/1.1\r\nHost : x\r\n\r\n{smuggled}")),
        ("a folded header", format!("GET /v1/feed HTTP/1.1\r\nHost: x\r\nX-A: b\r\n c\r\n\r\n{smuggled}")),
        ("no host", format!("GET /livez HTTP/1.1\r\n\r\n{smuggled}")),
        ("two hosts", format!("GET /livez HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n{smuggled}")),
        ("a NUL in a header", format!("GET /livez HTTP/1.1\r\nHost: x\r\nX-A: a\0b\r\n\r\n{smuggled}")),
    ];
    for (name, request) in vectors {
        let answer = exchange(&server, request.as_bytes()).await;
        // Where the head is sound, it may be refused for want of a token before the body is looked at.
        let refusals: &[&[&str]] = if name.contains("chunk size") { &[&["400"], &["401"]] } else { &[&["400"]] };
        assert!(refusals.contains(&statuses(&answer).as_slice()), "{name}: {answer}");
    }
    Person::stranger(&server).get("/livez").send().await.expect(200);
}

#[tokio::test]
async fn an_unknown_method_is_refused_and_the_allowed_ones_are_named() {
    let server = Server::start().await;
    let ann = Person::join(&server, "ann").await;
    let post = ann.publish("Methods").await;

    for method in ["TRACE", "QUERY", "PUT", "BREW"] {
        let method = reqwest::Method::from_bytes(method.as_bytes()).expect("a token");
        let answer = ann.call(method, &format!("/v1/posts/{post}")).send().await.expect_problem(405, "method-not-allowed");
        assert!(answer.header("allow").contains("PATCH"), "Allow: {}", answer.header("allow"));
    }
    ann.post("/v1/nothing").send().await.expect_problem(404, "not-found");
}

#[tokio::test]
async fn a_body_has_a_largest_size_declared_or_not() {
    let server = Server::start().await;
    let ann = Person::join(&server, "ann").await;
    let post = |body: String| ann.post("/v1/posts").header("Content-Type", "application/json").body(body);
    let padded = |size: usize| {
        let start = r#"{"body": "x""#;
        format!("{start}{}}}", " ".repeat(size - start.len() - 1))
    };

    post(padded(BODY_BYTES_MAX)).send().await.expect(202);
    let refused = post(padded(BODY_BYTES_MAX + 1)).send().await.expect_problem(413, "payload-too-large");
    assert_eq!(refused.json["accepted"], false);

    let token = ann.token.clone().expect("signed in");
    let head = format!("POST /v1/posts HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n");
    let declared = exchange(&server, format!("{head}Content-Length: 1073741824\r\n\r\n{{").as_bytes()).await;
    assert_eq!(statuses(&declared), ["413"], "{declared}");
    let mut chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
    for _ in 0..40 {
        chunked.extend_from_slice(format!("4000\r\n{}\r\n", " ".repeat(0x4000)).as_bytes());
    }
    let streamed = exchange(&server, &chunked).await;
    assert_eq!(statuses(&streamed), ["413"], "{streamed}");
}

#[tokio::test]
async fn bodies_that_are_not_what_was_asked_for_are_refused_and_never_break_the_server() {
    let server = Server::start().await;
    let ann = Person::join(&server, "ann").await;
    let deep = format!("{{\"body\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let many: String = (0..20_000).map(|number| format!("\"k{number}\":1,")).collect();
    let bodies: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", Vec::new()),
        ("half of it", br#"{"body": "x"#.to_vec()),
        ("deep", deep.into_bytes()),
        ("many members", format!("{{{many}\"body\":\"x\"}}").into_bytes()),
        ("a member twice", br#"{"body":"x","body":"y"}"#.to_vec()),
        ("a lone surrogate", br#"{"body":"\ud800"}"#.to_vec()),
        ("no UTF-8", b"{\"body\":\"\xff\xfe\"}".to_vec()),
        ("a number", br#"{"body":18446744073709551616}"#.to_vec()),
        ("not a number", br#"{"body":NaN}"#.to_vec()),
        ("a list", br#"["body"]"#.to_vec()),
        ("null", br#"{"body":null}"#.to_vec()),
        ("more after it", br#"{"body":"x"}{"body":"y"}"#.to_vec()),
        ("an escaped NUL", br#"{"body":"a\u0000b"}"#.to_vec()),
    ];
    for (name, body) in bodies {
        let answer = ann.post("/v1/posts").header("Content-Type", "application/json").body(body).send().await;
        assert!(matches!(answer.status, 400 | 422), "{name}: {} {}", answer.status, answer.text);
        assert!(matches!(answer.problem(), "malformed" | "invalid"), "{name}: {}", answer.text);
        assert_eq!(answer.json["accepted"], false, "{name}: {}", answer.text);
    }
    let spoken = "\u{202e}right to left\u{200b} and \u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}";
    let told = ann.write_post(spoken).send().await;
    assert!(matches!(told.status, 202 | 422), "{}", told.text);
}

#[tokio::test]
async fn a_body_has_the_type_that_the_call_takes_and_no_coding() {
    let server = Server::start().await;
    let ann = Person::join(&server, "ann").await;
    let post = ann.publish("Types").await;

    for kind in ["text/plain", "application/xml", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"] {
        let answer = ann.post("/v1/posts").header("Content-Type", kind).body(r#"{"body":"x"}"#).send().await;
        let answer = answer.expect_problem(415, "unsupported-media-type");
        assert!(answer.header("accept-post").contains("application/json"), "{:?}", answer.headers);
    }
    let patched = ann.patch(&format!("/v1/posts/{post}")).header("Content-Type", "text/plain").body("x").send().await;
    assert!(patched.expect_problem(415, "unsupported-media-type").header("accept-patch").contains("application/merge-patch+json"));
    for coding in ["gzip", "br", "zstd", "deflate", "gzip, gzip"] {
        let call = ann.write_post("x").header("Content-Encoding", coding);
        call.send().await.expect_problem(415, "unsupported-media-type");
    }
    ann.get(&format!("/v1/posts/{post}")).header("Accept", "text/html").send().await.expect_problem(406, "not-acceptable");
}

#[tokio::test]
async fn paths_and_queries_that_are_not_text_or_not_ids_are_refused() {
    let server = Server::start().await;
    let ann = Person::join(&server, "ann").await;
    for path in ["/v1/posts/%ff", "/v1/posts/abc", "/v1/posts/0", "/v1/posts/9223372036854775808", "/v1/posts/1%00"] {
        let answer = ann.get(path).send().await;
        assert!(matches!(answer.status, 400 | 404), "{path}: {} {}", answer.status, answer.text);
    }
    for query in ["limit=x", "limit=-1", "limit=99999999999999999999", "cursor=%ff", "cursor=..", "order=up"] {
        let answer = ann.get(&format!("/v1/posts/1/comments?{query}")).send().await;
        assert!(matches!(answer.status, 400 | 404 | 422), "{query}: {} {}", answer.status, answer.text);
    }
    for path in ["/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/..%5c..%5cetc", "/docs/..%2f..%2fCargo.toml", "/%252e%252e/etc"] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let answer = exchange(&server, request.as_bytes()).await;
        assert!(statuses(&answer).iter().all(|status| ["400", "404", "301", "308"].contains(status)), "{path}: {answer}");
        assert!(!answer.contains("root:"), "{path}");
    }
    let long = "a".repeat(70_000);
    let answer = exchange(&server, format!("GET /v1/posts/{long} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await;
    assert!(statuses(&answer).iter().all(|status| status.starts_with('4')), "{answer}");
    Person::stranger(&server).get("/livez").send().await.expect(200);
}

#[tokio::test]
async fn many_requests_on_one_connection_are_answered_in_their_order() {
    let server = Server::start().await;
    let ann = Person::join(&server, "ann").await;
    let post = ann.publish(&nonce()).await;
    let one = format!("GET /v1/posts/{post} HTTP/1.1\r\nHost: x\r\n\r\n");
    let two = "GET /v1/posts/1 HTTP/1.1\r\nHost: x\r\n\r\n";
    let last = "GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

    let answer = exchange(&server, format!("{one}{two}{one}{last}").as_bytes()).await;

    assert_eq!(statuses(&answer), ["200", "404", "200", "200"]);
}

/// Sends a head, then a byte a second, until the server hangs up: what it said, and how long it took to say so.
async fn trickle(server: &Server, head: &str) -> (String, Duration) {
    let began = std::time::Instant::now();
    let (mut reader, mut writer) = TcpStream::connect(server.address.authority()).await.expect("a connection").into_split();
    writer.write_all(head.as_bytes()).await.expect("sent");
    let sending = async move {
        while writer.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let mut answer = Vec::new();
    let mut answered = Duration::MAX;
    let reading = async {
        if matches!(reader.read_buf(&mut answer).await, Ok(1..)) {
            answered = began.elapsed();
        }
        // It may go on reading for a few seconds, so that its answer is not lost to a reset.
        drop(reader.read_to_end(&mut answer).await);
    };
    let ended = tokio::time::timeout(Duration::from_secs(50), async { tokio::join!(sending, reading) }).await;
    assert!(ended.is_ok(), "the connection stays open");
    (String::from_utf8_lossy(&answer).into_owned(), answered)
}

#[tokio::test]
async fn a_head_has_ten_seconds_and_a_body_thirty_however_the_bytes_trickle_in() {
    let server = Server::start().await;
    let ann = Person::join(&server, "ann").await;
    let token = ann.token.clone().expect("signed in");
    let post = format!("POST /v1/posts HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n");

    let (open_head, open_body) = (format!("{post}X-Slow: "), format!("{post}Content-Length: 1000\r\n\r\n"));
    let ((head, head_took), (body, body_took)) = tokio::join!(trickle(&server, &open_head), trickle(&server, &open_body));

    assert_eq!(statuses(&head), ["408"], "{head}");
    assert!((9..14).contains(&head_took.as_secs()), "a head after {head_took:?}");
    assert_eq!(statuses(&body), ["408"], "{body}");
    assert!(body.contains("/problems/request-timeout") && body.contains("\"accepted\":false"), "{body}");
    assert!((29..36).contains(&body_took.as_secs()), "a body after {body_took:?}");
}

/// Sends a head and then chunk after chunk. What was answered, if the server hangs up in time.
async fn chunks_without_end(server: &Server, head: &str, within: Duration) -> Option<String> {
    let (mut reader, mut writer) = TcpStream::connect(server.address.authority()).await.expect("a connection").into_split();
    writer.write_all(format!("{head}Transfer-Encoding: chunked\r\n\r\n").as_bytes()).await.expect("sent");
    let chunk = format!("4000\r\n{}\r\n", " ".repeat(0x4000));
    let sending = async move {
        while writer.write_all(chunk.as_bytes()).await.is_ok() {
            // The pace of a client who is in no hurry.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let mut answer = Vec::new();
    // A reset after the answer is an end, too.
    let reading = async { drop(reader.read_to_end(&mut answer).await) };
    tokio::time::timeout(within, async { tokio::join!(sending, reading) }).await.ok()?;
    Some(String::from_utf8_lossy(&answer).into_owned())
}

#[tokio::test]
async fn a_body_in_chunks_that_is_refused_unread_does_not_go_on_for_ever() {
    let server = Server::start().await;
    let ann = Person::join(&server, "ann").await;
    let token = ann.token.clone().expect("signed in");
    let post = "POST /v1/posts HTTP/1.1\r\nHost: x\r\n";
    let signed = format!("{post}Authorization: Bearer {token}\r\n");
    let heads = [
        ("401", format!("{post}Content-Type: application/json\r\n")),
        ("413", format!("{signed}Content-Type: application/json\r\n")),
        ("415", format!("{signed}Content-Type: text/plain\r\n")),
    ];

    let ended = heads.iter().map(|(_, head)| chunks_without_end(&server, head, UNREAD_ENDS_WITHIN));
    let ended = futures_util::future::join_all(ended).await;

    for ((status, _), answer) in heads.iter().zip(ended) {
        let answer = answer.unwrap_or_else(|| panic!("{status}: the connection stays open"));
        assert!(answer.is_empty() || statuses(&answer) == [*status], "{status}: {answer}");
    }
}

#[tokio::test]
async fn control_a_body_in_chunks_that_is_left_to_the_framework_is_caught() {
    let server = Server::start_with(Settings::default().fault((faults::DROP_UNREAD_BODIES, "return"))).await;
    let head = "POST /v1/posts HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";

    let ended = chunks_without_end(&server, head, Duration::from_secs(12)).await;

    assert!(ended.is_none(), "the fault had no effect");
}

#[tokio::test]
async fn slow_requests_are_ended_and_do_not_hold_up_others() {
    let server = Server::start().await;
    let ann = Person::join(&server, "ann").await;
    let mut slow = Vec::new();
    for _ in 0..200 {
        let mut socket = TcpStream::connect(server.address.authority()).await.expect("a connection");
        socket.write_all(b"POST /v1/posts HTTP/1.1\r\nHost: x\r\n").await.expect("sent");
        slow.push(socket);
    }

    ann.write_post("In between").send().await.expect(202);
    let is_open = |socket: &TcpStream| socket.try_read(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
    assert!(slow.iter().all(is_open), "it waited for the end of slow requests");

    let mut socket = slow.pop().expect("a socket");
    let mut answer = Vec::new();
    let ended = tokio::time::timeout(HEAD_ENDS_WITHIN, socket.read_to_end(&mut answer)).await;
    assert!(ended.is_ok(), "a head that never ends is waited for without a limit");
    let text = String::from_utf8_lossy(&answer);
    assert!(text.is_empty() || statuses(&text) == ["408"], "{text}");
}

#[tokio::test]
async fn the_documents_are_there_and_name_every_problem() {
    let server = Server::start().await;
    let stranger = Person::stranger(&server);

    let document = stranger.get("/openapi.json").send().await.expect(200);
    assert!(document.text_at("/openapi").starts_with("3.1"));
    for path in ["/docs", "/docs/", "/"] {
        assert!(stranger.get(path).send().await.expect(200).header("content-type").starts_with("text/html"));
    }
    assert_eq!(stranger.get("/livez").send().await.expect(200).status, 200);
    assert_eq!(document.json["paths"]["/v1/posts"]["post"]["responses"]["202"].is_object(), json!(true));
}
