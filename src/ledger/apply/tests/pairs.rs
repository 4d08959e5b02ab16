//! Follows, blocks and mutes: both sides, and both sides' counters, whoever of the two has the smaller id.

use super::*;
use crate::vocabulary::relation::{Follow, FollowNotify, PairState};

fn follow(followee: UserId) -> Command {
    Command::SetFollow { followee, notify: Some(FollowNotify::Automatic) }
}

fn unfollow(followee: UserId) -> Command {
    Command::SetFollow { followee, notify: None }
}

fn block(other: UserId, blocking: bool) -> Command {
    Command::SetBlock { other, blocking }
}

/// A state, and the counters of followers and following, of one side.
fn side(model: &Model, owner: UserId, other: UserId) -> (PairState, i64, i64) {
    let state = model.rows.relations.get(&(owner, other)).map(|row| row.state).unwrap_or_default();
    let counted = model.rows.counters.users.get(&owner).copied().unwrap_or_default();
    (state, counted.followers, counted.following)
}

/// The two orders of ids.
fn both_ways(test: impl Fn(UserId, UserId)) {
    test(user(1), user(2));
    test(user(2), user(1));
}

fn assert_mirrored(model: &Model, one: UserId, other: UserId) {
    assert_eq!(side(model, one, other).0, side(model, other, one).0.flipped());
    assert_eq!(model.miscounted(), Vec::<String>::new());
}

#[test]
fn a_follow_stands_on_both_sides_until_it_is_taken_back() {
    both_ways(|me, other| {
        let mut model = Model::default();
        assert_eq!(model.write(me, follow(other)), Happened::Followed { followee: other });
        assert_eq!(model.write(me, follow(other)), Happened::Nothing);

        let standing = Some(Follow { since: Position(1), notify: FollowNotify::Automatic });
        assert_eq!(side(&model, me, other), (PairState { following: standing, ..PairState::default() }, 0, 1));
        assert_eq!(side(&model, other, me), (PairState { followed_by: standing, ..PairState::default() }, 1, 0));

        assert_eq!(model.write(me, unfollow(other)), Happened::Unfollowed { followee: other });
        assert_eq!(model.write(me, unfollow(other)), Happened::Nothing);
        assert_eq!(side(&model, me, other), (PairState::default(), 0, 0));
        assert_eq!(side(&model, other, me), (PairState::default(), 0, 0));
    });
}

#[test]
fn a_follow_set_again_is_known_as_such_for_each_direction_of_its_own() {
    both_ways(|me, other| {
        let mut model = Model::default();
        model.write(me, follow(other));
        model.write(me, unfollow(other));

        assert_eq!(model.write(other, follow(me)), Happened::Followed { followee: me });
        assert_eq!(model.write(me, follow(other)), Happened::FollowedAgain { followee: other });
        model.write(me, block(other, true));
        model.write(me, block(other, false));
        assert_eq!(model.write(me, follow(other)), Happened::FollowedAgain { followee: other });
        assert_eq!(model.write(other, follow(me)), Happened::FollowedAgain { followee: me });
        assert_mirrored(&model, me, other);
    });
}

#[test]
fn another_bell_keeps_the_place_of_the_follow() {
    both_ways(|me, other| {
        let mut model = Model::default();
        model.write(me, follow(other));
        let notify = FollowNotify::Never;
        let changed = model.write(me, Command::SetFollow { followee: other, notify: Some(notify) });

        assert_eq!(changed, Happened::FollowBellSet { followee: other, notify });
        let standing = Some(Follow { since: Position(1), notify: FollowNotify::Never });
        assert_eq!(side(&model, me, other).0.following, standing);
        assert_mirrored(&model, me, other);
    });
}

#[test]
fn a_block_ends_the_follows_of_both_and_forbids_new_ones() {
    both_ways(|me, other| {
        let mut model = Model::default();
        model.write(me, follow(other));
        model.write(other, follow(me));

        assert_eq!(model.write(me, block(other, true)), Happened::BlockSet { other, blocking: true });
        assert_eq!(model.write(me, block(other, true)), Happened::Nothing);

        assert_eq!(side(&model, me, other), (PairState { blocking: true, ..PairState::default() }, 0, 0));
        assert_eq!(side(&model, other, me), (PairState { blocked_by: true, ..PairState::default() }, 0, 0));
        assert_eq!(model.write(other, follow(me)), rejected(Rejection::Forbidden));
        assert_eq!(model.write(me, follow(other)), rejected(Rejection::Forbidden));
        assert_eq!(model.write(other, block(me, false)), Happened::Nothing, "nobody lifts another's block");
        assert!(side(&model, other, me).0.blocked_by);

        assert_eq!(model.write(me, block(other, false)), Happened::BlockSet { other, blocking: false });
        assert_eq!(model.write(other, follow(me)), Happened::FollowedAgain { followee: me });
        assert_mirrored(&model, me, other);
    });
}

#[test]
fn two_blocks_are_lifted_one_by_one() {
    both_ways(|me, other| {
        let mut model = Model::default();
        model.write(me, block(other, true));
        model.write(other, block(me, true));
        model.write(me, block(other, false));

        assert_eq!(side(&model, me, other).0, PairState { blocked_by: true, ..PairState::default() });
        assert_eq!(model.write(me, follow(other)), rejected(Rejection::Forbidden));
        assert_mirrored(&model, me, other);
    });
}

#[test]
fn a_mute_is_its_owners_alone() {
    both_ways(|me, other| {
        let mut model = Model::default();
        assert_eq!(model.write(me, Command::SetMute { other, muting: false }), Happened::Nothing);
        assert_eq!(model.write(me, Command::SetMute { other, muting: true }), Happened::MuteSet { other, muting: true });
        assert_eq!(model.write(me, Command::SetMute { other, muting: true }), Happened::Nothing);

        assert!(model.rows.mutes[&(me, other)].muting);
        assert!(!model.rows.mutes.contains_key(&(other, me)));
        assert!(model.rows.relations.is_empty());
        assert_eq!(model.write(other, follow(me)), Happened::Followed { followee: me }, "a mute forbids nothing");
    });
}
