//! The shapes: schemas, parameters, headers, problem responses.

use serde_json::{Map, Value, json};

use super::reference;
use crate::api::call::WAIT_MAX_S;
use crate::api::paging::{LIMIT_DEFAULT, LIMIT_MAX};
use crate::api::problem::ProblemName;
use crate::vocabulary::entry::{InboxLine, NotificationKind, ReadMark};
use crate::vocabulary::text::{Bio, CommentBody, DisplayName, PostBody, Username};

/// What the texts may not hold: control characters but tab and newline. One character at least must be no white space, and show something.
const TEXT_PATTERN: &str = concat!(
    r"^[^\u0000-\u0008\u000B-\u001F\u007F-\u009F]*",
    r"[^\s\u0000-\u001F\u007F-\u009F\u00AD\u034F\u061C\u115F\u1160\u17B4\u17B5\u180E\u200B-\u200F\u202A-\u202E\u2060-\u206F\u2800\u3164\uFEFF\uFFA0]",
    r"[^\u0000-\u0008\u000B-\u001F\u007F-\u009F]*$"
);
/// Of the 19-digit numbers only some fit 63 bits; ids are made that long from the year 2032 on, and reach a leading 9 in 2093.
const ID_PATTERN: &str = "^([1-9][0-9]{0,17}|[1-8][0-9]{18})$";
const TIME_PATTERN: &str = r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$";
const USERNAME_PATTERN: &str = "^[A-Za-z0-9_]([A-Za-z0-9_.]*[A-Za-z0-9_])?$";
/// A kind, and what the entries of the group have in common.
const GROUP_PATTERN: &str = "^(post|comment|reply|mention|like|follow)(:(user|post|comment):([1-9][0-9]{0,17}|[1-8][0-9]{18}))?$";
const CURSOR_PATTERN: &str = "^[A-Za-z0-9_-]+$";
/// `security.md` S11.
const PASSWORD_CHARACTERS: (usize, usize) = (8, 128);

fn schema(name: &str) -> Value {
    reference("schemas", name)
}

fn text(characters_max: usize) -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": characters_max, "pattern": TEXT_PATTERN})
}

fn nullable(schema: &Value) -> Value {
    json!({"anyOf": [schema, {"type": "null"}]})
}

/// An object whose members are all required but those named with a `?` at the end.
fn object(open: bool, members: &[(&str, Value)]) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for (name, schema) in members {
        let optional = name.ends_with('?');
        let name = name.trim_end_matches('?');
        if !optional {
            required.push(name.to_owned());
        }
        properties.insert(name.to_owned(), schema.clone());
    }
    let mut object = json!({"type": "object", "properties": properties, "additionalProperties": open});
    if let (false, Some(object)) = (required.is_empty(), object.as_object_mut()) {
        object.insert("required".to_owned(), json!(required));
    }
    object
}

fn page_of(item: &str, more: &[(&str, Value)]) -> Value {
    let mut members = vec![("items", json!({"type": "array", "items": schema(item)})), ("next", nullable(&json!({"type": "string"})))];
    members.extend_from_slice(more);
    object(false, &members)
}

pub(super) fn all() -> Value {
    let mut schemas = Map::new();
    let groups = [values(), representations(), notifications(), requests(), sign_in()];
    for (name, schema) in groups.into_iter().flatten() {
        schemas.insert(name.to_owned(), schema);
    }
    Value::Object(schemas)
}

