//! Tools without a subject of their own: configuration, clock, ids, keys and hashes, mailboxes, telemetry.

pub mod auth;
#[cfg(test)]
pub mod cases;
pub mod chain;
pub mod clock;
pub mod company;
pub mod config;
pub mod data_folder;
pub mod error_kind;
pub mod faults;
pub mod lock;
pub mod mailbox;
pub mod priority;
pub mod processors;
pub mod room;
pub mod small_pages;
pub mod snowflake;
pub mod telemetry;
pub mod timestamp;

/// The exit code of a process that stopped itself rather than go on with doubtful state.
pub const EXIT_FAIL_STOP: i32 = 70;

/// Ends the process: it must not go on with what this error says.
pub fn fail_stop(error: &(dyn std::error::Error + 'static), why: &str) -> ! {
    tracing::error!(error = %chain::Chain(error), "{why}");
    std::process::exit(EXIT_FAIL_STOP)
}
