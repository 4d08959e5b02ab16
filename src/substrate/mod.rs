//! What everything stands on: the databases (`store`), the journal, and the bus for what is told at once. Plain values in, plain values
//! out.

pub mod bus;
pub mod journal;
pub mod store;
