//! After the commit: who is told, what is released, and what is still owed to other owners.
//!
//! A committed batch goes in. Where nobody reads a standby it settles at once; else authors hear that it is committed, and the rest comes when
//! everybody who reads the shard sees it: pending rows are dropped, waiting callers get word, and what happened goes to the shard's courier,
//! with the rows that are owed to other owners. What account and inbox lanes write is read on the primary alone, and waits for nobody.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Ledger;
use super::shard::{Look, News};
use super::standbys;
use super::writes::{Known, Progress};
use crate::substrate::bus::{Hint, PostNews};
use crate::substrate::store::LaneMove;
use crate::substrate::store::rows::Rows;
use crate::support::faults::planted;
use crate::vocabulary::Millis;
use crate::vocabulary::command::{Command, Entry, WriteKind};
use crate::vocabulary::entry::InboxState;
use crate::vocabulary::event::{Event, Happened, Relay};
use crate::vocabulary::ids::{Position, PostId, SessionId, UserId, WriteId};
use crate::vocabulary::owner::{Lane, LaneAddress, ShardIndex};
use crate::vocabulary::rejection::Rejection;
use crate::vocabulary::text::{CommentBody, PostBody};

/// Applied entries of one lane of which only the events know what they came to.
pub type Unsure = BTreeMap<Position, Arc<Entry>>;

/// What one lane of a committed batch came to.
#[derive(Debug)]
pub struct LaneOutcome {
    pub lane: Lane,
    pub last: Position,
    /// In the order of the run's entries.
    pub happened: Vec<Happened>,
    pub events: Vec<Event>,
}

/// A batch is committed, and wrote these rows.
pub fn batch_committed(ledger: &Ledger, shard: ShardIndex, moves: Vec<LaneMove>, rows: Rows) {
    rows_committed(ledger, &rows);
    standbys::when_seen(ledger, shard, move |ledger| ledger.hot_posts.moved_on(shard, &moves, &rows));
}

/// A lane's batch is committed.
pub fn lane_committed(ledger: &Ledger, shard: ShardIndex, entries: &[Arc<Entry>], outcome: LaneOutcome) {
    let now = ledger.clock.now();
    ledger.shard(shard).applied(outcome.lane, outcome.last);
    owe(ledger, &outcome.events);
    if !ledger.is_staged(shard, outcome.lane) {
        let released = lane_seen(ledger, shard, entries, outcome, None);
        return standbys::release(ledger, shard, released);
    }
    let mut owing = outcome.events.iter().filter(|event| !event.relays.is_empty()).peekable();
    let mut released = Vec::with_capacity(entries.len());
    for (entry, happened) in entries.iter().zip(&outcome.happened) {
        if owing.next_if(|event| event.position == entry.position).is_none() {
            released.push(entry.position);
        }
        committed(ledger, entry, happened, now);
    }
    let entries = entries.to_vec();
    standbys::when_seen(ledger, shard, move |ledger| drop(lane_seen(ledger, shard, &entries, outcome, Some(now))));
    // Behind the news of it: what is laid over his reads for its author is read from the journal.
    standbys::release(ledger, shard, released);
}

/// What these events owe to others, their shard needs no more of the journal for.
fn owe(ledger: &Ledger, events: &[Event]) {
    let mut owing = events.iter().filter(|event| !event.relays.is_empty()).map(|event| event.position).peekable();
    if owing.peek().is_some() {
        ledger.backlog.decided(owing);
    }
}

/// Not everybody sees it yet: what its author is told already.
fn committed(ledger: &Ledger, entry: &Entry, happened: &Happened, now: Millis) {
    if *happened == Happened::SetAside {
        return set_aside(ledger, entry);
    }
    if let Some(rejection) = rejection_of(entry, happened) {
        ledger.pending.remove(entry);
        return told_author(ledger, entry, Progress::Rejected { rejection, at: now });
    }
    if planted("pending::drop_at_commit") {
        ledger.pending.remove(entry);
    }
    told_author(ledger, entry, Progress::Committed { at: now });
}

/// Everybody who reads the shard sees what a lane's batch did. `committed_at`: its authors were told before that it was committed. Says which
/// entries owe nothing.
fn lane_seen(
    ledger: &Ledger,
    shard: ShardIndex,
    entries: &[Arc<Entry>],
    outcome: LaneOutcome,
    committed_at: Option<Millis>,
) -> Vec<Position> {
    let now = ledger.clock.now();
    let owed: Vec<Event> = outcome.events.into_iter().filter(|event| !event.relays.is_empty()).collect();
    let mut owing = owed.iter().peekable();
    let mut released = Vec::with_capacity(entries.len());
    let mut pages = PageNews::default();
    for (entry, happened) in entries.iter().zip(&outcome.happened) {
        let event = owing.next_if(|event| event.position == entry.position);
        decided(ledger, entry, happened, event, committed_at, now);
        if !event.is_some_and(shows_elsewhere) {
            pages.happened(entry.position, happened);
        }
        if event.is_none() {
            released.push(entry.position);
        }
    }
    pages.tell(ledger);
    ledger.shard(shard).tell_courier(News { lane: outcome.lane, position: outcome.last, owed });
    released
}

