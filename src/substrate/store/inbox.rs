//! Inboxes: their entries, where each stands, and what its owner wants to hear of.
//!
//! States and entries are loaded and saved in one transaction: who counts `seq` holds the recipient's lane.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use sea_orm::sea_query::{Asterisk, Expr, ExprTrait, OnConflict, Query, SelectStatement, UpdateStatement, ValueTuple};
use sea_orm::{DbErr, Order, Value};
use sosik_entities::{inbox_entries, inbox_states, preferences};

use crate::vocabulary::Millis;
use crate::vocabulary::entry::{About, EntryState, Group, InboxEntry, InboxLine, InboxState, NotificationKind, ReadMark, Target};
use crate::vocabulary::ids::{CommentId, NotificationId, PostId, UserId};
use crate::vocabulary::preferences::Preferences;

use super::bulk::{Key, Table, replace_if_higher};
use super::error::StoreError;
use super::line::Line;
use super::link::Link;
use super::rows::PreferencesRow;
use super::values::{comment_or_null, get, number, number_or_null, position, post_or_null, small, unreadable, unsigned, user};
use super::write_tx::WriteTx;

/// An entry's place: whose, and its `seq`.
pub type EntryKey = (UserId, u64);

pub(super) struct Entries;

impl Table for Entries {
    type Entity = inbox_entries::Entity;
    type Key = EntryKey;
    type Row = InboxEntry;

    const COLUMNS: &'static [inbox_entries::Column] = &[
        inbox_entries::Column::Owner,
        inbox_entries::Column::Seq,
        inbox_entries::Column::Id,
        inbox_entries::Column::Kind,
        inbox_entries::Column::TargetKind,
        inbox_entries::Column::Target,
        inbox_entries::Column::Actor,
        inbox_entries::Column::Actors,
        inbox_entries::Column::People,
        inbox_entries::Column::Post,
        inbox_entries::Column::Comment,
        inbox_entries::Column::CreatedAt,
        inbox_entries::Column::State,
    ];

    fn read(row: &Line) -> Result<(EntryKey, InboxEntry), DbErr> {
        let seq = unsigned(row, 1)?;
        let line = InboxLine {
            group: group(row, 3)?,
            actors: read_actors(&get::<Vec<u8>>(row, 7)?),
            count: small(row, 8)?,
            post: post_or_null(row, 9)?,
            comment: comment_or_null(row, 10)?,
            created_at: unsigned(row, 11)?,
        };
        let id = NotificationId::from_raw(unsigned(row, 2)?);
        Ok(((user(row, 0)?, seq), InboxEntry { seq, id, line: Arc::new(line), state: entry_state(get(row, 12)?)? }))
    }

    fn write(key: &EntryKey, row: &InboxEntry, values: &mut Vec<Value>) {
        key.push(values);
        values.push(number(row.id.raw()));
        push_group(&row.line.group, values);
        values.push(number(row.line.actors.first().map_or(0, |actor| actor.raw())));
        values.extend([actors_bytes(&row.line.actors).into(), i64::from(row.line.count).into()]);
        values.extend([number_or_null(row.line.post.map(PostId::raw)), number_or_null(row.line.comment.map(CommentId::raw))]);
        values.extend([number(row.line.created_at), state_code(row.state).into()]);
    }

    /// Whoever counts `seq` in its transaction never meets one that is there.
    fn on_conflict() -> OnConflict {
        let mut conflict = OnConflict::columns(Self::COLUMNS[..2].iter().copied());
        conflict.update_columns(Self::COLUMNS[2..].iter().copied());
        conflict
    }
}

pub(super) const STATE_UNREAD: i64 = 0;
pub(super) const STATE_READ: i64 = 1;
pub(super) const STATE_WITHDRAWN: i64 = 2;

fn state_code(state: EntryState) -> i64 {
    match state {
        EntryState::Unread => STATE_UNREAD,
        EntryState::Read => STATE_READ,
        EntryState::Withdrawn => STATE_WITHDRAWN,
    }
}

pub(super) fn entry_state(code: i64) -> Result<EntryState, DbErr> {
    match code {
        STATE_UNREAD => Ok(EntryState::Unread),
        STATE_READ => Ok(EntryState::Read),
        STATE_WITHDRAWN => Ok(EntryState::Withdrawn),
        other => Err(unreadable("a state of an entry", other)),
    }
}

