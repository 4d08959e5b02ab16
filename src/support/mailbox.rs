//! The one door to an actor. An order goes in, its reply comes out; no more orders are in hand, waiting or at work, than the capacity.
//!
//! actix does not push back by itself: a cloned `Addr` always gets one message in, `do_send` ignores the capacity, `send` waits on a
//! clone of the sender, and a queued message is skipped silently when its caller has hung up (actix 0.13, `address/channel.rs` and
//! `address/envelope.rs`). So a counted permit travels inside the message and goes back when the *work* ends, wherever that is; the
//! reply is our own channel, so that a caller who leaves never cancels an order that was admitted. Full: [`Refused::Busy`].

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, Instant};

use actix::dev::ToEnvelope;
use actix::{Actor, Addr, Context, Handler, Message};
use metrics::{Counter, Gauge, Histogram};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// Something that an actor can be told or asked. News have the reply `()`.
pub trait Order: Send + 'static {
    type Reply: Send + 'static;
}

/// The order was not admitted: nothing happened, and nothing will.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("the mailbox is full")]
    Busy,
    #[error("the actor is gone")]
    Gone,
}

/// The actor, or the task that had the order, ended without an answer. Whether the work was done is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the actor is gone")]
pub struct Gone;

/// An order on its way. Actors handle `Envelope<MyOrder>`.
pub struct Envelope<O: Order> {
    pub order: O,
    pub ticket: Ticket<O::Reply>,
}

impl<O: Order> Message for Envelope<O> {
    type Result = ();
}

/// What an admitted order holds: its place in the mailbox, and the way back to who asked. The work holds it until it ends; dropped, it gives
/// the place back and tells the caller [`Gone`].
pub struct Ticket<R> {
    reply: oneshot::Sender<R>,
    permit: Permit,
}

impl<R> Ticket<R> {
    /// Ends the work. The place is free before the caller hears of it.
    pub fn answer(self, reply: R) {
        drop(self.permit);
        // The caller may have left: that is his right, and the work is done.
        let _ = self.reply.send(reply);
    }
}

/// A place in a mailbox; given back on drop.
struct Permit {
    _place: OwnedSemaphorePermit,
    depth: Gauge,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.depth.decrement(1.0);
    }
}

/// The answer to come. May be dropped: the order is carried out all the same.
pub struct Reply<R>(oneshot::Receiver<R>);

impl<R> Future for Reply<R> {
    type Output = Result<R, Gone>;

    fn poll(mut self: Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|answer| answer.map_err(|_cause: oneshot::error::RecvError| Gone))
    }
}

/// The door to one actor; clones share its capacity.
pub struct Mailbox<A: Actor<Context = Context<A>>>(Arc<Inner<A>>);

struct Inner<A: Actor<Context = Context<A>>> {
    address: Addr<A>,
    places: Arc<Semaphore>,
    capacity: usize,
    name: &'static str,
    capacities: Gauge,
    depth: Gauge,
    refused: Counter,
    held_back: Histogram,
}

impl<A: Actor<Context = Context<A>>> Drop for Inner<A> {
    fn drop(&mut self) {
        self.capacities.decrement(self.capacity as f64);
    }
}

impl<A: Actor<Context = Context<A>>> Clone for Mailbox<A> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<A: Actor<Context = Context<A>>> fmt::Debug for Mailbox<A> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Mailbox({}, {} of {})", self.0.name, self.depth(), self.0.capacity)
    }
}

impl<A: Actor<Context = Context<A>>> Mailbox<A> {
    /// Takes the only address of an actor. `name` labels the metrics `sosik_mailbox_*`; mailboxes of one name are added up.
    pub fn new(address: Addr<A>, name: &'static str, capacity: usize) -> Self {
        let capacities = metrics::gauge!("sosik_mailbox_capacity", "mailbox" => name);
        capacities.increment(capacity as f64);
        Self(Arc::new(Inner {
            address,
            places: Arc::new(Semaphore::new(capacity)),
            capacity,
            name,
            capacities,
            depth: metrics::gauge!("sosik_mailbox_depth", "mailbox" => name),
            refused: metrics::counter!("sosik_mailbox_refused_total", "mailbox" => name),
            held_back: metrics::histogram!("sosik_mailbox_held_back_seconds", "mailbox" => name),
        }))
    }

