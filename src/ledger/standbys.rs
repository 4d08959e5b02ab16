//! The standbys of one shard: what they have replayed decides what everybody may see, and what the journal may give back.
//!
//! What was committed goes in, after its commit. It comes out twice. It is *seen* when every standby that is read has replayed that commit:
//! then its author's pending rows go, notifications begin, and the write is visible. It is *kept* when that is so and one configured
//! standby at least could take over with it: then the journal gives it back. Many commits share one question to the primary (where its log
//! ends now) and one to each standby, beside the lanes and not in their way. Without standbys all comes out at once. Full: nothing here is;
//! what is held is counted in the [`super::backlog::Backlog`], and acceptance ends there.
//!
//! Promise: a standby that is read has replayed all that was ever called seen.

mod follow;
mod line;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::sync::{Notify, oneshot};

pub use follow::follow;

use super::Ledger;
use crate::substrate::store::{LogPosition, ReadSide, Standby, StoreError};
use crate::support::faults::planted;
use crate::support::lock::lock;
use crate::vocabulary::ids::Position;
use crate::vocabulary::owner::ShardIndex;
use line::Line;

/// How long a standby that failed a read is left alone.
const REST: Duration = Duration::from_secs(1);

/// The standbys of one shard; most shards have none.
#[derive(Default)]
pub struct Standbys {
    followed: Vec<Followed>,
    /// A standby that is further behind is not read, and not waited for.
    lag_max: Duration,
    line: Mutex<Line>,
    /// Rung when something is held, when it is known where, and when a standby may have moved.
    held: Notify,
    placed: Notify,
    moved: Notify,
    /// Where the primary's log was when it was asked last.
    log_end: AtomicU64,
    /// All that was called seen lies before it.
    seen_to: AtomicU64,
    /// Whose turn it is to be read.
    turn: AtomicUsize,
}

/// One standby as its readers see it.
struct Followed {
    standby: Standby,
    is_read: AtomicBool,
    reads: metrics::Counter,
}

/// A standby as operators see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StandbyReport {
    pub address: String,
    /// It answered when it was asked last.
    pub answers: bool,
    /// Reads go to it.
    pub is_read: bool,
    /// How much of the primary's log it has not replayed.
    pub behind_bytes: u64,
}

impl Standbys {
    /// `shard` is what operators call it.
    pub fn new(shard: &str, standbys: Vec<Standby>, lag_max: Duration) -> Self {
        let line = Mutex::new(Line::of(standbys.len()));
        let followed = standbys.into_iter().map(|standby| {
            let labels = [("shard", shard.to_owned()), ("standby", standby.address().to_owned())];
            Followed { standby, is_read: AtomicBool::new(false), reads: metrics::counter!("sosik_standby_reads_total", &labels) }
        });
        Self { followed: followed.collect(), lag_max, line, ..Self::default() }
    }

    /// Whether anything is ever waited for.
    pub fn are_there(&self) -> bool {
        !self.followed.is_empty()
    }

    /// A standby to read from that has replayed the log up to there: each in turn. `None`: only the primary will do.
    pub fn choose(&self, needed: LogPosition) -> Option<usize> {
        let count = self.followed.len();
        if count == 0 {
            return None;
        }
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut in_turn = (0..count).map(|step| first.wrapping_add(step) % count);
        in_turn.find(|at| self.is_read(*at) && self.followed[*at].standby.known() >= needed)
    }

    fn is_read(&self, at: usize) -> bool {
        self.followed[at].is_read.load(Ordering::SeqCst)
    }

    /// The read sides, in the order of their numbers.
    pub fn read_sides(&self) -> impl Iterator<Item = &ReadSide> {
        self.followed.iter().map(|followed| followed.standby.reads())
    }

    /// A read was answered from here, and what it showed lies before this place.
    pub fn was_read(&self, at: usize, position: LogPosition) {
        self.followed[at].standby.note(position);
        self.followed[at].reads.increment(1);
        // A standby has only what the primary's log has.
        self.note_log_end(position);
    }

    /// A read from here failed: it is not read until it has been looked at again.
    pub fn failed(&self, at: usize, shard: &str) {
        let mut line = lock(&self.line);
        if line.leave(at, Some(Instant::now() + REST)) {
            self.show_read(at, &line);
            tracing::warn!(
                shard,
                standby = self.followed[at].standby.address(),
                "a standby failed a read, and is not read until it answers"
            );
        }
        drop(line);
        self.moved.notify_one();
    }

    /// How far the log is, as all who read the shard have it.
    pub fn seen_to(&self) -> LogPosition {
        LogPosition(self.seen_to.load(Ordering::SeqCst))
    }

    /// Whether the primary's log is known to reach there.
    pub fn primary_reaches(&self, position: LogPosition) -> bool {
        self.log_end() >= position
    }

