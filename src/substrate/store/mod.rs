//! One shard's database: the only SQL there is, the same for SQLite and PostgreSQL.
//!
//! Reading goes through a [`Snapshot`], one consistent state; writing through a [`WriteTx`], one transaction. Nothing here
//! decides: `ledger` says what to load and what to save.

pub mod rows;
