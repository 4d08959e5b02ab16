//! The consistency token: what its holder has written and seen, sealed for him. It comes back on reads, in a header or a cookie, and those reads
//! are at least as fresh.
//!
//! Own writes need no waiting: what is pending is laid over every read. What was seen of a shard counts only where standbys are read, and only
//! until everybody sees it; so a token is short, and says nothing of shards where no standby is configured.

use actix_web::HttpResponse;
use actix_web::dev::ServiceRequest;
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};

use super::Services;
use super::auth;
use super::call::{Call, Caller};
use super::extract;
use super::problem::Problem;
use crate::ledger::freshness::{self, LogMark, LogMarks};
use crate::substrate::store::LogPosition;
use crate::support::auth::seal::{ConsistencyToken, SeenShard, TOKEN_SHARDS_MAX};
use crate::vocabulary::ids::{Position, UserId};

pub(super) const CONSISTENCY_TOKEN: HeaderName = HeaderName::from_static("consistency-token");

/// The token that came with a read. A forged or foreign one is an error in the header and nothing in the cookie.
fn given(services: &Services, caller: &Caller, headers: &HeaderMap, holder: Option<UserId>) -> Result<Option<ConsistencyToken>, Problem> {
    let sealer = &services.sealer;
    if let Some(text) = extract::single(headers, &CONSISTENCY_TOKEN)? {
        return sealer
            .open_token(holder, text)
            .map(Some)
            .map_err(|_cause| Problem::malformed("Consistency-Token: not a token of this reader"));
    }
    let cookie = extract::cookie(headers, auth::cookies::consistency_name(caller.secure));
    Ok(cookie.and_then(|text| sealer.open_token(holder, text).ok()))
}

/// What the token of a request says that its reader has seen. One that is not good is refused where the answer is made.
pub(super) fn seen_before(services: &Services, caller: &Caller, request: &ServiceRequest) -> LogMarks {
    let holder = caller.identity.map(|identity| identity.user);
    let token = given(services, caller, request.headers(), holder).ok().flatten();
    // Places of another journal's shards say nothing of ours.
    let token = token.filter(|token| token.journal == services.journal);
    let shards = token.map(|token| token.shards).unwrap_or_default();
    shards.into_iter().map(|seen| LogMark { shard: seen.shard, epoch: seen.epoch, position: LogPosition(seen.log) }).collect()
}

/// The token that a read answers with: as far as its reader has come already.
pub(super) fn put_on_read(call: &Call, holder: Option<UserId>, response: &mut HttpResponse) -> Result<(), Problem> {
    let position = match given(&call.services, &call.caller, call.headers(), holder)? {
        // Positions of another journal say nothing about ours.
        Some(token) if token.journal == call.services.journal => token.position,
        _ => Position::START,
    };
    let token = token(call, position);
    // A browser keeps what it has seen, too; where there is nothing to keep its cookie stays as it is.
    let cookie = call.caller.by_cookie && !token.shards.is_empty();
    put(call, holder, &token, cookie, response);
    Ok(())
}

fn token(call: &Call, position: Position) -> ConsistencyToken {
    let seen = freshness::seen_so_far();
    let unseen = seen.iter().filter(|mark| !call.services.reads.is_seen_by_all(*mark));
    let shards = unseen.take(TOKEN_SHARDS_MAX).map(|mark| SeenShard { shard: mark.shard, epoch: mark.epoch, log: mark.position.0 });
    ConsistencyToken { journal: call.services.journal, position, shards: shards.collect() }
}

/// Puts the token of an accepted write into its answer, and into the cookie of who uses cookies.
pub(super) fn put_on_write(call: &Call, author: UserId, position: Position, response: &mut HttpResponse) {
    put(call, Some(author), &token(call, position), call.caller.by_cookie, response);
}

/// Gives who signs in a token to begin with.
pub(super) fn put_on_sign_in(call: &Call, user: UserId, position: Position, cookies: bool, response: &mut HttpResponse) {
    put(call, Some(user), &token(call, position), cookies, response);
}

fn put(call: &Call, holder: Option<UserId>, token: &ConsistencyToken, cookie: bool, response: &mut HttpResponse) {
    let Ok(text) = call.services.sealer.seal_token(holder, token) else { return };
    if cookie {
        auth::cookies::set_consistency(response, &text, call.caller.secure);
    }
    if let Ok(value) = HeaderValue::try_from(text) {
        response.headers_mut().insert(CONSISTENCY_TOKEN, value);
    }
}
