//! What must hold for any history: order between lanes and repetition change nothing, counters are the numbers of their rows,
//! and a pending write looks as it will once it is committed.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;
use crate::substrate::store::rows::Needs;
use crate::support::cases::cases;
use crate::vocabulary::command::{KeyUse, NewSession, SubscriptionMode};
use crate::vocabulary::ids::{SessionId, WriteId};
use crate::vocabulary::owner::Lane;
use crate::vocabulary::relation::FollowNotify;
use crate::vocabulary::text::{CommentBody, DisplayName, PostBody, Username};

/// Few of each, so that writes meet.
const USERS: u64 = 4;
const POSTS: u64 = 3;

/// One write as dice: what it becomes depends on what was written before.
#[derive(Debug, Clone, Copy)]
struct Dice {
    kind: u8,
    author: u8,
    object: u8,
    other: u8,
    choice: u8,
}

fn dice() -> impl Strategy<Value = Dice> {
    (any::<u8>(), any::<u8>(), any::<u8>(), any::<u8>(), any::<u8>()).prop_map(|(kind, author, object, other, choice)| Dice {
        kind,
        author,
        object,
        other,
        choice,
    })
}

/// Entries in the order of the journal. Users exist before them; posts are written by the first entries.
fn history(dice: &[Dice]) -> Vec<Entry> {
    let mut known = Known::default();
    let opening = (1..=POSTS).map(|raw| (user(raw % USERS + 1), Command::CreatePost { post: post(1000 + raw), body: body("first") }));
    let mut commands: Vec<(UserId, Command)> = opening.collect();
    for (at, dice) in dice.iter().enumerate() {
        let author = user(u64::from(dice.author) % USERS + 1);
        commands.push((author, command(author, *dice, at as u64, &mut known)));
    }
    let entry = |(at, (author, command)): (usize, (UserId, Command))| {
        let position = Position(at as u64 + 1);
        let key = (at % 5 == 0).then(|| KeyUse { key: format!("key {at}"), digest: [0; 16] });
        Entry { position, write: WriteId::from_raw(position.0), author, accepted_at: position.0 * 3_000, key, command }
    };
    commands.into_iter().enumerate().map(entry).collect()
}

fn body(text: &str) -> PostBody {
    PostBody::parse(text).expect("a body")
}

/// What was made so far: ids are never given twice.
#[derive(Debug, Default)]
struct Known {
    comments: Vec<(PostId, CommentId)>,
    sessions: Vec<SessionId>,
}

fn command(author: UserId, dice: Dice, at: u64, made: &mut Known) -> Command {
    let Known { comments, sessions } = made;
    let liked = !dice.choice.is_multiple_of(3);
    let below = post(1001 + u64::from(dice.object) % POSTS);
    // One past the end names nothing.
    let (on, known) = match usize::from(dice.object) % (comments.len() + 1) {
        none if none == comments.len() => (below, comment(999_999)),
        some => comments[some],
    };
    let text = CommentBody::parse(format!("text {at}")).expect("a body");
    let other = match user(u64::from(dice.other) % USERS + 1) {
        other if other == author => user(author.raw() % USERS + 1),
        other => other,
    };
    let session = sessions.get(usize::from(dice.object) % sessions.len().max(1)).copied().unwrap_or(SessionId::from_raw(1));
    let new_session = |raw: u64| NewSession { session: SessionId::from_raw(raw), device: String::new(), address_hash: 0 };
    let if_revision = dice.choice.is_multiple_of(7).then_some(Position(at));
    match dice.kind % 24 {
        0 => Command::CreatePost { post: post(2000 + at), body: body("another") },
        1 => Command::EditPost { post: below, body: body("edited @bob"), if_revision },
        2 if dice.choice < 60 => Command::DeletePost { post: below, if_revision },
        2..=5 => Command::SetPostLike { post: below, liked },
        6 => Command::SetSubscription { post: below, mode: if liked { SubscriptionMode::Muted } else { SubscriptionMode::Default } },
        7 | 8 => {
            comments.push((below, comment(3000 + at)));
            Command::CreateComment { post: below, comment: comment(3000 + at), parent: None, body: text }
        }
        9 | 10 => {
            comments.push((on, comment(3000 + at)));
            Command::CreateComment { post: on, comment: comment(3000 + at), parent: Some(known), body: text }
        }
        11 => Command::EditComment { post: on, comment: known, body: text, if_revision },
        12 => Command::DeleteComment { post: on, comment: known, if_revision: None },
        13 | 14 => Command::SetCommentLike { post: on, comment: known, liked },
        15 | 16 => Command::SetFollow { followee: other, notify: liked.then_some(FollowNotify::Automatic) },
        17 => Command::SetBlock { other, blocking: liked },
        18 => Command::SetMute { other, muting: liked },
        19 => Command::EditProfile { display_name: DisplayName::parse(format!("name {at}")).ok(), bio: None },
        20 => {
            sessions.push(SessionId::from_raw(5_000 + at));
            Command::OpenSession { session: new_session(5_000 + at) }
        }
        21 => Command::RotateSession { session, from: u32::from(dice.choice % 3) },
        22 if liked => Command::EndSession { session },
        22 => Command::ChangePassword { password_hash: format!("hash {at}"), keep: Some(session) },
        _ => Command::Register {
            username: Username::parse(&format!("name{}", dice.object % 3)).expect("a username"),
            display_name: DisplayName::parse("new").expect("a name"),
            password_hash: "hash".to_owned(),
            session: new_session(9_000 + at),
        },
    }
}

