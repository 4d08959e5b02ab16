use std::collections::HashMap;

use proptest::{prop_assert, prop_assert_eq, proptest};

use super::*;
use crate::support::config::Member;
use crate::vocabulary::ids::{ID_EPOCH_MS, IdParts, PostId, UserId};
use crate::vocabulary::owner::{LANES, NameKey};
use crate::vocabulary::text::Username;

const STRATEGIES: [Strategy; 3] = [Strategy::Directory, Strategy::Modulo, Strategy::Range];

pub(super) fn shards(strategy: Strategy, count: usize) -> Shards {
    let member = |index| Member {
        name: format!("m{index}"),
        url: format!("sqlite:m{index}.db"),
        replicas: vec![],
        replica_lag_max: None,
        from: None,
    };
    Shards { strategy, members: (0..count).map(member).collect() }
}

fn ranged(from: &[u64]) -> Shards {
    let mut shards = shards(Strategy::Range, from.len());
    shards.members.iter_mut().zip(from).for_each(|(member, from)| member.from = Some(*from));
    shards
}

/// Ids as one worker makes them: a second apart, or many in a millisecond.
fn realistic_ids() -> impl Iterator<Item = u64> {
    let slow = (0..20_000).map(|second| IdParts { timestamp_ms: ID_EPOCH_MS + second * 1000, datacenter: 0, worker: 0, sequence: 0 }.raw());
    let fast = (0..20_000_u64)
        .map(|index| IdParts { timestamp_ms: ID_EPOCH_MS + index / 4096, datacenter: 0, worker: 0, sequence: (index % 4096) as u16 }.raw());
    slow.chain(fast)
}

fn shares(topology: &Topology, keys: impl Iterator<Item = PlacementKey>) -> Vec<usize> {
    let mut shares = vec![0; topology.members().len()];
    keys.for_each(|key| shares[usize::from(topology.place(key).0)] += 1);
    shares
}

fn assert_even(shares: &[usize]) {
    let fair = shares.iter().sum::<usize>() / shares.len();
    assert!(shares.iter().all(|share| share.abs_diff(fair) * 10 <= fair), "within 10 % of {fair}: {shares:?}");
}

#[test]
fn hashing_strategies_spread_ids_evenly_however_they_were_made() {
    for strategy in [Strategy::Directory, Strategy::Modulo] {
        for count in 1..=7 {
            assert_even(&shares(&Topology::of(&shards(strategy, count)), realistic_ids().map(PlacementKey::Id)));
        }
    }
}

#[test]
fn every_strategy_spreads_names_evenly() {
    for strategy in STRATEGIES {
        let topology = Topology::of(&shards(strategy, 5));
        let names = (0..20_000).map(|index| NameKey::of_username(&Username::parse(&format!("user_{index}")).expect("a username")));
        assert_even(&shares(&topology, names.map(|name| Owner::Name(name).placement_key())));
    }
}

#[test]
fn the_lanes_of_each_shard_are_filled_evenly() {
    for strategy in [Strategy::Directory, Strategy::Modulo] {
        let topology = Topology::of(&shards(strategy, 4));
        let mut lanes = HashMap::new();
        for id in realistic_ids() {
            *lanes.entry(topology.address(&Owner::Post(PostId::from_raw(id)))).or_insert(0_usize) += 1;
        }
        assert_eq!(lanes.len(), 4 * 32);
        let fair = 40_000 / (4 * 32);
        assert!(lanes.values().all(|count| count.abs_diff(fair) * 3 <= fair), "{lanes:?}");
    }
}

#[test]
fn ranges_begin_at_their_first_id_and_end_before_the_next() {
    let topology = Topology::of(&ranged(&[0, 1000, 5000]));

    for (id, shard) in [(0, 0), (1, 0), (999, 0), (1000, 1), (4999, 1), (5000, 2), (i64::MAX as u64, 2)] {
        assert_eq!(topology.place(PlacementKey::Id(id)), ShardIndex(shard), "id {id}");
    }
}

#[test]
fn without_boundaries_ranges_share_the_id_space_evenly() {
    let topology = Topology::of(&shards(Strategy::Range, 4));

    for (id, shard) in [(1, 0), ((1 << 61) - 1, 0), (1 << 61, 1), (1 << 62, 2), (3 << 61, 3), (i64::MAX as u64, 3)] {
        assert_eq!(topology.place(PlacementKey::Id(id)), ShardIndex(shard), "id {id}");
    }
}

#[test]
fn placement_never_changes_between_releases() {
    // Rows on disk were placed by these numbers: a failure here means that data would no longer be found.
    let place = |strategy, key| Topology::of(&shards(strategy, 7)).place(key).0;

    assert_eq!(place(Strategy::Directory, PlacementKey::Id(42)), ((9_297_814_886_316_923_340_u64 % 1024) % 7) as u16);
    assert_eq!(place(Strategy::Modulo, PlacementKey::Id(42)), (9_297_814_886_316_923_340_u64 % 7) as u16);
    assert_eq!(place(Strategy::Range, PlacementKey::Id(42)), 0);
    assert_eq!(place(Strategy::Range, PlacementKey::Hash(42)), 0);
    assert_eq!(place(Strategy::Directory, PlacementKey::Hash(1030)), 6);
}

