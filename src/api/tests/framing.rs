//! Bytes on a real socket: requests whose end or addressee is in doubt are refused and the connection ends.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Stage;
use crate::api::public_server;

/// How long a server that should hang up may take. A test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(30);

struct Running {
    address: std::net::SocketAddr,
    handle: actix_web::dev::ServerHandle,
    stage: Stage,
}

fn run() -> Running {
    let stage = Stage::new();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let server = public_server(Arc::clone(&stage.services), listener, 1).expect("a server");
    let handle = server.handle();
    actix_web::rt::spawn(server);
    Running { address, handle, stage }
}

impl Running {
    /// Sends the bytes and reads until the server hangs up. `None`: it did not.
    async fn exchange(&self, bytes: &[u8]) -> Option<String> {
        let mut socket = TcpStream::connect(self.address).await.expect("a connection");
        socket.write_all(bytes).await.expect("sent");
        let mut answer = Vec::new();
        let read = tokio::time::timeout(PATIENCE, socket.read_to_end(&mut answer)).await;
        // A reset after the answer is hanging up too.
        read.ok().map(|_| String::from_utf8_lossy(&answer).into_owned())
    }

    async fn stop(self) {
        self.handle.stop(false).await;
    }
}

#[actix_web::test]
async fn a_request_that_can_be_read_in_two_ways_is_refused_and_nothing_after_it_is_read() {
    let server = run();
    let smuggled = "GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let like = "PUT /v1/posts/42/like HTTP/1.1\r\nAuthorization: Bearer token-of-anna\r\n";
    let vectors = [
        ("length and chunked", format!("{like}Host: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")),
        ("chunked and length", format!("{like}Host: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n")),
        ("two lengths", format!("{like}Host: a\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\n")),
        ("two equal lengths", format!("{like}Host: a\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n")),
        ("a list of lengths", format!("{like}Host: a\r\nContent-Length: 0, 0\r\n\r\n")),
        ("a signed length", format!("{like}Host: a\r\nContent-Length: +0\r\n\r\n")),
        ("a negative length", format!("{like}Host: a\r\nContent-Length: -1\r\n\r\n")),
        ("a huge length", format!("{like}Host: a\r\nContent-Length: 99999999999999999999\r\n\r\n")),
        ("an unknown coding", format!("{like}Host: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n")),
        ("two codings", format!("{like}Host: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n")),
        ("chunked twice", format!("{like}Host: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")),
        ("chunked in HTTP/1.0", "PUT /v1/posts/42/like HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned()),
        ("no host", format!("{like}\r\n")),
        ("two hosts", format!("{like}Host: a\r\nHost: b\r\n\r\n")),
        ("a folded field", format!("{like}Host: a\r\nX-Folded: a\r\n b\r\n\r\n")),
        ("a space before the colon", format!("{like}Host: a\r\nContent-Length : 5\r\n\r\n")),
        ("a space before the first name", format!("{like} Host: a\r\n\r\n")),
        ("a name of other characters", format!("{like}Host: a\r\nX[]: b\r\n\r\n")),
        ("NUL in a value", format!("{like}Host: a\r\nX: a\0b\r\n\r\n")),
        ("a bad version", "GET /livez HTTP/9.9\r\nHost: a\r\n\r\n".to_owned()),
        ("a bad target", "GET liv ez HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()),
    ];
    for (name, bytes) in vectors {
        let answer = server.exchange(format!("{bytes}{smuggled}").as_bytes()).await;

        let answer = answer.unwrap_or_else(|| panic!("{name}: the connection stays open"));
        assert!(answer.starts_with("HTTP/1.1 400") || answer.starts_with("HTTP/1.0 400"), "{name}: {answer}");
        assert_eq!(answer.matches("HTTP/1.").count(), 1, "{name}: {answer}");
    }
    assert_eq!(server.stage.doubles.count(), 0);
    server.stop().await;
}

#[actix_web::test]
async fn a_request_without_a_clear_addressee_is_refused_and_the_connection_ends() {
    let server = run();
    let like = "PUT /v1/posts/42/like HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer token-of-anna\r\n\r\n";
    let vectors = [
        ("no host in HTTP/1.0", "GET /livez HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"),
        ("an empty host", "GET /livez HTTP/1.1\r\nHost: \r\n\r\n"),
        ("a host with a path", "GET /livez HTTP/1.1\r\nHost: a/b\r\n\r\n"),
        ("a host with a user", "GET /livez HTTP/1.1\r\nHost: a@b\r\n\r\n"),
    ];
    for (name, bytes) in vectors {
        for behind in [String::new(), like.to_owned(), like.repeat(3), like.repeat(40), format!("{like}GET / HT")] {
            let answer = server.exchange(format!("{bytes}{behind}").as_bytes()).await;

            let answer = answer.unwrap_or_else(|| panic!("{name}: the connection stays open"));
            assert!(answer.contains(" 400 ") && answer.contains("/problems/malformed"), "{name}: {answer}");
            assert_eq!(answer.matches("HTTP/1.").count(), 1, "{name}: {answer}");
        }
        let before = server.exchange(format!("{like}{bytes}{like}").as_bytes()).await.expect("an end");
        assert!(before.starts_with("HTTP/1.1 202") && before.matches("HTTP/1.").count() == 2, "{name}: {before}");
    }
    assert_eq!(server.stage.doubles.count(), vectors.len());
    server.stop().await;
}

#[actix_web::test]
async fn a_body_in_bad_chunks_is_refused_and_the_connection_ends() {
    let server = run();
    let post = "POST /v1/posts HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer token-of-anna\r\nContent-Type: application/json\r\n";
    let bodies = [
        "zz\r\n{}\r\n0\r\n\r\n",
        "\r\n{}\r\n0\r\n\r\n",
        "-2\r\n{}\r\n0\r\n\r\n",
        "ffffffffffffffffff\r\n{}\r\n",
        "2\r\n{}xx0\r\n\r\n",
        // A line feed alone, behind a size, behind a chunk, and in what is said of a chunk.
        "2\n{}\r\n0\r\n\r\n",
        "2\r\n{}\n0\r\n\r\n",
        "2;said\nof it\r\n{}\r\n0\r\n\r\n",
    ];
    for body in bodies {
        let answer = server.exchange(format!("{post}Transfer-Encoding: chunked\r\n\r\n{body}").as_bytes()).await;

        let answer = answer.unwrap_or_else(|| panic!("{body:?}: the connection stays open"));
        assert!(answer.starts_with("HTTP/1.1 400"), "{body:?}: {answer}");
    }
    assert_eq!(server.stage.doubles.count(), 0);
    server.stop().await;
}

#[actix_web::test]
async fn what_is_said_of_a_chunk_is_skipped_and_the_body_ends_where_its_sizes_say() {
    let server = run();
    let head = "POST /v1/posts HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer token-of-anna\r\nContent-Type: application/json\r\n";
    let last = "HEAD /openapi.json HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let remarks = [";name=value", ";name=\"a; b\"", " ;name", ";", ";0"];
    for said in remarks {
        let chunked = format!("c{said}\r\n{{\"body\":\"x\"}}\r\n0{said}\r\n\r\n");
        let answer = server.exchange(format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunked}{last}").as_bytes()).await;

        let answer = answer.unwrap_or_else(|| panic!("{said:?}: the connection stays open"));
        assert!(answer.starts_with("HTTP/1.1 202") && answer.contains("HTTP/1.1 200"), "{said:?}: {answer}");
        assert_eq!(answer.matches("HTTP/1.").count(), 2, "{said:?}: {answer}");
    }
    assert_eq!(server.stage.doubles.count(), remarks.len());
    server.stop().await;
}

/// RFC 9112, 2.2, lets a server read a line feed alone as the end of a line. Then it is one everywhere, and what stands behind it counts.
#[actix_web::test]
async fn a_line_feed_alone_ends_a_line_and_what_follows_it_is_a_field_like_any_other() {
    let server = run();
    let like = "PUT /v1/posts/42/like HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer token-of-anna\r\n\r\n";
    let get = "GET /livez HTTP/1.1\r\nHost: a\r\nX: b";
    let last = "HEAD /openapi.json HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let length = like.len();
    for (name, bytes, statuses) in [
        ("a head of such lines", "GET /livez HTTP/1.1\nHost: a\nConnection: close\n\n".to_owned(), &["200"][..]),
        ("a length", format!("{get}\nContent-Length: {length}\r\n\r\n{like}{last}"), &["200", "200"]),
        ("a length and chunked", format!("{get}\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{like}"), &["400"]),
        ("two lengths", format!("{get}\nContent-Length: 0\nContent-Length: {length}\r\n\r\n{like}"), &["400"]),
        ("a second host", format!("{get}\nHost: b\r\n\r\n{like}"), &["400"]),
        ("a folded field", format!("{get}\n c\r\n\r\n{like}"), &["400"]),
        ("a carriage return alone", format!("{get}\rHost: b\r\n\r\n{like}"), &["400"]),
    ] {
        let answer = server.exchange(bytes.as_bytes()).await;

        let answer = answer.unwrap_or_else(|| panic!("{name}: the connection stays open"));
        let found: Vec<&str> = answer.split("HTTP/1.1 ").skip(1).map(|part| &part[..3]).collect();
        assert_eq!(found, statuses, "{name}: {answer}");
    }
    assert_eq!(server.stage.doubles.count(), 0);
    server.stop().await;
}

#[actix_web::test]
async fn what_follows_a_body_that_was_refused_unread_is_not_served() {
    let server = run();
    let post = "POST /v1/posts HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer token-of-anna\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}";
    let like = "PUT /v1/posts/42/like HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer token-of-anna\r\n\r\n";

    let answer = server.exchange(format!("{post}{like}{like}").as_bytes()).await.expect("an end");

    assert!(answer.starts_with("HTTP/1.1 415") && answer.matches("HTTP/1.").count() == 1, "{answer}");
    assert_eq!(server.stage.doubles.count(), 0);
    server.stop().await;
}

#[actix_web::test]
async fn good_requests_share_a_connection_and_a_chunked_body_may_not_exceed_the_limit() {
    let server = run();
    let like = "PUT /v1/posts/42/like HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer token-of-anna\r\n";
    let last = "HEAD /openapi.json HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

    let pipelined = server.exchange(format!("{like}\r\n{like}\r\n{last}").as_bytes()).await.expect("an end");
    assert_eq!(pipelined.matches("HTTP/1.1 202").count(), 2, "{pipelined}");
    let (_, head) = pipelined.rsplit_once("HTTP/1.1 200").expect("an answer to HEAD");
    assert!(head.to_ascii_lowercase().contains("content-length: ") && head.ends_with("\r\n\r\n"), "HEAD has a length and no body: {head}");

    let post = "POST /v1/posts HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer token-of-anna\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    let small = "c\r\n{\"body\":\"x\"}\r\n0\r\n\r\n";
    let shared = server.exchange(format!("{post}{small}{post}{small}{last}").as_bytes()).await.expect("an end");
    assert_eq!(shared.matches("HTTP/1.1 202").count(), 2, "{shared}");
    let chunk = format!("8000\r\n{}\r\n", " ".repeat(0x8000));
    let answer = server.exchange(format!("{post}{}0\r\n\r\n", chunk.repeat(9)).as_bytes()).await.expect("an end");
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("payload-too-large"), "{answer}");
    server.stop().await;
}
