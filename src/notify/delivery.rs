//! One delivery: notices for inboxes of one shard, in one transaction with the cursors of their sources.
//!
//! Parcels go in; entries, windows and counts are written, and the hints for open sockets come out. Promise: all of it or nothing, so a
//! cursor is never apart from what it stands for. What the recipients' own rows say is read in the same transaction.

mod closing;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

pub use self::closing::close_windows;
use super::book::{Cause, Notice, Parcel, What};
use super::coalesce;
use super::preference::{Standing, admits};
use super::unshown::Hiding;
use crate::substrate::bus::{Hint, Told};
use crate::substrate::store::{
    EntryKey, FIRST_ACTORS_MAX, NoticeStep, StandingKey, StandingRow, Store, StoreError, StoreErrorKind, WindowKey, WindowRow, Withdrawal,
    WriteTx,
};
use crate::support::faults::planted;
use crate::support::snowflake::{IdError, IdMaker};
use crate::vocabulary::Millis;
use crate::vocabulary::entry::{About, EntryState, InboxEntry, InboxLine, InboxState, NotificationKind};
use crate::vocabulary::ids::{NotificationId, Position, UserId};
use crate::vocabulary::owner::{INBOX_LANES, LANES, Lane, Owner};
use crate::vocabulary::preferences::Ways;

/// Entries that one transaction withdraws. There may be a million about one post.
const WITHDRAWN_MAX: u64 = 500;

/// Why nothing was delivered.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    #[error("the shard's database did not take it")]
    Store(#[from] StoreError),
    #[error("there is no id for an entry")]
    Id(#[from] IdError),
    #[error("the shard's database could not be reached a moment ago")]
    Down,
}

impl DeliveryError {
    /// The shard is down: it is only to be waited for.
    pub fn is_down(&self) -> bool {
        match self {
            Self::Store(error) => error.kind() == StoreErrorKind::Unavailable,
            Self::Id(_) => false,
            Self::Down => true,
        }
    }
}

/// What a delivery stands on besides its database.
#[derive(Clone)]
pub struct Tools {
    pub ids: Arc<IdMaker>,
    /// Where what is committed is not seen by everybody at once.
    pub hiding: Option<Hiding>,
}

/// Delivers, and answers what open sockets may hear of it.
pub async fn deliver(store: &Store, tools: &Tools, parcels: &[&Parcel], now: Millis) -> Result<Vec<Hint>, DeliveryError> {
    let notices = || parcels.iter().flat_map(|parcel| &parcel.notices);
    let mut hints = Vec::new();
    for notice in notices() {
        if let What::Withdraw(about) = &notice.what {
            withdraw_most(store, about, &mut hints).await?;
        }
    }
    // A planted fault: where inboxes stand is read before the transaction that counts on.
    let early = if planted("inbox::seq_outside") { Some(read_states(store, notices()).await?) } else { None };
    if planted("notify::cursor_apart") {
        move_cursors_apart(store, parcels).await?;
    }

    let mut tx = store.begin().await?;
    tx.lanes_lock(&lanes_of(notices())).await?;
    if !planted("notify::cursor_apart") {
        tx.notice_cursors_advance(&steps_of(parcels)).await?;
    }
    let mut delivery = Delivery::begin(tx, tools, notices(), now).await?;
    if let Some(states) = early {
        delivery.states.extend(states);
    }
    for notice in notices() {
        delivery.take(notice).await?;
    }
    fail::fail_point!("notify::before_commit");
    hints.extend(delivery.commit().await?);
    fail::fail_point!("notify::after_commit");
    Ok(hints)
}

/// Withdraws what there is too much of for the delivery's own transaction. That nothing of it comes back is sure: it is deleted.
async fn withdraw_most(store: &Store, about: &About, hints: &mut Vec<Hint>) -> Result<(), DeliveryError> {
    while store.snapshot().await?.inbox_unread_about(about, WITHDRAWN_MAX).await? == WITHDRAWN_MAX {
        let mut tx = store.begin().await?;
        tx.lanes_lock(&all_inbox_lanes()).await?;
        let keys = tx.inbox_withdraw(Withdrawal::About(about), WITHDRAWN_MAX).await?;
        let mut states = states_of(&mut tx, keys.iter().map(|(recipient, _)| *recipient)).await?;
        lower(&mut states, &keys);
        tx.inbox_save(&[], &states).await?;
        tx.commit().await?;
        hints.extend(withdrawals(&keys, &states));
    }
    Ok(())
}

/// Takes withdrawn entries out of the counts of unread ones.
fn lower(states: &mut BTreeMap<UserId, InboxState>, keys: &[EntryKey]) {
    for (recipient, _) in keys {
        let state = states.entry(*recipient).or_default();
        state.unread = state.unread.saturating_sub(1);
    }
}

/// What sockets hear of withdrawn entries, with what is unread when all is done: a count from between would be wrong as soon as it is told.
fn withdrawals(keys: &[EntryKey], states: &BTreeMap<UserId, InboxState>) -> Vec<Hint> {
    let unread = |user: &UserId| states.get(user).map_or(0, |state| state.unread);
    keys.iter().map(|(user, seq)| Hint::Withdrawn { user: *user, seq: *seq, unread: unread(user) }).collect()
}

async fn states_of(tx: &mut WriteTx, recipients: impl Iterator<Item = UserId>) -> Result<BTreeMap<UserId, InboxState>, StoreError> {
    Ok(tx.inbox_states(recipients.collect()).await?.into_iter().collect())
}

async fn read_states(store: &Store, notices: impl Iterator<Item = &Notice>) -> Result<BTreeMap<UserId, InboxState>, StoreError> {
    let mut snapshot = store.snapshot().await?;
    let mut states = BTreeMap::new();
    for notice in notices {
        states.insert(notice.recipient(), snapshot.inbox_state(notice.recipient()).await?);
    }
    drop(snapshot);
    #[cfg(feature = "faults")]
    crate::support::faults::pause("inbox::seq_outside").await;
    Ok(states)
}

async fn move_cursors_apart(store: &Store, parcels: &[&Parcel]) -> Result<(), StoreError> {
    let mut tx = store.begin().await?;
    tx.notice_cursors_advance(&steps_of(parcels)).await?;
    tx.commit().await
}

fn steps_of(parcels: &[&Parcel]) -> Vec<NoticeStep> {
    parcels.iter().map(|parcel| NoticeStep { source: parcel.source, known: parcel.known, next: parcel.next }).collect()
}

fn all_inbox_lanes() -> Vec<Lane> {
    (LANES - INBOX_LANES..LANES).map(Lane).collect()
}

fn lanes_of<'a>(notices: impl Iterator<Item = &'a Notice>) -> Vec<Lane> {
    let mut lanes = BTreeSet::new();
    for notice in notices {
        if matches!(notice.what, What::Withdraw(_)) {
            return all_inbox_lanes();
        }
        lanes.insert(Owner::Inbox(notice.recipient()).lane());
    }
    lanes.into_iter().collect()
}

