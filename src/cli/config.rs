//! `sosik config check`: what would be served, and what is promised with it.

use super::{CliError, say};
use crate::support::config::{Config, Member, Workers};

pub(super) fn check(config: &Config) -> Result<(), CliError> {
    say(&config.effective_toml());
    for promise in promises(config) {
        say(&promise);
    }
    Ok(())
}

/// The promises, each with its state.
fn promises(config: &Config) -> Vec<String> {
    let applying = match config.write.workers {
        Workers::Fixed(0) => "off: write.workers = 0 accepts without applying",
        _ => "on",
    };
    let limits = if config.limits.enabled { "on" } else { "off: limits.enabled = false" };
    let in_postgres = config.shards.members.iter().any(Member::is_in_postgres);
    let survives = match in_postgres {
        true if config.shards.members.iter().all(|member| !member.replicas.is_empty()) => {
            "on, if the disks honour flushes, also when a standby takes over; the start checks each server's settings"
        }
        true => "on, if the disks honour flushes; a standby may only take over from a member that names it in replicas",
        false => "on, if the disk honours flushes",
    };
    vec![
        format!("# G1 an accepted write survives: {survives}"),
        "# G2 each write takes effect exactly once, G3 its author sees it at once: on".to_owned(),
        format!("# writes become visible to others: {applying}"),
        format!("# limits per user and per address: {limits}"),
        format!("# G9 the queue is bounded: on, by {} bytes", config.journal.max_bytes),
    ]
}
