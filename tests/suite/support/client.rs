//! People who use the server: signed in, with a helper for each call, and answers that are easy to ask about.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use super::server::{Address, Server};

/// The longest a request may take: above the longest `Prefer: wait`.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(40);
/// Registrations that are asked for at once: one a core.
const JOINING_AT_ONCE: usize = 2;
/// Good everywhere, and on no list of common ones.
pub(crate) const PASSWORD: &str = "tidings-from-afar-7";

static NONCES: AtomicU64 = AtomicU64::new(1);

/// A text that no other payload of this process has.
pub(crate) fn nonce() -> String {
    format!("n{}x{}", std::process::id(), NONCES.fetch_add(1, Ordering::Relaxed))
}

/// A username that is free.
pub(crate) fn fresh_name(stem: &str) -> String {
    format!("{stem}_{}", NONCES.fetch_add(1, Ordering::Relaxed))
}

/// What came back.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
    pub(crate) json: Value,
}

impl Answer {
    async fn of(response: reqwest::Response) -> Result<Self, reqwest::Error> {
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let text = response.text().await?;
        let json = serde_json::from_str(&text).unwrap_or(Value::Null);
        Ok(Self { status, headers, text, json })
    }

    /// The header's text; empty if it is absent.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The name of the problem, checked for its form; empty if it is none.
    pub(crate) fn problem(&self) -> &str {
        if self.header("content-type").starts_with("application/problem+json") {
            self.json["type"].as_str().and_then(|kind| kind.strip_prefix("/problems/")).unwrap_or_default()
        } else {
            ""
        }
    }

    /// The status is this one, or the test ends with all that came.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "unexpected answer: {} {:?}", self.text, self.headers);
        self
    }

    /// It is this problem with this status.
    #[track_caller]
    pub(crate) fn expect_problem(self, status: u16, name: &str) -> Self {
        assert_eq!((self.status, self.problem()), (status, name), "unexpected answer: {} {:?}", self.text, self.headers);
        self
    }

    /// A text member by its JSON pointer.
    #[track_caller]
    pub(crate) fn text_at(&self, pointer: &str) -> String {
        let value = self.json.pointer(pointer).and_then(Value::as_str);
        value.unwrap_or_else(|| panic!("no text at {pointer} in {}", self.text)).to_owned()
    }

    #[track_caller]
    pub(crate) fn number_at(&self, pointer: &str) -> i64 {
        self.json.pointer(pointer).and_then(Value::as_i64).unwrap_or_else(|| panic!("no number at {pointer} in {}", self.text))
    }

    /// The ids of a page's items.
    pub(crate) fn item_ids(&self) -> Vec<String> {
        let items = self.json["items"].as_array().cloned().unwrap_or_default();
        items.iter().filter_map(|item| item["id"].as_str().map(str::to_owned)).collect()
    }

    pub(crate) fn write_id(&self) -> String {
        self.text_at("/write/id")
    }
}

/// A request being made.
pub(crate) struct Call {
    builder: reqwest::RequestBuilder,
}

impl Call {
    pub(crate) fn header(self, name: &str, value: &str) -> Self {
        Self { builder: self.builder.header(name, value) }
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        Self { builder: self.builder.json(body) }
    }

    /// A body as it is, without a type.
    pub(crate) fn body(self, body: impl Into<reqwest::Body>) -> Self {
        Self { builder: self.builder.body(body) }
    }

    pub(crate) fn key(self, key: &str) -> Self {
        self.header("Idempotency-Key", key)
    }

    pub(crate) fn wait(self, seconds: u32) -> Self {
        self.header("Prefer", &format!("wait={seconds}"))
    }

    /// The answer, or why there is none.
    pub(crate) async fn attempt(self) -> Result<Answer, reqwest::Error> {
        Answer::of(self.builder.send().await?).await
    }

    pub(crate) async fn send(self) -> Answer {
        self.attempt().await.unwrap_or_else(|error| panic!("no answer: {error:?}"))
    }
}