/// Ids of eight bytes each, big end first.
pub(super) fn read_actors(bytes: &[u8]) -> Vec<UserId> {
    bytes.as_chunks::<8>().0.iter().map(|id| UserId::from_raw(u64::from_be_bytes(*id))).collect()
}

/// The inverse of [`read_actors`].
pub(super) fn actors_bytes(actors: &[UserId]) -> Vec<u8> {
    actors.iter().flat_map(|actor| actor.raw().to_be_bytes()).collect()
}

/// Kind, kind of target and target, in three columns from `index` on.
pub(super) fn group(row: &Line, index: usize) -> Result<Group, DbErr> {
    let code: i64 = get(row, index)?;
    let kind = u8::try_from(code).ok().and_then(NotificationKind::of_code).ok_or_else(|| unreadable("a kind of notification", code))?;
    let target = unsigned(row, index + 2)?;
    let target = match get::<i64>(row, index + 1)? {
        TARGET_ME => Target::Me,
        TARGET_USER => Target::User(UserId::from_raw(target)),
        TARGET_POST => Target::Post(PostId::from_raw(target)),
        TARGET_COMMENT => Target::Comment(CommentId::from_raw(target)),
        other => return Err(unreadable("a kind of target", other)),
    };
    Ok(Group { kind, target })
}

const TARGET_ME: i64 = 0;
const TARGET_USER: i64 = 1;
const TARGET_POST: i64 = 2;
const TARGET_COMMENT: i64 = 3;

/// The inverse of [`group`].
pub(super) fn push_group(group: &Group, values: &mut Vec<Value>) {
    let (kind, target) = match group.target {
        Target::Me => (TARGET_ME, 0),
        Target::User(user) => (TARGET_USER, user.raw()),
        Target::Post(post) => (TARGET_POST, post.raw()),
        Target::Comment(comment) => (TARGET_COMMENT, comment.raw()),
    };
    values.extend([i64::from(group.kind.code()).into(), kind.into(), number(target)]);
}

pub(super) struct States;

impl Table for States {
    type Entity = inbox_states::Entity;
    type Key = UserId;
    type Row = InboxState;

    const COLUMNS: &'static [inbox_states::Column] = &[
        inbox_states::Column::Owner,
        inbox_states::Column::Seq,
        inbox_states::Column::MinSeq,
        inbox_states::Column::Unread,
        inbox_states::Column::ReadUpTo,
    ];

    fn read(row: &Line) -> Result<(UserId, InboxState), DbErr> {
        let state =
            InboxState { seq: unsigned(row, 1)?, min_seq: unsigned(row, 2)?, unread: unsigned(row, 3)?, read_up_to: unsigned(row, 4)? };
        Ok((user(row, 0)?, state))
    }

    fn write(key: &UserId, row: &InboxState, values: &mut Vec<Value>) {
        key.push(values);
        values.extend([row.seq, row.min_seq, row.unread, row.read_up_to].map(number));
    }

    fn on_conflict() -> OnConflict {
        OnConflict::column(inbox_states::Column::Owner).update_columns(Self::COLUMNS[1..].iter().copied()).to_owned()
    }
}

pub(super) struct PreferencesTable;

impl Table for PreferencesTable {
    type Entity = preferences::Entity;
    type Key = UserId;
    type Row = PreferencesRow;

    const COLUMNS: &'static [preferences::Column] =
        &[preferences::Column::User, preferences::Column::Payload, preferences::Column::Position];

    fn read(row: &Line) -> Result<(UserId, PreferencesRow), DbErr> {
        let preferences = read_preferences(&get::<Vec<u8>>(row, 1)?)?;
        Ok((user(row, 0)?, PreferencesRow { preferences, position: position(row, 2)? }))
    }

    fn write(key: &UserId, row: &PreferencesRow, values: &mut Vec<Value>) {
        key.push(values);
        values.extend([preferences_bytes(&row.preferences).into(), number(row.position.0)]);
    }

    fn on_conflict() -> OnConflict {
        replace_if_higher::<Self>(preferences::Column::Position)
    }
}

fn preferences_bytes(preferences: &Preferences) -> Vec<u8> {
    // Nothing in it can fail to be written: numbers, flags and one text.
    postcard::to_stdvec(preferences).unwrap_or_default()
}

pub(super) fn read_preferences(bytes: &[u8]) -> Result<Preferences, DbErr> {
    postcard::from_bytes(bytes).map_err(|error| DbErr::Type(format!("preferences cannot be read: {error}")))
}