fn standing_key(notice: &Notice) -> StandingKey {
    let recipient = notice.recipient();
    let Cause { actor, host, .. } = *notice.cause;
    StandingKey { recipient, actor, host: host.filter(|host| *host != recipient) }
}

/// A transaction with what it knows and has yet to write.
struct Delivery<'a> {
    tx: WriteTx,
    tools: &'a Tools,
    now: Millis,
    standings: HashMap<StandingKey, StandingRow>,
    states: BTreeMap<UserId, InboxState>,
    /// Inboxes that do not stand where they were loaded.
    moved: BTreeSet<UserId>,
    /// The first new entry of each inbox, if they are not shown at once.
    firsts: BTreeMap<UserId, u64>,
    windows: HashMap<WindowKey, WindowRow>,
    /// Windows that were opened anew.
    opened: HashSet<WindowKey>,
    /// Windows whose people are not as they were loaded.
    changed: HashSet<WindowKey>,
    /// Who has a row of his own in a window, of those who are about to come in.
    members: HashSet<(WindowKey, UserId)>,
    newcomers: Vec<((WindowKey, UserId), Position)>,
    entries: Vec<(UserId, InboxEntry)>,
    told: Vec<(Arc<InboxLine>, Vec<Told>)>,
    withdrawn: Vec<EntryKey>,
}

impl<'a> Delivery<'a> {
    fn bare(tx: WriteTx, tools: &'a Tools, now: Millis) -> Self {
        Self {
            tx,
            tools,
            now,
            standings: HashMap::new(),
            states: BTreeMap::new(),
            moved: BTreeSet::new(),
            firsts: BTreeMap::new(),
            windows: HashMap::new(),
            opened: HashSet::new(),
            changed: HashSet::new(),
            members: HashSet::new(),
            newcomers: Vec::new(),
            entries: Vec::new(),
            told: Vec::new(),
            withdrawn: Vec::new(),
        }
    }

