//! Pages: `limit` and `cursor` in, `next` and a `Link` out. Cursors are sealed for one list and one reader.

use std::fmt::Write as _;

use actix_web::http::header::HeaderValue;
use serde::Serialize;

use super::call::Call;
use super::problem::{Problem, ProblemName};
use crate::support::faults::planted;
use crate::vocabulary::ids::{CommentId, Position, PostId, UserId};

pub(super) const LIMIT_DEFAULT: usize = 20;
pub(super) const LIMIT_MAX: usize = 100;

/// A key after which a page can begin.
pub(super) trait PageKey: Copy {
    fn to_raw(self) -> u64;
    fn of_raw(raw: u64) -> Self;
}

macro_rules! page_key {
    ($($id:ident),+) => {$(
        impl PageKey for $id {
            fn to_raw(self) -> u64 {
                self.raw()
            }

            fn of_raw(raw: u64) -> Self {
                Self::from_raw(raw)
            }
        }
    )+};
}

page_key!(UserId, PostId, CommentId);

impl PageKey for u64 {
    fn to_raw(self) -> u64 {
        self
    }

    fn of_raw(raw: u64) -> Self {
        raw
    }
}

impl PageKey for Position {
    fn to_raw(self) -> u64 {
        self.0
    }

    fn of_raw(raw: u64) -> Self {
        Self(raw)
    }
}

/// What a request asks of a list.
pub(super) struct PageRequest<K> {
    pub(super) after: Option<K>,
    pub(super) limit: usize,
    /// Names the list with all that shapes it; what its cursors are sealed for.
    list: String,
    /// Parameters that the next page needs besides `limit` and `cursor`.
    kept: &'static str,
}

impl<K: PageKey> PageRequest<K> {
    /// `kept`: parameters of the list that its next page needs too, like `order=desc&`.
    pub(super) fn of(call: &Call, reader: Option<UserId>, kept: &'static str) -> Result<Self, Problem> {
        let query = call.query();
        let limit = match query.get("limit")? {
            None => LIMIT_DEFAULT,
            Some(text) => parse_limit(text)?,
        };
        let list = format!("{}?{kept}{}", call.path(), reader.map_or(0, UserId::raw));
        let after = match query.get("cursor")? {
            None => None,
            Some(text) => Some(open(call, &list, text)?),
        };
        Ok(Self { after, limit, list, kept })
    }

    /// The cursor and the `Link` of the next page.
    pub(super) fn next(&self, call: &Call, key: Option<K>) -> Option<(String, HeaderValue)> {
        let cursor = call.services.sealer.seal_cursor(&self.list, &key?.to_raw().to_be_bytes()).ok()?;
        let mut link = String::with_capacity(call.path().len() + cursor.len() + 48);
        write!(link, "<{}?{}limit={}&cursor={cursor}>; rel=\"next\"", call.path(), self.kept, self.limit).ok()?;
        Some((cursor, HeaderValue::try_from(link).ok()?))
    }
}

fn parse_limit(text: &str) -> Result<usize, Problem> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let limit = text.parse().ok().filter(|limit| digits && (1..=LIMIT_MAX).contains(limit));
    limit.ok_or_else(|| Problem::invalid("limit", "range", "must be a whole number from 1 to 100"))
}

fn open<K: PageKey>(call: &Call, list: &str, text: &str) -> Result<K, Problem> {
    let place = call.services.sealer.open_cursor(list, text).ok().and_then(|bytes| bytes.try_into().ok());
    if place.is_none() && planted("api::cursor_fails") {
        return Err(Problem::new(ProblemName::Internal));
    }
    place
        .map(|bytes| K::of_raw(u64::from_be_bytes(bytes)))
        .ok_or_else(|| Problem::malformed("cursor: not one of this list for this reader"))
}

/// A page as clients see it.
#[derive(Serialize)]
pub(super) struct PageBody<'a, I: Serialize> {
    pub(super) items: I,
    pub(super) next: Option<&'a str>,
    /// Only of lists that change as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) version: Option<u64>,
}
