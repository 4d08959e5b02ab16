//! Signing in: names, passwords, sessions, the rotation of refresh tokens, and how all of them end.

use std::time::Duration;

use serde_json::json;

use crate::support::client::{PASSWORD, Person, fresh_name, within};
use crate::support::server::{Server, Settings};
use crate::support::{faults, shards};

/// Ended sessions are refused within this (G15).
const REVOCATION_LIMIT: Duration = Duration::from_secs(5);

async fn refused_soon(person: &Person) {
    within(REVOCATION_LIMIT, "the session to be refused", async || (person.read_user("me").await.status == 401).then_some(())).await;
}

#[tokio::test]
async fn a_registration_signs_in_and_a_name_is_taken_once_whatever_its_case() {
    let server = Server::start().await;
    let stranger = Person::stranger(&server);
    let name = fresh_name("ann");

    let answer = stranger.register(&name.to_uppercase(), PASSWORD).await.expect(201);
    assert_eq!(answer.text_at("/user/username"), name);
    assert_eq!(answer.text_at("/token_type"), "Bearer");
    assert!(answer.number_at("/expires_in") > 0);
    assert_eq!(answer.header("cache-control"), "no-store");
    stranger.register(&name, PASSWORD).await.expect_problem(409, "username-taken");

    let me = stranger.signed_in(&answer, &name);
    assert_eq!(me.read_user("me").await.expect(200).text_at("/id"), me.id);
    me.publish("Signed in").await;
}

#[tokio::test]
async fn of_many_at_once_one_gets_the_name() {
    let server = Server::start().await;
    let stranger = Person::stranger(&server);
    let name = fresh_name("only");

    let answers = futures_util::future::join_all((0..12).map(|_| stranger.register(&name, PASSWORD))).await;

    let taken = answers.iter().filter(|answer| answer.status == 201).count();
    assert_eq!(taken, 1);
    for answer in answers.into_iter().filter(|answer| answer.status != 201) {
        // The hashing pool takes only so many at once.
        assert!(matches!(answer.problem(), "username-taken" | "overloaded"), "{} {}", answer.status, answer.text);
    }
    stranger.login(&name, PASSWORD).await.expect(200);
}

#[tokio::test]
async fn names_and_passwords_have_rules() {
    let server = Server::start().await;
    let stranger = Person::stranger(&server);

    for wrong in ["ab", ".bob", "bob.", "bob smith", "b\u{f6}b", &"n".repeat(31)] {
        let answer = stranger.register(wrong, PASSWORD).await.expect_problem(422, "invalid");
        assert_eq!(answer.json["errors"][0]["field"], "username", "{wrong}");
    }
    for wrong in ["short7!", "password", "12345678", &"p".repeat(129)] {
        let answer = stranger.register(&fresh_name("ann"), wrong).await.expect_problem(422, "invalid");
        assert_eq!(answer.json["errors"][0]["field"], "password", "{wrong}");
    }
    let (name, long) = (fresh_name("ann"), format!("{}\u{e9}\u{1f600}", "q7-".repeat(42)));
    stranger.register(&name, &long).await.expect(201);
    stranger.login(&name, &long).await.expect(200);
    let cut: String = long.chars().take(72).collect();
    stranger.login(&name, &cut).await.expect_problem(401, "unauthenticated");
}

#[tokio::test]
async fn an_unknown_user_and_a_wrong_password_answer_alike() {
    let server = Server::start().await;
    let ann = Person::join(&server, "ann").await;

    let wrong = ann.signed_out().login(&ann.name, "not-her-password-1").await.expect_problem(401, "unauthenticated");
    let unknown = ann.signed_out().login("nobody_here", "not-her-password-1").await.expect_problem(401, "unauthenticated");

    assert_eq!((&wrong.json["title"], &wrong.json["detail"]), (&unknown.json["title"], &unknown.json["detail"]));
    assert_eq!(wrong.header("www-authenticate"), unknown.header("www-authenticate"));
}