/// Accounts for all users.
fn peopled() -> Model {
    let mut model = Model::default();
    for raw in 1..=USERS {
        let account = crate::vocabulary::event::NewAccount {
            user: user(raw),
            username: Username::generated(user(raw)),
            display_name: DisplayName::parse("someone").expect("a name"),
            password_hash: None,
            session: None,
            opened_at: 0,
        };
        let mut transition = Transition::default();
        transition.relay(Position::START, &Relay::Account(Box::new(account)));
        model.save(transition.finish().rows);
    }
    model
}

/// Somebody registers for himself alone: nobody may change the account of a user before it is there.
fn by_newcomers(mut entries: Vec<Entry>) -> Vec<Entry> {
    for entry in &mut entries {
        if matches!(entry.command, Command::Register { .. }) {
            entry.author = user(10_000 + entry.position.0);
        }
    }
    entries
}

/// One by one in the order of the journal, relays at once.
fn in_order(entries: &[Entry]) -> Model {
    let mut model = peopled();
    for entry in entries {
        model.batch(std::slice::from_ref(entry));
        model.deliver_all();
    }
    model
}

/// What happens next between lanes.
#[derive(Debug, Clone, Copy)]
struct Turn {
    lane: u8,
    count: u8,
    what: u8,
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let turn = (any::<u8>(), 1..6_u8, 0..10_u8).prop_map(|(lane, count, what)| Turn { lane, count, what });
    proptest::collection::vec(turn, 0..120)
}

/// Any order that keeps each lane's, in batches of any size, with repetitions of what was applied and delivered before.
fn in_turns(entries: &[Entry], turns: &[Turn], model: Model) -> Model {
    let mut model = model;
    let mut lanes: Vec<(Lane, Vec<Entry>, usize)> = Vec::new();
    for entry in entries {
        let lane = entry.home().lane();
        match lanes.iter_mut().find(|(known, ..)| *known == lane) {
            Some((_, queue, _)) => queue.push(entry.clone()),
            None => lanes.push((lane, vec![entry.clone()], 0)),
        }
    }
    let mut rest: VecDeque<Turn> = turns.iter().copied().collect();
    while let Some(turn) = rest.pop_front() {
        let count = usize::from(turn.count);
        let at = usize::from(turn.lane) % lanes.len();
        let (_, queue, done) = &mut lanes[at];
        let owing = model.owing();
        match turn.what {
            0..=4 => {
                let next = queue.len().min(*done + count);
                model.batch(&queue[*done..next]);
                *done = next;
            }
            // Some again, from the start.
            5 => drop(model.batch(&queue[..(count * 3).min(*done)])),
            // Some again, then some for the first time, in one batch.
            6 => {
                let next = queue.len().min(*done + count);
                model.batch(&queue[done.saturating_sub(2)..next]);
                *done = next;
            }
            what if !owing.is_empty() => model.deliver(owing[usize::from(turn.lane) % owing.len()], count, what == 9),
            _ => {}
        }
    }
    for (_, queue, done) in &lanes {
        model.batch(&queue[*done..]);
    }
    model.deliver_all();
    model
}

