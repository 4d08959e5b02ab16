//! The body of the answer that became a socket: takes the outbox's frames and gives them to the connection, as either protocol
//! wants them. Its end is how everybody else learns that the connection is gone.

use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::Stream;
use metrics::Counter;

use super::frame::{Frame, Kind};
use super::outbox::{Next, Outbox};

/// The metric's handle: looking it up costs more than counting.
static SENT: LazyLock<Counter> = LazyLock::new(|| metrics::counter!("sosik_stream_frames_sent_total"));

/// What the client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    WebSocket,
    ServerSentEvents,
}

/// Ends the connection of a socket that is done: the closing handshake is over, or the client does not answer.
#[derive(Debug, thiserror::Error)]
#[error("the stream has ended")]
pub struct CutOff;

/// One per socket, inside of its connection.
#[derive(Debug)]
pub struct Writer {
    outbox: Arc<Outbox>,
    protocol: Protocol,
    /// What was given to the connection last had the chance to leave.
    flushed: bool,
}

impl Writer {
    pub fn new(outbox: Arc<Outbox>, protocol: Protocol) -> Self {
        Self { outbox, protocol, flushed: false }
    }

    fn bytes(&self, frame: &Frame) -> Bytes {
        match (self.protocol, frame.kind()) {
            (Protocol::WebSocket, _) => frame.wire().clone(),
            (Protocol::ServerSentEvents, Kind::Notification(seq) | Kind::Reset(seq)) => {
                let event = frame.sse();
                let epoch = self.outbox.epoch().unwrap_or_default();
                let mut with_id = format!("id: {epoch}:{seq}\n").into_bytes();
                with_id.extend_from_slice(&event);
                Bytes::from(with_id)
            }
            (Protocol::ServerSentEvents, _) => frame.sse(),
        }
    }

    /// The connection flushes when nothing more comes for the moment; it ends when it is asked again after that.
    fn end(&mut self, context: &Context<'_>) -> Poll<Option<Result<Bytes, CutOff>>> {
        if !std::mem::replace(&mut self.flushed, true) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        match self.protocol {
            Protocol::WebSocket => Poll::Ready(Some(Err(CutOff))),
            Protocol::ServerSentEvents => Poll::Ready(None),
        }
    }
}

impl Stream for Writer {
    type Item = Result<Bytes, CutOff>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match ready!(self.outbox.poll_next(context)) {
            Next::Frame(frame) => {
                SENT.increment(1);
                self.flushed = false;
                Poll::Ready(Some(Ok(self.bytes(&frame))))
            }
            Next::Ended if self.protocol == Protocol::WebSocket => {
                ready!(self.outbox.poll_cut(context));
                self.end(context)
            }
            Next::Ended | Next::Cut => self.end(context),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.outbox.gone();
    }
}
