//! Refusals have the shape of the contract, wherever they come from.

use actix_web::http::Method;
use serde_json::Value;

use super::doubles::{Fate, GONE, UNREADABLE};
use super::{ANNA, Stage, as_anna, request};
use crate::api::problem::ProblemName;
use crate::api::settings::Settings;

#[actix_web::test]
async fn an_unknown_address_is_not_found_and_a_write_to_it_was_not_accepted() {
    let stage = Stage::new();

    let read = stage.send(request(Method::GET, "/v1/nothing")).await.problem("not-found", 404);
    let write = stage.send(as_anna(request(Method::POST, "/v1/nothing"))).await.problem("not-found", 404);

    assert_eq!(read.get("accepted"), None);
    assert_eq!(write["accepted"], false);
    stage.send(request(Method::GET, "/nothing")).await.problem("not-found", 404);
}

#[actix_web::test]
async fn a_known_address_names_the_methods_that_it_takes() {
    let stage = Stage::new();
    let cases = [
        ("TRACE", "/v1/posts/42", "DELETE, GET, HEAD, PATCH"),
        ("OPTIONS", "/v1/posts/42/like", "DELETE, PUT"),
        ("QUERY", "/v1/feed", "GET, HEAD"),
        ("BREW", "/v1/posts", "POST"),
        ("POST", "/livez", "GET, HEAD"),
        ("DELETE", "/v1/users/me", "GET, HEAD, PATCH"),
    ];
    for (method, path, allow) in cases {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let answered = stage.send(as_anna(request(method, path))).await;

        answered.problem("method-not-allowed", 405);
        assert_eq!(answered.header("allow"), Some(allow), "{path}");
    }
}

