//! The durable truth.

pub mod view;
