//! Who writes, and about what: users and posts made over HTTP, and the requests that they send.

use std::sync::Arc;

use serde_json::json;
use tokio::task::JoinSet;

use crate::Outcome;
use crate::load::{Load, Measured, Pace, Source, Until};
use crate::server::Server;
use crate::wire::{Connection, request};

/// Registrations that are asked for at once: hashing fills the cores with less.
const REGISTRATIONS_AT_ONCE: usize = 4;
const POSTS_AT_ONCE: usize = 16;
pub(crate) const PASSWORD: &str = "tidings-from-afar-7";

/// A signed-in user.
#[derive(Debug, Clone)]
pub(crate) struct User {
    pub(crate) token: String,
    pub(crate) refresh_token: String,
}

/// Users and posts that are committed.
#[derive(Clone)]
pub(crate) struct People {
    pub(crate) users: Arc<Vec<User>>,
    pub(crate) posts: Arc<Vec<String>>,
}

/// The name of a user by his number.
pub(crate) fn username(number: usize) -> String {
    format!("bench_{number}")
}

/// The bytes of a registration.
pub(crate) fn registration(name: &str) -> Vec<u8> {
    let body = json!({"username": name, "password": PASSWORD}).to_string();
    request("POST", "/v1/auth/register", None, Some(&body))
}

pub(crate) fn user_of(answer: &serde_json::Value) -> Outcome<User> {
    let text = |member: &str| answer[member].as_str().map(str::to_owned).ok_or_else(|| format!("no {member} in {answer}"));
    Ok(User { token: text("access_token")?, refresh_token: text("refresh_token")? })
}

impl People {
    /// Registers users and lets them publish posts in turn; all of it is committed on return.
    pub(crate) async fn settle(server: &Server, users: usize, posts: usize) -> Outcome<Self> {
        let users = Arc::new(in_turns(REGISTRATIONS_AT_ONCE, users, |number| register(server.public, number)).await?);
        let authors = Arc::clone(&users);
        let posts = in_turns(POSTS_AT_ONCE, posts, move |number| {
            let token = authors[number % authors.len()].token.clone();
            publish(server.public, token, number)
        })
        .await?;
        server.drained(std::time::Duration::from_secs(60)).await?;
        Ok(Self { users, posts: Arc::new(posts) })
    }

    /// Likes, each of another pair of user and post until all pairs were used; connections share them out.
    pub(crate) fn likes(&self, connections: usize, first: u64) -> Source {
        let people = self.clone();
        Arc::new(move |connection, number, into| {
            let pair = first + number * connections as u64 + connection as u64;
            // Neighbours in time are different posts, as they are in life.
            let post = &people.posts[(pair % people.posts.len() as u64) as usize];
            let user = &people.users[(pair / people.posts.len() as u64) as usize % people.users.len()];
            like_of(into, post, &user.token);
        })
    }

    /// Comments with a body of so many bytes.
    pub(crate) fn comments(&self, body_bytes: usize) -> Source {
        let people = self.clone();
        // Sizes of bodies are bounded in characters: 5 000; larger payloads are of four bytes each.
        let body = if body_bytes > 5_000 { "\u{1f4ec}".repeat(body_bytes / 4) } else { "c".repeat(body_bytes) };
        let body = json!({"body": body}).to_string();
        Arc::new(move |connection, number, into| {
            let place = connection.wrapping_mul(31) + number as usize;
            let post = &people.posts[place % people.posts.len()];
            let user = &people.users[connection % people.users.len()];
            write_request(into, "POST", &["/v1/posts/", post, "/comments"], &user.token, Some(&body));
        })
    }

    /// Sends so many likes, which must all be accepted.
    pub(crate) async fn fill(&self, server: &Server, connections: usize, entries: u64) -> Outcome<Measured> {
        let load = Load { connections, pace: Pace::Closed, until: Until::Requests(entries), source: self.likes(connections, 0) };
        load.run(server).await?.all(202)
    }
}

/// The bytes of a like.
pub(crate) fn like_of(into: &mut Vec<u8>, post: &str, token: &str) {
    write_request(into, "PUT", &["/v1/posts/", post, "/like"], token, None);
}

/// Publishes a post over a connection; its id.
pub(crate) async fn publish_on(connection: &mut Connection, token: &str, body: &str) -> Outcome<String> {
    let body = json!({"body": body}).to_string();
    let answer = connection.json(&request("POST", "/v1/posts", Some(token), Some(&body)), 202).await?;
    answer["post"]["id"].as_str().map(str::to_owned).ok_or_else(|| format!("no post in {answer}").into())
}

/// The bytes of a comment.
pub(crate) fn comment_on(post: &str, token: &str, body: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_request(&mut bytes, "POST", &["/v1/posts/", post, "/comments"], token, Some(body));
    bytes
}

fn write_request(into: &mut Vec<u8>, method: &str, path: &[&str], token: &str, body: Option<&str>) {
    let mut add = |text: &str| into.extend_from_slice(text.as_bytes());
    add(method);
    add(" ");
    path.iter().for_each(|part| add(part));
    add(" HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer ");
    add(token);
    match body {
        Some(body) => {
            add("\r\nContent-Type: application/json\r\nContent-Length: ");
            add(&body.len().to_string());
            add("\r\n\r\n");
            add(body);
        }
        None => add("\r\nContent-Length: 0\r\n\r\n"),
    }
}

async fn register(address: std::net::SocketAddr, number: usize) -> Outcome<User> {
    let answer = Connection::open(address).await?.json(&registration(&username(number)), 201).await?;
    user_of(&answer)
}

async fn publish(address: std::net::SocketAddr, token: String, number: usize) -> Outcome<String> {
    publish_on(&mut Connection::open(address).await?, &token, &format!("Tidings {number}")).await
}

/// Does a task for each number, so many at once; the results in their order.
async fn in_turns<T: Send + 'static, F>(at_once: usize, count: usize, task: impl Fn(usize) -> F) -> Outcome<Vec<T>>
where
    F: Future<Output = Outcome<T>> + Send + 'static,
{
    let mut running = JoinSet::new();
    let mut done = Vec::with_capacity(count);
    for number in 0..count {
        if running.len() == at_once {
            done.extend(running.join_next().await.transpose()?);
        }
        let work = task(number);
        running.spawn(async move { (number, work.await) });
    }
    while let Some(ended) = running.join_next().await {
        done.push(ended?);
    }
    done.sort_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, result)| result).collect()
}
