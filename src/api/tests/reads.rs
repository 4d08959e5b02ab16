//! Reads: representations, entity tags, pages, tokens.

use actix_web::http::Method;

use super::{Stage, as_anna, request};

#[actix_web::test]
async fn objects_have_the_shapes_of_the_contract() {
    let stage = Stage::new();

    let post = stage.read("/v1/posts/42").await.json();
    let author = serde_json::json!({"id": "7", "username": "anna", "display_name": "anna"});
    let expected = serde_json::json!({
        "id": "42", "version": 12, "author": author, "body": "hello", "created_at": "2025-01-01T00:00:00.000Z", "edited_at": null,
        "likes": 1, "comments": 2, "viewer": {"liked": true, "subscription": "default"}
    });
    assert_eq!(post, expected);
    let stranger = stage.send(request(Method::GET, "/v1/posts/42")).await.json();
    assert_eq!(stranger.get("viewer"), None);
    let comment = stage.read("/v1/posts/42/comments/101").await.json();
    assert_eq!((&comment["body"], &comment["deleted"]), (&serde_json::Value::Null, &serde_json::Value::Bool(true)));
    let user = stage.read("/v1/users/@BEN").await.json();
    assert_eq!((&user["id"], &user["viewer"]["blocking"]), (&"8".into(), &false.into()));
    assert_eq!(stage.read("/v1/users/me").await.json()["id"], "7");
    let id = stage.read("/v1/ids/4198401").await.json();
    let parts = serde_json::json!({
        "id": "4198401", "timestamp": "2025-01-01T00:00:00.001Z", "datacenter": 0, "worker": 1, "sequence": 1, "shard": "s1"
    });
    assert_eq!(id, parts);
}

#[actix_web::test]
async fn what_is_known_already_is_not_sent_again() {
    let stage = Stage::new();
    let first = stage.read("/v1/posts/42").await;
    let tag = first.header("etag").expect("a tag");
    let again = |tag: &str| as_anna(request(Method::GET, "/v1/posts/42")).insert_header(("if-none-match", tag));

    let known = stage.send(again(tag)).await;

    assert_eq!((known.status, known.body.len(), known.header("etag")), (304, 0, Some(tag)));
    assert_eq!(stage.send(again("\"5-0000000000000000\"")).await.status, 200);
    let stranger = request(Method::GET, "/v1/posts/42").insert_header(("if-none-match", tag));
    assert_eq!(stage.send(stranger).await.status, 200, "another reader's representation has another tag");
    for path in ["/v1/posts/42/comments/100", "/v1/users/8", "/v1/users/me"] {
        assert!(stage.read(path).await.header("etag").is_some(), "{path}");
    }
}

