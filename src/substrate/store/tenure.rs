//! Who may write for a shard: its epoch, which is raised when another primary takes over, and the timeline by which PostgreSQL tells one
//! primary's log from another's.
//!
//! What is expected goes in once, after the start has chosen a primary. From then on a connection to a server that is another is not used,
//! and a transaction that writes where the epoch is another is not committed.

use std::cmp::Reverse;

use sea_orm::sea_query::{Expr, ExprTrait, Query, SelectStatement};
use serde::{Deserialize, Serialize};
use sosik_entities::shard;

use crate::support::config::PostgresUrl;
use crate::support::faults::planted;
use crate::vocabulary::ids::Position;

use super::connect::{self, StoreOptions};
use super::error::StoreError;
use super::link::Link;
use super::membership::Wanted;
use super::shard::{SHARD_ROW, Store, raise_complete_to};
use super::standby::one_row;
use super::values::{get, number, unsigned};

/// The epoch of a shard before any other primary has taken over.
pub const FIRST_EPOCH: u64 = 1;

/// By what a primary is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tenure {
    pub epoch: u64,
    /// PostgreSQL's, which rises with each promotion; a file has none.
    pub timeline: Option<u32>,
}

impl Tenure {
    /// Whether this is the server that was taken over, and only its epoch is yet to be raised. What is expected is written first: a crash in between
    /// leaves the new primary one behind.
    pub fn is_half_raised(self, expected: Self) -> bool {
        self.epoch + 1 == expected.epoch && self.timeline == expected.timeline
    }
}

impl Default for Tenure {
    fn default() -> Self {
        Self { epoch: FIRST_EPOCH, timeline: None }
    }
}

/// What is expected of all servers of a shard, once its primary was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    pub tenure: Tenure,
    pub shard: Wanted,
}

/// What a server that takes writes says of the shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrimarySight {
    pub tenure: Tenure,
    pub complete_to: Option<Position>,
}

/// Which of several servers is to be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// The one that was written to last.
    Present(usize),
    /// One that has taken its place.
    New(usize),
}

impl Choice {
    pub fn at(self) -> usize {
        match self {
            Self::Present(at) | Self::New(at) => at,
        }
    }
}

/// Chooses among the servers that take writes, in the order of the configuration: the one that was written to last, else the first that carries the
/// expected epoch. One that carries another is never chosen, wherever it stands. If nothing is expected it is the one that took over last: those
/// before it may be there still, and take writes.
pub fn choose(sights: &[Option<PrimarySight>], expected: Option<Tenure>) -> Option<Choice> {
    let candidates = || sights.iter().enumerate().filter_map(|(at, sight)| Some((at, sight.as_ref()?.tenure)));
    let Some(expected) = expected else {
        let latest = candidates().max_by_key(|(at, tenure)| (tenure.epoch, tenure.timeline, Reverse(*at)));
        return latest.map(|(at, _)| Choice::Present(at));
    };
    let is_present = |tenure: Tenure| expected.timeline.is_none_or(|timeline| tenure.timeline == Some(timeline));
    let carries = |tenure: Tenure| tenure.epoch == expected.epoch || tenure.is_half_raised(expected) || planted("store::skip_epoch");
    let present = candidates().find(|(_, tenure)| carries(*tenure) && is_present(*tenure));
    let chosen = present.or_else(|| candidates().find(|(_, tenure)| carries(*tenure)));
    chosen.map(|(at, tenure)| if is_present(tenure) { Choice::Present(at) } else { Choice::New(at) })
}

/// Asks a server that takes writes what it says of the shard; one that only reads, or has another shard, is an error. It makes a connection of
/// its own.
pub async fn look_at_primary(url: &PostgresUrl, options: &StoreOptions, shard: &Wanted) -> Result<PrimarySight, StoreError> {
    connect::sight(url, options, shard).await
}

impl Store {
    /// From now on only a database of this tenure is written to, and only connections to one of this shard are made.
    pub fn expect(&self, chosen: Chosen) {
        if !planted("store::skip_epoch") {
            let _first = self.chosen().set(chosen);
        }
    }

