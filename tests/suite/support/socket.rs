//! A client of the stream: a WebSocket, its events in order, and how it ended. Server-sent events likewise.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::Message;
use tokio_tungstenite::tungstenite::{Error, http};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::client::Person;
use super::server::Address;

/// How long an event may take: two cores are shared with other tests.
pub(crate) const EVENT_TIMEOUT: Duration = Duration::from_secs(60);

/// An open WebSocket.
pub(crate) struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// Events that came while others were waited for.
    passed: VecDeque<Value>,
}

/// What the handshake was answered with, if not with a WebSocket.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Socket {
    /// With header fields of one's own, and nothing else.
    pub(crate) async fn try_open(address: &Address, fields: &[(&str, &str)]) -> Result<Self, Refused> {
        let url = format!("ws://{}/v1/stream", address.authority());
        let mut request = url.into_client_request().expect("a request");
        for (name, value) in fields {
            let name: http::HeaderName = name.parse().expect("a field name");
            request.headers_mut().append(name, value.parse().expect("a field value"));
        }
        match connect_async(request).await {
            Ok((stream, _)) => Ok(Self { stream, passed: VecDeque::new() }),
            Err(Error::Http(response)) => {
                let (parts, body) = response.into_parts();
                let body = body.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
                Err(Refused { status: parts.status.as_u16(), body })
            }
            Err(error) => panic!("no connection: {error}"),
        }
    }

    /// Nobody yet.
    pub(crate) async fn anonymous(address: &Address) -> Self {
        Self::try_open(address, &[]).await.expect("a handshake")
    }

    /// Signed in, and nothing read yet.
    pub(crate) async fn unread(person: &Person) -> Self {
        let token = person.token.as_deref().expect("signed in");
        Self::try_open(&person.address, &[("Authorization", &format!("Bearer {token}"))]).await.expect("a handshake")
    }

    /// Signed in and greeted; also the greeting.
    pub(crate) async fn greeted(person: &Person) -> (Self, Value) {
        let mut socket = Self::unread(person).await;
        let hello = socket.event("hello").await;
        (socket, hello)
    }

    pub(crate) async fn open(person: &Person) -> Self {
        Self::greeted(person).await.0
    }

    pub(crate) async fn send(&mut self, op: &Value) {
        self.send_text(&op.to_string()).await;
    }

    pub(crate) async fn send_text(&mut self, text: &str) {
        self.stream.send(Message::text(text)).await.expect("it is sent");
    }

    pub(crate) async fn resume(&mut self, epoch: &str, after: u64) {
        self.send(&json!({"op": "resume", "epoch": epoch, "after": after})).await;
    }

    /// Watches a post; the answer.
    pub(crate) async fn watch(&mut self, post: &str) -> Value {
        self.send(&json!({"op": "watch", "post": post})).await;
        self.event("watching").await
    }

    /// The next text frame, or the close code (0: without one), or nothing within the time.
    async fn receive(&mut self, until: Instant) -> Option<Result<Value, u16>> {
        loop {
            match timeout_at(until, self.stream.next()).await.ok()? {
                Some(Ok(Message::Text(text))) => return Some(Ok(serde_json::from_str(&text).expect("JSON"))),
                Some(Ok(Message::Close(frame))) => return Some(Err(frame.map_or(0, |frame| frame.code.into()))),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Some(Err(0)),
            }
        }
    }

    /// The first event, or the code with which the socket was closed instead.
    pub(crate) async fn greeting(&mut self) -> Result<Value, u16> {
        self.receive(Instant::now() + EVENT_TIMEOUT).await.expect("a greeting or a goodbye")
    }

    /// The next event, whatever it is.
    pub(crate) async fn next(&mut self) -> Value {
        if let Some(event) = self.passed.pop_front() {
            return event;
        }
        match self.receive(Instant::now() + EVENT_TIMEOUT).await {
            Some(Ok(event)) => event,
            Some(Err(code)) => panic!("closed with {code}"),
            None => panic!("no event within {EVENT_TIMEOUT:?}"),
        }
    }

    /// The next event of this name; others are kept.
    pub(crate) async fn event(&mut self, name: &str) -> Value {
        self.event_where(name, |_| true).await
    }

    /// The next event of this name that fits; others are kept.
    pub(crate) async fn event_where(&mut self, name: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let wanted = |event: &Value| event["event"] == name && fits(event);
        if let Some(place) = self.passed.iter().position(wanted) {
            return self.passed.remove(place).expect("it is there");
        }
        let until = Instant::now() + EVENT_TIMEOUT;
        loop {
            match self.receive(until).await {
                Some(Ok(event)) if wanted(&event) => return event,
                Some(Ok(event)) => self.passed.push_back(event),
                Some(Err(code)) => panic!("closed with {code} while waiting for {name}; {:?}", self.passed),
                None => panic!("no {name} within {EVENT_TIMEOUT:?}; {:?}", self.passed),
            }
        }
    }

    /// All events until the answer to a ping: what was on its way is there.
    pub(crate) async fn settled(&mut self) -> Vec<Value> {
        self.send(&json!({"op": "ping"})).await;
        self.event("pong").await;
        self.passed.drain(..).collect()
    }

    /// All events within a time.
    pub(crate) async fn events_within(&mut self, time: Duration) -> Vec<Value> {
        let until = Instant::now() + time;
        let mut events: Vec<Value> = self.passed.drain(..).collect();
        while let Some(received) = self.receive(until).await {
            match received {
                Ok(event) => events.push(event),
                Err(code) => panic!("closed with {code}"),
            }
        }
        events
    }

    /// Everything up to the end, and the close code.
    pub(crate) async fn until_closed(&mut self, limit: Duration) -> (Vec<Value>, u16) {
        let until = Instant::now() + limit;
        let mut events: Vec<Value> = self.passed.drain(..).collect();
        loop {
            match self.receive(until).await {
                Some(Ok(event)) => events.push(event),
                Some(Err(code)) => return (events, code),
                None => panic!("not closed within {limit:?}"),
            }
        }
    }

    /// Whether it ends, with or without a word, before the time is over.
    pub(crate) async fn ends_within(&mut self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        while let Some(received) = self.receive(until).await {
            if received.is_err() {
                return true;
            }
        }
        false
    }

    /// The name of the first event; nothing if it is closed before.
    pub(crate) async fn first_event(&mut self) -> Option<String> {
        let received = self.receive(Instant::now() + EVENT_TIMEOUT).await.expect("an event or the end");
        received.ok().and_then(|event| event["event"].as_str().map(str::to_owned))
    }

    pub(crate) async fn close_code(&mut self) -> u16 {
        self.until_closed(EVENT_TIMEOUT).await.1
    }

    /// Reads on and keeps nothing, until the end; the close code.
    pub(crate) async fn drain(mut self) -> u16 {
        loop {
            match self.stream.next().await {
                Some(Ok(Message::Close(frame))) => return frame.map_or(0, |frame| frame.code.into()),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return 0,
            }
        }
    }

    /// Says goodbye and waits for the end of the connection.
    pub(crate) async fn close(mut self) {
        self.stream.close(None).await.expect("a close frame");
        timeout(EVENT_TIMEOUT, async { while let Some(Ok(_)) = self.stream.next().await {} }).await.expect("the end");
    }

    /// Cuts the connection without a word.
    pub(crate) fn cut(self) {
        if let MaybeTlsStream::Plain(stream) = self.stream.into_inner() {
            let _ = stream.set_zero_linger();
        }
    }
}

