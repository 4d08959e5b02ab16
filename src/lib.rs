//! Sosik: a social write and notification server.
//!
//! The modules are listed in the order in which a write passes them; each imports only those below it in this list.
//! `cli` and `app` stand on top. `docs/ARCHITECTURE.md` walks one write through them, file by file.

pub mod app;
pub mod cli;

pub mod api;
pub mod intake;
pub mod ledger;
pub mod notify;
pub mod stream;
pub mod substrate;
pub mod support;
pub mod vocabulary;
