//! The promises of Sosik, tested from outside: the real binary, over HTTP, with crashes and planted faults.
//!
//! A file is a subject. `support` holds what they share: the process under test, signed-in clients, the record of what was
//! asked and answered, and the checks of that record against what stands in the server and in its shards at the end.
//! A test whose name begins with `control_` plants a fault and shows that the check of its promise notices.

#![cfg(test)]

mod support;

mod accounts;
mod authorization;
mod commands;
mod contract;
mod counters;
mod dead_letters;
mod durability;
mod exactly_once;
mod http_edges;
mod identifiers;
mod isolation;
mod journeys;
mod live_pages;
mod notifications;
mod order;
mod overload;
mod own_writes;
mod security;
mod shutdown;
mod stream;
mod stream_inbox;
mod stream_load;
mod stream_protocol;
mod tokens;
mod upgrade;
