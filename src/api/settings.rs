//! What an operator decides about the HTTP side.

use std::net::IpAddr;

/// Values of the configuration, checked at start.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where clients find us, like `https://social.example`; without it the `Host` of the request counts.
    pub public_url: Option<String>,
    /// Origins besides our own whose pages may call with credentials: exactly as a browser sends them.
    pub allowed_origins: Vec<String>,
    /// Who may say for whom he forwards.
    pub trusted_proxies: Vec<Network>,
    /// Whether who is not signed in may read.
    pub anonymous_reads: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { public_url: None, allowed_origins: Vec::new(), trusted_proxies: Vec::new(), anonymous_reads: true }
    }
}

/// A range of addresses: `10.0.0.0/8`, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    bits: u128,
    prefix: u32,
}

/// The text is not an address or a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an address, nor a range like 10.0.0.0/8")]
pub struct NotANetwork;

/// IPv4 addresses are compared as IPv6 ones that hold them.
fn bits_of(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

impl Network {
    pub fn contains(&self, address: IpAddr) -> bool {
        let shift = 128 - self.prefix;
        shift == 128 || bits_of(address) >> shift == self.bits >> shift
    }
}

impl std::str::FromStr for Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.parse().map_err(|_cause: std::net::AddrParseError| NotANetwork)?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(digits) => digits.parse().map_err(|_cause: std::num::ParseIntError| NotANetwork)?,
            None => width,
        };
        if prefix > width { Err(NotANetwork) } else { Ok(Self { bits: bits_of(address), prefix: prefix + 128 - width }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_its_range_and_nothing_else() {
        let cases = [
            ("10.0.0.0/8", "10.255.1.2", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.2", false),
            ("127.0.0.1", "::ffff:127.0.0.1", true),
            ("0.0.0.0/0", "8.8.8.8", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "8.8.8.8", true),
            ("2001:db8::/32", "2001:db8:1::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
        ];
        for (network, address, inside) in cases {
            let parsed: Network = network.parse().expect("a network");

            assert_eq!(parsed.contains(address.parse().expect("an address")), inside, "{network} {address}");
        }
        for text in ["", "10.0.0.0/33", "::/129", "ten", "10.0.0.0/", "10.0.0.0/-1", "10.0.0.0/8/8"] {
            assert_eq!(text.parse::<Network>(), Err(NotANetwork), "{text}");
        }
    }
}
