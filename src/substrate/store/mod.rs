//! One shard's database: the only SQL there is, the same for SQLite and PostgreSQL.
//!
//! Reading goes through a [`Snapshot`], one consistent state; writing through a [`WriteTx`], one transaction. Nothing here
//! decides: `ledger` says what to load and what to save. Plain values go in and come out.
//!
//! Promised: what a [`WriteTx::commit`] kept survives a power cut; a lane or cursor moves only from where its mover knew it;
//! a row never goes back to an older position. Full, locked or gone: [`StoreErrorKind::Unavailable`], and nothing was done.

mod accounts;
mod arrays;
mod audit;
mod bulk;
mod comments;
mod connect;
#[cfg(test)]
mod contract;
mod dead_letters;
mod error;
mod events;
mod inbox;
mod inbox_pages;
mod kept_writes;
mod lanes;
mod line;
mod link;
mod load;
mod membership;
mod notices;
mod pages;
mod people;
mod post_sight;
mod posts;
mod read_side;
mod relations;
pub mod rows;
mod shard;
mod snapshot;
mod sqlite;
mod standby;
mod standings;
mod tenure;
mod values;
mod windows;
mod write_tx;

pub use audit::{AUDIT_ROWS, CounterTable, Family, PLACED, Placed, PlacedBy, PlacedRows};
pub use connect::{Backend, StoreOptions};
pub use error::{StoreError, StoreErrorKind};
pub use inbox::{EntryKey, Withdrawal};
pub use inbox_pages::GroupedEntry;
pub use lanes::LaneMove;
pub use membership::{Joined, OfJournal, Wanted};
pub use notices::{NoticeMark, NoticeStep};
pub use pages::CommentOrder;
pub use read_side::{READ_PATIENCE, ReadSide, in_time};
pub use shard::{Migrated, PURGE_ROWS_MAX, ShardIdentity, Store};
pub use snapshot::Snapshot;
pub use standby::{LogPosition, Standby};
pub use standings::{StandingKey, StandingRow};
pub use tenure::{Choice, Chosen, FIRST_EPOCH, PrimarySight, Tenure, choose, look_at_primary};
pub use windows::{FIRST_ACTORS_MAX, WindowKey, WindowRow};
pub use write_tx::WriteTx;
