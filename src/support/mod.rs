//! Tools without a subject of their own: configuration, clock, ids, keys and hashes, mailboxes, telemetry.

pub mod auth;
pub mod clock;
pub mod config;
pub mod data_folder;
pub mod mailbox;
pub mod snowflake;
pub mod telemetry;
