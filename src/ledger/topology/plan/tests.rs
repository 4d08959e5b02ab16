use proptest::{prop_assert, prop_assert_eq, proptest};

use super::*;
use crate::ledger::topology::tests::shards;
use crate::vocabulary::ids::{ID_EPOCH_MS, IdParts};
use crate::vocabulary::owner::{NameKey, Owner, mix};

const STRATEGIES: [Strategy; 3] = [Strategy::Directory, Strategy::Modulo, Strategy::Range];
const ROW: Amount = Amount { rows: 1, owners: 1 };

fn names(count: usize) -> Vec<String> {
    (0..count).map(|index| format!("m{index}")).collect()
}

/// Posts a second apart, with as many names.
fn owners(count: u64) -> Vec<PlacementKey> {
    let id = |second| IdParts { timestamp_ms: ID_EPOCH_MS + second * 1000, datacenter: 0, worker: 0, sequence: 0 }.raw();
    (1..=count).flat_map(|second| [PlacementKey::Id(id(second)), PlacementKey::Hash(mix(second))]).collect()
}

fn spread(keys: &[PlacementKey]) -> Spread {
    let mut spread = Spread::default();
    for key in keys {
        if let PlacementKey::Id(id) = key {
            spread.add(*id, 1);
        }
    }
    spread
}

fn outlook(present: Strategy, strategy: Strategy, from: usize, to: &[String], keys: &[PlacementKey]) -> Outlook {
    let mut outlook = Outlook::new(&Topology::of(&shards(present, from)), strategy, to, &spread(keys));
    keys.iter().for_each(|key| outlook.take(*key, ROW));
    outlook
}

/// The part of everything that moves.
fn part(moved: Amount, keys: &[PlacementKey]) -> f64 {
    moved.rows as f64 / keys.len() as f64
}

#[test]
fn a_directory_moves_what_the_new_member_takes_and_stays_even() {
    let keys = owners(20_000);
    for count in 1..=8 {
        let outlook = outlook(Strategy::Directory, Strategy::Directory, count, &names(count + 1), &keys);

        let part = part(outlook.change.moved, &keys);
        assert!((part - 1.0 / (count + 1) as f64).abs() < 0.02, "{part} for {count}");
        assert_eq!(outlook.change.moved, outlook.change.held[count], "something moved that the new member did not take");
        let even = outlook.change.evenness();
        assert!(even.fullest < 1.1 && even.emptiest > 0.9, "{even:?} for {count}");
    }
}

#[test]
fn modulo_moves_nearly_everything() {
    let keys = owners(20_000);
    for count in 1..=8 {
        let outlook = outlook(Strategy::Modulo, Strategy::Modulo, count, &names(count + 1), &keys);

        let part = part(outlook.change.moved, &keys);
        assert!((part - count as f64 / (count + 1) as f64).abs() < 0.02, "{part} for {count}");
        assert!(outlook.change.evenness().fullest < 1.1);
    }
}

#[test]
fn a_range_that_is_added_holds_nothing_yet_and_gets_all_that_is_new() {
    let keys: Vec<PlacementKey> = owners(10_000).into_iter().filter(|key| matches!(key, PlacementKey::Id(_))).collect();

    let outlook = outlook(Strategy::Directory, Strategy::Range, 4, &names(5), &keys);

    assert_eq!(outlook.change.moved, Amount::default());
    assert_eq!(outlook.change.held[4], Amount::default());
    assert_eq!(outlook.newest.as_deref(), Some("m4"));
    assert!(outlook.wall().contains("m4"));
    // The four before share what there is: the ranges that a switch would choose are even.
    assert!(outlook.switch.evenness().fullest < 1.01, "{:?}", outlook.switch.held);
    assert!((outlook.change.evenness().fullest - 1.25).abs() < 0.02 && outlook.change.evenness().emptiest == 0.0);
}

#[test]
fn the_range_of_a_removed_member_goes_to_the_one_before() {
    let keys: Vec<PlacementKey> = owners(10_000).into_iter().filter(|key| matches!(key, PlacementKey::Id(_))).collect();
    let quarter = keys.len() as u64 / 4;
    for (removed, grown) in [("m0", "m1"), ("m1", "m0"), ("m3", "m2")] {
        let rest: Vec<String> = names(4).into_iter().filter(|name| name != removed).collect();

        let change = outlook(Strategy::Directory, Strategy::Range, 4, &rest, &keys).change;

        assert!(change.moved.rows.abs_diff(quarter) < 50, "{removed}: {:?}", change.moved);
        let grown = change.after.members().iter().position(|name| name == grown).expect("a member");
        assert!(change.held[grown].rows.abs_diff(2 * quarter) < 100, "{removed}: {:?}", change.held);
    }
}

