//! What the notifications stand on: where rows live, and how far each lane can be seen.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use futures_util::future::BoxFuture;

use super::unshown::Unshown;
use crate::substrate::store::Store;
use crate::vocabulary::ids::Position;
use crate::vocabulary::owner::{LANES, Lane, Owner, ShardIndex};

/// The ledger, as far as notifications need it.
pub trait Ground: Send + Sync {
    /// How many shards there are; their indexes go up to this.
    fn shards(&self) -> u16;

    /// What operators call a shard.
    fn name(&self, shard: ShardIndex) -> &str;

    /// Where an owner's rows live.
    fn place(&self, owner: &Owner) -> ShardIndex;

    fn store(&self, shard: ShardIndex) -> &Store;

    fn visible(&self, shard: ShardIndex) -> &Visible;

    /// Whether readers may see the shard, which has not just changed its primary.
    fn is_readable(&self, shard: ShardIndex) -> bool;

    /// Entries of the shard's inboxes that are not shown yet; `None` where no standby is ever waited for.
    fn unshown(&self, shard: ShardIndex) -> Option<&Arc<Unshown>>;

    /// Does this when everybody who reads the shard sees what was committed before this call, in the order of the calls.
    fn when_seen(&self, shard: ShardIndex, news: Box<dyn FnOnce() + Send>);

    /// Ends when all that was committed on any shard before this call is on the standbys of it too that are read, and on one at least, if it has
    /// some.
    fn replayed(&self) -> BoxFuture<'_, ()>;
}

type Bell = Box<dyn Fn() + Send + Sync>;

/// How far the lanes of one shard can be seen by everybody: all rows of the entries up to there have arrived.
pub struct Visible {
    lanes: Vec<AtomicU64>,
    bell: ArcSwapOption<Bell>,
}

impl Default for Visible {
    fn default() -> Self {
        Self { lanes: (0..LANES).map(|_| AtomicU64::new(0)).collect(), bell: ArcSwapOption::empty() }
    }
}

impl Visible {
    /// A lane can be seen up to here. It never goes back.
    pub fn reached(&self, lane: Lane, position: Position) {
        if let Some(mark) = self.lanes.get(usize::from(lane.0)) {
            mark.fetch_max(position.0, Ordering::AcqRel);
        }
    }

    pub fn of(&self, lane: Lane) -> Position {
        self.lanes.get(usize::from(lane.0)).map_or(Position::START, |mark| Position(mark.load(Ordering::Acquire)))
    }

    pub fn set_bell(&self, bell: Bell) {
        self.bell.store(Some(Arc::new(bell)));
    }

    /// Wakes whoever follows the lanes. He looks for himself, so a lost bell costs only time.
    pub fn ring(&self) {
        if let Some(bell) = self.bell.load().as_deref() {
            bell();
        }
    }
}
