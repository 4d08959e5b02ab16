//! The words all stages share: ids, owners and their lanes, checked text, a write as a value (`Command`, `Entry`),
//! what happened (`Event`), an inbox line (`InboxEntry`), and why a write was refused for good (`Rejection`). No I/O, no clock, no
//! randomness.

pub mod command;
pub mod entry;
pub mod event;
pub mod ids;
pub mod owner;
pub mod preferences;
pub mod progress;
pub mod rejection;
pub mod relation;
pub mod text;

/// Milliseconds since the Unix epoch, UTC.
pub type Millis = u64;
