//! Who listens to what: the sockets of each user and of each sign-in, the watchers of each post.
//!
//! Hints of the bus come in, frames go into outboxes: one frame, made once, for all who get it. Promise: watchers are not shown
//! what they may not see, and a post's counts come at most four times a second. Full: what cannot be made now is not waited
//! for; the sessions then look into their inboxes themselves, and watchers get the next counts. When the bus lost hints, the same.

mod registry;
mod telling;

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use futures_util::stream::unfold;
use tokio::sync::mpsc;

use super::desk::{Above, Departures, Limits, SocketId};
use super::frame::{Bye, Frame, Numbers};
use super::outbox::Outbox;
use super::ports::Look;
use super::retry::retry_ms;
use super::watch::Change;
use crate::stream::close_code::CloseCode;
use crate::substrate::bus::{Heard, Interest, Listener};
use crate::support::faults::planted;
use crate::support::mailbox::{Envelope, Order};
use crate::vocabulary::ids::{PostId, SessionId, UserId};
use crate::vocabulary::owner::mix;

use registry::{Entered, Registry};
use telling::Made;

/// Hints of the bus that may wait for the hub.
pub const HINTS_MAX: usize = 16_384;
/// Orders of sessions that may wait: a crowd that arrives waits in its sessions.
pub const ORDERS_MAX: usize = 1_024;
/// Frames whose content is being read at once.
const MAKING_MAX: usize = 256;
/// What was read and waits to be told, and timers that are over.
const MADE_MAX: usize = 4_096;
/// All sockets look no more often than this, however many hints are lost.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// From a session whose user became known. Refused, the socket is closed.
pub struct Join {
    pub socket: SocketId,
    pub user: UserId,
    pub session: Option<SessionId>,
    pub outbox: Arc<Outbox>,
}

/// Why a socket may not join.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JoinRefused {
    TooManySockets,
    /// The server stops.
    Closing,
}

impl Order for Join {
    type Reply = Result<(), JoinRefused>;
}

/// From a session whose user signed in again.
pub struct Renew {
    pub socket: SocketId,
    pub session: Option<SessionId>,
}

impl Order for Renew {
    type Reply = ();
}

/// From a session whose client opened a post. The hub answers the client itself, so that nothing about the post comes before.
pub struct Watch {
    pub socket: SocketId,
    pub post: PostId,
    pub look: Look,
}

/// The socket has as many watches as it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooManyWatches;

impl Order for Watch {
    type Reply = Result<(), TooManyWatches>;
}

/// From a session whose client left a post.
pub struct Unwatch {
    pub socket: SocketId,
    pub post: PostId,
}

impl Order for Unwatch {
    type Reply = ();
}

/// From a session whose socket missed counts of a post, when there is room for them again.
pub struct CountAgain {
    pub socket: SocketId,
    pub post: PostId,
    pub numbers: Numbers,
}

impl Order for CountAgain {
    type Reply = ();
}

/// A bell: sockets ended. Refused when it has been rung already, which is as good.
pub struct Departed;

impl Order for Departed {
    type Reply = ();
}

/// From `app.rs`, when the server stops: every socket is told when to come back, and closed.
pub struct SayGoodbye;

impl Order for SayGoodbye {
    type Reply = ();
}

pub struct StreamHub {
    above: Above,
    limits: Limits,
    departures: Arc<Departures>,
    registry: Registry,
    /// Until it has started.
    listener: Option<Listener>,
    made: mpsc::Sender<Made>,
    made_here: Option<mpsc::Receiver<Made>>,
    /// Frames whose content is being read.
    making: usize,
    /// When all sockets looked last, since hints were lost, and whether they are to look again.
    looked_at: Option<Instant>,
    look_waits: bool,
    closing: bool,
}

impl StreamHub {
    /// `interest`: what the listener hears of.
    pub fn new(above: Above, limits: Limits, departures: Arc<Departures>, listener: Listener, interest: Arc<Interest>) -> Self {
        let (made, made_here) = mpsc::channel(MADE_MAX);
        Self {
            above,
            limits,
            departures,
            registry: Registry::new(interest),
            listener: Some(listener),
            made,
            made_here: Some(made_here),
            making: 0,
            looked_at: None,
            look_waits: false,
            closing: false,
        }
    }

    fn count(&self) {
        metrics::gauge!("sosik_stream_sockets").set(self.registry.len() as f64);
        metrics::gauge!("sosik_stream_watched_posts").set(self.registry.posts_len() as f64);
    }

    /// Something about a post's numbers changed: its watchers will be told.
    fn changed(&mut self, post: PostId, change: Change) {
        let Some(watched) = self.registry.post(post) else { return };
        if let Some((delay, round)) = watched.counting.changed(change, Instant::now()) {
            self.wait(post, delay, round);
        }
    }
}

