//! The body of the answer that became a WebSocket.

use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::web::Bytes;
use futures_util::Stream;

use crate::stream::writer::{CutOff, Writer};

/// The writer's frames. Its end, whoever brings it about, is also the end of what is read from the client.
pub(super) struct SocketBody {
    writer: Writer,
    /// The body that the handshake made: dropped, it tells the reading side.
    _signal: BoxBody,
}

impl SocketBody {
    pub(super) fn new(writer: Writer, signal: BoxBody) -> Self {
        Self { writer, _signal: signal }
    }
}

impl MessageBody for SocketBody {
    type Error = CutOff;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, CutOff>>> {
        Pin::new(&mut self.writer).poll_next(context)
    }
}
