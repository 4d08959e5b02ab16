//! The OpenAPI document describes what is served: no more, no less.

use std::collections::BTreeSet;

use actix_web::http::Method;
use serde_json::Value;

use super::{Stage, request};
use crate::api::middleware::Door;
use crate::api::openapi;
use crate::api::openapi::operations::{Access, all};
use crate::api::routes;

#[test]
fn every_route_is_described_and_nothing_else_is() {
    let served: BTreeSet<String> = routes::listed(Door::Public)
        .into_iter()
        .flat_map(|(path, methods)| methods.into_iter().map(move |method| (path, method)))
        .filter(|(_, method)| *method != Method::HEAD)
        .map(|(path, method)| format!("{} {path}", method.as_str().to_lowercase()))
        .collect();
    let described: BTreeSet<String> = all().iter().map(|operation| format!("{} {}", operation.method, operation.path)).collect();

    assert_eq!(served, described);
}

#[test]
fn the_document_is_openapi_3_1_and_its_references_lead_somewhere() {
    let document = openapi::document();

    serde_json::from_value::<utoipa::openapi::OpenApi>(document.clone()).map(drop).expect("an OpenAPI document");
    let mut references = Vec::new();
    collect(&document, &mut references);
    assert!(references.len() > 100);
    for reference in references {
        assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
    }
    let ids: Vec<&str> = all().iter().map(|operation| operation.id).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "operation ids are unique");
}

fn collect(value: &Value, references: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            if let Some(Value::String(reference)) = members.get("$ref") {
                references.push(reference.clone());
            }
            members.values().for_each(|member| collect(member, references));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, references)),
        _ => {}
    }
}

/// A path with ids in it that exist.
fn example(path: &str) -> String {
    let names = [("{post}", "42"), ("{comment}", "100"), ("{user}", "8"), ("{write}", "1000"), ("{session}", "9"), ("{id}", "1")];
    names.iter().fold(path.replace("{name}", "gone").replace("{file}", "docs.js"), |path, (name, value)| path.replace(name, value))
}

#[actix_web::test]
async fn each_operation_refuses_strangers_as_it_says() {
    let stage = Stage::new();
    for operation in all() {
        let method = Method::from_bytes(operation.method.to_uppercase().as_bytes()).expect("a method");
        let stranger = stage.send(request(method.clone(), &example(operation.path))).await;
        let forged = stage.send(request(method, &example(operation.path)).insert_header(("authorization", "Bearer forged"))).await;

        let case = format!("{} {}", operation.method, operation.path);
        match operation.access {
            Access::Somebody => {
                stranger.problem("unauthenticated", 401);
                forged.problem("unauthenticated", 401);
            }
            Access::ByProtocol => {
                stranger.problem("upgrade-required", 426);
                forged.problem("unauthenticated", 401);
            }
            Access::Anybody => {
                assert_eq!(stranger.status, 200, "{case}");
                forged.problem("unauthenticated", 401);
            }
            Access::Nobody => assert_eq!(stranger.status, forged.status, "{case}"),
        }
    }
    assert_eq!(stage.doubles.count(), 0);
}

#[actix_web::test]
async fn representations_have_the_members_that_the_document_lists() {
    let stage = Stage::new();
    let schemas = openapi::document()["components"]["schemas"].clone();
    let accepted = stage.write(Method::PUT, "/v1/posts/42/like", "").await.json();
    let cases = [
        ("Post", stage.read("/v1/posts/42").await.json()),
        ("Comment", stage.read("/v1/posts/42/comments/100").await.json()),
        ("User", stage.read("/v1/users/8").await.json()),
        ("Write", accepted["write"].clone()),
        ("Id", stage.read("/v1/ids/1").await.json()),
        ("CommentPage", stage.read("/v1/posts/42/comments").await.json()),
        ("SessionList", stage.read("/v1/auth/sessions").await.json()),
    ];
    for (name, value) in cases {
        let listed: BTreeSet<&String> = schemas[name]["properties"].as_object().expect("properties").keys().collect();
        let served: BTreeSet<&String> = value.as_object().expect("an object").keys().collect();

        assert_eq!(served, listed, "{name}");
    }
}
