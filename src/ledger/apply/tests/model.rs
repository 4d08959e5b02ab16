//! A shard's database as one value: what a store promises of `rows_load`, `rows_save`, lanes and cursors, without SQL.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::Hash;

use super::*;
use crate::substrate::store::rows::Needs;
use crate::vocabulary::ids::WriteId;
use crate::vocabulary::owner::Lane;

/// One database with all its lanes, and what they owe.
#[derive(Debug, Clone, Default)]
pub(super) struct Model {
    pub(super) rows: Rows,
    applied: HashMap<Lane, Position>,
    told: HashMap<Lane, Position>,
    /// All relays of each lane, in order: delivered ones too, so that they can come again.
    owed: BTreeMap<Lane, Vec<(Position, Vec<Relay>)>>,
    events: BTreeMap<Position, Event>,
    last: Position,
    /// The planted fault: lanes and cursors do not keep out what comes again.
    pub(super) unguarded: bool,
}

impl Model {
    /// Writes and applies at once, relays too; a second passes.
    pub(super) fn write(&mut self, author: UserId, command: Command) -> Happened {
        let position = self.last.next();
        self.write_at(author, command, position.0 * 1000)
    }

    pub(super) fn write_at(&mut self, author: UserId, command: Command, accepted_at: u64) -> Happened {
        let position = self.last.next();
        let entry = Entry { position, write: WriteId::from_raw(position.0), author, accepted_at, key: None, command };
        let happened = self.batch(&[entry]).pop().expect("one entry");
        self.deliver_all();
        happened
    }

    /// Applies entries of one lane in one transaction, without those it has applied.
    pub(super) fn batch(&mut self, entries: &[Entry]) -> Vec<Happened> {
        let Some(lane) = entries.first().map(|entry| entry.home().lane()) else { return Vec::new() };
        let applied = self.applied.get(&lane).copied().unwrap_or_default();
        let fresh: Vec<&Entry> = entries.iter().filter(|entry| self.unguarded || entry.position > applied).collect();
        let mut needs = Needs::default();
        fresh.iter().for_each(|entry| needs_of(entry, &mut needs));
        let mut transition = Transition::over(self.load(&needs));
        let happened = fresh.iter().map(|entry| transition.apply(entry)).collect();
        let effects = transition.finish();
        self.save(effects.rows);
        for event in effects.events {
            if !event.relays.is_empty() {
                self.owed.entry(lane).or_default().push((event.position, event.relays.clone()));
            }
            self.events.insert(event.position, event);
        }
        if let Some(last) = fresh.last() {
            self.applied.insert(lane, last.position.max(applied));
            self.last = self.last.max(last.position);
        }
        happened
    }

    /// Delivers what a lane owes next, at most `count` events; after `again`, also what it has delivered before.
    pub(super) fn deliver(&mut self, lane: Lane, count: usize, again: bool) {
        let told = self.told.get(&lane).copied().unwrap_or_default();
        let owed = self.owed.get(&lane).cloned().unwrap_or_default();
        let fresh: VecDeque<_> =
            owed.into_iter().filter(|(position, _)| (again && self.unguarded) || *position > told).take(count).collect();
        let mut needs = Needs::default();
        fresh.iter().flat_map(|(_, relays)| relays).for_each(|relay| relay_needs_of(relay, &mut needs));
        let mut transition = Transition::over(self.load(&needs));
        for (position, relay) in fresh.iter().flat_map(|(position, relays)| relays.iter().map(move |relay| (position, relay))) {
            transition.relay(*position, relay);
        }
        self.save(transition.finish().rows);
        if let Some((last, _)) = fresh.back() {
            self.told.insert(lane, (*last).max(told));
        }
    }

    pub(super) fn deliver_all(&mut self) {
        for lane in self.owing() {
            self.deliver(lane, usize::MAX, false);
        }
    }

    /// Lanes that have ever owed something.
    pub(super) fn owing(&self) -> Vec<Lane> {
        self.owed.keys().copied().collect()
    }

    pub(super) fn events(&self) -> &BTreeMap<Position, Event> {
        &self.events
    }

    /// What a store's `rows_load` answers.
    pub(super) fn load(&self, needs: &Needs) -> Rows {
        let all = &self.rows;
        let mut found = Rows {
            posts: those(&needs.posts, &all.posts),
            post_likes: those(&needs.post_likes, &all.post_likes),
            subscriptions: those(&needs.subscriptions, &all.subscriptions),
            comments: those(&needs.comments, &all.comments),
            comment_likes: those(&needs.comment_likes, &all.comment_likes),
            relations: those(&needs.relations, &all.relations),
            mutes: those(&needs.mutes, &all.mutes),
            author_posts: those(&needs.author_posts, &all.author_posts),
            accounts: those(&needs.accounts, &all.accounts),
            sessions: those(&needs.sessions, &all.sessions),
            names: those(&needs.names, &all.names),
            kept_writes: Vec::new(),
            preferences: those(&needs.preferences, &all.preferences),
            read_marks: Vec::new(),
            counters: Counters {
                posts: those(&needs.post_counters, &all.counters.posts),
                comments: those(&needs.comment_counters, &all.counters.comments),
                users: those(&needs.user_counters, &all.counters.users),
            },
        };
        let open = all.sessions.iter().filter(|(_, row)| needs.sessions_of.contains(&row.user) && row.ended_at.is_none());
        found.sessions.extend(open.map(|(key, row)| (*key, row.clone())));
        found
    }

