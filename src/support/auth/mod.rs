//! Keys, tokens and hashes.

pub mod seal;
pub mod secret;

mod files;
