//! Pages of other origins: who may call, and whose writes with cookies count.

use actix_web::http::Method;

use super::{Stage, request};
use crate::api::settings::Settings;

const FRIEND: &str = "https://app.example";

fn stage() -> Stage {
    Stage::with(Settings { allowed_origins: vec![FRIEND.to_owned().try_into().expect("an origin")], ..Settings::default() })
}

#[actix_web::test]
async fn only_a_listed_origin_may_read_answers() {
    let stage = stage();
    let from = |origin: &str| request(Method::GET, "/v1/posts/42").insert_header(("origin", origin));

    let friend = stage.send(from(FRIEND)).await;
    assert_eq!(friend.header("access-control-allow-origin"), Some(FRIEND));
    assert_eq!(friend.header("access-control-allow-credentials"), Some("true"));
    let exposed = friend.header("access-control-expose-headers").expect("a list");
    for name in ["Location", "ETag", "Link", "Retry-After", "Consistency-Token", "Idempotency-Replayed", "Preference-Applied", "RateLimit"]
    {
        assert!(exposed.contains(name), "{name}");
    }
    let refused = stage.send(request(Method::GET, "/v1/feed").insert_header(("origin", FRIEND))).await;
    assert_eq!(refused.header("access-control-allow-origin"), Some(FRIEND), "a page may read why it was refused");
    for origin in [
        "null",
        "https://evil.example",
        "https://app.example.evil.example",
        "https://evilapp.example",
        "https://app.example:8443",
        "http://app.example",
        "HTTPS://APP.EXAMPLE",
        "https://app.example/",
        "",
    ] {
        let foreign = stage.send(from(origin)).await;
        assert_eq!(foreign.header("access-control-allow-origin"), None, "{origin}");
        assert_eq!(foreign.header("access-control-allow-credentials"), None, "{origin}");
        assert!(foreign.header("vary").is_some_and(|vary| vary.contains("Origin")), "{origin}");
    }
    let two = from(FRIEND).append_header(("origin", FRIEND));
    assert_eq!(stage.send(two).await.header("access-control-allow-origin"), None);
}

#[actix_web::test]
async fn a_preflight_of_a_listed_origin_is_answered_and_any_other_is_refused() {
    let stage = stage();
    let ask = |origin: &str| {
        request(Method::OPTIONS, "/v1/posts/42/like")
            .insert_header(("origin", origin))
            .insert_header(("access-control-request-method", "PUT"))
    };

    let friend = stage.send(ask(FRIEND)).await;
    assert_eq!((friend.status, friend.header("access-control-allow-origin")), (204, Some(FRIEND)));
    assert!(friend.header("access-control-allow-methods").is_some_and(|methods| methods.contains("PUT")));
    assert!(friend.header("access-control-allow-headers").is_some_and(|names| names.contains("Idempotency-Key")));
    let foreign = stage.send(ask("https://evil.example")).await;
    foreign.problem("method-not-allowed", 405);
    assert_eq!(foreign.header("access-control-allow-methods"), None);
}

