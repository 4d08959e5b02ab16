//! How the shards are filled, and what another number of them would move: told beside a running server, from what really lies there.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::Value;

use crate::support::client::{Answer, PASSWORD, Person, nonce, within};
use crate::support::faults;
use crate::support::server::{Server, Settings};
use crate::support::shards::{all_facts, open_all};

const PEOPLE: usize = 6;
const POSTS_EACH: usize = 10;

/// People with posts, comments, likes and follows, all of it applied.
async fn town(settings: Settings) -> (Server, Vec<Person>) {
    let server = Server::start_with(settings).await;
    let people = Person::join_many(&server, "dweller", PEOPLE).await;
    for (index, person) in people.iter().enumerate() {
        let neighbour = &people[(index + 1) % PEOPLE];
        person.follow(&neighbour.id).wait(30).send().await.expect(200);
        for _ in 0..POSTS_EACH {
            let post = person.publish(&nonce()).await;
            neighbour.like(&post).wait(30).send().await.expect(200);
            neighbour.write_comment(&post, &nonce()).wait(30).send().await.expect(201);
        }
    }
    (server, people)
}

fn told(server: &Server, arguments: &[&str]) -> Value {
    let (done, output) = server.run(arguments);
    assert!(done, "{output}");
    serde_json::from_str(output.trim()).unwrap_or_else(|error| panic!("{error}: {output}"))
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("no number: {value}"))
}

/// Makes him an operator.
async fn promote(server: &mut Server, person: &Person) -> Person {
    server.terminate().await;
    let (made, output) = server.run(&["user", "admin", &person.name]);
    assert!(made, "{output}");
    server.restart().await;
    person.signed_in(&person.signed_out().login(&person.name, PASSWORD).await.expect(200), &person.name)
}

async fn asked(operator: &Person, query: &str) -> Answer {
    operator.admin_call(Method::GET, &format!("/admin/topology/plan?{query}")).send().await
}

/// A plan that has the place: one that has not is refused at once.
async fn begun(operator: &Person) -> Pin<Box<impl Future<Output = Answer> + use<'_>>> {
    within(Duration::from_secs(60), "the place of a plan", async || {
        let mut plan = Box::pin(asked(operator, "members=s1,s2"));
        tokio::time::timeout(Duration::from_secs(1), &mut plan).await.is_err().then_some(plan)
    })
    .await
}

