//! Gives back the journal's room, and never what a shard might need again: parks what waits for a stopped shard, and what others owe it, has
//! each shard write down how far it is complete, and trims once their standbys have that too. A journal that is damaged ends the process.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::task::JoinError;

use super::tasks::Tasks;
use crate::ledger::{Ledger, Shard};
use crate::substrate::journal::expectations::{Expectations, ExpectationsError, Expected};
use crate::substrate::journal::{ReadError, Record};
use crate::support::chain::Chain;
use crate::support::fail_stop;
use crate::support::faults::planted;
use crate::vocabulary::command::Entry;
use crate::vocabulary::ids::Position;

/// How often it looks.
const TICK: Duration = Duration::from_secs(1);
/// What is read of the journal at once for parking.
const PARK_READ_BYTES: usize = 4 << 20;
/// A stopped shard's entries are parked when the main segments fill this part of the bound.
const PARK_ABOVE_PART: u64 = 8;
/// A shard that is behind for so many looks is treated as one that is stopped: the others' room comes back without it.
const BEHIND_MAX: u32 = 5;

struct JournalKeeper {
    ledger: Arc<Ledger>,
    expectations: Arc<Expectations>,
    bytes_max: u64,
    shards: Vec<Kept>,
    /// Up to where all was released at the last look, and for how many looks in a row.
    released: Position,
    still: u32,
}

/// What is known of one shard.
#[derive(Clone, Copy)]
struct Kept {
    /// What is written beside the journal.
    expected: Expected,
    /// How far its database says that it is complete.
    recorded: Position,
    /// All its entries in the main segments up to here, above what is expected, are parked.
    parked: Position,
    /// All that it owes to others is parked, up to here.
    owed: Position,
    /// How many looks in a row it has not come to where the journal could be trimmed: it could not write it down, or no standby has it.
    behind: u32,
}

#[derive(Debug, thiserror::Error)]
enum KeepError {
    #[error(transparent)]
    Journal(#[from] ReadError),
    #[error(transparent)]
    Expectations(#[from] ExpectationsError),
}

/// Starts it; it ends with the runtime.
pub(super) fn start(ledger: &Arc<Ledger>, expectations: Arc<Expectations>, bytes_max: u64, tasks: &mut Tasks) {
    let kept = |shard: &Shard| {
        let expected = expectations.of(&shard.name).unwrap_or_default();
        Kept { expected, recorded: expected.complete_to, parked: Position::START, owed: Position::START, behind: 0 }
    };
    let shards = ledger.shards.iter().map(kept).collect();
    let (ledger, released, still) = (Arc::clone(ledger), Position::START, 0);
    let mut keeper = JournalKeeper { ledger, expectations, bytes_max, shards, released, still };
    tasks.start("keeping the journal", async move {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            fail::fail_point!("housekeeping::panic");
            // Whoever ends the process ends this in the middle: each step is durable before the next one rests on it.
            let Some(back) = aside(keeper, JournalKeeper::look_after_parking).await else { return };
            keeper = back;
            if keeper.is_crowded() && keeper.stands_still() {
                keeper.complete_each().await;
                let Some(back) = aside(keeper, JournalKeeper::park_owed).await else { return };
                keeper = back;
            }
            let Some(through) = keeper.ledger.journal.trimmable(keeper.ledger.backlog.released_through()) else { continue };
            let through = keeper.complete(through).await;
            let Some(back) = aside(keeper, move |keeper| keeper.trim(through)).await else { return };
            keeper = back;
        }
    });
}

/// Does what blocks on a thread that may; `None` if the runtime ends.
async fn aside(
    mut keeper: JournalKeeper,
    work: impl FnOnce(&mut JournalKeeper) -> Result<(), KeepError> + Send + 'static,
) -> Option<JournalKeeper> {
    let done = tokio::task::spawn_blocking(move || {
        if let Err(error) = work(&mut keeper) {
            told(&error);
        }
        keeper
    });
    match done.await.map_err(JoinError::try_into_panic) {
        Ok(keeper) => Some(keeper),
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        Err(Err(_cancelled)) => None,
    }
}

fn told(error: &KeepError) {
    if let KeepError::Journal(damage) = error
        && damage.is_damage()
    {
        fail_stop(damage, "the journal is damaged; stopping, so that nothing of it is given back or copied");
    }
    tracing::error!(error = %Chain(error), "could not give back the journal's room");
}

impl JournalKeeper {
    fn is_crowded(&self) -> bool {
        self.ledger.journal.disk_bytes() > self.bytes_max / PARK_ABOVE_PART
    }

