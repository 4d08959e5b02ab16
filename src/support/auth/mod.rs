//! Keys, tokens and hashes.
