//! The configuration as TOML, for people: sections in the order of the documentation, passwords masked.

use serde_json::{Map, Value};

use super::Config;

const SECTIONS: [&str; 15] = [
    "server",
    "node",
    "data",
    "shards",
    "postgres",
    "journal",
    "write",
    "cache",
    "auth",
    "limits",
    "notify",
    "stream",
    "nats",
    "api",
    "telemetry",
];

const MASK: &str = "***";

pub(super) fn render(config: &Config) -> String {
    let mut text = String::new();
    // Its keys are texts and its numbers finite: it always serialises.
    let Ok(Value::Object(sections)) = serde_json::to_value(config) else { return text };
    for name in SECTIONS {
        if let Some(Value::Object(fields)) = sections.get(name) {
            render_table(&mut text, &format!("[{name}]"), name, fields);
        }
    }
    text
}

fn render_table(text: &mut String, header: &str, path: &str, fields: &Map<String, Value>) {
    if !text.is_empty() {
        text.push('\n');
    }
    text.push_str(header);
    text.push('\n');
    let is_table_list = |value: &Value| value.as_array().is_some_and(|items| items.first().is_some_and(Value::is_object));
    for (key, value) in fields.iter().filter(|(_, value)| !is_table_list(value)) {
        if let Some(value) = render_value(value) {
            text.push_str(&format!("{key} = {value}\n"));
        }
    }
    for (key, value) in fields.iter().filter(|(_, value)| is_table_list(value)) {
        for item in value.as_array().into_iter().flatten().filter_map(Value::as_object) {
            render_table(text, &format!("[[{path}.{key}]]"), &format!("{path}.{key}"), item);
        }
    }
}

/// `None` for what is absent.
fn render_value(value: &Value) -> Option<String> {
    match value {
        Value::Null | Value::Object(_) => None,
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        Value::String(text) => Some(quote(&mask(text))),
        Value::Array(items) => Some(format!("[{}]", items.iter().filter_map(render_value).collect::<Vec<_>>().join(", "))),
    }
}

/// A TOML basic string. JSON escapes the same characters the same way, but for DEL.
fn quote(text: &str) -> String {
    Value::String(text.to_owned()).to_string().replace('\u{7f}', "\\u007F")
}

/// Takes the password out of a URL.
fn mask(text: &str) -> String {
    // By hand: one with several hosts is no URL to others.
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    let Some((user, hosts)) = authority.rsplit_once('@') else { return text.to_owned() };
    let Some((name, _)) = user.split_once(':') else { return text.to_owned() };
    format!("{scheme}://{name}:{MASK}@{hosts}{}", &rest[authority.len()..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_a_url_is_masked_and_other_text_is_left_alone() {
        assert_eq!(mask("postgres://me:secret@db/x"), "postgres://me:***@db/x");
        assert_eq!(mask("postgres://me:secret@one:1,two/x?sslmode=require"), "postgres://me:***@one:1,two/x?sslmode=require");
        assert_eq!(mask("https://me@keys.example/jwks"), "https://me@keys.example/jwks");
        assert_eq!(mask("sqlite:s1.db"), "sqlite:s1.db");
    }

    #[test]
    fn texts_are_quoted_as_toml_asks() {
        assert_eq!(quote("a\"b\\c\n\u{7f}"), r#""a\"b\\c\n\u007F""#);
    }
}