    /// One shard's trouble is not the others'.
    fn look_after_parking(&mut self) -> Result<(), KeepError> {
        let ledger = Arc::clone(&self.ledger);
        let crowded = self.is_crowded();
        for shard in &ledger.shards {
            let parked = if crowded && self.is_out(shard) { self.park(shard) } else { Ok(()) };
            if let Err(error) = parked.and_then(|()| self.trim_parked(shard)) {
                told(&error);
            }
        }
        Ok(())
    }

    /// Whether nothing was released for so long that whoever owes something to a shard that is gone may be what holds it up.
    fn stands_still(&mut self) -> bool {
        let released = self.ledger.backlog.released_through();
        self.still = if released == self.released { self.still.saturating_add(1) } else { 0 };
        self.released = released;
        self.still >= BEHIND_MAX && released < self.ledger.journal.durable() && !planted("keeper::leave_owed")
    }

    /// Whether the others must not wait for this one.
    fn is_out(&self, shard: &Shard) -> bool {
        self.ledger.backlog.is_limited(shard.index) || self.shards[usize::from(shard.index.0)].behind >= BEHIND_MAX
    }

    /// Copies what a shard that is out has not completed out of the main segments: also what was applied already, since a copy that takes
    /// the shard's place may lack it.
    fn park(&mut self, shard: &Shard) -> Result<(), KeepError> {
        let at = usize::from(shard.index.0);
        let complete_to = self.shards[at].expected.complete_to;
        while let Some(last) = self.park_some(shard, self.shards[at].parked, self.ledger.journal.durable(), complete_to)? {
            self.shards[at].parked = last;
        }
        Ok(())
    }

    /// Copies what waits only for rows that are owed to a shard that is gone: its own shard has it, and the others' room must come back.
    fn park_owed(&mut self) -> Result<(), KeepError> {
        let ledger = Arc::clone(&self.ledger);
        for shard in &ledger.shards {
            let at = usize::from(shard.index.0);
            let until = self.shards[at].expected.complete_to;
            while let Some(last) = self.park_some(shard, self.shards[at].owed, until, until)? {
                self.shards[at].owed = last;
            }
        }
        Ok(())
    }

    /// Parks what of the next records, up to `until`, is the shard's and waits, or is above `complete_to`. Says up to where it looked.
    fn park_some(&self, shard: &Shard, after: Position, until: Position, complete_to: Position) -> Result<Option<Position>, KeepError> {
        let (journal, backlog) = (&self.ledger.journal, &self.ledger.backlog);
        let from = after.next().max(journal.first());
        let records = if from <= until { journal.read(from, PARK_READ_BYTES)? } else { Vec::new() };
        let Some(last) = records.last().map(|record| record.position.min(until)) else { return Ok(None) };
        let is_needed = |position| position <= until && (position > complete_to || backlog.is_waiting(position));
        let needed: Vec<Record> = records.into_iter().filter(|record| is_needed(record.position) && self.is_of(record, shard)).collect();
        journal.park(&shard.name, &needed)?;
        backlog.park(needed.iter().map(|record| record.position));
        Ok(Some(last))
    }

    fn is_of(&self, record: &Record, shard: &Shard) -> bool {
        Entry::decode(record.position, &record.bytes).is_ok_and(|entry| self.ledger.index_of(&entry.home()) == shard.index)
    }

