//! G14: SIGTERM stops the acceptance, finishes what was read, and ends with 0 within 30 s; nothing accepted is lost.
//!
//! Control: a process that dies of the signal must be caught.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::client::{Person, within};
use crate::support::load::{Load, Mix};
use crate::support::server::{STOP_TIMEOUT, Server, Settings};
use crate::support::verdict::verdict;
use crate::support::{Seeded, faults, number_from_environment, seed};

/// The shard that hangs.
const HANGS: &str = "s2";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_beside_a_shard_that_hangs_ends_with_zero_and_loses_nothing() {
    let mut server = Server::start().await;
    let people = Person::join_many(&server, "hang", 8).await;
    let load = Load::start_beside_outages(people, Mix::default(), 1, seed("stops beside a shard that hangs")).await;
    server.kill();
    load.history.process_ended();
    server.restart_with(Settings::default().fault((faults::SHARD_HANGS, &format!("return({HANGS})")))).await;
    load.goes_on_for(100).await;
    let halves = load.history.half_answers().len();

    let status = server.terminate().await;

    load.history.process_ended();
    assert_eq!(status.code(), Some(0), "{}", server.log());
    server.restart_with(Settings::default()).await;
    load.goes_on_for(20).await;
    let (history, people) = load.finish().await;
    assert_eq!(history.half_answers().len(), halves, "{:?}", history.half_answers());
    verdict(&server, &history, &people).await.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_under_load_ends_with_zero_loses_nothing_and_cuts_no_answer() {
    let cycles = number_from_environment("SOSIK_STOP_CYCLES", 5);
    let seed = seed("stops");
    let mut random = Seeded::new(seed);
    let mut server = Server::start().await;
    let people = Person::join_many(&server, "stop", 8).await;
    let load = Load::start(people, Mix::default(), 1, seed).await;

    for cycle in 0..cycles {
        // A moment at random.
        tokio::time::sleep(Duration::from_millis(50 + random.below(500))).await;
        let began = Instant::now();
        server.signal(if cycle % 2 == 0 { Signal::TERM } else { Signal::INT });
        let status = server.ended_within(STOP_TIMEOUT).await.expect("an end within 30 s");
        load.history.process_ended();
        assert_eq!(status.code(), Some(0), "after {:?}: {}", began.elapsed(), server.log());
        server.restart().await;
    }
    let (history, people) = load.finish().await;

    assert_eq!(history.half_answers(), Vec::<String>::new());
    verdict(&server, &history, &people).await.assert_clean();
}

#[tokio::test]
async fn control_a_process_that_dies_of_the_signal_is_caught() {
    let mut server = Server::start_with(Settings::default().fault((faults::SKIP_DRAIN, "return"))).await;

    server.signal(Signal::TERM);
    let status = server.ended_within(STOP_TIMEOUT).await.expect("an end");

    assert_ne!(status.code(), Some(0), "the fault had no effect");
}

#[tokio::test]
async fn a_signal_ends_a_start_that_waits_for_a_database() {
    // It takes connections, and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("postgres://sosik@{}/none", silent.local_addr().expect("an address"));
    let mut server = Server::start().await;
    server.terminate().await;
    server.settings =
        Settings::default().with("shards.members", &format!("[{{name=\"s1\", url=\"{url}\"}}]")).with("postgres.connect_timeout", "60s");
    std::fs::remove_dir_all(server.data()).expect("removed");
    let mut command = server.command(&["serve", "--bind", "127.0.0.1:0", "--admin-bind", "127.0.0.1:0"]);
    let mut child = command.spawn().expect("the binary can be run");
    let (_held, _) = silent.accept().expect("it connects");

    rustix::process::kill_process(rustix::process::Pid::from_child(&child), Signal::TERM).expect("signalled");

    let began = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("its state") {
            break status;
        }
        assert!(began.elapsed() < STOP_TIMEOUT, "it goes on starting");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(status.code(), Some(0));
}

#[tokio::test]
async fn a_second_signal_and_an_idle_connection_do_not_hold_the_stop() {
    let mut server = Server::start().await;
    let idle = tokio::net::TcpStream::connect(server.address.authority()).await.expect("a connection");

    server.signal(Signal::TERM);
    within(STOP_TIMEOUT, "the first signal to be heard", async || server.log().contains("stopping: no new requests").then_some(())).await;
    let mut status = server.ended_within(Duration::from_millis(1)).await;
    if status.is_none() {
        server.signal(Signal::TERM);
        status = server.ended_within(STOP_TIMEOUT).await;
    }

    assert_eq!(status.expect("an end within 30 s").code(), Some(0), "{}", server.log());
    drop(idle);
}

#[tokio::test]
async fn a_stop_does_not_wait_for_the_backlog_nor_lose_it() {
    let mut server = Server::start().await;
    let ann = Person::join(&server, "ann").await;
    server.kill();
    server.restart_with(Settings::default().without_workers()).await;
    let post = ann.write_post("Later").send().await.expect(202).text_at("/post/id");

    let began = Instant::now();
    assert_eq!(server.terminate().await.code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(15));

    server.restart_with(Settings::default()).await;
    assert_eq!(ann.read_post(&post).await.expect(200).text_at("/body"), "Later");
}

#[tokio::test]
async fn a_waiting_answer_is_given_before_the_end() {
    let mut server = Server::start().await;
    let ann = Person::join(&server, "ann").await;
    server.kill();
    server.restart_with(Settings::default().without_workers()).await;

    // Shorter than a stop may take: what waits longer is cut off.
    let waiting = tokio::task::JoinSet::from_iter([ann.write_post("Held").wait(10).send()]);
    // Her own reads show it from the moment on at which it is accepted.
    let posts = format!("/v1/users/{}/posts", ann.id);
    within(STOP_TIMEOUT, "the write to be accepted", async || (!ann.all_items(&posts).await.is_empty()).then_some(())).await;
    assert_eq!(server.terminate().await.code(), Some(0));

    let answers = waiting.join_all().await;
    assert_eq!(answers[0].status, 202, "{}", answers[0].text);
}
