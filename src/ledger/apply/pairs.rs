//! Follows, blocks and mutes. A pair is decided by the side with the smaller id; the other side gets its state relayed.

use super::{Decided, Transition, row};
use crate::substrate::store::rows::{MuteRow, RelationRow, UserCounters};
use crate::vocabulary::command::{Command, Entry};
use crate::vocabulary::event::{Happened, Relay};
use crate::vocabulary::ids::{Position, UserId};
use crate::vocabulary::rejection::Rejection;
use crate::vocabulary::relation::{Follow, PairState};

pub(super) fn decide(transition: &mut Transition, entry: &Entry) -> Decided {
    match &entry.command {
        Command::SetFollow { followee: other, .. } | Command::SetBlock { other, .. } => pair(transition, entry, *other),
        Command::SetMute { other, muting } => {
            let key = (entry.author, *other);
            if row!(transition.mutes, &key).is_some_and(|row| row.muting) == *muting {
                return Ok((Happened::Nothing, Vec::new()));
            }
            transition.after.mutes.insert(key, MuteRow { muting: *muting, position: entry.position });
            Ok((Happened::MuteSet { other: *other, muting: *muting }, Vec::new()))
        }
        _ => Err(Rejection::NotFound),
    }
}

fn pair(transition: &mut Transition, entry: &Entry, other: UserId) -> Decided {
    let (low, high) = (entry.author.min(other), entry.author.max(other));
    let row = row!(transition.relations, &(low, high)).copied();
    let before = row.map(|row| row.state).unwrap_or_default();
    let acting_low = entry.author == low;
    let acting = if acting_low { before } else { before.flipped() };
    let followed_before = row.is_some_and(|row| if acting_low { row.has_followed } else { row.was_followed });

    let acted = pair_after(acting, &entry.command, entry.position)?;
    if acted == acting {
        return Ok((Happened::Nothing, Vec::new()));
    }

    let after = if acting_low { acted } else { acted.flipped() };
    set_side(transition, low, high, after, entry.position);
    let relay = Relay::Pair { owner: high, other: low, state: after.flipped() };
    Ok((happened(&entry.command, acting.following.is_some(), followed_before), vec![relay]))
}

/// The state of a pair, from the side of the one who acts, after his command.
pub fn pair_after(state: PairState, command: &Command, position: Position) -> Result<PairState, Rejection> {
    match command {
        Command::SetFollow { notify: Some(_), .. } if state.is_blocked() => Err(Rejection::Forbidden),
        Command::SetFollow { notify: Some(notify), .. } => {
            let since = state.following.map_or(position, |follow| follow.since);
            Ok(PairState { following: Some(Follow { since, notify: *notify }), ..state })
        }
        Command::SetFollow { notify: None, .. } => Ok(PairState { following: None, ..state }),
        Command::SetBlock { blocking: true, .. } => Ok(PairState { blocking: true, following: None, followed_by: None, ..state }),
        Command::SetBlock { blocking: false, .. } => Ok(PairState { blocking: false, ..state }),
        _ => Ok(state),
    }
}

/// What a command that changed something was. `following`: it found the follow standing; `before`: it was set at some time.
fn happened(command: &Command, following: bool, before: bool) -> Happened {
    match command {
        Command::SetFollow { followee, notify: Some(notify) } if following => {
            Happened::FollowBellSet { followee: *followee, notify: *notify }
        }
        Command::SetFollow { followee, notify: Some(_) } if before => Happened::FollowedAgain { followee: *followee },
        Command::SetFollow { followee, notify: Some(_) } => Happened::Followed { followee: *followee },
        Command::SetFollow { followee, notify: None } => Happened::Unfollowed { followee: *followee },
        Command::SetBlock { other, blocking } => Happened::BlockSet { other: *other, blocking: *blocking },
        _ => Happened::Nothing,
    }
}

/// Sets one side's row, and moves that side's counters by what changed in it.
pub(super) fn set_side(transition: &mut Transition, owner: UserId, other: UserId, state: PairState, position: Position) {
    let row = row!(transition.relations, &(owner, other)).copied();
    let before = row.map(|row| row.state).unwrap_or_default();
    let after = RelationRow {
        state,
        has_followed: before.following.or(state.following).is_some() || row.is_some_and(|row| row.has_followed),
        was_followed: before.followed_by.or(state.followed_by).is_some() || row.is_some_and(|row| row.was_followed),
        position,
    };
    transition.after.relations.insert((owner, other), after);
    let step = |before: Option<Follow>, after: Option<Follow>| i64::from(after.is_some()) - i64::from(before.is_some());
    transition.step_user(
        owner,
        UserCounters {
            posts: 0,
            followers: step(before.followed_by, state.followed_by),
            following: step(before.following, state.following),
        },
    );
}

/// Lays a pending follow or block over the author's own side, as his list of follows and his counters show it.
pub(super) fn lay_own_side(transition: &mut Transition, entry: &Entry, other: UserId) {
    let state = row!(transition.relations, &(entry.author, other)).map(|row| row.state).unwrap_or_default();
    if let Ok(after) = pair_after(state, &entry.command, entry.position) {
        set_side(transition, entry.author, other, after, entry.position);
    }
}

/// Lays a pending follow or block over the other's side, as the other's counters and list of followers show it.
pub(super) fn lay_other_side(transition: &mut Transition, entry: &Entry, other: UserId) {
    let state = row!(transition.relations, &(other, entry.author)).map(|row| row.state).unwrap_or_default();
    if let Ok(after) = pair_after(state.flipped(), &entry.command, entry.position) {
        set_side(transition, other, entry.author, after.flipped(), entry.position);
    }
}