#[tokio::test]
async fn a_refresh_token_works_once_and_its_second_use_ends_the_session() {
    let server = Server::start().await;
    let ann = Person::join(&server, "ann").await;

    let second = ann.refresh(&ann.refresh_token).await.expect(200);
    assert!(second.json.get("user").is_none());
    assert_eq!(second.text_at("/session_id"), ann.session);
    let third = ann.refresh(&second.text_at("/refresh_token")).await.expect(200);
    let current = ann.with_token(&third.text_at("/access_token"));
    current.read_user("me").await.expect(200);

    // Two generations old: no grace.
    ann.refresh(&ann.refresh_token).await.expect_problem(401, "unauthenticated");

    refused_soon(&current).await;
    ann.refresh(&third.text_at("/refresh_token")).await.expect_problem(401, "unauthenticated");
}

#[tokio::test]
async fn two_tabs_that_refresh_at_once_get_the_same_successor() {
    let server = Server::start().await;
    let ann = Person::join(&server, "ann").await;

    let answers = futures_util::future::join_all((0..10).map(|_| ann.refresh(&ann.refresh_token))).await;

    let successors: std::collections::HashSet<String> =
        answers.into_iter().map(|answer| answer.expect(200).text_at("/refresh_token")).collect();
    assert_eq!(successors.len(), 1);
    let successor = successors.into_iter().next().expect("one");
    assert_ne!(successor, ann.refresh_token);
    ann.refresh(&successor).await.expect(200);
}

#[tokio::test]
async fn a_rotation_survives_a_kill() {
    let mut server = Server::start().await;
    let ann = Person::join(&server, "ann").await;
    let second = ann.refresh(&ann.refresh_token).await.expect(200).text_at("/refresh_token");
    let third = ann.refresh(&second).await.expect(200).text_at("/refresh_token");

    server.kill();
    server.restart().await;

    ann.refresh(&third).await.expect(200);
    ann.refresh(&ann.refresh_token).await.expect_problem(401, "unauthenticated");
}

#[tokio::test]
async fn a_logout_ends_the_session_also_over_a_restart() {
    let mut server = Server::start().await;
    let ann = Person::join(&server, "ann").await;
    let other = ann.signed_in(&ann.signed_out().login(&ann.name, PASSWORD).await.expect(200), &ann.name);

    ann.post("/v1/auth/logout").send().await.expect(204);
    refused_soon(&ann).await;
    ann.refresh(&ann.refresh_token).await.expect_problem(401, "unauthenticated");
    other.read_user("me").await.expect(200);

    server.kill();
    server.restart().await;
    ann.read_user("me").await.expect_problem(401, "unauthenticated");
    other.read_user("me").await.expect(200);
}

#[tokio::test]
async fn sessions_are_listed_and_ended_one_by_one() {
    let server = Server::start().await;
    let ann = Person::join(&server, "ann").await;
    let other = ann.signed_in(&ann.signed_out().login(&ann.name, PASSWORD).await.expect(200), &ann.name);
    let ben = Person::join(&server, "ben").await;

    let list = ann.get("/v1/auth/sessions").send().await.expect(200);
    let items = list.json["items"].as_array().expect("items");
    assert_eq!(items.len(), 2);
    assert!(list.json["next"].is_null());
    let current: Vec<_> = items.iter().filter(|session| session["current"] == true).map(|session| session["id"].clone()).collect();
    assert_eq!(current, [json!(ann.session)]);

    ben.delete(&format!("/v1/auth/sessions/{}", other.session)).send().await.expect_problem(404, "not-found");
    ann.delete(&format!("/v1/auth/sessions/{}", other.session)).send().await.expect(204);
    refused_soon(&other).await;
    ann.read_user("me").await.expect(200);
}

#[tokio::test]
async fn a_new_password_ends_all_other_sessions() {
    let server = Server::start().await;
    let ann = Person::join(&server, "ann").await;
    let other = ann.signed_in(&ann.signed_out().login(&ann.name, PASSWORD).await.expect(200), &ann.name);
    let change = |current: &str| json!({"current_password": current, "new_password": "a-new-one-for-ann-8"});

    ann.post("/v1/auth/password").json(&change("wrong-one-9")).send().await.expect_problem(403, "forbidden");
    ann.post("/v1/auth/password").json(&change(PASSWORD)).send().await.expect(204);

    refused_soon(&other).await;
    ann.read_user("me").await.expect(200);
    let stranger = ann.signed_out();
    stranger.login(&ann.name, PASSWORD).await.expect_problem(401, "unauthenticated");
    stranger.login(&ann.name, "a-new-one-for-ann-8").await.expect(200);
}

