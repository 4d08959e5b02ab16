//! Single cases: commits whose answer never came, restarts, parked entries, races of loaders.

use fail::FailScenario;
use futures_util::FutureExt;

use super::*;
use crate::ledger::blocks::BlockSet;
use crate::ledger::settlement;
use crate::ledger::writes::{Known, Progress};
use crate::substrate::bus::{self, Heard, Hint, Interest, PostNews};
use crate::substrate::journal::Journal;
use crate::vocabulary::command::Command;
use crate::vocabulary::rejection::Rejection;
use crate::vocabulary::relation::FollowNotify;
use crate::vocabulary::text::{CommentBody, DisplayName, PostBody};

pub(super) const ALICE: UserId = UserId::from_raw(1);
pub(super) const BOB: UserId = UserId::from_raw(2);
pub(super) const POST: PostId = PostId::from_raw(1_000);

pub(super) fn create(post: PostId) -> Command {
    Command::CreatePost { post, body: PostBody::parse("hello").expect("a body") }
}

fn delete_at(revision: u64) -> Command {
    Command::DeletePost { post: POST, if_revision: Some(Position(revision)) }
}

pub(super) fn reply(raw: u64) -> Command {
    let body = CommentBody::parse("hm").expect("a body");
    Command::CreateComment { post: POST, comment: comment(raw), parent: None, body }
}

fn rename(text: &str) -> Command {
    Command::EditProfile { display_name: DisplayName::parse(text).ok(), bio: None }
}

async fn posts_of(town: &Town, user: UserId) -> Vec<PostId> {
    let page = town.view.user_posts(Some(user), user, None, 10).await.expect("a page");
    page.items.into_iter().map(|shown| shown.post).collect()
}

fn progress(town: &Town, entry: &crate::vocabulary::command::Entry) -> Option<Progress> {
    match town.ledger.writes.known(entry.write) {
        Some(Known::Settled(settled)) => Some(settled.progress),
        _ => None,
    }
}

#[test]
fn a_rejected_write_is_not_laid_over_after_a_restart() {
    let _no_faults = FailScenario::setup();
    runtime().block_on(async {
        let mut town = Town::with_users(2).await;
        town.write(ALICE, create(POST));
        town.finish().await;
        let refused = town.write(ALICE, delete_at(77));
        assert_eq!(posts_of(&town, ALICE).await, [POST], "accepted, and it will be refused");
        let lane = town.home(ALICE, &refused.command);
        town.apply(lane, 1).await;
        assert_eq!(posts_of(&town, ALICE).await, [POST]);
        assert!(matches!(progress(&town, &refused), Some(Progress::Rejected { rejection: Rejection::PreconditionFailed, .. })));

        let mut town = town.restart().await;

        assert_eq!(posts_of(&town, ALICE).await, [POST]);
        town.deliver_all().await;
        assert_eq!(town.forgotten(ALICE, 2, &[POST]).await, Vec::<String>::new());
    });
}

#[test]
fn an_own_delete_that_will_be_taken_hides_the_post_in_the_list_at_once() {
    let _no_faults = FailScenario::setup();
    runtime().block_on(async {
        let mut town = Town::with_users(2).await;
        let created = town.write(ALICE, create(POST));
        town.finish().await;

        town.write(ALICE, delete_at(created.position.0));

        assert_eq!(posts_of(&town, ALICE).await, []);
        assert!(matches!(town.view.post(Some(ALICE), POST).await, Err(ViewError::Gone)));
    });
}

#[test]
fn an_entry_that_came_to_nothing_is_released_after_a_restart() {
    let _no_faults = FailScenario::setup();
    runtime().block_on(async {
        let mut town = Town::with_users(2).await;
        town.write(ALICE, create(POST));
        town.finish().await;
        let idle = town.write(ALICE, Command::SetPostLike { post: POST, liked: false });
        town.apply(town.home(ALICE, &idle.command), 1).await;

        let mut town = town.restart().await;
        town.deliver_all().await;

        assert_eq!(town.forgotten(ALICE, 2, &[POST]).await, Vec::<String>::new());
    });
}

