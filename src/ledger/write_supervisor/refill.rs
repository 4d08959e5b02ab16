//! How the supervisor reads on in the journal: its own shard's entries, as many as there is room for.
//!
//! The cursor goes in; entries and the next cursor come out. Full: it does not read. A journal that cannot be read back ends the process.

use std::sync::Arc;

use actix::prelude::*;

use super::WriteSupervisor;
use crate::ledger::Ledger;
use crate::substrate::journal::ReadError;
use crate::support::fail_stop;
use crate::vocabulary::command::{Entry, EntryUnreadable};
use crate::vocabulary::ids::Position;
use crate::vocabulary::owner::ShardIndex;

/// Entries that wait in memory; the rest waits in the journal.
const WAITING_ENTRIES_MAX: usize = 16_000;
const WAITING_BYTES_MAX: usize = 8 << 20;
/// What is read from the journal at once.
const READ_BYTES: usize = 512 << 10;

impl WriteSupervisor {
    /// Reads on in the journal when there is room for it here.
    pub(super) fn refill(&mut self, context: &mut Context<Self>) {
        let (entries, bytes) = self.lanes.waiting();
        let has_room = entries < WAITING_ENTRIES_MAX / 2 && bytes < WAITING_BYTES_MAX / 2;
        let unread = self.ledger.journal.durable().0.saturating_sub(self.cursor.0);
        if self.reading || !has_room || unread == 0 {
            return;
        }
        // While all workers are busy a few entries can gather: one reading for a batch is cheaper than one for each sync.
        let can_gather = unread < (self.bounds.rows * self.ledger.shards.len()) as u64;
        if can_gather && entries > 0 && self.in_flight.len() >= self.workers() {
            return;
        }
        self.reading = true;
        let ledger = Arc::clone(&self.ledger);
        let (shard, cursor, parked) = (self.shard, self.cursor, self.parked_cursor);
        let read = self.runtime.spawn_blocking(move || read_on(&ledger, shard, cursor, parked));
        context.spawn(read.into_actor(self).map(|read, supervisor, context| {
            supervisor.reading = false;
            match read {
                Ok(Ok(read)) => supervisor.take_in(read, context),
                Ok(Err(error)) => fail_stop(&error, "the journal cannot be read; stopping, so that nothing is applied out of order"),
                Err(error) => tracing::error!(error = %error, "reading the journal was cut short"),
            }
        }));
    }

    fn take_in(&mut self, read: Read, context: &mut Context<Self>) {
        self.cursor = read.cursor;
        self.parked_cursor = read.parked_cursor;
        for entry in read.entries {
            let lane = entry.home().lane();
            // What callers wait for came by its own way, and stands in the lane's queue or is behind it.
            self.lanes.push(lane, entry);
        }
        self.step(context);
    }
}

/// What was read from the journal.
struct Read {
    cursor: Position,
    parked_cursor: Position,
    entries: Vec<Arc<Entry>>,
}

#[derive(Debug, thiserror::Error)]
enum ReadOnError {
    #[error("could not read the journal")]
    Journal(#[from] ReadError),
    #[error(transparent)]
    Entry(#[from] EntryUnreadable),
}

/// Reads the entries of one shard after the cursor: the parked ones first, as far as the main segments no longer have them.
fn read_on(ledger: &Ledger, shard: ShardIndex, cursor: Position, parked_cursor: Position) -> Result<Read, ReadOnError> {
    let first = ledger.journal.first();
    let name = &ledger.shard(shard).name;
    if cursor.next() < first {
        let parked = ledger.journal.read_parked(name, parked_cursor.max(cursor), READ_BYTES)?;
        if let Some(last) = parked.last().map(|record| record.position) {
            let mut entries = Vec::with_capacity(parked.len());
            for record in parked {
                let entry = Entry::decode(record.position, &record.bytes)?;
                entries.extend((!entry.home().lane().is_urgent()).then(|| Arc::new(entry)));
            }
            return Ok(Read { cursor: last, parked_cursor: last, entries });
        }
    }
    let from = cursor.next().max(first);
    let records = match ledger.journal.read(from, READ_BYTES) {
        // Parked and trimmed between the look and the reading: the next look finds it where it is now.
        Err(ReadError::Trimmed(_)) => return Ok(Read { cursor, parked_cursor, entries: Vec::new() }),
        records => records?,
    };
    let cursor = records.last().map_or(Position(from.0 - 1), |record| record.position);
    let mut entries = Vec::with_capacity(records.len() / ledger.shards.len().max(1));
    for record in records {
        let entry = Entry::decode(record.position, &record.bytes)?;
        let address = ledger.address_of(&entry.home());
        if address.shard == shard && !address.lane.is_urgent() {
            entries.push(Arc::new(entry));
        }
    }
    Ok(Read { cursor, parked_cursor, entries })
}
