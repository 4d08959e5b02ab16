//! The fields that tell browsers to be careful, and caches what they may keep.

use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};

const CROSS_ORIGIN_OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");

/// JSON is no page: nothing in it may run or be framed.
const POLICY_OF_DATA: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'; base-uri 'none'");
const VARY: HeaderValue = HeaderValue::from_static("Authorization, Cookie, Origin");

/// What an address serves, as far as caches are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Area {
    /// Tokens: nobody keeps them.
    Auth,
    /// What depends on who reads it: kept only to be asked about again.
    Data,
    /// Pages and documents that are the same for all, probes, metrics.
    Open,
}

impl Area {
    pub(super) fn of(path: &str) -> Self {
        if path.starts_with("/v1/auth/") || path.starts_with("/admin") {
            Self::Auth
        } else if path.starts_with("/v1/") {
            Self::Data
        } else {
            Self::Open
        }
    }
}

/// Puts them in; what a handler has set stays.
pub(super) fn put(headers: &mut HeaderMap, area: Area, failed: bool) {
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(CROSS_ORIGIN_OPENER_POLICY, HeaderValue::from_static("same-origin"));
    if !headers.contains_key(header::CONTENT_SECURITY_POLICY) {
        headers.insert(header::CONTENT_SECURITY_POLICY, POLICY_OF_DATA);
    }
    match area {
        Area::Auth => headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        Area::Data => headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache")),
        Area::Open if failed || !headers.contains_key(header::CACHE_CONTROL) => {
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))
        }
        Area::Open => return,
    };
    if area != Area::Open {
        headers.insert(header::VARY, VARY);
    }
}
