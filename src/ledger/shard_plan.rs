//! What other members of the map would mean, counted from what lies in the shards: their names and strategies go in, what would move comes out,
//! as operators see it.
//!
//! Everything is walked twice ([`super::census`]), since ranges are chosen by where the rows lie. Nothing is changed and nothing locked.

use std::collections::HashSet;

use super::census::walk;
use super::topology::plan::{Amount, Evenness, Outlook, STRATEGIES};
use super::topology::spread::Spread;
use super::topology::{SLOTS, Topology};
use crate::substrate::store::{Store, StoreError};
use crate::support::config::{MEMBER_NAME_CHARACTERS_MAX, Strategy, is_member_name};
use crate::vocabulary::owner::PlacementKey;

/// Why there cannot be such members.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MembersError {
    #[error("at most {SLOTS}, one for each slot of a directory; found {0}")]
    TooMany(usize),
    #[error("a name is empty; expected names with commas between them, like s1,s2,s3")]
    Empty,
    /// The name of this number, from 1 on.
    #[error("name {0}: expected 1 to {MEMBER_NAME_CHARACTERS_MAX} characters of a-z 0-9 - _")]
    NoName(usize),
    #[error("{0} stands there twice")]
    Twice(String),
}

/// What a plan is asked for. No members that a configuration could not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    members: Vec<String>,
    strategies: Vec<Strategy>,
}

impl Wanted {
    /// `members`: all that there would be. `strategies`: without any, all.
    pub fn new(members: Vec<String>, strategies: &[Strategy]) -> Result<Self, MembersError> {
        if members.len() > SLOTS {
            return Err(MembersError::TooMany(members.len()));
        }
        let mut names = HashSet::new();
        for (index, name) in members.iter().enumerate() {
            if name.is_empty() {
                return Err(MembersError::Empty);
            }
            if !is_member_name(name) {
                return Err(MembersError::NoName(index + 1));
            }
            if !names.insert(name) {
                return Err(MembersError::Twice(name.clone()));
            }
        }
        if members.is_empty() {
            return Err(MembersError::Empty);
        }
        let asked = STRATEGIES.into_iter().map(|(_, strategy)| strategy);
        let strategies = asked.filter(|strategy| strategies.is_empty() || strategies.contains(strategy)).collect();
        Ok(Self { members, strategies })
    }

    pub fn members(&self) -> &[String] {
        &self.members
    }

    /// In the order in which they are told of.
    pub fn strategies(&self) -> &[Strategy] {
        &self.strategies
    }
}

/// What would move, from one list of members to another.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct ShardPlan {
    /// The one in force.
    pub strategy: Strategy,
    pub from: Vec<String>,
    pub to: Vec<String>,
    /// All that there is.
    #[serde(flatten)]
    pub all: Amount,
    /// The most rows that one owner has in one table.
    pub largest: u64,
    pub strategies: Vec<StrategyPlan>,
}

/// What one strategy makes of it.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct StrategyPlan {
    pub strategy: Strategy,
    pub moved: Amount,
    /// Before that, to be placed by this strategy at all: nothing if it is the one in force.
    pub moved_first: Amount,
    #[serde(flatten)]
    pub evenness: Evenness,
    pub members: Vec<MemberPlan>,
    /// Where it comes to its end, in words.
    pub wall: String,
}

/// What one member would hold.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct MemberPlan {
    pub name: String,
    #[serde(flatten)]
    pub held: Amount,
}

impl ShardPlan {
    /// `stores` are in the order of the map's shards.
    pub async fn count(topology: &Topology, stores: &[Store], wanted: &Wanted) -> Result<Self, StoreError> {
        let (mut spread, mut largest) = (Spread::default(), 0);
        walk(stores, &mut |found| {
            largest = largest.max(found.amount.rows);
            if let PlacementKey::Id(id) = found.placed_by {
                spread.add(id, found.amount.rows);
            }
        })
        .await?;
        let asked = wanted.strategies.iter();
        let mut outlooks: Vec<Outlook> = asked.map(|strategy| Outlook::new(topology, *strategy, &wanted.members, &spread)).collect();
        let mut all = Amount::default();
        walk(stores, &mut |found| {
            all += found.amount;
            outlooks.iter_mut().for_each(|outlook| outlook.take(found.placed_by, found.amount));
        })
        .await?;
        Ok(Self {
            strategy: topology.strategy(),
            from: topology.members().to_vec(),
            to: wanted.members.clone(),
            all,
            largest,
            strategies: outlooks.iter().map(StrategyPlan::of).collect(),
        })
    }
}

impl StrategyPlan {
    fn of(outlook: &Outlook) -> Self {
        let change = &outlook.change;
        let members = change.after.members().iter().zip(&change.held);
        Self {
            strategy: outlook.strategy,
            moved: change.moved,
            moved_first: outlook.switch.moved,
            evenness: change.evenness(),
            members: members.map(|(name, held)| MemberPlan { name: name.clone(), held: *held }).collect(),
            wall: outlook.wall(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(members: &[&str], strategies: &[Strategy]) -> Result<Wanted, MembersError> {
        Wanted::new(members.iter().map(|name| (*name).to_owned()).collect(), strategies)
    }

    #[test]
    fn members_that_cannot_be_are_refused_with_a_reason() {
        let longest = "m".repeat(MEMBER_NAME_CHARACTERS_MAX);
        let long = format!("{longest}m");
        for (members, error) in [
            (&["a", "b", "a"][..], MembersError::Twice("a".to_owned())),
            (&["a", ""], MembersError::Empty),
            (&[], MembersError::Empty),
            (&["a", "B"], MembersError::NoName(2)),
            (&[&long], MembersError::NoName(1)),
        ] {
            assert_eq!(wanted(members, &[]), Err(error), "{members:?}");
        }
        assert!(wanted(&[&longest], &[]).is_ok());
    }

    #[test]
    fn there_are_as_many_members_as_slots_and_no_more() {
        let names: Vec<String> = (0..=SLOTS).map(|index| format!("m{index}")).collect();

        assert_eq!(Wanted::new(names.clone(), &[]), Err(MembersError::TooMany(SLOTS + 1)));
        assert!(Wanted::new(names[1..].to_vec(), &[]).is_ok());
    }

    #[test]
    fn without_strategies_all_are_told_of_and_each_once() {
        let all = wanted(&["a"], &[]).expect("members");
        assert_eq!(all.strategies(), STRATEGIES.map(|(_, strategy)| strategy));

        let some = wanted(&["a"], &[Strategy::Range, Strategy::Directory, Strategy::Range]).expect("members");
        assert_eq!(some.strategies(), [Strategy::Directory, Strategy::Range]);
    }
}
