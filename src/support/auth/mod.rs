//! Keys, tokens and hashes: who signs, what is signed, and what is never stored in the clear.
//!
//! Bytes and times in, verified values out. Reads and writes key files and, for a foreign issuer, its JWKS; nothing else.
//! Knows no HTTP server and no account. Each kind of token has a key of its own, so that none can stand in for another.
//! Full: only the hashing pool has a queue, and answers `Busy` with the wait it expects.

pub mod hashing;
pub mod issuers;
pub mod keys;
pub mod password_rules;
pub mod refresh;
pub mod seal;
pub mod secret;
pub mod token;

mod files;
mod foreign_keys;
