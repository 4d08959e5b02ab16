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
    assert!(admin.len() >= 9);
    for path in admin {
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
}

#[actix_web::test]
async fn an_operator_sees_the_state_and_moves_it() {
    let stage = Stage::admin();

    let shards = stage.send(operator(Method::GET, "/admin/shards")).await.json();
    assert_eq!(shards["items"][0], json!({"index": 0, "name": "s1", "state": "serving", "pending": 0, "dead_letters": 1}));
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
async fn probes_and_metrics_need_no_operator_and_the_contract_is_not_served_here() {
    let stage = Stage::admin();

    assert_eq!(stage.send(request(Method::GET, "/livez")).await.status, 200);
    assert_eq!(stage.send(request(Method::GET, "/readyz")).await.status, 200);
    assert_eq!(stage.send(request(Method::GET, "/metrics")).await.body, b"sosik_up 1\n");
    stage.send(request(Method::GET, "/v1/posts/42")).await.problem("not-found", 404);
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
