//! Writes: how a wish is handed to intake and how its receipt is answered; `GET /v1/writes/{id}`.

use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use serde::Serialize;

use super::call::{Answer, Call};
use super::consistency;
use super::problem::{Problem, ProblemName};
use super::representation::{Comment, Post, User, Write};
use crate::intake::{Receipt, Seen, Submission, Wish, WriteState, rejection_kind};
use crate::vocabulary::ids::{UserId, WriteId};

const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");
pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// Small writes that callers wait for are held this long without being asked to.
const SMALL_WRITE_WAIT: Duration = Duration::from_secs(5);
/// Room for a write and a comment of ordinary length.
const ANSWER_BYTES: usize = 1024;

/// The body of an answer to a write.
#[derive(Serialize)]
struct Accepted<'a> {
    write: Write,
    #[serde(skip_serializing_if = "Option::is_none")]
    post: Option<Post<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comment: Option<Comment<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<User<'a>>,
}

/// Whether a wish makes something new: then a write that was waited for is answered 201.
fn creates(wish: &Wish) -> bool {
    matches!(wish, Wish::CreatePost { .. } | Wish::CreateComment { .. })
}

/// Hands over a write of the contract's table and answers it.
pub(super) async fn submit(call: &Call, author: UserId, wish: Wish) -> Answer {
    let asked = call.wait();
    let creation = creates(&wish);
    let submission = Submission { author, wish, key: call.key()?, wait: asked.unwrap_or_default() };
    let receipt = call.services.writes.submit(submission).await?;
    let mut response = answer(call, author, &receipt, asked.is_some_and(|wait| !wait.is_zero()), creation)?;
    if let Some(wait) = asked
        && let Ok(value) = HeaderValue::try_from(format!("wait={}", wait.as_secs()))
    {
        response.headers_mut().insert(PREFERENCE_APPLIED, value);
    }
    Ok(response)
}

/// Hands over a small write, which is answered when it is done, or after five seconds as any other.
pub(super) async fn submit_small(call: &Call, author: UserId, wish: Wish) -> Answer {
    let submission = Submission { author, wish, key: call.key()?, wait: SMALL_WRITE_WAIT };
    let receipt = call.services.writes.submit(submission).await?;
    answer(call, author, &receipt, true, false)
}

/// As [`submit_small`], for a call that answers in its own words: the receipt of the write once it is done, else the answer as for any other.
pub(super) async fn do_small(call: &Call, author: UserId, wish: Wish) -> Result<Result<Receipt, HttpResponse>, Problem> {
    let submission = Submission { author, wish, key: call.key()?, wait: SMALL_WRITE_WAIT };
    let receipt = call.services.writes.submit(submission).await?;
    if receipt.status.state == WriteState::Visible {
        return Ok(Ok(receipt));
    }
    answer(call, author, &receipt, true, false).map(Err)
}

/// The answer to a small write that is done.
pub(super) fn small_answer(call: &Call, author: UserId, receipt: &Receipt, value: &impl Serialize) -> Answer {
    let mut response = super::reply::text(JSON, json(value)?);
    put_fields(call, author, receipt, &mut response);
    Ok(response)
}

/// The answer to a small write that is done, where its own words could not be read: it stands all the same.
pub(super) fn accepted(call: &Call, author: UserId, receipt: &Receipt) -> Answer {
    answer(call, author, receipt, false, false)
}

/// `waited`: the caller wants to hear the outcome, if there is one.
fn answer(call: &Call, author: UserId, receipt: &Receipt, waited: bool, creation: bool) -> Answer {
    let decided = match receipt.status.state {
        WriteState::Rejected(rejection) if waited => return Err(Problem::of_kind(rejection_kind(rejection))),
        WriteState::Visible => waited,
        WriteState::Accepted | WriteState::Committed | WriteState::Rejected(_) => false,
    };
    let (status, location) = match (decided, creation) {
        (true, true) => (StatusCode::CREATED, Some(receipt.status.resource.to_string())),
        (true, false) => (StatusCode::OK, None),
        (false, _) => (StatusCode::ACCEPTED, Some(format!("/v1/writes/{}", receipt.status.write))),
    };
    let mut response = HttpResponse::new(status).set_body(actix_web::body::BoxBody::new(body(receipt)?));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, JSON);
    if let Some(location) = location.and_then(|location| HeaderValue::try_from(location).ok()) {
        headers.insert(header::LOCATION, location);
    }
    put_fields(call, author, receipt, &mut response);
    Ok(response)
}

/// What every answer to an accepted write carries.
fn put_fields(call: &Call, author: UserId, receipt: &Receipt, response: &mut HttpResponse) {
    if receipt.replayed {
        response.headers_mut().insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
    }
    consistency::put_on_write(call, author, receipt.position, response);
}

fn body(receipt: &Receipt) -> Result<Vec<u8>, Problem> {
    let mut accepted = Accepted { write: Write::from(&receipt.status), post: None, comment: None, user: None };
    match &receipt.seen {
        Seen::Nothing => {}
        Seen::Post(post) => accepted.post = Some(Post::from(post.as_ref())),
        Seen::Comment(comment) => accepted.comment = Some(Comment::from(comment.as_ref())),
        Seen::User(user) => accepted.user = Some(User::from(user.as_ref())),
    }
    json(&accepted)
}

/// The bytes of a representation.
pub(super) fn json(value: &impl Serialize) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::with_capacity(ANSWER_BYTES);
    serde_json::to_writer(&mut bytes, value).map_err(|error| {
        tracing::error!(%error, "could not write an answer");
        Problem::new(ProblemName::Internal)
    })?;
    Ok(bytes)
}

/// `GET /v1/writes/{id}`: for its author only.
pub(super) async fn get_write(call: Call) -> Answer {
    let author = call.user()?;
    let write: WriteId = call.id("write")?;
    let status = call.services.writes.write_status(author, write).await?;
    let status = status.ok_or_else(|| Problem::new(ProblemName::NotFound))?;
    super::reply::data(&call, Some(author), &Write::from(&status), None)
}
