//! `GET /v1/stream`: a WebSocket, or server-sent events. Who comes with a cookie must come from a page of ours, since browsers
//! send cookies whoever wrote the page; and a page of somebody else opens no WebSocket at all.

mod above;
mod inboxes;
mod messages;

pub use above::{StreamDoor, StreamPages};
pub use inboxes::StreamInboxes;

use std::sync::Arc;

use actix_web::body::BodyStream;
use actix_web::http::Method;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::web::{Data, Payload};
use actix_web::{FromRequest, HttpMessage, HttpRequest, HttpResponse, dev};
use futures_util::FutureExt;

use messages::ClientMessages;

use super::Services;
use super::call::Caller;
use super::extract::{self, Query};
use super::origin::Provenance;
use super::problem::{Problem, ProblemName};
use crate::intake::accounts::Identity;
use crate::stream::SUBPROTOCOL;
use crate::stream::desk::Desk;
use crate::stream::place;
use crate::stream::ports::{Refusal, Signed};
use crate::stream::session::{Admitted, Opening, Session, open};
use crate::stream::stream_hub::JoinRefused;
use crate::stream::writer::Protocol;
use crate::support::error_kind::ErrorKind;
use crate::support::faults::planted;
use crate::vocabulary::ids::{NotAnId, PostId};

const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// For proxies that would collect events before they pass them on.
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
const WEBSOCKET_VERSION: HeaderValue = HeaderValue::from_static("13");
/// Seconds after which a stream that cannot be served now is worth another try.
const RETRY_AFTER_S: u64 = 1;

pub(super) async fn get_stream(request: HttpRequest, payload: Payload) -> Result<HttpResponse, Problem> {
    let services = request.app_data::<Data<Services>>().cloned().ok_or_else(|| Problem::new(ProblemName::Internal))?;
    let caller = request.extensions().get::<Caller>().copied().unwrap_or_default();
    let Some(protocol) = protocol_of(request.headers()).filter(|_| request.method() == Method::GET) else {
        return Err(Problem::new(ProblemName::UpgradeRequired).header(header::UPGRADE, HeaderValue::from_static("websocket")));
    };
    check_origin(&caller, protocol)?;
    let desk = services.stream.clone().filter(|desk| !desk.is_closed()).ok_or_else(unavailable)?;
    match protocol {
        Protocol::WebSocket => web_socket(desk, caller.identity, &request, payload),
        Protocol::ServerSentEvents => events(desk, caller.identity.ok_or_else(Problem::not_signed_in)?, &request).await,
    }
}

/// What the client speaks. A browser's or a tool's `*/*` asks for no stream.
fn protocol_of(headers: &HeaderMap) -> Option<Protocol> {
    let names = |name: HeaderName, wanted: &str| {
        let texts = headers.get_all(name).filter_map(|value| value.to_str().ok());
        texts.flat_map(|text| text.split(',')).any(|part| part.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(wanted))
    };
    if names(header::UPGRADE, "websocket") {
        Some(Protocol::WebSocket)
    } else {
        names(header::ACCEPT, "text/event-stream").then_some(Protocol::ServerSentEvents)
    }
}

fn check_origin(caller: &Caller, protocol: Protocol) -> Result<(), Problem> {
    let foreign = match caller.provenance {
        Provenance::Ours => false,
        Provenance::Foreign => caller.by_cookie || protocol == Protocol::WebSocket,
        Provenance::Unsaid => caller.by_cookie,
    };
    if foreign && !planted("api::skip_origin_check") {
        tracing::info!("a stream was asked for by a foreign page");
        return Err(Problem::new(ProblemName::Forbidden).detail("a stream must be asked for by a page of an allowed origin"));
    }
    Ok(())
}

