//! Our own origin as the client's browser sees it, and which other origins may call.

use actix_web::http::header::{self, HeaderMap};

use super::settings::Settings;

/// Scheme and host without the trailing slash, like `https://social.example`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OwnOrigin(String);

impl OwnOrigin {
    /// From the configuration; else from the request. `behind_proxy`: what forwards is trusted, and may say how it was asked.
    pub(super) fn of(settings: &Settings, headers: &HeaderMap, behind_proxy: bool) -> Self {
        if let Some(url) = &settings.public_url {
            return Self(origin_of_url(url).to_ascii_lowercase());
        }
        let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let forwarded = |name: header::HeaderName| text(name).filter(|_| behind_proxy);
        let scheme = match forwarded(header::X_FORWARDED_PROTO) {
            Some(scheme) if scheme.eq_ignore_ascii_case("https") => "https",
            _ => "http",
        };
        let host = forwarded(header::X_FORWARDED_HOST).or_else(|| text(header::HOST)).unwrap_or_default();
        Self(format!("{scheme}://{}", host.to_ascii_lowercase()))
    }

    /// Cookies need `Secure` and their prefixes, except over plain HTTP on the machine itself, where browsers would drop them.
    pub(super) fn is_secure(&self) -> bool {
        let Some(authority) = self.0.strip_prefix("http://") else { return true };
        let host = if authority.starts_with('[') {
            authority.split_once(']').map_or(authority, |(host, _)| host.trim_start_matches('['))
        } else {
            authority.split(':').next().unwrap_or_default()
        };
        let loopback = host == "localhost"
            || host.ends_with(".localhost")
            || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback());
        !loopback
    }

    fn is(&self, origin: &str) -> bool {
        // Browsers leave out the port that the scheme implies.
        let implied = if self.0.starts_with("https:") { ":443" } else { ":80" };
        self.0 == origin || self.0.strip_suffix(implied) == Some(origin)
    }
}

fn origin_of_url(url: &str) -> &str {
    let path_from = url.find("://").and_then(|scheme| url[scheme + 3..].find('/').map(|slash| scheme + 3 + slash));
    path_from.map_or(url, |slash| &url[..slash])
}

/// Whether the configuration lists this origin, byte for byte.
pub(super) fn is_listed(settings: &Settings, origin: &str) -> bool {
    settings.allowed_origins.iter().any(|allowed| allowed == origin)
}

/// What a browser says about where a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Provenance {
    /// Our own page, or one of the listed origins.
    Ours,
    Foreign,
    /// Neither field was sent: no browser of today.
    #[default]
    Unsaid,
}

/// `Origin` decides; without one `Sec-Fetch-Site` does.
pub(super) fn provenance(settings: &Settings, own: &OwnOrigin, headers: &HeaderMap) -> Provenance {
    let mut origins = headers.get_all(header::ORIGIN);
    if let Some(value) = origins.next() {
        let ours = value.to_str().is_ok_and(|origin| own.is(origin) || is_listed(settings, origin));
        return if ours && origins.next().is_none() { Provenance::Ours } else { Provenance::Foreign };
    }
    match headers.get("sec-fetch-site").map(|value| value.as_bytes()) {
        None => Provenance::Unsaid,
        Some(b"same-origin") => Provenance::Ours,
        Some(_) => Provenance::Foreign,
    }
}
