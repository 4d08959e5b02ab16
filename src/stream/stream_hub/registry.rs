//! The hub's book: sockets by user, by sign-in and by post. No I/O, and no frames.

use std::collections::HashMap;
use std::sync::Arc;

use crate::stream::desk::SocketId;
use crate::stream::outbox::Outbox;
use crate::stream::watch::Counting;
use crate::substrate::bus::{Interest, Topic};
use crate::support::room::give_back;
use crate::vocabulary::ids::{Position, PostId, SessionId, UserId};

/// Posts that nobody watches any more and whose pace is kept. Full: forgotten, and the next watcher may be told a little sooner.
const LEFT_MAX: usize = 4_096;

/// A socket whose user is known.
pub(super) struct Socket {
    pub(super) outbox: Arc<Outbox>,
    user: UserId,
    session: Option<SessionId>,
    watches: Vec<PostId>,
}

/// A post that somebody watches.
pub(super) struct Watched {
    pub(super) author: UserId,
    pub(super) counting: Counting,
    /// The last counts that were told.
    pub(super) told: Option<ToldCounts>,
    watchers: HashMap<SocketId, Watcher>,
}

/// Counts as they were told. The same ones to the same people are no news.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ToldCounts {
    pub(super) version: Position,
    pub(super) watchers: usize,
    /// The last watcher who was told.
    pub(super) last: u64,
}

struct Watcher {
    user: UserId,
    outbox: Arc<Outbox>,
    /// Goes up with each that comes, whatever he watches.
    number: u64,
}

/// Those who watch a post at one moment.
pub(super) struct Viewers {
    pub(super) users: Vec<UserId>,
    /// The highest of their numbers: whoever comes later has a higher one.
    pub(super) last: u64,
}

impl Watched {
    pub(super) fn watchers(&self) -> usize {
        self.watchers.len()
    }

    /// Those of them who watched already at that moment.
    pub(super) fn outboxes(&self, last: u64) -> impl Iterator<Item = (UserId, &Arc<Outbox>)> {
        self.watchers.values().filter(move |watcher| watcher.number <= last).map(|watcher| (watcher.user, &watcher.outbox))
    }
}

/// What came of the wish to watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entered {
    Newly,
    Already,
    TooMany,
    /// The socket has ended.
    NoSocket,
}

#[derive(Default)]
pub(super) struct Registry {
    sockets: HashMap<SocketId, Socket>,
    users: HashMap<UserId, Vec<SocketId>>,
    sessions: HashMap<SessionId, Vec<SocketId>>,
    posts: HashMap<PostId, Watched>,
    /// The number of the last watcher that came.
    came: u64,
    /// The pace of posts that nobody watches any more: whoever leaves and comes back is told no sooner for it.
    left: HashMap<PostId, Counting>,
    /// What the bus should tell of.
    interest: Arc<Interest>,
}

impl Registry {
    pub(super) fn new(interest: Arc<Interest>) -> Self {
        Self { interest, ..Self::default() }
    }

    /// Enters a socket, unless its user has so many already.
    pub(super) fn join(&mut self, socket: SocketId, user: UserId, session: Option<SessionId>, outbox: Arc<Outbox>, most: usize) -> bool {
        let of_user = self.users.entry(user).or_default();
        if of_user.len() >= most {
            return false;
        }
        of_user.push(socket);
        self.interest.enter(Topic::User(user));
        if let Some(session) = session {
            self.sessions.entry(session).or_default().push(socket);
        }
        self.sockets.insert(socket, Socket { outbox, user, session, watches: Vec::new() });
        true
    }

    /// The sign-in that the socket hangs on is another one.
    pub(super) fn renew(&mut self, socket: SocketId, session: Option<SessionId>) {
        let Some(entry) = self.sockets.get_mut(&socket) else { return };
        let before = std::mem::replace(&mut entry.session, session);
        if let Some(before) = before {
            forget(&mut self.sessions, before, socket);
        }
        if let Some(session) = session {
            self.sessions.entry(session).or_default().push(socket);
        }
    }

    /// Takes a socket out; the posts that have a watcher less.
    pub(super) fn leave(&mut self, socket: SocketId) -> Vec<PostId> {
        let Some(entry) = self.sockets.remove(&socket) else { return Vec::new() };
        give_back(&mut self.sockets);
        forget(&mut self.users, entry.user, socket);
        self.interest.leave(Topic::User(entry.user));
        if let Some(session) = entry.session {
            forget(&mut self.sessions, session, socket);
        }
        entry.watches.iter().for_each(|post| self.leave_post(*post, socket));
        entry.watches
    }

