//! S17 and S23: who may do what to whose, tried on every call of the OpenAPI document.
//!
//! Control: owners that are not checked.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::client::{PASSWORD, Person, nonce};
use crate::support::faults;
use crate::support::server::{Server, Settings};

/// All calls of the OpenAPI document: method, and path with its parameters.
async fn documented_calls(server: &Server) -> Vec<(Method, String)> {
    let document = Person::stranger(server).get("/openapi.json").send().await.expect(200);
    let paths = document.json["paths"].as_object().expect("paths").clone();
    let mut calls = Vec::new();
    for (path, operations) in paths {
        for method in ["get", "post", "put", "patch", "delete"] {
            if operations.get(method).is_some() {
                calls.push((Method::from_bytes(method.to_uppercase().as_bytes()).expect("a method"), path.clone()));
            }
        }
    }
    assert!(calls.len() > 30, "only {} calls are documented", calls.len());
    calls
}

/// What belongs to one person, to be tried by another.
struct Belongings {
    user: String,
    post: String,
    comment: String,
    write: String,
    session: String,
}

impl Belongings {
    async fn of(person: &Person) -> Self {
        let post = person.publish(&nonce()).await;
        let written = person.write_comment(&post, &nonce()).wait(30).send().await.expect(201);
        let (comment, write) = (written.text_at("/comment/id"), written.write_id());
        Self { user: person.id.clone(), post, comment, write, session: person.session.clone() }
    }

    /// The path with its parameters replaced by what is meant at that place.
    fn fill(&self, path: &str) -> String {
        let mut filled = Vec::new();
        let mut before = "";
        for part in path.split('/') {
            let value = match before {
                "users" => self.user.as_str(),
                "comments" => &self.comment,
                "writes" => &self.write,
                "sessions" => &self.session,
                "docs" => "docs.js",
                "problems" => "not-found",
                _ => &self.post,
            };
            filled.push(if part.starts_with('{') { value } else { part });
            before = part;
        }
        filled.join("/").replace("@{username}", &self.user)
    }
}

/// A body that suits the call, where it needs one.
fn body_for(path: &str) -> Value {
    match path.rsplit('/').next() {
        Some("posts" | "comments") => json!({"body": "x"}),
        Some("subscription") => json!({"mode": "muted"}),
        Some("me") => json!({"bio": "x"}),
        Some("like" | "follow" | "block" | "mute" | "logout") => Value::Null,
        _ => json!({"body": "x"}),
    }
}

fn is_public(method: &Method, path: &str) -> bool {
    let read =
        *method == Method::GET && ["/v1/ids/", "/v1/users/{", "/v1/users/@", "/v1/posts/"].iter().any(|start| path.starts_with(start));
    let sign_in = ["/v1/auth/register", "/v1/auth/login", "/v1/auth/refresh"].contains(&path);
    // A socket may say later who it is: `stream` has the tests of that.
    let stream = path == "/v1/stream";
    read || sign_in || stream || !path.starts_with("/v1/")
}

#[tokio::test]
async fn strangers_are_refused_by_every_call_that_is_not_public() {
    let server = Server::start().await;
    let ann = Person::join(&server, "ann").await;
    let hers = Belongings::of(&ann).await;
    let stranger = Person::stranger(&server);
    let mut tried = 0;

    for (method, path) in documented_calls(&server).await.into_iter().filter(|(method, path)| !is_public(method, path)) {
        let answer = stranger.call(method.clone(), &hers.fill(&path)).json(&body_for(&path)).send().await;
        assert_eq!((answer.status, answer.problem()), (401, "unauthenticated"), "{method} {path}: {}", answer.text);
        tried += 1;
    }

    assert!(tried > 20, "{tried} calls");
}

/// Calls by another on what is hers, that should be refused: the answers.
async fn meddle(server: &Server) -> Vec<(String, u16, u16)> {
    let (ann, ben) = (Person::join(server, "ann").await, Person::join(server, "ben").await);
    meddle_as(server, &ann, &ben).await
}

