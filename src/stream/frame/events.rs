//! The events of the contract as frames. Objects come in as JSON that is written already; the numbers around them are put here.

use serde::Serialize;

use super::{Frame, Kind};
use crate::vocabulary::ids::{Position, PostId, UserId};

/// The first event: who is signed in, and where his inbox stands.
#[derive(Debug, Clone, Serialize)]
pub struct Hello<'a> {
    pub user: UserId,
    pub epoch: &'a str,
    pub seq: u64,
    pub unread: u64,
    pub heartbeat_ms: u64,
    pub watch_limit: usize,
}

/// Why the client must fetch the list and go on from a later place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ResetReason {
    /// What came next is not kept any more.
    Retention,
    /// The place is one of another life of the inbox.
    Epoch,
    /// The inbox has never been that far.
    Ahead,
}

/// The numbers of a post as its watchers see them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Numbers {
    pub version: Position,
    pub likes: u64,
    pub comments: u64,
}

/// The last event before a server that stops hangs up.
#[derive(Debug, Clone, Serialize)]
pub struct Bye<'a> {
    /// How long to wait before coming back, in milliseconds.
    pub retry_ms: u64,
    pub epoch: Option<&'a str>,
    pub seq: Option<u64>,
}

#[derive(Serialize)]
struct Named<'a, T> {
    event: &'a str,
    #[serde(flatten)]
    members: T,
}

#[derive(Serialize)]
struct OfPost<'a> {
    post: PostId,
    version: Position,
    #[serde(skip_serializing_if = "Option::is_none")]
    likes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comments: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    watchers: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<&'a str>,
}

impl Frame {
    fn event(kind: Kind, event: &'static str, members: &impl Serialize) -> Self {
        // Numbers and texts always serialise.
        Self::text(kind, event, |bytes| drop(serde_json::to_writer(bytes, &Named { event, members })))
    }

    /// An event whose member `data` is JSON already.
    fn event_with_data(kind: Kind, event: &'static str, members: &impl Serialize, data: Option<&str>) -> Self {
        Self::text(kind, event, |bytes| {
            drop(serde_json::to_writer(&mut *bytes, &Named { event, members }));
            // In place of the brace that ends the object.
            bytes.pop();
            bytes.extend_from_slice(b",\"data\":");
            bytes.extend_from_slice(data.unwrap_or("null").as_bytes());
            bytes.push(b'}');
        })
    }

    pub fn hello(hello: &Hello<'_>) -> Self {
        Self::event(Kind::Other, "hello", hello)
    }

    /// The entry with this number; without data it was withdrawn.
    pub fn notification(seq: u64, entry: Option<&str>) -> Self {
        Self::event_with_data(Kind::Notification(seq), "notification", &Seq { seq }, entry)
    }

    pub fn reset(epoch: &str, seq: u64, reason: ResetReason) -> Self {
        #[derive(Serialize)]
        struct Reset<'a> {
            epoch: &'a str,
            seq: u64,
            reason: ResetReason,
        }
        Self::event(Kind::Reset(seq), "reset", &Reset { epoch, seq, reason })
    }

    pub fn withdrawn(seq: u64, unread: u64) -> Self {
        #[derive(Serialize)]
        struct Withdrawn {
            seq: u64,
            unread: u64,
        }
        Self::event(Kind::Other, "withdrawn", &Withdrawn { seq, unread })
    }

    pub fn read(up_to: u64, unread: u64) -> Self {
        #[derive(Serialize)]
        struct Read {
            up_to: u64,
            unread: u64,
        }
        Self::event(Kind::Other, "read", &Read { up_to, unread })
    }

    /// The user's own write in its present state.
    pub fn write(write: &str) -> Self {
        Self::event_with_data(Kind::Other, "write", &Nothing {}, Some(write))
    }

    /// The answer to `watch`.
    pub fn watching(post: PostId, numbers: Numbers, watchers: usize) -> Self {
        Self::event(Kind::Other, "watching", &numbers_of(post, numbers, watchers))
    }

    pub fn counts(post: PostId, numbers: Numbers, watchers: usize) -> Self {
        Self::event(Kind::Counts(post), "counts", &numbers_of(post, numbers, watchers))
    }

    /// `action`: `created`, `edited` or `deleted`.
    pub fn comment(post: PostId, version: Position, action: &'static str, comment: &str) -> Self {
        Self::event_with_data(Kind::Other, "comment", &acted(post, version, action), Some(comment))
    }

    /// `action`: `edited`, or `deleted` without data.
    pub fn post(post: PostId, version: Position, action: &'static str, data: Option<&str>) -> Self {
        Self::event_with_data(Kind::Other, "post", &acted(post, version, action), data)
    }

    /// An op could not be done; `code` is the name of a problem.
    pub fn error(code: &str, detail: &str) -> Self {
        #[derive(Serialize)]
        struct Refusal<'a> {
            code: &'a str,
            detail: &'a str,
        }
        Self::event(Kind::Other, "error", &Refusal { code, detail })
    }

    pub fn pong() -> Self {
        Self::event(Kind::Other, "pong", &Nothing {})
    }

    pub fn bye(bye: &Bye<'_>) -> Self {
        Self::event(Kind::Other, "bye", bye)
    }
}

