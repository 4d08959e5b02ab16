//! What the tests of the ledger stand on: real databases, a journal in memory, and a hand that moves each lane.

mod memory_journal;
mod town;

pub(in crate::ledger) use town::{Town, runtime};
