//! What all sockets share: the hub, what stands above the stream, and the limits. One value for all threads.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::frame::Numbers;
use super::outbox::{Outbox, OutboxBounds};
use super::ports::{Door, Inboxes, Look, Pages, Signed};
use super::stream_hub::{CountAgain, Departed, Join, JoinRefused, Renew, StreamHub, TooManyWatches, Unwatch, Watch};
use crate::support::clock::Clock;
use crate::support::config::Stream;
use crate::support::lock::lock;
use crate::support::mailbox::{Gone, Mailbox, Refused};
use crate::vocabulary::ids::{PostId, SessionId};

/// How long a session waits for the hub, which is busy with a storm.
const HUB_PATIENCE: Duration = Duration::from_secs(5);

/// One socket of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketId(pub u64);

/// The limits of the configuration's section `stream`.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub sockets_per_user: usize,
    pub watches_per_socket: usize,
    pub outbox: OutboxBounds,
}

impl Limits {
    pub fn of(config: &Stream) -> Self {
        Self {
            sockets_per_user: config.sockets_per_user as usize,
            watches_per_socket: config.watches_per_socket as usize,
            outbox: OutboxBounds {
                frames: config.outbox_frames as usize,
                bytes: usize::try_from(config.outbox_bytes).unwrap_or(usize::MAX),
                posts: config.watches_per_socket as usize,
            },
        }
    }
}

/// The stages above, as the stream uses them.
#[derive(Clone)]
pub struct Above {
    pub door: Arc<dyn Door>,
    pub inboxes: Arc<dyn Inboxes>,
    pub pages: Arc<dyn Pages>,
}

/// Sockets that ended and that the hub still has. Each comes once, so there are never more than sockets.
#[derive(Debug, Default)]
pub struct Departures(Mutex<Vec<SocketId>>);

impl Departures {
    pub fn take(&self) -> Vec<SocketId> {
        std::mem::take(&mut lock(&self.0))
    }
}

/// The hub did not answer: it has too much to do, or it is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the hub does not answer")]
pub struct NoHub;

pub struct Desk {
    pub above: Above,
    pub limits: Limits,
    pub clock: Arc<dyn Clock>,
    hub: Mailbox<StreamHub>,
    /// Has a place of its own, so that orders never crowd it out.
    bell: Mailbox<StreamHub>,
    departures: Arc<Departures>,
    sockets: AtomicU64,
    closed: AtomicBool,
}

impl Desk {
    pub fn new(
        above: Above,
        limits: Limits,
        clock: Arc<dyn Clock>,
        hub: Mailbox<StreamHub>,
        bell: Mailbox<StreamHub>,
        departures: Arc<Departures>,
    ) -> Self {
        Self { above, limits, clock, hub, bell, departures, sockets: AtomicU64::new(1), closed: AtomicBool::new(false) }
    }

    pub fn new_socket(&self) -> SocketId {
        SocketId(self.sockets.fetch_add(1, Ordering::Relaxed))
    }

    /// Whether the hub still runs.
    pub fn is_alive(&self) -> bool {
        self.hub.is_alive()
    }

    /// No new sockets from here on.
    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// The socket is its user's from now on.
    pub async fn join(&self, socket: SocketId, signed: &Signed, outbox: Arc<Outbox>) -> Result<Result<(), JoinRefused>, NoHub> {
        let asked = self
            .hub
            .ask_within(Join { socket, user: signed.user, session: signed.session, outbox }, HUB_PATIENCE)
            .await
            .map_err(|_cause: Refused| NoHub)?;
        asked.await.map_err(|_cause: Gone| NoHub)
    }

    /// The socket's user signed in again.
    pub async fn renew(&self, socket: SocketId, session: Option<SessionId>) -> Result<(), NoHub> {
        let asked = self.hub.ask_within(Renew { socket, session }, HUB_PATIENCE).await.map_err(|_cause: Refused| NoHub)?;
        asked.await.map_err(|_cause: Gone| NoHub)
    }

    pub async fn watch(&self, socket: SocketId, post: PostId, look: Look) -> Result<Result<(), TooManyWatches>, NoHub> {
        let asked = self.hub.ask_within(Watch { socket, post, look }, HUB_PATIENCE).await.map_err(|_cause: Refused| NoHub)?;
        asked.await.map_err(|_cause: Gone| NoHub)
    }

    pub async fn unwatch(&self, socket: SocketId, post: PostId) -> Result<(), NoHub> {
        let asked = self.hub.ask_within(Unwatch { socket, post }, HUB_PATIENCE).await.map_err(|_cause: Refused| NoHub)?;
        asked.await.map_err(|_cause: Gone| NoHub)
    }

    /// The socket missed counts of the post, and these are its numbers now.
    pub async fn count_again(&self, socket: SocketId, post: PostId, numbers: Numbers) -> Result<(), NoHub> {
        let asked = self.hub.ask_within(CountAgain { socket, post, numbers }, HUB_PATIENCE).await.map_err(|_cause: Refused| NoHub)?;
        asked.await.map_err(|_cause: Gone| NoHub)
    }

    /// The socket ended. To be called once.
    pub fn leave(&self, socket: SocketId) {
        lock(&self.departures.0).push(socket);
        let _rung_already = self.bell.try_tell(Departed);
    }
}
