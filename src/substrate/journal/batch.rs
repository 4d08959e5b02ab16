//! The records that one read gathers, from several places, up to its bytes.

use super::Record;
use crate::vocabulary::ids::Position;

/// At least one record, and then as many as stay within the bytes.
pub(super) struct Batch {
    bytes_max: usize,
    bytes: usize,
    records: Vec<Record>,
}

impl Batch {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, bytes: 0, records: Vec::new() }
    }

    pub(super) fn takes(&self, payload_bytes: usize) -> bool {
        self.records.is_empty() || self.bytes + payload_bytes <= self.bytes_max
    }

    pub(super) fn push(&mut self, record: Record) {
        self.bytes += record.bytes.len();
        self.records.push(record);
    }

    /// What it still takes, to know how much to read.
    pub(super) fn room(&self) -> usize {
        self.bytes_max.saturating_sub(self.bytes)
    }

    /// The position after its last record, or `begin` while it has none.
    pub(super) fn end_or(&self, begin: Position) -> Position {
        self.records.last().map_or(begin, |record| record.position.next())
    }

    pub(super) fn into_records(self) -> Vec<Record> {
        self.records
    }
}
