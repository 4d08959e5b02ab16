//! The OpenAPI 3.1 document. Its patterns and bounds are those of the vocabulary's types, so that a generator of requests knows
//! what is accepted and what is not; a test holds it against the route table.

pub(super) mod operations;
mod schemas;

use serde_json::{Map, Value, json};

use self::operations::{Access, Operation, all};

/// The whole document.
pub fn document() -> Value {
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Sosik",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "A social write and notification server. Writes are answered 202 once they are durable.",
            "license": {"name": "Apache-2.0 OR MIT", "identifier": "Apache-2.0 OR MIT"}
        },
        "servers": [{"url": "/"}],
        "tags": tags(),
        "paths": paths(),
        "components": {
            "schemas": schemas::all(),
            "parameters": schemas::parameters(),
            "headers": schemas::headers(),
            "responses": schemas::problem_responses(),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "The access token of a sign-in."},
                "cookie": {"type": "apiKey", "in": "cookie", "name": "__Host-sosik-access",
                    "description": "For browsers. Named sosik-access on plain loopback. Unsafe methods also need an Origin of ours."}
            }
        }
    })
}

fn tags() -> Value {
    let tag = |name: &str, description: &str| json!({"name": name, "description": description});
    json!([
        tag("posts", "Posts and who likes them."),
        tag("comments", "Comments of a post, replies included."),
        tag("users", "People, and what they are to each other."),
        tag("notifications", "The inbox, and what one wants to hear of."),
        tag("writes", "What became of a write."),
        tag("sign-in", "Accounts, sessions, tokens."),
        tag("server", "Probes, documents, ids."),
    ])
}

fn paths() -> Value {
    let mut paths = Map::new();
    for operation in all() {
        let item = paths.entry(operation.path).or_insert_with(|| json!({}));
        if let Some(item) = item.as_object_mut() {
            item.insert(operation.method.to_owned(), describe(&operation));
        }
    }
    Value::Object(paths)
}

fn describe(operation: &Operation) -> Value {
    let mut described = json!({
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": operation.summary,
        "parameters": parameters(operation),
        "responses": responses(operation),
        "security": security(operation.access),
    });
    if let (Some(body), Some(described)) = (&operation.body, described.as_object_mut()) {
        let mut content = Map::new();
        for media_type in body.media_types() {
            content.insert((*media_type).to_owned(), json!({"schema": reference("schemas", body.schema)}));
        }
        described.insert("requestBody".to_owned(), json!({"required": !body.optional, "content": content}));
    }
    described
}

fn reference(kind: &str, name: &str) -> Value {
    json!({"$ref": format!("#/components/{kind}/{name}")})
}

fn security(access: Access) -> Value {
    match access {
        Access::Nobody => json!([]),
        Access::Anybody | Access::ByProtocol => json!([{}, {"bearer": []}, {"cookie": []}]),
        Access::Somebody => json!([{"bearer": []}, {"cookie": []}]),
    }
}

fn parameters(operation: &Operation) -> Value {
    let of_path = operation.path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}')).map(|name| match name {
        "user" => "user",
        "name" => "problem",
        "file" => "file",
        "id" => "id",
        "post" => "post",
        "comment" => "comment",
        "session" => "session",
        _ => "write",
    });
    let mut names: Vec<&str> = of_path.collect();
    names.extend(operation.parameters);
    if operation.accepts_write {
        names.extend(["idempotency_key", "prefer"]);
    }
    names.into_iter().map(|name| reference("parameters", name)).collect()
}

fn responses(operation: &Operation) -> Value {
    let mut responses = Map::new();
    for success in operation.successes() {
        responses.insert(success.status.to_string(), success.describe());
    }
    for name in operation.problems() {
        responses.insert(schemas::status_of(name).to_string(), reference("responses", name));
    }
    responses.insert("default".to_owned(), reference("responses", "problem"));
    Value::Object(responses)
}