/// Which unread entries to withdraw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Withdrawal<'a> {
    /// All that is about this, whoever was told.
    About(&'a About),
    /// Of one recipient, what a single person did to one thing: the post or comment, or neither where it is the recipient himself.
    Single { recipient: UserId, group: Group, post: Option<PostId>, comment: Option<CommentId>, actor: UserId },
    /// Of one recipient, all that a single person did.
    Person { recipient: UserId, actor: UserId },
}

/// The states that exist; others are [`InboxState::EMPTY`].
pub(super) async fn states(link: &Link, users: Vec<UserId>) -> Result<HashMap<UserId, InboxState>, StoreError> {
    Ok(link.load::<States>(users).await?.into_iter().collect())
}

/// Entries after `after` in their order, withdrawn places included.
pub(super) async fn after(link: &Link, recipient: UserId, after: u64, limit: u64) -> Result<Vec<InboxEntry>, StoreError> {
    let query = of_recipient(recipient)
        .and_where(Expr::col(inbox_entries::Column::Seq).gt(number(after)))
        .order_by(inbox_entries::Column::Seq, Order::Asc)
        .limit(limit)
        .take();
    read_entries(link, &query).await
}

/// Entries before `before`, newest first, without withdrawn ones; or only the unread.
pub(super) async fn page(
    link: &Link,
    recipient: UserId,
    before: Option<u64>,
    unread: bool,
    limit: u64,
) -> Result<Vec<InboxEntry>, StoreError> {
    let mut query = of_recipient(recipient);
    let state = Expr::col(inbox_entries::Column::State);
    query.and_where(if unread { state.eq(STATE_UNREAD) } else { state.ne(STATE_WITHDRAWN) });
    if let Some(before) = before {
        query.and_where(Expr::col(inbox_entries::Column::Seq).lt(number(before)));
    }
    read_entries(link, &query.order_by(inbox_entries::Column::Seq, Order::Desc).limit(limit).take()).await
}

fn of_recipient(recipient: UserId) -> SelectStatement {
    Query::select()
        .columns(Entries::COLUMNS.iter().copied())
        .from(inbox_entries::Entity)
        .and_where(Expr::col(inbox_entries::Column::Owner).eq(number(recipient.raw())))
        .take()
}

async fn read_entries(link: &Link, query: &SelectStatement) -> Result<Vec<InboxEntry>, StoreError> {
    link.rows(query).await?.iter().map(|row| Ok(Entries::read(row)?.1)).collect()
}

/// Marks as read, and answers where the inbox stands then.
pub(super) async fn mark_read(link: &Link, recipient: UserId, mark: &ReadMark) -> Result<InboxState, StoreError> {
    let mut state = states(link, vec![recipient]).await?.remove(&recipient).unwrap_or_default();
    let read = || {
        let mut update = change_unread(STATE_READ);
        update
            .and_where(Expr::col(inbox_entries::Column::Owner).eq(number(recipient.raw())))
            .and_where(Expr::col(inbox_entries::Column::Seq).lte(number(state.seq)));
        update
    };
    let mut changed = 0;
    match mark {
        ReadMark::UpTo(up_to) => {
            let up_to = Ord::min(state.seq, *up_to);
            if up_to <= state.read_up_to {
                return Ok(state);
            }
            let mut update = read();
            // Those before were read when the mark came there.
            update
                .and_where(Expr::col(inbox_entries::Column::Seq).gt(number(state.read_up_to)))
                .and_where(Expr::col(inbox_entries::Column::Seq).lte(number(up_to)));
            changed += link.execute(&update).await?;
            state.read_up_to = up_to;
        }
        ReadMark::Groups(groups) if groups.is_empty() => {}
        ReadMark::Groups(groups) => {
            let mut update = read();
            // Those before were read when the mark came there.
            update.and_where(Expr::col(inbox_entries::Column::Seq).gt(number(state.read_up_to))).and_where(in_groups(groups));
            changed += link.execute(&update).await?;
        }
    }
    state.unread = state.unread.saturating_sub(changed);
    link.save::<States>(vec![(&recipient, &state)]).await?;
    Ok(state)
}

