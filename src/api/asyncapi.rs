//! The AsyncAPI 3 document of the stream: what clients may say, what the server says, and why it hangs up. Tests hold it against
//! the close codes and the frames that are really sent.

use serde_json::{Map, Value, json};

use super::openapi;
use crate::stream::close_code::CloseCode;
use crate::stream::session::HEARTBEAT;
use crate::stream::{CLIENT_FRAME_BYTES_MAX, SUBPROTOCOL};

/// The whole document.
pub fn document() -> Value {
    let from_server = events();
    let from_client = ops();
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Sosik: the stream",
            "version": env!("CARGO_PKG_VERSION"),
            "description": about(),
            "license": {"name": "Apache-2.0 OR MIT"}
        },
        "defaultContentType": "application/json",
        "channels": {
            "stream": {
                "address": "/v1/stream",
                "title": "Everything that a signed-in user should hear of at once",
                "messages": references(from_client.iter().chain(&from_server)),
                "bindings": {"ws": {"method": "GET", "bindingVersion": "0.1.0"}}
            }
        },
        "operations": {
            "say": {"action": "send", "channel": {"$ref": "#/channels/stream"}, "summary": "What a client may say.",
                "messages": channel_references(&from_client)},
            "hear": {"action": "receive", "channel": {"$ref": "#/channels/stream"}, "summary": "What the server tells.",
                "messages": channel_references(&from_server)}
        },
        "components": {
            "messages": from_client.iter().chain(&from_server).map(|(name, message)| (name.clone(), message.clone())).collect::<Map<_, _>>(),
            "schemas": openapi::document()["components"]["schemas"],
        },
        "x-close-codes": CloseCode::ALL.iter().map(|code| (code.code().to_string(), json!(code.reason()))).collect::<Map<_, _>>(),
    })
}

fn about() -> String {
    format!(
        "A WebSocket (RFC 6455, subprotocol `{SUBPROTOCOL}`) of text frames, or server-sent events from the same address with \
         `Accept: text/event-stream`, `?watch=id,id` and `Last-Event-ID: epoch:seq`. Signed in by `Authorization`, by cookie from an \
         allowed origin, or by a first frame `auth` within 5 seconds. Entries of the inbox come in order and without a gap: a client keeps \
         its last `seq` and the `epoch`, and comes back with `resume`. The server pings every {} s. Frames of a client: at most \
         {CLIENT_FRAME_BYTES_MAX} bytes, 20 a second. After the codes 4400, 4413 and 1009 a client does not come back unchanged, after 4401 \
         not without signing in; after the others it comes back with `resume` and jitter.",
        HEARTBEAT.as_secs()
    )
}

fn references<'a>(messages: impl Iterator<Item = &'a (String, Value)>) -> Value {
    messages.map(|(name, _)| (name.clone(), json!({"$ref": format!("#/components/messages/{name}")}))).collect::<Map<_, _>>().into()
}

fn channel_references(messages: &[(String, Value)]) -> Value {
    messages.iter().map(|(name, _)| json!({"$ref": format!("#/channels/stream/messages/{name}")})).collect()
}

/// A message with a constant member that names it.
fn message(name: &str, tag: (&str, &str), summary: &str, members: Value) -> (String, Value) {
    let (member, value) = tag;
    let mut properties = Map::from_iter([(member.to_owned(), json!({"const": value}))]);
    if let Value::Object(members) = members {
        properties.extend(members);
    }
    let required: Vec<&String> = properties.keys().collect();
    let payload = json!({"type": "object", "required": required, "additionalProperties": false, "properties": properties});
    (name.to_owned(), json!({"name": value, "summary": summary, "payload": payload}))
}

fn op(name: &str, summary: &str, members: Value) -> (String, Value) {
    message(&format!("op_{name}"), ("op", name), summary, members)
}

fn event(name: &str, summary: &str, members: Value) -> (String, Value) {
    message(name, ("event", name), summary, members)
}

fn id() -> Value {
    json!({"type": "string", "pattern": "^[1-9][0-9]{0,18}$"})
}

fn count() -> Value {
    json!({"type": "integer", "minimum": 0})
}

