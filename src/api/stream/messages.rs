//! What a client sends: the bytes of its connection in, messages out, one at a time, each frame's announced length looked at before
//! the frame is collected. Nothing is read from the connection while a message waits to be taken, so a client that sends more than is
//! done waits there.
//!
//! actix-ws has such a stream, but only together with a sender that we do not use: a queue of two kilobytes for each socket, which lives as
//! long as the stream.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use actix_codec::Decoder;
use actix_http::ws::{Codec, Frame};
use actix_web::dev::Payload;
use actix_web::error::PayloadError;
use actix_web::web::BytesMut;
use actix_ws::{Message, ProtocolError};
use futures_util::Stream;

use crate::stream::CLIENT_FRAME_BYTES_MAX;
use crate::stream::announced::Announced;

pub(super) struct ClientMessages {
    connection: Payload,
    announced: Announced,
    /// Bytes of frames that are not whole yet.
    buffer: BytesMut,
    codec: Codec,
    hearing: Hearing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hearing {
    Frames,
    /// What came was no frame, so nothing after it can be one. It is taken all the same until the client goes: a connection that is closed over
    /// unread bytes is reset, and the client may never read why.
    Nothing,
    Ended,
}

impl ClientMessages {
    pub(super) fn new(connection: Payload) -> Self {
        let codec = Codec::new().max_size(CLIENT_FRAME_BYTES_MAX);
        Self { connection, announced: Announced::default(), buffer: BytesMut::new(), codec, hearing: Hearing::Frames }
    }

    /// The next message of what has come.
    fn decode(&mut self) -> Result<Option<Message>, ProtocolError> {
        let frame = self.codec.decode(&mut self.buffer).inspect_err(|_| self.hearing = Hearing::Nothing)?;
        let Some(frame) = frame else { return Ok(None) };
        Ok(Some(match frame {
            Frame::Text(bytes) => {
                let text = bytes.try_into().map_err(|error: std::str::Utf8Error| io::Error::new(io::ErrorKind::InvalidData, error))?;
                Message::Text(text)
            }
            Frame::Binary(bytes) => Message::Binary(bytes),
            Frame::Ping(bytes) => Message::Ping(bytes),
            Frame::Pong(bytes) => Message::Pong(bytes),
            Frame::Close(reason) => Message::Close(reason),
            Frame::Continuation(item) => Message::Continuation(item),
        }))
    }

    /// Takes bytes of the connection.
    fn take(&mut self, bytes: &[u8]) -> Result<(), PayloadError> {
        if self.hearing == Hearing::Frames {
            self.announced.pass(bytes).map_err(|_too_long| PayloadError::Overflow)?;
            self.buffer.extend_from_slice(bytes);
        }
        Ok(())
    }
}

impl Stream for ClientMessages {
    type Item = Result<Message, ProtocolError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if self.hearing == Hearing::Ended {
                return Poll::Ready(None);
            }
            if self.hearing == Hearing::Frames
                && let Some(message) = self.decode().transpose()
            {
                return Poll::Ready(Some(message));
            }
            if self.buffer.is_empty() {
                // A socket is idle most of the time: it keeps no room for what comes some day.
                self.buffer = BytesMut::new();
            }
            let came = match ready!(Pin::new(&mut self.connection).poll_next(context)) {
                Some(came) => came.and_then(|bytes| self.take(&bytes)),
                None => {
                    self.hearing = Hearing::Ended;
                    continue;
                }
            };
            if let Err(error) = came {
                self.hearing = Hearing::Ended;
                return Poll::Ready(Some(Err(io::Error::other(error).into())));
            }
        }
    }
}
