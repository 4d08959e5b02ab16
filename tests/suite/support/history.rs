//! The record of a run (what was asked, what was answered, what was seen) and the checks of it against the facts at the end.
//!
//! Each check is a function from the record and the facts to the violations that it found. The times are monotonic, so
//! "after" means that one call had ended before the other began; calls that overlap have no order. A call without an answer
//! is kept: it may have happened once or never, until the end of the process that it was sent to.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::facts::{Facts, nonce_of};

pub(crate) type Id = u64;

/// What somebody asked for. Each `nonce` is in one payload only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    CreatePost { nonce: String },
    EditPost { post: Id, nonce: String },
    DeletePost { post: Id },
    CreateComment { post: Id, nonce: String },
    EditComment { post: Id, comment: Id, nonce: String },
    DeleteComment { post: Id, comment: Id },
    SetLike { post: Id, liked: bool },
    SetFollow { followee: Id, following: bool },
}

impl Action {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::CreatePost { .. } => "post",
            Self::EditPost { .. } => "edit post",
            Self::DeletePost { .. } => "delete post",
            Self::CreateComment { .. } => "comment",
            Self::EditComment { .. } => "edit comment",
            Self::DeleteComment { .. } => "delete comment",
            Self::SetLike { liked: true, .. } => "like",
            Self::SetLike { .. } => "unlike",
            Self::SetFollow { following: true, .. } => "follow",
            Self::SetFollow { .. } => "unfollow",
        }
    }

    fn nonce(&self) -> Option<&str> {
        match self {
            Self::CreatePost { nonce }
            | Self::EditPost { nonce, .. }
            | Self::CreateComment { nonce, .. }
            | Self::EditComment { nonce, .. } => Some(nonce),
            _ => None,
        }
    }
}

/// How it ended, as its caller knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Accepted; `object` is the id of what was created.
    Ok { write: Id, object: Option<Id>, replayed: bool },
    /// Definitely not: it did not and will not happen.
    Fail { status: u16 },
    /// Unknown: no answer, or one that says so.
    Info { why: String },
}

#[derive(Debug, Clone)]
pub(crate) struct Operation {
    pub(crate) session: u32,
    pub(crate) actor: Id,
    pub(crate) action: Action,
    pub(crate) began: Duration,
    /// When it was sent for the last time: a keyed call may be asked again.
    pub(crate) sent: Duration,
    /// Nothing of it can happen after this; absent if that is not known.
    pub(crate) ended: Option<Duration>,
    /// Absent while it is on its way.
    pub(crate) outcome: Option<Outcome>,
}

/// A thing with one value at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Key {
    Text(Id),
    /// Post, user.
    Like(Id, Id),
    /// Follower, followee.
    Follow(Id, Id),
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Held {
    Text(String),
    Deleted,
    /// There is no such thing: never true of one's own that was accepted.
    Missing,
    Set(bool),
}

/// What a session saw. `version` is the post's, where it has one.
#[derive(Debug, Clone)]
pub(crate) struct Observation {
    pub(crate) session: u32,
    /// Whether the reader is the only one who writes this.
    pub(crate) own: bool,
    pub(crate) key: Key,
    pub(crate) value: Held,
    pub(crate) version: Option<u64>,
    pub(crate) began: Duration,
    pub(crate) ended: Duration,
}

impl Operation {
    /// What it sets, if it took effect.
    fn effect(&self) -> Option<(Key, Held)> {
        Some(match &self.action {
            Action::CreatePost { nonce } | Action::CreateComment { nonce, .. } => (Key::Text(self.created()?), Held::Text(nonce.clone())),
            Action::EditPost { post, nonce } => (Key::Text(*post), Held::Text(nonce.clone())),
            Action::EditComment { comment, nonce, .. } => (Key::Text(*comment), Held::Text(nonce.clone())),
            Action::DeletePost { post } => (Key::Text(*post), Held::Deleted),
            Action::DeleteComment { comment, .. } => (Key::Text(*comment), Held::Deleted),
            Action::SetLike { post, liked } => (Key::Like(*post, self.actor), Held::Set(*liked)),
            Action::SetFollow { followee, following } => (Key::Follow(self.actor, *followee), Held::Set(*following)),
        })
    }

    pub(crate) fn is_ok(&self) -> bool {
        matches!(self.outcome, Some(Outcome::Ok { .. }))
    }

