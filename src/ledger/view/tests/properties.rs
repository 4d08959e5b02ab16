//! Random histories of several users: what an author sees does not change while his writes are on their way.

use fail::FailScenario;
use proptest::prelude::*;

use super::*;
use crate::support::cases::cases;
use crate::vocabulary::command::{Command, SubscriptionMode};
use crate::vocabulary::relation::FollowNotify;
use crate::vocabulary::text::{Bio, CommentBody, DisplayName, PostBody};

const USERS: u64 = 5;

#[derive(Clone, Copy)]
struct Dice {
    step: u8,
    kind: u8,
    object: u8,
    other: u8,
    choice: u8,
}

impl std::fmt::Debug for Dice {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { step, kind, object, other, choice } = self;
        write!(formatter, "{step}/{kind}/{object}/{other}/{choice}")
    }
}

fn dice() -> impl Strategy<Value = Dice> {
    let all = (0..100_u8, any::<u8>(), any::<u8>(), any::<u8>(), any::<u8>());
    all.prop_map(|(step, kind, object, other, choice)| Dice { step, kind, object, other, choice })
}

#[derive(Debug, Default)]
struct Made {
    posts: Vec<PostId>,
    comments: Vec<(PostId, CommentId)>,
}

impl Made {
    fn post(&self, dice: Dice) -> PostId {
        self.posts.get(usize::from(dice.object) % self.posts.len().max(1)).copied().unwrap_or(post(9))
    }

    fn command(&mut self, author: UserId, dice: Dice, at: u64) -> Command {
        let yes = !dice.choice.is_multiple_of(3);
        let below = self.post(dice);
        let (on, known) = self.comments.get(usize::from(dice.object) % self.comments.len().max(1)).copied().unwrap_or((below, comment(8)));
        let other = match user(u64::from(dice.other) % USERS + 1) {
            other if other == author => user(author.raw() % USERS + 1),
            other => other,
        };
        let post_body = PostBody::parse(format!("post {at}")).expect("a body");
        let body = CommentBody::parse(format!("comment {at}")).expect("a body");
        match dice.kind % 20 {
            0..=2 => {
                self.posts.push(post(1_000 + at));
                Command::CreatePost { post: post(1_000 + at), body: post_body }
            }
            3 => Command::EditPost { post: below, body: post_body, if_revision: None },
            4 => Command::DeletePost { post: below, if_revision: None },
            5 | 6 => Command::SetPostLike { post: below, liked: yes },
            7 => Command::SetSubscription { post: below, mode: if yes { SubscriptionMode::Muted } else { SubscriptionMode::Default } },
            8 | 9 => {
                self.comments.push((below, comment(5_000 + at)));
                Command::CreateComment { post: below, comment: comment(5_000 + at), parent: None, body }
            }
            10 => {
                self.comments.push((on, comment(5_000 + at)));
                Command::CreateComment { post: on, comment: comment(5_000 + at), parent: Some(known), body }
            }
            11 => Command::EditComment { post: on, comment: known, body, if_revision: None },
            12 => Command::DeleteComment { post: on, comment: known, if_revision: None },
            13 => Command::SetCommentLike { post: on, comment: known, liked: yes },
            14..=16 => Command::SetFollow { followee: other, notify: yes.then_some(FollowNotify::Always) },
            17 => Command::SetBlock { other, blocking: dice.choice.is_multiple_of(2) },
            18 => Command::SetMute { other, muting: yes },
            _ => Command::EditProfile { display_name: DisplayName::parse(format!("Name {at}")).ok(), bio: Some(Bio::parse("hm").ok()) },
        }
    }
}