async fn meddle_as(server: &Server, ann: &Person, ben: &Person) -> Vec<(String, u16, u16)> {
    let mut answers = Vec::new();
    for (method, path) in documented_calls(server).await {
        let last = path.rsplit('/').next().unwrap_or_default();
        let above = path.rsplit('/').nth(1).unwrap_or_default();
        let expected = match (&method, above) {
            (&Method::PATCH | &Method::DELETE, "posts" | "comments") if last.starts_with('{') => 403,
            (_, "writes" | "sessions") => 404,
            _ => continue,
        };
        let hers = Belongings::of(ann).await;
        let call = ben.call(method.clone(), &hers.fill(&path));
        let call = if method == Method::PATCH { call.json(&json!({"body": "meddled"})) } else { call };
        let answer = call.send().await;
        answers.push((format!("{method} {path}"), answer.status, expected));
    }
    assert!(answers.len() >= 6, "{answers:?}");
    ann.read_user("me").await.expect(200);
    answers
}

#[tokio::test]
async fn nobody_reaches_what_belongs_to_another() {
    let server = Server::start().await;

    for (call, status, expected) in meddle(&server).await {
        assert_eq!(status, expected, "{call}");
    }
}

#[tokio::test]
async fn an_operator_has_no_more_right_to_what_belongs_to_another() {
    let mut server = Server::start().await;
    let (ann, ben) = (Person::join(&server, "ann").await, Person::join(&server, "ben").await);
    server.terminate().await;
    assert!(server.run(&["user", "admin", &ben.name]).0);
    server.restart().await;
    let ben = ben.signed_in(&ben.signed_out().login(&ben.name, PASSWORD).await.expect(200), &ben.name);

    for (call, status, expected) in meddle_as(&server, &ann, &ben).await {
        assert_eq!(status, expected, "{call}");
    }
}

/// How every documented call on what is hers, and below it, answers somebody whom she blocked, or who blocked her.
async fn calls_over_a_block(server: &Server, ann: &Person, ben: &Person) -> Vec<(String, u16, u16)> {
    let hers = Belongings::of(ann).await;
    let mut answers = Vec::new();
    for (method, path) in documented_calls(server).await {
        let expected = match path.as_str() {
            "/v1/users/{user}/follow" if method == Method::PUT => 403,
            _ if path.starts_with("/v1/posts/{") => 404,
            _ => continue,
        };
        let call = ben.call(method.clone(), &hers.fill(&path));
        let body = body_for(&path);
        let call = if body.is_null() || method == Method::GET || method == Method::DELETE { call } else { call.json(&body) };
        answers.push((format!("{method} {path}"), call.send().await.status, expected));
    }
    assert!(answers.len() >= 12, "{answers:?}");
    answers
}

#[tokio::test]
async fn over_a_block_nothing_of_the_other_is_there_in_either_direction() {
    let server = Server::start().await;
    let (ann, ben) = (Person::join(&server, "ann").await, Person::join(&server, "ben").await);
    ann.block(&ben.id).wait(30).send().await.expect(200);

    for (one, other) in [(&ann, &ben), (&ben, &ann)] {
        for (call, status, expected) in calls_over_a_block(&server, one, other).await {
            assert_eq!(status, expected, "{call}");
        }
    }
}

#[tokio::test]
async fn control_owners_that_are_not_checked_are_caught() {
    let server = Server::start_with(Settings::default().fault((faults::SKIP_OWNER_CHECK, "return"))).await;

    assert!(meddle(&server).await.iter().any(|(_, status, expected)| status != expected), "the fault had no effect");
}

#[tokio::test]
async fn a_read_changes_nothing() {
    let server = Server::start().await;
    let ann = Person::join(&server, "ann").await;
    // All of it is visible: the lanes stand still.
    let hers = Belongings::of(&ann).await;
    let before = crate::support::shards::all_facts(&server).await;
    let lanes = crate::support::shards::lanes(&server).await;

    // A refused read would change nothing for another reason. What is not 200 is a socket, which a plain read does not open.
    let mut refused = Vec::new();
    for (_, path) in documented_calls(&server).await.into_iter().filter(|(method, _)| *method == Method::GET) {
        let answer = ann.get(&hers.fill(&path)).send().await;
        if answer.status != 200 {
            refused.push((path, answer.status));
        }
    }
    assert_eq!(refused, [("/v1/stream".to_owned(), 426)]);

    let after = crate::support::shards::all_facts(&server).await;
    assert_eq!((before.posts, before.comments, before.likes, before.follows), (after.posts, after.comments, after.likes, after.follows));
    assert_eq!((before.post_counters, before.user_counters), (after.post_counters, after.user_counters));
    // All that a user changes goes through a lane.
    assert_eq!(lanes, crate::support::shards::lanes(&server).await);
}
