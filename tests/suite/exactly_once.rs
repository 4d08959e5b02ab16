//! G2: each accepted write takes effect once, however often it is sent.
//!
//! Controls: keys that are not looked up, or not read back at the start, must be caught.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::json;

use crate::support::client::{Answer, Person, nonce, within};
use crate::support::server::{Server, Settings};
use crate::support::{Seeded, faults, number_from_environment, seed};

/// What came of sending each request several times at once: the answers' ids per request, and the rows at the end.
struct Copies {
    requests: usize,
    ids: usize,
    rows: usize,
}

/// Clients that send at once, each one request after the other.
const SENDERS: usize = 4;

async fn send_copies(server: &Server, ann: &Person, requests: usize) -> Copies {
    let seed = seed("copies");
    let post = ann.publish("Below this").await;
    let senders = (0..SENDERS).map(|sender| {
        let requests = (requests + sender) / SENDERS;
        send_in_turn(ann, &post, requests, Seeded::new(seed.wrapping_add(sender as u64)))
    });
    let (mut sent, mut ids) = (0, HashSet::new());
    for (by_sender, answered) in futures_util::future::join_all(senders).await {
        sent += by_sender;
        ids.extend(answered);
    }
    let marker = ann.write_comment(&post, "the end").wait(30).send().await.expect(201).text_at("/comment/id");
    let rows = Person::stranger(server).all_items(&format!("/v1/posts/{post}/comments")).await;
    println!("{requests} requests, {sent} copies, {} answers with ids, {} rows", ids.len(), rows.len() - 1);
    Copies { requests, ids: ids.len(), rows: rows.iter().filter(|row| row["id"] != json!(marker)).count() }
}

/// Sends copies of each request at once: how many, and what they were answered with: key, comment, write.
async fn send_in_turn(ann: &Person, post: &str, requests: usize, mut random: Seeded) -> (u64, HashSet<(String, String, String)>) {
    let mut ids = HashSet::new();
    let mut sent = 0;
    for _ in 0..requests {
        let (key, body) = (nonce(), nonce());
        let copies = 1 + random.below(5);
        // One more, whose connection is cut at some moment on its way.
        sent += copies + 1;
        let cut = Duration::from_micros(random.below(4_000));
        drop(tokio::time::timeout(cut, ann.write_comment(post, &body).key(&key).attempt()).await);
        let answers = futures_util::future::join_all((0..copies).map(|_| ann.write_comment(post, &body).key(&key).attempt())).await;
        let answers: Vec<Answer> = answers.into_iter().map(|answer| answer.expect("an answer")).collect();
        for answer in &answers {
            match answer.status {
                202 => drop(ids.insert((key.clone(), answer.text_at("/comment/id"), answer.write_id()))),
                _ => assert_eq!(answer.problem(), "idempotency-key-in-use", "{}", answer.text),
            }
        }
        if answers.iter().all(|answer| answer.status != 202) {
            // The one that was cut off is still in flight: it is asked for until it is known.
            let known = async || {
                let answer = ann.write_comment(post, &body).key(&key).send().await;
                (answer.status == 202).then_some(answer)
            };
            let answer = within(Duration::from_secs(60), "an acceptance", known).await;
            ids.insert((key.clone(), answer.text_at("/comment/id"), answer.write_id()));
        }
        if random.below(10) == 0 {
            // Accepted, it would be one row too many.
            let other = ann.write_comment(post, "another body").key(&key).send().await;
            assert!(other.status == 202 || other.problem() == "idempotency-key-reused", "{}", other.text);
        }
    }
    (sent, ids)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_sent_at_once_make_one_row_and_one_answer() {
    let server = Server::start().await;
    let ann = Person::join(&server, "ann").await;

    let copies = send_copies(&server, &ann, number_from_environment("SOSIK_KEYED_REQUESTS", 150) as usize).await;

    assert_eq!((copies.ids, copies.rows), (copies.requests, copies.requests));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_forgotten_keys_are_caught() {
    let server = Server::start_with(Settings::default().fault((faults::FORGET_KEYS, "return"))).await;
    let ann = Person::join(&server, "ann").await;

    let copies = send_copies(&server, &ann, 20).await;

    assert!(copies.ids > copies.requests && copies.rows > copies.requests, "the fault had no effect");
}

#[tokio::test]
async fn a_copy_of_a_request_in_flight_gets_the_same_answer_or_is_told_to_wait() {
    let server = Server::start_with(Settings::default().fault((faults::BEFORE_APPEND, "sleep(300)"))).await;
    let ann = Person::join(&server, "ann").await;
    let (key, body) = (nonce(), nonce());

    let (first, second) = tokio::join!(ann.write_post(&body).key(&key).send(), ann.write_post(&body).key(&key).send());

    let accepted: HashSet<String> =
        [&first, &second].into_iter().filter(|answer| answer.status == 202).map(|answer| answer.text_at("/post/id")).collect();
    assert_eq!(accepted.len(), 1, "{} {}", first.text, second.text);
    for answer in [first, second].into_iter().filter(|answer| answer.status != 202) {
        let refused = answer.expect_problem(409, "idempotency-key-in-use");
        assert_eq!(refused.json["accepted"], false);
    }
}

/// Whether a key that was used before a kill still gives the same post after it.
async fn key_survives_a_kill(settings: Settings, applied: bool) -> bool {
    let mut server = Server::start().await;
    let ann = Person::join(&server, "ann").await;
    let (key, body) = (nonce(), nonce());
    if !applied {
        server.kill();
        server.restart_with(Settings::default().without_workers()).await;
    }
    let first = ann.write_post(&body).key(&key).send().await.expect(202);
    if applied {
        ann.write_settled(&first.write_id()).await;
    }
    server.kill();
    server.restart_with(settings).await;
    let again = ann.write_post(&body).key(&key).send().await.expect(202);
    again.text_at("/post/id") == first.text_at("/post/id")
}

#[tokio::test]
async fn a_key_is_remembered_over_a_kill_before_and_after_the_apply() {
    for applied in [false, true] {
        assert!(key_survives_a_kill(Settings::default(), applied).await, "applied: {applied}");
    }
}

#[tokio::test]
async fn control_keys_that_are_not_read_back_are_caught() {
    // Nothing is applied meanwhile: a key that reaches its author's shard needs no reading back.
    let forgetful = Settings::default().fault((faults::FORGET_KEYS_AT_START, "return")).without_workers();

    assert!(!key_survives_a_kill(forgetful, false).await, "the fault had no effect");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_likes_of_one_reader_counts_as_one_or_none() {
    let server = Server::start().await;
    let (ann, ben) = (Person::join(&server, "ann").await, Person::join(&server, "ben").await);
    let post = ann.publish("Like and unlike").await;

    let storms = (0..8).map(|number| {
        let (ben, post) = (ben.clone(), post.clone());
        async move {
            for round in 0..25 {
                let call = if (round + number) % 2 == 0 { ben.like(&post) } else { ben.unlike(&post) };
                call.send().await.expect(202);
            }
        }
    });
    futures_util::future::join_all(storms).await;
    let last = ben.like(&post).wait(30).send().await.expect(200);

    assert_eq!(last.number_at("/post/likes"), 1);
    assert_eq!(Person::stranger(&server).read_post(&post).await.number_at("/likes"), 1);
    assert_eq!(ann.all_items(&format!("/v1/posts/{post}/likes")).await.len(), 1);
}