proptest! {
    #[test]
    fn every_owner_has_a_shard_and_a_lane_and_a_user_lives_with_his_account(raw in 1..=i64::MAX as u64, count in 1..40_usize, strategy in 0..3_usize) {
        let topology = Topology::of(&shards(STRATEGIES[strategy], count));
        let (user, account) = (topology.address(&Owner::User(UserId::from_raw(raw))), topology.address(&Owner::Account(UserId::from_raw(raw))));

        prop_assert!(usize::from(user.shard.0) < count && user.lane.0 < LANES && account.lane.0 < LANES);
        prop_assert_eq!(user.shard, account.shard);
    }

    #[test]
    fn a_topology_places_the_same_after_it_was_stored(raw in 1..=i64::MAX as u64, count in 1..40_usize, strategy in 0..3_usize) {
        let topology = Topology::of(&shards(STRATEGIES[strategy], count));
        let again: Topology = serde_json::from_slice(&serde_json::to_vec(&topology).expect("serialises")).expect("parses");

        prop_assert_eq!(again.place(PlacementKey::Id(raw)), topology.place(PlacementKey::Id(raw)));
        prop_assert_eq!(again.place(PlacementKey::Hash(raw)), topology.place(PlacementKey::Hash(raw)));
    }

    #[test]
    fn an_id_is_in_the_range_whose_boundaries_enclose_it(mut from in proptest::collection::btree_set(1..i64::MAX as u64, 0..20), id in 1..=i64::MAX as u64) {
        from.insert(0);
        let from: Vec<u64> = from.into_iter().collect();

        let shard = usize::from(Topology::of(&ranged(&from)).place(PlacementKey::Id(id)).0);

        prop_assert!(from[shard] <= id && from.get(shard + 1).is_none_or(|next| id < *next));
    }
}

#[test]
fn the_first_start_stores_the_topology_and_the_next_one_finds_it() {
    let folder = tempfile::tempdir().expect("a folder");

    for strategy in STRATEGIES {
        let folder = folder.path().join(format!("{strategy:?}"));
        std::fs::create_dir(&folder).expect("makes a folder");
        let looked_at = Topology::look(&folder, &shards(strategy, 4)).expect("looks");
        assert!(!folder.join("topology.json").exists(), "a look has stored it");
        let first = Topology::open(&folder, &shards(strategy, 4)).expect("opens");
        assert_eq!(looked_at, first);
        assert!(folder.join("topology.json").exists());
        assert_eq!(Topology::open(&folder, &shards(strategy, 4)).expect("opens again"), first);
        Topology::look(&folder, &shards(strategy, 5)).expect_err("others are stored");
        assert_eq!((first.version(), first.strategy(), first.shards().count()), (1, strategy, 4));
    }
}

#[test]
fn another_strategy_or_other_members_are_refused_with_the_reason() {
    let renamed = {
        let mut shards = shards(Strategy::Directory, 4);
        shards.members.swap(0, 1);
        shards
    };
    for (stored, configured, key) in [
        (shards(Strategy::Directory, 4), shards(Strategy::Modulo, 4), "shards.strategy"),
        (shards(Strategy::Directory, 4), shards(Strategy::Directory, 5), "shards.members"),
        (shards(Strategy::Modulo, 4), shards(Strategy::Modulo, 3), "shards.members"),
        (shards(Strategy::Directory, 4), renamed, "shards.members"),
        (ranged(&[0, 10]), ranged(&[0, 11]), "shards.members.from"),
    ] {
        let refused = Topology::of(&stored).reconcile(&Topology::of(&configured)).expect_err("refused").to_string();
        assert!(refused.contains(key) && refused.contains("moving data between shards is not part of this release"), "{refused}");
    }
}

#[test]
fn a_directory_whose_slots_were_moved_keeps_them() {
    let configured = Topology::of(&shards(Strategy::Directory, 2));
    let mut stored = Topology::of(&shards(Strategy::Directory, 2));
    stored.placement = Placement::Directory { slots: vec![1; SLOTS] };
    stored.version = 2;

    let in_force = stored.clone().reconcile(&configured).expect("the same members and strategy");

    assert_eq!(in_force, stored);
    assert_eq!(in_force.place(PlacementKey::Hash(0)), ShardIndex(1));
}

#[test]
fn a_stored_topology_that_cannot_be_is_refused_and_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("topology.json");
    let directory = |slots: usize, member: u16| {
        format!(r#"{{"format":1,"version":1,"members":["a"],"placement":{{"strategy":"directory","slots":{:?}}}}}"#, vec![member; slots])
    };
    let range = |from: &str| format!(r#"{{"format":1,"version":1,"members":["a","b"],"placement":{{"strategy":"range","from":{from}}}}}"#);
    for text in [
        "{".to_owned(),
        directory(1023, 0),
        directory(1024, 1),
        range("[0]"),
        range("[1,2]"),
        range("[0,0]"),
        r#"{"format":2,"version":1,"members":["a"],"placement":{"strategy":"modulo"}}"#.to_owned(),
        r#"{"format":1,"version":1,"members":[],"placement":{"strategy":"modulo"}}"#.to_owned(),
    ] {
        std::fs::write(&path, &text).expect("writes");
        let refused = Topology::open(folder.path(), &shards(Strategy::Directory, 1)).expect_err("refused").to_string();
        assert!(refused.contains("topology.json"), "{refused}");
    }
}
