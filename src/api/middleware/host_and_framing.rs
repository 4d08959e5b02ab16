//! A request whose end or addressee can be read in two ways is refused, and its connection ends: what follows on it might be
//! somebody else's.
//!
//! The framework refuses most of it before any code of ours runs (two `Content-Length`, one with `Transfer-Encoding`, a missing
//! or second `Host` in HTTP/1.1); this is the rest, and a second look at the worst.

use actix_web::dev::ServiceRequest;
use actix_web::http::header;

use crate::api::problem::Problem;

pub(super) fn check(request: &ServiceRequest) -> Result<(), Problem> {
    let headers = request.headers();
    let mut hosts = headers.get_all(header::HOST);
    let host = hosts.next().and_then(|value| value.to_str().ok());
    let one_host = hosts.next().is_none() && host.is_some_and(is_host);
    let two_ends = headers.contains_key(header::CONTENT_LENGTH) && headers.contains_key(header::TRANSFER_ENCODING);
    if !one_host {
        return Err(Problem::malformed("exactly one Host field is expected").closing());
    }
    if two_ends {
        return Err(Problem::malformed("either Content-Length or Transfer-Encoding, not both").closing());
    }
    Ok(())
}

/// Whether it is made of what hosts and ports are made of.
fn is_host(host: &str) -> bool {
    !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'[' | b']'))
}