    fn is_fail(&self) -> bool {
        matches!(self.outcome, Some(Outcome::Fail { .. }))
    }

    fn created(&self) -> Option<Id> {
        match self.outcome {
            Some(Outcome::Ok { object, .. }) => object,
            _ => None,
        }
    }

    /// It had ended, with all that may come of it, before that time.
    fn before(&self, time: Duration) -> bool {
        self.ended.is_some_and(|ended| ended < time)
    }

    /// The post that it hangs on, for what is not a post itself.
    fn below(&self) -> Option<Id> {
        match self.action {
            Action::CreateComment { post, .. }
            | Action::EditComment { post, .. }
            | Action::DeleteComment { post, .. }
            | Action::SetLike { post, .. } => Some(post),
            _ => None,
        }
    }
}

/// Everything that was asked, answered and seen.
#[derive(Debug, Clone, Default)]
pub(crate) struct Record {
    pub(crate) operations: Vec<Operation>,
    pub(crate) observations: Vec<Observation>,
}

/// A record being made, by many tasks.
#[derive(Debug, Clone)]
pub(crate) struct History {
    started: Instant,
    record: Arc<Mutex<Record>>,
    /// When the process ended, each time.
    deaths: Arc<Mutex<Vec<Duration>>>,
}

impl History {
    pub(crate) fn new() -> Self {
        Self { started: Instant::now(), record: Arc::default(), deaths: Arc::default() }
    }

    pub(crate) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Notes a call before it is sent; the answer is the place for [`History::end`].
    pub(crate) fn begin(&self, session: u32, actor: Id, action: Action) -> usize {
        let began = self.now();
        let mut record = self.record.lock().expect("not poisoned");
        record.operations.push(Operation { session, actor, action, began, sent: began, ended: None, outcome: None });
        record.operations.len() - 1
    }

    pub(crate) fn end(&self, place: usize, outcome: Outcome) {
        let now = self.now();
        let mut record = self.record.lock().expect("not poisoned");
        let operation = &mut record.operations[place];
        operation.ended = (!matches!(outcome, Outcome::Info { .. })).then_some(now);
        operation.outcome = Some(outcome);
    }

    pub(crate) fn observe(&self, observation: Observation) {
        self.record.lock().expect("not poisoned").observations.push(observation);
    }

    /// The same call is sent again, with its key.
    pub(crate) fn send_again(&self, place: usize) {
        let now = self.now();
        self.record.lock().expect("not poisoned").operations[place].sent = now;
    }

    /// The process has ended: what was sent before and has no answer happened before, or never.
    pub(crate) fn process_ended(&self) {
        self.deaths.lock().expect("not poisoned").push(self.now());
    }

    pub(crate) fn record(&self) -> Record {
        let mut record = self.record.lock().expect("not poisoned").clone();
        let deaths = self.deaths.lock().expect("not poisoned");
        for operation in record.operations.iter_mut().filter(|operation| operation.ended.is_none()) {
            operation.ended = deaths.iter().find(|death| **death >= operation.sent).copied();
        }
        record
    }
}

/// A promise that was broken, and where it showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) check: &'static str,
    pub(crate) what: String,
}

fn violation(check: &'static str, what: impl Into<String>) -> Violation {
    Violation { check, what: what.into() }
}

impl Record {
    /// Operations that set each key, with their values, in the order in which they began.
    fn by_key(&self) -> HashMap<Key, Vec<(&Operation, Held)>> {
        let mut by_key: HashMap<Key, Vec<(&Operation, Held)>> = HashMap::new();
        for operation in self.operations.iter().filter(|operation| !operation.is_fail()) {
            if let Some((key, value)) = operation.effect() {
                by_key.entry(key).or_default().push((operation, value));
            }
        }
        by_key
    }

    /// Posts that somebody asked to delete, and was not refused.
    fn maybe_deleted(&self) -> HashSet<Id> {
        self.operations
            .iter()
            .filter(|operation| !operation.is_fail())
            .filter_map(|operation| match operation.action {
                Action::DeletePost { post } => Some(post),
                Action::DeleteComment { comment, .. } => Some(comment),
                _ => None,
            })
            .collect()
    }

