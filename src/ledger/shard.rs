//! One shard as the stages of the ledger share it: its database, its reads, and what callers wait for.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::settlement::Unsure;
use super::shard_reader::{STANDBY_PATIENCE, ShardReader, Source};
use super::standbys::Standbys;
use super::view::ViewError;
use crate::notify::{Unshown, Visible};
use crate::substrate::store::{READ_PATIENCE, Snapshot, Store, StoreError, in_time};
use crate::support::chain::Chain;
use crate::support::lock::lock;
use crate::vocabulary::command::Entry;
use crate::vocabulary::event::Event;
use crate::vocabulary::ids::{Position, WriteId};
use crate::vocabulary::owner::{Lane, ShardIndex};

/// A shard. What is shared of it; its writes go through its `WriteSupervisor` alone.
pub struct Shard {
    pub index: ShardIndex,
    pub name: Arc<str>,
    pub store: Store,
    pub reader: ShardReader,
    pub standbys: Arc<Standbys>,
    /// Durable entries of the account lanes, which do not wait for the rest of the journal. Bounded by admission.
    urgent: Mutex<VecDeque<Arc<Entry>>>,
    /// Rung when there is something urgent; the supervisor fills it in.
    bell: arc_swap::ArcSwapOption<Box<dyn Fn() + Send + Sync>>,
    /// What the courier of this shard has not heard yet. At most one for each lane's batch, so bounded by the courier's pace; past
    /// [`NEWS_MAX`] it is only told to look in the database.
    news: Mutex<NewsBox>,
    courier_bell: arc_swap::ArcSwapOption<Box<dyn Fn() + Send + Sync>>,
    /// How far its lanes can be seen; the courier moves it, the dispatcher of notifications follows.
    pub visible: Visible,
    /// Entries of its inboxes that a standby which is read has yet to replay.
    pub unshown: Arc<Unshown>,
    /// Places of pages that are read at once.
    pages: Arc<Semaphore>,
    /// Places of what is looked up at once, and the threads that do it.
    look_ups: Arc<Semaphore>,
    reads_run_on: Handle,
    /// Batches committed since the start.
    pub batches: AtomicU64,
    /// The newest write that is, or was, a dead letter here; 0: none. What is newer was not retried.
    newest_letter: AtomicU64,
}

/// Events in the courier's letter box, over all lanes: past that it reads them from the database instead.
pub const NEWS_MAX: usize = 20_000;
/// Pages of one shard that are read at once, each on a thread of its own: about as many as there are connections to read with.
const PAGES_AT_ONCE: usize = 4;
/// What is looked up at once on a shard, each on a thread of its own: a disk that hangs holds up so many. Not the pages' places, since a page may
/// have to look something up.
const LOOK_UPS_AT_ONCE: usize = 4;

/// A lane's batch is committed.
#[derive(Debug)]
pub struct News {
    pub lane: Lane,
    /// The lane's applied position now.
    pub position: Position,
    /// Those of its events that owe rows to other owners, in order.
    pub owed: Vec<Event>,
}

/// A lane is at a position, and the events up to there are only in the database.
#[derive(Debug)]
pub struct Look {
    pub lane: Lane,
    pub position: Position,
    /// Entries of which only the events know what they came to.
    pub unsure: Unsure,
}

/// What the courier finds when it looks.
#[derive(Debug, Default)]
pub struct NewsBox {
    pub news: Vec<News>,
    /// Lanes whose events are only in the database.
    pub looks: Vec<Look>,
    /// Events whose rows have arrived and are seen by everybody now.
    pub seen: Vec<(Lane, Position)>,
    events: usize,
}

impl Shard {
    /// `reads_run_on`: threads that a disk may hold up.
    pub fn new(
        index: ShardIndex,
        name: Arc<str>,
        store: Store,
        reader: ShardReader,
        standbys: Arc<Standbys>,
        reads_run_on: Handle,
    ) -> Self {
        Self {
            index,
            name,
            store,
            reader,
            standbys,
            urgent: Mutex::default(),
            bell: arc_swap::ArcSwapOption::empty(),
            news: Mutex::default(),
            courier_bell: arc_swap::ArcSwapOption::empty(),
            visible: Visible::default(),
            unshown: Arc::default(),
            pages: Arc::new(Semaphore::new(PAGES_AT_ONCE)),
            look_ups: Arc::new(Semaphore::new(LOOK_UPS_AT_ONCE)),
            reads_run_on,
            batches: AtomicU64::new(0),
            newest_letter: AtomicU64::new(0),
        }
    }