impl Actor for StreamHub {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        if let Some(listener) = self.listener.take() {
            context.add_stream(unfold(listener, |mut listener| async move { listener.next().await.map(|heard| (heard, listener)) }));
        }
        if let Some(made) = self.made_here.take() {
            context.add_stream(unfold(made, |mut made| async move { made.recv().await.map(|one| (one, made)) }));
        }
    }
}

impl StreamHandler<Heard> for StreamHub {
    fn handle(&mut self, heard: Heard, _: &mut Context<Self>) {
        fail::fail_point!("hub::panic");
        match heard {
            Heard::Hint(_) if planted("stream::lose_all_hints") => self.look_everywhere(),
            Heard::Hint(hint) => self.tell(&hint),
            Heard::Lost => self.look_everywhere(),
        }
    }

    /// The bus is gone only when the process goes: the sockets stay until they are told.
    fn finished(&mut self, _: &mut Context<Self>) {}
}

impl StreamHandler<Made> for StreamHub {
    fn handle(&mut self, made: Made, _: &mut Context<Self>) {
        self.tell_made(made);
    }
}

impl Handler<Envelope<Join>> for StreamHub {
    type Result = ();

    fn handle(&mut self, Envelope { order, ticket }: Envelope<Join>, _: &mut Context<Self>) {
        let Join { socket, user, session, outbox } = order;
        if self.closing {
            return ticket.answer(Err(JoinRefused::Closing));
        }
        let joined = self.registry.join(socket, user, session, outbox, self.limits.sockets_per_user);
        self.count();
        ticket.answer(if joined { Ok(()) } else { Err(JoinRefused::TooManySockets) });
    }
}

impl Handler<Envelope<Renew>> for StreamHub {
    type Result = ();

    fn handle(&mut self, Envelope { order, ticket }: Envelope<Renew>, _: &mut Context<Self>) {
        self.registry.renew(order.socket, order.session);
        ticket.answer(());
    }
}

impl Handler<Envelope<Watch>> for StreamHub {
    type Result = ();

    fn handle(&mut self, Envelope { order, ticket }: Envelope<Watch>, _: &mut Context<Self>) {
        let Watch { socket, post, look } = order;
        let entered = self.registry.watch(socket, post, look.author, self.limits.watches_per_socket);
        if entered == Entered::TooMany {
            return ticket.answer(Err(TooManyWatches));
        }
        let watchers = self.registry.post(post).map_or(0, |watched| watched.watchers());
        if let Some(socket) = self.registry.socket(socket) {
            socket.outbox.push(&Frame::watching(post, look.numbers, watchers));
        }
        if entered == Entered::Newly {
            self.changed(post, Change::Watchers);
            self.count();
        }
        ticket.answer(Ok(()));
    }
}

impl Handler<Envelope<Unwatch>> for StreamHub {
    type Result = ();

    fn handle(&mut self, Envelope { order, ticket }: Envelope<Unwatch>, _: &mut Context<Self>) {
        if self.registry.unwatch(order.socket, order.post) {
            self.changed(order.post, Change::Watchers);
            self.count();
        }
        ticket.answer(());
    }
}

impl Handler<Envelope<CountAgain>> for StreamHub {
    type Result = ();

    fn handle(&mut self, Envelope { order, ticket }: Envelope<CountAgain>, _: &mut Context<Self>) {
        let CountAgain { socket, post, numbers } = order;
        if self.registry.watches(socket, post) {
            let watchers = self.registry.post(post).map_or(0, |watched| watched.watchers());
            if let Some(socket) = self.registry.socket(socket) {
                socket.outbox.push(&Frame::counts(post, numbers, watchers));
            }
        }
        ticket.answer(());
    }
}

impl Handler<Envelope<Departed>> for StreamHub {
    type Result = ();

    fn handle(&mut self, Envelope { ticket, .. }: Envelope<Departed>, _: &mut Context<Self>) {
        // The place first: a socket that ends from here on rings again.
        ticket.answer(());
        for socket in self.departures.take() {
            for post in self.registry.leave(socket) {
                self.changed(post, Change::Watchers);
            }
        }
        self.count();
    }
}

impl Handler<Envelope<SayGoodbye>> for StreamHub {
    type Result = ();

    fn handle(&mut self, Envelope { ticket, .. }: Envelope<SayGoodbye>, _: &mut Context<Self>) {
        self.closing = true;
        let sockets = self.registry.len() as u64;
        let salt = self.registry.sockets().next().map_or(0, |(_, socket)| Arc::as_ptr(&socket.outbox) as u64);
        for (id, socket) in self.registry.sockets() {
            let epoch = socket.outbox.epoch();
            let retry_ms = retry_ms(mix(id.0 ^ salt), sockets);
            socket.outbox.push(&Frame::bye(&Bye { retry_ms, epoch: epoch.as_deref(), seq: socket.outbox.last_seq() }));
            socket.outbox.close(CloseCode::GoingAway);
        }
        tracing::info!(sockets, "the sockets are told to come back");
        ticket.answer(());
    }
}
