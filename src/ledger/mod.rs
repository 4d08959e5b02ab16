//! The durable truth.

pub mod apply;
pub mod view;
