//! What a client may say: one JSON object with an `op`, read strictly.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::vocabulary::ids::PostId;

/// An op of the contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    Auth { token: String },
    Resume { epoch: String, after: u64 },
    Watch { post: PostId },
    Unwatch { post: PostId },
    Read { up_to: u64 },
    Ping,
}

/// Why a text is not an op.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotAnOp {
    /// Not a JSON object, or its `op` is not known.
    Unknown,
    /// A known op with wrong members; what is wrong.
    Malformed(&'static str),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Auth {
    token: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Resume {
    epoch: String,
    after: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfPost {
    post: PostId,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Read {
    up_to: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

impl Op {
    /// Reads the text of a frame.
    pub fn parse(text: &str) -> Result<Self, NotAnOp> {
        let Ok(Value::Object(mut members)) = serde_json::from_str::<Value>(text) else { return Err(NotAnOp::Unknown) };
        let Some(Value::String(op)) = members.remove("op") else { return Err(NotAnOp::Unknown) };
        match op.as_str() {
            "auth" => read(members, "auth takes a token").map(|Auth { token }| Self::Auth { token }),
            "resume" => read(members, "resume takes an epoch and a number").map(|Resume { epoch, after }| Self::Resume { epoch, after }),
            "watch" => read(members, "watch takes the id of a post").map(|OfPost { post }| Self::Watch { post }),
            "unwatch" => read(members, "unwatch takes the id of a post").map(|OfPost { post }| Self::Unwatch { post }),
            "read" => read(members, "read takes a number").map(|Read { up_to }| Self::Read { up_to }),
            "ping" => read(members, "ping takes nothing").map(|Nothing {}| Self::Ping),
            _ => Err(NotAnOp::Unknown),
        }
    }
}

fn read<T: serde::de::DeserializeOwned>(members: Map<String, Value>, otherwise: &'static str) -> Result<T, NotAnOp> {
    serde_json::from_value(Value::Object(members)).map_err(|_cause| NotAnOp::Malformed(otherwise))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ops_of_the_contract_are_read() {
        let post = PostId::from_raw(7);
        let cases = [
            (r#"{"op":"auth","token":"t"}"#, Op::Auth { token: "t".to_owned() }),
            (r#"{"op":"resume","epoch":"e","after":17}"#, Op::Resume { epoch: "e".to_owned(), after: 17 }),
            (r#"{"op":"watch","post":"7"}"#, Op::Watch { post }),
            (r#" {"post":"7", "op":"unwatch"} "#, Op::Unwatch { post }),
            (r#"{"op":"read","up_to":0}"#, Op::Read { up_to: 0 }),
            (r#"{"op":"ping"}"#, Op::Ping),
        ];
        for (text, op) in cases {
            assert_eq!(Op::parse(text), Ok(op), "{text}");
        }
    }

    #[test]
    fn what_is_no_json_object_with_a_known_op_is_told_from_a_bad_member() {
        for text in
            ["", "x", "[]", "null", "17", r#""ping""#, "{}", r#"{"op":7}"#, r#"{"op":"fly"}"#, r#"{"op":"ping""#, r#"{"op":"PING"}"#]
        {
            assert_eq!(Op::parse(text), Err(NotAnOp::Unknown), "{text}");
        }
        let malformed = [
            r#"{"op":"ping","x":1}"#,
            r#"{"op":"auth"}"#,
            r#"{"op":"watch","post":7}"#,
            r#"{"op":"watch","post":"x"}"#,
            r#"{"op":"watch","post":"7","loud":true}"#,
            r#"{"op":"resume","epoch":"e","after":-1}"#,
            r#"{"op":"resume","epoch":"e","after":1.5}"#,
            r#"{"op":"read","up_to":18446744073709551616}"#,
        ];
        for text in malformed {
            assert!(matches!(Op::parse(text), Err(NotAnOp::Malformed(_))), "{text}");
        }
    }
}