    /// Where the primary's log is at least: nobody was shown more.
    pub fn log_end(&self) -> LogPosition {
        LogPosition(self.log_end.load(Ordering::Relaxed))
    }

    /// The primary's log was seen to be there.
    pub fn note_log_end(&self, position: LogPosition) {
        self.log_end.fetch_max(position.0, Ordering::Relaxed);
    }

    /// Ends when all that was committed before this call is kept.
    pub async fn replayed(&self) {
        let (waiter, replayed) = oneshot::channel();
        self.wait_for(replayed, |line| line.hold_waiter(waiter)).await;
    }

    /// Ends when everybody sees what was committed before this call.
    pub async fn seen(&self) {
        let (waiter, seen) = oneshot::channel();
        let tell = Box::new(move |_: &Ledger| {
            let _left = waiter.send(());
        });
        self.wait_for(seen, |line| line.hold_news(tell)).await;
    }

    async fn wait_for(&self, ended: oneshot::Receiver<()>, hold: impl FnOnce(&mut Line)) {
        if !self.are_there() {
            return;
        }
        self.hold(hold);
        if ended.await.is_err() {
            // The task that looks is gone, and with it the server: nothing is said to be replayed any more.
            std::future::pending::<()>().await;
        }
    }

    /// How far the copies of the shard say that they are complete: all that are read, and one at least; `None` without standbys.
    pub async fn complete_to(&self) -> Option<Position> {
        let asked = join_all(self.followed.iter().map(|followed| followed.standby.complete_to())).await;
        let told: Vec<Position> = asked.into_iter().map(Result::unwrap_or_default).collect();
        let furthest = told.iter().max().copied();
        let read = told.iter().enumerate().filter(|(at, _)| self.is_read(*at)).map(|(_, told)| *told).min();
        Some(furthest?.min(read.unwrap_or(Position(u64::MAX))))
    }

    fn hold(&self, add: impl FnOnce(&mut Line)) {
        add(&mut lock(&self.line));
        self.held.notify_one();
    }

    /// Readers hear of what the line says of a standby.
    fn show_read(&self, at: usize, line: &Line) {
        self.followed[at].is_read.store(line.is_read(at) || planted("standbys::read_behind"), Ordering::SeqCst);
    }

    /// For operators.
    pub fn reports(&self) -> Vec<StandbyReport> {
        let line = lock(&self.line);
        let log_end = self.log_end().0;
        let report = |(at, followed): (usize, &Followed)| StandbyReport {
            address: followed.standby.address().to_owned(),
            answers: line.replayed(at).is_some(),
            is_read: line.is_read(at),
            behind_bytes: log_end.saturating_sub(line.replayed(at).unwrap_or_default().0),
        };
        self.followed.iter().enumerate().map(report).collect()
    }

    pub async fn close(&self) -> Result<(), StoreError> {
        for followed in &self.followed {
            followed.standby.close().await?;
        }
        Ok(())
    }
}

/// Gives back the journal's entries of a shard that were applied by commits that have succeeded: at once, or when they are kept.
pub(super) fn release(ledger: &Ledger, shard: ShardIndex, applied: impl IntoIterator<Item = Position>) {
    let standbys = &ledger.shard(shard).standbys;
    if standbys.are_there() && !planted("standbys::skip_wait") {
        standbys.hold(|line| line.hold_positions(applied));
    } else {
        ledger.backlog.release(applied);
    }
}

/// Does this when everybody who reads the shard sees what was committed before this call: at once if nobody reads a standby of it. In the
/// order of the calls.
pub(super) fn when_seen(ledger: &Ledger, shard: ShardIndex, news: impl FnOnce(&Ledger) + Send + 'static) {
    let standbys = &ledger.shard(shard).standbys;
    if standbys.are_there() && !planted("standbys::show_early") {
        standbys.hold(|line| line.hold_news(Box::new(news)));
    } else {
        news(ledger);
    }
}

/// As [`when_seen`], of several shards.
pub(super) fn when_all_seen(ledger: &Ledger, shards: &[ShardIndex], news: impl FnOnce(&Ledger) + Send + 'static) {
    match shards {
        [] => news(ledger),
        [one] => when_seen(ledger, *one, news),
        several => {
            let (left, news) = (Arc::new(AtomicUsize::new(several.len())), Arc::new(Mutex::new(Some(news))));
            for shard in several {
                let (left, news) = (Arc::clone(&left), Arc::clone(&news));
                when_seen(ledger, *shard, move |ledger| {
                    if left.fetch_sub(1, Ordering::AcqRel) == 1
                        && let Some(news) = lock(&news).take()
                    {
                        news(ledger);
                    }
                });
            }
        }
    }
}
