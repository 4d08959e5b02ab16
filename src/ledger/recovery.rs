//! What the start does with the journal: everything that was accepted and is not where it belongs is pending again.
//!
//! Records in, the ledger's books out. Recovery, failover and a pause are all the same thing: replay from the lanes' marks.

use std::collections::HashMap;
use std::sync::Arc;

use super::Ledger;
use super::lanes::Lanes;
use super::settlement::{Unsure, without_text};
use super::standbys;
use super::writes::Waiting;
use crate::substrate::journal::{JournalId, Record};
use crate::substrate::store::rows::LaneRow;
use crate::support::faults::planted;
use crate::vocabulary::command::Entry;
use crate::vocabulary::ids::Position;
use crate::vocabulary::owner::{Lane, LaneAddress};

/// What is read from the journal at once.
const READ_BYTES: usize = 4 << 20;

/// Why the start is refused.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    #[error(
        "the shard {shard} belongs to the journal {joined}, and this one is {journal}: start with the data folder that belongs together"
    )]
    ForeignJournal { shard: String, joined: String, journal: String },
    #[error(
        "the journal {journal} is at position {next}, and the shard {shard} has applied position {applied}: the journal is older than its shards"
    )]
    JournalBehind { journal: String, next: Position, shard: String, applied: Position },
    #[error(
        "the shard {shard} is complete to position {complete_to} of the journal, which has given back what it held for it up to {expected}: \
         this database is an older copy, and what it lacks can not be applied again; put the newest one in its place, or accept the loss for good: \
         sosik shards promote {shard} --accept-loss"
    )]
    Incomplete { shard: String, complete_to: Position, expected: Position },
    #[error("could not read the journal")]
    Read(#[from] crate::substrate::journal::ReadError),
    #[error(transparent)]
    Entry(#[from] crate::vocabulary::command::EntryUnreadable),
}

/// Where one shard begins.
#[derive(Debug, Default)]
pub struct Beginning {
    pub lanes: Lanes,
    /// Nothing that waits for this shard is at or before it.
    pub cursor: Position,
    /// Readers are let in when the shard has all that the journal held up to here.
    pub read_from: Position,
    /// The last entry of each lane up to there that is not applied yet.
    pub unapplied: HashMap<Lane, Position>,
    /// Applied entries of which only the events know what they came to.
    pub unsure: HashMap<Lane, Unsure>,
}

/// Refuses a shard that does not belong to this journal, or is ahead of it.
pub fn check_shard(
    shard: &str,
    joined: Option<uuid::Uuid>,
    journal: JournalId,
    next: Position,
    lanes: &[LaneRow],
) -> Result<(), RecoveryError> {
    if let Some(joined) = joined.filter(|joined| *joined != journal.0) {
        let (joined, journal) = (joined.to_string(), journal.0.to_string());
        return Err(RecoveryError::ForeignJournal { shard: shard.to_owned(), joined, journal });
    }
    match lanes.iter().map(|row| row.applied).max() {
        Some(applied) if applied >= next => {
            let (journal, shard) = (journal.0.to_string(), shard.to_owned());
            Err(RecoveryError::JournalBehind { journal, next, shard, applied })
        }
        _ => Ok(()),
    }
}

/// Refuses a shard that lacks what the journal no longer has.
pub fn check_complete(shard: &str, complete_to: Option<Position>, expected: Position) -> Result<(), RecoveryError> {
    let complete_to = complete_to.unwrap_or_default();
    if complete_to >= expected || planted("recovery::skip_complete") {
        return Ok(());
    }
    Err(RecoveryError::Incomplete { shard: shard.to_owned(), complete_to, expected })
}

/// Reads the whole journal, parked entries too, into the ledger's books. `lanes` is where each shard's lanes are, and `read_from` what its
/// readers wait for, in the order of the shards. Blocking: call it where that is allowed, before anything is served.
pub fn recover(ledger: &Ledger, lanes: &[Vec<LaneRow>], read_from: &[Position]) -> Result<Vec<Beginning>, RecoveryError> {
    let first = ledger.journal.first();
    let mut beginnings: Vec<Beginning> = lanes.iter().zip(read_from).map(|(rows, read_from)| beginning(rows, first, *read_from)).collect();
    for shard in &ledger.shards {
        let mut after = Position::START;
        loop {
            let records = ledger.journal.read_parked(&shard.name, after, READ_BYTES)?;
            let Some(last) = records.last().map(|record| record.position) else { break };
            for record in records.into_iter().filter(|record| record.position < first) {
                take(ledger, lanes, &mut beginnings, record, true)?;
            }
            after = last;
        }
    }
    let mut from = first;
    while from <= ledger.journal.durable() {
        let records = ledger.journal.read(from, READ_BYTES)?;
        let Some(last) = records.last().map(|record| record.position) else { break };
        for record in records {
            take(ledger, lanes, &mut beginnings, record, false)?;
        }
        from = last.next();
    }
    Ok(beginnings)
}

fn beginning(rows: &[LaneRow], first: Position, read_from: Position) -> Beginning {
    let mut lanes = Lanes::default();
    for row in rows {
        lanes.set_applied(row.lane, row.applied);
    }
    // The lowest mark of a lane is where its shard must read on: what is above it in other lanes is skipped when it comes.
    let lowest = rows.iter().map(|row| row.applied).min().unwrap_or_default();
    Beginning { lanes, cursor: lowest.max(Position(first.0.saturating_sub(1))), read_from, ..Beginning::default() }
}

fn take(ledger: &Ledger, lanes: &[Vec<LaneRow>], beginnings: &mut [Beginning], record: Record, parked: bool) -> Result<(), RecoveryError> {
    let entry = Entry::decode(record.position, &record.bytes)?;
    let LaneAddress { shard, lane } = ledger.address_of(&entry.home());
    let at = usize::from(shard.0);
    let mark = lanes[at].iter().find(|row| row.lane == lane);
    let (applied, relayed) = mark.map_or((Position::START, Position::START), |row| (row.applied, row.relayed));
    let position = entry.position;
    if parked {
        ledger.backlog.reopened_parked(position, record.bytes.len(), shard);
    } else {
        ledger.backlog.reopened(position, record.bytes.len(), shard);
    }
    if position <= relayed {
        standbys::release(ledger, shard, [position]);
        return Ok(());
    }
    ledger.kept_keys.restore(&entry);
    let entry = Arc::new(entry);
    if !planted("pending::skip_rebuild") {
        ledger.pending.add(&entry, LaneAddress { shard, lane }, record.locator);
    }
    // Its state can be asked for at once; what it came to is known when its lane's events were read.
    ledger.writes.accepted(entry.write, Waiting { position, locator: record.locator, shard });
    if position <= applied {
        ledger.backlog.decided([position]);
        beginnings[at].unsure.entry(lane).or_default().insert(position, without_text(&entry));
        return Ok(());
    }
    if position <= beginnings[at].read_from {
        beginnings[at].unapplied.insert(lane, position);
    }
    if lane.is_urgent() {
        ledger.shard(shard).push_urgent(entry);
    } else if parked {
        // The cursor of a shard with parked entries begins before them.
        beginnings[at].cursor = beginnings[at].cursor.min(Position(position.0 - 1));
    }
    Ok(())
}
