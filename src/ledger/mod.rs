//! The durable truth.

pub mod topology;
