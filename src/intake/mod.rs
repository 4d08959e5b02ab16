//! Takes wishes, answers with receipts. At most one receipt per key. Full: an error with the wait we expect.
//!
//! A wish becomes a command with ids, is checked as far as can be seen, gets room in the queue, and is appended to the
//! journal. The receipt is given when the sync that covers it has returned: from then on the write survives, and its author sees it.

pub mod accounts;
mod admission;
mod digest;
mod receipt;
mod status;
mod submit;

pub use admission::Quota;
pub use receipt::{Receipt, Submission, SubmitError, Wish, WriteState, WriteStatus, rejection_kind};
pub use status::settled_status;
pub use submit::Decided;

pub use crate::ledger::view::Seen;

use std::sync::Arc;

use admission::WriteRates;

use crate::ledger::Ledger;
use crate::ledger::view::View;
use crate::support::config::Limits;
use crate::support::snowflake::IdMaker;

/// Where writes come in. Cheap to clone.
#[derive(Clone)]
pub struct Intake {
    ledger: Arc<Ledger>,
    view: View,
    ids: Arc<IdMaker>,
    rates: Arc<WriteRates>,
    /// From the wish to its place in the journal.
    accept_seconds: metrics::Histogram,
}

impl Intake {
    pub fn new(ledger: Arc<Ledger>, ids: Arc<IdMaker>, limits: &Limits) -> Self {
        // What is refused is refused for good, so it is judged by the newest state.
        let view = View::of_newest(Arc::clone(&ledger));
        let accept_seconds = metrics::histogram!("sosik_accept_seconds");
        Self { ledger, view, ids, rates: Arc::new(WriteRates::new(limits)), accept_seconds }
    }

    /// Forgets the rates of users who have not written for a while. Called now and then.
    pub fn tidy(&self) {
        self.rates.tidy();
    }
}
