//! Whether somebody is told, decided where he lives, in the transaction that would tell him. A pure function.

use crate::vocabulary::preferences::{Circle, Ways};
use crate::vocabulary::relation::PairState;

/// What the recipient's own rows say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// How he wants to hear of this kind.
    pub ways: Ways,
    /// He and the one who did it.
    pub actor: PairState,
    /// He and the one whose post it is about are in a block: he cannot see it.
    pub apart_from_host: bool,
    /// He muted the one who did it.
    pub muted: bool,
}

/// Whether there is an entry for him.
pub fn admits(standing: &Standing) -> bool {
    let Standing { ways, actor, apart_from_host, muted } = standing;
    let wanted = ways.inbox && (ways.from == Circle::Everyone || actor.following.is_some());
    wanted && !muted && !actor.is_blocked() && !apart_from_host
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::ids::Position;
    use crate::vocabulary::relation::{Follow, FollowNotify};

    const OPEN: Standing = Standing {
        ways: Ways { inbox: true, stream: true, push: false, email: false, from: Circle::Everyone },
        actor: PairState { following: None, followed_by: None, blocking: false, blocked_by: false },
        apart_from_host: false,
        muted: false,
    };

    #[test]
    fn nobody_is_told_across_a_block_or_a_mute_or_against_his_wish() {
        let blocked = |blocking: bool| PairState { blocking, blocked_by: !blocking, ..PairState::default() };
        let following = PairState { following: Some(Follow { since: Position(1), notify: FollowNotify::Never }), ..PairState::default() };
        let circle = Ways { from: Circle::Following, ..OPEN.ways };
        let cases = [
            ("a stranger", OPEN, true),
            ("he muted the actor", Standing { muted: true, ..OPEN }, false),
            ("he blocked the actor", Standing { actor: blocked(true), ..OPEN }, false),
            ("the actor blocked him", Standing { actor: blocked(false), ..OPEN }, false),
            ("he or the post's author blocked the other", Standing { apart_from_host: true, ..OPEN }, false),
            ("he wants none of this kind", Standing { ways: Ways { inbox: false, ..OPEN.ways }, ..OPEN }, false),
            ("he wants only those he follows", Standing { ways: circle, ..OPEN }, false),
            ("and follows him", Standing { ways: circle, actor: following, ..OPEN }, true),
            ("without live frames there is an entry all the same", Standing { ways: Ways { stream: false, ..OPEN.ways }, ..OPEN }, true),
        ];

        for (case, standing, expected) in cases {
            assert_eq!(admits(&standing), expected, "{case}");
        }
    }
}
