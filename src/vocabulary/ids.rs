//! Identifiers: 64-bit Snowflakes, one distinct type per entity, and the position in the journal that orders all writes.
//!
//! In JSON an id is a decimal string, since a 64-bit number does not survive JavaScript; in the journal it is a number.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Deserialize, Deserializer};
use serde::ser::{Serialize, Serializer};

/// 2025-01-01T00:00:00Z in milliseconds since the Unix epoch: where the timestamp of an id starts.
pub const ID_EPOCH_MS: u64 = 1_735_689_600_000;
/// Bits of the sequence, the worker and the datacenter, from the low end.
pub const SEQUENCE_BITS: u32 = 12;
pub const WORKER_BITS: u32 = 5;
pub const DATACENTER_BITS: u32 = 5;

/// The four parts of an id, as `GET /v1/ids/{id}` shows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdParts {
    /// Milliseconds since the Unix epoch.
    pub timestamp_ms: u64,
    pub datacenter: u8,
    pub worker: u8,
    pub sequence: u16,
}

impl IdParts {
    /// The parts of a raw id.
    pub fn of(raw: u64) -> Self {
        Self {
            timestamp_ms: (raw >> (SEQUENCE_BITS + WORKER_BITS + DATACENTER_BITS)) + ID_EPOCH_MS,
            datacenter: ((raw >> (SEQUENCE_BITS + WORKER_BITS)) & 0x1f) as u8,
            worker: ((raw >> SEQUENCE_BITS) & 0x1f) as u8,
            sequence: (raw & 0xfff) as u16,
        }
    }

    /// The raw id of these parts; the inverse of [`IdParts::of`] for times from [`ID_EPOCH_MS`] on.
    pub fn raw(self) -> u64 {
        (self.timestamp_ms.saturating_sub(ID_EPOCH_MS) << (SEQUENCE_BITS + WORKER_BITS + DATACENTER_BITS))
            | (u64::from(self.datacenter) << (SEQUENCE_BITS + WORKER_BITS))
            | (u64::from(self.worker) << SEQUENCE_BITS)
            | u64::from(self.sequence)
    }
}

/// The text is not a decimal id between 1 and 2^63 - 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an id: expected a decimal number from 1 to 9223372036854775807")]
pub struct NotAnId;

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u64);

        impl $name {
            /// Wraps a raw id; callers hold one that [`crate::support::snowflake`] made or a row gave back.
            pub const fn from_raw(raw: u64) -> Self {
                Self(raw)
            }

            pub const fn raw(self) -> u64 {
                self.0
            }

            /// When the id was made, in milliseconds since the Unix epoch.
            pub fn created_at(self) -> super::Millis {
                IdParts::of(self.0).timestamp_ms
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, formatter)
            }
        }

        impl FromStr for $name {
            type Err = NotAnId;

            fn from_str(text: &str) -> Result<Self, NotAnId> {
                parse_id(text).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(&self.0)
                } else {
                    serializer.serialize_u64(self.0)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    deserializer.deserialize_str(IdVisitor).map(Self)
                } else {
                    u64::deserialize(deserializer).map(Self)
                }
            }
        }
    };
}

id_type!(
    /// A person.
    UserId
);
id_type!(
    /// A post.
    PostId
);
id_type!(
    /// A comment; it lives with its post.
    CommentId
);
id_type!(
    /// One accepted write, and its journal entry.
    WriteId
);
id_type!(
    /// One signed-in device.
    SessionId
);
id_type!(
    /// One entry of one inbox.
    NotificationId
);

fn parse_id(text: &str) -> Result<u64, NotAnId> {
    let canonical = !text.is_empty() && text.len() <= 19 && !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
    if !canonical {
        return Err(NotAnId);
    }
    let raw: u64 = text.parse().map_err(|_cause: std::num::ParseIntError| NotAnId)?;
    if raw > i64::MAX as u64 { Err(NotAnId) } else { Ok(raw) }
}

struct IdVisitor;

impl de::Visitor<'_> for IdVisitor {
    type Value = u64;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an id as a decimal string")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<u64, E> {
        parse_id(text).map_err(E::custom)
    }
}

/// A place in the journal: the only order there is. The first entry has position 1; 0 means "before all".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize)]
pub struct Position(pub u64);

impl Position {
    pub const START: Self = Self(0);

    /// The position after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_an_id_make_the_same_id_again() {
        let parts = IdParts { timestamp_ms: ID_EPOCH_MS + 12_345, datacenter: 31, worker: 17, sequence: 4095 };

        assert_eq!(IdParts::of(parts.raw()), parts);
    }

    #[test]
    fn only_a_canonical_decimal_text_is_an_id() {
        assert_eq!("42".parse::<PostId>(), Ok(PostId::from_raw(42)));
        assert_eq!("9223372036854775807".parse::<PostId>().map(PostId::raw), Ok(i64::MAX as u64));
        for text in ["", "0", "007", "-1", "+1", "1.0", " 1", "9223372036854775808", "99999999999999999999", "１"] {
            assert_eq!(text.parse::<PostId>(), Err(NotAnId), "{text:?}");
        }
    }

    #[test]
    fn an_id_is_a_string_in_json() {
        let json = serde_json::to_string(&UserId::from_raw(9_007_199_254_740_993)).expect("serialises");

        assert_eq!(json, r#""9007199254740993""#);
        assert_eq!(serde_json::from_str::<UserId>(&json).expect("parses").raw(), 9_007_199_254_740_993);
        assert!(serde_json::from_str::<UserId>("9007199254740993").is_err());
    }
}
