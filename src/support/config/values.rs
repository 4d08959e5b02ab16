//! How single values are written in the configuration: sizes (`"64MiB"`), spans of time (`"10m"`), addresses, networks,
//! origins. Each `parse` says what it expects.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::de::{self, Deserializer, Visitor};
use serde::ser::Serializer;

const SIZE_UNITS: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];
const SPAN_UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("ms", 1), ("m", 60_000), ("s", 1_000)];

/// A number with one of `units` behind it.
fn parse_with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let end = text.find(|character: char| !character.is_ascii_digit())?;
    let (number, unit) = text.split_at(end);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// A span of time such as `10m`, as the configuration writes it.
pub fn parse_span(text: &str) -> Option<Duration> {
    parse_with_unit(text, &SPAN_UNITS).map(Duration::from_millis)
}

/// The shortest text that says the same.
fn format_with_unit(value: u64, units: &[(&str, u64)], smallest: &str) -> String {
    let mut sorted = units.to_vec();
    sorted.sort_by_key(|(_, factor)| std::cmp::Reverse(*factor));
    match sorted.iter().find(|(_, factor)| value != 0 && value.is_multiple_of(*factor)) {
        Some((unit, factor)) => format!("{}{unit}", value / factor),
        None => format!("{value}{smallest}"),
    }
}

/// Sizes in bytes: a number, or a text such as `"64MiB"`.
pub(super) mod size {
    use super::*;

    struct Expected;

    impl Visitor<'_> for Expected {
        type Value = u64;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("a size such as \"64MiB\" (B, KiB, MiB or GiB) or a number of bytes")
        }

        fn visit_u64<E: de::Error>(self, value: u64) -> Result<u64, E> {
            Ok(value)
        }

        fn visit_i64<E: de::Error>(self, value: i64) -> Result<u64, E> {
            u64::try_from(value).map_err(|_cause: std::num::TryFromIntError| E::invalid_value(de::Unexpected::Signed(value), &self))
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<u64, E> {
            parse_with_unit(text, &SIZE_UNITS).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
        }
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        deserializer.deserialize_any(Expected)
    }

    pub(in super::super) fn serialize<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format_with_unit(*value, &SIZE_UNITS, "B"))
    }
}

/// Spans of time: a text such as `"10m"`.
pub(super) mod span {
    use super::*;

    struct Expected;

    impl Visitor<'_> for Expected {
        type Value = Duration;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("a span of time such as \"10m\" (ms, s, m, h or d)")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
            parse_span(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
        }
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        deserializer.deserialize_any(Expected)
    }

    pub(in super::super) fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format_with_unit(value.as_millis() as u64, &SPAN_UNITS, "ms"))
    }
}

/// As [`span`], where the value may be absent.
pub(super) mod optional_span {
    use super::*;

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        span::deserialize(deserializer).map(Some)
    }

    pub(in super::super) fn serialize<S: Serializer>(value: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => span::serialize(value, serializer),
            None => serializer.serialize_none(),
        }
    }
}

/// An address to listen on: an IP address and a port.
pub(super) mod listen {
    use super::*;

    struct Expected;

    impl Visitor<'_> for Expected {
        type Value = SocketAddr;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("an IP address and a port such as \"127.0.0.1:8080\" or \"[::1]:8080\"")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<SocketAddr, E> {
            text.parse().map_err(|_cause: std::net::AddrParseError| E::invalid_value(de::Unexpected::Str(text), &self))
        }
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
        deserializer.deserialize_any(Expected)
    }

    pub(in super::super) fn serialize<S: Serializer>(value: &SocketAddr, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }
}

/// How many batches of a shard may be applied at once: found while running, or a number set by hand. 0 accepts without applying.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workers {
    Adaptive,
    Fixed(u16),
}

/// More workers than this a shard are a mistake: the sweep that looks for the best number ends at 128.
pub const WORKERS_MAX: u16 = 1024;