/// A decision stands, and everybody who reads its shard sees it: what its author and those who wait are told, and whether it is still laid over.
/// `committed_at`: they were told before that it was committed, or what it came to if it was not taken.
fn decided(ledger: &Ledger, entry: &Entry, happened: &Happened, event: Option<&Event>, committed_at: Option<Millis>, now: Millis) {
    if *happened == Happened::SetAside {
        if committed_at.is_none() {
            set_aside(ledger, entry);
        }
        return;
    }
    told_sessions(ledger, happened);
    let progress = match rejection_of(entry, happened) {
        Some(rejection) => Progress::Rejected { rejection, at: now },
        None if event.is_some_and(shows_elsewhere) => Progress::Committed { at: committed_at.unwrap_or(now) },
        None => Progress::Visible { committed_at: committed_at.unwrap_or(now), at: now },
    };
    if !matches!(progress, Progress::Committed { .. }) || planted("pending::drop_early") {
        ledger.pending.remove(entry);
    }
    if committed_at.is_none() || matches!(progress, Progress::Visible { .. }) {
        told_author(ledger, entry, progress);
    }
}

/// The state of a write changed: those who wait for it hear, and its author's open sockets.
fn told_author(ledger: &Ledger, entry: &Entry, progress: Progress) {
    let settled = ledger.writes.progressed(entry, progress);
    if settled.kind != WriteKind::Account {
        ledger.bus.publish(Hint::Write(settled));
    }
}

/// All rows that an event of this shard's lane owed to other owners have arrived. Says whether it is not seen by everybody yet: then the courier
/// hears of that later.
pub fn relayed(ledger: &Ledger, shard: ShardIndex, lane: Lane, event: Event) -> bool {
    let waits_for = if lane.is_urgent() { Vec::new() } else { shown_on(ledger, &event) };
    if waits_for.is_empty() {
        arrived(ledger, shard, &event);
        return false;
    }
    standbys::when_all_seen(ledger, &waits_for, move |ledger| {
        arrived(ledger, shard, &event);
        ledger.shard(shard).tell_courier_seen(lane, event.position);
    });
    true
}

/// The shards with standbys on which others see rows of this event.
fn shown_on(ledger: &Ledger, event: &Event) -> Vec<ShardIndex> {
    let shown = event.relays.iter().filter(|relay| !matches!(relay, Relay::KeptWrite { .. }));
    let mut shards: Vec<ShardIndex> = shown.map(|relay| ledger.index_of(&relay.owner())).collect();
    shards.sort_unstable();
    shards.dedup();
    shards.retain(|shard| ledger.shard(*shard).standbys.are_there());
    shards
}

/// All rows of an event are where everybody sees them.
fn arrived(ledger: &Ledger, shard: ShardIndex, event: &Event) {
    if shows_elsewhere(event) && !matches!(event.happened, Happened::Rejected(_)) {
        let now = ledger.clock.now();
        let committed_at = match ledger.writes.known(event.write) {
            Some(Known::Settled(settled)) => match settled.progress {
                Progress::Committed { at } => at,
                _ => now,
            },
            _ => now,
        };
        let entry = entry_again(event);
        ledger.pending.remove(&entry);
        told_author(ledger, &entry, Progress::Visible { committed_at, at: now });
        let mut pages = PageNews::default();
        pages.happened(event.position, &event.happened);
        pages.tell(ledger);
    }
    for relay in &event.relays {
        if let Relay::KeptWrite { author, kept } = relay
            && let Some(key) = &kept.key
        {
            ledger.kept_keys.stored(*author, &key.key);
        }
    }
    standbys::release(ledger, shard, [event.position]);
}