/// Somebody at a client: signed in or not.
#[derive(Debug, Clone)]
pub(crate) struct Person {
    http: reqwest::Client,
    pub(crate) address: Address,
    pub(crate) token: Option<String>,
    pub(crate) refresh_token: String,
    pub(crate) session: String,
    pub(crate) id: String,
    pub(crate) name: String,
}

impl Person {
    /// Somebody without a name.
    pub(crate) fn stranger(server: &Server) -> Self {
        Self::stranger_at(server, IpAddr::V4(Ipv4Addr::LOCALHOST))
    }

    /// Somebody without a name at another address of this machine: no device that the server knows.
    pub(crate) fn stranger_at(server: &Server, address: IpAddr) -> Self {
        let builder = reqwest::Client::builder().timeout(REQUEST_TIMEOUT).redirect(reqwest::redirect::Policy::none());
        let http = builder.local_address(address).build();
        Self {
            http: http.expect("a client"),
            address: server.address.clone(),
            token: None,
            refresh_token: String::new(),
            session: String::new(),
            id: String::new(),
            name: String::new(),
        }
    }

    /// Registers somebody with a name that begins like this.
    pub(crate) async fn join(server: &Server, stem: &str) -> Self {
        let name = fresh_name(stem);
        let stranger = Self::stranger(server);
        let answer = stranger.register(&name, PASSWORD).await.expect(201);
        stranger.signed_in(&answer, &name)
    }

    /// Several people, few at a time: the hashing pool refuses a crowd.
    pub(crate) async fn join_many(server: &Server, stem: &str, count: usize) -> Vec<Self> {
        use futures_util::StreamExt;
        futures_util::stream::iter((0..count).map(|_| Self::join(server, stem))).buffered(JOINING_AT_ONCE).collect().await
    }

    pub(crate) async fn register(&self, name: &str, password: &str) -> Answer {
        self.post("/v1/auth/register").json(&json!({"username": name, "password": password})).send().await
    }

    pub(crate) async fn login(&self, name: &str, password: &str) -> Answer {
        self.post("/v1/auth/login").json(&json!({"username": name, "password": password})).send().await
    }

    pub(crate) async fn refresh(&self, refresh_token: &str) -> Answer {
        self.post("/v1/auth/refresh").json(&json!({"refresh_token": refresh_token})).send().await
    }

    /// The same person as an operator, beside the running server.
    pub(crate) async fn as_admin(&self, server: &Server) -> Self {
        let (made, output) = server.run(&["user", "admin", &self.name]);
        assert!(made, "{output}");
        self.signed_in(&self.login(&self.name, PASSWORD).await.expect(200), &self.name)
    }

    /// The same client with the tokens of a sign-in answer.
    pub(crate) fn signed_in(&self, answer: &Answer, name: &str) -> Self {
        let id = answer.json.pointer("/user/id").and_then(Value::as_str).map_or_else(|| self.id.clone(), str::to_owned);
        Self {
            http: self.http.clone(),
            address: self.address.clone(),
            token: Some(answer.text_at("/access_token")),
            refresh_token: answer.text_at("/refresh_token"),
            session: answer.text_at("/session_id"),
            id,
            name: name.to_owned(),
        }
    }

    /// The same person without the token.
    pub(crate) fn signed_out(&self) -> Self {
        Self { token: None, ..self.clone() }
    }

    /// The same person at another server of the same data.
    pub(crate) fn at(&self, server: &Server) -> Self {
        Self { address: server.address.clone(), ..self.clone() }
    }

