//! G3 and G4: an author sees his own writes at once and always, and nothing that was seen goes back.
//!
//! Controls: no overlay, an overlay that is dropped early, one that is not rebuilt, one that counts twice, and a cache that goes
//! back: each must be caught by the same look that finds nothing without it.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::client::{Answer, Person, nonce, within};
use crate::support::faults::{self, Gate};
use crate::support::followed::{FOLLOWED, Followed, UP_TO_DATE_WITHIN, nothing_is_held, waited_for_standby};
use crate::support::number_from_environment;
use crate::support::server::{Server, Settings};

/// What an author sees that he should not: a write of his own that is missing, or counted wrongly.
#[derive(Debug, Default)]
struct Sight {
    looks: usize,
    wrong: Vec<String>,
}

impl Sight {
    fn note(&mut self, right: bool, what: impl FnOnce() -> String) {
        self.looks += 1;
        if !right {
            self.wrong.push(what());
        }
    }

    fn note_accepted(&mut self, answer: &Answer) {
        self.note(answer.status == 202, || format!("a write on one's own post: {} {}", answer.status, answer.text));
    }

    /// Looks at the post as an object, in its author's list, in his feed and in his profile.
    async fn look_at_post(&mut self, ann: &Person, post: &str, body: &str, posts: i64) {
        let seen = ann.read_post(post).await;
        self.note(seen.status == 200 && seen.json["body"] == body, || format!("the post: {} {}", seen.status, seen.text));
        let listed = ann.get(&format!("/v1/users/{}/posts?limit=100", ann.id)).send().await;
        let copies = listed.item_ids().iter().filter(|id| *id == post).count();
        self.note(copies == 1, || format!("in the list {copies} times"));
        let copies = ann.get("/v1/feed?limit=100").send().await.item_ids().iter().filter(|id| *id == post).count();
        self.note(copies == 1, || format!("in the feed {copies} times"));
        let counted = ann.read_user("me").await.json["posts"].as_i64();
        self.note(counted == Some(posts), || format!("{counted:?} posts instead of {posts}"));
    }

    async fn look_at_thread(&mut self, ann: &Person, post: &str, comments: i64, liked: bool) {
        let seen = ann.read_post(post).await;
        self.note(seen.json["comments"] == json!(comments), || format!("{comments} comments written, told {}", seen.json["comments"]));
        let likes = i64::from(liked);
        self.note(seen.json["likes"] == json!(likes) && seen.json["viewer"]["liked"] == liked, || format!("likes: {}", seen.text));
        let listed = ann.get(&format!("/v1/posts/{post}/comments?limit=100")).send().await.item_ids().len() as i64;
        self.note(listed == comments, || format!("{comments} comments written, {listed} listed"));
    }
}

/// Writes and looks at once, again and again. A write below a post that its author does not see is refused: noted, too.
async fn write_and_look(ann: &Person, rounds: i64, existing: i64) -> Sight {
    let mut sight = Sight::default();
    for round in 1..=rounds {
        let body = nonce();
        let post = ann.write_post(&body).send().await.expect(202).text_at("/post/id");
        sight.look_at_post(ann, &post, &body, existing + round).await;
        for comment in 1..=3 {
            sight.note_accepted(&ann.write_comment(&post, &nonce()).send().await);
            sight.note_accepted(&ann.like(&post).send().await);
            sight.look_at_thread(ann, &post, comment, true).await;
        }
        sight.note_accepted(&ann.unlike(&post).send().await);
        sight.look_at_thread(ann, &post, 3, false).await;
        let edited = nonce();
        sight.note_accepted(&ann.edit_post(&post, &edited).send().await);
        sight.look_at_post(ann, &post, &edited, existing + round).await;
    }
    sight
}

async fn look_with(settings: Settings) -> Sight {
    let mut server = Server::start().await;
    let ann = Person::join(&server, "own").await;
    server.kill();
    server.restart_with(settings).await;
    write_and_look(&ann, number_from_environment("SOSIK_OWN_WRITE_ROUNDS", 5) as i64, 0).await
}

#[tokio::test]
async fn own_writes_are_seen_at_once_while_they_are_being_applied() {
    let sight = look_with(Settings::default()).await;
    assert!(sight.wrong.is_empty(), "{sight:?}");
}

#[tokio::test]
async fn own_writes_are_seen_at_once_while_nothing_is_applied() {
    let sight = look_with(Settings::default().without_workers()).await;
    assert!(sight.wrong.is_empty(), "{sight:?}");
}

#[tokio::test]
async fn own_writes_are_seen_at_once_while_the_apply_is_slow() {
    let sight = look_with(Settings::default().fault((faults::BEFORE_BATCH, "sleep(150)"))).await;
    assert!(sight.wrong.is_empty(), "{sight:?}");
}

