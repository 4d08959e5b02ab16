//! What somebody wants to hear of, and how.

use super::entry::NotificationKind;

/// Whose doings somebody wants to hear of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Circle {
    Everyone,
    /// Only those he follows.
    Following,
}

/// The ways of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Ways {
    /// Whether there is an entry at all.
    pub inbox: bool,
    /// Whether open sockets hear of it at once.
    pub stream: bool,
    pub push: bool,
    pub email: bool,
    pub from: Circle,
}

impl Default for Ways {
    fn default() -> Self {
        Self { inbox: true, stream: true, push: false, email: false, from: Circle::Everyone }
    }
}

/// When pushes and letters wait. Minutes of the day in the zone; `from` may be after `to`, over midnight.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct QuietHours {
    pub from: u16,
    pub to: u16,
    pub time_zone: String,
}

/// All that one user chose. Stored as bytes: new members go to the end.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, serde::Serialize, serde::Deserialize)]
pub struct Preferences {
    /// In the order of [`NotificationKind::ALL`].
    kinds: [Ways; 6],
    pub quiet_hours: Option<QuietHours>,
}

impl Preferences {
    pub fn ways(&self, kind: NotificationKind) -> Ways {
        self.kinds[Self::place(kind)]
    }

    pub fn set_ways(&mut self, kind: NotificationKind, ways: Ways) {
        self.kinds[Self::place(kind)] = ways;
    }

    fn place(kind: NotificationKind) -> usize {
        usize::from(kind.code()) - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_own_ways() {
        let mut preferences = Preferences::default();
        let silent = Ways { inbox: false, ..Ways::default() };

        preferences.set_ways(NotificationKind::Follow, silent);

        for kind in NotificationKind::ALL {
            assert_eq!(preferences.ways(kind) == silent, kind == NotificationKind::Follow);
        }
    }
}