#[actix_web::test]
async fn who_is_not_believed_gets_a_challenge_everywhere() {
    let stage = Stage::new();

    let stranger = stage.send(request(Method::GET, "/v1/feed")).await;
    stranger.problem("unauthenticated", 401);
    assert_eq!(stranger.header("www-authenticate"), Some(r#"Bearer realm="sosik""#));
    for (header, path) in [("Bearer forged", "/v1/posts/42"), ("Basic abc", "/v1/posts/42"), ("Bearer ", "/v1/ids/1"), ("", "/v1/nothing")]
    {
        let answered = stage.send(request(Method::GET, path).insert_header(("authorization", header))).await;

        answered.problem("unauthenticated", 401);
        assert_eq!(answered.header("www-authenticate"), Some(r#"Bearer realm="sosik", error="invalid_token""#));
    }
    let twice = request(Method::GET, "/v1/feed").append_header(("authorization", ANNA)).append_header(("authorization", ANNA));
    stage.send(twice).await.problem("unauthenticated", 401);
    let dark = request(Method::GET, "/v1/feed").insert_header(("authorization", "Bearer token-of-a-dark-shard"));
    stage.send(dark).await.problem("unavailable", 503);
}

#[actix_web::test]
async fn without_anonymous_reads_nobody_reads() {
    let stage = Stage::with(Settings { anonymous_reads: false, ..Settings::default() });

    for path in ["/v1/posts/42", "/v1/posts/42/comments", "/v1/users/7", "/v1/ids/1", "/v1/posts/42/likes", "/v1/users/7/posts"] {
        stage.send(request(Method::GET, path)).await.problem("unauthenticated", 401);
        assert_eq!(stage.read(path).await.status, 200, "{path}");
    }
    assert_eq!(stage.send(request(Method::GET, "/openapi.json")).await.status, 200);
}

#[actix_web::test]
async fn each_refusal_of_intake_has_its_status_and_says_what_to_do() {
    let stage = Stage::new();
    let cases = [
        (Fate::Forbidden, "forbidden", 403, Some(false), None),
        (Fate::Overloaded, "overloaded", 503, Some(false), Some("4")),
        (Fate::Unavailable, "unavailable", 503, Some(false), Some("1")),
        (Fate::TooFast, "too-many-requests", 429, Some(false), Some("7")),
        (Fate::KeyReused, "idempotency-key-reused", 422, Some(false), None),
        (Fate::KeyInUse, "idempotency-key-in-use", 409, Some(false), None),
    ];
    for (fate, name, status, accepted, retry_after) in cases {
        stage.doubles.will(fate);
        let answered = stage.write(Method::PUT, "/v1/posts/42/like", "").await;

        assert_eq!(answered.problem(name, status)["accepted"].as_bool(), accepted, "{name}");
        assert_eq!(answered.header("retry-after"), retry_after, "{name}");
    }
    stage.doubles.will(Fate::TooFast);
    let fast = stage.write(Method::PUT, "/v1/posts/42/like", "").await;
    assert_eq!(fast.header("ratelimit-policy"), Some(r#""writes";q=600;w=60"#));
    assert_eq!(fast.header("ratelimit"), Some(r#""writes";r=0;t=7"#));
}

#[actix_web::test]
async fn an_indefinite_outcome_says_that_it_may_still_happen_and_a_fault_says_nothing_of_its_cause() {
    let stage = Stage::new();

    stage.doubles.will(Fate::Indefinite);
    let indefinite = stage.write(Method::PUT, "/v1/posts/42/like", "").await.problem("indefinite", 504);
    assert_eq!(indefinite.get("accepted"), Some(&Value::Null));

    stage.doubles.will(Fate::Internal);
    let internal = stage.write(Method::PUT, "/v1/posts/42/like", "").await;
    assert_eq!(internal.problem("internal", 500).get("accepted"), None);
    assert!(!String::from_utf8_lossy(&internal.body).contains("secret"));
}

#[actix_web::test]
async fn objects_that_are_gone_hidden_or_out_of_reach_say_so() {
    let stage = Stage::new();

    stage.read(&format!("/v1/posts/{GONE}")).await.problem("gone", 410);
    stage.read(&format!("/v1/posts/{GONE}/comments")).await.problem("gone", 410);
    stage.read("/v1/posts/1").await.problem("not-found", 404);
    let dark = stage.read(&format!("/v1/posts/{UNREADABLE}")).await;
    dark.problem("unavailable", 503);
    assert_eq!(dark.header("retry-after"), Some("2"));
}

#[actix_web::test]
async fn ids_that_are_no_ids_are_malformed() {
    let stage = Stage::new();
    for id in ["0", "007", "x", "-1", "9223372036854775808", "1.0", "%00", "%20", "１"] {
        let path = format!("/v1/posts/{}", id.replace('１', "%EF%BC%91"));
        stage.read(&path).await.problem("malformed", 400);
    }
    stage.write(Method::PUT, "/v1/posts/x/like", "").await.problem("malformed", 400);
    stage.read("/v1/users/me/posts").await;
    stage.read("/v1/users/seven").await.problem("malformed", 400);
    stage.read("/v1/users/@").await.problem("not-found", 404);
}

#[actix_web::test]
async fn what_no_one_can_accept_is_not_acceptable() {
    let stage = Stage::new();
    let accept = |text: &'static str| as_anna(request(Method::GET, "/v1/posts/42")).insert_header(("accept", text));

    for text in ["text/html", "application/xml", "application/json;q=0, */*;q=0.1", "text/html;q=1, application/*;q=0"] {
        stage.send(accept(text)).await.problem("not-acceptable", 406);
    }
    for text in ["*/*", "application/json", "text/html, */*;q=0.1", "application/*", "Application/JSON; charset=utf-8", ""] {
        assert_eq!(stage.send(accept(text)).await.status, if text.is_empty() { 406 } else { 200 }, "{text}");
    }
    let write = as_anna(request(Method::PUT, "/v1/posts/42/like")).insert_header(("accept", "text/html"));
    assert_eq!(stage.send(write).await.problem("not-acceptable", 406)["accepted"], false);
    assert_eq!(stage.doubles.count(), 0);
}

#[actix_web::test]
async fn every_problem_has_a_page_and_no_other_name_has_one() {
    let stage = Stage::new();
    for name in ProblemName::ALL {
        let answered = stage.send(request(Method::GET, &format!("/problems/{}", name.as_str()))).await;
        let text = String::from_utf8(answered.body).expect("UTF-8");

        assert_eq!(answered.status, 200);
        assert!(text.contains(name.title()) && text.contains(name.explanation()) && !text.contains("{{"), "{text}");
    }
    stage.send(request(Method::GET, "/problems/other")).await.problem("not-found", 404);
}