fn in_groups(groups: &[Group]) -> Expr {
    let columns = [inbox_entries::Column::Kind, inbox_entries::Column::TargetKind, inbox_entries::Column::Target].map(Expr::col);
    let tuples = groups.iter().map(|group| {
        let mut values = Vec::with_capacity(columns.len());
        push_group(group, &mut values);
        ValueTuple::Many(values)
    });
    let listed = Query::select().column(Asterisk).from_values(tuples, "wanted").take();
    Expr::tuple(columns).in_subquery(listed)
}

/// The comment that an entry is about, or the post where there is none, or 0, as the index of unread entries says it: no two of them have the
/// same id.
fn about() -> Expr {
    Expr::cust("COALESCE(comment, post, 0)")
}

/// Unread entries become something else. The state is said as the index of unread entries says it, or it would not be used.
fn change_unread(to: i64) -> UpdateStatement {
    Query::update()
        .table(inbox_entries::Entity)
        .value(inbox_entries::Column::State, to)
        .and_where(Expr::cust(format!("state = {STATE_UNREAD}")))
        .take()
}

/// Withdraws at most `limit` unread entries, and says which.
pub(super) async fn withdraw(link: &Link, what: Withdrawal<'_>, limit: u64) -> Result<Vec<EntryKey>, StoreError> {
    let rows = link.rows(&unread_of(what, limit)).await?;
    let keys = rows.iter().map(|row| Ok((user(row, 0)?, unsigned(row, 1)?))).collect::<Result<Vec<EntryKey>, DbErr>>()?;
    for chunk in keys.chunks(KEYS_MAX) {
        let listed = chunk.iter().map(|(recipient, seq)| (recipient.raw().cast_signed(), seq.cast_signed()));
        let listed = Query::select().column(Asterisk).from_values(listed, "withdrawn").take();
        let columns = [inbox_entries::Column::Owner, inbox_entries::Column::Seq].map(Expr::col);
        let update = change_unread(STATE_WITHDRAWN).and_where(Expr::tuple(columns).in_subquery(listed)).take();
        link.execute(&update).await?;
    }
    Ok(keys)
}

/// The places of at most `limit` unread entries.
pub(super) fn unread_of(what: Withdrawal<'_>, limit: u64) -> SelectStatement {
    let mut query = Query::select();
    query
        .columns([inbox_entries::Column::Owner, inbox_entries::Column::Seq])
        .from(inbox_entries::Entity)
        .and_where(Expr::cust(format!("state = {STATE_UNREAD}")))
        .limit(limit);
    match what {
        Withdrawal::About(About::Post(post)) => {
            query.and_where(about().eq(number(post.raw())));
        }
        Withdrawal::About(About::Comments(_, comments)) => {
            query.and_where(about().is_in(comments.iter().map(|comment| number(comment.raw()))));
        }
        Withdrawal::Single { recipient, group, post, comment, actor } => {
            let object = comment.map(CommentId::raw).or(post.map(PostId::raw)).unwrap_or(0);
            // Said as a span, the recipient does not lead SQLite to the primary key, and through the whole inbox.
            let recipient = || number(recipient.raw());
            query
                .and_where(about().eq(number(object)))
                .and_where(Expr::col(inbox_entries::Column::Owner).between(recipient(), recipient()))
                .and_where(of_one_person(actor))
                .and_where(in_groups(&[group]));
        }
        Withdrawal::Person { recipient, actor } => {
            query.and_where(Expr::col(inbox_entries::Column::Owner).eq(number(recipient.raw()))).and_where(of_one_person(actor));
        }
    }
    query
}

fn of_one_person(actor: UserId) -> Expr {
    Expr::col(inbox_entries::Column::People).eq(1_i64).and(Expr::col(inbox_entries::Column::Actor).eq(number(actor.raw())))
}

/// Keys of one statement: two parameters each.
const KEYS_MAX: usize = 512;

