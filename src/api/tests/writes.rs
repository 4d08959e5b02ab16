//! Writes: what intake is asked, and what its receipts look like from outside.

use std::time::Duration;

use actix_web::http::Method;

use super::doubles::{ANNA, BEN, Fate};
use super::{Stage, as_anna, request};
use crate::intake::Wish;
use crate::vocabulary::command::SubscriptionMode;
use crate::vocabulary::ids::{CommentId, Position, PostId};
use crate::vocabulary::relation::FollowNotify;
use crate::vocabulary::text::{Bio, CommentBody, DisplayName, PostBody};

fn body(text: &str) -> PostBody {
    PostBody::parse(text).expect("a body")
}

fn comment_body(text: &str) -> CommentBody {
    CommentBody::parse(text).expect("a body")
}

#[actix_web::test]
async fn each_call_becomes_its_wish() {
    let stage = Stage::new();
    let (post, comment) = (PostId::from_raw(42), CommentId::from_raw(100));
    let follow = |notify| Wish::SetFollow { followee: BEN, notify };
    let like = |liked| Wish::SetPostLike { post, liked };
    let comment_like = |liked| Wish::SetCommentLike { post, comment, liked };
    let profile = |display_name: Option<&str>, bio: Option<Option<&str>>| Wish::EditProfile {
        display_name: display_name.map(|name| DisplayName::parse(name).expect("a name")),
        bio: bio.map(|bio| bio.map(|bio| Bio::parse(bio).expect("a bio"))),
        if_revision: None,
    };
    let comment_path = "/v1/posts/42/comments/100";
    let cases: Vec<(&str, &str, &str, Wish)> = vec![
        ("POST", "/v1/posts", r#"{"body":"x"}"#, Wish::CreatePost { body: body("x") }),
        ("PATCH", "/v1/posts/42", r#"{"body":"x"}"#, Wish::EditPost { post, body: body("x"), if_revision: None }),
        ("DELETE", "/v1/posts/42", "", Wish::DeletePost { post, if_revision: None }),
        ("PUT", "/v1/posts/42/like", "", like(true)),
        ("DELETE", "/v1/posts/42/like", "", like(false)),
        ("POST", "/v1/posts/42/comments", r#"{"body":"x"}"#, Wish::CreateComment { post, parent: None, body: comment_body("x") }),
        (
            "POST",
            "/v1/posts/42/comments",
            r#"{"body":"x","parent_id":"100"}"#,
            Wish::CreateComment { post, parent: Some(comment), body: comment_body("x") },
        ),
        ("PATCH", comment_path, r#"{"body":"x"}"#, Wish::EditComment { post, comment, body: comment_body("x"), if_revision: None }),
        ("DELETE", comment_path, "", Wish::DeleteComment { post, comment, if_revision: None }),
        ("PUT", "/v1/posts/42/comments/100/like", "", comment_like(true)),
        ("DELETE", "/v1/posts/42/comments/100/like", "", comment_like(false)),
        ("PUT", "/v1/posts/42/subscription", r#"{"mode":"muted"}"#, Wish::SetSubscription { post, mode: SubscriptionMode::Muted }),
        ("PUT", "/v1/users/8/follow", "", follow(Some(FollowNotify::Automatic))),
        ("PUT", "/v1/users/@Ben/follow", r#"{"notify":true}"#, follow(Some(FollowNotify::Always))),
        ("PUT", "/v1/users/8/follow", r#"{"notify":false}"#, follow(Some(FollowNotify::Never))),
        ("DELETE", "/v1/users/8/follow", "", follow(None)),
        ("PUT", "/v1/users/8/block", "", Wish::SetBlock { other: BEN, blocking: true }),
        ("DELETE", "/v1/users/8/block", "", Wish::SetBlock { other: BEN, blocking: false }),
        ("PUT", "/v1/users/8/mute", "", Wish::SetMute { other: BEN, muting: true }),
        ("DELETE", "/v1/users/8/mute", "", Wish::SetMute { other: BEN, muting: false }),
        ("PATCH", "/v1/users/me", r#"{"display_name":"A"}"#, profile(Some("A"), None)),
        ("PATCH", "/v1/users/me", r#"{"bio":null}"#, profile(None, Some(None))),
        ("PATCH", "/v1/users/me", r#"{"bio":"b"}"#, profile(None, Some(Some("b")))),
        ("PATCH", "/v1/users/me", "{}", profile(None, None)),
    ];
    for (method, path, sent, wish) in cases {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let answered = stage.write(method, path, sent).await;

        assert_eq!(answered.status, 202, "{path} {sent} {}", String::from_utf8_lossy(&answered.body));
        assert_eq!((stage.doubles.last().author, stage.doubles.last().wish), (ANNA, wish), "{path} {sent}");
    }
}

#[actix_web::test]
async fn an_accepted_write_comes_with_its_resource_and_where_to_ask() {
    let stage = Stage::new();

    let answered = stage.write(Method::POST, "/v1/posts/42/comments", r#"{"body":"x"}"#).await;

    let document = answered.json();
    assert_eq!(answered.status, 202);
    assert_eq!(answered.header("location"), Some("/v1/writes/1000"));
    assert_eq!(answered.header("content-type"), Some("application/json"));
    assert!(answered.header("consistency-token").is_some());
    let write = serde_json::json!({
        "id": "1000", "kind": "comment.create", "state": "accepted", "resource": "/v1/posts/42/comments/100",
        "accepted_at": "2025-01-01T00:00:00.001Z", "committed_at": null, "visible_at": null, "problem": null
    });
    assert_eq!(document["write"], write);
    assert_eq!(document["comment"]["id"], "100");
    assert_eq!(document["comment"]["viewer"]["liked"], false);
    let deleted = stage.write(Method::DELETE, "/v1/posts/42", "").await.json();
    assert_eq!(deleted.as_object().map(serde_json::Map::len), Some(1), "{deleted}");
}

#[actix_web::test]
async fn a_wait_is_granted_up_to_thirty_seconds_and_named() {
    let stage = Stage::new();
    let cases = [
        ("wait=5", Some(5), Some("wait=5")),
        ("wait=31", Some(30), Some("wait=30")),
        ("wait=99999999999999999999999", Some(30), Some("wait=30")),
        ("respond-async, wait=\"7\"; x=y", Some(7), Some("wait=7")),
        ("Wait = 3, wait=9", Some(3), Some("wait=3")),
        ("wait=0", Some(0), Some("wait=0")),
        ("wait=-1", None, None),
        ("wait=soon", None, None),
        ("return=minimal", None, None),
    ];
    for (prefer, seconds, applied) in cases {
        let asked = as_anna(request(Method::PUT, "/v1/posts/42/like")).insert_header(("prefer", prefer));
        let answered = stage.send(asked).await;

        assert_eq!(stage.doubles.last().wait, Duration::from_secs(seconds.unwrap_or(0)), "{prefer}");
        assert_eq!(answered.header("preference-applied"), applied, "{prefer}");
    }
}

#[actix_web::test]
async fn a_write_that_was_waited_for_is_created_done_rejected_or_still_accepted() {
    let stage = Stage::new();
    let create =
        || as_anna(request(Method::POST, "/v1/posts")).set_json(serde_json::json!({"body": "x"})).insert_header(("prefer", "wait=1"));
    let like = || as_anna(request(Method::PUT, "/v1/posts/42/like")).insert_header(("prefer", "wait=1"));

    stage.doubles.will(Fate::Visible);
    let created = stage.send(create()).await;
    assert_eq!((created.status, created.header("location")), (201, Some("/v1/posts/42")));
    let liked = stage.send(like()).await;
    assert_eq!((liked.status, liked.header("location")), (200, None));
    stage.doubles.will(Fate::Rejected);
    stage.send(like()).await.problem("gone", 410);
    let unasked = stage.write(Method::PUT, "/v1/posts/42/like", "").await;
    assert_eq!(unasked.status, 202);
    assert_eq!(unasked.json()["write"]["problem"]["type"], "/problems/gone");
    stage.doubles.will(Fate::Accepted);
    assert_eq!(stage.send(like()).await.status, 202);
}

#[actix_web::test]
async fn a_repeat_says_so_and_answers_as_it_asks() {
    let stage = Stage::new();
    stage.doubles.will(Fate::Replayed);
    let keyed = |prefer: Option<&'static str>| {
        let request =
            as_anna(request(Method::POST, "/v1/posts")).set_json(serde_json::json!({"body": "x"})).insert_header(("idempotency-key", "k"));
        prefer
            .map(|prefer| {
                as_anna(self::request(Method::POST, "/v1/posts"))
                    .set_json(serde_json::json!({"body": "x"}))
                    .insert_header(("idempotency-key", "k"))
                    .insert_header(("prefer", prefer))
            })
            .unwrap_or(request)
    };

    let plain = stage.send(keyed(None)).await;
    let waiting = stage.send(keyed(Some("wait=2"))).await;

    assert_eq!((plain.status, plain.header("idempotency-replayed")), (202, Some("true")));
    assert_eq!((waiting.status, waiting.header("idempotency-replayed")), (201, Some("true")));
}

#[actix_web::test]
async fn a_key_is_visible_characters_with_or_without_quotes() {
    let stage = Stage::new();
    let keyed = |key: &str| as_anna(request(Method::PUT, "/v1/posts/42/like")).insert_header(("idempotency-key", key));

    for (sent, key) in [("abc", "abc"), ("\"abc\"", "abc"), (&*"k".repeat(64), &*"k".repeat(64)), ("a:b/c=", "a:b/c=")] {
        assert_eq!(stage.send(keyed(sent)).await.status, 202);
        assert_eq!(stage.doubles.last().key.as_deref(), Some(key));
    }
    for sent in ["", "\"\"", &"k".repeat(65), "a b", "\"abc", "a\"b", "ä"] {
        assert_eq!(stage.send(keyed(sent)).await.problem("malformed", 400)["accepted"], false, "{sent}");
    }
    let twice = keyed("a").append_header(("idempotency-key", "a"));
    stage.send(twice).await.problem("malformed", 400);
}

#[actix_web::test]
async fn if_match_names_the_revision_that_must_hold() {
    let stage = Stage::new();
    let tag = stage.read("/v1/posts/42").await.header("etag").expect("a tag").to_owned();
    let edit = |tag: &str| {
        as_anna(request(Method::PATCH, "/v1/posts/42")).set_json(serde_json::json!({"body": "x"})).insert_header(("if-match", tag))
    };

    stage.send(edit(&tag)).await;
    assert!(matches!(stage.doubles.last().wish, Wish::EditPost { if_revision: Some(Position(5)), .. }));
    stage.send(edit("*")).await;
    assert!(matches!(stage.doubles.last().wish, Wish::EditPost { if_revision: None, .. }));
    stage.send(edit("five")).await.problem("malformed", 400);
}

#[actix_web::test]
async fn the_profile_is_answered_when_it_is_done() {
    let stage = Stage::new();

    stage.doubles.will(Fate::Visible);
    let done = stage.write(Method::PATCH, "/v1/users/me", r#"{"bio":"b"}"#).await;
    assert_eq!((done.status, stage.doubles.last().wait), (200, Duration::from_secs(5)));
    assert_eq!(done.json()["user"]["username"], "anna");
    let null = stage.write(Method::PATCH, "/v1/users/me", r#"{"display_name":null}"#).await.problem("invalid", 422);
    assert_eq!(null["errors"][0]["field"], "display_name");
}

#[actix_web::test]
async fn nobody_has_a_relation_to_himself() {
    let stage = Stage::new();
    for path in ["/v1/users/7/follow", "/v1/users/me/block", "/v1/users/@anna/mute"] {
        let document = stage.write(Method::PUT, path, "").await.problem("invalid", 422);
        assert_eq!(document["errors"][0]["code"], "self");
    }
    assert_eq!(stage.doubles.count(), 0);
}

#[actix_web::test]
async fn a_write_can_be_followed_by_its_author_only() {
    let stage = Stage::new();

    let own = stage.read("/v1/writes/1000").await;
    assert_eq!(own.json()["state"], "rejected");
    assert_eq!(own.json()["problem"]["status"], 412);
    let ben = request(Method::GET, "/v1/writes/1000").insert_header(("authorization", "Bearer token-of-ben"));
    stage.send(ben).await.problem("not-found", 404);
    stage.send(request(Method::GET, "/v1/writes/1000")).await.problem("unauthenticated", 401);
}
