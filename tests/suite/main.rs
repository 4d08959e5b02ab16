//! The promises of Sosik, tested from outside: the real binary, over HTTP, with crashes and planted faults.
//!
//! A file is a subject. `support` holds what they share: the process under test, signed-in clients, the record of what was
//! asked and answered, and the checks of that record against what stands in the server and in its shards at the end.
//! A test whose name begins with `control_` plants a fault and shows that the check of its promise notices.
//!
//! Shards are SQLite files; `SOSIK_SUITE_ON=postgres` has them in the cluster that `SOSIK_TEST_POSTGRES` names. What lays its hands on files
//! fails there.
//!
//! Each run is short. Longer ones are asked for by variables (`number_from_environment`): `SOSIK_KILL_CYCLES`, `SOSIK_DEATHS_PER_PLACE`,
//! `SOSIK_STOP_CYCLES`, `SOSIK_KEYED_REQUESTS`, `SOSIK_EDITS`, `SOSIK_IDS`, `SOSIK_COUNTER_CLIENTS`, `SOSIK_COUNTER_SECONDS`,
//! `SOSIK_COMMENTS_OF_A_DELETED_POST`, `SOSIK_FLOOD_SECONDS`, `SOSIK_ZOMBIES`, `SOSIK_TEST_RESUMES`, `SOSIK_CRASH_CYCLES`,
//! `SOSIK_OWN_WRITE_ROUNDS`, `SOSIK_TEST_STALLED`, `SOSIK_TEST_STORM`. `SOSIK_REFUSAL_WITHIN_MS` asks for more than a machine on which other
//! tests run can give.

#![cfg(test)]

mod support;

mod accounts;
mod actors;
mod authorization;
mod broken;
mod commands;
mod contract;
mod controls;
mod counters;
mod dead_letters;
mod durability;
mod exactly_once;
mod failover;
mod freshness;
mod hints;
mod http_edges;
mod identifiers;
mod isolation;
mod journeys;
mod live_pages;
mod notifications;
mod old_copies;
mod operations;
mod order;
mod overload;
mod owed_room;
mod own_writes;
mod placement;
mod postgres;
mod postgres_outage;
mod security;
mod shutdown;
mod staged;
mod standbys;
mod stream;
mod stream_conformance;
mod stream_inbox;
mod stream_load;
mod stream_protocol;
mod tokens;
mod upgrade;
mod zombies;
