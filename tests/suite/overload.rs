//! G9: nothing is accepted that cannot be kept; a full server says so at once, and goes on reading.
//!
//! Control: an admission without a bound must be caught.

use std::time::{Duration, Instant};

use crate::support::client::{Person, nonce, within};
use crate::support::server::{Server, Settings};
use crate::support::{faults, number_from_environment};

/// Filling stops here if nothing else stops it: three times the bound of the journal.
const FILL_BYTES_MAX: usize = 3 * 1024 * 1024;
const BODY_BYTES: usize = 4 * 1024;
/// Posts of a flood. The journal holds some thirty of them at once, so that it is freed in small steps.
const FLOOD_BODY_BYTES: usize = 16 * 1024;
/// Those who flood: enough to be on all shards, wherever their ids lie.
const FLOODING: usize = 12;
/// How long the peak is measured, and the flood. The journal frees its room when the slowest lane of the slowest shard has committed, about once
/// in 12 to 40 commits, and is filled again at once: a rate is only true over many such rounds.
const FLOOD_SECONDS: u64 = 12;
/// Requests a second that this machine can send beside the server.
const RATE_MAX: f64 = 600.0;
/// Milliseconds for 99 of 100 refusals. Alone on its machine it is a tenth of that; other tests run beside this one.
const REFUSAL_WITHIN_MS: u64 = 150;

fn small_journal() -> Settings {
    Settings::default().with("journal.max_bytes", "1MiB")
}