fn object(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}

fn or_null(schema: Value) -> Value {
    json!({"oneOf": [schema, {"type": "null"}]})
}

fn ops() -> Vec<(String, Value)> {
    let text = || json!({"type": "string"});
    vec![
        op("auth", "Who it is: as the first frame, or again before the token ends.", json!({"token": text()})),
        op("resume", "Everything after this number, in order, then live.", json!({"epoch": text(), "after": count()})),
        op("watch", "A page is open.", json!({"post": id()})),
        op("unwatch", "It was left.", json!({"post": id()})),
        op("read", "Everything up to this number was read.", json!({"up_to": count()})),
        op("ping", "Are you there?", json!({})),
    ]
}

fn events() -> Vec<(String, Value)> {
    let text = || json!({"type": "string"});
    let one_of = |values: &[&str]| json!({"enum": values});
    let numbers = || json!({"post": id(), "version": count(), "likes": count(), "comments": count(), "watchers": count()});
    vec![
        event(
            "hello",
            "Signed in; the inbox stands here, and what comes next flows unasked.",
            json!({"user": id(), "epoch": text(), "seq": count(), "unread": count(), "heartbeat_ms": count(), "watch_limit": count()}),
        ),
        event("notification", "The next entry of the inbox; null if it was withdrawn.", json!({"seq": count(), "data": or_null(entry())})),
        event(
            "reset",
            "What comes next cannot be told: fetch the list, then go on from this number.",
            json!({"epoch": text(), "seq": count(), "reason": one_of(&["retention", "epoch", "ahead"])}),
        ),
        event("withdrawn", "An entry is not shown any more. A hint that may be missed.", json!({"seq": count(), "unread": count()})),
        event("read", "Marked as read, on any of the user's devices.", json!({"up_to": count(), "unread": count()})),
        event("write", "The user's own write, as its state changes.", json!({"data": object("Write")})),
        event("watching", "The answer to `watch`.", numbers()),
        event(
            "comment",
            "A comment of a watched post.",
            json!({"post": id(), "version": count(), "action": one_of(&["created", "edited", "deleted"]), "data": object("Comment")}),
        ),
        event("counts", "The numbers of a watched post, at most four times a second.", numbers()),
        event(
            "post",
            "A watched post.",
            json!({"post": id(), "version": count(), "action": one_of(&["edited", "deleted"]), "data": or_null(object("Post"))}),
        ),
        event("error", "An op could not be done; `code` is the name of a problem.", json!({"code": text(), "detail": text()})),
        event("pong", "The answer to `ping`.", json!({})),
        event(
            "bye",
            "The server stops: come back after so many milliseconds.",
            json!({"retry_ms": count(), "epoch": or_null(text()), "seq": or_null(count())}),
        ),
    ]
}

fn entry() -> Value {
    let reference = || json!({"type": "object", "required": ["id", "excerpt"], "properties": {"id": id(), "excerpt": {"type": "string"}}});
    json!({
        "type": "object",
        "required": ["seq", "id", "kind", "group", "actors", "count", "post", "comment", "created_at", "read"],
        "properties": {
            "seq": count(),
            "id": id(),
            "kind": {"enum": crate::vocabulary::entry::NotificationKind::ALL.map(crate::vocabulary::entry::NotificationKind::as_str)},
            "group": {"type": "string"},
            "actors": {"type": "array", "maxItems": 3},
            "count": count(),
            "post": or_null(reference()),
            "comment": or_null(reference()),
            "created_at": {"type": "string", "format": "date-time"},
            "read": {"type": "boolean"}
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collect(value: &Value, references: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                references.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
                members.values().for_each(|member| collect(member, references));
            }
            Value::Array(items) => items.iter().for_each(|item| collect(item, references)),
            _ => {}
        }
    }

    #[test]
    fn references_lead_somewhere_and_codes_are_all_there() {
        let document = document();
        let mut references = Vec::new();
        collect(&document, &mut references);

        assert!(references.len() > 40);
        for reference in references {
            assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
        }
        assert_eq!(document["x-close-codes"].as_object().map(Map::len), Some(CloseCode::ALL.len()));
    }
}
