//! `sosik shards`: what each shard holds, and what another number of them would move. Both only read, beside a running server or without one.
//!
//! The data is walked page by page, however much there is: once for the status, twice for a plan.

use serde_json::{Value, json};

use super::{CliError, look, say};
use crate::ledger::census::{Found, walk};
use crate::ledger::shard_plan::{ShardPlan, StrategyPlan, Wanted};
use crate::ledger::topology::Topology;
use crate::ledger::topology::plan::{Amount, Evenness, STRATEGIES};
use crate::substrate::store::{Family, Store};
use crate::support::config::{Config, Strategy};
use crate::support::data_folder::DataFolder;

/// What lies on one member.
#[derive(Debug, Clone, Copy, Default)]
struct Held {
    /// In the order of [`Family::ALL`].
    rows: [u64; Family::ALL.len()],
    /// Posts, users and names.
    owners: u64,
    bytes: u64,
}

impl Held {
    fn add(&mut self, found: &Found) {
        self.rows[found.family as usize] += found.amount.rows;
        self.owners += found.amount.owners;
    }

    fn all(&self) -> Amount {
        Amount { rows: self.rows.iter().sum(), owners: self.owners }
    }
}

pub(super) async fn status(config: &Config, as_json: bool) -> Result<(), CliError> {
    let (topology, stores) = open(config).await?;
    let mut held = vec![Held::default(); stores.len()];
    let counted = walk(&stores, &mut |found| held[usize::from(found.shard.0)].add(&found)).await;
    counted.map_err(CliError::while_doing("read the shards"))?;
    for (store, held) in stores.iter().zip(&mut held) {
        let reading = CliError::while_doing("read a shard");
        let mut snapshot = store.snapshot().await.map_err(CliError::while_doing("read a shard"))?;
        held.bytes = snapshot.database_bytes().await.map_err(reading)?;
    }
    look::close(stores).await?;
    say(&if as_json { status_json(&topology, &held).to_string() } else { status_text(&topology, &held) });
    Ok(())
}

pub(super) async fn plan(config: &Config, members: &[String], strategies: &[Strategy], as_json: bool) -> Result<(), CliError> {
    let wanted = Wanted::new(members.to_vec(), strategies).map_err(|error| CliError::Refused(format!("--members: {error}")))?;
    let (topology, stores) = open(config).await?;
    let plan = ShardPlan::count(&topology, &stores, &wanted).await.map_err(CliError::while_doing("read the shards"))?;
    look::close(stores).await?;
    say(&if as_json { serde_json::to_string(&plan).map_err(CliError::while_doing("write the plan"))? } else { plan_text(&plan) });
    Ok(())
}

/// The map and the stores; nothing is locked, so that a server may run.
async fn open(config: &Config) -> Result<(Topology, Vec<Store>), CliError> {
    let folder = DataFolder::look(&config.data.dir).map_err(CliError::while_doing("find the data folder"))?;
    let topology = Topology::look(&folder, &config.shards).map_err(CliError::while_doing("read the map of shards"))?;
    Ok((topology, look::stores(config, &folder).await?))
}

fn status_text(topology: &Topology, held: &[Held]) -> String {
    let mut lines =
        vec![["member", "rows"].into_iter().chain(Family::ALL.map(Family::name)).chain(["owners", "size"]).map(str::to_owned).collect()];
    for (name, held) in topology.members().iter().zip(held) {
        let numbers = std::iter::once(held.all().rows).chain(held.rows).chain([held.owners]).map(|number| number.to_string());
        lines.push(std::iter::once(name.clone()).chain(numbers).chain([size(held.bytes)]).collect());
    }
    format!(
        "{}: {} members\n\n{}\n{}",
        name_of(topology.strategy()),
        held.len(),
        aligned(&lines),
        evenness_text(Evenness::of(&held.iter().map(|held| held.all().rows).collect::<Vec<_>>()))
    )
}

