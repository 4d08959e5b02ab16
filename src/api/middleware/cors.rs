//! Cross-origin calls with credentials, for the configured origins and nobody else.

use actix_web::HttpResponse;
use actix_web::dev::ServiceRequest;
use actix_web::http::Method;
use actix_web::http::header::{self, HeaderMap, HeaderValue};

use crate::api::origin;
use crate::api::settings::Settings;

const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE");
const REQUEST_FIELDS: HeaderValue = HeaderValue::from_static(
    "Authorization, Content-Type, Consistency-Token, Idempotency-Key, If-Match, If-None-Match, Last-Event-ID, Prefer, X-Request-Id",
);
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "Location, ETag, Link, Retry-After, Consistency-Token, Idempotency-Replayed, Preference-Applied, RateLimit, RateLimit-Policy, X-Request-Id",
);
/// Seconds for which a browser need not ask again.
const PREFLIGHT_AGE: HeaderValue = HeaderValue::from_static("600");

/// The `Origin` to answer with, if it is one of the listed.
pub(super) fn headers(settings: &Settings, request: &HeaderMap) -> Option<HeaderValue> {
    if settings.allowed_origins.is_empty() {
        return None;
    }
    let mut origins = request.get_all(header::ORIGIN);
    let origin = origins.next()?;
    let listed = origins.next().is_none() && origin.to_str().is_ok_and(|text| origin::is_listed(settings, text));
    listed.then(|| origin.clone())
}

/// The answer to a browser that asks before it sends. Any other OPTIONS goes to the routes, which refuse it.
pub(super) fn preflight(settings: &Settings, request: &ServiceRequest) -> Option<HttpResponse> {
    if request.method() != Method::OPTIONS || !request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD) {
        return None;
    }
    headers(settings, request.headers())?;
    let mut answer = HttpResponse::NoContent();
    answer
        .insert_header((header::ACCESS_CONTROL_ALLOW_METHODS, METHODS))
        .insert_header((header::ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_FIELDS))
        .insert_header((header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_AGE));
    Some(answer.finish())
}

pub(super) fn put(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    if !headers.contains_key(header::VARY) {
        headers.insert(header::VARY, HeaderValue::from_static("Origin"));
    }
}
