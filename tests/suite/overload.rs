//! G9: nothing is accepted that cannot be kept; a full server says so at once, and goes on reading.
//!
//! Control: an admission without a bound must be caught.

use std::time::{Duration, Instant};

use crate::support::client::{Person, nonce, within};
use crate::support::faults;
use crate::support::server::{Server, Settings};

/// Filling stops here if nothing else stops it: three times the bound of the journal.
const FILL_BYTES_MAX: usize = 3 * 1024 * 1024;
const BODY_BYTES: usize = 4 * 1024;

fn small_journal() -> Settings {
    Settings::default().with("journal.max_bytes", "1MiB")
}

/// Writes posts until one is refused: how many were accepted, and the refusal.
async fn fill(ann: &Person) -> (usize, Option<crate::support::client::Answer>) {
    let filler = "x".repeat(BODY_BYTES);
    for accepted in 0..FILL_BYTES_MAX / BODY_BYTES {
        let answer = ann.write_post(&format!("{} {filler}", nonce())).send().await;
        if answer.status != 202 {
            return (accepted, Some(answer));
        }
    }
    (FILL_BYTES_MAX / BODY_BYTES, None)
}

async fn filled(settings: Settings) -> (Server, Person, String, usize, Option<crate::support::client::Answer>) {
    let mut server = Server::start_with(small_journal()).await;
    let ann = Person::join(&server, "full").await;
    let post = ann.publish("Before the flood").await;
    server.kill();
    server.restart_with(settings).await;
    let (accepted, refusal) = fill(&ann).await;
    (server, ann, post, accepted, refusal)
}

#[tokio::test]
async fn a_full_journal_refuses_keeps_reading_and_applies_all_it_accepted() {
    let (mut server, ann, post, accepted, refusal) = filled(small_journal().without_workers()).await;

    let refusal = refusal.expect("the bound holds").expect_problem(503, "overloaded");
    assert_eq!(refusal.json["accepted"], false);
    assert!(refusal.header("retry-after").parse::<u64>().expect("seconds") >= 1);
    assert!(accepted * BODY_BYTES <= 1024 * 1024, "{accepted} posts are more than the bound");
    assert!(accepted * BODY_BYTES >= 512 * 1024, "{accepted} posts are less than the half that belongs to content");
    ann.read_post(&post).await.expect(200);
    let mut slowest = Duration::ZERO;
    for _ in 0..50 {
        let began = Instant::now();
        ann.write_post(&"y".repeat(BODY_BYTES)).send().await.expect_problem(503, "overloaded");
        slowest = slowest.max(began.elapsed());
    }
    assert!(slowest < Duration::from_millis(500), "a refusal took {slowest:?}");

    server.kill();
    server.restart_with(small_journal()).await;
    let all = accepted + 1;
    within(Duration::from_secs(30), "all accepted posts", async || {
        let posts = Person::stranger(&server).read_user(&ann.id).await.number_at("/posts");
        (posts == all as i64).then_some(())
    })
    .await;
    assert_eq!(ann.all_items(&format!("/v1/users/{}/posts", ann.id)).await.len(), all);
    ann.publish("There is room again").await;
}

#[tokio::test]
async fn control_an_admission_without_a_bound_is_caught() {
    let (_server, _, _, accepted, refusal) = filled(small_journal().without_workers().fault((faults::ADMISSION_UNBOUNDED, "return"))).await;

    assert!(
        refusal.is_none_or(|answer| answer.problem() != "overloaded") || accepted * BODY_BYTES > 1024 * 1024,
        "the fault had no effect"
    );
}

#[tokio::test]
async fn signing_in_has_a_reserve_when_content_is_refused() {
    let (server, ann, _, _, refusal) = filled(small_journal().fault((faults::BEFORE_BATCH, "sleep(400)"))).await;

    if refusal.is_some() {
        ann.signed_out().login(&ann.name, crate::support::client::PASSWORD).await.expect(200);
        ann.refresh(&ann.refresh_token).await.expect(200);
        Person::join(&server, "late").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_beyond_capacity_is_refused_cleanly_and_leaves_no_trace() {
    // Each batch takes a while, so that a few clients are many times too fast.
    let settings = small_journal().fault((faults::SLOW_COMMIT, "return(60)"));
    let server = Server::start_with(settings).await;
    let people = Person::join_many(&server, "burst", 6).await;
    let calm = Instant::now();
    people[0].write_post("calm").send().await.expect(202);
    let calm = calm.elapsed();
    let resident = server.resident_kib();

    let until = Instant::now() + Duration::from_secs(5);
    let clients = people.iter().flat_map(|person| (0..8).map(move |_| person)).map(|person| async move {
        let (mut accepted, mut refused, mut slowest_refusal) = (0_usize, 0_usize, Duration::ZERO);
        while Instant::now() < until {
            let began = Instant::now();
            let answer = person.write_post(&"z".repeat(2000)).send().await;
            match answer.status {
                202 => accepted += 1,
                503 => {
                    refused += 1;
                    slowest_refusal = slowest_refusal.max(began.elapsed());
                    assert_eq!(answer.json["accepted"], false);
                }
                _ => panic!("{} {}", answer.status, answer.text),
            }
        }
        (accepted, refused, slowest_refusal)
    });
    let totals = futures_util::future::join_all(clients).await;
    let accepted: usize = totals.iter().map(|total| total.0).sum();
    let refused: usize = totals.iter().map(|total| total.1).sum();
    println!("accepted {accepted}, refused {refused}, memory {resident} -> {} KiB", server.resident_kib());

    assert!(server.resident_kib() < resident + 200 * 1024, "memory grew without a bound");
    within(Duration::from_secs(60), "the backlog to drain", async || {
        let mut posts = 0;
        for person in &people {
            posts += Person::stranger(&server).read_user(&person.id).await.number_at("/posts");
        }
        (posts == accepted as i64 + 1).then_some(())
    })
    .await;
    let after = Instant::now();
    people[0].write_post("calm again").send().await.expect(202);
    assert!(after.elapsed() < calm * 10 + Duration::from_millis(200), "{:?} after the burst, {calm:?} before", after.elapsed());
}
