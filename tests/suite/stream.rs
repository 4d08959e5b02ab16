//! Who may open a stream, what a client may do on it, and how it ends.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::client::{PASSWORD, Person, within};
use crate::support::faults;
use crate::support::server::{Server, Settings};
use crate::support::socket::{EVENT_TIMEOUT, Events, Socket};

#[tokio::test]
async fn a_token_in_the_header_signs_in() {
    let server = Server::start().await;
    let person = Person::join(&server, "header").await;

    let (mut socket, hello) = Socket::greeted(&person).await;

    assert_eq!(hello["user"], json!(person.id));
    assert_eq!((&hello["heartbeat_ms"], &hello["watch_limit"]), (&json!(25_000), &json!(100)), "{hello}");
    assert!(hello["epoch"].as_str().is_some_and(|epoch| !epoch.is_empty()), "{hello}");
    socket.settled().await;
    socket.close().await;
}

#[tokio::test]
async fn a_first_frame_signs_in_and_without_one_the_socket_ends_in_time() {
    let server = Server::start().await;
    let person = Person::join(&server, "first").await;
    let token = person.token.clone().expect("signed in");

    let mut socket = Socket::anonymous(&server.address).await;
    socket.send(&json!({"op": "auth", "token": token})).await;
    assert_eq!(socket.event("hello").await["user"], json!(person.id));

    let mut silent = Socket::anonymous(&server.address).await;
    // It has five seconds.
    let (events, code) = silent.until_closed(Duration::from_secs(15)).await;
    assert_eq!((events, code), (Vec::<Value>::new(), 4408));
}