/// Commits whose answer is lost: the supervisor finds the lane further than it knew.
#[cfg(feature = "faults")]
#[test]
fn a_commit_whose_answer_never_came_is_settled_by_its_events() {
    let _no_faults = FailScenario::setup();
    runtime().block_on(async {
        let mut town = Town::with_users(2).await;
        let created = town.write(ALICE, create(POST));
        let refused = town.write(ALICE, delete_at(77));
        let idle = town.write(ALICE, Command::SetPostLike { post: POST, liked: false });
        let lane = town.home(ALICE, &created.command);
        let entries = town.apply_unheard(lane).await;
        assert_eq!(entries.len(), 3);

        settlement::found_applied(&town.ledger, lane.shard, lane.lane, idle.position, &entries);

        assert_eq!(progress(&town, &refused), None, "what it came to is not known yet");
        assert_eq!(posts_of(&town, ALICE).await, [POST], "laid over");
        town.read_news(lane.shard).await;
        assert_eq!(posts_of(&town, ALICE).await, [POST], "committed, and not yet in the index");
        assert!(matches!(progress(&town, &created), Some(Progress::Committed { .. })));
        assert!(matches!(progress(&town, &refused), Some(Progress::Rejected { .. })));
        assert!(matches!(progress(&town, &idle), Some(Progress::Visible { .. })));
        town.deliver_all().await;
        assert!(matches!(progress(&town, &created), Some(Progress::Visible { .. })));
        assert_eq!(posts_of(&town, ALICE).await, [POST]);
        assert_eq!(town.forgotten(ALICE, 2, &[POST]).await, Vec::<String>::new());
    });
}

#[cfg(feature = "faults")]
#[test]
fn watchers_hear_of_a_commit_whose_answer_never_came() {
    let _no_faults = FailScenario::setup();
    runtime().block_on(async {
        let mut town = Town::with_users(2).await;
        town.write(ALICE, create(POST));
        town.finish().await;
        let interest = Arc::new(Interest::default());
        interest.enter(bus::Topic::Post(POST));
        let mut listener = town.ledger.bus.listen(16, interest);
        let liked = town.write(BOB, Command::SetPostLike { post: POST, liked: true });
        let answered = town.write(BOB, reply(2_000));
        let lane = town.home(BOB, &liked.command);
        let entries = town.apply_unheard(lane).await;
        settlement::found_applied(&town.ledger, lane.shard, lane.lane, answered.position, &entries);
        assert_eq!(listener.next().now_or_never(), None, "what it came to is not known yet");

        town.read_news(lane.shard).await;

        let mut heard = Vec::new();
        while let Some(Some(Heard::Hint(hint))) = listener.next().now_or_never() {
            if let Hint::Post { position, news, .. } = *hint {
                heard.push((position, news));
            }
        }
        let created = PostNews::CommentCreated(comment(2_000));
        assert_eq!(heard, [(answered.position, created), (answered.position, PostNews::Counts)]);
    });
}

#[cfg(feature = "faults")]
#[test]
fn readers_do_not_keep_what_an_unheard_commit_changed() {
    let _no_faults = FailScenario::setup();
    runtime().block_on(async {
        let mut town = Town::with_users(2).await;
        town.write(ALICE, create(POST));
        town.finish().await;
        assert_eq!(town.view.post(Some(BOB), POST).await.expect("seen").author.display_name.as_str(), "User 1");
        let block = town.write(ALICE, Command::SetBlock { other: BOB, blocking: true });
        let named = town.write(ALICE, rename("Alice"));

        for entry in [&named, &block] {
            let lane = town.home(ALICE, &entry.command);
            let entries = town.apply_unheard(lane).await;
            settlement::found_applied(&town.ledger, lane.shard, lane.lane, entry.position, &entries);
            town.read_news(lane.shard).await;
            if entry.position == named.position {
                assert_eq!(town.view.post(Some(BOB), POST).await.expect("seen").author.display_name.as_str(), "Alice");
            }
        }
        assert!(town.view.is_blocked(ALICE, BOB).await.expect("readable"));
        town.deliver_all().await;
        assert!(matches!(town.view.post(Some(BOB), POST).await, Err(ViewError::NotFound)));
    });
}

