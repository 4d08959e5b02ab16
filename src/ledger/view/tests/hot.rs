//! Posts that are kept in memory: what readers and writers see of them while others write.

use fail::FailScenario;

use super::cases::{ALICE, BOB, POST, create, reply};
use super::*;
use crate::ledger::hot_posts::Freshness;
use crate::vocabulary::command::Command;
use crate::vocabulary::owner::Owner;

/// How many likes a post has, and whether he is among them, as somebody reads it.
async fn likes_seen(town: &Town, viewer: UserId) -> (u64, bool) {
    let post = town.view.post(Some(viewer), POST).await.expect("the post");
    (post.likes, post.viewer.is_some_and(|viewer| viewer.liked))
}

/// Alice's post is kept in memory.
async fn town_with_a_hot_post() -> Town {
    let mut town = Town::with_users(2).await;
    town.write(ALICE, create(POST));
    town.finish().await;
    keep_hot(&town).await;
    town
}

/// Reads the post until it is kept in memory.
async fn keep_hot(town: &Town) {
    let home = town.ledger.address_of(&Owner::Post(POST));
    for _ in 0..1_000 {
        let _post = town.view.post(Some(BOB), POST).await.expect("the post");
        if town.ledger.hot_posts.find(POST, Some(BOB), home, Freshness::Read).is_some() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("the post was never kept");
}

#[test]
fn a_post_that_is_kept_in_memory_follows_what_is_committed_and_what_is_pending() {
    let _no_faults = FailScenario::setup();
    runtime().block_on(async {
        let mut town = town_with_a_hot_post().await;

        let like = town.write(BOB, Command::SetPostLike { post: POST, liked: true });
        assert_eq!((likes_seen(&town, BOB).await, likes_seen(&town, ALICE).await), ((1, true), (0, false)), "pending");
        town.apply(town.home(BOB, &like.command), 1).await;
        assert_eq!((likes_seen(&town, BOB).await, likes_seen(&town, ALICE).await), ((1, true), (1, false)), "committed");
        town.write(BOB, reply(5));
        assert_eq!(town.view.post(Some(BOB), POST).await.expect("the post").comments, 1, "an own comment counts at once");
    });
}

/// A reader of the shard's former primary may have seen more than memory holds.
#[test]
fn memory_shows_no_post_of_a_shard_that_readers_are_not_let_into() {
    let _no_faults = FailScenario::setup();
    runtime().block_on(async {
        let town = town_with_a_hot_post().await;
        let home = town.ledger.address_of(&Owner::Post(POST));
        town.ledger.shard(home.shard).reader.reopening().wait_for([(home.lane, Position(u64::MAX))].into());

        let shown = town.view.post(Some(BOB), POST).await;

        assert!(matches!(shown, Err(ViewError::Unavailable { .. })), "{shown:?}");
    });
}

#[cfg(feature = "faults")]
#[test]
fn a_post_that_is_kept_in_memory_is_read_again_after_a_commit_whose_answer_never_came() {
    let _no_faults = FailScenario::setup();
    runtime().block_on(async {
        let mut town = town_with_a_hot_post().await;

        let like = town.write(BOB, Command::SetPostLike { post: POST, liked: true });
        town.apply_unheard(town.home(BOB, &like.command)).await;
        assert_eq!((likes_seen(&town, BOB).await, likes_seen(&town, ALICE).await), ((1, true), (1, false)));
        town.finish().await;
        assert_eq!(likes_seen(&town, BOB).await, (1, true));
    });
}

/// A like that is there already moves no version: beside a commit under way its answer rests on the database.
#[cfg(feature = "faults")]
#[test]
fn a_write_that_changes_nothing_is_answered_with_no_older_version_than_was_read() {
    let _no_faults = FailScenario::setup();
    runtime().block_on(async {
        let mut town = Town::with_users(2).await;
        town.write(ALICE, create(POST));
        town.write(BOB, Command::SetPostLike { post: POST, liked: true });
        town.finish().await;
        keep_hot(&town).await;
        let others = town.write(ALICE, Command::SetPostLike { post: POST, liked: true });
        town.apply_unheard(town.home(ALICE, &others.command)).await;
        assert_eq!(town.view.post(Some(BOB), POST).await.expect("the post").version, others.position);

        for again in [
            Command::SetPostLike { post: POST, liked: true },
            Command::SetSubscription { post: POST, mode: crate::vocabulary::command::SubscriptionMode::Muted },
        ] {
            let preview = town.view.preview(&town.entry(BOB, again)).await.expect("readable").expect("accepted");
            let Seen::Post(answered) = town.view.seen(BOB, preview, Position(900)).await else { panic!("a post") };
            assert_eq!((answered.version, answered.likes), (others.position, 2));
        }
    });
}

/// The fault that moving on is for: the author's like is gone from his eyes when its pending row is dropped.
#[cfg(feature = "faults")]
#[test]
fn a_post_that_is_never_moved_on_is_found_out() {
    let scenario = FailScenario::setup();
    runtime().block_on(async {
        let mut town = town_with_a_hot_post().await;
        fail::cfg("hot_posts::never_move_on", "return").expect("a fault");

        let like = town.write(BOB, Command::SetPostLike { post: POST, liked: true });
        town.apply(town.home(BOB, &like.command), 1).await;

        assert_eq!(likes_seen(&town, BOB).await, (0, false));
    });
    scenario.teardown();
}
