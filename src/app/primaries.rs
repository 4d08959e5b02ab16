//! Finds the primary of each shard in PostgreSQL among the hosts of its URL, at the start, and takes it over if it is another than before.
//!
//! What is expected of the shard, and its hosts, go in; the one host that takes writes, has this shard and carries the expected epoch comes
//! out. A new primary's epoch is raised, the expectation first: from then on the one before it is refused wherever it turns up.

use futures_util::future::join_all;

use super::StartError;
use crate::ledger::recovery::check_complete;
use crate::substrate::journal::Journal;
use crate::substrate::journal::expectations::{Expectations, Expected};
use crate::substrate::store::{
    Choice, Chosen, OfJournal, PrimarySight, ShardIdentity, Store, StoreError, StoreOptions, Tenure, Wanted, choose, look_at_primary,
};
use crate::support::chain::Chain;
use crate::support::config::PostgresUrl;
use crate::support::faults::planted;
use crate::vocabulary::ids::Position;

/// A host that was chosen.
#[derive(Debug)]
pub(super) struct Primary {
    pub(super) url: PostgresUrl,
    pub(super) sight: PrimarySight,
    pub(super) is_new: bool,
}

/// The primary among `hosts`. If there is none the error says of each host why not.
pub(super) async fn find(
    hosts: &[PostgresUrl],
    options: &StoreOptions,
    shard: &Wanted,
    expected: Option<Tenure>,
) -> Result<Primary, StoreError> {
    let mut sights = Vec::with_capacity(hosts.len());
    let mut refusals = Vec::with_capacity(hosts.len());
    for sight in join_all(hosts.iter().map(|host| look_at_primary(host, options, shard))).await {
        match sight {
            Ok(sight) => {
                sights.push(Some(sight));
                let wanted = expected.map_or(sight.tenure.epoch, |tenure| tenure.epoch);
                refusals.push(StoreError::OtherEpoch { found: sight.tenure.epoch, expected: wanted });
            }
            Err(error) => {
                sights.push(None);
                refusals.push(error);
            }
        }
    }
    let chosen = choose(&sights, expected).and_then(|choice| Some((choice, sights[choice.at()]?)));
    if let Some((choice, sight)) = chosen {
        return Ok(Primary { url: hosts[choice.at()].clone(), sight, is_new: matches!(choice, Choice::New(_)) });
    }
    match <[StoreError; 1]>::try_from(refusals) {
        Ok([only]) => Err(only),
        Err(several) => {
            let told = hosts.iter().zip(&several).map(|(host, refusal)| format!("{}: {}", host.address(), Chain(refusal)));
            Err(StoreError::NoPrimary { hosts: told.collect::<Vec<_>>().join("; ") })
        }
    }
}

/// A shard is what the journal expects of it; or it is new to the journal, and from now on expected to be what it is. After this the store is
/// written to under the shard's epoch alone.
pub(super) async fn meet(
    name: &str,
    store: &Store,
    identity: &ShardIdentity,
    timeline: Option<u32>,
    journal: &dyn Journal,
    expectations: &Expectations,
) -> Result<(), StartError> {
    let shard = Wanted { shard_name: name.to_owned(), journal: OfJournal::This(journal.id().0) };
    let found = Tenure { epoch: identity.epoch, timeline };
    let Some(expected) = expectations.of(name) else {
        let before_journal = Position(journal.first().0.saturating_sub(1));
        let doing = StartError::while_doing::<StoreError>(&format!("write down how far the shard {name} is"));
        store.complete_to_raise(before_journal).await.map_err(doing)?;
        expect(expectations, name, Expected { tenure: found, complete_to: before_journal, ..Expected::default() })?;
        take_up(store, found, shard);
        return Ok(());
    };
    check_complete(name, identity.complete_to, expected.complete_to).map_err(StartError::while_doing("match journal and shards"))?;
    let is_half_raised = found.epoch + 1 == expected.tenure.epoch;
    let is_other = expected.tenure.timeline.is_some() && expected.tenure.timeline != timeline;
    if is_other || is_half_raised {
        let epoch = if is_half_raised { expected.tenure.epoch } else { expected.tenure.epoch + 1 };
        let next = Expected { tenure: Tenure { epoch, timeline }, read_from: journal.durable(), ..expected };
        raise(store, shard, found, next, expectations).await?;
        return Ok(());
    }
    if found.epoch != expected.tenure.epoch {
        let other = StoreError::OtherEpoch { found: found.epoch, expected: expected.tenure.epoch };
        return Err(StartError::while_doing(&format!("open the shard {name}"))(other));
    }
    expect(expectations, name, Expected { tenure: found, ..expected })?;
    take_up(store, found, shard);
    Ok(())
}

/// Writes down the new epoch with the journal, and only then in the database; the store is used under it from then on. What readers have to wait
/// for is written down with it: an interrupted takeover, or one by a command, is finished by a later start.
pub async fn raise(store: &Store, shard: Wanted, found: Tenure, next: Expected, expectations: &Expectations) -> Result<(), StartError> {
    let name = &*shard.shard_name;
    let told = if planted("failover::forget_readers") { Expected { read_from: Position::START, ..next } } else { next };
    expect(expectations, name, told)?;
    fail::fail_point!("failover::expected");
    let doing = StartError::while_doing::<StoreError>(&format!("raise the epoch of the shard {name}"));
    store.epoch_raise(found.epoch, next.tenure.epoch, next.complete_to).await.map_err(doing)?;
    tracing::warn!(shard = name, epoch = next.tenure.epoch, timeline = next.tenure.timeline, "another primary has taken over the shard");
    take_up(store, next.tenure, shard);
    Ok(())
}

fn expect(expectations: &Expectations, name: &str, expected: Expected) -> Result<(), StartError> {
    expectations.set([(name, expected)]).map_err(StartError::while_doing("write down what the journal expects"))
}

/// A file cannot become another one while it is open.
fn take_up(store: &Store, tenure: Tenure, shard: Wanted) {
    if tenure.timeline.is_some() {
        store.expect(Chosen { tenure, shard });
    }
}
