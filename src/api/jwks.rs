//! The public keys with which others check our tokens.

use actix_web::http::header::{self, HeaderValue};

use super::call::{Answer, Call};
use super::reply;

/// `PUBLISHED_MAX_AGE_S`: a new key does not sign before whoever asks as often as this says has it.
const CACHE_CONTROL: HeaderValue = HeaderValue::from_static("public, max-age=300");

/// `GET /.well-known/jwks.json`
pub(super) async fn get_jwks(call: Call) -> Answer {
    let mut response = reply::plain(&call.services.sign_in.jwks())?;
    response.headers_mut().insert(header::CACHE_CONTROL, CACHE_CONTROL);
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::auth::keys::PUBLISHED_MAX_AGE_S;

    #[test]
    fn keys_are_kept_no_longer_than_a_new_one_is_announced() {
        assert_eq!(CACHE_CONTROL, format!("public, max-age={PUBLISHED_MAX_AGE_S}"));
    }
}