#[actix_web::test]
async fn a_write_with_a_cookie_must_come_from_a_page_of_ours() {
    let stage = stage();
    let own = "http://social.example";
    // Origin, Sec-Fetch-Site, Content-Type, whether it counts.
    let cases = [
        (Some(own), None, None, true),
        (Some("http://social.example:80"), None, None, false),
        (Some(FRIEND), Some("cross-site"), None, true),
        (None, Some("same-origin"), None, true),
        (Some("https://social.example"), None, None, false),
        (Some("http://social.example.evil.example"), None, None, false),
        (Some("https://evil.example"), None, None, false),
        (Some("https://evil.example"), Some("same-origin"), None, false),
        (Some("null"), None, None, false),
        (None, Some("cross-site"), None, false),
        (None, Some("same-site"), None, false),
        (None, Some("none"), None, false),
        (None, None, None, false),
        (None, None, Some("text/plain"), false),
        (None, None, Some("application/x-www-form-urlencoded"), false),
    ];
    for (origin, site, content_type, counts) in cases {
        for (method, path, body) in [
            ("PUT", "/v1/posts/42/like", ""),
            ("DELETE", "/v1/posts/42", ""),
            ("POST", "/v1/posts", r#"{"body":"x"}"#),
            ("PATCH", "/v1/users/me", "{}"),
            ("POST", "/v1/auth/logout", ""),
        ] {
            let method = Method::from_bytes(method.as_bytes()).expect("a method");
            let mut sent = request(method, path).insert_header(("cookie", "__Host-sosik-access=token-of-anna")).set_payload(body);
            sent = sent.insert_header(("content-type", content_type.unwrap_or("application/json")));
            if let Some(origin) = origin {
                sent = sent.insert_header(("origin", origin));
            }
            if let Some(site) = site {
                sent = sent.insert_header(("sec-fetch-site", site));
            }
            let answered = stage.send(sent).await;

            let case = format!("{origin:?} {site:?} {content_type:?} {path}");
            if counts {
                assert!(matches!(answered.status, 202 | 204), "{case} {}", answered.status);
            } else {
                assert_eq!(answered.problem("forbidden", 403)["accepted"], false, "{case}");
            }
        }
    }
}

#[actix_web::test]
async fn a_bearer_token_and_a_read_do_not_care_where_they_come_from() {
    let stage = stage();
    let evil = ("origin", "https://evil.example");

    let bearer = request(Method::PUT, "/v1/posts/42/like").insert_header(("authorization", super::ANNA)).insert_header(evil);
    assert_eq!(stage.send(bearer).await.status, 202);
    let read = request(Method::GET, "/v1/feed").insert_header(("cookie", "a=b; __Host-sosik-access=token-of-anna")).insert_header(evil);
    assert_eq!(stage.send(read).await.status, 200);
}

#[actix_web::test]
async fn a_foreign_page_signs_nobody_in_with_cookies() {
    let stage = stage();
    let login = |path| request(Method::POST, path).set_json(serde_json::json!({"username": "anna", "password": "right"}));

    for path in ["/v1/auth/login?cookies=true", "/v1/auth/register?cookies=true"] {
        stage.send(login(path).insert_header(("origin", "https://evil.example"))).await.problem("forbidden", 403);
        stage.send(login(path).insert_header(("sec-fetch-site", "cross-site"))).await.problem("forbidden", 403);
        assert!(stage.send(login(path).insert_header(("origin", FRIEND))).await.status < 300);
        assert!(stage.send(login(path)).await.status < 300);
    }
    stage.send(login("/v1/auth/login?cookies=maybe")).await.problem("invalid", 422);
}

#[actix_web::test]
async fn cookies_of_others_on_the_host_may_hold_any_bytes() {
    let stage = Stage::new();
    let read = |value: &[u8]| {
        let cookie = actix_web::http::header::HeaderValue::from_bytes(value).expect("a value");
        request(Method::GET, "/v1/feed").insert_header(("cookie", cookie))
    };

    assert_eq!(stage.send(read(b"name=J\xfcrgen; __Host-sosik-access=token-of-anna")).await.status, 200);
    assert_eq!(stage.send(read("__Host-sosik-access=token-of-anna; name=\u{c18c}\u{c2dd}".as_bytes())).await.status, 200);
    stage.send(read(b"__Host-sosik-access=token-of-\xff; __Host-sosik-access=token-of-anna")).await.problem("unauthenticated", 401);
}

#[actix_web::test]
async fn a_cookie_without_its_prefix_is_nobodys_where_prefixes_are_used() {
    let stage = stage();

    let request = request(Method::GET, "/v1/feed").insert_header(("cookie", "sosik-access=token-of-anna"));

    stage.send(request).await.problem("unauthenticated", 401);
}