#[tokio::test]
async fn own_writes_are_seen_at_once_while_every_thread_that_commits_to_files_is_held_up() {
    let mut server = Server::start().await;
    let (ann, bob) = (Person::join(&server, "own").await, Person::join(&server, "other").await);
    let post = bob.write_post(&nonce()).wait(30).send().await.expect(201).text_at("/post/id");
    server.kill();
    server.restart_with(Settings::default().with("write.workers", "16").fault((faults::BEFORE_BATCH, "sleep(4000)"))).await;

    // More batches, of many lanes, than there are threads: each holds one while it sleeps.
    for _ in 0..60 {
        ann.write_post(&nonce()).send().await.expect(202);
    }
    for _ in 0..10 {
        let body = nonce();
        let answer = ann.write_comment(&post, &body).send().await.expect(202);
        assert_eq!(answer.json["comment"]["body"], body, "{}", answer.text);
    }
}

#[tokio::test]
async fn own_writes_are_seen_with_a_cache_that_holds_almost_nothing() {
    let small = Settings::default().with("cache.capacity", "4KiB");
    // While nothing is applied, and while what is read is evicted and loaded again.
    for settings in [small.clone().without_workers(), small] {
        let sight = look_with(settings).await;
        assert!(sight.wrong.is_empty(), "{sight:?}");
    }
}