/// Recipients after `after`, in the order of their ids, whose inbox holds more than `entries_max`, or begins before `before`.
pub(super) async fn overfull(
    link: &Link,
    after: Option<UserId>,
    before: Millis,
    entries_max: u64,
    limit: u64,
) -> Result<Vec<UserId>, StoreError> {
    let state = |column: inbox_states::Column| Expr::col((inbox_states::Entity, column));
    let entry = |column: inbox_entries::Column| Expr::col((inbox_entries::Entity, column));
    let kept = state(inbox_states::Column::Seq).sub(state(inbox_states::Column::MinSeq)).add(1_i64);
    let query = Query::select()
        .column((inbox_states::Entity, inbox_states::Column::Owner))
        .from(inbox_states::Entity)
        .inner_join(
            inbox_entries::Entity,
            entry(inbox_entries::Column::Owner)
                .eq(state(inbox_states::Column::Owner))
                .and(entry(inbox_entries::Column::Seq).eq(state(inbox_states::Column::MinSeq))),
        )
        .and_where(state(inbox_states::Column::Owner).gt(after.map_or(-1, |after| after.raw().cast_signed())))
        .and_where(kept.gt(number(entries_max)).or(entry(inbox_entries::Column::CreatedAt).lt(number(before))))
        .order_by((inbox_states::Entity, inbox_states::Column::Owner), Order::Asc)
        .limit(limit)
        .take();
    link.rows(&query).await?.iter().map(|row| Ok(user(row, 0)?)).collect()
}

/// Takes away the oldest entries of an inbox: all but the newest `entries_max`, and the first ones that are from before `before`.
pub(super) async fn trim(link: &Link, recipient: UserId, before: Millis, entries_max: u64) -> Result<(), StoreError> {
    let Some(mut state) = states(link, vec![recipient]).await?.remove(&recipient) else { return Ok(()) };
    // The first that is young enough: what comes after it stays, whatever its time says.
    let young = Query::select()
        .column(inbox_entries::Column::Seq)
        .from(inbox_entries::Entity)
        .and_where(Expr::col(inbox_entries::Column::Owner).eq(number(recipient.raw())))
        .and_where(Expr::col(inbox_entries::Column::CreatedAt).gte(number(before)))
        .order_by(inbox_entries::Column::Seq, Order::Asc)
        .limit(1)
        .take();
    let first_young = link.rows(&young).await?.first().map(|row| unsigned(row, 0)).transpose()?.unwrap_or(state.seq + 1);
    let min_seq = Ord::max(first_young, (state.seq + 1).saturating_sub(entries_max));
    if min_seq <= state.min_seq {
        return Ok(());
    }
    let gone =
        || [Expr::col(inbox_entries::Column::Owner).eq(number(recipient.raw())), Expr::col(inbox_entries::Column::Seq).lt(number(min_seq))];
    let mut unread = Query::delete();
    unread.from_table(inbox_entries::Entity).and_where(Expr::col(inbox_entries::Column::State).eq(STATE_UNREAD));
    let mut rest = Query::delete();
    rest.from_table(inbox_entries::Entity);
    for condition in gone() {
        unread.and_where(condition.clone());
        rest.and_where(condition);
    }
    state.unread = state.unread.saturating_sub(link.execute(&unread).await?);
    link.execute(&rest).await?;
    state.min_seq = min_seq;
    link.save::<States>(vec![(&recipient, &state)]).await
}

impl WriteTx {
    /// Where these inboxes stand; those that nothing was put into are missing.
    pub async fn inbox_states(&mut self, users: Vec<UserId>) -> Result<HashMap<UserId, InboxState>, StoreError> {
        states(&self.link, users).await
    }

    /// Saves entries and where their inboxes stand then.
    pub async fn inbox_save(&mut self, entries: &[(UserId, InboxEntry)], states: &BTreeMap<UserId, InboxState>) -> Result<(), StoreError> {
        let keys: Vec<EntryKey> = entries.iter().map(|(recipient, entry)| (*recipient, entry.seq)).collect();
        self.link.save::<Entries>(keys.iter().zip(entries.iter().map(|(_, entry)| entry)).collect()).await?;
        self.link.save::<States>(states.iter().collect()).await
    }

    /// Marks entries of an inbox as read, and answers where it stands then. Marks only go up, and not beyond what is there.
    pub async fn inbox_mark_read(&mut self, recipient: UserId, mark: &ReadMark) -> Result<InboxState, StoreError> {
        mark_read(&self.link, recipient, mark).await
    }

    /// Withdraws at most `limit` unread entries, and says which; their inboxes' `unread` is the caller's to lower.
    pub async fn inbox_withdraw(&mut self, what: Withdrawal<'_>, limit: u64) -> Result<Vec<EntryKey>, StoreError> {
        withdraw(&self.link, what, limit).await
    }

    /// Takes away the oldest entries of an inbox: all but the newest `entries_max`, and the first ones from before `before`.
    pub async fn inbox_trim(&mut self, recipient: UserId, before: Millis, entries_max: u64) -> Result<(), StoreError> {
        trim(&self.link, recipient, before, entries_max).await
    }
}
