//! The operators' calls.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::Payload;
use serde::Serialize;

use super::{DeadLetter, OperationError, WorkersSetting};
use crate::api::call::{Answer, Call};
use crate::api::extract::Query;
use crate::api::problem::Problem;
use crate::api::reply;
use crate::ledger::shard_plan::{MembersError, Wanted};
use crate::ledger::topology::plan::strategy_named;
use crate::support::chain::Chain;
use crate::support::config::WORKERS_MAX;
use crate::support::timestamp::Timestamp;
use crate::vocabulary::ids::WriteId;

const LETTERS_LISTED_MAX: usize = 100;

impl From<OperationError> for Problem {
    fn from(error: OperationError) -> Self {
        let problem = Self::of_kind(error.kind());
        match error {
            OperationError::Internal(source) => {
                tracing::error!(error = %Chain(source.as_ref()), "an operator's call failed");
                problem
            }
            OperationError::Busy { .. } => problem.detail(error.to_string()),
            OperationError::NotFound | OperationError::Unavailable { .. } => problem,
        }
    }
}

#[derive(Serialize)]
struct List<T: Serialize> {
    items: Vec<T>,
    next: Option<String>,
}

fn whole<T: Serialize>(items: Vec<T>) -> Answer {
    reply::plain(&List { items, next: None })
}

/// `GET /admin/shards`
pub(in crate::api) async fn list_shards(call: Call) -> Answer {
    whole(call.services.operations.shards().await?)
}

/// `GET /admin/lanes`
pub(in crate::api) async fn list_lanes(call: Call) -> Answer {
    whole(call.services.operations.lanes().await?)
}

/// `GET /admin/workers`
pub(in crate::api) async fn list_workers(call: Call) -> Answer {
    whole(call.services.operations.workers().await?)
}

/// `PUT /admin/workers` `{"workers": "adaptive" | number}`
pub(in crate::api) async fn set_workers(call: Call, payload: Payload) -> Answer {
    let received = call.body(payload, false).await?;
    let members = received.members(&["workers"])?;
    let setting = match members.optional_number("workers") {
        Ok(Some(count)) if count <= u64::from(WORKERS_MAX) => WorkersSetting::Fixed(count as u32),
        Ok(_) => return Err(Problem::invalid("workers", "range", "must be \"adaptive\" or a number from 0 to 1024")),
        Err(_) if members.required("workers", Ok::<String, std::convert::Infallible>)? == "adaptive" => WorkersSetting::Adaptive,
        Err(problem) => return Err(problem),
    };
    call.services.operations.set_workers(setting).await?;
    whole(call.services.operations.workers().await?)
}

/// `GET /admin/journal`
pub(in crate::api) async fn get_journal(call: Call) -> Answer {
    reply::plain(&call.services.operations.journal().await?)
}

/// `GET /admin/topology/plan?members=s1,s2&strategy=directory`: what would move if these were the members, under these strategies or all.
pub(in crate::api) async fn get_topology_plan(call: Call) -> Answer {
    let wanted = wanted(&call.query())?;
    reply::plain(&call.services.operations.plan(wanted).await?)
}

fn wanted(query: &Query<'_>) -> Result<Wanted, Problem> {
    let members = query.get("members")?.ok_or_else(|| Problem::invalid("members", "required", "must be there"))?;
    let strategies = match query.get("strategy")? {
        None => Vec::new(),
        Some(names) => {
            let strategies: Option<Vec<_>> = list(names).iter().map(|name| strategy_named(name)).collect();
            strategies.ok_or_else(|| Problem::invalid("strategy", "value", "expected directory, modulo or range"))?
        }
    };
    Wanted::new(list(members), &strategies).map_err(|error| Problem::invalid("members", members_code(&error), error.to_string()))
}

/// What stands between commas. Many clients encode them; nothing else in such a list needs to be.
fn list(text: &str) -> Vec<String> {
    text.replace("%2C", ",").replace("%2c", ",").split(',').map(str::to_owned).collect()
}

fn members_code(error: &MembersError) -> &'static str {
    match error {
        MembersError::TooMany(_) => "range",
        MembersError::Empty => "required",
        MembersError::NoName(_) => "format",
        MembersError::Twice(_) => "repeated",
    }
}

/// `GET /admin/topology/moves`: none, since nothing moves data between shards yet.
pub(in crate::api) async fn list_topology_moves(_: Call) -> Answer {
    whole(Vec::<()>::new())
}

#[derive(Serialize)]
struct DeadLetterBody<'a> {
    id: WriteId,
    shard: &'a str,
    lane: u16,
    position: u64,
    kind: &'a str,
    error: &'a str,
    died_at: Timestamp,
}

impl<'a> From<&'a DeadLetter> for DeadLetterBody<'a> {
    fn from(letter: &'a DeadLetter) -> Self {
        Self {
            id: letter.write,
            shard: &letter.shard,
            lane: letter.lane,
            position: letter.position,
            kind: letter.kind,
            error: &letter.error,
            died_at: Timestamp(letter.died_at),
        }
    }
}

/// `GET /admin/dead-letters?cursor=`: the cursor is the last id, since operators are trusted.
pub(in crate::api) async fn list_dead_letters(call: Call) -> Answer {
    let after = after(&call.query())?;
    let letters = call.services.operations.dead_letters(after, LETTERS_LISTED_MAX).await?;
    let next = letters.last().filter(|_| letters.len() == LETTERS_LISTED_MAX).map(|letter| letter.write.to_string());
    reply::plain(&List { items: letters.iter().map(DeadLetterBody::from).collect(), next })
}

fn after(query: &Query<'_>) -> Result<Option<WriteId>, Problem> {
    match query.get("cursor")? {
        None => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|_cause| Problem::malformed("cursor: not the id of a write")),
    }
}

/// `GET /admin/dead-letters/{write}`
pub(in crate::api) async fn get_dead_letter(call: Call) -> Answer {
    let letter = call.services.operations.dead_letter(call.id("write")?).await?;
    reply::plain(&DeadLetterBody::from(&letter))
}

/// `POST /admin/dead-letters/{write}/retry`
pub(in crate::api) async fn retry_dead_letter(call: Call, payload: Payload) -> Answer {
    let write: WriteId = call.id("write")?;
    call.no_body(payload).await?;
    call.services.operations.retry(write).await?;
    Ok(HttpResponse::new(StatusCode::ACCEPTED))
}

/// `POST /admin/dead-letters/{write}/discard`
pub(in crate::api) async fn discard_dead_letter(call: Call, payload: Payload) -> Answer {
    let write: WriteId = call.id("write")?;
    call.no_body(payload).await?;
    call.services.operations.discard(write).await?;
    Ok(HttpResponse::new(StatusCode::NO_CONTENT))
}