#[actix_web::test]
async fn a_list_is_walked_by_its_cursor_or_its_link() {
    let stage = Stage::new();
    let lists = [
        ("/v1/posts/42/comments", ["100", "101", "102", "103", "104"]),
        ("/v1/posts/42/comments?order=desc", ["104", "103", "102", "101", "100"]),
        ("/v1/posts/42/likes", ["5", "4", "3", "2", "1"]),
        ("/v1/users/7/posts", ["5", "4", "3", "2", "1"]),
        ("/v1/users/@anna/followers", ["5", "4", "3", "2", "1"]),
        ("/v1/users/me/following", ["5", "4", "3", "2", "1"]),
        ("/v1/feed", ["5", "4", "3", "2", "1"]),
    ];
    for (path, expected) in lists {
        let mut next = Some(format!("{path}{}limit=2", if path.contains('?') { '&' } else { '?' }));
        let mut seen = Vec::new();
        while let Some(path) = next {
            let page = stage.read(&path).await;
            let document = page.json();
            let items = document["items"].as_array().expect("items");
            seen.extend(items.iter().map(|item| item["id"].as_str().expect("an id").to_owned()));

            let link = page.header("link");
            assert_eq!(link.is_some(), document["next"].is_string(), "{document}");
            next = link.map(|link| link.trim_start_matches('<').split('>').next().expect("a target").to_owned());
            if let (Some(next), Some(cursor)) = (&next, document["next"].as_str()) {
                assert!(next.contains(cursor) && cursor.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
            }
        }
        assert_eq!(seen, expected, "{path}");
    }
    assert_eq!(stage.read("/v1/posts/42/comments").await.json()["version"], 12);
}

#[actix_web::test]
async fn a_limit_is_from_one_to_a_hundred_and_a_cursor_is_of_its_list_and_reader() {
    let stage = Stage::new();
    for limit in ["0", "101", "-1", "x", "", "1.5", "99999999999999999999"] {
        let document = stage.read(&format!("/v1/feed?limit={limit}")).await.problem("invalid", 422);
        assert_eq!(document["errors"][0]["field"], "limit");
    }
    for limit in ["1", "100", "020"] {
        assert_eq!(stage.read(&format!("/v1/feed?limit={limit}")).await.status, 200);
    }
    stage.read("/v1/feed?limit=1&limit=2").await.problem("invalid", 422);
    stage.read("/v1/posts/42/comments?order=up").await.problem("invalid", 422);

    let cursor = stage.read("/v1/posts/42/comments?limit=2").await.json()["next"].as_str().expect("a cursor").to_owned();
    let mut flipped = cursor.clone().into_bytes();
    flipped[3] = if flipped[3] == b'A' { b'B' } else { b'A' };
    let flipped = String::from_utf8(flipped).expect("ASCII");
    stage.read(&format!("/v1/posts/42/comments?cursor={flipped}")).await.problem("malformed", 400);
    stage.read(&format!("/v1/posts/42/comments?order=desc&cursor={cursor}")).await.problem("malformed", 400);
    stage.read(&format!("/v1/feed?cursor={cursor}")).await.problem("malformed", 400);
    stage.read("/v1/feed?cursor=").await.problem("malformed", 400);
    stage.send(request(Method::GET, &format!("/v1/posts/42/comments?cursor={cursor}"))).await.problem("malformed", 400);
    assert_eq!(stage.read(&format!("/v1/posts/42/comments?cursor={cursor}")).await.status, 200);
}

#[actix_web::test]
async fn head_is_as_get() {
    let stage = Stage::new();
    for path in ["/v1/posts/42", "/v1/feed", "/livez", "/openapi.json", "/v1/posts/1"] {
        let get = stage.read(path).await;
        let head = stage.send(as_anna(request(Method::HEAD, path))).await;

        assert_eq!(head.status, get.status, "{path}");
        for name in ["content-type", "etag", "cache-control", "vary"] {
            assert_eq!(head.header(name), get.header(name), "{path} {name}");
        }
    }
}

#[actix_web::test]
async fn a_consistency_token_is_good_for_its_holder_only() {
    let stage = Stage::new();
    let written = stage.write(Method::PUT, "/v1/posts/42/like", "").await;
    let token = written.header("consistency-token").expect("a token");
    let with_header = |token: &str| as_anna(request(Method::GET, "/v1/posts/42")).insert_header(("consistency-token", token));
    let with_cookie =
        |token: &str| as_anna(request(Method::GET, "/v1/posts/42")).insert_header(("cookie", format!("__Host-sosik-consistency={token}")));

    assert_eq!(stage.send(with_header(token)).await.header("consistency-token"), Some(token), "a read does not go back");
    assert_eq!(stage.send(with_cookie(token)).await.header("consistency-token"), Some(token));
    assert_ne!(stage.read("/v1/posts/42").await.header("consistency-token"), Some(token));
    stage.send(with_header("forged")).await.problem("malformed", 400);
    assert_eq!(stage.send(with_cookie("forged")).await.status, 200);
    let ben = request(Method::GET, "/v1/posts/42").insert_header(("authorization", "Bearer token-of-ben"));
    stage.send(ben.insert_header(("consistency-token", token))).await.problem("malformed", 400);
    stage.send(request(Method::GET, "/v1/posts/42").insert_header(("consistency-token", token))).await.problem("malformed", 400);
}
