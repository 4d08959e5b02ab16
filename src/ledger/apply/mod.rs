//! The decision: what an entry does to the rows of its home lane.
//!
//! Rows and entries go in; changed rows, counter steps and events come out. It is a pure function of both: it reads no clock, no
//! randomness and no other shard, so that a replay decides the same. The overlay of a reader's own pending writes is the
//! same function over what the reader loaded, so a pending write looks exactly as it will once it is committed.

mod accounts;
mod comments;
mod inbox;
mod mentions;
mod needs;
mod pairs;
mod posts;
mod relays;
#[cfg(test)]
mod tests;

use crate::substrate::store::rows::{Counters, PostCounters, Rows, UserCounters};
use crate::vocabulary::command::{Command, Entry, WriteKind};
use crate::vocabulary::event::{Event, Happened, KeptWrite, Relay};
use crate::vocabulary::ids::{CommentId, Position, PostId, UserId};
use crate::vocabulary::rejection::Rejection;

pub use accounts::ROTATION_GRACE_MS;
pub use needs::{needs_of, relay_needs_of};
pub use pairs::pair_after;

/// The row as it stands now: `row!(transition.posts, &id)`.
macro_rules! row {
    ($transition:ident.$table:ident, $key:expr) => {
        $transition.after.$table.get($key).or_else(|| $transition.before.$table.get($key))
    };
}
use row;

/// What an entry came to, with the rows it owes to other owners.
type Decided = Result<(Happened, Vec<Relay>), Rejection>;

/// Rows before and after some entries. Rows are looked up in what changed first.
#[derive(Debug, Default)]
pub struct Transition {
    before: Rows,
    after: Rows,
    events: Vec<Event>,
}

/// What a batch writes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Changed rows; its counters are steps to add.
    pub rows: Rows,
    /// One for each entry that had an effect, was rejected, or owes a relay; in order.
    pub events: Vec<Event>,
}

impl Transition {
    /// Starts from loaded rows: at least those of [`needs_of`] each entry that will follow.
    pub fn over(before: Rows) -> Self {
        Self { before, ..Self::default() }
    }

    /// Applies one entry; entries come in the order of their positions.
    pub fn apply(&mut self, entry: &Entry) -> Happened {
        let (happened, mut relays) = match self.decide(entry) {
            Ok(decided) => decided,
            Err(rejection) => (Happened::Rejected(rejection), Vec::new()),
        };
        relays.extend(kept_write(entry, &happened));
        if happened != Happened::Nothing || !relays.is_empty() {
            self.events.push(event_of(entry, happened.clone(), relays));
        }
        happened
    }

    /// Lays one relayed row into its owner's rows.
    pub fn relay(&mut self, position: Position, relay: &Relay) {
        relays::lay(self, position, relay);
    }

    /// Lays a pending follow, block or mute of the author over one side of the pair: his own, or the other's.
    pub fn lay_pair(&mut self, entry: &Entry, own_side: bool) {
        match &entry.command {
            Command::SetFollow { followee: other, .. } | Command::SetBlock { other, .. } if own_side => {
                pairs::lay_own_side(self, entry, *other)
            }
            Command::SetFollow { followee: other, .. } | Command::SetBlock { other, .. } => pairs::lay_other_side(self, entry, *other),
            _ => {
                let _muted = self.decide(entry);
            }
        }
    }

    /// Who wrote a post, whether or not it was deleted.
    pub fn post_author(&self, post: PostId) -> Option<UserId> {
        row!(self.posts, &post).map(|row| row.author)
    }

    /// What is to be saved.
    pub fn finish(self) -> Effects {
        Effects { rows: self.after, events: self.events }
    }

