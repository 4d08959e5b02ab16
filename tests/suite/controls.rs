//! Controls for checks of a record that no other test breaks in the server: each fault is planted in a real run, and the check of the whole
//! run must name the promise that it breaks.

use crate::support::client::{Person, nonce};
use crate::support::history::{Action, History, Outcome, Report};
use crate::support::load::{Load, Mix};
use crate::support::server::{Server, Settings};
use crate::support::verdict::verdict_at_once;
use crate::support::{faults, seed};

/// What is enough for a fault that strikes one call in fifty.
const ACCEPTED: usize = 600;

/// A load under these settings, and what the checks say of it.
async fn run(name: &str, settings: Settings) -> Report {
    let mut server = Server::start().await;
    let people = Person::join_many(&server, "planted", 8).await;
    server.kill();
    server.restart_with(settings.panics_expected()).await;
    let load = Load::start(people, Mix::default(), 1, seed(name)).await;
    load.goes_on_for(ACCEPTED).await;
    let (history, people) = load.finish().await;
    verdict_at_once(&server, &history, &people).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_a_write_that_was_refused_and_happens_is_caught() {
    run("refused", Settings::default().fault((faults::REFUSE_ACCEPTED, "20%return"))).await.assert_caught(&["C2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_an_id_that_is_given_twice_is_caught() {
    run("repeated", Settings::default().fault((faults::REPEAT_ID, "2%return"))).await.assert_caught(&["C9"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_a_post_on_two_shards_is_caught() {
    run("elsewhere", Settings::default().fault((faults::WRITE_ELSEWHERE, "return"))).await.assert_caught(&["C10"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_a_like_that_nobody_asked_for_is_caught() {
    run("another's like", Settings::default().fault((faults::LIKE_OF_ANOTHER, "return"))).await.assert_caught(&["C11"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_a_session_that_reads_older_than_its_own_writes_is_caught() {
    // The apply is so slow that what is not laid over is missed.
    let settings = Settings::default().fault((faults::SKIP_OVERLAY, "return")).fault((faults::BEFORE_BATCH, "sleep(150)"));

    run("no overlay", settings).await.assert_caught(&["C5"]);
}

/// Edits, likes and unlikes gather in the journal, and are applied a whole batch backwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_writes_that_are_applied_backwards_are_caught() {
    let mix = Mix { like: 30, unlike: 30, edit: 30, ..Mix::nothing() };
    let mut server = Server::start().await;
    let people = Person::join_many(&server, "backwards", 8).await;
    let load = Load::start(people, mix, 1, seed("backwards")).await;
    server.kill();
    load.history.process_ended();
    server.restart_with(Settings::default().without_workers()).await;
    load.goes_on_for(ACCEPTED).await;
    let (history, people) = load.finish().await;

    server.kill();
    history.process_ended();
    server.restart_with(Settings::default().fault((faults::REVERSE_ORDER, "return")).panics_expected()).await;

    verdict_at_once(&server, &history, &people).await.assert_caught(&["C4"]);
}

/// C3 looks only at what has no answer: both copies are on the disk, and the process dies before it can say so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_a_write_without_an_answer_that_happens_twice_is_caught() {
    let twice = Settings::default().fault((faults::APPEND_TWICE, "return")).fault((faults::REFUSE_ACCEPTED, "sleep(60000)"));
    let mut server = Server::start().await;
    let ann = Person::join(&server, "twice").await;
    server.kill();
    server.restart_with(twice).await;
    let history = History::new();
    let body = nonce();

    let posting = history.recorded(&ann, Action::CreatePost { nonce: body.clone() }, ann.write_post(&body));
    let dying = async {
        server.stands_still().await;
        server.kill();
        history.process_ended();
    };
    let (posted, ()) = tokio::join!(posting, dying);
    assert!(matches!(posted, Outcome::Info { .. }), "the process did not die before it answered: {posted:?}");
    server.restart_with(Settings::default()).await;

    verdict_at_once(&server, &history, &[ann]).await.assert_caught(&["C3"]);
}
