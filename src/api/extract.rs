//! Reads what a request carries: body, query and header fields. Everything is checked here, and only here, for its form; what
//! it means is checked by the types of the vocabulary.
//!
//! Unknown members of a body are refused; unknown parameters of a query are not looked at. A body has at most
//! [`BODY_BYTES_MAX`] bytes and arrives within the deadline of `middleware::body_deadline`.

use actix_web::HttpRequest;
use actix_web::http::Method;
use actix_web::http::header::{self, HeaderMap, HeaderName};
use actix_web::web::{Bytes, BytesMut, Payload};
use futures_util::StreamExt;

use super::fields::Members;
use super::middleware::body_deadline;
use super::problem::{Problem, ProblemName};

/// The largest post has 40 000 bytes in UTF-8 and 120 000 with every character escaped; the rest is room.
pub(super) const BODY_BYTES_MAX: usize = 256 * 1024;

/// A body as it came. Empty if there was none.
pub(super) struct Body {
    bytes: Bytes,
}

impl Body {
    /// Reads the body of a call that takes JSON.
    pub(super) async fn read(request: &HttpRequest, payload: Payload, optional: bool) -> Result<Self, Problem> {
        let headers = request.headers();
        let patch = request.method() == Method::PATCH;
        let encoded = headers.get(header::CONTENT_ENCODING).is_some_and(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity"));
        if encoded {
            return Err(Problem::unsupported_media_type(patch).detail("content encodings are not read"));
        }
        let typed = headers.contains_key(header::CONTENT_TYPE);
        let empty_allowed = optional && !has_body(headers);
        if typed && !is_json(headers, patch) || !typed && !empty_allowed {
            return Err(Problem::unsupported_media_type(patch));
        }
        let bytes = body_deadline::within(collect(headers, payload)).await??;
        if bytes.is_empty() && !optional {
            return Err(Problem::malformed("a JSON object is expected"));
        }
        Ok(Self { bytes })
    }

    /// The members of the object, of which only `names` are known.
    pub(super) fn members(&self, names: &'static [&'static str]) -> Result<Members<'_>, Problem> {
        if self.bytes.is_empty() {
            return Ok(Members::none(names));
        }
        let text = std::str::from_utf8(&self.bytes).map_err(|_cause: std::str::Utf8Error| Problem::malformed("the body is not UTF-8"))?;
        Members::parse(text, names)
    }
}

/// Whether a body follows the head.
pub(super) fn has_body(headers: &HeaderMap) -> bool {
    headers.contains_key(header::TRANSFER_ENCODING) || headers.get(header::CONTENT_LENGTH).is_some_and(|value| value.as_bytes() != b"0")
}

async fn collect(headers: &HeaderMap, mut payload: Payload) -> Result<Bytes, Problem> {
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()).and_then(|text| text.parse::<u64>().ok());
    if declared.is_some_and(|bytes| bytes > BODY_BYTES_MAX as u64) {
        return Err(too_large());
    }
    let Some(first) = payload.next().await else { return Ok(Bytes::new()) };
    let first = first.map_err(|error| broken(&error))?;
    if declared == Some(first.len() as u64) {
        // Nearly always the whole body comes with its head: no copy.
        return Ok(first);
    }
    let mut collected = BytesMut::from(&first[..]);
    while collected.len() <= BODY_BYTES_MAX {
        let Some(chunk) = payload.next().await else { return Ok(collected.freeze()) };
        collected.extend_from_slice(&chunk.map_err(|error| broken(&error))?);
    }
    Err(too_large())
}

fn too_large() -> Problem {
    Problem::new(ProblemName::PayloadTooLarge).closing()
}

fn broken(error: &actix_web::error::PayloadError) -> Problem {
    tracing::debug!(%error, "a body could not be read");
    Problem::malformed("the body is cut off or badly framed").closing()
}

