//! G10, T10.1: an actor that panics is replaced, or takes the process with it; a socket that loses its actor is closed. Nothing stays that
//! accepts and does nothing.
//!
//! Controls: a process that goes on without one of its actors, and a socket whose end nobody hears of, must be caught.

use std::process::ExitStatus;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::client::{Person, nonce, within};
use crate::support::faults;
use crate::support::server::{Server, Settings};
use crate::support::socket::{EVENT_TIMEOUT, Socket};

/// How long a process may go on without one of its actors: it looks four times a second, beside other tests.
const ENDS_WITHIN: Duration = Duration::from_secs(12);
/// How long it may take until the actor comes to the place at which it panics.
const PANICS_WITHIN: Duration = Duration::from_secs(120);
/// How long what was accepted may take where nothing holds it up.
const SETTLES_WITHIN: Duration = Duration::from_secs(25);

/// Does something again and again until the process has ended, or goes on for [`ENDS_WITHIN`] after the panic; its status, if it has ended.
async fn ends_after_its_panic(server: &mut Server, mut work: impl AsyncFnMut()) -> Option<ExitStatus> {
    let (began, mut panicked) = (Instant::now(), None);
    loop {
        work().await;
        if let Some(status) = server.ended_within(Duration::from_millis(20)).await {
            return Some(status);
        }
        if panicked.is_none() && server.log().contains("planted") {
            panicked = Some(Instant::now());
        }
        match panicked {
            Some(then) if then.elapsed() > ENDS_WITHIN => return None,
            Some(_) => {}
            None => assert!(began.elapsed() < PANICS_WITHIN, "the fault had no effect"),
        }
    }
}

/// The actor at this place panics when it comes there for the next time after so many.
fn taken_down(place: &str, passes: usize, watched: bool) -> Settings {
    let settings = Settings::default().fault((place, &format!("{passes}*off->1*panic(planted)->off"))).panics_expected();
    if watched { settings } else { settings.fault((faults::SKIP_WATCH, "return")) }
}

