//! Looks whether the primaries take writes, and for another one where one does not. A new primary is taken over by a start like any other, since
//! replay is the only way to recover: so this says when to start again.
//!
//! Full: nothing is; one look at a time.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::primaries;
use crate::ledger::recovery::check_complete;
use crate::ledger::{Ledger, Shard};
use crate::substrate::journal::expectations::Expectations;
use crate::substrate::store::{OfJournal, StoreOptions, Wanted};
use crate::support::chain::Chain;
use crate::support::config::PostgresUrl;

/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A primary that does not answer so many looks in a row is looked for elsewhere.
const SILENT_MAX: u32 = 2;

pub(super) struct PrimaryWatch {
    pub(super) ledger: Arc<Ledger>,
    pub(super) expectations: Arc<Expectations>,
    /// The hosts of each shard, in the order of the shards.
    pub(super) hosts: Vec<Vec<PostgresUrl>>,
    pub(super) options: StoreOptions,
}

/// How one shard stands.
enum Standing {
    Served,
    Replaced,
    Down,
}

impl PrimaryWatch {
    /// Ends when a shard has a new primary and all others answer: a start needs them all.
    pub(super) async fn run(self) {
        let mut silent = vec![0_u32; self.ledger.shards.len()];
        let mut told = String::new();
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let looks = self.ledger.shards.iter().map(|shard| shard.store.takes_writes());
            for (silent, look) in silent.iter_mut().zip(join_all(looks).await) {
                *silent = if look.is_ok() { 0 } else { *silent + 1 };
            }
            if silent.iter().all(|silent| *silent < SILENT_MAX) {
                continue;
            }
            let standings =
                join_all(self.ledger.shards.iter().zip(&silent).map(|(shard, silent)| self.standing(shard, *silent, &told))).await;
            told = standings.iter().filter_map(|(_, refused)| refused.clone()).collect();
            let is_replaced = standings.iter().any(|(standing, _)| matches!(standing, Standing::Replaced));
            let is_down = standings.iter().any(|(standing, _)| matches!(standing, Standing::Down));
            if is_replaced && !is_down {
                tracing::warn!("a shard has a new primary; starting again, to take it over");
                return;
            }
        }
    }

    /// With it, why a new primary is not taken, which is told once.
    async fn standing(&self, shard: &Shard, silent: u32, told: &str) -> (Standing, Option<String>) {
        match silent {
            0 => return (Standing::Served, None),
            silent if silent < SILENT_MAX => return (Standing::Down, None),
            _ => {}
        }
        let expected = self.expectations.of(&shard.name);
        let hosts = &self.hosts[usize::from(shard.index.0)];
        let wanted = Wanted { shard_name: shard.name.to_string(), journal: OfJournal::This(self.ledger.journal.id().0) };
        let found = primaries::find(hosts, &self.options, &wanted, expected.map(|expected| expected.tenure)).await;
        let primary = match found {
            Ok(primary) if primary.is_new => primary,
            Ok(_) => return (Standing::Served, None),
            Err(error) => {
                let error = Chain(&error).to_string();
                if !told.contains(&error) {
                    tracing::warn!(shard = %shard.name, %error, "the shard has no primary");
                }
                return (Standing::Down, Some(error));
            }
        };
        let complete_to = expected.map(|expected| expected.complete_to).unwrap_or_default();
        match check_complete(&shard.name, primary.sight.complete_to, complete_to) {
            Ok(()) => (Standing::Replaced, None),
            Err(error) => {
                let error = error.to_string();
                if !told.contains(&error) {
                    tracing::error!(shard = %shard.name, host = primary.url.address(), %error, "the new primary is not taken");
                }
                (Standing::Down, Some(error))
            }
        }
    }
}
