//! A ledger in memory that really keeps accounts and sessions: it decides with the same function as the shards.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::{AccountLedger, DecideError, Decision, EndedSession, Revocations, ShardUnavailable};
use crate::ledger::apply::Transition;
use crate::substrate::store::rows::{Needs, Rows};
use crate::support::clock::{Clock, ManualClock};
use crate::support::lock::lock;
use crate::vocabulary::Millis;
use crate::vocabulary::command::{Command, Entry};
use crate::vocabulary::event::Happened;
use crate::vocabulary::ids::{Position, UserId, WriteId};
use crate::vocabulary::owner::{Owner, ShardIndex};
use crate::vocabulary::rejection::Rejection;

#[derive(Default)]
struct State {
    rows: Rows,
    position: u64,
    journal: Vec<(UserId, Command)>,
}

pub(super) struct FakeLedger {
    state: Mutex<State>,
    clock: Arc<ManualClock>,
    /// Hears of ended sessions as the server's own feed of commits does.
    pub(super) feed: OnceLock<Arc<Revocations>>,
    pub(super) unreadable: AtomicBool,
    pub(super) reads: AtomicUsize,
    pub(super) refuse: Mutex<Option<DecideError>>,
    /// This shard can be read, and decides nothing.
    pub(super) stalled: Mutex<Option<ShardIndex>>,
    /// Decided just before the next command: what somebody else did in between.
    pub(super) in_between: Mutex<Option<(UserId, Command)>>,
}

impl FakeLedger {
    pub(super) fn new(clock: Arc<ManualClock>) -> Self {
        Self {
            state: Mutex::default(),
            clock,
            feed: OnceLock::new(),
            unreadable: AtomicBool::new(false),
            reads: AtomicUsize::new(0),
            refuse: Mutex::default(),
            stalled: Mutex::default(),
            in_between: Mutex::default(),
        }
    }

    /// All commands so far.
    pub(super) fn journal(&self) -> Vec<(UserId, Command)> {
        lock(&self.state).journal.clone()
    }

    pub(super) fn all_rows(&self) -> Rows {
        lock(&self.state).rows.clone()
    }

    pub(super) fn change_rows(&self, change: impl FnOnce(&mut Rows)) {
        change(&mut lock(&self.state).rows);
    }

    fn apply(&self, author: UserId, command: Command) -> Decision {
        let mut state = lock(&self.state);
        state.position += 1;
        let position = Position(state.position);
        let at = self.clock.now();
        state.journal.push((author, command.clone()));
        let entry = Entry { position, write: WriteId::from_raw(state.position), author, accepted_at: at, key: None, command };

        let mut transition = Transition::over(state.rows.clone());
        let happened = transition.apply(&entry);
        let effects = transition.finish();
        state.rows.accounts.extend(effects.rows.accounts);
        state.rows.sessions.extend(effects.rows.sessions);
        state.rows.names.extend(effects.rows.names);
        let mut relayed = Transition::over(std::mem::take(&mut state.rows));
        for relay in effects.events.iter().flat_map(|event| &event.relays) {
            relayed.relay(position, relay);
        }
        state.rows = relayed.into_rows();

        if let (Happened::SessionsEnded { sessions } | Happened::PasswordChanged { sessions }, Some(feed)) = (&happened, self.feed.get()) {
            feed.end(sessions.iter().copied(), at);
        }
        match happened {
            Happened::Rejected(rejection) => Decision::Rejected(rejection),
            // As the ledger tells it: the rows changed, and the caller is refused.
            Happened::SessionsEnded { .. } if matches!(entry.command, Command::RotateSession { .. }) => {
                Decision::Rejected(Rejection::SessionEnded)
            }
            _ => Decision::Done { position, at },
        }
    }

    fn read(&self, needs: &Needs) -> Rows {
        let state = lock(&self.state);
        let all = &state.rows;
        let mut rows = Rows::default();
        rows.accounts.extend(needs.accounts.iter().filter_map(|key| Some((*key, all.accounts.get(key)?.clone()))));
        rows.names.extend(needs.names.iter().filter_map(|key| Some((key.clone(), all.names.get(key)?.clone()))));
        rows.sessions.extend(needs.sessions.iter().filter_map(|key| Some((*key, all.sessions.get(key)?.clone()))));
        let of_users = all.sessions.values().filter(|row| row.ended_at.is_none() && needs.sessions_of.contains(&row.user));
        rows.sessions.extend(of_users.map(|row| (row.session, row.clone())));
        rows
    }
}

impl AccountLedger for FakeLedger {
    fn decide(
        &self,
        author: UserId,
        command: Command,
        _until_visible: bool,
        _within: Duration,
    ) -> BoxFuture<'_, Result<Decision, DecideError>> {
        async move {
            tokio::task::yield_now().await;
            if let Some(refused) = *lock(&self.refuse) {
                return Err(refused);
            }
            let stalled = *lock(&self.stalled);
            if stalled == Some(self.shard_of(author)) {
                std::future::pending::<()>().await;
            }
            let in_between = lock(&self.in_between).take();
            if let Some((author, command)) = in_between {
                self.apply(author, command);
            }
            let decision = self.apply(author, command);
            tokio::task::yield_now().await;
            Ok(decision)
        }
        .boxed()
    }

    fn rows(&self, _owner: Owner, needs: Needs) -> BoxFuture<'_, Result<Rows, ShardUnavailable>> {
        async move {
            tokio::task::yield_now().await;
            self.reads.fetch_add(1, Ordering::SeqCst);
            if self.unreadable.load(Ordering::SeqCst) { Err(ShardUnavailable { retry_after_s: 3 }) } else { Ok(self.read(&needs)) }
        }
        .boxed()
    }

    fn shard_of(&self, user: UserId) -> ShardIndex {
        ShardIndex((user.raw() % 2) as u16)
    }

    fn shards(&self) -> Vec<ShardIndex> {
        vec![ShardIndex(0), ShardIndex(1)]
    }

    fn sessions_ended_since(&self, shard: ShardIndex, since: Millis) -> BoxFuture<'_, Result<Vec<EndedSession>, ShardUnavailable>> {
        async move {
            if self.unreadable.load(Ordering::SeqCst) {
                return Err(ShardUnavailable { retry_after_s: 3 });
            }
            let rows = self.all_rows();
            let ended = rows.sessions.values().filter(|row| self.shard_of(row.user) == shard);
            let ended = ended.filter_map(|row| Some(EndedSession { session: row.session, ended_at: row.ended_at? }));
            Ok(ended.filter(|ended| ended.ended_at >= since).collect())
        }
        .boxed()
    }
}
