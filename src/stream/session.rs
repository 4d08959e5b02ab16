//! One socket: what its client asks for, who its user is and until when, and that its inbox arrives without a hole.
//!
//! Frames of the client and bells of the outbox come in; what is to be sent goes into the outbox, so that no handler ever waits
//! for the socket. Ops are done one after another: a client that sends more than is done waits in its own connection. It ends
//! when the connection is gone, or a little after the outbox was closed, so that the client can say goodbye.

mod asked;
mod inbox;
mod parts;

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use actix_web::error::PayloadError;
use actix_ws::{Message, ProtocolError};
use futures_util::Stream;
use futures_util::stream::poll_fn;
use tokio::sync::oneshot;

use super::close_code::CloseCode;
use super::desk::{Desk, SocketId};
use super::frame::Frame;
use super::outbox::{Outbox, Wanted};
use super::pace::Pace;
use super::ports::Signed;
use super::stream_hub::JoinRefused;
use super::writer::{Protocol, Writer};
use crate::support::faults::planted;
use crate::vocabulary::ids::PostId;

use parts::Parts;

/// How long a client may take to say who it is.
const AUTH_WITHIN: Duration = Duration::from_secs(5);
/// Between two questions whether the client is there.
pub const HEARTBEAT: Duration = Duration::from_secs(25);
/// How long it may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Between two comment lines of server-sent events, which nobody answers.
const COMMENT_EVERY: Duration = Duration::from_secs(15);
/// How long a client may take to say goodbye.
const GOODBYE_WITHIN: Duration = Duration::from_secs(2);
/// How long one that was too slow may take to read why it is closed.
const SLOW_GOODBYE_WITHIN: Duration = Duration::from_secs(10);
/// Before something that could not be read is tried again.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// What a client asked for before its stream began.
#[derive(Debug, Default)]
pub struct Opening {
    /// Where its inbox goes on: epoch and number.
    pub resume: Option<(String, u64)>,
    pub watches: Vec<PostId>,
    /// Told once whether the socket may be.
    pub admitted: Option<Admitted>,
}

/// Where the verdict on a new socket goes.
#[derive(Debug)]
pub struct Admitted(oneshot::Sender<Result<(), JoinRefused>>);

impl Admitted {
    /// Also the end at which the verdict comes out.
    pub fn pair() -> (Self, oneshot::Receiver<Result<(), JoinRefused>>) {
        let (verdict, comes) = oneshot::channel();
        (Self(verdict), comes)
    }
}

/// A bell of the outbox.
struct Rung;

pub struct Session {
    desk: Arc<Desk>,
    socket: SocketId,
    outbox: Arc<Outbox>,
    protocol: Protocol,
    signed: Option<Signed>,
    /// To be taken out of the hub at the end.
    joined: bool,
    /// What waits for the first look into the inbox, which `hello` tells of.
    opening: Opening,
    greeted: bool,
    closing: bool,
    /// The inbox is being looked at, since hints were lost. `Some(true)`: some were lost again meanwhile.
    looking: Option<bool>,
    pace: Pace,
    parts: Parts,
    /// No `auth` came yet.
    auth_by: Option<Instant>,
    beat_at: Instant,
    /// The client was asked whether it is there, and has not sent anything since.
    asked_at: Option<Instant>,
    timer: Option<SpawnHandle>,
}

/// The two sides of a new socket.
pub struct Opened {
    /// The body of the answer.
    pub writer: Writer,
    pub outbox: Arc<Outbox>,
    pub socket: SocketId,
}

/// A socket of its own outbox; not at work before [`Session::begin`].
pub fn open(desk: &Desk, protocol: Protocol) -> Opened {
    let outbox = Arc::new(Outbox::new(desk.limits.outbox));
    Opened { writer: Writer::new(Arc::clone(&outbox), protocol), outbox, socket: desk.new_socket() }
}

