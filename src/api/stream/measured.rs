//! What a client sends, with each frame's announced length looked at before it is collected.

use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::dev::{self, Payload};
use actix_web::error::PayloadError;
use actix_web::web::{self, Bytes};
use actix_web::{FromRequest, HttpRequest};
use futures_util::{FutureExt, Stream};

use crate::stream::announced::Announced;

struct Measured {
    bytes: Payload,
    announced: Announced,
}

impl Stream for Measured {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = Pin::new(&mut self.bytes).poll_next(context);
        if let Poll::Ready(Some(Ok(bytes))) = &polled
            && self.announced.pass(bytes).is_err()
        {
            return Poll::Ready(Some(Err(PayloadError::Overflow)));
        }
        polled
    }
}

/// The same bytes, which end with [`PayloadError::Overflow`] where a frame is too long.
pub(super) fn measured(request: &HttpRequest, payload: web::Payload) -> Option<web::Payload> {
    let measured = Measured { bytes: payload.into_inner(), announced: Announced::default() };
    let mut stream: dev::Payload = dev::Payload::Stream { payload: Box::pin(measured) };
    // There is no other way to make one, and this one is ready at once.
    web::Payload::from_request(request, &mut stream).now_or_never()?.ok()
}