#[test]
fn a_pending_entry_is_read_from_where_it_was_parked() {
    let _no_faults = FailScenario::setup();
    runtime().block_on(async {
        let mut town = Town::with_users(2).await;
        town.write(ALICE, create(POST));
        town.write(ALICE, reply(5_000));
        let lane = town.home(ALICE, &create(POST));
        let shard = town.ledger.shard(lane.shard).name.to_string();
        let records = town.journal.read(Position(1), 0).expect("reads");
        town.journal.park(&shard, &records).expect("parks");
        town.ledger.backlog.park(records.iter().map(|record| record.position));
        town.journal.trim(Position(2)).expect("trims");

        let seen = |town: &Town| {
            let view = town.view.clone();
            async move { view.comments(Some(ALICE), POST, Order::Ascending, None, 10).await.expect("a page").0.items.len() }
        };
        assert_eq!(seen(&town).await, 1);
        // Where a parked record lies is the place of another record in the main segments.
        town.write(BOB, rename("Bob"));
        let town = town.restart().await;
        assert_eq!(seen(&town).await, 1);
        assert_eq!(posts_of(&town, ALICE).await, [POST]);
    });
}

/// A pending comment goes everywhere, and out of the journal, after a reader has found it in the index and before he reads it.
#[cfg(feature = "faults")]
#[test]
fn a_pending_entry_that_goes_while_it_is_being_read_is_left_out() {
    let scenario = FailScenario::setup();
    let folder = tempfile::tempdir().expect("a folder");
    let gate = folder.path().join("gate");
    std::fs::write(&gate, "closed").expect("it is closed");
    runtime().block_on(async {
        let mut town = Town::with_users(2).await;
        town.write(ALICE, create(POST));
        town.finish().await;
        town.write(BOB, reply(5_000));
        fail::cfg("pending::before_reading", &format!("return({})", gate.display())).expect("a fault");

        let view = town.view.clone();
        let going = async {
            while !gate.with_extension("reached").exists() {
                tokio::task::yield_now().await;
            }
            town.finish().await;
            town.journal.trim(town.journal.durable()).expect("trims");
            std::fs::remove_file(&gate).expect("it is opened");
        };
        let (read, ()) = tokio::join!(view.comments(Some(BOB), POST, Order::Ascending, None, 10), going);

        assert_eq!(read.expect("readable").0.items.len(), 1);
    });
    scenario.teardown();
}

#[test]
fn a_pending_entry_that_is_nowhere_is_an_error() {
    let _no_faults = FailScenario::setup();
    runtime().block_on(async {
        let mut town = Town::with_users(2).await;
        town.write(ALICE, create(POST));
        town.journal.trim(town.journal.durable()).expect("trims");

        let seen = town.view.post(Some(ALICE), POST).await;

        assert!(matches!(seen, Err(ViewError::Internal(_))), "{seen:?}");
    });
}

#[test]
fn a_page_of_comments_has_the_version_of_the_last_write_that_it_shows() {
    let _no_faults = FailScenario::setup();
    runtime().block_on(async {
        let mut town = Town::with_users(2).await;
        town.write(ALICE, create(POST));
        town.write(BOB, reply(5_000));
        let body = CommentBody::parse("well").expect("a body");
        let edited = town.write(BOB, Command::EditComment { post: POST, comment: comment(5_000), body, if_revision: None });
        town.finish().await;

        let (_, version) = town.view.comments(Some(ALICE), POST, Order::Ascending, None, 10).await.expect("a page");

        assert_eq!(version, edited.position);
    });
}

#[test]
fn what_was_set_about_somebody_who_is_not_there_can_be_taken_back() {
    let _no_faults = FailScenario::setup();
    runtime().block_on(async {
        let mut town = Town::with_users(2).await;
        let nobody = user(77);
        town.write(ALICE, Command::SetFollow { followee: nobody, notify: Some(FollowNotify::Automatic) });
        town.finish().await;
        let verdict = async |command| town.view.preview(&town.entry(ALICE, command)).await.expect("readable").map(drop);

        let unfollow = || Command::SetFollow { followee: nobody, notify: None };
        assert_eq!(verdict(unfollow()).await, Ok(()));
        assert_eq!(verdict(Command::SetBlock { other: nobody, blocking: false }).await, Err(Rejection::NotFound));
        assert_eq!(verdict(Command::SetMute { other: nobody, muting: true }).await, Err(Rejection::NotFound));
        town.write(ALICE, unfollow());
        assert_eq!(town.view.preview(&town.entry(ALICE, unfollow())).await.expect("readable").map(drop), Err(Rejection::NotFound));
    });
}

