//! Times as clients and operators read them.

use serde::ser::{Serialize, Serializer};
use time::OffsetDateTime;

use crate::vocabulary::Millis;

/// A time as RFC 3339 in UTC with milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timestamp(pub Millis);

impl std::fmt::Display for Timestamp {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Ids and clocks give times until the year 2094; one out of range would be a fault, and shows as the epoch.
        let moment = OffsetDateTime::from_unix_timestamp((self.0 / 1000) as i64).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let (year, month, day) = (moment.year(), u8::from(moment.month()), moment.day());
        let (hour, minute, second) = (moment.hour(), moment.minute(), moment.second());
        write!(formatter, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", self.0 % 1000)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
