//! The durable truth.

pub mod apply;
pub mod backlog;
pub mod pending;
pub mod view;
pub mod writes;
