//! What the journal counts, and under which names.

use metrics::{Counter, Gauge, Histogram, Unit};

const RECORDS: &str = "sosik_journal_records_total";
const BYTES: &str = "sosik_journal_bytes_total";
const SYNCS: &str = "sosik_journal_syncs_total";
const GROUP_RECORDS: &str = "sosik_journal_group_records";
const SYNC_SECONDS: &str = "sosik_journal_sync_seconds";
const DISK_BYTES: &str = "sosik_journal_disk_bytes";
const CUT_BYTES: &str = "sosik_journal_cut_bytes_total";
const DROPPED: &str = "sosik_journal_dropped_records_total";

/// Handles of the metrics, looked up once.
pub(super) struct Measures {
    pub(super) records: Counter,
    pub(super) bytes: Counter,
    pub(super) syncs: Counter,
    pub(super) group_records: Histogram,
    pub(super) sync_seconds: Histogram,
    pub(super) disk_bytes: Gauge,
    pub(super) cut_bytes: Counter,
    pub(super) dropped: Counter,
}

impl Measures {
    /// Describes the metrics to the recorder that is installed now, and gives handles to them.
    pub(super) fn describe() -> Self {
        metrics::describe_counter!(RECORDS, Unit::Count, "Records that were made durable.");
        metrics::describe_counter!(BYTES, Unit::Bytes, "Bytes of the frames that were made durable.");
        metrics::describe_counter!(SYNCS, Unit::Count, "Syncs of groups of records.");
        metrics::describe_histogram!(GROUP_RECORDS, Unit::Count, "Records that shared one sync.");
        metrics::describe_histogram!(SYNC_SECONDS, Unit::Seconds, "How long the write and the sync of a group took.");
        metrics::describe_gauge!(DISK_BYTES, Unit::Bytes, "Bytes of the main segments on the disk.");
        metrics::describe_counter!(CUT_BYTES, Unit::Bytes, "Bytes of torn tails that were cut off when the journal was opened.");
        metrics::describe_counter!(DROPPED, Unit::Count, "Records that were dropped because the disk had no room.");
        Self {
            records: metrics::counter!(RECORDS),
            bytes: metrics::counter!(BYTES),
            syncs: metrics::counter!(SYNCS),
            group_records: metrics::histogram!(GROUP_RECORDS),
            sync_seconds: metrics::histogram!(SYNC_SECONDS),
            disk_bytes: metrics::gauge!(DISK_BYTES),
            cut_bytes: metrics::counter!(CUT_BYTES),
            dropped: metrics::counter!(DROPPED),
        }
    }
}
