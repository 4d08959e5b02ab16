//! Bodies as nobody should send them.

use actix_web::http::Method;
use actix_web::test::TestRequest;

use super::{Stage, as_anna, request};
use crate::api::extract::BODY_BYTES_MAX;
use crate::intake::Wish;

fn post(body: impl Into<Vec<u8>>) -> TestRequest {
    let body: Vec<u8> = body.into();
    as_anna(request(Method::POST, "/v1/posts")).insert_header(("content-type", "application/json")).set_payload(body)
}

/// A valid body of exactly this many bytes, most of it white space.
fn padded(bytes: usize) -> String {
    let start = r#"{"body":"x""#;
    format!("{start}{}}}", " ".repeat(bytes - start.len() - 1))
}

#[actix_web::test]
async fn what_is_not_the_json_that_is_expected_is_malformed() {
    let stage = Stage::new();
    let deep = "[".repeat(100_000);
    let deep_in_a_member = format!(r#"{{"body":{deep}"#);
    let bodies: Vec<Vec<u8>> = vec![
        b"".to_vec(),
        b"{".to_vec(),
        b"null".to_vec(),
        b"[]".to_vec(),
        b"\"text\"".to_vec(),
        b"{} {}".to_vec(),
        br#"{"body":"x"}garbage"#.to_vec(),
        br#"{"body":"x","body":"y"}"#.to_vec(),
        br#"{"body":"x","b\u006fdy":"y"}"#.to_vec(),
        br#"{"body":"\ud800"}"#.to_vec(),
        br#"{"body":"\udc00\ud800"}"#.to_vec(),
        b"{\"body\":\"\0\"}".to_vec(),
        b"{\"body\":\"\xff\"}".to_vec(),
        b"{\"body\":\"\xc0\xaf\"}".to_vec(),
        br#"{"body":NaN}"#.to_vec(),
        br#"{"body":Infinity}"#.to_vec(),
        br#"{body:"x"}"#.to_vec(),
        br#"{'body':'x'}"#.to_vec(),
        br#"{"body":"x",}"#.to_vec(),
        b"\xef\xbb\xbf{\"body\":\"x\"}".to_vec(),
        deep.into_bytes(),
        deep_in_a_member.into_bytes(),
    ];
    for body in bodies {
        let answered = stage.send(post(body.clone())).await;
        assert_eq!(
            answered.status,
            400,
            "{}: {}",
            String::from_utf8_lossy(&body[..body.len().min(60)]),
            String::from_utf8_lossy(&answered.body)
        );
        assert_eq!(answered.problem("malformed", 400)["accepted"], false);
    }
    assert_eq!(stage.doubles.count(), 0);
}

#[actix_web::test]
async fn values_that_are_not_acceptable_are_named_by_their_field() {
    let stage = Stage::new();
    let nested = format!(r#"{{"body":{}{}}}"#, "[".repeat(50_000), "]".repeat(50_000));
    let cases = [
        ("{}".to_owned(), "body", "required"),
        (r#"{"body":null}"#.to_owned(), "body", "type"),
        (r#"{"body":1}"#.to_owned(), "body", "type"),
        (r#"{"body":1e400}"#.to_owned(), "body", "type"),
        (r#"{"body":99999999999999999999999}"#.to_owned(), "body", "type"),
        (r#"{"body":{"body":"x"}}"#.to_owned(), "body", "type"),
        (nested, "body", "type"),
        (r#"{"body":""}"#.to_owned(), "body", "blank"),
        (r#"{"body":"\u200b\u202e"}"#.to_owned(), "body", "blank"),
        (r#"{"body":"a\u0000b"}"#.to_owned(), "body", "control-character"),
        (format!(r#"{{"body":"{}"}}"#, "x".repeat(10_001)), "body", "too-long"),
        (r#"{"body":"x","author_id":"1"}"#.to_owned(), "author_id", "unknown"),
        (r#"{"body":"x","Body":"y"}"#.to_owned(), "Body", "unknown"),
    ];
    for (body, field, code) in cases {
        let document = stage.send(post(body.clone())).await.problem("invalid", 422);

        assert_eq!(document["errors"][0]["field"], field, "{document}");
        assert_eq!(document["errors"][0]["code"], code, "{document}");
        assert_eq!(document["accepted"], false);
    }
    assert_eq!(stage.doubles.count(), 0);
}

#[actix_web::test]
async fn many_unknown_members_give_a_short_problem() {
    let stage = Stage::new();
    let members: Vec<String> = (0..20_000).map(|number| format!("\"{number}\":0")).collect();

    let answered = stage.send(post(format!("{{{}}}", members.join(",")))).await;

    let document = answered.problem("invalid", 422);
    assert_eq!(document["errors"].as_array().map(Vec::len), Some(8));
    assert!(answered.body.len() < 2_000);
}

#[actix_web::test]
async fn texts_are_taken_whole() {
    let stage = Stage::new();
    for text in ["ש\u{202e}ל", "👩‍👩‍👧", "a\u{0301}", "x\ty\nz", "\u{10ffff}."] {
        let body = serde_json::json!({ "body": text }).to_string();

        assert_eq!(stage.send(post(body)).await.status, 202, "{text}");
        assert!(matches!(stage.doubles.last().wish, Wish::CreatePost { body } if body.as_str() == text));
    }
}

#[actix_web::test]
async fn a_body_at_the_limit_passes_and_one_byte_more_does_not() {
    let stage = Stage::new();

    assert_eq!(stage.send(post(padded(BODY_BYTES_MAX))).await.status, 202);
    let over = stage.send(post(padded(BODY_BYTES_MAX + 1))).await;
    assert_eq!(over.problem("payload-too-large", 413)["accepted"], false);
    let declared = post("{}").insert_header(("content-length", "1073741824"));
    stage.send(declared).await.problem("payload-too-large", 413);
}

#[actix_web::test]
async fn only_json_without_an_encoding_is_read() {
    let stage = Stage::new();
    let typed = |method: Method, content_type: &'static str| {
        let path = if method == Method::PATCH { "/v1/posts/42" } else { "/v1/posts" };
        as_anna(request(method, path)).insert_header(("content-type", content_type)).set_payload(r#"{"body":"x"}"#)
    };

    for content_type in ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", "application/json; charset=utf-16", ""] {
        let answered = stage.send(typed(Method::POST, content_type)).await;
        assert_eq!(answered.problem("unsupported-media-type", 415)["accepted"], false);
        assert_eq!(answered.header("accept-post"), Some("application/json"));
    }
    for content_type in ["application/json", "Application/JSON;charset=UTF-8", "application/json; charset=\"utf-8\""] {
        assert_eq!(stage.send(typed(Method::POST, content_type)).await.status, 202, "{content_type}");
    }
    assert_eq!(stage.send(typed(Method::PATCH, "application/merge-patch+json")).await.status, 202);
    stage.send(typed(Method::POST, "application/merge-patch+json")).await.problem("unsupported-media-type", 415);
    let patched = stage.send(typed(Method::PATCH, "text/plain")).await;
    assert_eq!(patched.header("accept-patch"), Some("application/json, application/merge-patch+json"));
    for encoding in ["gzip", "br", "deflate, gzip"] {
        stage.send(post(padded(100)).insert_header(("content-encoding", encoding))).await.problem("unsupported-media-type", 415);
    }
}

#[actix_web::test]
async fn a_call_whose_members_are_all_optional_may_have_no_body() {
    let stage = Stage::new();

    assert_eq!(stage.send(as_anna(request(Method::PUT, "/v1/users/8/follow"))).await.status, 202);
    assert_eq!(stage.write(Method::PUT, "/v1/users/8/follow", "{}").await.status, 202);
    assert_eq!(stage.send(as_anna(request(Method::PUT, "/v1/posts/42/like"))).await.status, 202);
    assert_eq!(stage.write(Method::PUT, "/v1/posts/42/like", "{}").await.status, 202);
    stage.write(Method::PUT, "/v1/posts/42/like", r#"{"liked":true}"#).await.problem("invalid", 422);
    stage.write(Method::PUT, "/v1/users/8/follow", r#"{"notify":"yes"}"#).await.problem("invalid", 422);
}
