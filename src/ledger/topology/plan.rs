//! What a change of the shards would move: maps and the rows of owners go in, in any order; what moves, how even it becomes, and where each
//! strategy comes to its end come out. Pure: who reads the rows is [`super::super::census`].

use super::spread::Spread;
use super::{SLOTS, Topology};
use crate::support::config::Strategy;
use crate::vocabulary::owner::PlacementKey;

/// All strategies by their names in the configuration, in the order in which they are told of.
pub const STRATEGIES: [(&str, Strategy); 3] =
    [("directory", Strategy::Directory), ("modulo", Strategy::Modulo), ("range", Strategy::Range)];

/// The strategy of this name.
pub fn strategy_named(name: &str) -> Option<Strategy> {
    STRATEGIES.into_iter().find(|(known, _)| *known == name).map(|(_, strategy)| strategy)
}

/// Rows, and the posts, users and names that they belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Amount {
    pub rows: u64,
    pub owners: u64,
}

impl std::ops::AddAssign for Amount {
    fn add_assign(&mut self, other: Self) {
        self.rows += other.rows;
        self.owners += other.owners;
    }
}

/// How even a placement is: what the fullest and the emptiest member hold, in fair shares. Both are 1 where all hold the same, or nothing.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Evenness {
    pub fullest: f64,
    pub emptiest: f64,
}

impl Evenness {
    /// Of the rows of each member.
    pub fn of(rows: &[u64]) -> Self {
        let fair = rows.iter().sum::<u64>() as f64 / rows.len().max(1) as f64;
        let share = |rows: Option<&u64>| rows.filter(|_| fair > 0.0).map_or(1.0, |rows| *rows as f64 / fair);
        Self { fullest: share(rows.iter().max()), emptiest: share(rows.iter().min()) }
    }
}

/// From one map to another.
#[derive(Debug, Clone)]
pub struct Move {
    pub before: Topology,
    pub after: Topology,
    pub moved: Amount,
    /// What each member of `after` would hold.
    pub held: Vec<Amount>,
}

impl Move {
    pub fn new(before: Topology, after: Topology) -> Self {
        let held = vec![Amount::default(); after.members().len()];
        Self { before, after, moved: Amount::default(), held }
    }

    /// Counts what belongs to one key.
    pub fn take(&mut self, key: PlacementKey, amount: Amount) {
        let (from, to) = (self.before.place(key), self.after.place(key));
        self.held[usize::from(to.0)] += amount;
        if self.before.members()[usize::from(from.0)] != self.after.members()[usize::from(to.0)] {
            self.moved += amount;
        }
    }

    pub fn evenness(&self) -> Evenness {
        Evenness::of(&self.held.iter().map(|amount| amount.rows).collect::<Vec<_>>())
    }
}

/// What one strategy makes of a change of the members.
#[derive(Debug, Clone)]
pub struct Outlook {
    pub strategy: Strategy,
    /// What it takes to be placed by this strategy at all, over the present members: nothing if it is the present one.
    pub switch: Move,
    /// The change of the members, once it is.
    pub change: Move,
    /// Where what is written from now on goes, if it is one member alone.
    pub newest: Option<String>,
}

impl Outlook {
    /// `spread`: of all rows that there are.
    pub fn new(present: &Topology, strategy: Strategy, members: &[String], spread: &Spread) -> Self {
        let settled = if present.strategy() == strategy { present.clone() } else { present.with_strategy(strategy, spread) };
        let after = settled.with_members(members, spread);
        let newest = (strategy == Strategy::Range).then(|| {
            let newest = after.place(PlacementKey::Id(spread.next_id()));
            after.members()[usize::from(newest.0)].clone()
        });
        Self { strategy, switch: Move::new(present.clone(), settled.clone()), change: Move::new(settled, after), newest }
    }

    /// Counts what belongs to one key.
    pub fn take(&mut self, key: PlacementKey, amount: Amount) {
        self.switch.take(key, amount);
        self.change.take(key, amount);
    }

    /// Where this strategy comes to its end, in words.
    pub fn wall(&self) -> String {
        match self.strategy {
            Strategy::Directory => format!(
                "a member takes over slots, and only their owners move; {SLOTS} slots are enough for {SLOTS} members at most, \
                 and one of them is the least that can be moved"
            ),
            Strategy::Modulo => "each change of the number of members moves nearly everything, however much there is".to_owned(),
            Strategy::Range => format!(
                "all posts and users that are new go to {}, and a member that is added relieves no other; names go by their hash, \
                 and nearly all of them move when the number changes",
                self.newest.as_deref().unwrap_or("one member")
            ),
        }
    }
}

#[cfg(test)]
mod tests;
