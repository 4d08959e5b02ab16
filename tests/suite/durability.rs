//! G1: what was answered 202 survives. The process is killed at random moments and at chosen ones, and its disk refuses a sync.
//!
//! Controls: a journal that answers before it has written, and one that tries a failed sync again, must be caught.

use std::time::{Duration, Instant};

use crate::support::client::{Person, nonce};
use crate::support::history::{Action, History, Outcome};
use crate::support::load::{Load, Mix};
use crate::support::server::{STOP_TIMEOUT, Server, Settings};
use crate::support::verdict::{verdict, verdict_at_once};
use crate::support::{Seeded, faults, number_from_environment, seed};

const CLIENTS: usize = 16;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_accepted_write_is_lost_or_doubled_by_kills_at_random_moments() {
    let cycles = number_from_environment("SOSIK_KILL_CYCLES", 12);
    let seed = seed("kills");
    let mut random = Seeded::new(seed);
    let mut server = Server::start().await;
    let people = Person::join_many(&server, "kill", CLIENTS).await;
    let load = Load::start(people, Mix::default(), 2, seed).await;

    let mut recoveries = Vec::new();
    for _ in 0..cycles {
        load.goes_on_for(11).await;
        // A moment at random.
        tokio::time::sleep(Duration::from_millis(20 + random.below(780))).await;
        server.kill();
        load.history.process_ended();
        let began = Instant::now();
        server.restart().await;
        recoveries.push(began.elapsed());
    }
    load.goes_on_for(50).await;
    let (history, people) = load.finish().await;

    let report = verdict(&server, &history, &people).await;
    recoveries.sort();
    println!("{cycles} kills, restart p50 {:?}, longest {:?}", recoveries[recoveries.len() / 2], recoveries.last());
    assert!(report.accepted() > 10 * cycles as usize, "too little happened to prove anything: {report}");
    report.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_a_journal_that_answers_before_it_writes_is_caught() {
    let mut server = Server::start().await;
    let ann = Person::join(&server, "early").await;
    server.kill();
    server.restart_with(Settings::default().fault((faults::ACK_EARLY, "return")).fault((faults::BEFORE_WRITE, "sleep(60000)"))).await;
    let history = History::new();
    let body = nonce();

    // Its group stands before its write until the kill.
    let posted = history.recorded(&ann, Action::CreatePost { nonce: body.clone() }, ann.write_post(&body)).await;
    assert!(matches!(posted, Outcome::Ok { .. }), "the fault had no effect: {posted:?}");
    server.kill();
    history.process_ended();
    server.restart_with(Settings::default()).await;

    verdict_at_once(&server, &history, &[ann]).await.assert_caught(&["C1"]);
}

/// Places at which the process stands still until it is killed.
const PLACES_TO_DIE: [&str; 6] = [
    faults::BEFORE_SYNC,
    faults::AFTER_SYNC,
    faults::BEFORE_COMMIT,
    faults::AFTER_COMMIT,
    faults::BETWEEN_ROWS_AND_COUNTERS,
    faults::BETWEEN_ROWS_AND_EVENTS,
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_accepted_write_is_lost_or_doubled_by_a_death_at_any_named_place() {
    let rounds = number_from_environment("SOSIK_DEATHS_PER_PLACE", 1);
    let seed = seed("deaths");
    let mut random = Seeded::new(seed);
    let mut server = Server::start().await;
    let people = Person::join_many(&server, "place", 8).await;
    let load = Load::start(people, Mix::default(), 2, seed).await;

    for place in PLACES_TO_DIE.into_iter().cycle().take(PLACES_TO_DIE.len() * rounds as usize) {
        server.kill();
        load.history.process_ended();
        let passes = 3 + random.below(40);
        server.restart_with(Settings::default().fault((place, &format!("{passes}*off->sleep(60000)")))).await;
        server.stands_still().await;
    }
    server.kill();
    load.history.process_ended();
    server.restart_with(Settings::default()).await;
    load.goes_on_for(50).await;
    let (history, people) = load.finish().await;

    verdict(&server, &history, &people).await.assert_clean();
}

/// Syncs that succeed before one fails: the start's own, and those of some groups.
const SYNCS_BEFORE: usize = 20;
/// Rounds of posts, of which each needs a sync at least.
const ROUNDS_MAX: usize = 4 * SYNCS_BEFORE;
const POSTS_AT_ONCE: usize = 4;

/// Posts until a round has no acceptance, while one sync fails on the way; what is wrong with the end of the process, and the record.
async fn post_over_a_failed_sync(server: &mut Server, ann: &Person) -> (Vec<&'static str>, History) {
    let history = History::new();
    for round in 0..ROUNDS_MAX {
        let posts = (0..POSTS_AT_ONCE).map(|_| async {
            let body = nonce();
            history.recorded(ann, Action::CreatePost { nonce: body.clone() }, ann.write_post(&body)).await
        });
        let outcomes = futures_util::future::join_all(posts).await;
        if outcomes.iter().all(|outcome| !matches!(outcome, Outcome::Ok { .. })) {
            assert!(round > 0, "nothing was accepted before: {outcomes:?}");
            break;
        }
    }
    let mut wrong = Vec::new();
    if ann.get("/readyz").attempt().await.is_ok_and(|answer| answer.status == 200) {
        wrong.push("it says that it is ready");
    }
    match server.ended_within(STOP_TIMEOUT).await {
        None => wrong.push("it goes on"),
        Some(status) if status.success() => wrong.push("it ends as if all were well"),
        Some(_) => {}
    }
    history.process_ended();
    (wrong, history)
}

fn one_sync_fails() -> Settings {
    Settings::default().fault((faults::SYNC_FAILS, &format!("{SYNCS_BEFORE}*off->1*return->off"))).panics_expected()
}

#[tokio::test]
async fn a_failed_sync_ends_the_process_and_what_it_accepted_before_is_there_once() {
    let mut server = Server::start().await;
    let ann = Person::join(&server, "sync").await;
    server.kill();
    server.restart_with(one_sync_fails()).await;

    let (wrong, history) = post_over_a_failed_sync(&mut server, &ann).await;

    assert_eq!(wrong, Vec::<&str>::new());
    server.restart_with(Settings::default().panics_expected()).await;
    verdict(&server, &history, std::slice::from_ref(&ann)).await.assert_clean();
    ann.publish("The disk is well again").await;
}

#[tokio::test]
async fn control_a_failed_sync_that_is_tried_again_is_caught() {
    let mut server = Server::start().await;
    let ann = Person::join(&server, "again").await;
    server.kill();
    server.restart_with(one_sync_fails().fault((faults::RETRY_SYNC, "return"))).await;

    let (wrong, _) = post_over_a_failed_sync(&mut server, &ann).await;

    assert!(wrong.contains(&"it goes on"), "the fault had no effect: {wrong:?}");
}

#[tokio::test]
async fn a_start_that_cannot_sync_is_refused() {
    let mut server = Server::start().await;
    server.kill();
    server.settings = Settings::default().fault((faults::SYNC_FAILS, "return")).panics_expected();

    let refused = server.try_restart().await.expect_err("it has to sync before it listens");

    assert!(refused.status.is_some_and(|status| !status.success()), "{refused:?}");
}

#[tokio::test]
async fn a_full_disk_refuses_writes_and_serves_reads() {
    let mut server = Server::start().await;
    let ann = Person::join(&server, "full").await;
    let post = ann.publish("Written while there was room").await;
    server.kill();
    server.restart_with(Settings::default().fault((faults::DISK_FULL, "return"))).await;

    let refused = ann.write_post("No room").send().await.expect_problem(503, "overloaded");
    assert_eq!(refused.json["accepted"], false);
    assert!(!refused.header("retry-after").is_empty());
    ann.read_post(&post).await.expect(200);

    server.kill();
    server.restart_with(Settings::default()).await;
    ann.publish("Room again").await;
    assert_eq!(ann.all_items(&format!("/v1/users/{}/posts", ann.id)).await.len(), 2);
}
