//! Signing in: bodies, cookies, sessions.

use actix_web::http::Method;
use actix_web::http::header::SET_COOKIE;
use actix_web::test::TestRequest;
use serde_json::json;

use super::{Answered, Stage, as_anna, request};
use crate::api::settings::Settings;

fn call(path: &str, body: &serde_json::Value) -> TestRequest {
    request(Method::POST, path).set_json(body)
}

fn right() -> serde_json::Value {
    json!({"username": "anna", "password": "right"})
}

fn cookies(answered: &Answered) -> Vec<String> {
    answered.headers.get_all(SET_COOKIE).map(|value| value.to_str().expect("ASCII").to_owned()).collect()
}

#[actix_web::test]
async fn a_sign_in_gives_tokens_and_the_user() {
    let stage = Stage::new();
    let expected = json!({
        "access_token": "access", "token_type": "Bearer", "expires_in": 600, "refresh_token": "refresh", "session_id": "9"
    });

    let registered = stage.send(call("/v1/auth/register", &json!({"username": "anna", "password": "right", "display_name": "A"}))).await;
    let logged_in = stage.send(call("/v1/auth/login", &right())).await;
    let refreshed = stage.send(call("/v1/auth/refresh", &json!({"refresh_token": "refresh"}))).await;

    assert_eq!((registered.status, logged_in.status, refreshed.status), (201, 200, 200));
    for answered in [&registered, &logged_in] {
        let mut document = answered.json();
        assert_eq!(document["user"]["username"], "anna");
        document.as_object_mut().expect("an object").remove("user");
        assert_eq!(document, expected);
    }
    assert_eq!(refreshed.json(), expected);
    for answered in [registered, logged_in, refreshed] {
        assert_eq!(answered.header("cache-control"), Some("no-store"));
        assert!(cookies(&answered).is_empty());
    }
}

#[actix_web::test]
async fn refusals_are_the_contracts() {
    let stage = Stage::new();

    stage.send(call("/v1/auth/register", &json!({"username": "taken", "password": "right"}))).await.problem("username-taken", 409);
    let invalid = stage.send(call("/v1/auth/register", &json!({"username": "x", "password": "right"}))).await.problem("invalid", 422);
    assert_eq!(invalid["errors"][0]["field"], "username");
    let wrong = stage.send(call("/v1/auth/login", &json!({"username": "anna", "password": "wrong"}))).await;
    wrong.problem("unauthenticated", 401);
    assert!(wrong.header("www-authenticate").is_some());
    let often = stage.send(call("/v1/auth/login", &json!({"username": "anna", "password": "often"}))).await;
    often.problem("too-many-requests", 429);
    assert_eq!(often.header("retry-after"), Some("30"));
    let slow = stage.send(call("/v1/auth/login", &json!({"username": "anna", "password": "slow"}))).await;
    assert_eq!(slow.problem("indefinite", 504)["accepted"], serde_json::Value::Null);
    stage.send(call("/v1/auth/refresh", &json!({"refresh_token": "spent"}))).await.problem("unauthenticated", 401);
    stage.send(request(Method::POST, "/v1/auth/refresh")).await.problem("unauthenticated", 401);
    let password = json!({"current_password": "wrong", "new_password": "another good one"});
    stage.send(as_anna(call("/v1/auth/password", &password))).await.problem("forbidden", 403);
    stage.send(call("/v1/auth/password", &password)).await.problem("unauthenticated", 401);
}

#[actix_web::test]
async fn a_bad_credential_does_not_keep_anybody_from_signing_in() {
    let stage = Stage::new();

    let stale = call("/v1/auth/login", &right()).insert_header(("authorization", "Bearer stale"));
    assert_eq!(stage.send(stale).await.status, 200);
    let stale = call("/v1/auth/login", &right()).insert_header(("cookie", "__Host-sosik-access=stale"));
    assert_eq!(stage.send(stale).await.status, 200);
}

#[actix_web::test]
async fn a_bad_credential_is_never_taken_for_nobody_however_the_address_is_written() {
    let stage = Stage::new();

    for path in ["/v1/posts/42", "/%761/posts/42", "/v1/%70osts/42", "/v%31/feed"] {
        let forged = request(Method::GET, path).insert_header(("authorization", "Bearer forged"));
        stage.send(forged).await.problem("unauthenticated", 401);
        let cookie = request(Method::GET, path).insert_header(("cookie", "__Host-sosik-access=forged"));
        stage.send(cookie).await.problem("unauthenticated", 401);
    }
}

