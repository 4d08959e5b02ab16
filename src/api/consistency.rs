//! The consistency token: what its holder has written and seen, sealed for him. It comes back on reads, in a header or a cookie.
//!
//! With one node every read sees all own writes, so a token that opens is always satisfied; it still travels, since a client
//! must not notice when there are several nodes.

use actix_web::HttpResponse;
use actix_web::http::header::{HeaderName, HeaderValue};

use super::auth;
use super::call::Call;
use super::extract;
use super::problem::Problem;
use crate::support::auth::seal::ConsistencyToken;
use crate::vocabulary::ids::{Position, UserId};

pub(super) const CONSISTENCY_TOKEN: HeaderName = HeaderName::from_static("consistency-token");

/// The token that came with a read. A forged or foreign one is an error in the header and nothing in the cookie.
fn given(call: &Call, holder: Option<UserId>) -> Result<Option<ConsistencyToken>, Problem> {
    let sealer = &call.services.sealer;
    if let Some(text) = extract::single(call.headers(), &CONSISTENCY_TOKEN)? {
        return sealer
            .open_token(holder, text)
            .map(Some)
            .map_err(|_cause| Problem::malformed("Consistency-Token: not a token of this reader"));
    }
    let cookie = extract::cookie(call.headers(), auth::cookies::consistency_name(call.caller.secure));
    Ok(cookie.and_then(|text| sealer.open_token(holder, text).ok()))
}

/// The token that a read answers with: as far as its reader has come already.
pub(super) fn of_read(call: &Call, holder: Option<UserId>) -> Result<Option<HeaderValue>, Problem> {
    let position = match given(call, holder)? {
        // Positions of another journal say nothing about ours.
        Some(token) if token.journal == call.services.journal => token.position,
        _ => Position::START,
    };
    Ok(sealed(call, holder, position))
}

fn sealed(call: &Call, holder: Option<UserId>, position: Position) -> Option<HeaderValue> {
    let token = ConsistencyToken { journal: call.services.journal, position, shards: Vec::new() };
    let text = call.services.sealer.seal_token(holder, &token).ok()?;
    HeaderValue::try_from(text).ok()
}

/// Puts the token of an accepted write into its answer, and into the cookie of who uses cookies.
pub(super) fn put_on_write(call: &Call, author: UserId, position: Position, response: &mut HttpResponse) {
    let Some(value) = sealed(call, Some(author), position) else { return };
    if call.caller.by_cookie {
        set_cookie(call, &value, response);
    }
    response.headers_mut().insert(CONSISTENCY_TOKEN, value);
}

/// Gives who signs in with cookies the cookie to begin with.
pub(super) fn put_on_sign_in(call: &Call, user: UserId, response: &mut HttpResponse) {
    if let Some(value) = sealed(call, Some(user), Position::START) {
        set_cookie(call, &value, response);
    }
}

fn set_cookie(call: &Call, value: &HeaderValue, response: &mut HttpResponse) {
    if let Ok(text) = value.to_str() {
        auth::cookies::set_consistency(response, text, call.caller.secure);
    }
}