    fn trim_parked(&self, shard: &Shard) -> Result<(), KeepError> {
        let Some(through) = self.ledger.journal.parked_through(&shard.name)? else { return Ok(()) };
        let done = self.ledger.backlog.first_parked(shard.index).map_or(through, |first| Position(first.0 - 1));
        let complete_to = self.shards[usize::from(shard.index.0)].expected.complete_to;
        Ok(self.ledger.journal.trim_parked(&shard.name, done.min(complete_to))?)
    }

    /// Has each shard that is not out write down that it has all before the first entry that it has not applied.
    async fn complete_each(&mut self) {
        let ledger = Arc::clone(&self.ledger);
        let durable = ledger.journal.durable();
        let asked = ledger.shards.iter().zip(&self.shards).map(|(shard, kept)| {
            let has = ledger.backlog.first_undecided(shard.index).map_or(durable, |first| Position(first.0 - 1));
            let (ledger, out) = (&ledger, self.is_out(shard));
            async move { if out { *kept } else { complete_one(ledger, shard, *kept, has).await } }
        });
        self.shards = join_all(asked).await;
    }

    /// Has the shards write down that they have all up to `through`; says how far all of them have, or what they lack is parked.
    async fn complete(&mut self, through: Position) -> Position {
        let ledger = Arc::clone(&self.ledger);
        let asked = ledger.shards.iter().zip(&self.shards).map(|(shard, kept)| complete_one(&ledger, shard, *kept, through));
        self.shards = join_all(asked).await;
        self.shards.iter().map(|kept| kept.expected.complete_to.max(kept.parked)).min().unwrap_or(through).min(through)
    }

    fn trim(&self, through: Position) -> Result<(), KeepError> {
        let names = self.ledger.shards.iter().map(|shard| &*shard.name);
        self.expectations.set(names.zip(self.shards.iter().map(|kept| kept.expected)))?;
        Ok(self.ledger.journal.trim(through)?)
    }
}

/// At an orderly stop: a copy of a shard that is made now says how far it is, and can take its place later. Without it, it says what it
/// said when a segment was given back last. What does not answer in time is left as it is.
pub(super) async fn record_complete(ledger: &Ledger, patience: Duration) {
    let released = ledger.backlog.released_through();
    let asked = ledger.shards.iter().map(|shard| record_one(ledger, shard, released));
    let _late = tokio::time::timeout(patience, join_all(asked)).await;
}

/// Has a shard write down that it has all up to `through`, but for what it has to apply from its parking segments; says up to where.
async fn record_one(ledger: &Ledger, shard: &Shard, through: Position) -> Option<Position> {
    let has = ledger.backlog.first_parked_undecided(shard.index).map_or(through, |parked| through.min(Position(parked.0 - 1)));
    match shard.store.complete_to_raise(has).await {
        Ok(()) => Some(has),
        Err(error) => {
            tracing::debug!(shard = %shard.name, error = %Chain(&error), "the shard cannot write down how far it is");
            None
        }
    }
}

/// A shard that has standbys counts as complete when one of them says so too: its log brings the row after all that the row speaks of.
async fn complete_one(ledger: &Ledger, shard: &Shard, mut kept: Kept, through: Position) -> Kept {
    kept.behind = kept.behind.saturating_add(1);
    if kept.recorded < through {
        let Some(recorded) = record_one(ledger, shard, through).await else { return kept };
        kept.recorded = kept.recorded.max(recorded);
    }
    let complete_to =
        if planted("standbys::skip_wait") { kept.recorded } else { shard.standbys.complete_to().await.unwrap_or(kept.recorded) };
    kept.expected.complete_to = kept.expected.complete_to.max(complete_to.min(kept.recorded));
    if kept.expected.complete_to >= through {
        kept.behind = 0;
    }
    kept
}