/// Whether a process whose actor was taken down is no zombie: it ends by itself and says so by its status, or all goes on.
async fn is_no_zombie(place: &str, watched: bool) -> bool {
    let mut server = Server::start().await;
    let ann = Person::join(&server, "ann").await;
    server.kill();
    server.restart_with(taken_down(place, 60, watched)).await;
    let mut accepted = Vec::new();
    let ended = ends_after_its_panic(&mut server, async || {
        if let Ok(answer) = ann.write_post(&nonce()).attempt().await
            && answer.status == 202
        {
            accepted.push((answer.text_at("/post/id"), answer.write_id()));
        }
    })
    .await;
    let goes_on = match ended {
        Some(status) => !status.success(),
        None => {
            let settled = async {
                for (_, write) in &accepted {
                    ann.write_settled(write).await;
                }
            };
            tokio::time::timeout(SETTLES_WITHIN, settled).await.is_ok()
        }
    };
    assert!(server.log().contains("planted"), "the fault at {place} had no effect");
    server.kill();
    server.restart_with(Settings::default().panics_expected()).await;
    let stranger = Person::stranger(&server);
    for (post, _) in accepted {
        within(Duration::from_secs(60), "an accepted post", async || (stranger.read_post(&post).await.status == 200).then_some(())).await;
    }
    goes_on
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_actor_that_panics_never_leaves_a_server_that_accepts_and_does_nothing() {
    for place in [faults::SUPERVISOR_PANICS, faults::COURIER_PANICS, faults::WORKER_ACTOR_PANICS] {
        assert!(is_no_zombie(place, true).await, "{place}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_a_server_that_goes_on_without_its_supervisor_is_caught() {
    assert!(!is_no_zombie(faults::SUPERVISOR_PANICS, false).await, "the fault had no effect");
}

/// Whether a process that cannot publish its map ends, before it is ready or soon after.
async fn ends_without_its_router(watched: bool) -> bool {
    let mut server = Server::start().await;
    server.kill();
    server.settings = taken_down(faults::ROUTER_PANICS, 0, watched);
    let status = match server.start_listening().await {
        Ok(()) => server.ended_within(ENDS_WITHIN).await,
        Err(refused) => refused.status,
    };
    assert!(server.log().contains("planted"), "the fault had no effect");
    status.is_some_and(|status| !status.success())
}

#[tokio::test]
async fn a_router_that_panics_ends_the_process() {
    assert!(ends_without_its_router(true).await);
}

#[tokio::test]
async fn control_a_server_that_goes_on_without_its_router_is_caught() {
    assert!(!ends_without_its_router(false).await, "the fault had no effect");
}

/// Those without which writes go their way, and how often each comes to its place before it panics.
const NOT_MISSED_BY_WRITES: [(&str, usize); 3] = [(faults::READER_PANICS, 30), (faults::DISPATCHER_PANICS, 60), (faults::HUB_PANICS, 0)];

/// Whether a process ends that accepts, and cannot read a shard or tells people nothing any more; what it accepted is told afterwards.
async fn ends_without(place: &str, passes: usize, watched: bool) -> bool {
    let mut server = Server::start().await;
    let (ann, ben) = (Person::join(&server, "ann").await, Person::join(&server, "ben").await);
    let post = ann.publish(&nonce()).await;
    server.kill();
    server.restart_with(taken_down(place, passes, watched)).await;
    let socket = Socket::open(&ann).await;

    let mut accepted = 0;
    let status = ends_after_its_panic(&mut server, async || {
        let answer = ben.write_comment(&post, &nonce()).attempt().await;
        accepted += i64::from(answer.is_ok_and(|answer| answer.status == 202));
    })
    .await;

    assert!(server.log().contains("planted"), "the fault had no effect");
    assert!(accepted > 0);
    drop(socket);
    server.kill();
    server.restart_with(Settings::default().panics_expected()).await;
    let stands_at = async || ann.get("/v1/notifications?limit=1").send().await.expect(200).number_at("/seq");
    within(EVENT_TIMEOUT, "all that was accepted to be told", async || (stands_at().await >= accepted).then_some(())).await;
    status.is_some_and(|status| !status.success())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_a_dispatcher_or_a_hub_that_panics_ends_the_process_and_what_was_not_told_is_told_later() {
    for (place, passes) in NOT_MISSED_BY_WRITES {
        assert!(ends_without(place, passes, true).await, "{place}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_a_server_that_goes_on_without_a_reader_a_dispatcher_or_the_hub_is_caught() {
    for (place, passes) in NOT_MISSED_BY_WRITES {
        assert!(!ends_without(place, passes, false).await, "the fault at {place} had no effect");
    }
}

/// Whether a socket whose session panics is closed and gives its place back, beside one that does not notice.
async fn a_session_takes_its_socket_with_it(settings: Settings) -> bool {
    let settings = settings.with("stream.sockets_per_user", "1").fault((faults::SESSION_PANICS, "1*panic(planted)->off"));
    let server = Server::start_with(settings.panics_expected()).await;
    let (ann, ben) = (Person::join(&server, "ann").await, Person::join(&server, "ben").await);
    let (mut victim, mut bystander) = (Socket::open(&ann).await, Socket::open(&ben).await);

    victim.send(&serde_json::json!({"op": "ping"})).await;
    within(EVENT_TIMEOUT, "the panic", async || server.log().contains("planted").then_some(())).await;

    let is_closed = victim.ends_within(ENDS_WITHIN).await;
    bystander.settled().await;
    // The hub is told by a bell: a place is free a moment later.
    let mut is_free = false;
    let began = Instant::now();
    while !is_free && began.elapsed() < ENDS_WITHIN {
        is_free = Socket::unread(&ann).await.first_event().await.is_some_and(|event| event == "hello");
    }
    is_closed && is_free
}

#[tokio::test]
async fn a_session_that_panics_closes_its_socket_and_gives_its_place_back() {
    assert!(Box::pin(a_session_takes_its_socket_with_it(Settings::default())).await);
}

#[tokio::test]
async fn control_a_socket_that_outlives_its_session_is_caught() {
    let settings = Settings::default().fault((faults::SKIP_SESSION_END, "return"));

    assert!(!Box::pin(a_session_takes_its_socket_with_it(settings)).await, "the fault had no effect");
}

/// The tasks beside the actors: nobody asks them, so that nobody would miss them for a long time.
const TASKS: [&str; 2] = [faults::HOUSEKEEPING_PANICS, faults::CHORES_PANIC];

/// Whether a process ends one of whose tasks has panicked, and says why; what it accepted is there afterwards.
async fn ends_without_its_task(place: &str, watched: bool) -> bool {
    let mut server = Server::start().await;
    let ann = Person::join(&server, "ann").await;
    server.kill();
    // The journal is looked after once a second: not before there is something to lose.
    let passes = usize::from(place == faults::HOUSEKEEPING_PANICS);
    let settings = taken_down(place, passes, watched).with("limits.enabled", "true").with("limits.logins_per_minute", "1000");
    server.restart_with(settings).await;
    let post = ann.write_post(&nonce()).send().await.expect(202).text_at("/post/id");
    // Not from where she signed in: her back-off is a chore.
    let stranger = Person::stranger_at(&server, "127.0.0.2".parse().expect("an address"));

    let status = ends_after_its_panic(&mut server, async || {
        let _refused_or_cut =
            stranger.post("/v1/auth/login").json(&json!({"username": ann.name, "password": "not-hers-1"})).attempt().await;
    })
    .await;

    assert!(server.log().contains("planted"), "the fault at {place} had no effect");
    let says_why = server.log().contains("what was accepted is replayed");
    server.kill();
    server.restart_with(Settings::default().panics_expected()).await;
    ann.read_post(&post).await.expect(200);
    status.is_some_and(|status| !status.success()) && says_why
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_panics_ends_the_process_and_the_log_says_what_to_do() {
    for place in TASKS {
        assert!(ends_without_its_task(place, true).await, "{place}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_a_server_that_goes_on_without_its_tasks_is_caught() {
    for place in TASKS {
        assert!(!ends_without_its_task(place, false).await, "the fault at {place} had no effect");
    }
}
