//! G10: what must hold and does not stops the shard, or the process, and nothing that was accepted is lost; G11: a shard that hangs fills its share.

use std::time::Duration;

use reqwest::Method;

use crate::isolation::{home_of, posts_by_shard};
use crate::support::client::{Person, nonce, within};
use crate::support::faults;
use crate::support::ill::Ill;
use crate::support::server::{Server, Settings};

/// Whether a shard that breaks what must hold takes no more writes, and those that were accepted for it are applied after the next start; and
/// no other notices. It breaks under these faults, which know of it by a file.
async fn stops_and_keeps_what_was_accepted(faults: &[faults::Fault<'_>], ill: &Ill) -> bool {
    let settings = faults.iter().fold(Settings::default(), |settings, fault| settings.fault(*fault));
    let mut server = Server::start_with(settings).await;
    let ann = Person::join(&server, "ann").await;
    let operator = Person::join(&server, "operator").await.as_admin(&server).await;
    let shards = posts_by_shard(&ann).await;
    let homes = [home_of(&ann).await, home_of(&operator).await];
    let broken = shards.keys().find(|shard| !homes.contains(shard)).expect("four shards").clone();
    ill.set(&broken);

    let report = async || {
        let report = operator.admin_call(Method::GET, "/admin/shards").send().await.expect(200);
        let shards = report.json["items"].as_array().expect("shards").clone();
        shards.into_iter().find(|shard| shard["name"] == broken.as_str()).expect("the shard")
    };
    let mut likes = Vec::new();
    for post in &shards[&broken] {
        likes.push(ann.like(post).send().await.expect(202).write_id());
    }
    let met = async || {
        let is_told = server.log().contains("gets no more writes");
        (is_told || report().await["dead_letters"] != 0).then_some(())
    };
    within(Duration::from_secs(60), "the shard to be given up, or its writes", met).await;
    for post in shards.iter().filter(|(shard, _)| **shard != broken).flat_map(|(_, posts)| posts) {
        ann.like(post).wait(30).send().await.expect(200);
    }
    for write in &likes {
        assert_eq!(ann.write_state(write).await, "accepted");
    }
    // After all that was written to the others: it stays so.
    let shown = report().await;
    let stopped = shown["state"] != "serving" && shown["dead_letters"] == 0;

    server.kill();
    server.restart_with(Settings::default()).await;
    let stranger = Person::stranger(&server);
    for post in shards.values().flatten().filter(|_| stopped) {
        within(Duration::from_secs(60), "each like", async || (stranger.read_post(post).await.number_at("/likes") == 1).then_some(()))
            .await;
    }
    stopped
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_invariant_stops_its_shard_and_what_was_accepted_is_applied_after_the_next_start() {
    let ill = Ill::new();

    assert!(stops_and_keeps_what_was_accepted(&[(faults::INVARIANT_BROKEN, &ill.action())], &ill).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_writes_that_die_of_a_broken_invariant_are_caught() {
    let ill = Ill::new();
    let bury = (faults::BURY_BROKEN, "return");

    assert!(!stops_and_keeps_what_was_accepted(&[(faults::INVARIANT_BROKEN, &ill.action()), bury], &ill).await, "the fault had no effect");
}

/// Catches a second try after a failed sync: it would succeed, and mean nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_fails_to_sync_once_stops_its_shard() {
    let ill = Ill::new();

    assert!(stops_and_keeps_what_was_accepted(&[(faults::SHARD_SYNC_FAILS, &ill.action())], &ill).await);
}

#[tokio::test]
async fn damage_to_the_journal_that_is_met_while_it_runs_ends_the_process() {
    let mut server = Server::start().await;
    let ann = Person::join(&server, "ann").await;
    server.kill();
    server.restart_with(Settings::default().without_workers().fault((faults::DAMAGED, "return"))).await;
    let write = ann.write_post(&nonce()).send().await.expect(202).write_id();

    let asked = ann.get(&format!("/v1/writes/{write}")).attempt().await;

    assert!(asked.is_err(), "nobody is shown what is damaged");
    let status = server.ended_within(Duration::from_secs(10)).await.expect("an end");
    assert_eq!(status.code(), Some(70), "{}", server.log());
    server.restart_with(Settings::default()).await;
    assert_eq!(ann.write_settled(&write).await, "visible");
}

/// Four bytes each.
const LARGE_COMMENT: usize = 2_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_that_hangs_fills_only_its_share_of_the_journal() {
    let mut server = Server::start().await;
    let ann = Person::join(&server, "ann").await;
    let shards = posts_by_shard(&ann).await;
    let home = home_of(&ann).await;
    let ill = shards.keys().find(|shard| **shard != home).expect("four shards").clone();
    server.kill();
    let hangs = Settings::default().with("journal.max_bytes", "1MiB").fault((faults::SHARD_HANGS, &format!("return({ill})")));
    server.restart_with(hangs).await;

    let comment = "\u{1f4ef}".repeat(LARGE_COMMENT);
    let noticed = async || {
        ann.write_comment(&shards[&ill][0], &nonce()).send().await.expect(202);
        server.log().contains("the shard is slow").then_some(())
    };
    within(Duration::from_secs(60), "the shard to be slow", noticed).await;
    let mut accepted = 0;
    let refused = loop {
        let answer = ann.write_comment(&shards[&ill][0], &comment).send().await;
        if answer.status != 202 {
            break answer;
        }
        accepted += 1;
        assert!(accepted < 1000, "nothing is refused");
    };

    refused.expect_problem(503, "unavailable");
    assert!(accepted * LARGE_COMMENT * 4 <= 1024 * 1024 / 4, "{accepted} comments are more than a share");
    for post in shards.iter().filter(|(shard, _)| **shard != ill).flat_map(|(_, posts)| posts) {
        ann.like(post).wait(30).send().await.expect(200);
    }
}