    /// Hands over what a caller waits for.
    pub fn push_urgent(&self, entry: Arc<Entry>) {
        lock(&self.urgent).push_back(entry);
        self.ring();
    }

    /// Takes what is urgent, oldest first.
    pub fn take_urgent(&self, most: usize) -> Vec<Arc<Entry>> {
        let mut urgent = lock(&self.urgent);
        let count = most.min(urgent.len());
        urgent.drain(..count).collect()
    }

    pub fn has_urgent(&self) -> bool {
        !lock(&self.urgent).is_empty()
    }

    pub fn set_bell(&self, bell: Box<dyn Fn() + Send + Sync>) {
        self.bell.store(Some(Arc::new(bell)));
    }

    /// Wakes the shard's supervisor. It looks for itself what there is to do, so a lost bell costs only time.
    pub fn ring(&self) {
        if let Some(bell) = self.bell.load().as_deref() {
            bell();
        }
    }

    /// Tells the courier what a committed batch owes.
    pub fn tell_courier(&self, news: News) {
        let mut letters = lock(&self.news);
        if letters.events + news.owed.len() > NEWS_MAX {
            letters.looks.push(Look { lane: news.lane, position: news.position, unsure: Unsure::new() });
        } else {
            letters.events += news.owed.len();
            letters.news.push(news);
        }
        drop(letters);
        self.ring_courier();
    }

    /// Tells the courier to read a lane's events from the database.
    pub fn tell_courier_to_look(&self, look: Look) {
        lock(&self.news).looks.push(look);
        self.ring_courier();
    }

    fn ring_courier(&self) {
        if let Some(bell) = self.courier_bell.load().as_deref() {
            bell();
        }
    }

    pub fn take_news(&self) -> NewsBox {
        std::mem::take(&mut *lock(&self.news))
    }

    pub fn set_courier_bell(&self, bell: Box<dyn Fn() + Send + Sync>) {
        self.courier_bell.store(Some(Arc::new(bell)));
    }

    /// Everybody sees all that an event of a lane owed elsewhere.
    pub fn tell_courier_seen(&self, lane: Lane, position: Position) {
        lock(&self.news).seen.push((lane, position));
        self.ring_courier();
    }

    /// A lane has applied everything up to here.
    pub fn applied(&self, lane: Lane, position: Position) {
        if self.reader.reopening().applied(lane, position) {
            tracing::info!(shard = %self.name, "the shard has again what the journal held when its primary changed, and is read");
        }
    }

    /// There is, or will be, a dead letter of this write.
    pub fn has_letter(&self, write: WriteId) {
        self.newest_letter.fetch_max(write.raw(), Ordering::Relaxed);
    }

    /// Whether a write may be one that was a dead letter, and is retried.
    pub fn may_be_retried(&self, write: WriteId) -> bool {
        write.raw() <= self.newest_letter.load(Ordering::Relaxed)
    }

    pub fn batch_committed(&self) {
        self.batches.fetch_add(1, Ordering::Relaxed);
    }

    /// A place among the pages that are read of this shard at once. Full: the caller waits, as long as a read may take.
    pub async fn place_for_page(&self) -> Result<OwnedSemaphorePermit, ViewError> {
        match tokio::time::timeout(READ_PATIENCE, Arc::clone(&self.pages).acquire_owned()).await {
            Ok(Ok(place)) => Ok(place),
            _ => Err(self.unavailable()),
        }
    }

    /// A consistent state to read from: the newest, on the primary. A file is read on the thread that asks, which must be one that a disk may
    /// hold up.
    pub async fn snapshot(&self) -> Result<Snapshot, ViewError> {
        self.assert_readable()?;
        in_time(self.store.snapshot()).await.map_err(|error| self.failed(&error))
    }