    pub(super) fn watch(&mut self, socket: SocketId, post: PostId, author: UserId, most: usize) -> Entered {
        let Some(entry) = self.sockets.get_mut(&socket) else { return Entered::NoSocket };
        if entry.watches.contains(&post) {
            return Entered::Already;
        }
        if entry.watches.len() >= most {
            return Entered::TooMany;
        }
        entry.watches.push(post);
        let watched = self.posts.entry(post).or_insert_with(|| {
            self.interest.enter(Topic::Post(post));
            let counting = self.left.remove(&post).unwrap_or_default();
            Watched { author, counting, told: None, watchers: HashMap::new() }
        });
        self.came += 1;
        watched.watchers.insert(socket, Watcher { user: entry.user, outbox: Arc::clone(&entry.outbox), number: self.came });
        Entered::Newly
    }

    /// Who watches the post now.
    pub(super) fn viewers(&self, post: PostId) -> Viewers {
        let watchers = || self.posts.get(&post).into_iter().flat_map(|watched| watched.watchers.values());
        let last = watchers().map(|watcher| watcher.number).max().unwrap_or(0);
        Viewers { users: watchers().map(|watcher| watcher.user).collect(), last }
    }

    /// Whether this socket watches the post.
    pub(super) fn watches(&self, socket: SocketId, post: PostId) -> bool {
        self.posts.get(&post).is_some_and(|watched| watched.watchers.contains_key(&socket))
    }

    /// Says whether it watched the post.
    pub(super) fn unwatch(&mut self, socket: SocketId, post: PostId) -> bool {
        let Some(entry) = self.sockets.get_mut(&socket) else { return false };
        let Some(place) = entry.watches.iter().position(|watched| *watched == post) else { return false };
        entry.watches.swap_remove(place);
        self.leave_post(post, socket);
        true
    }

    /// Nobody watches the post any more.
    pub(super) fn end_post(&mut self, post: PostId) {
        let Some(watched) = self.posts.remove(&post) else { return };
        self.interest.leave(Topic::Post(post));
        for socket in watched.watchers.keys() {
            if let Some(entry) = self.sockets.get_mut(socket) {
                entry.watches.retain(|other| *other != post);
            }
        }
    }

    fn leave_post(&mut self, post: PostId, socket: SocketId) {
        let Some(watched) = self.posts.get_mut(&post) else { return };
        watched.watchers.remove(&socket);
        give_back(&mut watched.watchers);
        if watched.watchers.is_empty() {
            if self.left.len() == LEFT_MAX {
                self.left = HashMap::new();
            }
            self.left.insert(post, watched.counting.at_rest());
            self.posts.remove(&post);
            self.interest.leave(Topic::Post(post));
            give_back(&mut self.posts);
        }
    }

    pub(super) fn has_user(&self, user: UserId) -> bool {
        self.users.contains_key(&user)
    }

    pub(super) fn of_user(&self, user: UserId) -> impl Iterator<Item = &Arc<Outbox>> {
        self.outboxes(self.users.get(&user))
    }

    pub(super) fn of_session(&self, session: SessionId) -> impl Iterator<Item = &Arc<Outbox>> {
        self.outboxes(self.sessions.get(&session))
    }

    fn outboxes<'a>(&'a self, sockets: Option<&'a Vec<SocketId>>) -> impl Iterator<Item = &'a Arc<Outbox>> {
        sockets.into_iter().flatten().filter_map(|socket| self.sockets.get(socket)).map(|entry| &entry.outbox)
    }

    pub(super) fn socket(&self, socket: SocketId) -> Option<&Socket> {
        self.sockets.get(&socket)
    }

    pub(super) fn sockets(&self) -> impl Iterator<Item = (&SocketId, &Socket)> {
        self.sockets.iter()
    }

    pub(super) fn len(&self) -> usize {
        self.sockets.len()
    }

    pub(super) fn post(&mut self, post: PostId) -> Option<&mut Watched> {
        self.posts.get_mut(&post)
    }

    pub(super) fn posts(&self) -> Vec<PostId> {
        self.posts.keys().copied().collect()
    }

    pub(super) fn posts_len(&self) -> usize {
        self.posts.len()
    }
}