/// Runs a history; answers with what an author saw change that he should not have.
async fn differs(author: UserId, early: &[Dice], later: &[Dice]) -> Vec<String> {
    let mut town = Town::with_users(USERS).await;
    let mut made = Made::default();
    let mut at = 0;
    for dice in early {
        at += 1;
        let writer = user(u64::from(dice.step) % USERS + 1);
        let command = made.command(writer, *dice, at);
        try_write(&mut town, writer, command).await;
    }
    town.finish().await;

    let mut expected = observe(&town, author, USERS, &made.posts).await;
    for dice in later {
        at += 1;
        match dice.step {
            0..=54 => {
                let command = made.command(author, *dice, at);
                let wrong = try_write(&mut town, author, command).await;
                if !wrong.is_empty() {
                    return wrong;
                }
                expected = observe(&town, author, USERS, &made.posts).await;
                continue;
            }
            55..=64 => {
                let writer = user(author.raw() % USERS + 1);
                let command = made.command(writer, *dice, at);
                // Others' writes would show once the author's in the same lane were applied: only where there are none.
                if town.is_clean(town.home(writer, &command)) {
                    let lane = town.home(writer, &command);
                    try_write(&mut town, writer, command).await;
                    town.finish_lane(lane).await;
                }
                expected = observe(&town, author, USERS, &made.posts).await;
                continue;
            }
            65..=79 if !town.lanes().is_empty() => {
                let lanes = town.lanes();
                let lane = lanes[usize::from(dice.object) % lanes.len()];
                let applied = town.apply(lane, usize::from(dice.choice % 3) + 1).await;
                if dice.kind.is_multiple_of(2) {
                    // Committed, and not dropped yet.
                    let again = |entry: &_| town.ledger.pending.add(entry, lane, crate::substrate::journal::Locator(entry.position.0));
                    let settled: Vec<_> = applied.iter().filter(|entry| !town.is_owed(lane, entry.position)).collect();
                    settled.iter().for_each(|entry| again(entry));
                    let wrong = differences(&expected, &observe(&town, author, USERS, &made.posts).await);
                    if !wrong.is_empty() {
                        return wrong;
                    }
                    settled.iter().for_each(|entry| town.ledger.pending.remove(entry));
                }
            }
            80..=95 if !town.due().is_empty() => {
                let due = town.due();
                town.deliver(due[usize::from(dice.object) % due.len()], usize::from(dice.choice)).await;
            }
            96.. => town = town.restart().await,
            _ => continue,
        }
        let wrong = differences(&expected, &observe(&town, author, USERS, &made.posts).await);
        if !wrong.is_empty() {
            return wrong;
        }
    }
    town.finish().await;
    let mut wrong = differences(&expected, &observe(&town, author, USERS, &made.posts).await);
    wrong.extend(town.forgotten(author, USERS, &made.posts).await);
    wrong
}

/// Accepts a write unless it is refused at once. What its author is shown in the answer must be what he then reads.
async fn try_write(town: &mut Town, author: UserId, command: Command) -> Vec<String> {
    let entry = town.entry(author, command);
    let Ok(preview) = town.view.preview(&entry).await.expect("readable") else { return Vec::new() };
    let entry = town.accept(entry);
    let answered = town.view.seen(author, preview, entry.position).await;
    if matches!(answered, Seen::Nothing) {
        return Vec::new();
    }
    let read = town.view.resource_seen(author, entry.command.resource(author)).await;
    let (answered, read) = (format!("{answered:#?}"), format!("{read:#?}"));
    if answered == read { Vec::new() } else { vec![format!("{:?}: answered {answered}, read {read}", entry.command)] }
}

fn histories() -> impl Strategy<Value = (u64, Vec<Dice>, Vec<Dice>)> {
    (1..=USERS, proptest::collection::vec(dice(), 10..60), proptest::collection::vec(dice(), 1..25))
}

#[test]
fn an_author_sees_his_writes_as_if_they_were_committed_while_they_are_on_their_way() {
    let _no_faults = FailScenario::setup();
    let runtime = runtime();
    proptest!(cases(12), |((author, early, later) in histories())| {
        let wrong = runtime.block_on(differs(user(author), &early, &later));
        prop_assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    });
}

/// The faults that the property is for: each must be found, and soon.
#[cfg(feature = "faults")]
#[test]
fn planted_faults_of_the_overlay_are_found() {
    use proptest::strategy::ValueTree;
    let _no_faults = FailScenario::setup();
    let runtime = runtime();
    for fault in ["pending::skip_overlay", "pending::drop_early"] {
        let mut random = proptest::test_runner::TestRunner::deterministic();
        let found = (0..20).any(|_| {
            let (author, early, later) = histories().new_tree(&mut random).expect("a history").current();
            fail::cfg(fault, "return").expect("a fault");
            let wrong = runtime.block_on(differs(user(author), &early, &later));
            fail::remove(fault);
            !wrong.is_empty()
        });
        assert!(found, "{fault} was not noticed");
    }
}