impl Session {
    /// Serves a WebSocket. Without `signed` its first frame must be an `auth`.
    pub fn begin_web_socket(
        desk: Arc<Desk>,
        socket: SocketId,
        outbox: Arc<Outbox>,
        signed: Option<Signed>,
        messages: impl Stream<Item = Result<Message, ProtocolError>> + 'static,
    ) {
        let session = Self::new(desk, socket, outbox, Protocol::WebSocket, signed, Opening::default());
        let _alone = Self::create(move |context| {
            context.add_stream(messages);
            session
        });
    }

    /// Serves server-sent events.
    pub fn begin_events(desk: Arc<Desk>, socket: SocketId, outbox: Arc<Outbox>, signed: Signed, opening: Opening) {
        let _alone = Self::new(desk, socket, outbox, Protocol::ServerSentEvents, Some(signed), opening).start();
    }

    fn new(desk: Arc<Desk>, socket: SocketId, outbox: Arc<Outbox>, protocol: Protocol, signed: Option<Signed>, opening: Opening) -> Self {
        let now = Instant::now();
        Self {
            desk,
            socket,
            outbox,
            protocol,
            joined: false,
            opening,
            greeted: false,
            closing: false,
            looking: None,
            pace: Pace::new(now),
            parts: Parts::default(),
            auth_by: signed.is_none().then(|| now + AUTH_WITHIN),
            signed,
            beat_at: now + Self::heartbeat(protocol),
            asked_at: None,
            timer: None,
        }
    }

    fn heartbeat(protocol: Protocol) -> Duration {
        match protocol {
            Protocol::WebSocket => HEARTBEAT,
            Protocol::ServerSentEvents => COMMENT_EVERY,
        }
    }

    /// The user is known: his socket is entered, and his inbox looked at.
    fn enter(&mut self, signed: Signed, context: &mut Context<Self>) {
        self.signed = Some(signed);
        self.auth_by = None;
        self.arm(context);
        // Said before it is known, so that the hub never keeps a socket that nobody takes out.
        self.joined = true;
        let (desk, outbox, socket) = (Arc::clone(&self.desk), Arc::clone(&self.outbox), self.socket);
        let joining = async move { desk.join(socket, &signed, outbox).await };
        context.wait(joining.into_actor(self).map(move |joined, session, context| {
            let joined = joined.unwrap_or(Err(JoinRefused::Closing));
            if let Some(Admitted(verdict)) = session.opening.admitted.take() {
                let _client_left = verdict.send(joined);
            }
            match joined {
                // Looked at again: a sign-in that ended before the hub knew the socket would not be told.
                Ok(()) if session.desk.above.door.is_signed_in(&signed) => session.greet(context),
                Ok(()) => session.outbox.close(CloseCode::NotSignedIn),
                Err(JoinRefused::TooManySockets) => session.outbox.close(CloseCode::TooMany),
                Err(JoinRefused::Closing) => session.outbox.close(CloseCode::GoingAway),
            }
        }));
    }

    /// Does what the outbox wants now.
    fn attend(&mut self, context: &mut Context<Self>) {
        match self.outbox.wanted() {
            Wanted::Nothing => {}
            Wanted::History { after, turn } => self.read_history(after, turn, context),
            Wanted::Counts(post) => self.count_again(post, context),
            Wanted::Look => self.look(context),
            Wanted::Closing(code) => self.say_goodbye(code, context),
            Wanted::Stop => context.stop(),
        }
    }

    fn say_goodbye(&mut self, code: CloseCode, context: &mut Context<Self>) {
        if std::mem::replace(&mut self.closing, true) {
            return;
        }
        self.leave();
        if self.protocol == Protocol::ServerSentEvents {
            // The last event is the end of the answer.
            return context.stop();
        }
        let patience = if code == CloseCode::TooFast { SLOW_GOODBYE_WITHIN } else { GOODBYE_WITHIN };
        context.run_later(patience, |_, context| context.stop());
    }

    fn leave(&mut self) {
        if std::mem::take(&mut self.joined) {
            self.desk.leave(self.socket);
        }
    }