fn forget<K: Eq + std::hash::Hash + Copy>(index: &mut HashMap<K, Vec<SocketId>>, key: K, socket: SocketId) {
    let Some(sockets) = index.get_mut(&key) else { return };
    sockets.retain(|other| *other != socket);
    if sockets.is_empty() {
        index.remove(&key);
        give_back(index);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::stream::outbox::OutboxBounds;
    use crate::stream::watch::Change;

    fn outbox() -> Arc<Outbox> {
        Arc::new(Outbox::new(OutboxBounds { frames: 4, bytes: 1000, posts: 4 }))
    }

    fn user(raw: u64) -> UserId {
        UserId::from_raw(raw)
    }

    #[test]
    fn the_newest_socket_over_the_limit_stays_out_until_another_leaves() {
        let mut registry = Registry::default();
        assert!(registry.join(SocketId(1), user(1), None, outbox(), 2));
        assert!(registry.join(SocketId(2), user(1), None, outbox(), 2));
        assert!(!registry.join(SocketId(3), user(1), None, outbox(), 2));
        assert!(registry.join(SocketId(4), user(2), None, outbox(), 2), "another user's count is his own");

        registry.leave(SocketId(1));

        assert!(registry.join(SocketId(5), user(1), None, outbox(), 2));
        assert_eq!(registry.of_user(user(1)).count(), 2);
    }

    #[test]
    fn a_socket_that_leaves_is_nowhere_any_more() {
        let mut registry = Registry::default();
        let (session, post) = (SessionId::from_raw(9), PostId::from_raw(7));
        registry.join(SocketId(1), user(1), Some(session), outbox(), 9);
        registry.watch(SocketId(1), post, user(2), 9);

        assert_eq!(registry.leave(SocketId(1)), [post]);

        assert!(!registry.has_user(user(1)));
        assert_eq!(registry.of_session(session).count(), 0);
        assert!(registry.post(post).is_none());
        assert_eq!((registry.len(), registry.posts_len()), (0, 0));
        assert!(registry.leave(SocketId(1)).is_empty(), "twice is as good as once");
    }

    #[test]
    fn a_socket_watches_so_many_posts_and_each_once() {
        let mut registry = Registry::default();
        registry.join(SocketId(1), user(1), None, outbox(), 9);
        let post = PostId::from_raw;

        assert_eq!(registry.watch(SocketId(1), post(1), user(2), 2), Entered::Newly);
        assert_eq!(registry.watch(SocketId(1), post(1), user(2), 2), Entered::Already);
        assert_eq!(registry.watch(SocketId(1), post(2), user(2), 2), Entered::Newly);
        assert_eq!(registry.watch(SocketId(1), post(3), user(2), 2), Entered::TooMany);
        assert!(registry.unwatch(SocketId(1), post(1)));
        assert!(!registry.unwatch(SocketId(1), post(1)));
        assert_eq!(registry.watch(SocketId(1), post(3), user(2), 2), Entered::Newly);
        assert_eq!(registry.watch(SocketId(2), post(3), user(2), 2), Entered::NoSocket);
    }

    #[test]
    fn a_post_that_ends_has_no_watchers_and_counts_for_no_socket() {
        let mut registry = Registry::default();
        registry.join(SocketId(1), user(1), None, outbox(), 9);
        let post = PostId::from_raw;
        registry.watch(SocketId(1), post(1), user(2), 1);

        registry.end_post(post(1));

        assert_eq!(registry.watch(SocketId(1), post(2), user(2), 1), Entered::Newly);
    }

    #[test]
    fn whoever_comes_later_is_not_among_those_of_before() {
        let mut registry = Registry::default();
        let post = PostId::from_raw(1);
        for socket in 1..=2 {
            registry.join(SocketId(socket), user(socket), None, outbox(), 9);
        }
        registry.watch(SocketId(1), post, user(9), 9);
        let before = registry.viewers(post);
        registry.watch(SocketId(2), post, user(9), 9);

        let told = |registry: &mut Registry, last| {
            let watched = registry.post(post).expect("watched");
            watched.outboxes(last).map(|(user, _)| user).collect::<Vec<_>>()
        };
        assert_eq!((before.users.as_slice(), told(&mut registry, before.last)), ([user(1)].as_slice(), vec![user(1)]));
        // Nor if all have left in between.
        registry.leave(SocketId(1));
        registry.leave(SocketId(2));
        registry.join(SocketId(3), user(3), None, outbox(), 9);
        registry.watch(SocketId(3), post, user(9), 9);
        assert_eq!(told(&mut registry, before.last), []);
    }

    #[test]
    fn the_pace_of_a_post_is_the_same_for_whoever_leaves_and_comes_back() {
        let mut registry = Registry::default();
        let (post, now) = (PostId::from_raw(1), Instant::now());
        registry.join(SocketId(1), user(1), None, outbox(), 9);
        let changed = |registry: &mut Registry| {
            registry.watch(SocketId(1), post, user(2), 9);
            registry.post(post).and_then(|watched| watched.counting.changed(Change::Numbers, now)).expect("due")
        };
        let (delay, first) = changed(&mut registry);
        assert!(delay.is_zero());
        let counting = &mut registry.post(post).expect("watched").counting;
        assert!(counting.due(first));
        assert_eq!(counting.told(now), None);

        registry.unwatch(SocketId(1), post);
        let (delay, second) = changed(&mut registry);

        assert!(!delay.is_zero(), "counts were told a moment ago");
        assert_ne!(first, second, "a timer of before is not this one");
    }

    #[test]
    fn a_socket_follows_its_sign_in() {
        let mut registry = Registry::default();
        let session = SessionId::from_raw;
        registry.join(SocketId(1), user(1), Some(session(1)), outbox(), 9);

        registry.renew(SocketId(1), Some(session(2)));

        assert_eq!((registry.of_session(session(1)).count(), registry.of_session(session(2)).count()), (0, 1));
    }
}
