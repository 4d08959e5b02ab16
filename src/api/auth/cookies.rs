//! The cookies of browsers that do not keep tokens themselves: HttpOnly, SameSite=Lax, and with prefixes that keep other hosts
//! from setting them (RFC 6265bis). On plain loopback without `Secure` and prefixes, since browsers would drop them there.

use actix_web::HttpResponse;
use actix_web::cookie::time::Duration;
use actix_web::cookie::{Cookie, SameSite};
use actix_web::http::header::{self, HeaderValue};

use crate::api::ports::Grant;

/// The consistency token speaks of the last minutes; a day covers a page that was left open.
const CONSISTENCY_AGE: Duration = Duration::DAY;
const REFRESH_PATH: &str = "/v1/auth";

pub(crate) fn access_name(secure: bool) -> &'static str {
    if secure { "__Host-sosik-access" } else { "sosik-access" }
}

pub(crate) fn refresh_name(secure: bool) -> &'static str {
    if secure { "__Secure-sosik-refresh" } else { "sosik-refresh" }
}

pub(crate) fn consistency_name(secure: bool) -> &'static str {
    if secure { "__Host-sosik-consistency" } else { "sosik-consistency" }
}

fn put(response: &mut HttpResponse, name: &'static str, value: &str, path: &'static str, age: Duration, secure: bool) {
    let cookie = Cookie::build(name, value).path(path).max_age(age).http_only(true).same_site(SameSite::Lax).secure(secure).finish();
    if let Ok(value) = HeaderValue::try_from(cookie.to_string()) {
        response.headers_mut().append(header::SET_COOKIE, value);
    }
}

/// Hands out the tokens of a grant.
pub(super) fn set_tokens(response: &mut HttpResponse, grant: &Grant, secure: bool) {
    let seconds = |count: u64| Duration::seconds(i64::try_from(count).unwrap_or(i64::MAX));
    put(response, access_name(secure), &grant.access_token, "/", seconds(grant.expires_in_s), secure);
    put(response, refresh_name(secure), &grant.refresh_token, REFRESH_PATH, seconds(grant.refresh_expires_in_s), secure);
}

pub(crate) fn set_consistency(response: &mut HttpResponse, token: &str, secure: bool) {
    put(response, consistency_name(secure), token, "/", CONSISTENCY_AGE, secure);
}

/// Takes all of them back.
pub(super) fn clear(response: &mut HttpResponse, secure: bool) {
    put(response, access_name(secure), "", "/", Duration::ZERO, secure);
    put(response, refresh_name(secure), "", REFRESH_PATH, Duration::ZERO, secure);
    put(response, consistency_name(secure), "", "/", Duration::ZERO, secure);
}
