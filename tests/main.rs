//! The promises of Sosik, tested from outside: the real binary, over HTTP, with crashes and planted faults.
//!
//! A file is a subject. `support` holds what they share: the process under test, signed-in clients, the record of what was
//! asked and answered, and the checks of that record against what stands in the server and in its shards at the end.

#[cfg(test)]
mod support;

#[cfg(test)]
mod accounts;
#[cfg(test)]
mod journeys;