#[test]
fn a_set_of_blocks_that_was_loaded_before_a_block_is_not_kept_after_it() {
    let _no_faults = FailScenario::setup();
    runtime().block_on(async {
        let mut town = Town::with_users(2).await;
        let ticket = town.ledger.blocks.ticket(BOB);
        let loaded = Arc::new(BlockSet::All(std::collections::HashSet::new()));
        town.write(ALICE, Command::SetBlock { other: BOB, blocking: true });
        town.finish().await;

        town.ledger.blocks.keep(BOB, ticket, loaded);

        assert!(town.view.is_blocked(BOB, ALICE).await.expect("readable"));
    });
}

#[test]
fn the_card_beside_an_own_post_is_the_pending_one_also_in_the_answer() {
    let _no_faults = FailScenario::setup();
    runtime().block_on(async {
        let mut town = Town::with_users(2).await;
        town.write(ALICE, rename("Alice"));
        let entry = town.entry(ALICE, create(POST));
        let preview = town.view.preview(&entry).await.expect("readable").expect("accepted");
        let entry = town.accept(entry);

        let Seen::Post(answered) = town.view.seen(ALICE, preview, entry.position).await else { panic!("a post") };

        assert_eq!(answered.author.display_name.as_str(), "Alice");
        assert_eq!(*answered, town.view.post(Some(ALICE), POST).await.expect("seen"));
        assert!(matches!(town.view.post(Some(BOB), POST).await, Err(ViewError::NotFound)));
    });
}

/// A follow of Bob by Alice that a block of his ended, all committed and nothing relayed: what Alice sees of it.
async fn follows_after_a_block() -> bool {
    let mut town = Town::with_users(2).await;
    let follow = town.write(ALICE, Command::SetFollow { followee: BOB, notify: Some(FollowNotify::Always) });
    town.write(BOB, Command::SetBlock { other: ALICE, blocking: true });
    town.write(BOB, Command::SetBlock { other: ALICE, blocking: false });
    town.apply(town.home(ALICE, &follow.command), 3).await;
    let bob = town.view.user(Some(ALICE), &UserRef::Id(BOB)).await.expect("seen");
    bob.viewer.expect("signed in").following
}

#[test]
fn a_write_that_a_row_has_taken_in_is_not_laid_over_it_again() {
    let _no_faults = FailScenario::setup();
    assert!(!runtime().block_on(follows_after_a_block()));
}

/// The fault that the marks are for.
#[cfg(feature = "faults")]
#[test]
fn an_overlay_without_marks_is_found_out() {
    let _no_faults = FailScenario::setup();
    fail::cfg("pending::overlay_applied", "return").expect("a fault");
    assert!(runtime().block_on(follows_after_a_block()));
}

/// The shard of the reader goes at one read after the other.
#[cfg(feature = "faults")]
#[test]
fn a_feed_is_whole_or_refused_wherever_a_shard_goes() {
    let _no_faults = FailScenario::setup();
    runtime().block_on(async {
        let mut town = Town::with_users(2).await;
        town.write(BOB, create(POST));
        town.write(ALICE, Command::SetFollow { followee: BOB, notify: Some(FollowNotify::Automatic) });
        town.finish().await;
        let home = town.ledger.shard_of(&crate::vocabulary::owner::Owner::User(ALICE)).name.to_string();
        let (mut whole, mut refused) = (0, 0);
        for reads in 0..16 {
            town.ledger.blocks.changed(ALICE);
            fail::cfg("store::unavailable", &format!("{reads}*off->return({home})")).expect("a fault");
            match town.view.feed(ALICE, None, 10).await {
                Ok(page) => {
                    whole += 1;
                    assert_eq!(page.items.iter().map(|shown| shown.post).collect::<Vec<_>>(), [POST], "after {reads} reads");
                }
                Err(ViewError::Unavailable { .. }) => refused += 1,
                Err(error) => panic!("{error}"),
            }
        }
        assert!(whole > 0 && refused > 0, "{whole} whole, {refused} refused");
    });
}