#[tokio::test]
async fn a_bad_first_frame_ends_the_socket() {
    let server = Server::start().await;
    for (frame, expected) in [
        (r#"{"op":"auth","token":"forged"}"#, 4401),
        (r#"{"op":"ping"}"#, 4401),
        (r#"{"op":"watch","post":"1"}"#, 4401),
        (r#"{"op":"auth"}"#, 4401),
        (r#"{"op":"fly"}"#, 4400),
        ("not JSON", 4400),
    ] {
        let mut socket = Socket::anonymous(&server.address).await;
        socket.send_text(frame).await;
        assert_eq!(socket.close_code().await, expected, "{frame}");
    }
}

#[tokio::test]
async fn a_bad_credential_is_refused_at_the_handshake() {
    let server = Server::start().await;

    let refused = Socket::try_open(&server.address, &[("Authorization", "Bearer forged")]).await.err().expect("refused");
    assert_eq!(refused.status, 401, "{}", refused.body);

    let stranger = Person::stranger(&server);
    assert_eq!(Events::try_open(&stranger, "", None).await.status().as_u16(), 401, "server-sent events have no first frame");
}

#[tokio::test]
async fn a_token_in_the_query_signs_nobody_in() {
    // So that there is a line for each request.
    let server = Server::start_with(Settings::default().with("telemetry.log", "debug")).await;
    let person = Person::join(&server, "query").await;
    let token = person.token.clone().expect("signed in");

    let answer = Events::try_open(&person.signed_out(), &format!("?token={token}&access_token={token}"), None).await;

    assert_eq!(answer.status().as_u16(), 401);
    let log = server.log();
    assert!(log.contains("/v1/stream") && !log.contains(&token));
}

/// The access cookie of a person who signed in with cookies.
async fn cookie_of(person: &Person) -> String {
    let login = person.post("/v1/auth/login?cookies=true").json(&json!({"username": person.name, "password": PASSWORD}));
    let answer = login.header("Origin", &person.address.url("")).send().await.expect(200);
    let cookies = answer.headers.get_all("set-cookie").iter().filter_map(|value| value.to_str().ok());
    let access = cookies.filter_map(|cookie| cookie.split(';').next()).find(|cookie| cookie.starts_with("sosik-access="));
    access.expect("the access cookie").to_owned()
}

/// S19: with a cookie only pages of ours open a stream.
#[tokio::test]
async fn a_cookie_counts_only_from_an_allowed_origin() {
    let server = Server::start_with(Settings::default().with("server.allowed_origins", r#"["https://good.example"]"#)).await;
    let person = Person::join(&server, "cookie").await;
    let cookie = cookie_of(&person).await;
    let own = server.address.url("");

    for origin in [own.as_str(), "https://good.example"] {
        let mut socket = Socket::try_open(&server.address, &[("Cookie", &cookie), ("Origin", origin)]).await.expect("a handshake");
        assert_eq!(socket.event("hello").await["user"], json!(person.id), "{origin}");
    }
    let port = format!("https://good.example:8{}", 0);
    for origin in ["https://evil.example", "https://good.example.evil", "https://GOOD.example", "http://good.example", &port, "null", ""] {
        let fields = [("Cookie", cookie.as_str()), ("Origin", origin)];
        let refused = Socket::try_open(&server.address, &fields).await.err().unwrap_or_else(|| panic!("{origin:?} was let in"));
        assert_eq!(refused.status, 403, "{origin:?}: {}", refused.body);
    }
    let refused = Socket::try_open(&server.address, &[("Cookie", &cookie)]).await.err().expect("no origin is not ours");
    assert_eq!(refused.status, 403);
    let foreign = Socket::try_open(&server.address, &[("Origin", "https://evil.example")]).await.err().expect("refused");
    assert_eq!(foreign.status, 403, "a foreign page opens no WebSocket at all");
}

#[tokio::test]
async fn control_a_foreign_page_that_is_let_in_is_noticed() {
    let server = Server::start_with(Settings::default().fault((faults::SKIP_ORIGIN_CHECK, "return"))).await;
    let person = Person::join(&server, "cookie").await;
    let cookie = cookie_of(&person).await;

    assert!(Socket::try_open(&server.address, &[("Cookie", &cookie), ("Origin", "https://evil.example")]).await.is_ok());
}

#[tokio::test]
async fn who_asks_for_neither_protocol_is_told_to_upgrade() {
    let server = Server::start().await;
    let person = Person::join(&server, "neither").await;

    let answer = person.get("/v1/stream").send().await.expect_problem(426, "upgrade-required");
    assert_eq!(answer.header("upgrade"), "websocket");
    person.signed_out().get("/v1/stream").send().await.expect_problem(426, "upgrade-required");
    person.post("/v1/stream").send().await.expect_problem(405, "method-not-allowed");
}

#[tokio::test]
async fn the_subprotocol_may_be_offered() {
    let server = Server::start().await;
    let person = Person::join(&server, "sub").await;
    let bearer = format!("Bearer {}", person.token.as_deref().expect("signed in"));

    let fields = [("Authorization", bearer.as_str()), ("Sec-WebSocket-Protocol", "sosik.v1")];
    let mut socket = Socket::try_open(&server.address, &fields).await.expect("a handshake that names the subprotocol");

    socket.event("hello").await;
}

#[tokio::test]
async fn a_logout_ends_the_sockets_of_its_sign_in_and_no_others() {
    let server = Server::start().await;
    let phone = Person::join(&server, "two").await;
    let answer = phone.login(&phone.name, PASSWORD).await.expect(200);
    let laptop = phone.signed_in(&answer, &phone.name);
    let (mut on_phone, mut on_laptop) = (Socket::open(&phone).await, Socket::open(&laptop).await);
    let mut events = Events::open(&phone, "", None).await;
    events.event("hello").await;

    phone.post("/v1/auth/logout").send().await.expect(204);

    let (_, code) = on_phone.until_closed(Duration::from_secs(5)).await;
    assert_eq!(code, 4401);
    let ended = tokio::time::timeout(Duration::from_secs(5), async { while events.next().await.is_some() {} }).await;
    assert!(ended.is_ok(), "the events of the ended sign-in go on");
    on_laptop.settled().await;
}

#[tokio::test]
async fn a_password_change_ends_the_sockets_of_all_other_sign_ins() {
    let server = Server::start().await;
    let phone = Person::join(&server, "change").await;
    let answer = phone.login(&phone.name, PASSWORD).await.expect(200);
    let laptop = phone.signed_in(&answer, &phone.name);
    let (mut on_phone, mut on_laptop) = (Socket::open(&phone).await, Socket::open(&laptop).await);

    let change = json!({"current_password": PASSWORD, "new_password": "another-secret-of-mine-9"});
    laptop.post("/v1/auth/password").json(&change).send().await.expect(204);

    assert_eq!(on_phone.until_closed(Duration::from_secs(5)).await.1, 4401);
    on_laptop.settled().await;
}

#[tokio::test]
async fn a_token_that_ends_ends_the_socket_unless_it_is_renewed_in_it() {
    let mut server = Server::start_with(Settings::default().with("auth.access_ttl", "15s")).await;
    let person = Person::join(&server, "ends").await;
    server.kill();
    // The tokens of now end much later than the first one does.
    server.restart_with(Settings::default()).await;
    let (mut left, mut renewed) = (Socket::open(&person).await, Socket::open(&person).await);

    let answer = person.refresh(&person.refresh_token).await.expect(200);
    renewed.send(&json!({"op": "auth", "token": answer.text_at("/access_token")})).await;
    renewed.settled().await;

    // It was good for fifteen seconds when it was made.
    assert_eq!(left.until_closed(Duration::from_secs(25)).await.1, 4401);
    renewed.settled().await;
}

#[tokio::test]
async fn a_later_auth_that_is_bad_or_foreign_is_refused_and_the_socket_stays() {
    let server = Server::start().await;
    let people = Person::join_many(&server, "later", 2).await;
    let mut socket = Socket::open(&people[0]).await;

    socket.send(&json!({"op": "auth", "token": "forged"})).await;
    assert_eq!(socket.event("error").await["code"], "unauthenticated");
    socket.send(&json!({"op": "auth", "token": people[1].token})).await;
    assert_eq!(socket.event("error").await["code"], "forbidden");

    socket.settled().await;
}

#[tokio::test]
async fn the_newest_socket_over_the_limit_is_closed_and_a_place_that_is_left_is_free_again() {
    let server = Server::start_with(Settings::default().with("stream.sockets_per_user", "2")).await;
    let people = Person::join_many(&server, "many", 2).await;
    let (first, mut second) = (Socket::open(&people[0]).await, Socket::open(&people[0]).await);

    assert_eq!(Socket::unread(&people[0]).await.close_code().await, 4413);
    assert_eq!(Events::try_open(&people[0], "", None).await.status().as_u16(), 429);
    // Nor is a post looked at for a stream that may not be: this one is not there.
    assert_eq!(Events::try_open(&people[0], "?watch=1", None).await.status().as_u16(), 429);
    assert_eq!(Events::try_open(&people[1], "?watch=1", None).await.status().as_u16(), 404);
    Socket::open(&people[1]).await.settled().await;
    second.settled().await;

    first.close().await;
    within(EVENT_TIMEOUT, "a free place", async || {
        let greeting = Socket::unread(&people[0]).await.greeting().await;
        greeting.map_err(|code| assert_eq!(code, 4413, "while the place is taken")).ok()
    })
    .await;
}

#[tokio::test]
async fn one_watch_too_many_ends_the_socket() {
    let server = Server::start_with(Settings::default().with("stream.watches_per_socket", "2")).await;
    let person = Person::join(&server, "watches").await;
    let mut posts = Vec::new();
    for number in 0..3 {
        posts.push(person.publish(&format!("post {number}")).await);
    }
    let mut socket = Socket::open(&person).await;

    socket.watch(&posts[0]).await;
    socket.watch(&posts[1]).await;
    socket.watch(&posts[1]).await;
    socket.send(&json!({"op": "watch", "post": posts[2]})).await;

    assert_eq!(socket.close_code().await, 4413);
    let refused = Events::try_open(&person, &format!("?watch={}", posts.join(",")), None).await;
    assert_eq!(refused.status().as_u16(), 422);
}

#[tokio::test]
async fn an_own_write_is_told_as_its_state_changes_on_all_devices_and_to_nobody_else() {
    let server = Server::start().await;
    let people = Person::join_many(&server, "write", 2).await;
    let (mut phone, mut laptop, mut other) =
        (Socket::open(&people[0]).await, Socket::open(&people[0]).await, Socket::open(&people[1]).await);

    let write = people[0].write_post("told").wait(30).send().await.expect(201).write_id();

    for socket in [&mut phone, &mut laptop] {
        let event = socket.event_where("write", |event| event["data"]["id"] == json!(write) && event["data"]["state"] == "visible").await;
        assert_eq!(event["data"]["kind"], "post.create", "{event}");
        assert!(event["data"]["resource"].as_str().is_some_and(|resource| resource.starts_with("/v1/posts/")), "{event}");
    }
    assert_eq!(other.settled().await, Vec::<Value>::new());
}

#[tokio::test]
async fn at_shutdown_every_socket_is_told_when_to_come_back() {
    let mut server = Server::start().await;
    let people = Person::join_many(&server, "bye", 2).await;
    let mut sockets = Vec::new();
    for person in people.iter().cycle().take(8) {
        sockets.push(Socket::open(person).await);
    }
    let mut anonymous = Socket::anonymous(&server.address).await;
    let mut events = Events::open(&people[0], "", None).await;
    events.event("hello").await;

    server.signal(Signal::TERM);

    let mut waits = Vec::new();
    for socket in &mut sockets {
        let (told, code) = socket.until_closed(EVENT_TIMEOUT).await;
        assert_eq!(code, 1001);
        let bye = told.last().expect("a last event");
        assert_eq!(bye["event"], "bye", "{bye}");
        assert!(bye["epoch"].is_string() && bye["seq"].is_u64(), "{bye}");
        waits.push(bye["retry_ms"].as_u64().expect("a wait"));
    }
    assert_eq!(events.event("bye").await.data["event"], "bye");
    assert!(events.next().await.is_none(), "the stream ends after it");
    waits.sort_unstable();
    waits.dedup();
    assert!(waits.len() >= 6, "the waits are spread: {waits:?}");
    let code = anonymous.close_code().await;
    assert!([0, 1001, 4408].contains(&code), "{code}");
    let status = server.ended_within(crate::support::server::STOP_TIMEOUT).await.expect("it ends in time");
    assert!(status.success(), "{status}");
}

#[tokio::test]
async fn the_document_of_the_stream_lists_its_events_ops_and_codes() {
    let server = Server::start().await;
    let document = Person::stranger(&server).get("/asyncapi.json").send().await.expect(200);

    assert_eq!(document.json["asyncapi"], "3.0.0");
    for event in
        ["hello", "notification", "reset", "withdrawn", "read", "write", "watching", "comment", "counts", "post", "error", "pong", "bye"]
    {
        assert!(document.json["components"]["messages"].get(event).is_some(), "{event}");
    }
    for op in ["auth", "resume", "watch", "unwatch", "read", "ping"] {
        assert!(document.json["components"]["messages"].get(format!("op_{op}")).is_some(), "{op}");
    }
    for code in ["1001", "1009", "4400", "4401", "4408", "4413", "4429"] {
        assert!(document.text.contains(code), "{code}");
    }
}

#[tokio::test]
async fn tail_prints_the_stream_a_line_an_event() {
    use std::io::{BufRead, BufReader};

    let server = Server::start().await;
    let people = Person::join_many(&server, "tail", 2).await;
    let post = people[0].publish("talk").await;
    let token = people[0].token.clone().expect("signed in");
    let url = server.address.url("");
    let mut command = server.command(&["tail", "--token", &token, "--url", &url, "--watch", &post]);
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().expect("it starts");
    let output = child.stdout.take().expect("piped");
    let (sender, mut lines) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || BufReader::new(output).lines().map_while(Result::ok).for_each(|line| drop(sender.send(line))));
    let mut event = async |name: &str| loop {
        let line = tokio::time::timeout(EVENT_TIMEOUT, lines.recv()).await.expect("a line in time").expect("a line");
        let event: Value = serde_json::from_str(&line).expect("JSON");
        if event["event"] == name {
            return event;
        }
    };

    event("hello").await;
    event("watching").await;
    people[1].write_comment(&post, "printed").wait(30).send().await.expect(201);

    assert_eq!(event("notification").await["seq"], 1);
    child.kill().expect("it can be ended");
    child.wait().expect("it ends");
}