/// Entries turn out to have been applied by a commit whose answer never came. What they came to stands in the events, which the
/// courier reads: until then they stay as they are. What readers cache may be out of date at once.
pub fn found_applied(ledger: &Ledger, shard: ShardIndex, lane: Lane, position: Position, entries: &[Arc<Entry>]) {
    ledger.hot_posts.forget(LaneAddress { shard, lane }, position);
    let moves = [LaneMove { lane, known: Position::START, next: position }];
    standbys::when_seen(ledger, shard, move |ledger| ledger.hot_posts.moved_on(shard, &moves, &Rows::default()));
    for entry in entries {
        match &entry.command {
            Command::SetFollow { followee: other, .. } | Command::SetBlock { other, .. } => {
                ledger.blocks.changed(entry.author);
                ledger.blocks.changed(*other);
            }
            Command::EditProfile { .. } | Command::EditProfileIf { .. } => ledger.cards.forget(entry.author),
            _ => {}
        }
    }
    let unsure = entries.iter().map(|entry| (entry.position, without_text(entry))).collect();
    ledger.backlog.decided(entries.iter().map(|entry| entry.position));
    ledger.shard(shard).applied(lane, position);
    ledger.shard(shard).tell_courier_to_look(Look { lane, position, unsure });
}

/// A delivery's answer never came, and it may have been committed: what readers cache may be out of date.
pub fn maybe_delivered<'relay>(ledger: &Ledger, relays: impl IntoIterator<Item = &'relay Relay>) {
    for relay in relays {
        if let Relay::Pair { owner, .. } = relay {
            ledger.blocks.changed(*owner);
        }
    }
}

/// Events were read from the database, in order, and everybody sees what they tell: those of `unsure` that they are about are settled now, and taken out.
pub fn found_decided(ledger: &Ledger, shard: ShardIndex, events: &[Event], unsure: &mut Unsure) {
    let now = ledger.clock.now();
    let mut pages = PageNews::default();
    for event in events {
        if let Some(entry) = unsure.remove(&event.position) {
            decided(ledger, &entry, &event.happened, Some(event), None, now);
            if !shows_elsewhere(event) {
                pages.happened(event.position, &event.happened);
            }
        }
    }
    pages.tell(ledger);
    // What owes nothing needs no journal entry any more.
    standbys::release(ledger, shard, events.iter().filter(|event| event.relays.is_empty()).map(|event| event.position));
}

/// These entries were applied, and there is no event of them: nothing happened.
pub fn found_idle(ledger: &Ledger, shard: ShardIndex, entries: Unsure) {
    let now = ledger.clock.now();
    for entry in entries.values() {
        ledger.pending.remove(entry);
        if matches!(ledger.writes.known(entry.write), Some(Known::Waiting(_))) {
            told_author(ledger, entry, Progress::Visible { committed_at: now, at: now });
        }
    }
    standbys::release(ledger, shard, entries.into_keys());
}

/// An entry as far as settling it needs it: many of them may wait for the courier at once.
pub fn without_text(entry: &Arc<Entry>) -> Arc<Entry> {
    let command = match &entry.command {
        Command::CreatePost { post, .. } => Command::CreatePost { post: *post, body: PostBody::from_row(String::new()) },
        Command::EditPost { post, if_revision, .. } => {
            Command::EditPost { post: *post, body: PostBody::from_row(String::new()), if_revision: *if_revision }
        }
        Command::CreateComment { post, comment, parent, .. } => {
            Command::CreateComment { post: *post, comment: *comment, parent: *parent, body: CommentBody::from_row(String::new()) }
        }
        Command::EditComment { post, comment, if_revision, .. } => {
            Command::EditComment { post: *post, comment: *comment, body: CommentBody::from_row(String::new()), if_revision: *if_revision }
        }
        _ => return Arc::clone(entry),
    };
    let Entry { position, write, author, accepted_at, .. } = **entry;
    Arc::new(Entry { position, write, author, accepted_at, key: None, command })
}

/// What readers cache of these rows is out of date.
pub fn rows_committed(ledger: &Ledger, rows: &Rows) {
    for account in rows.accounts.values() {
        ledger.cards.offer(account);
    }
    for (owner, _) in rows.relations.keys() {
        ledger.blocks.changed(*owner);
    }
}

/// These inboxes were marked read, and stand there now.
pub fn marked_read(ledger: &Ledger, inboxes: &[(UserId, InboxState)]) {
    for (user, state) in inboxes {
        ledger.bus.publish(Hint::Read { user: *user, up_to: state.read_up_to, unread: state.unread });
    }
}

/// An entry could not be applied and is a dead letter now.
pub fn buried(ledger: &Ledger, shard: ShardIndex, lane: Lane, entry: &Entry, event: Event) {
    set_aside(ledger, entry);
    owe(ledger, std::slice::from_ref(&event));
    let position = event.position;
    let owed = if event.relays.is_empty() {
        standbys::release(ledger, shard, [position]);
        Vec::new()
    } else {
        vec![event]
    };
    ledger.shard(shard).applied(lane, position);
    when_lane_seen(ledger, shard, lane, move |ledger| ledger.shard(shard).tell_courier(News { lane, position, owed }));
}

