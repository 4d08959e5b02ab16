//! The durable truth.

pub mod limiter;
pub mod topology;
