//! One line a request, for who wants it (`telemetry.log = "sosik::api=debug"`). Never a token, a body or a query.

use std::time::Instant;

use actix_web::body::BoxBody;
use actix_web::dev::ServiceResponse;

use super::request_id::RequestId;

/// When the request came, if anybody wants to know.
pub(super) fn start() -> Option<Instant> {
    tracing::enabled!(tracing::Level::DEBUG).then(Instant::now)
}

pub(super) fn finish(id: &RequestId, started: Option<Instant>, response: &ServiceResponse<BoxBody>) {
    let status = response.status().as_u16();
    if status >= 500 {
        tracing::warn!(request.id = id.as_str(), status, "a request was not served");
    }
    let Some(started) = started else { return };
    let request = response.request();
    // The pattern, not the path: ids and names stay out.
    let route = request.match_pattern();
    tracing::debug!(
        request.id = id.as_str(),
        method = request.method().as_str(),
        route = route.as_deref().unwrap_or("unknown"),
        status,
        micros = started.elapsed().as_micros() as u64,
        "answered"
    );
}