impl<'de> serde::Deserialize<'de> for Workers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Expected;

        impl Visitor<'_> for Expected {
            type Value = Workers;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, "\"adaptive\" or a number from 0 to {WORKERS_MAX}")
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Workers, E> {
                match u16::try_from(value) {
                    Ok(number) if number <= WORKERS_MAX => Ok(Workers::Fixed(number)),
                    _ => Err(E::invalid_value(de::Unexpected::Unsigned(value), &self)),
                }
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Workers, E> {
                match u64::try_from(value) {
                    Ok(value) => self.visit_u64(value),
                    Err(_) => Err(E::invalid_value(de::Unexpected::Signed(value), &self)),
                }
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Workers, E> {
                if text == "adaptive" { Ok(Workers::Adaptive) } else { Err(E::invalid_value(de::Unexpected::Str(text), &self)) }
            }
        }

        deserializer.deserialize_any(Expected)
    }
}

impl serde::Serialize for Workers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Adaptive => serializer.serialize_str("adaptive"),
            Self::Fixed(number) => serializer.serialize_u16(*number),
        }
    }
}

/// A network, or a single address: `10.0.0.0/8`, `::1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address.parse().ok()?, Some(prefix.parse::<u8>().ok()?)),
            None => (text.parse().ok()?, None),
        };
        let bits = bits_of(address);
        let prefix = prefix.unwrap_or(bits);
        (prefix <= bits).then_some(Self { address, prefix })
    }

    /// Whether `address` lies in it. An IPv4 address that came in by an IPv6 socket counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        match (self.address, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let shift = 32 - u32::from(self.prefix);
                (network.to_bits() ^ address.to_bits()).checked_shr(shift).unwrap_or(0) == 0
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let shift = 128 - u32::from(self.prefix);
                (network.to_bits() ^ address.to_bits()).checked_shr(shift).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

fn bits_of(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| format!("expected an address or a network such as \"10.0.0.0/8\", found {text:?}"))
    }
}

impl fmt::Display for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.prefix == bits_of(self.address) {
            write!(formatter, "{}", self.address)
        } else {
            write!(formatter, "{}/{}", self.address, self.prefix)
        }
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

/// A web origin in its canonical form: `https://app.example`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String")]
pub struct Origin(String);

impl Origin {
    /// The text as a browser sends it in `Origin`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Origin {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let canonical = web_url(&text).map(|url| url.origin().ascii_serialization());
        // Compared without case, and with the default port allowed: anything more than an origin is a mistake.
        match canonical {
            Some(origin) if text.eq_ignore_ascii_case(&origin) || has_default_port(&text, &origin) => Ok(Self(origin)),
            _ => Err(format!("expected an origin such as \"https://app.example\" (no path, no '/' at the end), found {text:?}")),
        }
    }
}

fn has_default_port(text: &str, origin: &str) -> bool {
    let port = if origin.starts_with("https:") { ":443" } else { ":80" };
    text.to_ascii_lowercase().strip_suffix(port) == Some(origin)
}

/// The absolute URL under which clients reach this server; without a `/` at its end.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String")]
pub struct PublicUrl(String);

impl PublicUrl {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its origin, which is always allowed.
    pub fn origin(&self) -> Origin {
        Origin(web_url(&self.0).map_or_else(|| self.0.clone(), |url| url.origin().ascii_serialization()))
    }
}

impl TryFrom<String> for PublicUrl {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let plain =
            |url: &reqwest::Url| url.query().is_none() && url.fragment().is_none() && url.username().is_empty() && url.password().is_none();
        match web_url(&text).filter(plain) {
            Some(url) => Ok(Self(url.as_str().trim_end_matches('/').to_owned())),
            None => Err(format!("expected an absolute URL such as \"https://social.example\", found {text:?}")),
        }
    }
}

