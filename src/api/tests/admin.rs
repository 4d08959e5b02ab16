//! The second listener.

use actix_web::http::Method;
use actix_web::test::TestRequest;
use serde_json::json;

use super::{Stage, request};
use crate::api::admin::WorkersSetting;
use crate::api::middleware::Door;
use crate::api::routes;

fn operator(method: Method, path: &str) -> TestRequest {
    request(method, path).insert_header(("authorization", "Bearer token-of-an-operator"))
}

#[actix_web::test]
async fn who_is_no_operator_learns_nothing_not_even_what_exists() {
    let stage = Stage::admin();
    let paths = routes::listed(Door::Admin).into_iter().map(|(path, _)| path.replace("{write}", "1000"));
    let admin: Vec<String> =
        paths.filter(|path| path.starts_with("/admin")).chain(["/admin".to_owned(), "/admin/none".to_owned()]).collect();
    assert!(admin.len() >= 11 && admin.iter().any(|path| path == "/admin/topology/plan"), "{admin:?}");
    let encoded: Vec<String> = admin.iter().map(|path| path.replace("/admin", "/%61dmin")).collect();
    for path in admin.into_iter().chain(encoded) {
        for method in [Method::GET, Method::POST, Method::PUT, Method::DELETE] {
            stage.send(request(method.clone(), &path)).await.problem("unauthenticated", 401);
            let user = request(method.clone(), &path)
                .insert_header(("authorization", super::ANNA))
                .insert_header(("x-forwarded-for", "127.0.0.1"));
            stage.send(user).await.problem("forbidden", 403);
            let cookie = request(method, &path).insert_header(("cookie", "__Host-sosik-access=token-of-an-operator"));
            stage.send(cookie).await.problem("unauthenticated", 401);
        }
    }
    stage.send(operator(Method::GET, "/admin/none")).await.problem("not-found", 404);
    assert_eq!(stage.send(operator(Method::GET, "/%61dmin/shards")).await.status, 200);
}

#[actix_web::test]
async fn an_operator_sees_the_state_and_moves_it() {
    let stage = Stage::admin();

    let shards = stage.send(operator(Method::GET, "/admin/shards")).await.json();
    assert_eq!(shards["items"][0], json!({"index": 0, "name": "s1", "state": "serving", "pending": 0, "dead_letters": 1, "standbys": []}));
    assert_eq!(stage.send(operator(Method::GET, "/admin/journal")).await.json()["durable"], 9);
    let letters = stage.send(operator(Method::GET, "/admin/dead-letters")).await.json();
    assert_eq!((&letters["items"][0]["id"], &letters["next"]), (&json!("1000"), &json!(null)));
    assert_eq!(stage.send(operator(Method::GET, "/admin/dead-letters/1000")).await.json()["kind"], "like.set");
    stage.send(operator(Method::GET, "/admin/dead-letters/1")).await.problem("not-found", 404);
    assert_eq!(stage.send(operator(Method::POST, "/admin/dead-letters/1000/retry")).await.status, 202);
    assert_eq!(stage.send(operator(Method::POST, "/admin/dead-letters/1000/discard")).await.status, 204);
    for (body, setting) in [(json!({"workers": 3}), WorkersSetting::Fixed(3)), (json!({"workers": "adaptive"}), WorkersSetting::Adaptive)] {
        assert_eq!(stage.send(operator(Method::PUT, "/admin/workers").set_json(body)).await.status, 200);
        assert_eq!(*stage.doubles.setting.lock().expect("a lock"), Some(setting));
    }
    for body in [json!({}), json!({"workers": "many"}), json!({"workers": -1}), json!({"workers": 5000}), json!({"workers": null})] {
        stage.send(operator(Method::PUT, "/admin/workers").set_json(body)).await.problem("invalid", 422);
    }
}

