//! Sosik: a social write and notification server.
//!
//! The modules are listed in the order in which a write passes them; each imports only those below it in this list.
//! `docs/ARCHITECTURE.md` walks one write through them, file by file.

pub mod api;
pub mod intake;
pub mod ledger;
pub mod substrate;
pub mod support;
pub mod vocabulary;
