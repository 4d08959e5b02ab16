//! The client's own address: the peer's, or what a trusted proxy says. Nobody else is believed.

use std::net::IpAddr;

use actix_web::dev::ServiceRequest;
use actix_web::http::header;

use crate::api::settings::Settings;

/// The most hops that are looked at.
const HOPS_MAX: usize = 16;

/// The address, and whether the peer is a trusted proxy.
pub(super) fn of(settings: &Settings, request: &ServiceRequest) -> (Option<IpAddr>, bool) {
    let Some(peer) = request.peer_addr().map(|address| address.ip()) else { return (None, false) };
    let trusted = |address: IpAddr| settings.trusted_proxies.iter().any(|network| network.contains(address));
    if !trusted(peer) {
        return (Some(peer), false);
    }
    // Bytes, not text: what a client puts in front must not make what a proxy appended unreadable.
    let lines: Vec<&[u8]> = request.headers().get_all(header::X_FORWARDED_FOR).map(|value| value.as_bytes()).collect();
    // From the right: each proxy appends whom it heard. The first who is not trusted is the client; left of him all may be lies.
    let mut client = peer;
    for hop in lines.iter().rev().flat_map(|line| line.rsplit(|byte| *byte == b',')).take(HOPS_MAX) {
        let Some(address) = address_of(hop) else { break };
        client = address;
        if !trusted(address) {
            break;
        }
    }
    (Some(client), true)
}

fn address_of(hop: &[u8]) -> Option<IpAddr> {
    std::str::from_utf8(hop.trim_ascii()).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn client(peer: &str, trusted: &[&str], forwarded: &[&[u8]]) -> String {
        let settings = Settings {
            trusted_proxies: trusted.iter().map(|text| (*text).to_owned().try_into().expect("a network")).collect(),
            ..Settings::default()
        };
        let mut request = TestRequest::default().peer_addr(format!("{peer}:1").parse().expect("an address"));
        for value in forwarded {
            request = request.append_header((header::X_FORWARDED_FOR, header::HeaderValue::from_bytes(value).expect("a value")));
        }
        of(&settings, &request.to_srv_request()).0.expect("an address").to_string()
    }

    #[test]
    fn only_a_trusted_proxy_says_for_whom_it_forwards() {
        // Peer, trusted, X-Forwarded-For, whom we take it for.
        type Case = (&'static str, &'static [&'static str], &'static [&'static [u8]], &'static str);
        let cases: [Case; 10] = [
            ("203.0.113.9", &[], &[b"1.1.1.1"], "203.0.113.9"),
            ("203.0.113.9", &["10.0.0.0/8"], &[b"1.1.1.1"], "203.0.113.9"),
            ("10.0.0.1", &["10.0.0.0/8"], &[b"1.1.1.1"], "1.1.1.1"),
            ("10.0.0.1", &["10.0.0.0/8"], &[b"127.0.0.1, 1.1.1.1, 10.0.0.2"], "1.1.1.1"),
            ("10.0.0.1", &["10.0.0.0/8"], &[b"6.6.6.6", b"1.1.1.1"], "1.1.1.1"),
            ("10.0.0.1", &["10.0.0.0/8"], &[b"6.6.6.6, nonsense"], "10.0.0.1"),
            ("10.0.0.1", &["10.0.0.0/8"], &[], "10.0.0.1"),
            ("10.0.0.1", &["10.0.0.0/8"], &[b"\xff, 1.1.1.1"], "1.1.1.1"),
            ("10.0.0.1", &["10.0.0.0/8"], &[b"6.6.6.6", b"\xc3\xa9, 1.1.1.1, 10.0.0.2"], "1.1.1.1"),
            ("10.0.0.1", &["10.0.0.0/8"], &[b"6.6.6.6, \xff"], "10.0.0.1"),
        ];
        for (peer, trusted, forwarded, expected) in cases {
            assert_eq!(client(peer, trusted, forwarded), expected, "{peer} {trusted:?} {forwarded:?}");
        }
    }
}