/// How long a single refusal may take.
const REFUSAL_MAX: Duration = Duration::from_millis(500);
/// What takes time is measured so often, until it is as it should be: what the machine does beside it spoils one time, what is wrong shows
/// each time.
const MEASURED_AGAIN: usize = 3;

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
    let mut rounds = Vec::new();
    while rounds.len() < MEASURED_AGAIN && rounds.last().is_none_or(|slowest| *slowest >= REFUSAL_MAX) {
        let mut slowest = Duration::ZERO;
        for _ in 0..50 {
            let began = Instant::now();
            ann.write_post(&"y".repeat(BODY_BYTES)).send().await.expect_problem(503, "overloaded");
            slowest = slowest.max(began.elapsed());
        }
        rounds.push(slowest);
    }
    assert!(rounds.last().is_some_and(|slowest| *slowest < REFUSAL_MAX), "a refusal took {rounds:?}");

    server.kill();
    server.restart_with(small_journal()).await;
    let all = accepted + 1;
    within(Duration::from_secs(60), "all accepted posts", async || {
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
    let server = Server::start_with(small_journal().fault((faults::BEFORE_BATCH, "sleep(400)"))).await;
    let ann = Person::join(&server, "full").await;
    // More at once than there is room for until the next batch is through.
    let refused = async || {
        let answers = futures_util::future::join_all((0..60).map(|_| ann.write_post(&large_body()).send())).await;
        answers.iter().any(|answer| answer.problem() == "overloaded").then_some(())
    };
    within(Duration::from_secs(60), "a refusal", refused).await;

    ann.signed_out().login(&ann.name, crate::support::client::PASSWORD).await.expect(200);
    ann.refresh(&ann.refresh_token).await.expect(200);
    Person::join(&server, "late").await;
}

/// As many bytes as its characters can have: a body is bounded in characters.
fn large_body() -> String {
    "소".repeat(FLOOD_BODY_BYTES / "소".len())
}

/// One request of an open loop: what came, and how long after its time, which it did not choose.
struct Shot {
    /// 0: none came.
    status: u16,
    took: Duration,
}

/// Sends posts at a rate for a while, however slowly they are answered.
async fn open_loop(people: &[Person], rate: f64, time: Duration) -> Vec<Shot> {
    let mut shots = tokio::task::JoinSet::new();
    let body = large_body();
    let began = Instant::now();
    let count = (rate * time.as_secs_f64()) as usize;
    for number in 0..count {
        let due = began + Duration::from_secs_f64(number as f64 / rate);
        tokio::time::sleep_until(due.into()).await;
        let call = people[number % people.len()].write_post(&body);
        shots.spawn(async move {
            let status = match call.attempt().await {
                Ok(answer) => {
                    assert_eq!(answer.status == 503, answer.json["accepted"] == false, "{} {}", answer.status, answer.text);
                    answer.status
                }
                Err(_) => 0,
            };
            Shot { status, took: due.elapsed() }
        });
    }
    shots.join_all().await
}

/// How long a server that has nothing to do takes for its answers, in the same moments as another one that has.
async fn probes(idle: &Server, time: Duration) -> Vec<Duration> {
    let stranger = Person::stranger(idle);
    let until = Instant::now() + time;
    let mut times = Vec::new();
    while Instant::now() < until {
        let began = Instant::now();
        stranger.get("/livez").send().await.expect(200);
        times.push(began.elapsed());
        // The pace of the probes.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    times
}

/// The time within which so many of a hundred were answered.
fn percentile(mut times: Vec<Duration>, percent: usize) -> Duration {
    times.sort_unstable();
    times.get((times.len() * percent / 100).min(times.len().saturating_sub(1))).copied().unwrap_or_default()
}

fn median(shots: &[Shot]) -> Duration {
    percentile(shots.iter().map(|shot| shot.took).collect(), 50)
}

/// Each commit takes a while, so that few requests are too many.
fn narrow() -> Settings {
    small_journal().fault((faults::SLOW_COMMIT, "return(50)"))
}

/// What is not as it should be.
#[derive(Debug, Default)]
struct Wrong {
    /// What no other work of the machine explains.
    definite: Vec<String>,
    /// What took too long.
    slow: Vec<String>,
}

/// Notes what is wrong.
fn check(wrong: &mut Vec<String>, right: bool, what: String) {
    if !right {
        wrong.push(what);
    }
}

/// Three times what the server can do, then half of it.
async fn under_and_after_a_flood(settings: Settings) -> Wrong {
    let (server, idle) = (Server::start_with(settings).await, Server::start().await);
    let people = Person::join_many(&server, "flood", FLOODING).await;
    let calm = median(&open_loop(&people, 10.0, Duration::from_secs(2)).await);
    let resident = server.resident_kib();
    // As fast as the answers come; what fills the journal at the beginning does not count.
    let seconds = number_from_environment("SOSIK_FLOOD_SECONDS", FLOOD_SECONDS);
    let from = Instant::now() + Duration::from_secs(4);
    let until = from + Duration::from_secs(seconds);
    let closed = futures_util::future::join_all(people.iter().flat_map(|person| [person; 2]).map(|person| async move {
        let mut accepted = 0_usize;
        while Instant::now() < until {
            let answer = person.write_post(&large_body()).send().await;
            accepted += usize::from(answer.status == 202 && Instant::now() > from);
        }
        accepted
    }));
    let peak = closed.await.into_iter().sum::<usize>() as f64 / seconds as f64;
    let time = Duration::from_secs(seconds);
    let (flood, elsewhere) = tokio::join!(open_loop(&people, (3.0 * peak).min(RATE_MAX), time), probes(&idle, time));
    let elsewhere = percentile(elsewhere, 99);
    let unanswered = flood.iter().filter(|shot| ![202, 503].contains(&shot.status)).count();
    let accepted = flood.iter().filter(|shot| shot.status == 202).count();
    let goodput = accepted as f64 / seconds as f64;
    let refusals: Vec<Duration> = flood.iter().filter(|shot| shot.status == 503).map(|shot| shot.took).collect();
    let (refused, refusal) = (refusals.len(), percentile(refusals, 99));
    let grown = server.resident_kib().saturating_sub(resident) / 1024;
    let mut recovered = None;
    for second in 0..10 {
        let now = median(&open_loop(&people, (0.5 * peak).min(RATE_MAX), Duration::from_secs(1)).await);
        if now < calm * 3 + Duration::from_millis(30) {
            recovered = Some(second);
            break;
        }
    }
    println!(
        "peak {peak:.0}/s; at three times that {goodput:.0}/s accepted, {refused} refused, p99 of a refusal {refusal:?}, of an idle server's answer {elsewhere:?}, {grown} MiB more; calm {calm:?}, again after {recovered:?} s"
    );

    let mut wrong = Wrong::default();
    check(&mut wrong.definite, 3.0 * peak <= RATE_MAX, format!("three times {peak:.0} a second is more than can be sent"));
    check(&mut wrong.definite, unanswered == 0, format!("{unanswered} have neither 202 nor 503"));
    check(&mut wrong.definite, refused > 0, "nothing was refused".to_owned());
    check(&mut wrong.definite, grown < 200, format!("{grown} MiB more"));
    check(&mut wrong.slow, goodput >= 0.8 * peak, format!("{goodput:.0} accepted a second, of {peak:.0}"));
    let refusal_within = number_from_environment("SOSIK_REFUSAL_WITHIN_MS", REFUSAL_WITHIN_MS);
    // Where an idle server takes longer, the machine does.
    let slowness = Duration::from_millis(refusal_within) + elsewhere * 2;
    check(&mut wrong.slow, refusal < slowness, format!("a refusal took {refusal:?}, an idle server's answer {elsewhere:?}"));
    check(&mut wrong.slow, recovered.is_some(), "no calm within 10 s".to_owned());
    wrong
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_times_the_capacity_is_refused_at_once_and_costs_nothing_afterwards() {
    let mut slow = Vec::new();
    for _ in 0..MEASURED_AGAIN {
        let wrong = under_and_after_a_flood(narrow()).await;
        assert_eq!(wrong.definite, Vec::<String>::new());
        if wrong.slow.is_empty() {
            return;
        }
        println!("too slow: {:?}", wrong.slow);
        slow.push(wrong.slow);
    }

    panic!("too slow each time: {slow:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_a_flood_without_admission_is_caught() {
    let wrong = under_and_after_a_flood(narrow().fault((faults::ADMISSION_UNBOUNDED, "return"))).await;

    assert!(wrong.definite.iter().any(|what| what == "nothing was refused"), "the fault had no effect: {wrong:?}");
}

#[tokio::test]
async fn a_disk_without_room_for_ids_refuses_for_sure_and_says_when_to_come_back() {
    let mut server = Server::start().await;
    let ann = Person::join(&server, "full").await;
    server.kill();
    server.restart_with(Settings::default().fault((faults::NO_ROOM_FOR_IDS, "1*off->return"))).await;

    // As soon as the time is over that was reserved at the start.
    let refused = async || Some(ann.write_post(&nonce()).send().await).filter(|answer| answer.status != 202);
    let refusal = within(Duration::from_secs(60), "a refusal", refused).await.expect_problem(503, "overloaded");

    assert_eq!(refusal.json["accepted"], false);
    assert!(refusal.header("retry-after").parse::<u64>().expect("seconds") >= 1);
    ann.read_user(&ann.id).await.expect(200);
}
