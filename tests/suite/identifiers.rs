//! G13: an id is given once, also when the clock is set back, also over restarts; two processes never share an identity.
//!
//! Control: a clock whose reservation is not kept must be caught when it is set back over a restart.

use std::collections::HashSet;

use crate::support::client::{Person, nonce};
use crate::support::faults;
use crate::support::server::{Server, Settings};

fn clock(settings: Settings, offset_ms: i64) -> Settings {
    settings.fault((faults::CLOCK_OFFSET, &format!("return({offset_ms})")))
}

async fn write_ids(ann: &Person, count: usize) -> Vec<u64> {
    let mut ids = Vec::new();
    for _ in 0..count {
        let answer = ann.write_post(&nonce()).send().await.expect(202);
        ids.push(answer.text_at("/post/id").parse().expect("an id"));
        ids.push(answer.write_id().parse().expect("an id"));
    }
    ids
}

/// Ids of several processes on one folder, each with its clock so much off.
async fn ids_with_clocks(offsets: &[i64], settings: Settings) -> Vec<u64> {
    let mut server = Server::start_with(clock(settings.clone(), offsets[0])).await;
    let ann = Person::join(&server, "clock").await;
    let mut ids = write_ids(&ann, 20).await;
    for offset in &offsets[1..] {
        server.kill();
        server.restart_with(clock(settings.clone(), *offset)).await;
        let fresh = ann.signed_out().login(&ann.name, crate::support::client::PASSWORD).await.expect(200);
        ids.extend(write_ids(&ann.signed_in(&fresh, &ann.name), 20).await);
    }
    ids
}

fn rising(ids: &[u64]) -> bool {
    ids.windows(2).all(|pair| pair[0] != pair[1]) && ids.iter().step_by(2).is_sorted() && ids.iter().skip(1).step_by(2).is_sorted()
}

#[tokio::test]
async fn ids_rise_although_the_clock_is_set_back_over_restarts() {
    for steps in [[0, -1], [0, -1_000], [0, -2_500], [0, 1_500]] {
        let ids = ids_with_clocks(&steps, Settings::default()).await;
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len(), "an id twice with {steps:?}");
        assert!(rising(&ids), "{steps:?}: {ids:?}");
    }
}

#[tokio::test]
async fn an_hour_forth_and_back_repeats_no_id() {
    let ids = ids_with_clocks(&[0, 3_600_000, 0], Settings::default()).await;

    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len());
    assert!(rising(&ids), "{ids:?}");
}

#[tokio::test]
async fn control_a_clock_without_its_reservation_is_caught() {
    let ids = ids_with_clocks(&[0, 3_600_000, 0], Settings::default().fault((faults::SKIP_RESERVATION, "return"))).await;

    assert!(!rising(&ids), "the fault had no effect");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_clients_at_once_never_get_an_id_twice() {
    let server = Server::start().await;
    let people = Person::join_many(&server, "many", 8).await;

    let all = futures_util::future::join_all(people.iter().map(|person| write_ids(person, 150))).await;

    for ids in &all {
        assert!(rising(ids));
    }
    let flat: Vec<u64> = all.concat();
    assert_eq!(flat.iter().collect::<HashSet<_>>().len(), flat.len());
    assert!(flat.iter().all(|id| *id < 1 << 63));
}

#[tokio::test]
async fn a_second_process_on_the_same_folder_is_refused_and_says_why() {
    let server = Server::start().await;

    let (started, output) = server.run(&["serve", "--bind", "127.0.0.1:0", "--admin-bind", "127.0.0.1:0"]);

    assert!(!started, "{output}");
    assert!(!output.contains("panicked"), "{output}");
    Person::join(&server, "unharmed").await.publish("Still here").await;
}

#[tokio::test]
async fn the_command_line_tells_the_same_of_an_id_as_the_server() {
    let server = Server::start().await;
    let ann = Person::join(&server, "ann").await;
    let post = ann.publish("Tell me").await;
    let told = ann.get(&format!("/v1/ids/{post}")).send().await.expect(200);

    let (known, output) = server.run(&["id", &post]);

    assert!(known, "{output}");
    for member in ["/timestamp", "/shard"] {
        assert!(output.contains(&told.text_at(member)), "{member} is missing in {output}");
    }
}
