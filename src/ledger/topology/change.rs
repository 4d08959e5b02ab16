//! What another number of members, or another strategy, would make of a map: a topology goes in, the next one comes out. Nothing is stored
//! and nothing is moved here.

use super::spread::Spread;
use super::{Placement, SLOTS, Topology};
use crate::support::config::Strategy;

impl Topology {
    /// The same strategy over these members, placed so that as little moves as the strategy allows. Members are known by their names.
    ///
    /// A directory takes from each member no more than those need that have too little. Of ranges, a removed one goes to the member before
    /// it, and the first that is added begins above every id that there is; further ones share the ids after it.
    pub fn with_members(&self, members: &[String], spread: &Spread) -> Self {
        let (placement, members) = match &self.placement {
            Placement::Directory { slots } => (Placement::Directory { slots: self.deal(slots, members) }, members.to_vec()),
            Placement::Modulo => (Placement::Modulo, members.to_vec()),
            Placement::Range { from } => {
                let (from, members) = self.extend(from, members, spread);
                (Placement::Range { from }, members)
            }
        };
        Self { format: self.format, version: self.version + 1, members, placement }
    }

    /// Another strategy over the same members. Ranges begin where they hold an even share of the rows that there are.
    pub fn with_strategy(&self, strategy: Strategy, spread: &Spread) -> Self {
        let count = self.members.len();
        let placement = match strategy {
            Strategy::Directory => Placement::Directory { slots: (0..SLOTS).map(|slot| (slot % count) as u16).collect() },
            Strategy::Modulo => Placement::Modulo,
            Strategy::Range => Placement::Range { from: spread.even(count) },
        };
        Self { format: self.format, version: self.version + 1, members: self.members.clone(), placement }
    }

    /// The place in `members` of one of ours.
    fn place_in(&self, members: &[String], index: u16) -> Option<usize> {
        members.iter().position(|name| *name == self.members[usize::from(index)])
    }

    fn deal(&self, slots: &[u16], members: &[String]) -> Vec<u16> {
        let mut held: Vec<Vec<usize>> = vec![Vec::new(); members.len()];
        let mut free = Vec::new();
        let places: Vec<Option<usize>> = (0..self.members.len() as u16).map(|index| self.place_in(members, index)).collect();
        for (slot, member) in slots.iter().enumerate() {
            match places[usize::from(*member)] {
                Some(place) => held[place].push(slot),
                None => free.push(slot),
            }
        }
        // Where the slots do not divide evenly, those that have most already keep one more.
        let (fair, mut over) = (SLOTS / members.len(), SLOTS % members.len());
        let mut fullest_first: Vec<usize> = (0..members.len()).collect();
        fullest_first.sort_by_key(|place| std::cmp::Reverse(held[*place].len()));
        let mut kept = vec![fair; members.len()];
        for place in fullest_first {
            if over > 0 {
                (kept[place], over) = (fair + 1, over - 1);
            }
        }
        for (held, kept) in held.iter_mut().zip(&kept) {
            free.extend(held.drain((*kept).min(held.len())..));
        }
        let mut dealt = vec![0; SLOTS];
        for (place, (mut held, kept)) in held.into_iter().zip(kept).enumerate() {
            held.extend(free.drain(free.len() - (kept - held.len())..));
            held.into_iter().for_each(|slot| dealt[slot] = place as u16);
        }
        dealt
    }

    fn extend(&self, from: &[u64], members: &[String], spread: &Spread) -> (Vec<u64>, Vec<String>) {
        let known = from.iter().zip(&self.members).filter(|(_, name)| members.contains(name));
        let (mut starts, mut names): (Vec<u64>, Vec<String>) = known.map(|(from, name)| (*from, name.clone())).unzip();
        let added: Vec<&String> = members.iter().filter(|name| !self.members.contains(name)).collect();
        let first = spread.next_id().max(starts.last().map_or(0, |last| last + 1));
        let share = super::ID_SPACE.saturating_sub(first) / added.len().max(1) as u64;
        for (index, name) in added.into_iter().enumerate() {
            starts.push(first + index as u64 * share);
            names.push(name.clone());
        }
        // Every id lives somewhere.
        starts[0] = 0;
        (starts, names)
    }
}
