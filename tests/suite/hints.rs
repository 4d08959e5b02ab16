//! Hints go to whoever listens, and to nobody else: the bus makes none that nobody has a socket for.
//!
//! Controls: a bus that tells nobody, and one that goes on telling of what nobody listens for any more, must be caught.

use std::time::{Duration, Instant};

use crate::support::client::{Person, within};
use crate::support::faults;
use crate::support::server::{Server, Settings};
use crate::support::socket::{EVENT_TIMEOUT, Socket};

const HINTS: &str = "sosik_bus_hints_told_total";
/// How long nothing is heard where nobody tells.
const IN_VAIN: Duration = Duration::from_secs(4);

/// Whether an open page hears of a comment within a time, and its author of her entry.
async fn is_heard(settings: Settings, within: Duration) -> bool {
    let server = Server::start_with(settings).await;
    let (ann, ben) = (Person::join(&server, "ann").await, Person::join(&server, "ben").await);
    let post = ann.publish("A page that is open").await;
    let mut socket = Socket::open(&ann).await;
    socket.watch(&post).await;

    ben.write_comment(&post, "For whoever listens").wait(30).send().await.expect(201);

    let began = Instant::now();
    let (mut comment, mut entry) = (false, false);
    while !(comment && entry) && began.elapsed() < within {
        for event in socket.events_within(Duration::from_millis(50)).await {
            comment |= event["event"] == "comment";
            entry |= event["event"] == "notification";
        }
    }
    comment && entry
}

#[tokio::test]
async fn whoever_listens_hears() {
    assert!(is_heard(Settings::default(), EVENT_TIMEOUT).await);
}

#[tokio::test]
async fn control_a_bus_that_tells_nobody_is_caught() {
    assert!(!is_heard(Settings::default().fault((faults::DEAF_BUS, "return")), IN_VAIN).await, "the fault had no effect");
}

/// Waits until the inbox has so many entries.
async fn stands_at(person: &Person, seq: i64) {
    let stands = async || (person.get("/v1/notifications?limit=1").send().await.expect(200).number_at("/seq") >= seq).then_some(());
    within(EVENT_TIMEOUT, "the entry", stands).await;
}

/// Writes about what somebody listened for who has left, with all of it told; how many hints there were before, and somebody who can ask.
async fn told_to_nobody(settings: Settings) -> (Server, Person, f64) {
    let server = Server::start_with(settings).await;
    let (ann, ben) = (Person::join(&server, "ann").await, Person::join(&server, "ben").await);
    let post = ann.publish("A page that was open").await;
    let mut socket = Socket::open(&ann).await;
    socket.watch(&post).await;
    ben.write_comment(&post, "Somebody listens").wait(30).send().await.expect(201);
    socket.event("comment").await;
    socket.event("notification").await;
    let while_open = ann.metric(HINTS).await;
    assert!(while_open > 0.0, "the metric is not there");
    socket.close().await;
    within(EVENT_TIMEOUT, "the socket to be forgotten", async || (ann.metric("sosik_stream_sockets ").await == 0.0).then_some(())).await;
    // What was on its way when it left is over with the next entry.
    ben.write_comment(&post, "Nobody listens any more").wait(30).send().await.expect(201);
    stands_at(&ann, 2).await;
    let before = ann.metric(HINTS).await;

    for seq in [3, 4] {
        ben.write_comment(&post, "Still nobody").wait(30).send().await.expect(201);
        stands_at(&ann, seq).await;
    }

    (server, ann, before)
}

#[tokio::test]
async fn what_nobody_listens_for_is_told_to_nobody() {
    let (_server, ann, before) = told_to_nobody(Settings::default()).await;

    assert_eq!(ann.metric(HINTS).await, before);
}

#[tokio::test]
async fn control_a_bus_that_never_forgets_a_listener_is_caught() {
    let settings = Settings::default().fault((faults::NEVER_FORGET_LISTENERS, "return"));

    let (_server, ann, before) = told_to_nobody(settings).await;

    within(EVENT_TIMEOUT, "a hint that nobody hears", async || (ann.metric(HINTS).await > before).then_some(())).await;
}
