//! G5: writes of one session on one object are applied in their order, and the last one stands.
//!
//! Control: a batch that is applied backwards must be caught.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::client::{Person, within};
use crate::support::faults;
use crate::support::number_from_environment;
use crate::support::server::{Server, Settings};

/// What a stranger saw of a post that is edited again and again.
#[derive(Debug, Default)]
struct Watched {
    /// How many different texts.
    seen: u64,
    /// Each newer one, with the older one that was seen after it.
    backwards: Vec<(u64, u64)>,
}

/// Edits a post many times, with kills between; what a stranger saw, and what stands at the end.
async fn edit_again_and_again(settings: Settings, edits: u64, kills: u64) -> (Watched, u64) {
    let mut server = Server::start_with(settings).await;
    let ann = Person::join(&server, "editor").await;
    let post = ann.publish("0").await;
    let stop = Arc::new(AtomicBool::new(false));
    let watcher = tokio::task::JoinSet::from_iter([watch(Person::stranger(&server), post.clone(), Arc::clone(&stop))]);

    let mut last = 0;
    for edit in 1..=edits {
        if edit % (edits / (kills + 1)).max(1) == 0 {
            server.kill();
            server.restart().await;
        }
        ann.edit_post(&post, &edit.to_string()).send().await.expect(202);
        last = edit;
    }
    let stranger = Person::stranger(&server);
    let number = async || stranger.read_post(&post).await.text_at("/body").parse::<u64>().expect("a number");
    ann.write_comment(&post, "the end").wait(30).send().await.expect(201);
    stop.store(true, Ordering::Relaxed);
    let watched = watcher.join_all().await.pop().expect("a watcher");
    let stands = number().await;
    println!("{edits} edits, {kills} kills, last {last}, stands {stands}, {} seen", watched.seen);
    (watched, stands)
}

async fn watch(stranger: Person, post: String, stop: Arc<AtomicBool>) -> Watched {
    let (mut newest, mut watched) = (0, Watched::default());
    while !stop.load(Ordering::Relaxed) {
        if let Ok(answer) = stranger.get(&format!("/v1/posts/{post}")).attempt().await
            && let Some(seen) = answer.json["body"].as_str().and_then(|body| body.parse().ok())
        {
            if seen < newest {
                watched.backwards.push((newest, seen));
            }
            watched.seen += u64::from(seen > newest);
            newest = newest.max(seen);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    watched
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn edits_of_one_session_are_seen_in_their_order_and_the_last_one_stands() {
    let edits = number_from_environment("SOSIK_EDITS", 1000);

    let (watched, stands) = edit_again_and_again(Settings::default(), edits, 3).await;

    assert_eq!(watched.backwards, []);
    // One in twenty at least: several edits are applied together.
    assert!(watched.seen >= edits / 20, "only {} of {edits} edits were seen", watched.seen);
    assert_eq!(stands, edits);
}

/// Has edits wait in the journal of a server that applies nothing, and starts it again with `settings`, which applies them in one batch,
/// since it reads so few at once; what stands then.
async fn edit_and_apply_together(settings: Settings, edits: u64) -> u64 {
    let mut server = Server::start().await;
    let ann = Person::join(&server, "together").await;
    let post = ann.publish("0").await;
    server.kill();
    server.restart_with(Settings::default().without_workers()).await;
    let mut last = String::new();
    for edit in 1..=edits {
        last = ann.edit_post(&post, &edit.to_string()).send().await.expect(202).write_id();
    }

    server.kill();
    server.restart_with(settings).await;

    ann.write_settled(&last).await;
    Person::stranger(&server).read_post(&post).await.text_at("/body").parse().expect("a number")
}

#[tokio::test]
async fn of_edits_that_are_applied_together_the_last_one_stands() {
    assert_eq!(edit_and_apply_together(Settings::default(), 20).await, 20);
}

#[tokio::test]
async fn control_edits_applied_backwards_are_caught() {
    let backwards = Settings::default().fault((faults::REVERSE_ORDER, "return"));

    assert_ne!(edit_and_apply_together(backwards, 20).await, 20, "the fault had no effect");
}

#[tokio::test]
async fn a_like_taken_back_at_once_stays_taken_back() {
    let server = Server::start().await;
    let (ann, ben) = (Person::join(&server, "ann").await, Person::join(&server, "ben").await);
    let post = ann.publish("Hesitate").await;

    for _ in 0..20 {
        ben.like(&post).send().await.expect(202);
        ben.unlike(&post).send().await.expect(202);
    }

    let settled = ben.unlike(&post).send().await.expect(202).write_id();
    ben.write_settled(&settled).await;
    within(Duration::from_secs(60), "no like", async || (ann.read_post(&post).await.number_at("/likes") == 0).then_some(())).await;
}