proptest! {
    #![proptest_config(cases(150))]

    #[test]
    fn any_order_between_lanes_and_any_repetition_give_the_same_rows(dice in proptest::collection::vec(dice(), 0..60), turns in turns()) {
        let entries = by_newcomers(history(&dice));
        let expected = in_order(&entries);

        let model = in_turns(&entries, &turns, peopled());

        prop_assert_eq!(model.settled(), expected.settled());
        prop_assert_eq!(model.miscounted(), Vec::<String>::new());
    }

    #[test]
    fn counters_are_the_numbers_of_their_rows_at_each_step(dice in proptest::collection::vec(dice(), 0..60)) {
        let mut model = peopled();
        for entry in by_newcomers(history(&dice)) {
            model.batch(std::slice::from_ref(&entry));
            prop_assert_eq!(model.miscounted(), Vec::<String>::new(), "before the relays of {:?}", entry.command);
            model.deliver_all();
            prop_assert_eq!(model.miscounted(), Vec::<String>::new(), "after the relays of {:?}", entry.command);
        }
    }

    #[test]
    fn a_pending_write_looks_as_it_will_once_it_is_committed(dice in proptest::collection::vec(dice(), 1..60)) {
        let mut model = peopled();
        for entry in by_newcomers(history(&dice)) {
            let mut needs = Needs::default();
            needs_of(&entry, &mut needs);
            needs.post_counters.clone_from(&needs.posts);
            needs.comment_counters.clone_from(&needs.comments);
            let mut overlay = Transition::over(model.load(&needs));
            overlay.apply(&entry);
            let seen = overlay.into_rows();

            model.batch(std::slice::from_ref(&entry));

            // Sessions that a new password ended are no longer loaded by their user; counters of users change by relay, or unasked.
            let mut committed = model.load(&needs);
            committed.sessions.extend(seen.sessions.keys().filter_map(|key| Some((*key, model.rows.sessions.get(key)?.clone()))));
            let mut seen = seen;
            committed.counters.users.clear();
            seen.counters.users.clear();
            seen.counters.posts.retain(|_, counted| *counted != PostCounters::default());
            seen.counters.comments.retain(|of, _| committed.counters.comments.contains_key(of));
            prop_assert_eq!(&seen.relations.is_empty(), &committed.relations.is_empty());
            prop_assert_eq!(seen, committed, "{:?}", entry.command);
            model.deliver_all();
        }
    }
}

/// The fault that the properties above are for: lanes and cursors that let in what comes again.
#[test]
fn without_lanes_and_cursors_a_repetition_is_found_out() {
    let turn = |what, count| Turn { lane: 0, count, what };
    let like = |position: u64, liked| Entry {
        position: Position(position),
        write: WriteId::from_raw(position),
        author: user(1),
        accepted_at: 0,
        key: None,
        command: Command::SetPostLike { post: post(1001), liked },
    };
    let mut entries = history(&[]);
    entries.truncate(1);
    entries.extend([like(2, true), like(3, true), like(4, false)]);
    // All of it, then the first three again.
    let turns = [turn(0, 5), turn(5, 1)];
    let expected = in_order(&entries).settled();

    assert_eq!(in_turns(&entries, &turns, peopled()).settled(), expected);
    let mut unguarded = peopled();
    unguarded.unguarded = true;
    let unguarded = in_turns(&entries, &turns, unguarded);
    assert_ne!(unguarded.settled(), expected);
    assert!(!unguarded.miscounted().is_empty(), "the counters give it away");
}
