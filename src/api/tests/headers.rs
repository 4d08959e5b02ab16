//! The fields that every answer carries, for every route.

use std::collections::BTreeMap;

use actix_web::http::Method;

use super::{Answered, Stage, as_anna, request};
use crate::api::middleware::Door;
use crate::api::routes;

fn example(path: &str) -> String {
    let names = [("{post}", "42"), ("{comment}", "100"), ("{user}", "8"), ("{write}", "1000"), ("{session}", "9"), ("{id}", "1")];
    names.iter().fold(path.replace("{name}", "gone").replace("{file}", "docs.js"), |path, (name, value)| path.replace(name, value))
}

/// What is snapshot: all but what hangs on time and keys.
fn security(answered: &Answered) -> String {
    let names = ["content-security-policy", "cache-control", "vary"];
    names.map(|name| answered.header(name).unwrap_or("-")).join(" | ")
}

#[actix_web::test]
async fn every_route_has_the_headers_of_its_kind() {
    let data = "default-src 'none'; frame-ancestors 'none'; base-uri 'none' | private, no-cache | Authorization, Cookie, Origin";
    let auth = "default-src 'none'; frame-ancestors 'none'; base-uri 'none' | no-store | Authorization, Cookie, Origin";
    let open = "default-src 'none'; frame-ancestors 'none'; base-uri 'none' | no-store | -";
    let document = "default-src 'none'; frame-ancestors 'none'; base-uri 'none' | public, max-age=300 | -";
    let page = "default-src 'none'; style-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none' | public, max-age=300 | -";
    let docs = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none' | public, max-age=300 | -";
    let special: BTreeMap<&str, &str> = BTreeMap::from([
        ("/livez", open),
        ("/readyz", open),
        ("/.well-known/jwks.json", document),
        ("/openapi.json", document),
        ("/asyncapi.json", document),
        ("/", page),
        ("/start.css", page),
        ("/problems/{name}", page),
        ("/docs", docs),
        ("/docs/{file}", docs),
    ]);
    let stage = Stage::new();
    for (path, methods) in routes::listed(Door::Public) {
        let kind = if path.starts_with("/v1/auth/") { auth } else { data };
        let expected = special.get(path).copied().unwrap_or(kind);
        for method in methods {
            // However the address is written.
            for path in [example(path), example(path).replace("/v1/", "/%761/")] {
                let answered = stage.send(as_anna(request(method.clone(), &path))).await;
                assert_eq!(security(&answered), expected, "{method} {path}");
                always(&answered);
            }
        }
        let refused = stage.send(request(Method::TRACE, &example(path))).await;
        always(&refused);
        assert!(refused.header("cache-control").is_some_and(|value| value.contains("no-")), "{path}");
    }
}

fn always(answered: &Answered) {
    assert_eq!(answered.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(answered.header("referrer-policy"), Some("no-referrer"));
    assert_eq!(answered.header("cross-origin-opener-policy"), Some("same-origin"));
    assert!(answered.header("x-request-id").is_some());
    assert!(answered.header("content-security-policy").is_some_and(|policy| policy.contains("frame-ancestors 'none'")));
}

#[actix_web::test]
async fn pages_have_no_script_or_style_in_their_text() {
    let stage = Stage::new();
    for path in ["/", "/docs", "/problems/gone"] {
        let text = String::from_utf8(stage.send(request(Method::GET, path)).await.body).expect("UTF-8");

        assert!(
            !text.contains("<style") && !text.contains(" style=") && !text.contains("onclick") && !text.contains("javascript:"),
            "{path}"
        );
        assert!(text.split("<script").skip(1).all(|rest| rest.starts_with(" src=\"/docs/")), "{path}");
        assert!(!text.contains("http://") && !text.contains("https://"), "{path} needs no other host");
    }
    for file in ["docs.js", "swagger-ui.css", "swagger-ui-bundle.js"] {
        let answered = stage.send(request(Method::GET, &format!("/docs/{file}"))).await;
        assert!(answered.status == 200 && !answered.body.is_empty(), "{file}");
    }
    for file in ["index.html", "..%2fdocs.js", "swagger-initializer.js", "%2e%2e"] {
        stage.send(request(Method::GET, &format!("/docs/{file}"))).await.problem("not-found", 404);
    }
}

#[actix_web::test]
async fn the_dashboard_is_for_the_operators_listener_and_may_call_nobody_else() {
    let stage = Stage::admin();
    let policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none' | public, max-age=300 | -";
    for path in ["/", "/dashboard/dashboard.css", "/dashboard/dashboard.js"] {
        let answered = stage.send(request(Method::GET, path)).await;
        assert_eq!((answered.status, security(&answered).as_str()), (200, policy), "{path}");
        always(&answered);
        let text = String::from_utf8(answered.body).expect("UTF-8");
        assert!(!text.contains("https://") && !text.contains(" style=") && !text.contains("innerHTML"), "{path}");
    }
    stage.send(request(Method::GET, "/dashboard/none.js")).await.problem("not-found", 404);
    Stage::new().send(request(Method::GET, "/dashboard/dashboard.js")).await.problem("not-found", 404);
}

#[actix_web::test]
async fn a_request_keeps_the_id_that_it_came_with() {
    let stage = Stage::new();

    let answered = stage.send(request(Method::GET, "/v1/none").insert_header(("x-request-id", "mine-1"))).await;

    assert_eq!(answered.problem("not-found", 404)["request_id"], "mine-1");
}