/// Writes and looks while a standby that is read stands still and catches up, again and again.
async fn look_beside_a_standby(settings: Settings) -> Option<Sight> {
    let followed = Followed::start_read(settings, "10m").await?;
    let ann = followed.join(true).await;
    let admin = followed.as_admin(&ann).await;
    let falls_behind_and_catches_up = async {
        loop {
            followed.standby.pause_replay().await;
            let waited = async || (waited_for_standby(&admin).await > 0.2).then_some(());
            within(UP_TO_DATE_WITHIN, "something to wait for the standby", waited).await;
            followed.standby.resume_replay().await;
            nothing_is_held(&admin).await;
        }
    };
    tokio::select! {
        sight = Box::pin(write_and_look(&ann, 8, 0)) => Some(sight),
        () = Box::pin(falls_behind_and_catches_up) => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn own_writes_are_seen_at_once_beside_a_standby_that_falls_behind_and_catches_up() {
    let Some(sight) = look_beside_a_standby(Settings::default()).await else { return };
    assert!(sight.wrong.is_empty(), "{sight:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_an_overlay_that_ends_at_the_commit_is_caught_beside_a_standby() {
    let fault = Settings::default().fault((faults::DROP_AT_COMMIT, "return"));
    let Some(followed) = Followed::start_read(fault, "10m").await else { return };
    let ann = followed.join(true).await;
    followed.standby.pause_replay().await;
    let mut sight = Sight::default();

    // Only a post that lives beside the standby waits for it: a quarter of them.
    for posts in 1.. {
        let body = nonce();
        let written = ann.write_post(&body).send().await.expect(202);
        let post = written.text_at("/post/id");
        if followed.place_of(&post).await == FOLLOWED {
            let committed = async || (ann.write_state(&written.write_id()).await == "committed").then_some(());
            within(UP_TO_DATE_WITHIN, "the commit, after which the overlay is gone", committed).await;
            sight.look_at_post(&ann, &post, &body, posts).await;
            break;
        }
    }

    assert!(!sight.wrong.is_empty(), "the fault had no effect in {} looks", sight.looks);
}

#[tokio::test]
async fn control_a_view_without_the_overlay_is_caught() {
    let sight = look_with(Settings::default().without_workers().fault((faults::SKIP_OVERLAY, "return"))).await;
    assert!(!sight.wrong.is_empty(), "the fault had no effect in {} looks", sight.looks);
}

/// Ann follows Ben, who blocks her and lets her go again. Nothing is relayed, so her write waits for that after all three were
/// applied: laid over once more, it would bring back the follow that the block ended.
async fn look_after_a_block(settings: Settings) -> Sight {
    let mut server = Server::start().await;
    let ann = Person::join(&server, "low").await;
    let ben = Person::join(&server, "high").await;
    server.kill();
    server.restart_with(settings.fault((faults::RELAY_STALLED, "return"))).await;
    ann.follow(&ben.id).send().await.expect(202);
    ben.put(&format!("/v1/users/{}/block", ann.id)).send().await.expect(202);
    let pardon = ben.delete(&format!("/v1/users/{}/block", ann.id)).send().await.expect(202).write_id();
    within(Duration::from_secs(60), "the commit", async || (ben.write_state(&pardon).await == "committed").then_some(())).await;

    let mut sight = Sight::default();
    let following = ann.read_user(&ben.id).await.json["viewer"]["following"].clone();
    sight.note(following == false, || format!("following after the block: {following}"));
    let counted = ann.read_user("me").await.number_at("/following");
    sight.note(counted == 0, || format!("{counted} followed after the block"));
    sight
}

#[tokio::test]
async fn an_own_write_is_not_laid_over_what_came_after_it() {
    let sight = look_after_a_block(Settings::default()).await;
    assert!(sight.wrong.is_empty(), "{sight:?}");
}

#[tokio::test]
async fn control_an_overlay_that_counts_twice_is_caught() {
    let sight = look_after_a_block(Settings::default().fault((faults::OVERLAY_TWICE, "return"))).await;
    assert!(!sight.wrong.is_empty(), "the fault had no effect in {} looks", sight.looks);
}

/// Writes without workers, kills, starts again with `settings`, and looks.
async fn look_after_a_kill(settings: Settings) -> Sight {
    let mut server = Server::start().await;
    let ann = Person::join(&server, "own").await;
    server.kill();
    server.restart_with(Settings::default().without_workers()).await;
    let body = nonce();
    let post = ann.write_post(&body).send().await.expect(202).text_at("/post/id");
    for _ in 0..3 {
        ann.write_comment(&post, &nonce()).send().await.expect(202);
    }
    ann.like(&post).send().await.expect(202);

    server.kill();
    server.restart_with(settings).await;

    let mut sight = Sight::default();
    for _ in 0..5 {
        sight.look_at_post(&ann, &post, &body, 1).await;
        sight.look_at_thread(&ann, &post, 3, true).await;
    }
    sight
}

#[tokio::test]
async fn own_pending_writes_are_seen_right_after_a_kill() {
    for settings in [Settings::default().without_workers(), Settings::default()] {
        let sight = look_after_a_kill(settings).await;
        assert!(sight.wrong.is_empty(), "{sight:?}");
    }
}

#[tokio::test]
async fn control_an_index_that_is_not_rebuilt_is_caught() {
    let sight = look_after_a_kill(Settings::default().without_workers().fault((faults::SKIP_REBUILD, "return"))).await;
    assert!(!sight.wrong.is_empty(), "the fault had no effect in {} looks", sight.looks);
}

/// How often a post is looked at once nothing is laid over it any more.
const LOOKS_AFTER: usize = 5;
/// How long a hand-over may take, with its looks: two cores are shared with other tests.
const HANDED_OVER_WITHIN: Duration = Duration::from_secs(120);

/// Samples a post without a pause while it goes from pending to committed, and a while after; what was seen besides the post.
async fn watch_the_hand_over(settings: Settings) -> Sight {
    let mut server = Server::start().await;
    let ann = Person::join(&server, "flap").await;
    server.kill();
    server.restart_with(settings).await;
    let mut sight = Sight::default();
    for round in 1..=4 {
        let body = nonce();
        let accepted = ann.write_post(&body).send().await.expect(202);
        let post = accepted.text_at("/post/id");
        let comment = ann.write_comment(&post, &nonce()).send().await;
        sight.note_accepted(&comment);
        if comment.status != 202 {
            continue;
        }
        let started = Instant::now();
        let mut state = String::new();
        let mut looks_after = 0;
        while looks_after < LOOKS_AFTER && started.elapsed() < HANDED_OVER_WITHIN {
            sight.look_at_post(&ann, &post, &body, round).await;
            sight.look_at_thread(&ann, &post, 1, false).await;
            // What is laid over is gone from the moment on at which the write is visible.
            looks_after += usize::from(state == "visible");
            state = ann.write_state(&comment.write_id()).await;
        }
        sight.note(looks_after == LOOKS_AFTER, || format!("the comment is {state} after {:?}", started.elapsed()));
    }
    sight
}

#[tokio::test]
async fn a_post_never_flaps_between_pending_and_committed() {
    for slow in [faults::BEFORE_BATCH, faults::BEFORE_COMMIT, faults::AFTER_COMMIT] {
        let sight = watch_the_hand_over(Settings::default().fault((slow, "sleep(100)"))).await;
        assert!(sight.wrong.is_empty(), "{slow}: {sight:?}");
    }
}

#[tokio::test]
async fn control_an_overlay_dropped_before_the_commit_is_caught() {
    let hasty = Settings::default().fault((faults::DROP_EARLY, "return")).fault((faults::BEFORE_COMMIT, "sleep(60000)"));
    let mut server = Server::start().await;
    let ann = Person::join(&server, "flap").await;
    server.kill();
    server.restart_with(hasty).await;
    let body = nonce();
    let post = ann.write_post(&body).send().await.expect(202).text_at("/post/id");
    server.stands_still().await;

    let mut sight = Sight::default();
    sight.look_at_post(&ann, &post, &body, 1).await;

    assert!(!sight.wrong.is_empty(), "the fault had no effect in {} looks", sight.looks);
}

/// A reader loads the author's card into a cache that is empty, and puts it there only after her name was changed and her post deleted; how
/// often the old comes back afterwards.
async fn race_the_loader(settings: Settings) -> usize {
    let gate = Gate::closed();
    let mut server = Server::start().await;
    let (ann, ben) = (Person::join(&server, "ann").await, Person::join(&server, "ben").await);
    let (kept, post) = (ann.publish(&nonce()).await, ann.publish(&nonce()).await);
    server.kill();
    server.restart_with(settings.fault((faults::BETWEEN_LOAD_AND_INSERT, &gate.action()))).await;

    let reading = tokio::task::JoinSet::from_iter([ben.get(&format!("/v1/posts/{post}")).send()]);
    gate.is_reached().await;
    ann.patch("/v1/users/me").json(&json!({"display_name": "Ann the second"})).send().await.expect(200);
    ann.delete(&format!("/v1/posts/{post}")).wait(30).send().await.expect(200);
    gate.let_through();
    reading.join_all().await;

    let mut back = 0;
    for _ in 0..3 {
        let told = ben.read_user(&ann.id).await.json["display_name"].clone();
        let signed = ben.read_post(&kept).await.json["author"]["display_name"].clone();
        back += [told, signed].into_iter().filter(|told| *told != json!("Ann the second")).count();
        back += usize::from(ben.read_post(&post).await.status != 410);
    }
    back
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_load_never_brings_back_what_changed_meanwhile() {
    assert_eq!(race_the_loader(Settings::default()).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_a_cache_that_goes_back_is_caught() {
    assert!(race_the_loader(Settings::default().fault((faults::CACHE_GOES_BACK, "return"))).await > 0, "the fault had no effect");
}

/// What is answered to the like of a post whose new text has been read, and to the like of one that was found deleted, while the server has not
/// heard yet that either is committed.
async fn like_what_was_changed(settings: Settings) -> (String, u16) {
    let mut server = Server::start().await;
    let (ann, ben) = (Person::join(&server, "ann").await, Person::join(&server, "ben").await);
    let post = ann.publish("the old text").await;
    server.kill();
    server.restart_with(settings.fault((faults::AFTER_COMMIT, "sleep(3000)"))).await;
    let kept = async || {
        ben.read_post(&post).await.expect(200);
        (ben.metric(r#"sosik_hot_posts_total{outcome="hit"}"#).await > 0.0).then_some(())
    };
    within(Duration::from_secs(60), "the post to be kept in memory", kept).await;

    let edited = ann.edit_post(&post, "the new text").send().await.expect(202).write_id();
    let read = async || (ben.read_post(&post).await.json["body"] == "the new text").then_some(());
    within(Duration::from_secs(60), "the new text", read).await;
    let liked = ben.like(&post).send().await.expect(202);
    assert_eq!(
        (ann.write_settled(&edited).await, ben.write_settled(&liked.write_id()).await),
        ("visible".to_owned(), "visible".to_owned())
    );

    ann.delete(&format!("/v1/posts/{post}")).send().await.expect(202);
    within(Duration::from_secs(60), "the end of the post", async || (ben.read_post(&post).await.status == 410).then_some(())).await;
    (liked.text_at("/post/body"), ben.unlike(&post).send().await.status)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_answered_to_a_write_is_no_older_than_what_was_read_before() {
    assert_eq!(like_what_was_changed(Settings::default()).await, ("the new text".to_owned(), 410));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_an_answer_that_rests_on_an_old_text_is_caught() {
    let told = like_what_was_changed(Settings::default().fault((faults::PREVIEW_OLD_TEXT, "return"))).await;

    assert_eq!(told, ("the old text".to_owned(), 202), "the fault had no effect");
}

#[tokio::test]
async fn a_write_that_is_committed_and_not_everywhere_can_be_asked_for_right_after_a_restart() {
    let stalled = Settings::default().fault((faults::RELAY_STALLED, "return"));
    let mut server = Server::start().await;
    let ann = Person::join(&server, "ann").await;
    server.terminate().await;
    server.restart_with(stalled).await;
    let write = ann.write_post(&nonce()).send().await.expect(202).write_id();
    within(Duration::from_secs(60), "the commit", async || (ann.write_state(&write).await == "committed").then_some(())).await;

    server.kill();
    server.restart().await;

    assert!(["accepted", "committed"].contains(&ann.write_state(&write).await.as_str()));
    server.kill();
    server.restart_with(Settings::default()).await;
    assert_eq!(ann.write_settled(&write).await, "visible");
}