type Named = Vec<(&'static str, Value)>;

fn values() -> Named {
    vec![
        ("Identifier", json!({"type": "string", "pattern": ID_PATTERN})),
        ("Time", json!({"type": "string", "format": "date-time", "pattern": TIME_PATTERN})),
        ("Count", json!({"type": "integer", "minimum": 0})),
        (
            "Username",
            json!({"type": "string", "minLength": Username::CHARACTERS_MIN, "maxLength": Username::CHARACTERS_MAX, "pattern": USERNAME_PATTERN}),
        ),
    ]
}

fn representations() -> Named {
    let (id, time, count) = (schema("Identifier"), schema("Time"), schema("Count"));
    let maybe_time = nullable(&time);
    let flag = json!({"type": "boolean"});
    let text = json!({"type": "string"});
    let author = object(false, &[("id", id.clone()), ("username", text.clone()), ("display_name", text.clone())]);
    let mode = json!({"type": "string", "enum": ["subscribed", "muted", "default"]});
    let user_viewer =
        object(false, &[("following", flag.clone()), ("followed_by", flag.clone()), ("blocking", flag.clone()), ("muting", flag.clone())]);
    vec![
        ("Author", author),
        (
            "Post",
            object(
                false,
                &[
                    ("id", id.clone()),
                    ("version", count.clone()),
                    ("author", schema("Author")),
                    ("body", text.clone()),
                    ("created_at", time.clone()),
                    ("edited_at", maybe_time.clone()),
                    ("likes", count.clone()),
                    ("comments", count.clone()),
                    ("viewer?", object(false, &[("liked", flag.clone()), ("subscription", mode)])),
                ],
            ),
        ),
        (
            "Comment",
            object(
                false,
                &[
                    ("id", id.clone()),
                    ("post_id", id.clone()),
                    ("parent_id", nullable(&id)),
                    ("author", schema("Author")),
                    ("body", nullable(&text)),
                    ("created_at", time.clone()),
                    ("edited_at", maybe_time.clone()),
                    ("likes", count.clone()),
                    ("deleted", flag.clone()),
                    ("viewer?", object(false, &[("liked", flag)])),
                ],
            ),
        ),
        (
            "User",
            object(
                false,
                &[
                    ("id", id.clone()),
                    ("username", text.clone()),
                    ("display_name", text.clone()),
                    ("bio", nullable(&text)),
                    ("created_at", time),
                    ("followers", count.clone()),
                    ("following", count.clone()),
                    ("posts", count.clone()),
                    ("viewer?", user_viewer),
                ],
            ),
        ),
        ("Write", write(&id, &maybe_time)),
        (
            "Accepted",
            object(
                false,
                &[("write", schema("Write")), ("post?", schema("Post")), ("comment?", schema("Comment")), ("user?", schema("User"))],
            ),
        ),
        ("PostPage", page_of("Post", &[])),
        ("CommentPage", page_of("Comment", &[("version", count.clone())])),
        ("UserPage", page_of("User", &[])),
        (
            "Id",
            object(
                false,
                &[
                    ("id", id),
                    ("timestamp", schema("Time")),
                    ("datacenter", json!({"type": "integer", "minimum": 0, "maximum": 31})),
                    ("worker", json!({"type": "integer", "minimum": 0, "maximum": 31})),
                    ("sequence", json!({"type": "integer", "minimum": 0, "maximum": 4095})),
                    ("shard", text),
                ],
            ),
        ),
        ("Problem", problem()),
    ]
}

fn notifications() -> Named {
    let (id, count, flag) = (schema("Identifier"), schema("Count"), json!({"type": "boolean"}));
    let excerpt = object(false, &[("id", id.clone()), ("excerpt", json!({"type": "string"}))]);
    let kinds: Vec<&str> = NotificationKind::ALL.iter().map(|kind| kind.as_str()).collect();
    let entry = object(
        false,
        &[
            ("seq", count.clone()),
            ("id", id),
            ("kind", json!({"type": "string", "enum": kinds})),
            ("group", schema("Group")),
            ("actors", json!({"type": "array", "maxItems": InboxLine::ACTORS_MAX, "items": schema("Author")})),
            ("count", count.clone()),
            ("post", nullable(&excerpt)),
            ("comment", nullable(&excerpt)),
            ("created_at", schema("Time")),
            ("read", flag.clone()),
        ],
    );
    let from = json!({"type": "string", "enum": ["everyone", "following"]});
    let ways = |mark: &str| {
        let named = ["inbox", "stream", "push", "email"].map(|name| (format!("{name}{mark}"), flag.clone()));
        let last = (format!("from{mark}"), from.clone());
        let members: Vec<(&str, Value)> = named.iter().chain([&last]).map(|(name, schema)| (name.as_str(), schema.clone())).collect();
        object(false, &members)
    };
    let time_of_day = json!({"type": "string", "pattern": "^([01][0-9]|2[0-3]):[0-5][0-9]$"});
    let zone = json!({"type": "string", "pattern": "^[A-Za-z0-9/_+-]{1,64}$"});
    let quiet = nullable(&object(false, &[("from", time_of_day.clone()), ("to", time_of_day), ("time_zone", zone)]));
    let preferences = |mark: &str, ways: Value| {
        let mut members: Vec<(String, Value)> = kinds.iter().map(|kind| (format!("{kind}{mark}"), ways.clone())).collect();
        members.push((format!("quiet_hours{mark}"), quiet.clone()));
        let members: Vec<(&str, Value)> = members.iter().map(|(name, schema)| (name.as_str(), schema.clone())).collect();
        object(false, &members)
    };
    let mark = json!({"oneOf": [
        object(false, &[("up_to", count.clone())]),
        object(false, &[("groups", json!({"type": "array", "minItems": 1, "maxItems": ReadMark::GROUPS_MAX, "items": schema("Group")}))]),
    ]});
    vec![
        ("Group", json!({"type": "string", "pattern": GROUP_PATTERN})),
        ("Notification", entry),
        (
            "NotificationPage",
            page_of("Notification", &[("unread", count.clone()), ("seq", count.clone()), ("epoch", json!({"type": "string"}))]),
        ),
        ("Unread", object(false, &[("unread", count)])),
        ("ReadMark", mark),
        ("Preferences", preferences("", ways(""))),
        ("NewPreferences", preferences("?", nullable(&ways("?")))),
    ]
}

fn write(id: &Value, maybe_time: &Value) -> Value {
    object(
        false,
        &[
            ("id", id.clone()),
            ("kind", json!({"type": "string", "pattern": "^[a-z_]+\\.[a-z]+$"})),
            ("state", json!({"type": "string", "enum": ["accepted", "committed", "visible", "rejected"]})),
            ("resource", json!({"type": "string", "format": "uri-reference"})),
            ("accepted_at", maybe_time.clone()),
            ("committed_at", maybe_time.clone()),
            ("visible_at", maybe_time.clone()),
            ("problem", nullable(&schema("Problem"))),
        ],
    )
}

fn problem() -> Value {
    let field_error =
        object(true, &[("field", json!({"type": "string"})), ("code", json!({"type": "string"})), ("detail", json!({"type": "string"}))]);
    object(
        true,
        &[
            ("type", json!({"type": "string", "format": "uri-reference"})),
            ("title", json!({"type": "string"})),
            ("status", json!({"type": "integer", "minimum": 400, "maximum": 599})),
            ("detail?", json!({"type": "string"})),
            ("request_id?", json!({"type": "string"})),
            ("errors?", json!({"type": "array", "items": field_error})),
            ("accepted?", json!({"type": ["boolean", "null"], "description": "Of writes: false if it did not and will not happen."})),
        ],
    )
}

fn requests() -> Named {
    vec![
        ("NewPost", object(false, &[("body", text(PostBody::CHARACTERS_MAX))])),
        ("NewComment", object(false, &[("body", text(CommentBody::CHARACTERS_MAX)), ("parent_id?", nullable(&schema("Identifier")))])),
        ("CommentEdit", object(false, &[("body", text(CommentBody::CHARACTERS_MAX))])),
        ("NewSubscription", object(false, &[("mode", json!({"type": "string", "enum": ["subscribed", "muted", "default"]}))])),
        ("NewFollow", object(false, &[("notify?", json!({"type": ["boolean", "null"]}))])),
        (
            "ProfileEdit",
            object(false, &[("display_name?", text(DisplayName::CHARACTERS_MAX)), ("bio?", nullable(&text(Bio::CHARACTERS_MAX)))]),
        ),
    ]
}

fn sign_in() -> Named {
    let password = json!({"type": "string", "minLength": PASSWORD_CHARACTERS.0, "maxLength": PASSWORD_CHARACTERS.1, "format": "password"});
    let any_text = json!({"type": "string"});
    let session = object(
        false,
        &[
            ("id", schema("Identifier")),
            ("device", any_text.clone()),
            ("created_at", schema("Time")),
            ("last_used_at", schema("Time")),
            ("current", json!({"type": "boolean"})),
        ],
    );
    vec![
        (
            "Registration",
            object(
                false,
                &[
                    ("username", schema("Username")),
                    ("password", password.clone()),
                    ("display_name?", nullable(&text(DisplayName::CHARACTERS_MAX))),
                ],
            ),
        ),
        ("Login", object(false, &[("username", any_text.clone()), ("password", any_text.clone())])),
        ("Refresh", object(false, &[("refresh_token?", nullable(&any_text))])),
        ("PasswordChange", object(false, &[("current_password", any_text.clone()), ("new_password", password)])),
        (
            "Grant",
            object(
                false,
                &[
                    ("user?", schema("User")),
                    ("access_token?", any_text.clone()),
                    ("token_type", json!({"type": "string", "enum": ["Bearer"]})),
                    ("expires_in", schema("Count")),
                    ("refresh_token?", any_text),
                    ("session_id", schema("Identifier")),
                ],
            ),
        ),
        ("Session", session),
        ("SessionList", page_of("Session", &[])),
        ("KeySet", object(true, &[("keys", json!({"type": "array", "items": {"type": "object"}}))])),
    ]
}

pub(super) fn parameters() -> Value {
    let path = |name: &str, schema: Value| json!({"name": name, "in": "path", "required": true, "schema": schema});
    let query = |name: &str, schema: Value| json!({"name": name, "in": "query", "required": false, "schema": schema});
    let header = |name: &str, description: &str, schema: Value| json!({"name": name, "in": "header", "required": false, "description": description, "schema": schema});
    let id = || schema("Identifier");
    let problem_names: Vec<&str> = ProblemName::ALL.iter().map(|name| name.as_str()).collect();
    json!({
        "post": path("post", id()),
        "comment": path("comment", id()),
        "write": path("write", id()),
        "session": path("session", id()),
        "id": path("id", id()),
        "user": {"name": "user", "in": "path", "required": true, "description": "An id, `@` and a username, or `me`.",
            "schema": {"type": "string", "pattern": "^([1-9][0-9]{0,17}|[1-8][0-9]{18}|@[A-Za-z0-9_][A-Za-z0-9_.]{1,28}[A-Za-z0-9_]|me)$"}},
        "problem": path("name", json!({"type": "string", "enum": problem_names})),
        "file": path("file", json!({"type": "string", "enum": ["docs.js", "swagger-ui.css", "swagger-ui-bundle.js"]})),
        "limit": query("limit", json!({"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT})),
        "cursor": query("cursor", json!({"type": "string", "pattern": CURSOR_PATTERN})),
        "order": query("order", json!({"type": "string", "enum": ["asc", "desc"], "default": "asc"})),
        "grouped": query("grouped", json!({"type": "boolean", "default": false})),
        "unread": query("unread", json!({"type": "boolean", "default": false})),
        "watch": {"name": "watch", "in": "query", "required": false, "style": "form", "explode": false,
            "description": "With server-sent events: posts to watch.", "schema": {"type": "array", "items": id()}},
        "last_event_id": header("Last-Event-ID", "With server-sent events: where the inbox goes on, as epoch and number.",
            json!({"type": "string", "pattern": "^[0-9a-f]{16}:[0-9]{1,18}$"})),
        "cookies": query("cookies", json!({"type": "boolean", "default": false})),
        "idempotency_key": header("Idempotency-Key", "Repeats with the same key take effect once.",
            json!({"type": "string", "minLength": 1, "maxLength": 64, "pattern": r"^[!#-\[\]-~]+$"})),
        "prefer": header("Prefer", &format!("`wait=5` holds the answer until the write is visible, for at most {WAIT_MAX_S} seconds."),
            json!({"type": "string"})),
        "if_match": header("If-Match", "An entity tag: changes nothing if the text was changed since.",
            json!({"type": "string", "pattern": "^(\\*|\"[0-9]{1,18}-[0-9a-f]{16}\"(, ?\"[0-9]{1,18}-[0-9a-f]{16}\")*)$"})),
        "if_none_match": header("If-None-Match", "An entity tag: answers 304 if nothing is new.", json!({"type": "string"})),
        "consistency_token": header("Consistency-Token", "From an earlier answer: reads at least as fresh.",
            json!({"type": "string", "pattern": CURSOR_PATTERN}))
    })
}

pub(super) fn headers() -> Value {
    let header = |description: &str| json!({"description": description, "schema": {"type": "string"}});
    json!({
        "Location": header("Where to ask for the write, or for what it made."),
        "ETag": header("The revision of the text, and a digest of all that is shown."),
        "Link": header("The next page, as rel=next."),
        "Consistency-Token": header("Good for its reader: sent back on a read, that read is at least as fresh."),
        "Idempotency-Replayed": header("The answer of an earlier request with the same key."),
        "Preference-Applied": header("The wait that was granted."),
        "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}},
        "Allow": header("The methods of this address."),
        "WWW-Authenticate": header("How to sign in (RFC 6750).")
    })
}

/// The status of a problem by its name.
pub(super) fn status_of(name: &str) -> u16 {
    ProblemName::ALL.iter().find(|problem| problem.as_str() == name).map_or(500, |problem| problem.status())
}

/// A response for each problem, and one for any.
pub(super) fn problem_responses() -> Value {
    let content = json!({"application/problem+json": {"schema": schema("Problem")}});
    let mut responses = Map::new();
    for name in ProblemName::ALL {
        let header = match name.status() {
            401 => Some("WWW-Authenticate"),
            405 => Some("Allow"),
            429 | 503 => Some("Retry-After"),
            _ => None,
        };
        let headers: Map<String, Value> = header.into_iter().map(|name| (name.to_owned(), reference("headers", name))).collect();
        let response = json!({"description": name.title(), "content": content, "headers": headers});
        responses.insert(name.as_str().to_owned(), response);
    }
    responses.insert("problem".to_owned(), json!({"description": "A problem.", "content": content}));
    Value::Object(responses)
}
