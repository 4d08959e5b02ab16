//! A connection after an answer that ends it. The framework may have read further requests by then, and would still serve them: they
//! might be somebody else's, so none of them gets to a handler, and none an answer.

use std::any::Any;
use std::cell::Cell;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{Extensions, ServiceRequest, ServiceResponse};
use actix_web::web::Bytes;

/// Within this time the answer before has left for the socket.
const LAST_ANSWER_LEAVES: Duration = Duration::from_millis(20);

/// What all requests of one connection share.
#[derive(Debug, Default)]
pub(in crate::api) struct Connection {
    ended: Cell<bool>,
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