    pub(crate) fn with_token(&self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self.clone() }
    }

    pub(crate) fn call(&self, method: Method, path: &str) -> Call {
        let mut builder = self.http.request(method, self.address.url(path));
        if let Some(token) = &self.token {
            builder = builder.bearer_auth(token);
        }
        Call { builder }
    }

    /// A call on the operators' listener.
    pub(crate) fn admin_call(&self, method: Method, path: &str) -> Call {
        let mut builder = self.http.request(method, self.address.admin_url(path));
        if let Some(token) = &self.token {
            builder = builder.bearer_auth(token);
        }
        Call { builder }
    }

    pub(crate) fn get(&self, path: &str) -> Call {
        self.call(Method::GET, path)
    }

    pub(crate) fn post(&self, path: &str) -> Call {
        self.call(Method::POST, path)
    }

    pub(crate) fn put(&self, path: &str) -> Call {
        self.call(Method::PUT, path)
    }

    pub(crate) fn patch(&self, path: &str) -> Call {
        self.call(Method::PATCH, path)
    }

    pub(crate) fn delete(&self, path: &str) -> Call {
        self.call(Method::DELETE, path)
    }

    /// A new post; not sent yet.
    pub(crate) fn write_post(&self, body: &str) -> Call {
        self.post("/v1/posts").json(&json!({"body": body}))
    }

    pub(crate) fn write_comment(&self, post: &str, body: &str) -> Call {
        self.post(&format!("/v1/posts/{post}/comments")).json(&json!({"body": body}))
    }

    pub(crate) fn reply(&self, post: &str, parent: &str, body: &str) -> Call {
        self.post(&format!("/v1/posts/{post}/comments")).json(&json!({"body": body, "parent_id": parent}))
    }

    pub(crate) fn edit_post(&self, post: &str, body: &str) -> Call {
        self.patch(&format!("/v1/posts/{post}")).json(&json!({"body": body}))
    }

    pub(crate) fn like(&self, post: &str) -> Call {
        self.put(&format!("/v1/posts/{post}/like"))
    }

    pub(crate) fn unlike(&self, post: &str) -> Call {
        self.delete(&format!("/v1/posts/{post}/like"))
    }

    pub(crate) fn follow(&self, user: &str) -> Call {
        self.put(&format!("/v1/users/{user}/follow"))
    }

    pub(crate) fn unfollow(&self, user: &str) -> Call {
        self.delete(&format!("/v1/users/{user}/follow"))
    }

    pub(crate) fn block(&self, user: &str) -> Call {
        self.put(&format!("/v1/users/{user}/block"))
    }

    pub(crate) async fn read_post(&self, post: &str) -> Answer {
        self.get(&format!("/v1/posts/{post}")).send().await
    }

    pub(crate) async fn read_user(&self, user: &str) -> Answer {
        self.get(&format!("/v1/users/{user}")).send().await
    }

    /// Writes a post and waits until all can see it; its id.
    pub(crate) async fn publish(&self, body: &str) -> String {
        self.write_post(body).wait(30).send().await.expect(201).text_at("/post/id")
    }

    /// A metric by its name and labels; 0 before it was counted first.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let page = self.admin_call(Method::GET, "/metrics").send().await.text;
        page.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()).unwrap_or(0.0)
    }

    /// All items of a list, page by page.
    pub(crate) async fn all_items(&self, path: &str) -> Vec<Value> {
        let mut items = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let joint = if path.contains('?') { '&' } else { '?' };
            let after = cursor.map_or_else(String::new, |cursor| format!("&cursor={cursor}"));
            let answer = self.get(&format!("{path}{joint}limit=100{after}")).send().await.expect(200);
            items.extend(answer.json["items"].as_array().cloned().expect("items"));
            match answer.json["next"].as_str() {
                Some(next) => cursor = Some(next.to_owned()),
                None => return items,
            }
        }
    }

    /// The state of one of his writes.
    pub(crate) async fn write_state(&self, write: &str) -> String {
        let answer = self.get(&format!("/v1/writes/{write}")).send().await;
        if answer.status == 404 { "forgotten".to_owned() } else { answer.expect(200).text_at("/state") }
    }

    /// Waits until the write is final.
    pub(crate) async fn write_settled(&self, write: &str) -> String {
        within(Duration::from_secs(60), "the write to settle", async || {
            let state = self.write_state(write).await;
            (state != "accepted" && state != "committed").then_some(state)
        })
        .await
    }
}

/// Asks again until there is an answer; the test fails after `limit`.
pub(crate) async fn within<T>(limit: Duration, what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let started = std::time::Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(started.elapsed() < limit, "waited {limit:?} for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