/// An `http` or `https` URL with a host.
fn web_url(text: &str) -> Option<reqwest::Url> {
    let url = reqwest::Url::parse(text).ok()?;
    (matches!(url.scheme(), "http" | "https") && url.has_host()).then_some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_spans_need_a_unit_they_know() {
        for (text, bytes) in [("1GiB", 1 << 30), ("64MiB", 64 << 20), ("4 KiB", 4096), ("17B", 17), ("0B", 0)] {
            assert_eq!(parse_with_unit(text, &SIZE_UNITS), Some(bytes), "{text}");
        }
        for (text, millis) in [("10m", 600_000), ("60s", 60_000), ("30d", 2_592_000_000), ("5ms", 5), ("2h", 7_200_000)] {
            assert_eq!(parse_with_unit(text, &SPAN_UNITS), Some(millis), "{text}");
        }
        for text in ["", "MiB", "1", "1GB", "-1MiB", "1.5MiB", "99999999999999999999B", "18446744073709551615GiB", "1m30s"] {
            assert_eq!(parse_with_unit(text, &SIZE_UNITS), None, "{text}");
            assert_eq!(parse_with_unit(text, &SPAN_UNITS), None, "{text}");
        }
    }

    #[test]
    fn a_size_is_written_with_the_largest_unit_that_keeps_it_exact() {
        assert_eq!(format_with_unit(1 << 30, &SIZE_UNITS, "B"), "1GiB");
        assert_eq!(format_with_unit((1 << 20) + 1, &SIZE_UNITS, "B"), "1048577B");
        assert_eq!(format_with_unit(0, &SIZE_UNITS, "B"), "0B");
        assert_eq!(format_with_unit(90_000, &SPAN_UNITS, "ms"), "90s");
        assert_eq!(format_with_unit(2_592_000_000, &SPAN_UNITS, "ms"), "30d");
    }

    #[test]
    fn a_network_contains_its_addresses_and_no_others() {
        let network = |text: &str| Network::try_from(text.to_owned()).expect("a network");
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");

        assert!(network("10.0.0.0/8").contains(address("10.255.0.1")));
        assert!(network("10.0.0.0/8").contains(address("::ffff:10.0.0.1")));
        assert!(!network("10.0.0.0/8").contains(address("11.0.0.1")));
        assert!(network("192.0.2.7").contains(address("192.0.2.7")));
        assert!(!network("192.0.2.7").contains(address("192.0.2.6")));
        assert!(network("0.0.0.0/0").contains(address("203.0.113.9")));
        assert!(!network("0.0.0.0/0").contains(address("2001:db8::1")));
        assert!(network("::/0").contains(address("2001:db8::1")));
        assert!(network("fe80::/10").contains(address("febf::1")));
        assert!(!network("fe80::/10").contains(address("fec0::1")));
        for text in ["", "10.0.0.0/33", "::/129", "10.0.0/8", "example.org", "10.0.0.0/", "10.0.0.0/-1"] {
            assert!(Network::try_from(text.to_owned()).is_err(), "{text}");
        }
    }

    #[test]
    fn an_origin_is_nothing_but_scheme_host_and_port() {
        for (text, origin) in [
            ("https://app.example", "https://app.example"),
            ("HTTPS://App.Example", "https://app.example"),
            ("https://app.example:443", "https://app.example"),
            ("http://localhost:3000", "http://localhost:3000"),
        ] {
            assert_eq!(Origin::try_from(text.to_owned()).expect("an origin").as_str(), origin);
        }
        for text in
            ["null", "*", "app.example", "https://app.example/", "https://app.example/path", "ftp://app.example", "https://u@app.example"]
        {
            assert!(Origin::try_from(text.to_owned()).is_err(), "{text}");
        }
    }

    #[test]
    fn the_public_url_is_absolute_and_loses_its_last_slash() {
        assert_eq!(PublicUrl::try_from("https://social.example/".to_owned()).expect("a URL").as_str(), "https://social.example");
        assert_eq!(PublicUrl::try_from("https://a.example/s/".to_owned()).expect("a URL").origin().as_str(), "https://a.example");
        for text in ["", "/", "social.example", "ftp://social.example", "https://social.example/?q", "https://me:secret@social.example"] {
            assert!(PublicUrl::try_from(text.to_owned()).is_err(), "{text}");
        }
    }
}
