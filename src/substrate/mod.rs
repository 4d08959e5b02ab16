//! What everything stands on: the databases (`store`) and the journal. Plain values in, plain values out.

pub mod journal;
pub mod store;
