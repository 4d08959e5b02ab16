//! What clients see of inboxes: entries, and what somebody wants to hear of.

use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};

use super::representation::Author;
use crate::ledger::view::{Excerpt, NotificationView};
use crate::support::timestamp::Timestamp;
use crate::vocabulary::entry::{EntryState, NotificationKind};
use crate::vocabulary::ids::{CommentId, NotificationId, PostId};
use crate::vocabulary::preferences::{Circle, Preferences, QuietHours, Ways};

/// An inbox entry.
#[derive(Serialize)]
pub(crate) struct Notification<'a> {
    seq: u64,
    id: NotificationId,
    kind: NotificationKind,
    group: String,
    actors: Vec<Author<'a>>,
    count: u32,
    post: Option<ExcerptBody<'a, PostId>>,
    comment: Option<ExcerptBody<'a, CommentId>>,
    created_at: Timestamp,
    read: bool,
}

#[derive(Serialize)]
struct ExcerptBody<'a, I> {
    id: I,
    excerpt: &'a str,
}

impl<'a, I: Copy> From<&'a Excerpt<I>> for ExcerptBody<'a, I> {
    fn from(excerpt: &'a Excerpt<I>) -> Self {
        Self { id: excerpt.id, excerpt: &excerpt.text }
    }
}

impl<'a> From<&'a NotificationView> for Notification<'a> {
    fn from(view: &'a NotificationView) -> Self {
        let line = &view.entry.line;
        Self {
            seq: view.entry.seq,
            id: view.entry.id,
            kind: line.kind(),
            group: line.group.to_string(),
            actors: view.actors.iter().map(|card| Author::from(card.as_ref())).collect(),
            count: line.count,
            post: view.post.as_ref().map(ExcerptBody::from),
            comment: view.comment.as_ref().map(ExcerptBody::from),
            created_at: Timestamp(line.created_at),
            read: view.entry.state != EntryState::Unread,
        }
    }
}

/// The ways of one kind, as they come and go. What is left out is as at the beginning.
#[derive(Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct WaysBody {
    inbox: bool,
    stream: bool,
    push: bool,
    email: bool,
    from: Circle,
}

impl Default for WaysBody {
    fn default() -> Self {
        Ways::default().into()
    }
}

impl From<Ways> for WaysBody {
    fn from(Ways { inbox, stream, push, email, from }: Ways) -> Self {
        Self { inbox, stream, push, email, from }
    }
}

impl From<WaysBody> for Ways {
    fn from(WaysBody { inbox, stream, push, email, from }: WaysBody) -> Self {
        Self { inbox, stream, push, email, from }
    }
}

/// `{"from": "22:00", "to": "07:00", "time_zone": "Europe/Berlin"}`
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct QuietHoursBody {
    from: String,
    to: String,
    time_zone: String,
}

/// The longest name of a time zone: the names in use are shorter than 40.
const TIME_ZONE_BYTES_MAX: usize = 64;

impl QuietHoursBody {
    /// The detail of the problem, if it is none.
    pub(super) fn parse(self) -> Result<QuietHours, &'static str> {
        let minute = |text: &str| minute_of(text).ok_or("from and to must be times like 22:00");
        let named = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'_' | b'-' | b'+');
        if !(1..=TIME_ZONE_BYTES_MAX).contains(&self.time_zone.len()) || !self.time_zone.bytes().all(named) {
            return Err("time_zone must be a name like Europe/Berlin");
        }
        Ok(QuietHours { from: minute(&self.from)?, to: minute(&self.to)?, time_zone: self.time_zone })
    }
}

impl From<&QuietHours> for QuietHoursBody {
    fn from(hours: &QuietHours) -> Self {
        let text = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
        Self { from: text(hours.from), to: text(hours.to), time_zone: hours.time_zone.clone() }
    }
}

/// The minute of the day that `07:30` names.
fn minute_of(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let number = |digits: &str, below: u16| {
        let two = digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse::<u16>().ok().filter(|number| two && *number < below)
    };
    Some(number(hours, 24)? * 60 + number(minutes, 60)?)
}

/// What somebody wants to hear of: one member a kind, and the quiet hours.
pub(super) struct PreferencesBody<'a>(&'a Preferences);

impl<'a> From<&'a Preferences> for PreferencesBody<'a> {
    fn from(preferences: &'a Preferences) -> Self {
        Self(preferences)
    }
}

impl Serialize for PreferencesBody<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut members = serializer.serialize_map(Some(NotificationKind::ALL.len() + 1))?;
        for kind in NotificationKind::ALL {
            members.serialize_entry(kind.as_str(), &WaysBody::from(self.0.ways(kind)))?;
        }
        members.serialize_entry("quiet_hours", &self.0.quiet_hours.as_ref().map(QuietHoursBody::from))?;
        members.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_of_the_day_has_four_digits() {
        let cases = [
            ("00:00", Some(0)),
            ("07:30", Some(450)),
            ("23:59", Some(1439)),
            ("24:00", None),
            ("7:30", None),
            ("07:60", None),
            ("+7:30", None),
        ];

        for (text, minute) in cases {
            assert_eq!(minute_of(text), minute, "{text}");
        }
    }

    #[test]
    fn what_is_left_out_of_the_ways_is_as_at_the_beginning() {
        let ways: WaysBody = serde_json::from_str(r#"{"stream": false, "from": "following"}"#).expect("parses");

        assert_eq!(Ways::from(ways), Ways { stream: false, from: Circle::Following, ..Ways::default() });
        assert!(serde_json::from_str::<WaysBody>(r#"{"sms": true}"#).is_err());
    }
}