    /// Asks if there is a place now.
    pub fn try_ask<O: Order>(&self, order: O) -> Result<Reply<O::Reply>, Refused>
    where
        A: Handler<Envelope<O>>,
        A::Context: ToEnvelope<A, Envelope<O>>,
    {
        match Arc::clone(&self.0.places).try_acquire_owned() {
            Ok(place) => self.admit(order, place),
            Err(_) => Err(self.busy()),
        }
    }

    /// Waits up to `patience` for a place. The answer is then awaited apart, by the caller's own deadline.
    pub async fn ask_within<O: Order>(&self, order: O, patience: Duration) -> Result<Reply<O::Reply>, Refused>
    where
        A: Handler<Envelope<O>>,
        A::Context: ToEnvelope<A, Envelope<O>>,
    {
        let began = Instant::now();
        let place = tokio::time::timeout(patience, Arc::clone(&self.0.places).acquire_owned()).await;
        self.0.held_back.record(began.elapsed());
        match place {
            Ok(Ok(place)) => self.admit(order, place),
            _ => Err(self.busy()),
        }
    }

    /// Tells news if there is a place now.
    pub fn try_tell<O: Order<Reply = ()>>(&self, news: O) -> Result<(), Refused>
    where
        A: Handler<Envelope<O>>,
        A::Context: ToEnvelope<A, Envelope<O>>,
    {
        self.try_ask(news).map(drop)
    }

    /// Tells news that must arrive, such as a worker's end: waits for a place as long as it takes. Never to be awaited by what the
    /// receiver itself waits for.
    pub async fn tell<O: Order<Reply = ()>>(&self, news: O) -> Result<(), Gone>
    where
        A: Handler<Envelope<O>>,
        A::Context: ToEnvelope<A, Envelope<O>>,
    {
        let began = Instant::now();
        let place = Arc::clone(&self.0.places).acquire_owned().await.map_err(|_cause: tokio::sync::AcquireError| Gone)?;
        self.0.held_back.record(began.elapsed());
        self.admit(news, place).map(drop).map_err(|_cause: Refused| Gone)
    }

    /// Orders in hand: waiting, or at work.
    pub fn depth(&self) -> usize {
        self.0.capacity - self.0.places.available_permits()
    }

    pub fn capacity(&self) -> usize {
        self.0.capacity
    }

    /// Whether the actor still runs.
    pub fn is_alive(&self) -> bool {
        self.0.address.connected()
    }

    fn busy(&self) -> Refused {
        if !self.is_alive() {
            return Refused::Gone;
        }
        self.0.refused.increment(1);
        Refused::Busy
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the permit inside the message is the bound, so the actor's own must not be a second one"
    )]
    fn admit<O: Order>(&self, order: O, place: OwnedSemaphorePermit) -> Result<Reply<O::Reply>, Refused>
    where
        A: Handler<Envelope<O>>,
        A::Context: ToEnvelope<A, Envelope<O>>,
    {
        if !self.is_alive() {
            return Err(Refused::Gone);
        }
        self.0.depth.increment(1.0);
        let (reply, answer) = oneshot::channel();
        let ticket = Ticket { reply, permit: Permit { _place: place, depth: self.0.depth.clone() } };
        // Were the actor to end between here and there, the message is dropped, and with it the ticket: the caller hears Gone.
        self.0.address.do_send(Envelope { order, ticket });
        Ok(Reply(answer))
    }
}

#[cfg(test)]
mod tests;
