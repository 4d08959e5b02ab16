//! Whether the process lives, and whether it should be asked.

use actix_web::HttpResponse;
use actix_web::http::header::HeaderValue;
use actix_web::web::Data;

use super::problem::{Problem, ProblemName};
use super::{Services, reply};
use crate::support::error_kind::ErrorKind;

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
/// Seconds after which a server that is starting or stopping is worth another try.
const RETRY_AFTER_S: u64 = 1;

/// `GET /livez`
pub(super) async fn get_livez() -> HttpResponse {
    reply::text(TEXT, *b"ok\n")
}

/// `GET /readyz`: 503 once it drains, or when a part of it has stopped. Who asks while it starts waits for the answer.
pub(super) async fn get_readyz(services: Data<Services>) -> Result<HttpResponse, Problem> {
    match services.operations.unready() {
        None => Ok(reply::text(TEXT, *b"ready\n")),
        Some(reason) => Err(Problem::of_kind(ErrorKind::Unavailable { retry_after_s: RETRY_AFTER_S }).detail(reason)),
    }
}

/// `GET /metrics`, in the text format of Prometheus; on the admin listener only.
pub(super) async fn get_metrics(services: Data<Services>) -> HttpResponse {
    reply::text(HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"), services.operations.metrics())
}

/// Whatever has no address.
pub(super) async fn not_found() -> Result<HttpResponse, Problem> {
    Err(Problem::new(ProblemName::NotFound))
}