    /// All ids, operations that may have taken effect, and the nonces that may stand somewhere.
    fn possible_nonces(&self) -> HashMap<&str, &Operation> {
        self.operations
            .iter()
            .filter(|operation| !operation.is_fail())
            .filter_map(|operation| operation.action.nonce().map(|nonce| (nonce, operation)))
            .collect()
    }
}

/// C1: what was accepted is there, once, under the id that was answered, unless somebody asked to delete it.
pub(crate) fn accepted_is_there_once(record: &Record, facts: &Facts) -> Vec<Violation> {
    const CHECK: &str = "C1 accepted is there once";
    let deleted = record.maybe_deleted();
    let texts = facts.texts();
    let mut places: HashMap<&str, Vec<Id>> = HashMap::new();
    for (id, held) in texts.iter().flat_map(|(id, held)| held.iter().map(move |text| (*id, *text))) {
        if let Some(text) = held {
            places.entry(nonce_of(text)).or_default().push(id);
        }
    }
    let mut found = Vec::new();
    for operation in record.operations.iter().filter(|operation| operation.is_ok()) {
        let (Some(id), Some(nonce)) = (operation.created(), operation.action.nonce()) else { continue };
        let gone = deleted.contains(&id) || operation.below().is_some_and(|post| deleted.contains(&post));
        let copies = texts.get(&id).map_or(0, Vec::len);
        if copies > 1 || (copies == 0 && !gone) {
            found.push(violation(CHECK, format!("{} {id} ({nonce}) stands {copies} times", operation.action.name())));
        }
        let elsewhere: Vec<Id> = places.get(nonce).into_iter().flatten().copied().filter(|place| *place != id).collect();
        if !elsewhere.is_empty() {
            found.push(violation(CHECK, format!("{nonce} was answered as {id} and stands also in {elsewhere:?}")));
        }
    }
    found
}

/// C2: nothing that was definitely refused is anywhere.
pub(crate) fn refused_is_nowhere(record: &Record, facts: &Facts) -> Vec<Violation> {
    let standing: HashSet<&str> = facts.nonces().collect();
    record
        .operations
        .iter()
        .filter(|operation| operation.is_fail())
        .filter_map(|operation| operation.action.nonce())
        .filter(|nonce| standing.contains(nonce))
        .map(|nonce| violation("C2 refused is nowhere", format!("{nonce} was refused and stands")))
        .collect()
}

/// C3: what had no answer happened at most once.
pub(crate) fn unanswered_is_there_at_most_once(record: &Record, facts: &Facts) -> Vec<Violation> {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for nonce in facts.nonces() {
        *counts.entry(nonce).or_default() += 1;
    }
    record
        .operations
        .iter()
        .filter(|operation| !operation.is_ok() && !operation.is_fail())
        .filter_map(|operation| operation.action.nonce())
        .filter(|nonce| counts.get(nonce).is_some_and(|count| *count > 1))
        .map(|nonce| violation("C3 unanswered at most once", format!("{nonce} stands {} times", counts[nonce])))
        .collect()
}

/// The values that may stand after all these: those of operations that no accepted one has followed.
fn last_values(operations: &[(&Operation, Held)], otherwise: Option<Held>) -> BTreeSet<Held> {
    if operations.iter().any(|(operation, value)| operation.is_ok() && *value == Held::Deleted) {
        return BTreeSet::from([Held::Deleted]);
    }
    let followed = |operation: &Operation| operations.iter().any(|(other, _)| other.is_ok() && operation.before(other.began));
    let mut values: BTreeSet<Held> =
        operations.iter().filter(|(operation, _)| !followed(operation)).map(|(_, value)| value.clone()).collect();
    if !operations.iter().any(|(operation, _)| operation.is_ok()) {
        values.extend(otherwise);
    }
    values
}

