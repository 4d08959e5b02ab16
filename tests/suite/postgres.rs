//! Shards in PostgreSQL: the same journeys, the same promises under kills and ended sessions, with many batches at once; and what the
//! operator's commands say. Left out where there is no server to test on.
//!
//! Whole subjects of the suite, their controls with them, run on PostgreSQL with `SOSIK_SUITE_ON=postgres`; `./test` says which.

use std::time::{Duration, Instant};

use sea_orm::ConnectionTrait;
use serde_json::json;

use crate::support::client::{PASSWORD, Person, nonce, within};
use crate::support::databases::{Databases, ShardDatabase, TlsFront, number, shared_cluster};
use crate::support::inboxes::Inbox;
use crate::support::load::{Load, Mix};
use crate::support::server::{Server, Settings};
use crate::support::shards;
use crate::support::verdict::verdict;
use crate::support::{Seeded, number_from_environment, seed};

const CLIENTS: usize = 16;

async fn assert_no_deadlocks(server: &Server) {
    for shard in &server.postgres().0 {
        assert_eq!(shard.deadlocks().await, 0, "on {}", shard.name);
    }
}

async fn assert_sound(server: &mut Server) {
    server.terminate().await;
    let (sound, output) = server.run(&["fsck"]);
    assert!(sound && output.contains("clean"), "{output}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_post_goes_all_its_ways_on_postgresql() {
    let Some(mut server) = Server::start_on_postgres(Settings::default()).await else { return };
    let (ann, ben) = (Person::join(&server, "ann").await, Person::join(&server, "ben").await);
    ben.put(&format!("/v1/users/{}/follow", ann.id)).json(&json!({"notify": true})).wait(30).send().await.expect(200);

    let post = ann.publish(&format!("{} 소식 \u{1f4ef} 'quoted' \\ %s $1", nonce())).await;
    let comment = ben.write_comment(&post, "As well").wait(30).send().await.expect(201).text_at("/comment/id");
    ben.put(&format!("/v1/posts/{post}/comments/{comment}/like")).wait(30).send().await.expect(200);
    ben.like(&post).wait(30).send().await.expect(200);
    let edited = nonce();
    ann.edit_post(&post, &edited).wait(30).send().await.expect(200);

    let seen = ben.read_post(&post).await.expect(200);
    assert_eq!((seen.text_at("/body"), seen.number_at("/likes"), seen.number_at("/comments")), (edited, 1, 1));
    assert_eq!(seen.json["viewer"]["liked"], true);
    assert_eq!(ben.get("/v1/feed").send().await.expect(200).item_ids(), [post.as_str()]);
    assert_eq!(Inbox::with_places(&ben, 1).await.kinds(), ["post"]);
    let mut told = Inbox::with_places(&ann, 3).await.kinds();
    told.sort();
    assert_eq!(told, ["comment", "follow", "like"]);
    ann.post("/v1/notifications/read").json(&json!({"up_to": 3})).send().await.expect(200);
    assert_eq!(Inbox::of(&ann).await.unread, 0);

    server.kill();
    server.restart().await;
    ann.login(&ann.name, PASSWORD).await.expect(200);
    ann.delete(&format!("/v1/posts/{post}")).wait(30).send().await.expect(200);
    assert_eq!(ben.read_post(&post).await.status, 410);
    assert_no_deadlocks(&server).await;
    assert_sound(&mut server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_accepted_write_is_lost_or_doubled_on_postgresql_by_kills_and_ended_sessions() {
    let cycles = number_from_environment("SOSIK_KILL_CYCLES", 12) / 2;
    let seed = seed("kills on PostgreSQL");
    let mut random = Seeded::new(seed);
    let Some(mut server) = Server::start_on_postgres(Settings::default()).await else { return };
    let people = Person::join_many(&server, "kill", CLIENTS).await;
    let load = Load::start_beside_outages(people, Mix::default(), 2, seed).await;

    let mut ended = 0;
    for _ in 0..cycles {
        // At a random moment, of which nothing is known.
        tokio::time::sleep(Duration::from_millis(20 + random.below(780))).await;
        server.kill();
        load.history.process_ended();
        server.restart().await;
        tokio::time::sleep(Duration::from_millis(20 + random.below(780))).await;
        let ill = random.pick(&server.postgres().0).expect("a shard").clone();
        ended += ill.end_sessions().await;
        load.goes_on_for(20).await;
    }
    let (history, people) = load.finish().await;

    let report = verdict(&server, &history, &people).await;
    assert!(ended > 0, "no session was ended");
    assert!(report.accepted() > 10 * cycles as usize, "too little happened to prove anything: {report}");
    report.assert_clean();
    assert_no_deadlocks(&server).await;
    assert_sound(&mut server).await;
}

/// Catches whoever takes lanes in another order than that of their numbers, and counters that two batches write.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_batches_at_once_keep_counters_at_their_rows_without_a_deadlock() {
    let settings = Settings::default().with("write.workers", "16").with("write.batch_rows", "4").with("postgres.writers", "24");
    let Some(mut server) = Server::start_on_postgres(settings).await else { return };
    let people = Person::join_many(&server, "many", CLIENTS).await;
    let load = Load::start(people, Mix::counting(), 1, seed("many batches")).await;

    let shards = shards::open_all(&server).await;
    let (mut comparisons, mut found) = (0, Vec::new());
    let began = load.history.accepted();
    while load.history.accepted() < began + 800 {
        for shard in &shards {
            found.extend(shard.counters_now().await);
            comparisons += 1;
        }
        // The comparisons must not take the processors from the load.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    drop(shards);
    let (history, people) = load.finish().await;

    assert_eq!(found, [], "of {comparisons} comparisons");
    verdict(&server, &history, &people).await.assert_clean();
    assert_no_deadlocks(&server).await;
    assert_sound(&mut server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_commands_of_an_operator_work_on_postgresql() {
    let Some(mut server) = Server::start_on_postgres(Settings::default()).await else { return };
    let ann = Person::join(&server, "ann").await;
    ann.publish(&nonce()).await;

    let admin = ann.as_admin(&server).await;
    admin.admin_call(reqwest::Method::GET, "/admin/shards").send().await.expect(200);
    let (done, token) = server.run(&["token", &ann.name]);
    assert!(done, "{token}");
    ann.with_token(token.trim()).get("/v1/users/me").send().await.expect(200);
    server.terminate().await;
    for command in ["migrate", "fsck"] {
        let (done, output) = server.run(&[command]);
        assert!(done, "{command}: {output}");
    }

    let damaged = server.postgres().0[0].url.clone();
    crate::support::databases::execute(&damaged, "INSERT INTO post_counters (post, likes, comments, position) VALUES (7, 1, 0, 1)").await;

    let (sound, output) = server.run(&["fsck"]);
    assert!(!sound && output.contains(": post_counters "), "{output}");
}

/// Starts a server on databases of which the first was changed, and gives what it said as it refused.
async fn refusal(change: impl AsyncFnOnce(&mut ShardDatabase)) -> Option<String> {
    let mut databases = Databases::make(&shared_cluster()?).await;
    change(&mut databases.0[0]).await;
    let refused = Server::try_start_on(Settings::default(), Some(databases)).await.err().expect("a refusal");
    assert!(refused.status.is_some_and(|status| !status.success()));
    assert!(!refused.log.contains("panicked"), "{}", refused.log);
    Some(refused.log)
}

#[tokio::test]
async fn a_server_that_could_lose_what_it_committed_is_refused_with_the_promise_that_it_breaks() {
    let Some(said) = refusal(async |shard| shard.set("SET synchronous_commit = off").await).await else { return };

    assert!(said.contains("shard s1") && said.contains("synchronous_commit = off") && said.contains("G1"), "{said}");
}

#[tokio::test]
async fn a_server_that_only_reads_is_refused_at_the_start() {
    let Some(said) = refusal(async |shard| shard.set("SET default_transaction_read_only = on").await).await else { return };

    assert!(said.contains("shard s1") && said.contains("takes no writes"), "{said}");
}

#[tokio::test]
async fn a_server_that_is_down_is_named_at_the_start_without_its_password() {
    let Some(said) = refusal(async |shard| shard.url = "postgres://sosik:hunter2@127.0.0.1:1/none".to_owned()).await else { return };

    assert!(said.contains("shard s1") && said.contains("127.0.0.1:1/none") && said.contains("refused"), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
}

#[tokio::test]
async fn a_database_that_is_missing_is_named_at_the_start() {
    let Some(said) = refusal(async |shard| shard.url = shard.url.replace("suite_", "nowhere_")).await else { return };

    assert!(said.contains("shard s1") && said.contains("does not exist"), "{said}");
}

#[tokio::test]
async fn one_database_under_two_names_is_refused() {
    let Some(cluster) = shared_cluster() else { return };
    let mut databases = Databases::make(&cluster).await;
    databases.0[1].url = databases.0[0].url.replace("127.0.0.1", "localhost");

    let refused = Server::try_start_on(Settings::default(), Some(databases)).await.err().expect("a refusal");

    assert!(refused.log.contains("shard s2") && refused.log.contains("has joined"), "{}", refused.log);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_is_refused_as_another_shard_and_as_that_of_another_journal_and_is_not_migrated() {
    let Some(mut server) = Server::start_on_postgres(Settings::default()).await else { return };
    server.terminate().await;
    let urls = |server: &Server| server.postgres().0.iter().map(|shard| shard.url.clone()).collect::<Vec<_>>();
    let own = urls(&server);
    let started_on = async |server: &mut Server, at: usize, url: &str| {
        server.databases.as_mut().expect("databases").0[at].url = url.to_owned();
        server.try_restart().await.err().map(|refused| refused.log)
    };

    server.databases.as_mut().expect("databases").0[1].url.clone_from(&own[0]);
    let said = started_on(&mut server, 0, &own[1]).await.expect("a refusal");
    server.databases.as_mut().expect("databases").0[1].url.clone_from(&own[1]);
    assert!(said.contains("is the shard s2 and") && said.contains("wanted is the shard s1"), "{said}");
    let mut other = Server::start_on_postgres(Settings::default()).await.expect("a cluster");
    other.terminate().await;
    let others = urls(&other)[0].clone();
    // A migration would enter this one again.
    let steps = "SELECT count(*) FROM seaql_migrations";
    let newest = "DELETE FROM seaql_migrations WHERE version = (SELECT max(version) FROM seaql_migrations)";
    crate::support::databases::execute(&others, newest).await;
    let before = number(&others, steps).await;
    let said = started_on(&mut server, 0, &others).await.expect("a refusal");
    assert!(said.contains("wanted is the shard s1 of the journal"), "{said}");
    // As when a first configuration names a database that is in use.
    std::fs::remove_dir_all(server.data()).expect("removed");
    let said = started_on(&mut server, 0, &others).await.expect("a refusal");
    assert!(said.contains("wanted is the shard s1 of a new journal"), "{said}");
    assert_eq!(number(&others, steps).await, before, "it was migrated");
}

/// How long a call may take that waits for a read: the read's time, and what a busy machine adds.
const READ_WITHIN: Duration = Duration::from_secs(15);

/// Catches reads that wait as long as a statement may take.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_the_database_holds_up_is_refused_in_time() {
    let settings = Settings::default().with("postgres.lock_timeout", "1m").with("postgres.statement_timeout", "1m");
    let Some(server) = Server::start_on_postgres(settings).await else { return };
    let (ann, ben) = (Person::join(&server, "ann").await, Person::join(&server, "ben").await);
    let post = ann.publish(&nonce()).await;
    let mut sessions = Vec::new();
    for shard in &server.postgres().0 {
        let session = crate::support::databases::connect(&shard.url).await;
        let lock = "BEGIN; LOCK TABLE inbox_states, relations, comments, sessions IN ACCESS EXCLUSIVE MODE";
        session.execute_unprepared(lock).await.expect("the lock");
        sessions.push(session);
    }

    for path in ["/v1/notifications".to_owned(), format!("/v1/posts/{post}/comments"), "/v1/auth/sessions".to_owned()] {
        let began = Instant::now();
        ben.get(&path).send().await.expect_problem(503, "unavailable");
        assert!(began.elapsed() < READ_WITHIN, "{path} took {:?}", began.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_becomes_read_only_is_read_and_takes_writes_again_without_a_restart() {
    let Some(server) = Server::start_on_postgres(Settings::default()).await else { return };
    let (ann, ben) = (Person::join(&server, "ann").await, Person::join(&server, "ben").await);
    let post = ann.publish(&nonce()).await;
    let name = ann.get(&format!("/v1/ids/{post}")).send().await.expect(200).text_at("/shard");
    let shard = server.postgres().shard(&name).clone();
    shard.set("SET default_transaction_read_only = on").await;
    shard.end_sessions().await;

    let liked = ben.like(&post).send().await.expect(202).write_id();
    let refused = async || server.log().contains("in a read-only transaction").then_some(());
    within(Duration::from_secs(60), "the server to refuse", refused).await;
    assert_eq!(ben.write_state(&liked).await, "accepted");
    assert_eq!(ben.read_post(&post).await.expect(200).number_at("/likes"), 1, "his own like is there for him");
    assert_eq!(ann.read_post(&post).await.expect(200).number_at("/likes"), 0, "nobody else sees what is not committed");

    shard.set("RESET default_transaction_read_only").await;
    shard.end_sessions().await;
    assert_eq!(ben.write_settled(&liked).await, "visible");
    assert_eq!(ann.read_post(&post).await.expect(200).number_at("/likes"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_verified_with_its_name() {
    let Some(cluster) = shared_cluster() else { return };
    let front = TlsFront::start(&cluster);
    let through = async |host: &str, authority: &str| {
        let mut databases = Databases::make(&cluster).await;
        databases.0[0].url = front.url(&databases.0[0], host, authority);
        Server::try_start_on(Settings::default(), Some(databases)).await
    };

    let server = through("localhost", "authority.pem").await.unwrap_or_else(|refused| panic!("{}", refused.log));
    let post = Person::join(&server, "ann").await.publish(&nonce()).await;
    Person::stranger(&server).read_post(&post).await.expect(200);
    for (host, authority) in [("127.0.0.1", "authority.pem"), ("localhost", "stranger.pem")] {
        let said = through(host, authority).await.err().expect("a refusal").log;
        assert!(said.contains("shard s1") && said.contains("certificate"), "{host}, {authority}: {said}");
    }
}

#[tokio::test]
async fn a_password_stands_in_no_log_and_in_no_output() {
    let Some(cluster) = shared_cluster() else { return };
    let mut databases = Databases::make(&cluster).await;
    for shard in &mut databases.0 {
        // The cluster trusts everybody on this machine, whatever password comes.
        shard.url = shard.url.replace("sosik@", "sosik:hunter2@");
    }
    let settings = Settings::default().with("telemetry.log", "debug");
    let mut server = Server::try_start_on(settings, Some(databases)).await.unwrap_or_else(|refused| panic!("{}", refused.log));
    Person::join(&server, "ann").await.publish(&nonce()).await;
    server.postgres().0[0].end_sessions().await;
    server.terminate().await;

    let (done, output) = server.run(&["config", "check"]);

    assert!(done && output.contains("sosik:***@"), "{output}");
    assert!(!output.contains("hunter2") && !server.all_logs().contains("hunter2"));
}