#[test]
fn names_move_with_the_number_even_where_ids_go_by_range() {
    let names_only: Vec<PlacementKey> =
        (0..20_000).map(|index| NameKey::from_row(format!("name:somebody{index}"))).map(|name| Owner::Name(name).placement_key()).collect();

    let outlook = outlook(Strategy::Directory, Strategy::Range, 4, &names(5), &names_only);

    assert!((part(outlook.change.moved, &names_only) - 0.8).abs() < 0.02);
}

#[test]
fn a_switch_from_hashes_to_ranges_moves_all_but_what_lies_right_by_chance() {
    let keys: Vec<PlacementKey> = owners(10_000).into_iter().filter(|key| matches!(key, PlacementKey::Id(_))).collect();

    let outlook = outlook(Strategy::Directory, Strategy::Range, 4, &names(4), &keys);

    assert!((part(outlook.switch.moved, &keys) - 0.75).abs() < 0.02, "{:?}", outlook.switch.moved);
    assert_eq!(outlook.change.moved, Amount::default());
}

#[test]
fn evenness_is_told_in_fair_shares() {
    for (rows, fullest, emptiest) in
        [(vec![10, 10], 1.0, 1.0), (vec![0, 0, 0], 1.0, 1.0), (vec![30, 10, 20], 1.5, 0.5), (vec![8, 0], 2.0, 0.0), (vec![5], 1.0, 1.0)]
    {
        assert_eq!(Evenness::of(&rows), Evenness { fullest, emptiest }, "{rows:?}");
    }
}

proptest! {
    #[test]
    fn nothing_moves_when_nothing_changes(strategy in 0..3_usize, count in 1..40_usize) {
        let keys = owners(300);
        let outlook = outlook(STRATEGIES[strategy], STRATEGIES[strategy], count, &names(count), &keys);

        prop_assert_eq!((outlook.switch.moved, outlook.change.moved), Default::default());
        prop_assert_eq!(outlook.change.held.iter().map(|held| held.rows).sum::<u64>(), keys.len() as u64);
    }

    #[test]
    fn a_directory_stays_even_in_slots_and_moves_no_more_than_it_must(
        steps in proptest::collection::vec(proptest::collection::btree_set(0..24_usize, 1..24), 1..6),
    ) {
        let mut map = Topology::of(&shards(Strategy::Directory, 4));
        for step in steps {
            let members: Vec<String> = step.into_iter().map(|index| format!("m{index}")).collect();
            let next = map.with_members(&members, &Spread::default());
            // One key for each slot.
            let owner = |map: &Topology, slot: u64| map.members()[usize::from(map.place(PlacementKey::Hash(slot)).0)].clone();
            let held = |map: &Topology, name: &String| (0..SLOTS as u64).filter(|slot| owner(map, *slot) == *name).count();
            let shares: Vec<usize> = members.iter().map(|name| held(&next, name)).collect();
            let taken: usize = members.iter().zip(&shares).map(|(name, share)| share.saturating_sub(held(&map, name))).sum();
            let moved = (0..SLOTS as u64).filter(|slot| owner(&map, *slot) != owner(&next, *slot)).count();

            prop_assert!(shares.iter().max().unwrap_or(&0) - shares.iter().min().unwrap_or(&0) <= 1, "{shares:?}");
            prop_assert_eq!(moved, taken, "slots changed hands that nobody needed");
            prop_assert_eq!(next.check(), Ok(()));
            map = next;
        }
    }

    #[test]
    fn ranges_stay_ranges_whoever_comes_and_goes(
        steps in proptest::collection::vec(proptest::collection::btree_set(0..12_usize, 1..12), 1..6),
        ids in proptest::collection::vec(1..1_u64 << 50, 0..50),
    ) {
        let keys: Vec<PlacementKey> = ids.into_iter().map(PlacementKey::Id).collect();
        let mut map = Topology::of(&shards(Strategy::Directory, 4)).with_strategy(Strategy::Range, &spread(&keys));
        for step in steps {
            let members: Vec<String> = step.into_iter().map(|index| format!("m{index}")).collect();
            map = map.with_members(&members, &spread(&keys));

            prop_assert_eq!(map.check(), Ok(()));
            prop_assert_eq!(map.members().len(), members.len());
        }
    }
}
