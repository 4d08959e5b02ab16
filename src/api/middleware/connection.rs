//! A connection after an answer that ends it. The framework may have read further requests by then, and would still serve them: they
//! might be somebody else's, so none of them gets to a handler, and none an answer.
//!
//! Also a body that nobody reads to its end. The framework reads one in chunks on and on once it is dropped, without a deadline; while somebody
//! holds it, the connection ends a few seconds after the answer, as it does with a body of a declared length.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{Extensions, Payload, ServiceRequest, ServiceResponse};
use actix_web::error::PayloadError;
use actix_web::http::header;
use actix_web::web::Bytes;
use actix_web::{HttpMessage, HttpResponse};
use futures_util::Stream;

use crate::support::faults::planted;

/// Within this time the answer before has left for the socket.
const LAST_ANSWER_LEAVES: Duration = Duration::from_millis(20);

/// What all requests of one connection share.
#[derive(Default)]
pub(in crate::api) struct Connection {
    ended: Cell<bool>,
    /// The body of the request in hand or of the last one, if it came in chunks.
    body: RefCell<Option<Body>>,
}

/// A body that two hold: the handler, who reads it, and the connection, beyond the answer.
#[derive(Clone)]
struct Body(Rc<RefCell<Payload>>);

impl Stream for Body {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_next(context)
    }
}

impl Connection {
    /// For `HttpServer::on_connect`.
    pub(in crate::api) fn begin(_socket: &dyn Any, data: &mut Extensions) {
        data.insert(Self::default());
    }

    /// Nothing that comes after this request is served.
    pub(super) fn end(request: &actix_web::HttpRequest) {
        if let Some(connection) = request.conn_data::<Self>() {
            connection.ended.set(true);
        }
    }

    /// Holds a body that comes in chunks until the next request, or until the connection ends.
    pub(super) fn hold_body(request: &mut ServiceRequest) {
        if !request.headers().contains_key(header::TRANSFER_ENCODING) || planted("api::drop_unread_bodies") {
            return;
        }
        let body = Body(Rc::new(RefCell::new(request.take_payload())));
        request.set_payload(Payload::Stream { payload: Box::pin(body.clone()) });
        if let Some(connection) = request.conn_data::<Self>() {
            connection.body.replace(Some(body));
        }
    }

    pub(super) fn is_ended(request: &ServiceRequest) -> bool {
        request.conn_data::<Self>().is_some_and(|connection| connection.ended.get())
    }
}

/// Ends the connection in place of an answer: a body that fails before its first byte is the one way that the framework has for it.
pub(super) async fn hang_up(request: ServiceRequest) -> ServiceResponse<BoxBody> {
    tokio::time::sleep(LAST_ANSWER_LEAVES).await;
    request.into_response(HttpResponse::BadRequest().body(Nothing))
}

struct Nothing;

#[derive(Debug, thiserror::Error)]
#[error("the connection has ended")]
struct Ended;

impl MessageBody for Nothing {
    type Error = Ended;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Ended>>> {
        Poll::Ready(Some(Err(Ended)))
    }
}