    /// What a store's `rows_save` does: a row is replaced where its position is lower; one with a revision also where that
    /// is equal, since it does not move with all that changes.
    pub(super) fn save(&mut self, changed: Rows) {
        let rows = &mut self.rows;
        put(&mut rows.posts, changed.posts, |stored, new| new.revision >= stored.revision);
        put(&mut rows.post_likes, changed.post_likes, |stored, new| new.position > stored.position);
        put(&mut rows.subscriptions, changed.subscriptions, |stored, new| new.position > stored.position);
        put(&mut rows.comments, changed.comments, |stored, new| new.revision >= stored.revision);
        put(&mut rows.comment_likes, changed.comment_likes, |stored, new| new.position > stored.position);
        put(&mut rows.relations, changed.relations, |stored, new| new.position > stored.position);
        put(&mut rows.mutes, changed.mutes, |stored, new| new.position > stored.position);
        put(&mut rows.author_posts, changed.author_posts, |stored, new| new.position > stored.position);
        put(&mut rows.accounts, changed.accounts, |stored, new| new.revision >= stored.revision);
        put(&mut rows.sessions, changed.sessions, |stored, new| new.position > stored.position);
        put(&mut rows.names, changed.names, |stored, new| new.position > stored.position);
        for (author, kept) in changed.kept_writes {
            rows.kept_writes.retain(|(_, known)| known.write != kept.write);
            rows.kept_writes.push((author, kept));
        }
        rows.kept_writes.sort_by_key(|(_, kept)| kept.write.raw());
        counters_add(&mut rows.counters, changed.counters);
    }

    /// Counters that are not the number of their rows.
    pub(super) fn miscounted(&self) -> Vec<String> {
        let Rows { posts, post_likes, comments, comment_likes, relations, author_posts, accounts, counters, .. } = &self.rows;
        let mut wrong = Vec::new();
        let mut compare = |what: String, counted: i64, rows: usize| {
            if counted != rows as i64 {
                wrong.push(format!("{what}: counted {counted}, rows {rows}"));
            }
        };
        for post in posts.keys().chain(counters.posts.keys()) {
            let counted = counters.posts.get(post).copied().unwrap_or_default();
            let likes = post_likes.iter().filter(|((of, _), row)| of == post && row.liked).count();
            let below = comments.values().filter(|row| row.post == *post && !row.deleted).count();
            compare(format!("likes of post {post}"), counted.likes, likes);
            compare(format!("comments of post {post}"), counted.comments, below);
        }
        for comment in comments.keys().chain(counters.comments.keys()) {
            let likes = comment_likes.iter().filter(|((of, _), row)| of == comment && row.liked).count();
            compare(format!("likes of comment {comment}"), counters.comments.get(comment).copied().unwrap_or_default(), likes);
        }
        for user in accounts.keys().chain(counters.users.keys()) {
            let counted = counters.users.get(user).copied().unwrap_or_default();
            let sides = || relations.iter().filter(|((owner, _), _)| owner == user);
            let posts = author_posts.iter().filter(|((author, _), row)| author == user && !row.deleted).count();
            compare(format!("posts of {user}"), counted.posts, posts);
            compare(format!("followers of {user}"), counted.followers, sides().filter(|(_, row)| row.state.followed_by.is_some()).count());
            compare(format!("following of {user}"), counted.following, sides().filter(|(_, row)| row.state.following.is_some()).count());
        }
        wrong
    }

    /// Rows and events as they are, without counters that stand at nothing: those need not exist.
    pub(super) fn settled(&self) -> (Rows, BTreeMap<Position, Event>) {
        let mut rows = self.rows.clone();
        rows.counters.posts.retain(|_, counted| *counted != PostCounters::default());
        rows.counters.comments.retain(|_, likes| *likes != 0);
        rows.counters.users.retain(|_, counted| *counted != UserCounters::default());
        (rows, self.events.clone())
    }
}

fn those<K: Clone + Eq + Hash, V: Clone>(keys: &[K], all: &HashMap<K, V>) -> HashMap<K, V> {
    keys.iter().filter_map(|key| all.get(key).map(|row| (key.clone(), row.clone()))).collect()
}

fn put<K: Eq + Hash, V>(rows: &mut HashMap<K, V>, changed: HashMap<K, V>, replaces: impl Fn(&V, &V) -> bool) {
    for (key, new) in changed {
        match rows.get_mut(&key) {
            Some(stored) if !replaces(stored, &new) => {}
            Some(stored) => *stored = new,
            None => {
                rows.insert(key, new);
            }
        }
    }
}