fn web_socket(desk: Arc<Desk>, identity: Option<Identity>, request: &HttpRequest, payload: Payload) -> Result<HttpResponse, Problem> {
    if request.headers().get(header::SEC_WEBSOCKET_VERSION) != Some(&WEBSOCKET_VERSION) {
        return Err(Problem::new(ProblemName::UpgradeRequired)
            .detail("version 13 of the WebSocket protocol is spoken")
            .header(header::UPGRADE, HeaderValue::from_static("websocket"))
            .header(header::SEC_WEBSOCKET_VERSION, WEBSOCKET_VERSION));
    }
    // Only the answer is used: its sender would encode each frame again for each socket, and its reader hangs on the sender.
    let (response, ..) = actix_ws::handle_with_protocols(request, no_payload(request)?, &[SUBPROTOCOL])
        .map_err(|error| Problem::malformed(format!("not a WebSocket handshake: {error}")))?;
    let opened = open(&desk, Protocol::WebSocket);
    let response = response.set_body(BodyStream::new(opened.writer)).map_into_boxed_body();
    let messages = ClientMessages::new(payload.into_inner());
    Session::begin_web_socket(desk, opened.socket, opened.outbox, identity.map(signed), messages);
    Ok(response)
}

/// There is no other way to make one, and this one is ready at once.
fn no_payload(request: &HttpRequest) -> Result<Payload, Problem> {
    let payload = Payload::from_request(request, &mut dev::Payload::None).now_or_never();
    payload.and_then(Result::ok).ok_or_else(|| Problem::new(ProblemName::Internal))
}

async fn events(desk: Arc<Desk>, identity: Identity, request: &HttpRequest) -> Result<HttpResponse, Problem> {
    let (admitted, verdict) = Admitted::pair();
    let opening = Opening {
        resume: last_event(request.headers())?,
        watches: watches(request, desk.limits.watches_per_socket)?,
        admitted: Some(admitted),
    };
    let (watched, pages) = (opening.watches.clone(), Arc::clone(&desk.above.pages));
    let opened = open(&desk, Protocol::ServerSentEvents);
    Session::begin_events(desk, opened.socket, opened.outbox, signed(identity), opening);
    match verdict.await {
        Ok(Ok(())) => {}
        Ok(Err(JoinRefused::TooManySockets)) => {
            return Err(Problem::of_kind(ErrorKind::TooManyRequests { retry_after_s: RETRY_AFTER_S }).detail("too many streams are open"));
        }
        Ok(Err(JoinRefused::Closing)) | Err(_) => return Err(unavailable()),
    }
    // Only now, since each is a read: who has too many streams asks for none. A refusal drops the writer, and that ends the session.
    for post in watched {
        pages.look(identity.user, post).await.map_err(refused)?;
    }
    let mut response = HttpResponse::Ok();
    response.insert_header((header::CONTENT_TYPE, EVENT_STREAM)).insert_header((ACCEL_BUFFERING, HeaderValue::from_static("no")));
    Ok(response.body(BodyStream::new(opened.writer)))
}

fn signed(identity: Identity) -> Signed {
    Signed { user: identity.user, session: identity.session, expires_at: identity.expires_at }
}

fn unavailable() -> Problem {
    Problem::of_kind(ErrorKind::Unavailable { retry_after_s: RETRY_AFTER_S })
}

fn refused(refusal: Refusal) -> Problem {
    let name = ProblemName::ALL.iter().find(|name| name.as_str() == refusal.code);
    match name {
        Some(ProblemName::Unavailable) => unavailable(),
        Some(name) => Problem::new(*name).detail(refusal.detail),
        None => Problem::new(ProblemName::Internal),
    }
}

/// `epoch:seq` of the last event that the client has.
fn last_event(headers: &HeaderMap) -> Result<Option<(String, u64)>, Problem> {
    let Some(text) = extract::single(headers, &LAST_EVENT_ID)? else { return Ok(None) };
    place::parse(text).map(Some).ok_or_else(|| Problem::malformed("Last-Event-ID: expected the epoch, a colon and the number of an entry"))
}

/// The posts of `?watch=id,id`.
fn watches(request: &HttpRequest, most: usize) -> Result<Vec<PostId>, Problem> {
    let Some(text) = Query::of(request.query_string()).get("watch")? else { return Ok(Vec::new()) };
    let mut posts = Vec::new();
    // A browser encodes the comma, or does not.
    for id in text.split(',').flat_map(|ids| ids.split("%2C")).flat_map(|ids| ids.split("%2c")) {
        let post = id.parse().map_err(|error: NotAnId| Problem::malformed(format!("watch: {error}")))?;
        if !posts.contains(&post) {
            posts.push(post);
        }
        if posts.len() > most {
            return Err(Problem::invalid("watch", "too_many", format!("at most {most} posts can be watched")));
        }
    }
    Ok(posts)
}