fn status_json(topology: &Topology, held: &[Held]) -> Value {
    let members = topology.members().iter().zip(held).map(|(name, held)| {
        let families: serde_json::Map<String, Value> =
            Family::ALL.iter().map(|family| (family.name().to_owned(), held.rows[*family as usize].into())).collect();
        let all = held.all();
        json!({"name": name, "rows": all.rows, "families": families, "owners": all.owners, "bytes": held.bytes})
    });
    let Evenness { fullest, emptiest } = Evenness::of(&held.iter().map(|held| held.all().rows).collect::<Vec<_>>());
    json!({
        "strategy": name_of(topology.strategy()),
        "version": topology.version(),
        "members": members.collect::<Vec<_>>(),
        "fullest": fullest,
        "emptiest": emptiest,
    })
}

fn plan_text(plan: &ShardPlan) -> String {
    let head = ["strategy", "rows that move", "owners", "fullest", "emptiest", "first, to be placed so"];
    let mut lines = vec![head.map(str::to_owned).to_vec()];
    for StrategyPlan { strategy, moved, moved_first, evenness, .. } in &plan.strategies {
        let first = if *strategy == plan.strategy { "is so already".to_owned() } else { part(moved_first.rows, plan.all.rows) };
        lines.push(vec![
            name_of(*strategy).to_owned(),
            part(moved.rows, plan.all.rows),
            part(moved.owners, plan.all.owners),
            percent(evenness.fullest),
            percent(evenness.emptiest),
            first,
        ]);
    }
    let walls = plan.strategies.iter().map(|told| format!("{}: {}", name_of(told.strategy), told.wall));
    format!(
        "from {} to {}: {} rows of {} owners\n\n{}\n{}\nan owner is never parted, however large; the largest has {} rows in one table\n",
        plan.from.join(","),
        plan.to.join(","),
        plan.all.rows,
        plan.all.owners,
        aligned(&lines),
        walls.collect::<Vec<_>>().join("\n"),
        plan.largest,
    )
}

fn name_of(strategy: Strategy) -> &'static str {
    STRATEGIES.iter().find(|(_, other)| *other == strategy).map_or("", |(name, _)| name)
}

fn evenness_text(Evenness { fullest, emptiest }: Evenness) -> String {
    format!("the fullest holds {} of a fair share of the rows, the emptiest {}", percent(fullest), percent(emptiest))
}

fn part(some: u64, all: u64) -> String {
    format!("{some} ({})", percent(if all == 0 { 0.0 } else { some as f64 / all as f64 }))
}

fn percent(part: f64) -> String {
    format!("{:.1} %", part * 100.0)
}

/// In the largest unit of which there is more than one.
fn size(bytes: u64) -> String {
    let mut rest = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if rest < 1024.0 {
            return format!("{rest:.0} {unit}");
        }
        rest /= 1024.0;
    }
    format!("{rest:.1} TiB")
}

/// Columns as wide as their widest cell, the first to the left and the others to the right; a line each.
fn aligned(lines: &[Vec<String>]) -> String {
    let columns = lines.first().map_or(0, Vec::len);
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for line in lines {
        for (column, (cell, width)) in line.iter().zip(&widths).enumerate() {
            let cell = if column == 0 { format!("{cell:<width$}") } else { format!("  {cell:>width$}") };
            text.push_str(&cell);
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_must_be() {
        let lines = [vec!["member".to_owned(), "rows".to_owned()], vec!["s1".to_owned(), "12345".to_owned()]];
        assert_eq!(aligned(&lines), "member   rows\ns1      12345\n");
    }

    #[test]
    fn sizes_have_a_unit_that_fits() {
        for (bytes, text) in [(0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (5 << 20, "5 MiB"), (7 << 30, "7 GiB"), (3 << 40, "3.0 TiB")] {
            assert_eq!(size(bytes), text);
        }
    }
}
