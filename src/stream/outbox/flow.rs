//! Where one socket stands in its user's inbox, and what it has heard of it: the rule that only the next number is sent.

use crate::stream::frame::{Frame, Kind};
use crate::support::faults::planted;

/// One place of an inbox, ready to be sent.
#[derive(Debug, Clone)]
pub struct Line {
    pub seq: u64,
    pub frame: Frame,
}

/// What a line of a page is to the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fills {
    Next,
    /// It was sent, or the page was asked for before the client went elsewhere.
    Known,
    /// What comes before it is not kept any more.
    Missing,
}

/// The last entry that was put into the outbox, and the last one known to exist.
#[derive(Debug, Default)]
pub(super) struct Flow {
    /// `None` until the inbox was looked at, and while it is held.
    last: Option<u64>,
    /// The last that left the outbox.
    sent: u64,
    heard: u64,
    /// What was heard of when the page that is being read was asked for.
    expected: u64,
    /// Counts the reasons to start anew, so that an older page is told from one that was asked for since.
    turn: u64,
    reading: bool,
}

impl Flow {
    /// Whether this live entry may be put in now: it is the next one. Else it is remembered that it exists.
    pub(super) fn takes(&mut self, seq: u64) -> bool {
        self.heard = self.heard.max(seq);
        let next = match self.last {
            Some(_) if planted("stream::skip_holes") => true,
            // While a page is being read the entry is in it, or in the one after.
            Some(last) => seq == last + 1 && !self.reading,
            None => false,
        };
        if next {
            self.last = Some(seq);
        }
        next
    }

    pub(super) fn heard(&mut self, seq: u64) {
        self.heard = self.heard.max(seq);
    }

    pub(super) fn last(&self) -> Option<u64> {
        self.last
    }

    pub(super) fn hold(&mut self) {
        self.turn += 1;
        self.reading = false;
        self.last = None;
    }

    pub(super) fn go_on(&mut self, after: Option<u64>, seq: u64) {
        let after = after.unwrap_or(self.sent);
        self.turn += 1;
        self.reading = false;
        self.last = Some(after);
        self.sent = after;
        self.heard = self.heard.max(seq);
    }

    /// Whether the inbox is known to have more than was put in.
    pub(super) fn is_behind(&self) -> bool {
        !self.reading && self.last.is_some_and(|last| last < self.heard) && !planted("stream::skip_holes")
    }

    /// The page to read now: after which number, and in which turn.
    pub(super) fn read(&mut self) -> Option<(u64, u64)> {
        if !self.is_behind() {
            return None;
        }
        self.reading = true;
        self.expected = self.heard;
        self.last.map(|last| (last, self.turn))
    }

    pub(super) fn fills(&mut self, turn: u64, seq: u64) -> Fills {
        let Some(last) = self.last.filter(|_| turn == self.turn) else { return Fills::Known };
        if seq <= last {
            Fills::Known
        } else if seq == last + 1 {
            self.last = Some(seq);
            Fills::Next
        } else {
            Fills::Missing
        }
    }

    /// The page was the last one. What was heard of before it was asked for and is not in it does not exist: that hint was wrong.
    pub(super) fn filled(&mut self, turn: u64) {
        if turn != self.turn {
            return;
        }
        self.reading = false;
        if self.heard == self.expected {
            self.heard = self.last.unwrap_or(self.heard);
        }
    }

    pub(super) fn unread(&mut self, turn: u64) {
        if turn == self.turn {
            self.reading = false;
        }
    }

    pub(super) fn sent(&mut self, kind: Kind) {
        if let Kind::Notification(seq) = kind {
            self.sent = seq;
        }
    }
}