    /// Looks up little in the newest state, on a thread that a disk may hold up: whoever asks may serve the clients of all shards. No place:
    /// he waits, as long as a read may take.
    pub async fn look_up<T: Send + 'static>(
        &self,
        look: impl AsyncFnOnce(&mut Snapshot) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, ViewError> {
        self.assert_readable()?;
        let (store, there) = (self.store.clone(), self.reads_run_on.clone());
        let looked = async {
            let place = Arc::clone(&self.look_ups).acquire_owned().await;
            let read = move || {
                let found = there.block_on(async { look(&mut store.snapshot().await?).await });
                drop(place);
                found
            };
            self.reads_run_on.spawn_blocking(read).await
        };
        match tokio::time::timeout(READ_PATIENCE, looked).await {
            Ok(Ok(found)) => found.map_err(|error| self.failed(&error)),
            Ok(Err(ended)) => Err(ViewError::Internal(Box::new(ended))),
            Err(_elapsed) => Err(self.unavailable()),
        }
    }

    fn assert_readable(&self) -> Result<(), ViewError> {
        planted_outage(&self.name).map_err(|error| self.failed(&error))?;
        if self.reader.is_open() { Ok(()) } else { Err(self.unavailable()) }
    }

    fn unavailable(&self) -> ViewError {
        ViewError::Unavailable { shard: self.name.to_string() }
    }

    /// Looks into one consistent state, for pages. If a standby fails, the primary is asked the same.
    pub async fn read<T>(&self, source: Source, look: impl AsyncFn(&mut Snapshot) -> Result<T, StoreError>) -> Result<T, ViewError> {
        planted_outage(&self.name).map_err(|error| self.failed(&error))?;
        if let Some(at) = self.reader.standby_for(source).await?
            && let Some(server) = self.standbys.read_sides().nth(at)
        {
            let looked = async {
                let mut snapshot = server.snapshot().await?;
                let found = look(&mut snapshot).await?;
                Ok::<_, StoreError>((found, snapshot.log_position().await?))
            };
            match tokio::time::timeout(STANDBY_PATIENCE, looked).await {
                Ok(Ok((found, position))) => {
                    self.reader.note(Some(at), Some(position));
                    return Ok(found);
                }
                Ok(Err(error)) => drop(self.failed(&error)),
                Err(_elapsed) => {}
            }
            self.reader.standby_failed(at);
        }
        let mut snapshot = self.snapshot().await?;
        let looked = async {
            let found = look(&mut snapshot).await?;
            let position = if self.standbys.are_there() { Some(snapshot.log_position().await?) } else { None };
            Ok((found, position))
        };
        let (found, position) = in_time(looked).await.map_err(|error| self.failed(&error))?;
        self.reader.note(None, position);
        Ok(found)
    }

    /// What a reader is told of a failed read; the log gets the cause.
    pub fn failed(&self, error: &StoreError) -> ViewError {
        tracing::warn!(shard = %self.name, error = %Chain(error), "a read failed");
        self.unavailable()
    }
}

/// A planted fault: the shard is as if it were gone.
#[cfg_attr(not(feature = "faults"), expect(clippy::unnecessary_wraps, unused_variables, reason = "no fault exists in this build"))]
pub(crate) fn planted_outage(shard: &str) -> Result<(), StoreError> {
    #[cfg(feature = "faults")]
    if crate::support::faults::is_unavailable(shard) {
        let source = std::io::Error::new(std::io::ErrorKind::NotConnected, "a planted outage");
        return Err(StoreError::File { path: shard.to_owned(), source });
    }
    Ok(())
}

/// A planted fault: the shard's rows are not what they must be.
#[cfg_attr(not(feature = "faults"), expect(clippy::unnecessary_wraps, unused_variables, reason = "no fault exists in this build"))]
pub(super) fn planted_breach(shard: &str) -> Result<(), StoreError> {
    #[cfg(feature = "faults")]
    if crate::support::faults::is_broken(shard) {
        return Err(StoreError::Unreadable { table: "posts", what: "a planted broken invariant".to_owned() });
    }
    Ok(())
}