/// C4: of each thing stands what was accepted last.
pub(crate) fn the_last_accepted_stands(record: &Record, facts: &Facts) -> Vec<Violation> {
    const CHECK: &str = "C4 the last accepted stands";
    let texts = facts.texts();
    let (likes, follows) = (facts.likes_set(), facts.follows_set());
    let mut found = Vec::new();
    for (key, operations) in record.by_key() {
        let below = operations.iter().find_map(|(operation, _)| operation.below());
        let post_is_there = |post: &Id| texts.get(post).is_some_and(|held| held.iter().any(Option::is_some));
        if below.is_some_and(|post| !post_is_there(&post)) {
            continue; // What hung on a deleted post is gone with it; C1 sees a post that is missing.
        }
        let (stands, otherwise) = match key {
            Key::Text(id) => match texts.get(&id).and_then(|held| held.first()) {
                Some(Some(text)) => (Held::Text(nonce_of(text).to_owned()), None),
                Some(None) | None => (Held::Deleted, None),
            },
            Key::Like(post, user) => (Held::Set(likes.contains(&(post, user))), Some(Held::Set(false))),
            Key::Follow(follower, followee) => (Held::Set(follows.contains(&(follower, followee))), Some(Held::Set(false))),
        };
        let legal = last_values(&operations, otherwise);
        // Only unanswered creations: C3 and C11 look after those.
        if !legal.is_empty() && !legal.contains(&stands) {
            found.push(violation(CHECK, format!("{key:?} holds {stands:?}, legal: {legal:?}")));
        }
    }
    found
}

/// C5: nobody reads older than his own writes or his earlier reads, and nothing deleted comes back.
pub(crate) fn sessions_never_go_back(record: &Record) -> Vec<Violation> {
    const CHECK: &str = "C5 sessions never go back";
    let by_key = record.by_key();
    let mut found = Vec::new();
    let mut sessions: BTreeMap<(u32, Key), Vec<&Observation>> = BTreeMap::new();
    for seen in &record.observations {
        if seen.own && !own_read_is_legal(seen, by_key.get(&seen.key).map_or(&[][..], Vec::as_slice)) {
            found.push(violation(
                CHECK,
                format!("session {} read {:?} of {:?} after newer writes of its own", seen.session, seen.value, seen.key),
            ));
        }
        sessions.entry((seen.session, seen.key)).or_default().push(seen);
    }
    for ((session, key), mut reads) in sessions {
        reads.sort_by_key(|seen| seen.began);
        let operations = by_key.get(&key).map_or(&[][..], Vec::as_slice);
        for (earlier, later) in reads.iter().zip(reads.iter().skip(1)).filter(|(earlier, later)| earlier.ended < later.began) {
            let back = earlier.value == Held::Deleted && later.value != Held::Deleted
                || earlier.version.zip(later.version).is_some_and(|(before, after)| after < before)
                || text_went_back(&earlier.value, &later.value, operations);
            if back {
                let (before, after) = ((&earlier.value, earlier.version), (&later.value, later.version));
                found.push(violation(CHECK, format!("session {session} saw {key:?} go from {before:?} to {after:?}")));
            }
        }
    }
    found
}

fn own_read_is_legal(seen: &Observation, operations: &[(&Operation, Held)]) -> bool {
    let known = |operation: &Operation| operation.is_ok() && operation.before(seen.began);
    let stale = |operation: &Operation| operations.iter().any(|(other, _)| known(other) && operation.before(other.began));
    let legal = operations.iter().any(|(operation, value)| *value == seen.value && operation.began < seen.ended && !stale(operation));
    let untouched = !operations.iter().any(|(operation, _)| known(operation));
    legal || (untouched && matches!(seen.value, Held::Set(false) | Held::Text(_)))
}

fn text_went_back(earlier: &Held, later: &Held, operations: &[(&Operation, Held)]) -> bool {
    let of = |value: &Held| operations.iter().find(|(_, written)| written == value).map(|(operation, _)| *operation);
    match (earlier, later) {
        (Held::Text(_), Held::Text(_)) => of(later).zip(of(earlier)).is_some_and(|(older, newer)| older.before(newer.began)),
        _ => false,
    }
}

