//! Names each request, so that an answer can be found in the log.

use std::fmt::Write as _;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};

pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest id that is taken over from a client or a proxy.
const GIVEN_CHARACTERS_MAX: usize = 64;

/// Tells the ids of one process from those of another.
static PROCESS: LazyLock<u32> = LazyLock::new(|| {
    let mut bytes = [0; 4];
    // Without randomness ids of two processes may meet, which nobody relies on not to happen.
    let _ = SystemRandom::new().fill(&mut bytes);
    u32::from_ne_bytes(bytes)
});
static COUNTER: AtomicU64 = AtomicU64::new(0);

/// The id of one request: the client's own if it is harmless, else a new one.
pub(super) struct RequestId(String);

impl RequestId {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let given = headers.get(X_REQUEST_ID).and_then(|value| value.to_str().ok()).filter(|text| is_harmless(text));
        Self(given.map_or_else(new_id, str::to_owned))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn put(&self, headers: &mut HeaderMap) {
        if let Ok(value) = HeaderValue::from_str(&self.0) {
            headers.insert(X_REQUEST_ID, value);
        }
    }
}

fn is_harmless(text: &str) -> bool {
    (1..=GIVEN_CHARACTERS_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

fn new_id() -> String {
    let mut text = String::with_capacity(24);
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    // Writing to a string does not fail.
    let _ = write!(text, "{:08x}-{number:x}", *PROCESS);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_harmless_id_is_kept_and_any_other_replaced() {
        let of = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(X_REQUEST_ID, HeaderValue::from_str(text).expect("a value"));
            RequestId::of(&headers).0
        };

        assert_eq!(of("abc-1.2_3"), "abc-1.2_3");
        for text in ["", "a b", "a\tb", "a\"b", &"x".repeat(65)] {
            assert_ne!(of(text), text);
        }
        assert_ne!(RequestId::of(&HeaderMap::new()).0, RequestId::of(&HeaderMap::new()).0);
    }
}
