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

#[path = "history_checks.rs"]
mod checks;
pub(crate) use checks::*;

pub(crate) type Id = u64;

/// What somebody asked for. Each `nonce` is in one payload only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    CreatePost {
        nonce: String,
    },
    EditPost {
        post: Id,
        nonce: String,
    },
    DeletePost {
        post: Id,
    },
    /// `parent`: the comment that it answers.
    CreateComment {
        post: Id,
        parent: Option<Id>,
        nonce: String,
    },
    EditComment {
        post: Id,
        comment: Id,
        nonce: String,
    },
    DeleteComment {
        post: Id,
        comment: Id,
    },
    SetLike {
        post: Id,
        liked: bool,
    },
    SetCommentLike {
        post: Id,
        comment: Id,
        liked: bool,
    },
    SetFollow {
        followee: Id,
        following: bool,
    },
}

impl Action {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::CreatePost { .. } => "post",
            Self::EditPost { .. } => "edit post",
            Self::DeletePost { .. } => "delete post",
            Self::CreateComment { parent: None, .. } => "comment",
            Self::CreateComment { .. } => "reply",
            Self::EditComment { .. } => "edit comment",
            Self::DeleteComment { .. } => "delete comment",
            Self::SetLike { liked: true, .. } => "like",
            Self::SetLike { .. } => "unlike",
            Self::SetCommentLike { liked: true, .. } => "like comment",
            Self::SetCommentLike { .. } => "unlike comment",
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
    /// Comment, user.
    CommentLike(Id, Id),
    /// Follower, followee.
    Follow(Id, Id),
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Held {
    Text(String),
    Deleted,
    /// There is no such thing: never true of one's own that was accepted, nor of what was seen before.
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
            Action::SetCommentLike { comment, liked, .. } => (Key::CommentLike(*comment, self.actor), Held::Set(*liked)),
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

    /// The post and the comment that it hangs on, for what is not a post itself: if one is gone, it may be refused.
    fn below(&self) -> Vec<Id> {
        match self.action {
            Action::CreateComment { post, parent, .. } => [Some(post), parent].into_iter().flatten().collect(),
            Action::EditComment { post, .. } | Action::DeleteComment { post, .. } | Action::SetLike { post, .. } => vec![post],
            Action::SetCommentLike { post, comment, .. } => vec![post, comment],
            _ => Vec::new(),
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
    /// Answers that began and did not come to their end, and why.
    half_answers: Arc<Mutex<Vec<String>>>,
}

impl History {
    pub(crate) fn new() -> Self {
        Self { started: Instant::now(), record: Arc::default(), deaths: Arc::default(), half_answers: Arc::default() }
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

    /// How many calls were accepted so far.
    pub(crate) fn accepted(&self) -> usize {
        self.record.lock().expect("not poisoned").operations.iter().filter(|operation| operation.is_ok()).count()
    }

    /// The process has ended: what was sent before and has no answer happened before, or never.
    pub(crate) fn process_ended(&self) {
        self.deaths.lock().expect("not poisoned").push(self.now());
    }

    /// Notes why there is no answer, if there was a part of one.
    pub(crate) fn unanswered(&self, error: &reqwest::Error) {
        if error.is_body() || error.is_decode() {
            self.half_answers.lock().expect("not poisoned").push(format!("{error:?}"));
        }
    }

    pub(crate) fn half_answers(&self) -> Vec<String> {
        self.half_answers.lock().expect("not poisoned").clone()
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

    /// Accepted writes that were not final when all had been given their time.
    pub(crate) fn not_settled(&mut self, writes: Vec<(Id, String)>) {
        const CHECK: &str = "C1 accepted comes to an end";
        self.violations.extend(writes.into_iter().map(|(write, state)| violation(CHECK, format!("the write {write} is still {state}"))));
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