/// C6: each counter is the number of its rows. For the rows of one snapshot of one shard, or of all shards at the end.
pub(crate) fn counters_are_their_rows(facts: &Facts) -> Vec<Violation> {
    const CHECK: &str = "C6 counters are their rows";
    let mut likes: HashMap<Id, i64> = HashMap::new();
    let mut comments: HashMap<Id, i64> = HashMap::new();
    let mut users: HashMap<Id, [i64; 3]> = HashMap::new();
    for like in &facts.likes {
        *likes.entry(like.0).or_default() += 1;
    }
    for comment in facts.comments.iter().filter(|comment| comment.body.is_some()) {
        *comments.entry(comment.post).or_default() += 1;
    }
    for (author, _) in &facts.author_posts {
        users.entry(*author).or_default()[0] += 1;
    }
    for (followee, _) in &facts.followed {
        users.entry(*followee).or_default()[1] += 1;
    }
    for (follower, _) in &facts.follows {
        users.entry(*follower).or_default()[2] += 1;
    }
    let mut found = Vec::new();
    for post in facts.posts.iter().filter(|post| post.body.is_some()) {
        let counted = facts.post_counters.get(&post.id).copied().unwrap_or_default();
        let rows = (likes.get(&post.id).copied().unwrap_or(0), comments.get(&post.id).copied().unwrap_or(0));
        if counted != rows {
            found.push(violation(CHECK, format!("post {} counts (likes, comments) {counted:?}, rows {rows:?} ({})", post.id, post.place)));
        }
    }
    let known: BTreeSet<Id> = facts.user_counters.keys().chain(users.keys()).copied().collect();
    for user in known {
        let counted = facts.user_counters.get(&user).copied().unwrap_or_default();
        let rows = users.get(&user).copied().unwrap_or_default();
        if counted != rows {
            found.push(violation(CHECK, format!("user {user} counts [posts, followers, following] {counted:?}, rows {rows:?}")));
        }
    }
    found
}

/// C9: no id was given twice, and each has one owner.
pub(crate) fn ids_are_unique(record: &Record, facts: &Facts) -> Vec<Violation> {
    const CHECK: &str = "C9 ids are unique";
    let mut owners: HashMap<Id, String> = HashMap::new();
    let mut found = Vec::new();
    let mut claim = |id: Id, owner: String| {
        if let Some(other) = owners.insert(id, owner.clone())
            && other != owner
        {
            found.push(violation(CHECK, format!("{id} is {other} and {owner}")));
        }
    };
    for (place, operation) in record.operations.iter().enumerate() {
        if let Some(Outcome::Ok { write, object, replayed: false }) = operation.outcome {
            claim(write, format!("the write of operation {place}"));
            if let Some(object) = object {
                claim(object, format!("the {} {}", operation.action.name(), operation.action.nonce().unwrap_or_default()));
            }
        }
    }
    let mut kinds: HashMap<Id, (&str, Id, Id)> = HashMap::new();
    let posts = facts.posts.iter().map(|post| (post.id, ("post", post.author, post.id)));
    let comments = facts.comments.iter().map(|comment| (comment.id, ("comment", comment.author, comment.post)));
    for (id, kind) in posts.chain(comments) {
        if let Some(other) = kinds.insert(id, kind)
            && other != kind
        {
            found.push(violation(CHECK, format!("{id} is {other:?} and {kind:?}")));
        }
    }
    found
}

/// C10: each row is on the shard that the map names, and on no other. `map` is what the server says of each post's id.
pub(crate) fn rows_are_where_the_map_says(facts: &Facts, map: &HashMap<Id, String>) -> Vec<Violation> {
    const CHECK: &str = "C10 rows are where the map says";
    let mut found = Vec::new();
    let mut homes: HashMap<Id, &str> = HashMap::new();
    let mut pairs: BTreeSet<(&str, &str)> = BTreeSet::new();
    for post in &facts.posts {
        if homes.insert(post.id, &post.place).is_some_and(|other| other != post.place) {
            found.push(violation(CHECK, format!("post {} is on two shards", post.id)));
        }
        match map.get(&post.id) {
            Some(shard) => drop(pairs.insert((&post.place, shard))),
            None => found.push(violation(CHECK, format!("the map knows no shard for post {}", post.id))),
        }
    }
    let places: BTreeSet<&str> = pairs.iter().map(|pair| pair.0).collect();
    let shards: BTreeSet<&str> = pairs.iter().map(|pair| pair.1).collect();
    if pairs.len() != places.len() || pairs.len() != shards.len() {
        found.push(violation(CHECK, format!("files and shards do not match one to one: {pairs:?}")));
    }
    for comment in facts.comments.iter().filter(|comment| homes.get(&comment.post).is_none_or(|home| *home != comment.place)) {
        found.push(violation(CHECK, format!("comment {} is in {}, its post is not", comment.id, comment.place)));
    }
    for (post, user, place) in facts.likes.iter().filter(|like| homes.get(&like.0).is_none_or(|home| *home != like.2)) {
        found.push(violation(CHECK, format!("the like of {post} by {user} is in {place}, its post is not")));
    }
    found
}

