//! Out: everybody who has a socket open hears of it.
//!
//! Hints of the bus and frames of clients go in; WebSocket frames and server-sent events come out. Promise: a socket gets the
//! entries of its user's inbox in order and without a gap, whatever hints were lost, since a hole is filled from the inbox; a
//! watcher of a post is never shown what he may not see. Full: a socket that does not keep up first loses counts, which are
//! superseded anyway, and is then closed with a code that says that it may come back and go on; nobody else waits for it.

pub mod announced;
pub mod close_code;
pub mod desk;
pub mod frame;
pub mod op;
pub mod outbox;
pub mod place;
pub mod ports;
pub mod session;
pub mod stream_hub;
pub mod writer;

mod pace;
mod retry;
mod watch;

/// The subprotocol that a client may name in its handshake.
pub const SUBPROTOCOL: &str = "sosik.v1";
/// The longest frame, or message in several frames, that a client may send, in bytes.
pub const CLIENT_FRAME_BYTES_MAX: usize = 4096;
