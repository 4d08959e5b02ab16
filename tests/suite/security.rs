//! The security rules S13–S16, S18, S20, S24–S27, S38, S42–S44 and S46 as a stranger on the network would try them.
//!
//! Controls: ended sessions that are not looked at, refresh tokens that may be reused, and origins that are not checked.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use crate::support::client::{Answer, PASSWORD, Person, fresh_name, nonce};
use crate::support::faults;
use crate::support::server::{Server, Settings};
use crate::tokens::changed;

async fn ended_session_is_refused(settings: Settings) -> bool {
    let server = Server::start_with(settings).await;
    let ann = Person::join(&server, "ann").await;
    ann.read_user("me").await.expect(200);
    ann.post("/v1/auth/logout").send().await.expect(204);
    for _ in 0..25 {
        if ann.read_user("me").await.status == 401 {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    false
}

#[tokio::test]
async fn an_ended_session_is_refused_within_five_seconds() {
    assert!(ended_session_is_refused(Settings::default()).await);
}

#[tokio::test]
async fn control_sessions_that_are_not_looked_at_are_caught() {
    assert!(!ended_session_is_refused(Settings::default().fault((faults::SKIP_REVOCATION, "return"))).await, "the fault had no effect");
}

async fn reuse_is_noticed(settings: Settings) -> bool {
    let server = Server::start_with(settings).await;
    let ann = Person::join(&server, "ann").await;
    let second = ann.refresh(&ann.refresh_token).await.expect(200).text_at("/refresh_token");
    ann.refresh(&second).await.expect(200);
    let refused = ann.refresh(&ann.refresh_token).await.status == 401;
    // What an operator sees of it, and what its user sees at his other devices.
    let told = ann.metric("sosik_refresh_tokens_reused_total").await == 1.0 && server.log().contains("a refresh token was used again");
    let other = ann.signed_in(&ann.signed_out().login(&ann.name, PASSWORD).await.expect(200), &ann.name);
    let listed = other.get("/v1/auth/sessions").send().await.expect(200).item_ids().contains(&ann.session);
    refused && told && !listed
}

#[tokio::test]
async fn control_refresh_tokens_that_may_be_reused_are_caught() {
    assert!(reuse_is_noticed(Settings::default()).await);
    assert!(!reuse_is_noticed(Settings::default().fault((faults::SKIP_REUSE_DETECTION, "return"))).await, "the fault had no effect");
}

/// The cookies of an answer as `name=value` and as they were set.
fn cookies_of(answer: &Answer) -> (String, Vec<String>) {
    let set: Vec<String> = answer.headers.get_all("set-cookie").iter().filter_map(|value| value.to_str().ok().map(str::to_owned)).collect();
    let pairs: Vec<&str> = set.iter().filter_map(|cookie| cookie.split(';').next()).collect();
    (pairs.join("; "), set)
}

async fn browser(server: &Server) -> (Person, String, Vec<String>) {
    let stranger = Person::stranger(server);
    let own = server.address.url("");
    let name = fresh_name("web");
    let body = json!({"username": name, "password": PASSWORD});
    let answer = stranger.post("/v1/auth/register?cookies=true").header("Origin", &own).json(&body).send().await.expect(201);
    assert!(answer.json.get("access_token").is_none() && answer.json.get("refresh_token").is_none(), "{}", answer.text);
    let (pairs, set) = cookies_of(&answer);
    (stranger, pairs, set)
}

#[tokio::test]
async fn cookies_are_out_of_reach_of_scripts_and_of_other_sites() {
    let server = Server::start().await;
    let (stranger, pairs, set) = browser(&server).await;

    for name in ["sosik-access", "sosik-refresh"] {
        let cookie = set.iter().find(|cookie| cookie.starts_with(&format!("{name}="))).unwrap_or_else(|| panic!("no {name} in {set:?}"));
        assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"), "{cookie}");
        let path = if name == "sosik-access" { "Path=/" } else { "Path=/v1/auth" };
        assert!(cookie.split("; ").any(|part| part == path), "{cookie}");
    }
    stranger.get("/v1/users/me").header("Cookie", &pairs).send().await.expect(200);
}

/// How unsafe calls with the cookie are answered from elsewhere.
async fn foreign_calls(server: &Server) -> Vec<(String, u16)> {
    let (stranger, pairs, _) = browser(server).await;
    let own = server.address.url("");
    let mut answers = Vec::new();
    let good_origins: [(&str, &str); 2] = [("Origin", &own), ("Sec-Fetch-Site", "same-origin")];
    for (name, value) in good_origins {
        let call = stranger.write_post(&nonce()).header("Cookie", &pairs).header(name, value);
        call.send().await.expect(202);
    }
    let evil_suffix = format!("{own}.evil.example");
    let foreign: [&[(&str, &str)]; 6] = [
        &[("Origin", "https://evil.example")],
        &[("Origin", "null")],
        &[("Origin", &evil_suffix)],
        &[("Sec-Fetch-Site", "cross-site")],
        &[("Sec-Fetch-Site", "same-site"), ("Origin", "http://127.0.0.1:1")],
        &[],
    ];
    for headers in foreign {
        let mut call = stranger.write_post(&nonce()).header("Cookie", &pairs);
        for (name, value) in headers {
            call = call.header(name, value);
        }
        answers.push((format!("{headers:?}"), call.send().await.status));
    }
    let form =
        stranger.post("/v1/posts").header("Cookie", &pairs).header("Content-Type", "text/plain").header("Origin", "https://evil.example");
    answers.push(("a form".to_owned(), form.body("{\"body\":\"x\"}").send().await.status));
    let body = json!({"username": "somebody", "password": PASSWORD});
    let login = stranger.post("/v1/auth/login?cookies=true").header("Origin", "https://evil.example").json(&body).send().await;
    answers.push(("a login".to_owned(), login.status));
    answers
}

#[tokio::test]
async fn another_site_cannot_write_with_the_visitors_cookie() {
    let server = Server::start().await;

    for (from, status) in foreign_calls(&server).await {
        assert_eq!(status, 403, "from {from}");
    }
    let ann = Person::join(&server, "ann").await;
    ann.write_post("A bearer is no cookie").header("Origin", "https://evil.example").send().await.expect(202);
}

#[tokio::test]
async fn control_origins_that_are_not_checked_are_caught() {
    let server = Server::start_with(Settings::default().fault((faults::SKIP_ORIGIN_CHECK, "return"))).await;

    assert!(foreign_calls(&server).await.iter().any(|(_, status)| *status != 403), "the fault had no effect");
}

#[tokio::test]
async fn only_named_origins_may_read_from_a_browser() {
    let server = Server::start_with(Settings::default().with("server.allowed_origins", "[\"https://good.example\"]")).await;
    let stranger = Person::stranger(&server);

    let good = stranger.get("/v1/posts/1").header("Origin", "https://good.example").send().await;
    assert_eq!(good.header("access-control-allow-origin"), "https://good.example");
    assert_eq!(good.header("access-control-allow-credentials"), "true");
    assert!(good.header("access-control-expose-headers").to_lowercase().contains("consistency-token"));
    for wrong in
        ["https://good.example.evil.example", "https://evilgood.example", "http://good.example", "https://good.example:444", "null"]
    {
        let answer = stranger.get("/v1/posts/1").header("Origin", wrong).send().await;
        assert_eq!(answer.header("access-control-allow-origin"), "", "{wrong}");
    }
    let preflight = stranger
        .call(Method::OPTIONS, "/v1/posts")
        .header("Origin", "https://good.example")
        .header("Access-Control-Request-Method", "POST")
        .header("Access-Control-Request-Headers", "authorization,idempotency-key")
        .send()
        .await;
    assert!(matches!(preflight.status, 200 | 204), "{}", preflight.status);
    assert!(preflight.header("access-control-allow-methods").contains("POST"));
}

#[tokio::test]
async fn members_that_are_not_the_callers_to_set_are_refused() {
    let server = Server::start().await;
    let ann = Person::join(&server, "ann").await;
    for (member, value) in [
        ("author_id", json!("1")),
        ("author", json!({"id": "1"})),
        ("likes", json!(1000)),
        ("created_at", json!("2020-01-01T00:00:00.000Z")),
        ("id", json!("1")),
        ("version", json!("9")),
        ("shard", json!("s1")),
    ] {
        let body = changed(&json!({"body": "x"}), member, value);
        let answer = ann.post("/v1/posts").json(&body).send().await;
        assert!(matches!(answer.status, 400 | 422), "{member}: {} {}", answer.status, answer.text);
        assert_eq!(answer.json["accepted"], false);
    }
    for (member, value) in [("role", json!("admin")), ("username", json!("root")), ("followers", json!(7)), ("password_hash", json!("x"))] {
        let answer = ann.patch("/v1/users/me").json(&json!({member: value})).send().await;
        assert!(matches!(answer.status, 400 | 422), "{member}: {} {}", answer.status, answer.text);
    }
    let me = ann.read_user("me").await.expect(200);
    for secret in ["password", "hash", "email", "role", "ip", "argon2"] {
        assert!(!me.text.contains(secret), "{secret} in {}", me.text);
    }
}

#[tokio::test]
async fn the_operators_calls_need_the_role_on_their_own_listener() {
    let mut server = Server::start().await;
    let ann = Person::join(&server, "ann").await;
    let stranger = ann.signed_out();
    let paths = ["/admin/shards", "/admin/lanes", "/admin/workers", "/admin/journal", "/admin/dead-letters", "/admin/nothing-here"];
    for path in paths {
        stranger.admin_call(Method::GET, path).send().await.expect_problem(401, "unauthenticated");
        stranger.admin_call(Method::GET, path).header("X-Forwarded-For", "127.0.0.1").send().await.expect(401);
        ann.admin_call(Method::GET, path).send().await.expect_problem(403, "forbidden");
        ann.get(path).send().await.expect_problem(404, "not-found");
    }
    let orders = [
        (Method::PUT, "/admin/workers"),
        (Method::GET, "/admin/dead-letters/7"),
        (Method::POST, "/admin/dead-letters/7/retry"),
        (Method::POST, "/admin/dead-letters/7/discard"),
    ];
    for (method, path) in &orders {
        let forwarded = stranger.admin_call(method.clone(), path).header("X-Forwarded-For", "127.0.0.1");
        forwarded.send().await.expect_problem(401, "unauthenticated");
        ann.admin_call(method.clone(), path).send().await.expect_problem(403, "forbidden");
        ann.call(method.clone(), path).send().await.expect_problem(404, "not-found");
    }
    ann.get("/metrics").send().await.expect_problem(404, "not-found");
    let metrics = stranger.admin_call(Method::GET, "/metrics").send().await.expect(200);
    assert!(!metrics.text.contains(&ann.id) && !metrics.text.contains(&ann.name), "a person in the metrics");

    server.terminate().await;
    let (made, output) = server.run(&["user", "admin", &ann.name]);
    assert!(made, "{output}");
    server.restart().await;
    let operator = ann.signed_in(&stranger.login(&ann.name, PASSWORD).await.expect(200), &ann.name);
    for path in &paths[..5] {
        operator.admin_call(Method::GET, path).send().await.expect(200);
    }
    operator.admin_call(Method::GET, "/admin/nothing-here").send().await.expect_problem(404, "not-found");
}

#[tokio::test]
async fn limits_hold_and_a_forwarded_address_does_not_move_them() {
    let settings = Settings::default()
        .with("limits.enabled", "true")
        .with("limits.registrations_per_hour", "2")
        .with("limits.writes_per_minute", "5")
        .with("limits.logins_per_minute", "1000");
    let server = Server::start_with(settings).await;
    let ann = Person::join(&server, "ann").await;
    Person::join(&server, "ben").await;
    for number in 0..3 {
        let body = json!({"username": fresh_name("eve"), "password": PASSWORD});
        let call = ann.signed_out().post("/v1/auth/register").json(&body).header("X-Forwarded-For", &format!("10.0.0.{number}"));
        let refused = call.header("Forwarded", "for=10.1.1.1").send().await.expect_problem(429, "too-many-requests");
        assert!(refused.header("retry-after").parse::<u64>().expect("seconds") >= 1);
    }

    let mut answers = Vec::new();
    for _ in 0..12 {
        answers.push(ann.write_post(&nonce()).send().await);
    }
    let accepted = answers.iter().filter(|answer| answer.status == 202).count();
    let refused = answers.into_iter().find(|answer| answer.status != 202).expect("a limit").expect_problem(429, "too-many-requests");
    assert!((5..=7).contains(&accepted), "{accepted} of 12 at five a minute");
    assert_eq!(refused.json["accepted"], false);
    for header in ["retry-after", "ratelimit", "ratelimit-policy"] {
        assert!(!refused.header(header).is_empty(), "{header} is missing: {:?}", refused.headers);
    }
    ann.read_user("me").await.expect(200);
}

#[tokio::test]
async fn a_login_from_everywhere_is_slowed_but_not_the_owners_refresh() {
    let settings = Settings::default().with("limits.enabled", "true").with("limits.logins_per_minute", "5");
    let server = Server::start_with(settings).await;
    let ann = Person::join(&server, "ann").await;

    let mut statuses = Vec::new();
    for _ in 0..15 {
        statuses.push(ann.signed_out().login(&ann.name, "not-her-password-1").await.status);
    }

    assert!(statuses.contains(&429), "{statuses:?}");
    ann.refresh(&ann.refresh_token).await.expect(200);
}

#[tokio::test]
async fn answers_carry_the_headers_of_their_kind_and_no_inner_workings() {
    let server = Server::start().await;
    let ann = Person::join(&server, "ann").await;
    let post = ann.publish("Headers").await;

    let read = ann.read_post(&post).await.expect(200);
    assert!(read.header("content-type").starts_with("application/json"));
    assert_eq!(read.header("cache-control"), "private, no-cache");
    for name in ["Authorization", "Cookie", "Origin"] {
        assert!(read.header("vary").contains(name), "Vary: {}", read.header("vary"));
    }
    assert_eq!(read.header("x-content-type-options"), "nosniff");
    assert_eq!(ann.get("/v1/auth/sessions").send().await.expect(200).header("cache-control"), "no-store");
    let head = ann.call(Method::HEAD, &format!("/v1/posts/{post}")).send().await.expect(200);
    assert_eq!((head.header("etag"), head.text.as_str()), (read.header("etag"), ""));

    let page = ann.get("/").send().await.expect(200);
    let policy = page.header("content-security-policy");
    // What is not named falls back to the default: objects are among it.
    for part in ["default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'"] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("unsafe-eval"), "{policy}");

    for answer in [ann.get("/v1/nothing").send().await.expect_problem(404, "not-found"), ann.write_post("").send().await] {
        assert!(answer.json["request_id"].is_string());
        for inner in ["src/", ".rs", "SELECT", "sqlite", "panicked", "/tmp/"] {
            assert!(!answer.text.contains(inner), "{inner} in {}", answer.text);
        }
    }
}

#[tokio::test]
async fn a_new_server_has_a_key_of_its_own_and_nobody_in_it() {
    let (one, two) = (Server::start().await, Server::start().await);
    let ann = Person::join(&one, "ann").await;
    let stranger = Person::stranger(&two);

    stranger.with_token(ann.token.as_deref().expect("signed in")).read_user("me").await.expect_problem(401, "unauthenticated");
    stranger.refresh(&ann.refresh_token).await.expect_problem(401, "unauthenticated");
    for name in ["admin", "root", "sosik", "operator", "test"] {
        for password in [name, "password", PASSWORD, ""] {
            stranger.login(name, password).await.expect(401);
        }
    }
}

#[tokio::test]
async fn files_belong_to_their_owner_and_logs_hold_no_secret() {
    let server = Server::start_with(Settings::default().with("telemetry.log", "debug")).await;
    let ann = Person::join(&server, "ann").await;
    let secret_text = nonce();
    ann.publish(&secret_text).await;
    ann.signed_out().login(&ann.name, PASSWORD).await.expect(200);
    ann.refresh(&ann.refresh_token).await.expect(200);
    // What is refused stands in the log, too.
    let wrong_password = nonce();
    ann.signed_out().login(&ann.name, &wrong_password).await.expect(401);
    let change = ann.post("/v1/auth/password").json(&json!({"current_password": wrong_password, "new_password": secret_text}));
    change.send().await.expect(403);
    let bent_token = format!("{}x", ann.token.as_deref().expect("signed in"));
    ann.with_token(&bent_token).read_user("me").await.expect(401);
    ann.refresh(&format!("{}x", ann.refresh_token)).await.expect(401);
    let by_cookie = ann.signed_out().get("/v1/users/me").header("Cookie", &format!("sosik-access={bent_token}"));
    by_cookie.send().await.expect(401);

    for file in walk(&server.data()) {
        // The server replaces and removes files meanwhile.
        let Ok(metadata) = std::fs::metadata(&file) else { continue };
        let mode = metadata.permissions().mode() & 0o777;
        assert_eq!(mode & 0o077, 0, "{} has mode {mode:o}", file.display());
    }
    let log = server.all_logs();
    assert!(log.contains("login failed") && log.contains("wrong current password"), "what was refused is not in the log");
    for (what, secret) in [
        ("password", PASSWORD),
        ("wrong password", &wrong_password),
        ("token", ann.token.as_deref().expect("signed in")),
        ("refresh token", &ann.refresh_token),
    ] {
        assert!(!log.contains(secret), "a {what} stands in the log");
    }
    assert!(!log.contains(&secret_text), "a body stands in the log");
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        if entry.path().is_dir() {
            files.extend(walk(&entry.path()));
        } else {
            files.push(entry.path());
        }
    }
    files
}