    /// The rows as they stand now: the loaded ones with the changes on top, counters summed.
    pub fn into_rows(self) -> Rows {
        let mut rows = self.before;
        rows.posts.extend(self.after.posts);
        rows.post_likes.extend(self.after.post_likes);
        rows.subscriptions.extend(self.after.subscriptions);
        rows.comments.extend(self.after.comments);
        rows.comment_likes.extend(self.after.comment_likes);
        rows.relations.extend(self.after.relations);
        rows.mutes.extend(self.after.mutes);
        rows.author_posts.extend(self.after.author_posts);
        rows.accounts.extend(self.after.accounts);
        rows.sessions.extend(self.after.sessions);
        rows.names.extend(self.after.names);
        rows.preferences.extend(self.after.preferences);
        counters_add(&mut rows.counters, self.after.counters);
        rows
    }

    fn decide(&mut self, entry: &Entry) -> Decided {
        match &entry.command {
            Command::CreatePost { .. }
            | Command::EditPost { .. }
            | Command::DeletePost { .. }
            | Command::SetPostLike { .. }
            | Command::SetSubscription { .. } => posts::decide(self, entry),
            Command::CreateComment { .. }
            | Command::EditComment { .. }
            | Command::DeleteComment { .. }
            | Command::SetCommentLike { .. } => comments::decide(self, entry),
            Command::SetFollow { .. } | Command::SetBlock { .. } | Command::SetMute { .. } => pairs::decide(self, entry),
            Command::MarkRead { .. } | Command::SetPreferences { .. } => inbox::decide(self, entry),
            _ => accounts::decide(self, entry),
        }
    }

    fn step_post(&mut self, post: PostId, likes: i64, comments: i64, position: Position) {
        let step = self.after.counters.posts.entry(post).or_default();
        step.likes += likes;
        step.comments += comments;
        step.position = step.position.max(position);
    }

    fn step_comment(&mut self, comment: CommentId, likes: i64) {
        *self.after.counters.comments.entry(comment).or_default() += likes;
    }

    fn step_user(&mut self, user: UserId, step: UserCounters) {
        if step == UserCounters::default() {
            return;
        }
        let sum = self.after.counters.users.entry(user).or_default();
        sum.posts += step.posts;
        sum.followers += step.followers;
        sum.following += step.following;
    }
}

/// Adds steps to counters; the position of a post's counters goes to the higher one.
fn counters_add(counters: &mut Counters, steps: Counters) {
    for (post, step) in steps.posts {
        let PostCounters { likes, comments, position } = counters.posts.entry(post).or_default();
        *likes += step.likes;
        *comments += step.comments;
        *position = step.position.max(*position);
    }
    for (comment, step) in steps.comments {
        *counters.comments.entry(comment).or_default() += step;
    }
    for (user, step) in steps.users {
        let sum = counters.users.entry(user).or_default();
        sum.posts += step.posts;
        sum.followers += step.followers;
        sum.following += step.following;
    }
}

/// What is told of an entry that could not be applied: nothing happened, and its key is remembered.
pub fn set_aside(entry: &Entry) -> Event {
    let happened = Happened::SetAside;
    let relays = kept_write(entry, &happened).into_iter().collect();
    event_of(entry, happened, relays)
}

fn event_of(entry: &Entry, happened: Happened, relays: Vec<Relay>) -> Event {
    let Entry { position, write, author, accepted_at, .. } = *entry;
    Event { position, write, author, accepted_at, happened, relays }
}

/// A write with a key, and a rejected one, is remembered with its author. Sign-in never is: nobody asks for those writes.
fn kept_write(entry: &Entry, happened: &Happened) -> Option<Relay> {
    let rejection = match happened {
        Happened::Rejected(rejection) => Some(*rejection),
        _ => None,
    };
    let kind = entry.command.kind();
    if kind == WriteKind::Account || (entry.key.is_none() && rejection.is_none()) {
        return None;
    }
    let kept = KeptWrite {
        write: entry.write,
        kind,
        resource: entry.command.resource(entry.author),
        key: entry.key.clone(),
        rejection,
        accepted_at: entry.accepted_at,
    };
    Some(Relay::KeptWrite { author: entry.author, kept: Box::new(kept) })
}
