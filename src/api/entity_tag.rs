//! Entity tags: `"<revision>-<digest of the representation>"`. A read compares all of it, a write only the revision, which
//! changes with the text and not with likes.

use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hasher};

use actix_web::http::header::{self, HeaderMap, HeaderValue};

use super::problem::Problem;
use crate::vocabulary::ids::Position;

/// The most tags that one field may list.
const TAGS_MAX: usize = 32;
/// The revision that no object has: what asks for it never holds.
const NO_REVISION: Position = Position(i64::MAX as u64);

/// The tag of a representation.
pub(super) fn of(revision: Position, representation: &[u8]) -> Option<HeaderValue> {
    let mut text = String::with_capacity(48);
    write!(text, "\"{revision}-{:016x}\"", digest(representation)).ok()?;
    HeaderValue::try_from(text).ok()
}

/// SipHash with a fixed key: wide enough that two states of one object do not look alike. No secret hangs on it. Should the standard library
/// take another function, known tags no longer match, and what they stood for is sent again.
fn digest(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

/// Whether `If-None-Match` names this tag: then nothing new is sent. Weak tags compare as strong ones (RFC 9110).
pub(super) fn is_known(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    let Ok(tag) = tag.to_str() else { return false };
    let texts = headers.get_all(header::IF_NONE_MATCH).filter_map(|value| value.to_str().ok());
    let mut candidates = texts.flat_map(|text| text.split(',')).map(str::trim);
    candidates.any(|candidate| candidate == "*" || candidate.strip_prefix("W/").unwrap_or(candidate) == tag)
}

/// The revision that `If-Match` asks for; `None` asks for nothing.
///
/// Of several tags the one with the highest revision counts: revisions only rise, so no other can still hold. Weak tags and
/// tags that we did not make never match.
pub(super) fn wanted_revision(headers: &HeaderMap) -> Result<Option<Position>, Problem> {
    let mut wanted: Option<Position> = None;
    let mut listed = 0;
    for value in headers.get_all(header::IF_MATCH) {
        let text = value.to_str().map_err(|_cause| malformed())?;
        for tag in text.split(',').map(str::trim) {
            if tag == "*" {
                return Ok(None);
            }
            listed += 1;
            if listed > TAGS_MAX {
                return Err(malformed());
            }
            let revision = revision_of(tag)?;
            // A tag that cannot match must not hide one that can.
            wanted = match (wanted, revision) {
                (Some(known), Some(found)) if known != NO_REVISION => Some(known.max(found)),
                (_, Some(found)) => Some(found),
                (known, None) => known.or(Some(NO_REVISION)),
            };
        }
    }
    Ok(wanted)
}

fn revision_of(tag: &str) -> Result<Option<Position>, Problem> {
    let (weak, tag) = tag.strip_prefix("W/").map_or((false, tag), |rest| (true, rest));
    let inner = tag.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).filter(|inner| !inner.contains('"')).ok_or_else(malformed)?;
    if weak {
        return Ok(None);
    }
    let digits = inner.split_once('-').map_or(inner, |(revision, _)| revision);
    let canonical = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    Ok(digits.parse().ok().filter(|revision| canonical && *revision < NO_REVISION.0).map(Position))
}

fn malformed() -> Problem {
    Problem::malformed("If-Match: expected \"*\" or a list of entity tags")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::problem::ProblemName;

    fn headers(name: header::HeaderName, values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name.clone(), HeaderValue::from_str(value).expect("a value"));
        }
        headers
    }

    #[test]
    fn a_tag_changes_with_the_revision_and_with_any_byte() {
        let tag = of(Position(7), b"{\"likes\":1}").expect("a tag");

        assert!(tag.to_str().expect("text").starts_with("\"7-"));
        assert_eq!(of(Position(7), b"{\"likes\":1}"), Some(tag.clone()));
        assert_ne!(of(Position(7), b"{\"likes\":2}"), Some(tag.clone()));
        assert_ne!(of(Position(8), b"{\"likes\":1}"), Some(tag));
    }

    /// Sums of the CRC kind are the same for texts that differ by the same sum.
    #[test]
    fn texts_of_the_same_checksum_have_different_tags() {
        let one = [0_u8; 64];
        // What a CRC32C does not notice: its polynomial itself, lowest bit first.
        let mut other = one;
        let polynomial = (1_u64 << 32) | u64::from(0x1edc_6f41_u32);
        for power in 0..=32 {
            if polynomial >> (32 - power) & 1 == 1 {
                other[16 + power / 8] ^= 1 << (power % 8);
            }
        }

        assert_eq!(crc32c::crc32c(&one), crc32c::crc32c(&other));
        assert_ne!(digest(&one), digest(&other));
    }

    #[test]
    fn if_none_match_compares_the_whole_tag() {
        let tag = of(Position(7), b"x").expect("a tag");
        let text = tag.to_str().expect("text").to_owned();
        let known = |values: &[&str]| is_known(&headers(header::IF_NONE_MATCH, values), &tag);

        assert!(known(&[&text]));
        assert!(known(&["*"]));
        assert!(known(&[&format!("W/{text}")]));
        assert!(known(&["\"a\"", &format!("\"b\", {text}")]));
        assert!(!known(&["\"7-0000000000000000\""]));
        assert!(!known(&[]));
    }

    #[test]
    fn if_match_looks_at_the_revision_only() {
        let wanted = |values: &[&str]| wanted_revision(&headers(header::IF_MATCH, values)).map_err(|problem| problem.name());

        assert_eq!(wanted(&[]), Ok(None));
        assert_eq!(wanted(&["*"]), Ok(None));
        assert_eq!(wanted(&["\"7-abc\""]), Ok(Some(Position(7))));
        assert_eq!(wanted(&["\"7-abc\", \"9-x\"", "\"8-y\""]), Ok(Some(Position(9))));
        assert_eq!(wanted(&["\"foreign\""]), Ok(Some(NO_REVISION)));
        assert_eq!(wanted(&["\"foreign\", \"3-a\""]), Ok(Some(Position(3))));
        assert_eq!(wanted(&["\"3-a\", \"foreign\""]), Ok(Some(Position(3))));
        assert_eq!(wanted(&["W/\"7-abc\""]), Ok(Some(NO_REVISION)));
        assert_eq!(wanted(&["\"99999999999999999999-a\""]), Ok(Some(NO_REVISION)));
        for text in ["7-abc", "\"7-abc", "", "\"a\"b\""] {
            assert_eq!(wanted(&[text]), Err(ProblemName::Malformed), "{text}");
        }
    }
}
