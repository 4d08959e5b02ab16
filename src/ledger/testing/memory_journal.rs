//! A journal without a disk: what the ledger reads back from one.

use std::collections::BTreeMap;
use std::sync::Mutex;

use crate::substrate::journal::{AppendError, Bell, Draft, Journal, JournalId, Locator, ReadError, Record};
use crate::support::lock::lock;
use crate::vocabulary::ids::Position;

#[derive(Default)]
pub(in crate::ledger) struct MemoryJournal {
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    last: Position,
    first: Position,
    main: BTreeMap<Position, Record>,
    parked: BTreeMap<(String, Position), Record>,
}

impl Journal for MemoryJournal {
    fn id(&self) -> JournalId {
        JournalId(uuid::Uuid::nil())
    }

    fn append(&self, draft: Draft) -> Result<(), AppendError> {
        let (position, locator) = {
            let mut held = lock(&self.held);
            held.last = held.last.next();
            let position = held.last;
            let locator = Locator(position.0);
            held.main.insert(position, Record { position, locator, bytes: draft.bytes });
            (position, locator)
        };
        (draft.durable)(position, locator);
        Ok(())
    }

    fn durable(&self) -> Position {
        lock(&self.held).last
    }

    fn first(&self) -> Position {
        lock(&self.held).first.next()
    }

    fn read(&self, from: Position, _: usize) -> Result<Vec<Record>, ReadError> {
        if from < self.first() {
            return Err(ReadError::Trimmed(from));
        }
        Ok(lock(&self.held).main.range(from..).map(|(_, record)| record.clone()).take(7).collect())
    }

    fn read_at(&self, locator: Locator) -> Result<Record, ReadError> {
        lock(&self.held).main.get(&Position(locator.0)).cloned().ok_or(ReadError::Trimmed(Position(locator.0)))
    }

    fn set_bell(&self, _: Bell) {}

    fn trimmable(&self, through: Position) -> Option<Position> {
        (through >= self.first()).then_some(through)
    }

    fn trim(&self, through: Position) -> Result<(), ReadError> {
        let mut held = lock(&self.held);
        held.main.retain(|position, _| *position > through);
        held.first = held.first.max(through);
        Ok(())
    }

    fn disk_bytes(&self) -> u64 {
        0
    }

    /// As in the real one, what says where a parked record lies says something else of the main segments.
    fn park(&self, shard: &str, records: &[Record]) -> Result<(), ReadError> {
        let mut held = lock(&self.held);
        for record in records {
            let misleading = Record { locator: Locator(held.last.0), ..record.clone() };
            held.parked.insert((shard.to_owned(), record.position), misleading);
        }
        Ok(())
    }

    fn read_parked(&self, shard: &str, after: Position, _: usize) -> Result<Vec<Record>, ReadError> {
        let held = lock(&self.held);
        Ok(held.parked.iter().filter(|((of, position), _)| of == shard && *position > after).map(|(_, record)| record.clone()).collect())
    }

    fn parked_through(&self, shard: &str) -> Result<Option<Position>, ReadError> {
        Ok(lock(&self.held).parked.keys().filter(|(of, _)| of == shard).map(|(_, position)| *position).max())
    }

    fn trim_parked(&self, shard: &str, through: Position) -> Result<(), ReadError> {
        lock(&self.held).parked.retain(|(of, position), _| of != shard || *position > through);
        Ok(())
    }

    fn close(&self) {}
}