    /// Loads, in a few statements, what all these notices need.
    async fn begin(tx: WriteTx, tools: &'a Tools, notices: impl Iterator<Item = &Notice>, now: Millis) -> Result<Self, StoreError> {
        let mut delivery = Self::bare(tx, tools, now);
        let (mut standings, mut windows, mut members) = (Vec::new(), Vec::new(), Vec::new());
        for notice in notices {
            let (recipient, actor) = (notice.recipient(), notice.cause.actor);
            if matches!(notice.what, What::Withdraw(_)) {
                continue;
            }
            standings.push(standing_key(notice));
            if let What::Gather(line) = &notice.what {
                let key = WindowKey { recipient, group: line.group };
                windows.push(key);
                members.push((key, actor));
            } else if let What::TakeBack { group, .. } = notice.what {
                windows.push(WindowKey { recipient, group });
            }
        }
        delivery.standings = delivery.tx.standings(standings).await?;
        delivery.states = delivery.standings.iter().map(|(key, standing)| (key.recipient, standing.inbox)).collect();
        delivery.windows = delivery.tx.windows_load(windows).await?;
        members.retain(|(key, _)| delivery.windows.get(key).is_some_and(WindowRow::is_crowded));
        delivery.members = delivery.tx.window_actors_load(members).await?.into_iter().collect();
        Ok(delivery)
    }

    async fn load_states(&mut self, recipients: impl Iterator<Item = UserId>) -> Result<(), StoreError> {
        let missing: Vec<UserId> = recipients.filter(|recipient| !self.states.contains_key(recipient)).collect();
        self.states.extend(states_of(&mut self.tx, missing.into_iter()).await?);
        Ok(())
    }

    async fn take(&mut self, notice: &Notice) -> Result<(), DeliveryError> {
        let recipient = notice.recipient();
        match &notice.what {
            What::Entry(line) => {
                if let Some(ways) = self.admitted(notice, line) {
                    self.append(recipient, Arc::clone(line), ways.stream)?;
                }
            }
            What::Gather(line) => {
                if let Some(ways) = self.admitted(notice, line) {
                    self.gather(notice, line, ways)?;
                }
            }
            What::TakeBack { group, post, comment } => {
                let actor = notice.cause.actor;
                if !self.leave(WindowKey { recipient, group: *group }, actor).await? {
                    self.flush().await?;
                    self.withdraw(Withdrawal::Single { recipient, group: *group, post: *post, comment: *comment, actor }).await?;
                }
            }
            What::Part(other) => {
                self.flush().await?;
                for (key, window) in self.tx.windows_of(recipient).await? {
                    self.windows.insert(key, window);
                    self.leave(key, *other).await?;
                }
                self.withdraw(Withdrawal::Person { recipient, actor: *other }).await?;
            }
            What::Withdraw(about) => {
                self.flush().await?;
                let keys = self.tx.windows_about(about).await?.into_iter().map(|(key, _)| key).collect();
                self.forget(keys).await?;
                self.withdraw(Withdrawal::About(about)).await?;
            }
            What::Hush(post) => {
                self.flush().await?;
                let windows = self.tx.windows_of(recipient).await?.into_iter();
                self.forget(windows.filter(|(_, window)| window.post == Some(*post)).map(|(key, _)| key).collect()).await?;
            }
        }
        Ok(())
    }

    /// Takes windows away, with all who are in them.
    async fn forget(&mut self, keys: Vec<WindowKey>) -> Result<(), StoreError> {
        self.tx.windows_delete(&keys).await?;
        for key in keys {
            self.windows.remove(&key);
            self.members.retain(|(of, _)| *of != key);
        }
        Ok(())
    }

    /// How the recipient wants to hear of it, if he is to be told at all.
    fn admitted(&self, notice: &Notice, line: &InboxLine) -> Option<Ways> {
        self.ways_of(&standing_key(notice), line.kind())
    }

    /// How this recipient wants to hear of this person's doings, if at all.
    fn ways_of(&self, key: &StandingKey, kind: NotificationKind) -> Option<Ways> {
        let StandingRow { preferences, actor, apart_from_host, muted, .. } = self.standings.get(key)?;
        let ways = preferences.ways(kind);
        admits(&Standing { ways, actor: *actor, apart_from_host: *apart_from_host, muted: *muted }).then_some(ways)
    }