#[actix_web::test]
async fn cookies_have_their_prefixes_and_attributes_and_the_body_has_no_token() {
    let stage = Stage::new();

    let answered = stage.send(call("/v1/auth/login?cookies=true", &right())).await;

    let document = answered.json();
    assert_eq!((document.get("access_token"), document.get("refresh_token")), (None, None));
    let cookies = cookies(&answered);
    let expected = [
        "__Host-sosik-access=access; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=600",
        "__Secure-sosik-refresh=refresh; HttpOnly; SameSite=Lax; Secure; Path=/v1/auth; Max-Age=2592000",
    ];
    assert_eq!(cookies[..2], expected);
    assert!(
        cookies[2].starts_with("__Host-sosik-consistency=")
            && cookies[2].ends_with("; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=86400")
    );
}

#[actix_web::test]
async fn on_plain_loopback_cookies_go_without_prefix_and_secure() {
    let stage = Stage::new();
    for host in ["localhost:8080", "127.0.0.1", "[::1]:8080"] {
        let answered = stage.send(call("/v1/auth/login?cookies=true", &right()).insert_header(("host", host))).await;
        let cookies = cookies(&answered);

        assert!(cookies[0].starts_with("sosik-access="), "{host} {cookies:?}");
        assert!(cookies.iter().all(|cookie| !cookie.contains("Secure")), "{host} {cookies:?}");
    }
    let public = Settings { public_url: Some("https://social.example".to_owned().try_into().expect("a URL")), ..Settings::default() };
    let behind = Stage::with(public).send(call("/v1/auth/login?cookies=true", &right()).insert_header(("host", "localhost"))).await;
    assert!(cookies(&behind)[0].starts_with("__Host-"));
}

#[actix_web::test]
async fn a_refresh_by_cookie_needs_a_page_of_ours_and_stays_with_cookies() {
    let stage = Stage::new();
    let refresh = || request(Method::POST, "/v1/auth/refresh").insert_header(("cookie", "__Secure-sosik-refresh=refresh"));

    let ours = stage.send(refresh().insert_header(("origin", "http://social.example"))).await;
    assert_eq!(ours.status, 200);
    assert_eq!(ours.json().get("refresh_token"), None);
    assert_eq!(cookies(&ours).len(), 3);
    stage.send(refresh()).await.problem("forbidden", 403);
    stage.send(refresh().insert_header(("origin", "https://evil.example"))).await.problem("forbidden", 403);
    let unprefixed = request(Method::POST, "/v1/auth/refresh").insert_header(("cookie", "sosik-refresh=refresh"));
    stage.send(unprefixed.insert_header(("origin", "http://social.example"))).await.problem("unauthenticated", 401);
}

#[actix_web::test]
async fn sessions_are_listed_and_ended() {
    let stage = Stage::new();

    let list = stage.read("/v1/auth/sessions").await;
    let expected = json!({"items": [
        {"id": "9", "device": "a phone", "created_at": "1970-01-01T00:00:00.000Z", "last_used_at": "1970-01-01T00:00:00.001Z", "current": true},
        {"id": "10", "device": "a phone", "created_at": "1970-01-01T00:00:00.000Z", "last_used_at": "1970-01-01T00:00:00.001Z", "current": false}
    ], "next": null});
    assert_eq!(list.json(), expected);
    assert_eq!(stage.write(Method::DELETE, "/v1/auth/sessions/9", "").await.status, 204);
    stage.write(Method::DELETE, "/v1/auth/sessions/11", "").await.problem("not-found", 404);
    assert_eq!(stage.write(Method::POST, "/v1/auth/logout", "").await.status, 204);
    let by_cookie = request(Method::POST, "/v1/auth/logout").insert_header(("cookie", "__Host-sosik-access=token-of-anna"));
    let out = stage.send(by_cookie.insert_header(("sec-fetch-site", "same-origin"))).await;
    assert_eq!(out.status, 204);
    assert!(cookies(&out).iter().all(|cookie| cookie.contains("Max-Age=0")) && cookies(&out).len() == 3);
}

#[actix_web::test]
async fn sign_in_hears_from_where_and_with_what() {
    let stage = Stage::new();
    let peer = "203.0.113.9:4000".parse().expect("an address");
    let long = "x".repeat(500);

    stage
        .send(
            call("/v1/auth/login", &right())
                .peer_addr(peer)
                .insert_header(("user-agent", long.as_str()))
                .insert_header(("x-forwarded-for", "1.1.1.1")),
        )
        .await;

    let client = stage.doubles.clients.lock().expect("a lock")[0].clone();
    assert_eq!(client.address, Some(peer.ip()));
    assert_eq!(client.device.len(), 200);
}