/// At once where the lane is read on the primary alone.
fn when_lane_seen(ledger: &Ledger, shard: ShardIndex, lane: Lane, news: impl FnOnce(&Ledger) + Send + 'static) {
    if ledger.is_staged(shard, lane) { standbys::when_seen(ledger, shard, news) } else { news(ledger) }
}

/// It stays accepted, as the dead letter says from now on, and is no longer laid over. An operator who has seen the letter may be faster than the
/// worker that wrote it.
pub fn set_aside(ledger: &Ledger, entry: &Entry) {
    ledger.pending.remove(entry);
    ledger.writes.set_aside(entry.write, entry.position);
}

fn told_sessions(ledger: &Ledger, happened: &Happened) {
    if let Happened::SessionsEnded { sessions } | Happened::PasswordChanged { sessions } = happened
        && !sessions.is_empty()
    {
        if let Some(told) = ledger.sessions_ended.get() {
            told(sessions);
        }
        ledger.bus.publish(Hint::SessionsEnded { sessions: sessions.clone() });
    }
}

/// Called with the sessions that a committed write ended.
pub type SessionsEnded = Box<dyn Fn(&[SessionId]) + Send + Sync>;

/// What watchers of posts are told: each change of a text by itself, counts once for a post.
#[derive(Debug, Default)]
struct PageNews {
    texts: Vec<(PostId, Position, PostNews)>,
    counts: BTreeMap<PostId, Position>,
}

impl PageNews {
    fn happened(&mut self, position: Position, happened: &Happened) {
        let (post, text, counted) = match happened {
            Happened::PostEdited { post, .. } => (*post, Some(PostNews::Edited), false),
            Happened::PostDeleted { post } => (*post, Some(PostNews::Deleted), false),
            Happened::PostLiked { post } | Happened::PostLikedAgain { post } | Happened::PostUnliked { post } => (*post, None, true),
            Happened::CommentCreated { post, comment, .. } => (*post, Some(PostNews::CommentCreated(*comment)), true),
            Happened::CommentEdited { post, comment, .. } => (*post, Some(PostNews::CommentEdited(*comment)), false),
            Happened::CommentDeleted { post, comment } => (*post, Some(PostNews::CommentDeleted(*comment)), true),
            _ => return,
        };
        self.texts.extend(text.map(|news| (post, position, news)));
        if counted {
            self.counts.insert(post, position);
        }
    }

    fn tell(self, ledger: &Ledger) {
        let counts = self.counts.into_iter().map(|(post, position)| (post, position, PostNews::Counts));
        for (post, position, news) in self.texts.into_iter().chain(counts) {
            ledger.bus.publish(Hint::Post { post, position, news });
        }
    }
}

/// Whether its author is told that it was rejected. A refresh token that was used twice ends its session: that is a
/// change of rows, and still a refusal for the caller.
fn rejection_of(entry: &Entry, happened: &Happened) -> Option<Rejection> {
    match (happened, &entry.command) {
        (Happened::Rejected(rejection), _) => Some(*rejection),
        (Happened::SessionsEnded { .. }, Command::RotateSession { .. }) => Some(Rejection::SessionEnded),
        _ => None,
    }
}

/// Whether others see the write only when its relays have arrived. What is kept for its author's retries is no such row.
pub fn shows_elsewhere(event: &Event) -> bool {
    event.relays.iter().any(|relay| !matches!(relay, Relay::KeptWrite { .. }))
}

/// As much of an event's entry as the pending index and the state of writes need. Only kinds that owe rows come here.
fn entry_again(event: &Event) -> Entry {
    let command = match &event.happened {
        Happened::PostCreated { post, .. } => Command::CreatePost { post: *post, body: PostBody::from_row(String::new()) },
        Happened::PostDeleted { post } => Command::DeletePost { post: *post, if_revision: None },
        Happened::Followed { followee } | Happened::FollowedAgain { followee } | Happened::FollowBellSet { followee, .. } => {
            Command::SetFollow { followee: *followee, notify: Some(crate::vocabulary::relation::FollowNotify::Automatic) }
        }
        Happened::Unfollowed { followee } => Command::SetFollow { followee: *followee, notify: None },
        Happened::BlockSet { other, blocking } => Command::SetBlock { other: *other, blocking: *blocking },
        _ => Command::EndSession { session: SessionId::from_raw(0) },
    };
    let (author, write): (UserId, WriteId) = (event.author, event.write);
    let accepted_at: Millis = event.accepted_at;
    Entry { position: event.position, write, author, accepted_at, key: None, command }
}