    /// Puts an entry into an inbox, at the next place.
    fn append(&mut self, recipient: UserId, line: Arc<InboxLine>, stream: bool) -> Result<(), IdError> {
        self.moved.insert(recipient);
        let state = self.states.entry(recipient).or_default();
        state.seq += 1;
        state.unread += 1;
        if self.tools.hiding.is_some() {
            self.firsts.entry(recipient).or_insert(state.seq);
        }
        let id = NotificationId::from_raw(self.tools.ids.next()?);
        let told = Told { user: recipient, seq: state.seq, id };
        let entry = InboxEntry { seq: state.seq, id, line: Arc::clone(&line), state: EntryState::Unread };
        self.entries.push((recipient, entry));
        if stream {
            match self.told.iter_mut().rev().find(|(known, _)| Arc::ptr_eq(known, &line)) {
                Some((_, all)) => all.push(told),
                None => self.told.push((line, vec![told])),
            }
        }
        Ok(())
    }

    /// The first is told at once and opens a window; whoever comes while it is open waits in it.
    fn gather(&mut self, notice: &Notice, line: &Arc<InboxLine>, ways: Ways) -> Result<(), IdError> {
        let key = WindowKey { recipient: notice.recipient(), group: line.group };
        let Some(window) = self.windows.get_mut(&key) else {
            let InboxLine { post, comment, .. } = **line;
            self.open(key, WindowRow { post, comment, people: 0, stage: 0, due_at: coalesce::due_at(self.now, 0), first: Vec::new() });
            return self.append(key.recipient, Arc::clone(line), ways.stream);
        };
        let actor = notice.cause.actor;
        if window.first.contains(&actor) || self.members.contains(&(key, actor)) {
            return Ok(());
        }
        // Those in the row came before those beside it: a place that became free in the row stays free.
        if window.is_crowded() || window.first.len() == FIRST_ACTORS_MAX {
            self.members.insert((key, actor));
            self.newcomers.push(((key, actor), notice.mark.position));
        } else {
            window.first.push(actor);
        }
        window.people += 1;
        self.changed.insert(key);
        Ok(())
    }

    fn open(&mut self, key: WindowKey, window: WindowRow) {
        self.windows.insert(key, window);
        self.opened.insert(key);
    }

    /// Takes a person out of a window; says whether he was in it.
    async fn leave(&mut self, key: WindowKey, actor: UserId) -> Result<bool, StoreError> {
        let Some(window) = self.windows.get(&key) else { return Ok(false) };
        if !window.first.contains(&actor) {
            if !window.is_crowded() {
                return Ok(false);
            }
            self.flush().await?;
            if !self.tx.window_actor_delete(key, actor).await? {
                return Ok(false);
            }
            self.members.remove(&(key, actor));
        }
        if let Some(window) = self.windows.get_mut(&key) {
            window.first.retain(|first| *first != actor);
            window.people = window.people.saturating_sub(1);
            self.changed.insert(key);
        }
        Ok(true)
    }

    async fn withdraw(&mut self, what: Withdrawal<'_>) -> Result<(), StoreError> {
        loop {
            let keys = self.tx.inbox_withdraw(what, WITHDRAWN_MAX).await?;
            self.load_states(keys.iter().map(|(recipient, _)| *recipient)).await?;
            self.moved.extend(keys.iter().map(|(recipient, _)| *recipient));
            lower(&mut self.states, &keys);
            let all = (keys.len() as u64) < WITHDRAWN_MAX;
            self.withdrawn.extend(keys);
            if all {
                return Ok(());
            }
        }
    }

    /// Writes what is yet to be written, so that statements about rows find it.
    async fn flush(&mut self) -> Result<(), StoreError> {
        let moved = std::mem::take(&mut self.moved);
        let states = moved.into_iter().filter_map(|recipient| Some((recipient, *self.states.get(&recipient)?))).collect();
        self.tx.inbox_save(&self.entries, &states).await?;
        self.entries.clear();
        self.tx.window_actors_save(&self.newcomers).await?;
        self.newcomers.clear();
        self.changed.retain(|key| !self.opened.contains(key));
        let rows = |keys: &mut HashSet<WindowKey>| -> Vec<(WindowKey, WindowRow)> {
            keys.drain().filter_map(|key| self.windows.get(&key).map(|window| (key, window.clone()))).collect()
        };
        let (opened, changed) = (rows(&mut self.opened), rows(&mut self.changed));
        self.tx.windows_save(&opened).await?;
        self.tx.windows_save_people(&changed).await
    }

    async fn commit(mut self) -> Result<Vec<Hint>, StoreError> {
        self.flush().await?;
        if let Some(hiding) = &self.tools.hiding {
            hiding.hide(std::mem::take(&mut self.firsts));
        }
        self.tx.commit().await?;
        let told = self.told.into_iter().map(|(line, told)| Hint::Inbox { line, told });
        Ok(told.chain(withdrawals(&self.withdrawn, &self.states)).collect())
    }
}
