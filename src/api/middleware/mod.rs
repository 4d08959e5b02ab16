//! What every request passes before and after its handler: one layer, one allocation, the steps in files of their own.
//!
//! Request in, answer out. It promises that each answer carries a request id, the security headers and, when it is a refusal, a
//! problem document; that nothing badly framed, and nobody with a bad credential, reaches a handler.

mod access_log;
mod authentication;
mod client_address;
mod connection;
mod cors;
mod host_and_framing;
mod request_counts;
mod request_id;
mod security_headers;

pub(super) mod body_deadline;

use std::future::{Ready, ready};
use std::rc::Rc;
use std::sync::Arc;

use actix_web::body::BoxBody;
use actix_web::dev::{Service, ServiceRequest, ServiceResponse, Transform, forward_ready};
use actix_web::http::header;
use actix_web::{Error, HttpMessage, HttpRequest, HttpResponse};
use futures_util::future::LocalBoxFuture;

pub(super) use self::connection::Connection;
use self::request_counts::RequestCounts;
use self::request_id::RequestId;
use super::Services;
use super::call::Caller;
use super::consistency;
use super::origin::{self, OwnOrigin, Provenance};
use super::problem::{Problem, ProblemName};
use crate::ledger::freshness;

/// Which listener a request came in by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    Public,
    Admin,
}

/// The layer, as an `App` wraps it.
pub struct Layer {
    services: Arc<Services>,
    door: Door,
}

impl Layer {
    pub fn new(services: Arc<Services>, door: Door) -> Self {
        Self { services, door }
    }
}

impl<S> Transform<S, ServiceRequest> for Layer
where
    S: Service<ServiceRequest, Response = ServiceResponse<BoxBody>, Error = Error> + 'static,
{
    type Response = ServiceResponse<BoxBody>;
    type Error = Error;
    type Transform = Steps<S>;
    type InitError = ();
    type Future = Ready<Result<Steps<S>, ()>>;

    fn new_transform(&self, inner: S) -> Self::Future {
        let counts = Rc::new(RequestCounts::new(self.door));
        ready(Ok(Steps { inner: Rc::new(inner), services: Arc::clone(&self.services), door: self.door, counts }))
    }
}

/// The layer at work.
pub struct Steps<S> {
    inner: Rc<S>,
    services: Arc<Services>,
    door: Door,
    counts: Rc<RequestCounts>,
}

impl<S> Service<ServiceRequest> for Steps<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<BoxBody>, Error = Error> + 'static,
{
    type Response = ServiceResponse<BoxBody>;
    type Error = Error;
    type Future = LocalBoxFuture<'static, Result<ServiceResponse<BoxBody>, Error>>;

    forward_ready!(inner);

    fn call(&self, mut request: ServiceRequest) -> Self::Future {
        let (inner, services, door) = (Rc::clone(&self.inner), Arc::clone(&self.services), self.door);
        let counts = Rc::clone(&self.counts);
        Box::pin(async move {
            if Connection::is_ended(&request) {
                return Ok(connection::hang_up(request).await);
            }
            Connection::hold_body(&mut request);
            let id = RequestId::of(request.headers());
            let started = access_log::start();
            let mut response = match before(&services, door, &request).await {
                Ok(None) if services.has_standbys => {
                    let caller = request.extensions().get::<Caller>().copied().unwrap_or_default();
                    let seen = consistency::seen_before(&services, &caller, &request);
                    freshness::no_older_than(seen, inner.call(request)).await?
                }
                Ok(None) => inner.call(request).await?,
                Ok(Some(answer)) => request.into_response(answer),
                Err(problem) => request.error_response(problem),
            };
            render_problem(&id, &mut response);
            after(&services, &id, &mut response);
            access_log::finish(&id, started, &response);
            counts.count(response.status());
            Ok(response)
        })
    }
}

/// The path as the router reads it, with `%61` for `a` undone: what a step decides by the path must hold for the handler that is found by it.
fn routed_path(request: &HttpRequest) -> &str {
    request.match_info().as_str()
}

/// The checks before the handler. `Some` is an answer that needs no handler.
async fn before(services: &Services, door: Door, request: &ServiceRequest) -> Result<Option<HttpResponse>, Problem> {
    host_and_framing::check(request)?;
    if let Some(answer) = cors::preflight(&services.settings, request) {
        return Ok(Some(answer));
    }
    let (address, behind_proxy) = client_address::of(&services.settings, request);
    let mut caller = Caller { address, ..Caller::default() };
    // Only cookies and sockets ask for our own origin.
    let path = routed_path(request.request());
    let counts = request.headers().contains_key(header::COOKIE) || path.starts_with("/v1/auth/") || path == "/v1/stream";
    let own = counts.then(|| OwnOrigin::of(&services.settings, request.headers(), behind_proxy));
    caller.secure = own.as_ref().is_none_or(OwnOrigin::is_secure);
    caller.provenance = own.as_ref().map_or(Provenance::Unsaid, |own| origin::provenance(&services.settings, own, request.headers()));
    authentication::check(services, door, request, &mut caller).await?;
    request.extensions_mut().insert(caller);
    Ok(None)
}

/// Makes the document of a problem, whoever found it; other errors of the framework become the nearest problem.
fn render_problem(id: &RequestId, response: &mut ServiceResponse<BoxBody>) {
    let Some(error) = response.response().error() else { return };
    let request = response.request();
    let write = !request.method().is_safe() && routed_path(request).starts_with("/v1/");
    let rendered = match error.as_error::<Problem>() {
        Some(problem) => {
            if problem.closes() {
                Connection::end(request);
            }
            problem.render(id.as_str(), write)
        }
        None => nearest(response.status().as_u16()).render(id.as_str(), write),
    };
    *response.response_mut() = rendered;
}

fn nearest(status: u16) -> Problem {
    let name = match status {
        404 => ProblemName::NotFound,
        405 => ProblemName::MethodNotAllowed,
        408 => ProblemName::RequestTimeout,
        413 => ProblemName::PayloadTooLarge,
        415 => ProblemName::UnsupportedMediaType,
        400..=499 => ProblemName::Malformed,
        _ => ProblemName::Internal,
    };
    Problem::new(name)
}

/// The fields that every answer carries.
fn after(services: &Services, id: &RequestId, response: &mut ServiceResponse<BoxBody>) {
    let cross_origin = cors::headers(&services.settings, response.request().headers());
    let area = security_headers::Area::of(routed_path(response.request()));
    let failed = response.status().is_client_error() || response.status().is_server_error();
    let headers = response.headers_mut();
    id.put(headers);
    security_headers::put(headers, area, failed);
    if let Some(origin) = cross_origin {
        cors::put(headers, origin);
    }
}