/// A stream of server-sent events.
pub(crate) struct Events {
    response: reqwest::Response,
    buffer: String,
}

/// One of them.
#[derive(Debug, Clone)]
pub(crate) struct SentEvent {
    pub(crate) name: String,
    pub(crate) id: Option<String>,
    pub(crate) data: Value,
}

impl Events {
    /// `query` with its question mark.
    pub(crate) async fn try_open(person: &Person, query: &str, last: Option<&str>) -> reqwest::Response {
        let mut request =
            reqwest::Client::new().get(person.address.url(&format!("/v1/stream{query}"))).header("Accept", "text/event-stream");
        if let Some(token) = &person.token {
            request = request.bearer_auth(token);
        }
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last);
        }
        request.send().await.expect("an answer")
    }

    pub(crate) async fn open(person: &Person, query: &str, last: Option<&str>) -> Self {
        let response = Self::try_open(person, query, last).await;
        assert_eq!(response.status().as_u16(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, buffer: String::new() }
    }

    /// The next event; `None` at the end of the stream. Comment lines are passed over.
    pub(crate) async fn next(&mut self) -> Option<SentEvent> {
        loop {
            if let Some(end) = self.buffer.find("\n\n") {
                let block: String = self.buffer.drain(..end + 2).collect();
                let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim_start().to_owned());
                let Some(name) = field("event:") else { continue };
                let data = serde_json::from_str(&field("data:").expect("data")).expect("JSON");
                return Some(SentEvent { name, id: field("id:"), data });
            }
            let chunk = timeout(EVENT_TIMEOUT, self.response.chunk()).await.expect("an event in time");
            self.buffer.push_str(std::str::from_utf8(&chunk.ok()??).expect("UTF-8"));
        }
    }

    /// Waits for a comment line.
    pub(crate) async fn comment(&mut self) {
        while !self.buffer.starts_with(":\n") && !self.buffer.contains("\n:\n") {
            let chunk = self.response.chunk().await.expect("the stream goes on").expect("more");
            self.buffer.push_str(std::str::from_utf8(&chunk).expect("UTF-8"));
        }
    }

    pub(crate) async fn event(&mut self, name: &str) -> SentEvent {
        loop {
            let event = self.next().await.unwrap_or_else(|| panic!("the stream ended before {name}"));
            if event.name == name {
                return event;
            }
        }
    }
}