/// C11: nothing stands that nobody asked for, and the two sides of a follow agree.
pub(crate) fn nothing_is_there_unasked(record: &Record, facts: &Facts) -> Vec<Violation> {
    const CHECK: &str = "C11 nothing is there unasked";
    let possible = record.possible_nonces();
    let mut found = Vec::new();
    for nonce in facts.nonces() {
        if !possible.contains_key(nonce) {
            found.push(violation(CHECK, format!("nobody asked for {nonce}")));
        }
    }
    let set: HashSet<Key> = record
        .operations
        .iter()
        .filter(|operation| !operation.is_fail())
        .filter_map(Operation::effect)
        .filter(|(_, value)| *value == Held::Set(true))
        .map(|(key, _)| key)
        .collect();
    for like in facts.likes_set() {
        if !set.contains(&Key::Like(like.0, like.1)) {
            found.push(violation(CHECK, format!("nobody asked for the like {like:?}")));
        }
    }
    let (follows, followed) = (facts.follows_set(), facts.followed.iter().map(|(followee, follower)| (*follower, *followee)).collect());
    for follow in &follows {
        if !set.contains(&Key::Follow(follow.0, follow.1)) {
            found.push(violation(CHECK, format!("nobody asked for the follow {follow:?}")));
        }
    }
    for follow in follows.symmetric_difference(&followed) {
        found.push(violation(CHECK, format!("only one side knows of the follow {follow:?}")));
    }
    found
}

/// What a run came to.
#[derive(Debug, Default)]
pub(crate) struct Report {
    accepted: usize,
    refused: usize,
    unknown: usize,
    observations: usize,
    by_action: BTreeMap<&'static str, usize>,
    refusals: BTreeMap<u16, usize>,
    pub(crate) violations: Vec<Violation>,
}

impl Report {
    pub(crate) fn of(record: &Record) -> Self {
        let mut report = Self { observations: record.observations.len(), ..Self::default() };
        for operation in &record.operations {
            *report.by_action.entry(operation.action.name()).or_default() += 1;
            match &operation.outcome {
                Some(Outcome::Ok { .. }) => report.accepted += 1,
                Some(Outcome::Fail { status }) => {
                    report.refused += 1;
                    *report.refusals.entry(*status).or_default() += 1;
                }
                Some(Outcome::Info { .. }) | None => report.unknown += 1,
            }
        }
        report
    }

    /// Runs all checks that need only the record and the facts.
    pub(crate) fn check(mut self, record: &Record, facts: &Facts) -> Self {
        self.violations.extend(accepted_is_there_once(record, facts));
        self.violations.extend(refused_is_nowhere(record, facts));
        self.violations.extend(unanswered_is_there_at_most_once(record, facts));
        self.violations.extend(the_last_accepted_stands(record, facts));
        self.violations.extend(counters_are_their_rows(facts));
        self.violations.extend(ids_are_unique(record, facts));
        self.violations.extend(nothing_is_there_unasked(record, facts));
        self
    }

    pub(crate) fn check_sessions(mut self, record: &Record) -> Self {
        self.violations.extend(sessions_never_go_back(record));
        self
    }

    pub(crate) fn accepted(&self) -> usize {
        self.accepted
    }

    /// Which checks found something: what a control test asks.
    pub(crate) fn caught_by(&self) -> BTreeSet<&'static str> {
        self.violations.iter().filter_map(|violation| violation.check.split(' ').next()).collect()
    }

    #[track_caller]
    pub(crate) fn assert_clean(&self) {
        println!("{self}");
        assert!(self.violations.is_empty(), "{} promises broken:\n{self}", self.violations.len());
    }

    /// A planted fault was noticed by one of these checks.
    #[track_caller]
    pub(crate) fn assert_caught(&self, checks: &[&str]) {
        let caught = self.caught_by();
        assert!(checks.iter().any(|check| caught.contains(check)), "the planted fault was not noticed by {checks:?}:\n{self}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "accepted {} · refused {} {:?} · unknown {} · read {} · {:?}",
            self.accepted, self.refused, self.refusals, self.unknown, self.observations, self.by_action
        )?;
        for violation in self.violations.iter().take(20) {
            writeln!(formatter, "  {}: {}", violation.check, violation.what)?;
        }
        if self.violations.len() > 20 {
            writeln!(formatter, "  and {} more", self.violations.len() - 20)?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
