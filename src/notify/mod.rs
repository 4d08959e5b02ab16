//! Who should know.
//!
//! Events of committed and visible writes come in, lane by lane and in order; entries of inboxes, and hints for open sockets, go out.
//! Promise: each recipient has one entry for each cause, with a `seq` without a gap, whatever is replayed: a destination's cursor moves in the
//! transaction that writes its entries. Full: it reads no further events; they wait in their rows.
//!
//! This floor is below the ledger, which rings when something became visible. What it needs of the ledger is [`Ground`].

pub mod audience;
pub mod book;
pub mod coalesce;
pub mod delivery;
pub mod desk;
pub mod ground;
pub mod inbox;
pub mod notification_dispatcher;
pub mod participants;
pub mod planner;
pub mod preference;
pub mod retention;
pub mod unshown;

#[cfg(test)]
mod tests;

pub use ground::{Ground, Visible};
pub use inbox::Inbox;
pub use unshown::Unshown;