/// What one strategy of a plan says.
fn outlook<'plan>(plan: &'plan Value, strategy: &str) -> &'plan Value {
    let strategies = plan["strategies"].as_array().expect("strategies");
    strategies.iter().find(|told| told["strategy"] == strategy).unwrap_or_else(|| panic!("no {strategy}: {plan}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_lies_where_is_told_beside_a_running_server() {
    let (server, _people) = town(Settings::default()).await;

    let status = told(&server, &["shards", "status", "--json"]);

    let mut posts: BTreeMap<String, u64> = BTreeMap::new();
    for shard in open_all(&server).await {
        let facts = shard.facts().await;
        // Each post has a row, counters, a like, and an author who is subscribed or not: at least three.
        posts.insert(shard.name.clone(), facts.posts.len() as u64);
    }
    let members = status["members"].as_array().expect("members");
    assert_eq!(members.len(), posts.len());
    for member in members {
        let held = posts[member["name"].as_str().expect("a name")];
        assert!(number(&member["families"]["posts"]) >= 3 * held && number(&member["bytes"]) > 0, "{held} posts: {member}");
    }
    let owners: u64 = members.iter().map(|member| number(&member["owners"])).sum();
    assert_eq!(owners as usize, PEOPLE * POSTS_EACH + 2 * PEOPLE, "posts, users and names: {status}");
    let (done, table) = server.run(&["shards", "status"]);
    assert!(done && table.contains("s4") && table.contains("fair share"), "{table}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_is_made_beside_a_server_that_goes_on_writing() {
    let (server, people) = town(Settings::default()).await;
    let done = AtomicBool::new(false);
    let writing = async {
        let mut written = 0;
        while !done.load(Ordering::SeqCst) || written == 0 {
            people[0].publish(&nonce()).await;
            written += 1;
        }
    };
    let planning = async {
        let mut command = server.command(&["shards", "plan", "--members", "s1,s2,s3,s4,s5", "--json"]);
        let output = tokio::task::spawn_blocking(move || command.output()).await.expect("no panic").expect("the binary can be run");
        done.store(true, Ordering::SeqCst);
        output
    };
    let (output, ()) = tokio::join!(planning, writing);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let plan: Value = serde_json::from_slice(&output.stdout).expect("JSON");

    let all = number(&plan["rows"]);
    let part = |strategy: &str, what: &str| number(&outlook(&plan, strategy)[what]["rows"]) as f64 / all as f64;
    // A few hundred rows of a few owners: the parts are not exact.
    assert!(part("directory", "moved") < 0.6, "{plan}");
    assert!(part("modulo", "moved") > 0.4, "{plan}");
    assert!(part("directory", "moved") < part("modulo", "moved"), "{plan}");
    assert!(part("range", "moved") < 0.05, "only names move: {plan}");
    assert_eq!(part("directory", "moved_first"), 0.0, "it is so already: {plan}");
    assert!(part("range", "moved_first") > 0.2, "{plan}");
    let directory = outlook(&plan, "directory")["members"].as_array().expect("members");
    assert_eq!(number(&directory[4]["rows"]), number(&outlook(&plan, "directory")["moved"]["rows"]), "only what the new one takes: {plan}");
    assert!(number(&plan["largest"]) >= POSTS_EACH as u64, "each has so many posts in his index: {plan}");
    assert!(outlook(&plan, "range")["wall"].as_str().expect("words").contains("go to s5"), "{plan}");

    let facts = all_facts(&server).await;
    assert!(facts.posts.len() > PEOPLE * POSTS_EACH, "nothing was written meanwhile");
    people[0].publish(&nonce()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_without_a_change_moves_nothing_and_the_data_stays_as_it_is() {
    let ranges = Settings::default().with("shards.strategy", "range");
    for (settings, strategy) in [(Settings::default(), "directory"), (ranges, "range")] {
        let (mut server, people) = town(settings).await;

        let plan = told(&server, &["shards", "plan", "--members", "s1,s2,s3,s4", "--strategy", strategy, "--json"]);

        assert_eq!(plan["strategies"].as_array().map(Vec::len), Some(1), "{plan}");
        assert_eq!(outlook(&plan, strategy)["moved"], serde_json::json!({"rows": 0, "owners": 0}), "{plan}");
        assert_eq!(outlook(&plan, strategy)["moved_first"], serde_json::json!({"rows": 0, "owners": 0}), "{plan}");

        // At rest both look at the same: what was told of meanwhile is not in between.
        server.terminate().await;
        let plan = told(&server, &["shards", "plan", "--members", "s1,s2,s3,s4", "--strategy", strategy, "--json"]);
        let status = told(&server, &["shards", "status", "--json"]);
        let rows = |members: &Value| members.as_array().expect("members").iter().map(|member| number(&member["rows"])).collect::<Vec<_>>();
        assert_eq!(rows(&status["members"]), rows(&outlook(&plan, strategy)["members"]), "what stays lies where it lies");
        let (sound, output) = server.run(&["fsck"]);
        assert!(sound, "{output}");
        server.restart().await;
        people[0].publish(&nonce()).await;
    }
}

#[tokio::test]
async fn a_plan_that_cannot_be_made_is_refused_with_a_reason() {
    let server = Server::start().await;
    for (arguments, reason) in [
        (&["shards", "plan", "--members", "s1,s2,s1"][..], "s1 stands there twice"),
        (&["shards", "plan", "--members", "s1,,s2"], "a name is empty"),
        (&["shards", "plan", "--members", "s1", "--strategy", "random"], "expected directory, modulo or range"),
        (&["shards", "plan"], "--members"),
        (&["shards", "status", "--config", "nowhere.toml"], "nowhere.toml"),
    ] {
        let (done, output) = server.run(arguments);
        assert!(!done && output.contains(reason), "{arguments:?}: {output}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_hear_the_plan_that_the_command_prints() {
    let (mut server, people) = town(Settings::default()).await;
    let operator = promote(&mut server, &people[0]).await;
    let members = "s1,s2,s3,s4,s5";

    for strategy in [None, Some("directory"), Some("modulo,range")] {
        let query = strategy.map_or_else(|| format!("members={members}"), |strategy| format!("members={members}&strategy={strategy}"));
        let mut arguments = vec!["shards", "plan", "--json", "--members", members];
        arguments.extend(strategy.into_iter().flat_map(|strategy| ["--strategy", strategy]));
        // What was told of goes on being written for a while: the two look at the same when the command says the same before and after.
        let (heard, printed) = within(Duration::from_secs(120), "data at rest", async || {
            let before = told(&server, &arguments);
            let heard = asked(&operator, &query).await.expect(200).json;
            (told(&server, &arguments) == before).then_some((heard, before))
        })
        .await;

        assert_eq!(heard, printed);
        assert!(number(&heard["rows"]) > 0, "{heard}");
    }
    asked(&operator, "members=s1,s1").await.expect_problem(422, "invalid");
    asked(&people[1], &format!("members={members}")).await.expect_problem(403, "forbidden");
    let moves = operator.admin_call(Method::GET, "/admin/topology/moves").send().await.expect(200);
    assert_eq!(moves.json, serde_json::json!({"items": [], "next": null}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_is_one_plan_at_a_time_and_none_for_who_has_gone() {
    // A few dozen pages: a plan takes more than a minute.
    let mut server = Server::start_with(Settings::default().fault((faults::SLOW_CENSUS, "return(1000)"))).await;
    let operator = Person::join(&server, "operator").await;
    let operator = promote(&mut server, &operator).await;

    let first = begun(&operator).await;
    let refused = asked(&operator, "members=s1,s2").await.expect_problem(503, "unavailable");
    assert!(refused.header("retry-after").parse::<u64>().is_ok_and(|seconds| seconds > 0), "{:?}", refused.headers);
    operator.publish(&nonce()).await;
    drop(first);
    let last = begun(&operator).await;
    let stopped = async {
        let began = Instant::now();
        assert!(server.terminate().await.success());
        began.elapsed()
    };
    let (ended, took) = tokio::join!(last, stopped);

    ended.expect_problem(503, "unavailable");
    assert!(took < Duration::from_secs(25), "it waited {took:?} for a plan");
}