    /// The epoch of the shard, as far as it is expected.
    pub fn epoch(&self) -> u64 {
        self.chosen().get().map_or(FIRST_EPOCH, |chosen| chosen.tenure.epoch)
    }

    /// Raises the epoch, and how far the shard counts as complete, unless that is further already. Done before is as good.
    pub async fn epoch_raise(&self, from: u64, to: u64, complete_to: Position) -> Result<(), StoreError> {
        let tx = self.begin().await?;
        let mut update = Query::update();
        update.table(shard::Entity).value(shard::Column::Epoch, number(to)).and_where(Expr::col(shard::Column::Id).eq(SHARD_ROW));
        update.and_where(Expr::col(shard::Column::Epoch).is_in([number(from), number(to)]));
        if tx.link.execute(&update).await? != 1 {
            return Err(StoreError::OtherEpoch { found: epoch_of(&tx.link).await?, expected: from });
        }
        raise_complete_to(&tx.link, complete_to).await?;
        tx.commit().await
    }

    /// Whether the database takes writes now; an error says why not.
    pub async fn takes_writes(&self) -> Result<(), StoreError> {
        let row = one_row(self.server()?, self.patience(), "SELECT current_setting('transaction_read_only')").await?;
        match get::<String>(&row, 0)?.as_str() {
            "off" => Ok(()),
            _ => Err(StoreError::OnlyReads { address: "the database".to_owned() }),
        }
    }
}

/// The shard's epoch as a part of another statement.
pub(super) fn epoch_query() -> SelectStatement {
    Query::select().column(shard::Column::Epoch).from(shard::Entity).and_where(Expr::col(shard::Column::Id).eq(SHARD_ROW)).take()
}

async fn epoch_of(link: &Link) -> Result<u64, StoreError> {
    let rows = link.rows(&epoch_query()).await?;
    Ok(rows.first().map_or(Ok(0), |row| unsigned(row, 0))?)
}

/// An error if this transaction's database carries another epoch than is expected.
pub(super) async fn check_epoch(link: &Link) -> Result<(), StoreError> {
    let Some(expected) = link.epoch else { return Ok(()) };
    match epoch_of(link).await? {
        found if found == expected => Ok(()),
        found => Err(StoreError::OtherEpoch { found, expected }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sight(epoch: u64, timeline: u32) -> Option<PrimarySight> {
        Some(PrimarySight { tenure: Tenure { epoch, timeline: Some(timeline) }, complete_to: None })
    }

    #[test]
    fn the_server_that_was_written_to_last_comes_first_and_one_of_another_epoch_never() {
        let expected = Tenure { epoch: 3, timeline: Some(7) };
        for (sights, chosen) in [
            (vec![sight(3, 7)], Some(Choice::Present(0))),
            // The other was promoted, and nobody has written to it yet.
            (vec![sight(3, 8), sight(3, 7)], Some(Choice::Present(1))),
            (vec![None, sight(3, 8)], Some(Choice::New(1))),
            // The old primary is back, and is listed first.
            (vec![sight(2, 6), sight(3, 7)], Some(Choice::Present(1))),
            (vec![sight(2, 6), None], None),
            (vec![sight(2, 6), sight(2, 8)], None),
            // A crash between the expectation and the raise.
            (vec![sight(2, 6), sight(2, 7)], Some(Choice::Present(1))),
            (vec![sight(4, 7)], None),
            (vec![None, None], None),
        ] {
            assert_eq!(choose(&sights, Some(expected)), chosen, "{sights:?}");
        }
        assert_eq!(choose(&[None, sight(5, 2)], None), Some(Choice::Present(1)));
        assert_eq!(
            choose(&[sight(1, 1), sight(2, 2), sight(2, 1)], None),
            Some(Choice::Present(1)),
            "one that was fenced off stands first"
        );
        assert_eq!(choose(&[sight(2, 2), sight(2, 2)], None), Some(Choice::Present(0)));
        assert_eq!(choose(&[sight(1, 4)], Some(Tenure::default())), Some(Choice::Present(0)), "the timeline was not known yet");
    }
}