/// Strangers' failures that cost nothing.
const FREE_FAILURES: i64 = 5;

#[tokio::test]
async fn failed_logins_make_strangers_wait_also_after_a_restart() {
    let settings = Settings::default().with("limits.enabled", "true").with("limits.logins_per_minute", "1000");
    let mut server = Server::start_with(settings.clone()).await;
    let ann = Person::join(&server, "ann").await;
    // Not from where she signed in: a device that is known is let through.
    let stranger = Person::stranger_at(&server, "127.0.0.2".parse().expect("an address"));

    for _ in 0..FREE_FAILURES {
        stranger.login(&ann.name, "not-her-password-1").await.expect_problem(401, "unauthenticated");
    }
    let in_row = async || (shards::failed_logins(&server).await == FREE_FAILURES).then_some(());
    within(Duration::from_secs(60), "the back-off in the row of the account", in_row).await;

    server.kill();
    // However long that takes, by this clock the wait is not over.
    server.restart_with(settings.fault((faults::CLOCK_OFFSET, "return(-120000)"))).await;
    let refused = stranger.login(&ann.name, "not-her-password-1").await.expect_problem(429, "too-many-requests");
    assert!(refused.header("retry-after").parse::<u64>().is_ok_and(|seconds| seconds > 0), "{:?}", refused.headers);
}

#[tokio::test]
async fn a_stranger_waits_longer_with_each_failure() {
    let settings = Settings::default().with("limits.enabled", "true").with("limits.logins_per_minute", "1000");
    let server = Server::start_with(settings).await;
    let ann = Person::join(&server, "ann").await;
    let stranger = Person::stranger_at(&server, "127.0.0.2".parse().expect("an address"));

    // Five cost nothing, then the waits are 1, 2, 4 and 8 seconds, less what passes until it is asked again.
    within(Duration::from_secs(120), "a long back-off", async || {
        let answer = stranger.login(&ann.name, "not-her-password-1").await;
        if answer.status == 401 {
            return None;
        }
        let wait: u64 = answer.expect_problem(429, "too-many-requests").header("retry-after").parse().expect("seconds");
        if wait < 5 {
            // As long as the answer asks for: sooner there is only the same answer.
            tokio::time::sleep(Duration::from_secs(wait)).await;
        }
        (wait >= 5).then_some(())
    })
    .await;
}

/// How long a probe may take beside logins, longer than one of a server that has nothing to do takes in the same moments.
const PROBE_MAX: Duration = Duration::from_millis(500);

#[tokio::test]
async fn a_thousand_logins_at_once_leave_the_server_answering() {
    let (server, idle) = (Server::start().await, Server::start().await);
    let ann = Person::join(&server, "ann").await;
    let (stranger, elsewhere) = (ann.signed_out(), Person::stranger(&idle));
    let probe = async |person: &Person| {
        let began = std::time::Instant::now();
        person.get("/livez").send().await.expect(200);
        began.elapsed()
    };
    let mut delays = Vec::new();
    // What the machine does beside it may delay one probe out of twenty, though hardly each time.
    for _ in 0..3 {
        let logins = futures_util::future::join_all((0..300).map(|_| stranger.login(&ann.name, PASSWORD)));
        let probes = async {
            let (mut slowest, mut slowest_elsewhere) = (Duration::ZERO, Duration::ZERO);
            for _ in 0..20 {
                let (here, there) = tokio::join!(probe(&stranger), probe(&elsewhere));
                (slowest, slowest_elsewhere) = (slowest.max(here), slowest_elsewhere.max(there));
                // The pace of the probes.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            slowest.saturating_sub(slowest_elsewhere)
        };

        let (answers, delay) = tokio::join!(logins, probes);

        delays.push(delay);
        assert!(answers.iter().any(|answer| answer.status == 200));
        for answer in answers.into_iter().filter(|answer| answer.status != 200) {
            assert!(matches!(answer.status, 429 | 503), "{} {}", answer.status, answer.text);
            assert!(!answer.header("retry-after").is_empty());
        }
        if delay < PROBE_MAX {
            break;
        }
    }
    assert!(delays.last().is_some_and(|delay| *delay < PROBE_MAX), "logins delay a probe by {delays:?}");
}