#[actix_web::test]
async fn a_plan_says_what_would_move_and_nothing_moves_yet() {
    let stage = Stage::admin();
    let ask = async |query: &str| stage.send(operator(Method::GET, &format!("/admin/topology/plan{query}"))).await;

    let plan = ask("?members=s1,s2&strategy=range").await;
    let half = json!({"rows": 6, "owners": 3});
    assert_eq!(
        plan.json(),
        json!({
            "strategy": "directory", "from": ["s1"], "to": ["s1", "s2"], "rows": 12, "owners": 6, "largest": 2,
            "strategies": [{
                "strategy": "range", "moved": half, "moved_first": {"rows": 0, "owners": 0}, "fullest": 1.5, "emptiest": 0.5,
                "members": [{"name": "s1", "rows": 6, "owners": 3}, {"name": "s2", "rows": 6, "owners": 3}], "wall": "a wall",
            }],
        })
    );
    for (query, strategies) in [("?members=s1%2Cs2", 3), ("?strategy=modulo%2crange&members=s1", 2)] {
        assert_eq!(ask(query).await.json()["strategies"].as_array().map(Vec::len), Some(strategies), "{query}");
    }
    let moves = stage.send(operator(Method::GET, "/admin/topology/moves")).await;
    assert_eq!((moves.status, moves.json()), (200, json!({"items": [], "next": null})));
    for path in ["/admin/topology/plan", "/admin/topology/moves"] {
        let posted = stage.send(operator(Method::POST, path)).await;
        assert_eq!((posted.status, posted.header("allow")), (405, Some("GET, HEAD")), "{path}");
    }
}

#[actix_web::test]
async fn a_plan_that_cannot_be_made_is_refused_with_its_field() {
    let stage = Stage::admin();
    let many = format!("?members={}", (0..=1024).map(|index| format!("m{index}")).collect::<Vec<_>>().join(","));
    let long = format!("?members={}", "m".repeat(41));
    for (query, field, code) in [
        ("", "members", "required"),
        ("?members=", "members", "required"),
        ("?members=s1,,s2", "members", "required"),
        ("?members=s1,s2,s1", "members", "repeated"),
        ("?members=s1&members=s2", "members", "repeated"),
        ("?members=S1", "members", "format"),
        (&long, "members", "format"),
        (&many, "members", "range"),
        ("?members=s1&strategy=random", "strategy", "value"),
        ("?members=s1&strategy=", "strategy", "value"),
    ] {
        let refused = stage.send(operator(Method::GET, &format!("/admin/topology/plan{query}"))).await.problem("invalid", 422);
        assert_eq!((&refused["errors"][0]["field"], &refused["errors"][0]["code"]), (&json!(field), &json!(code)), "{query}");
    }

    let second = stage.send(operator(Method::GET, "/admin/topology/plan?members=busy")).await;
    assert_eq!(second.header("retry-after"), Some("7"));
    assert!(second.problem("unavailable", 503)["detail"].as_str().is_some_and(|detail| detail.contains("one at a time")));
}

#[actix_web::test]
async fn probes_and_metrics_need_no_operator_and_the_contract_is_not_served_here() {
    let stage = Stage::admin();

    assert_eq!(stage.send(request(Method::GET, "/livez")).await.status, 200);
    assert_eq!(stage.send(request(Method::GET, "/readyz")).await.status, 200);
    assert_eq!(stage.send(request(Method::GET, "/metrics")).await.body, b"sosik_up 1\n");
    stage.send(operator(Method::GET, "/v1/posts/42")).await.problem("not-found", 404);
    stage.send(request(Method::GET, "/v1/posts/42")).await.problem("unauthenticated", 401);
    Stage::new().send(request(Method::GET, "/metrics")).await.problem("not-found", 404);
    Stage::new().send(operator(Method::GET, "/admin/shards")).await.problem("not-found", 404);
}

#[actix_web::test]
async fn a_server_that_is_not_ready_says_why() {
    let stage = Stage::new();
    *stage.doubles.unready.lock().expect("a lock") = Some("draining".to_owned());

    let answered = stage.send(request(Method::GET, "/readyz")).await;

    assert_eq!(answered.problem("unavailable", 503)["detail"], "draining");
    assert_eq!(stage.send(request(Method::GET, "/livez")).await.status, 200);
}