    /// Sets the one timer to whatever comes first.
    fn arm(&mut self, context: &mut Context<Self>) {
        let now = Instant::now();
        let mut next = self.asked_at.map_or(self.beat_at, |asked| self.beat_at.min(asked + ANSWER_WITHIN));
        if let Some(auth_by) = self.auth_by {
            next = next.min(auth_by);
        }
        if let Some(signed) = &self.signed {
            next = next.min(now + Duration::from_millis(signed.expires_at.saturating_sub(self.desk.clock.now())));
        }
        if let Some(timer) = self.timer.take() {
            context.cancel_future(timer);
        }
        self.timer = Some(context.run_later(next.saturating_duration_since(now), |session, context| {
            session.timer = None;
            session.look_at_clock(context);
        }));
    }

    fn look_at_clock(&mut self, context: &mut Context<Self>) {
        if self.closing {
            return;
        }
        let now = Instant::now();
        if self.auth_by.is_some_and(|by| by <= now) {
            return self.outbox.close(CloseCode::NoAuth);
        }
        let ended = |signed: &Signed| signed.expires_at <= self.desk.clock.now() || !self.desk.above.door.is_signed_in(signed);
        if self.signed.as_ref().is_some_and(ended) {
            return self.outbox.close(CloseCode::NotSignedIn);
        }
        if self.asked_at.is_some_and(|asked| asked + ANSWER_WITHIN <= now) {
            metrics::counter!("sosik_stream_hang_ups_total").increment(1);
            return context.stop();
        }
        if self.beat_at <= now {
            metrics::histogram!("sosik_stream_outbox_frames").record(self.outbox.depth() as f64);
            self.beat_at = now + Self::heartbeat(self.protocol);
            if self.protocol == Protocol::WebSocket {
                self.asked_at.get_or_insert(now);
            }
            self.outbox.push(&Frame::ping());
        }
        self.arm(context);
    }
}

impl Actor for Session {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        let outbox = Arc::clone(&self.outbox);
        context.add_stream(poll_fn(move |task| outbox.poll_news(task).map(|()| Some(Rung))));
        match self.signed {
            Some(signed) => self.enter(signed, context),
            None => self.arm(context),
        }
    }
}

/// Also where a panic ends it: a socket without its session would stay open, keep its place, and answer nobody.
impl Drop for Session {
    fn drop(&mut self) {
        if planted("session::skip_end") {
            return;
        }
        self.leave();
        self.outbox.cut();
    }
}

impl StreamHandler<Rung> for Session {
    fn handle(&mut self, _: Rung, context: &mut Context<Self>) {
        self.attend(context);
    }
}

impl StreamHandler<Result<Message, ProtocolError>> for Session {
    fn handle(&mut self, message: Result<Message, ProtocolError>, context: &mut Context<Self>) {
        fail::fail_point!("session::panic");
        match message {
            Ok(Message::Close(_)) => {
                // Either the answer to ours, or the first: then ours is the answer, and the last that is sent.
                self.outbox.close(CloseCode::Normal);
                context.stop();
            }
            _ if self.closing => {}
            Ok(message) => {
                self.asked_at = None;
                if self.pace.takes(Instant::now()) {
                    self.hear(message, context);
                } else {
                    self.outbox.close(CloseCode::TooFast);
                }
            }
            Err(error) => self.outbox.close(code_of(&error)),
        }
    }
}

/// What a client is told whose bytes are no frames.
fn code_of(error: &ProtocolError) -> CloseCode {
    match error {
        ProtocolError::Overflow => CloseCode::FrameTooBig,
        ProtocolError::Io(error) if matches!(error.get_ref().and_then(|cause| cause.downcast_ref()), Some(PayloadError::Overflow)) => {
            CloseCode::FrameTooBig
        }
        ProtocolError::Io(error) if error.get_ref().is_some_and(|cause| cause.is::<std::str::Utf8Error>()) => CloseCode::NotUtf8,
        _ => CloseCode::Protocol,
    }
}