fn is_json(headers: &HeaderMap, patch: bool) -> bool {
    let mut values = headers.get_all(header::CONTENT_TYPE);
    let (Some(value), None) = (values.next(), values.next()) else { return false };
    let Ok(text) = value.to_str() else { return false };
    let mut parts = text.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default();
    let known = essence.eq_ignore_ascii_case("application/json") || patch && essence.eq_ignore_ascii_case("application/merge-patch+json");
    known
        && parts.all(|parameter| match parameter.split_once('=') {
            Some((name, value)) => !name.eq_ignore_ascii_case("charset") || value.trim_matches('"').eq_ignore_ascii_case("utf-8"),
            None => parameter.is_empty(),
        })
}

/// Whether `Accept` leaves room for JSON. Of the ranges that fit, the most specific one counts.
pub(super) fn accepts_json(headers: &HeaderMap) -> bool {
    let mut best: Option<(u8, bool)> = None;
    for value in headers.get_all(header::ACCEPT) {
        let Ok(text) = value.to_str() else { continue };
        if text == "*/*" || text == "application/json" {
            return true;
        }
        for range in text.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let rank = match parts.next() {
                Some(essence) if essence.eq_ignore_ascii_case("application/json") => 3,
                Some(essence) if essence.eq_ignore_ascii_case("application/*") => 2,
                Some("*/*") => 1,
                _ => 0,
            };
            let refused = parts.any(is_zero_quality);
            if best.is_none_or(|(known, _)| rank > known) {
                best = Some((rank, rank > 0 && !refused));
            }
        }
    }
    best.is_none_or(|(_, accepted)| accepted)
}

fn is_zero_quality(parameter: &str) -> bool {
    parameter.split_once('=').is_some_and(|(name, value)| {
        name.trim().eq_ignore_ascii_case("q") && value.trim().parse::<f32>().is_ok_and(|quality| quality <= 0.0)
    })
}

/// The value of a field that may stand only once.
pub(super) fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name);
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Problem::malformed(format!("{name}: the field stands more than once")));
    }
    value.to_str().map(Some).map_err(|_cause| Problem::malformed(format!("{name}: not visible ASCII")))
}

/// The seconds of `Prefer: wait`; the first one counts (RFC 7240).
pub(super) fn preferred_wait_s(headers: &HeaderMap) -> Option<u64> {
    let texts = headers.get_all(super::call::PREFER).filter_map(|value| value.to_str().ok());
    let preference =
        texts.flat_map(|text| text.split(',')).filter_map(|preference| preference.split(';').next()).find_map(|preference| {
            let (name, value) = preference.split_once('=')?;
            name.trim().eq_ignore_ascii_case("wait").then(|| value.trim().trim_matches('"'))
        })?;
    let all_digits = !preference.is_empty() && preference.bytes().all(|byte| byte.is_ascii_digit());
    // More digits than a number can hold is a very long wait.
    all_digits.then(|| preference.parse().unwrap_or(u64::MAX))
}

/// The value of a cookie. Names compare exactly; of two alike the first counts. Those of others on the host may hold any bytes.
pub(super) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let pairs = headers.get_all(header::COOKIE).flat_map(|value| value.as_bytes().split(|byte| *byte == b';'));
    let value = pairs.map(<[u8]>::trim_ascii).find_map(|pair| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"="))?;
    std::str::from_utf8(value).ok().filter(|value| value.is_ascii())
}

/// The parameters of a query. Unknown ones are not looked at.
pub(super) struct Query<'a> {
    text: &'a str,
}

impl<'a> Query<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        Self { text }
    }

    /// A parameter that may stand once. Values that we know are made of unreserved characters: nothing is decoded.
    pub(super) fn get(&self, name: &'static str) -> Result<Option<&'a str>, Problem> {
        let mut found = self.text.split('&').filter_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (key == name).then_some(value)
        });
        let first = found.next();
        if found.next().is_some() {
            return Err(Problem::invalid(name, "repeated", "must stand only once"));
        }
        Ok(first)
    }

    pub(super) fn flag(&self, name: &'static str) -> Result<bool, Problem> {
        match self.get(name)? {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(Problem::invalid(name, "type", "must be true or false")),
        }
    }
}