#[derive(Serialize)]
struct Seq {
    seq: u64,
}

#[derive(Serialize)]
struct Nothing {}

fn numbers_of(post: PostId, numbers: Numbers, watchers: usize) -> OfPost<'static> {
    OfPost {
        post,
        version: numbers.version,
        likes: Some(numbers.likes),
        comments: Some(numbers.comments),
        watchers: Some(watchers),
        action: None,
    }
}

fn acted(post: PostId, version: Position, action: &'static str) -> OfPost<'static> {
    OfPost { post, version, likes: None, comments: None, watchers: None, action: Some(action) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(frame: &Frame) -> &str {
        std::str::from_utf8(frame.json()).expect("UTF-8")
    }

    #[test]
    fn events_have_the_members_of_the_contract() {
        let post = PostId::from_raw(7);
        let numbers = Numbers { version: Position(9), likes: 1, comments: 2 };
        let hello = Hello { user: UserId::from_raw(5), epoch: "e", seq: 17, unread: 1, heartbeat_ms: 25_000, watch_limit: 100 };
        let cases = [
            (
                Frame::hello(&hello),
                r#"{"event":"hello","user":"5","epoch":"e","seq":17,"unread":1,"heartbeat_ms":25000,"watch_limit":100}"#,
            ),
            (Frame::notification(18, None), r#"{"event":"notification","seq":18,"data":null}"#),
            (Frame::notification(18, Some(r#"{"seq":18}"#)), r#"{"event":"notification","seq":18,"data":{"seq":18}}"#),
            (Frame::reset("e", 4, ResetReason::Retention), r#"{"event":"reset","epoch":"e","seq":4,"reason":"retention"}"#),
            (Frame::withdrawn(18, 2), r#"{"event":"withdrawn","seq":18,"unread":2}"#),
            (Frame::read(17, 0), r#"{"event":"read","up_to":17,"unread":0}"#),
            (Frame::write(r#"{"id":"1"}"#), r#"{"event":"write","data":{"id":"1"}}"#),
            (Frame::watching(post, numbers, 3), r#"{"event":"watching","post":"7","version":9,"likes":1,"comments":2,"watchers":3}"#),
            (Frame::counts(post, numbers, 3), r#"{"event":"counts","post":"7","version":9,"likes":1,"comments":2,"watchers":3}"#),
            (
                Frame::comment(post, Position(9), "created", "{}"),
                r#"{"event":"comment","post":"7","version":9,"action":"created","data":{}}"#,
            ),
            (Frame::post(post, Position(9), "deleted", None), r#"{"event":"post","post":"7","version":9,"action":"deleted","data":null}"#),
            (Frame::error("not-found", "x"), r#"{"event":"error","code":"not-found","detail":"x"}"#),
            (Frame::pong(), r#"{"event":"pong"}"#),
            (Frame::bye(&Bye { retry_ms: 5, epoch: Some("e"), seq: Some(4) }), r#"{"event":"bye","retry_ms":5,"epoch":"e","seq":4}"#),
        ];
        for (frame, expected) in cases {
            assert_eq!(text(&frame), expected);
        }
    }
}
