//! The public keys with which others check our tokens.

use actix_web::http::header::{self, HeaderValue};

use super::call::{Answer, Call};
use super::reply;

/// New keys are announced long before they sign, so five minutes in a cache do no harm.
const CACHE_CONTROL: HeaderValue = HeaderValue::from_static("public, max-age=300");

/// `GET /.well-known/jwks.json`
pub(super) async fn get_jwks(call: Call) -> Answer {
    let mut response = reply::text(super::writes::JSON, call.services.sign_in.jwks());
    response.headers_mut().insert(header::CACHE_CONTROL, CACHE_CONTROL);
    Ok(response)
}
