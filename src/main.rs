//! The `sosik` binary.

fn main() {}
