//! Windows: likes and follows that gather before they become one entry. A window is a row of its recipient's group. Who is in it is known,
//! so that nobody counts twice and an undo takes away the right one: the first few stand in the row, further ones in rows beside it.

use std::collections::HashMap;

use sea_orm::sea_query::{Asterisk, Expr, ExprTrait, OnConflict, OverStatement, Query, ValueTuple, WindowStatement};
use sea_orm::{DbErr, Order, Value};
use sosik_entities::{inbox_window_actors, inbox_windows};

use crate::vocabulary::Millis;
use crate::vocabulary::entry::{About, Group};
use crate::vocabulary::ids::{CommentId, Position, PostId, UserId};

use super::bulk::{Key, Table};
use super::error::StoreError;
use super::inbox::{actors_bytes, group, push_group, read_actors};
use super::line::Line;
use super::snapshot::Snapshot;
use super::values::{comment_or_null, get, number, number_or_null, position, post_or_null, small, unsigned, user};
use super::write_tx::WriteTx;

/// Whose window, and of what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WindowKey {
    pub recipient: UserId,
    pub group: Group,
}

impl Key for WindowKey {
    const PARTS: usize = 4;

    fn push(&self, values: &mut Vec<Value>) {
        self.recipient.push(values);
        push_group(&self.group, values);
    }
}

/// A window that is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowRow {
    pub post: Option<PostId>,
    pub comment: Option<CommentId>,
    /// How many different people are in it.
    pub people: u32,
    /// How often it was opened again since things were quiet; each stage lasts longer.
    pub stage: u8,
    pub due_at: Millis,
    /// The first who came, in their order, at most [`FIRST_ACTORS_MAX`]: all but those who have rows of their own.
    pub first: Vec<UserId>,
}

/// The people of a window who need no rows of their own.
pub const FIRST_ACTORS_MAX: usize = 16;

impl WindowRow {
    /// Whether some of its people have rows of their own.
    pub fn is_crowded(&self) -> bool {
        self.people as usize > self.first.len()
    }
}

pub(super) struct Windows;

impl Table for Windows {
    type Entity = inbox_windows::Entity;
    type Key = WindowKey;
    type Row = WindowRow;

    const COLUMNS: &'static [inbox_windows::Column] = &[
        inbox_windows::Column::Owner,
        inbox_windows::Column::Kind,
        inbox_windows::Column::TargetKind,
        inbox_windows::Column::Target,
        inbox_windows::Column::Post,
        inbox_windows::Column::Comment,
        inbox_windows::Column::People,
        inbox_windows::Column::Stage,
        inbox_windows::Column::DueAt,
        inbox_windows::Column::FirstActors,
    ];

    fn read(row: &Line) -> Result<(WindowKey, WindowRow), DbErr> {
        let key = WindowKey { recipient: user(row, 0)?, group: group(row, 1)? };
        let (post, comment) = (post_or_null(row, 4)?, comment_or_null(row, 5)?);
        let first = read_actors(&get::<Vec<u8>>(row, 9)?);
        Ok((key, WindowRow { post, comment, people: small(row, 6)?, stage: small(row, 7)?, due_at: unsigned(row, 8)?, first }))
    }

    fn write(key: &WindowKey, row: &WindowRow, values: &mut Vec<Value>) {
        key.push(values);
        values.extend([number_or_null(row.post.map(PostId::raw)), number_or_null(row.comment.map(CommentId::raw))]);
        values.extend([i64::from(row.people).into(), i64::from(row.stage).into(), number(row.due_at), actors_bytes(&row.first).into()]);
    }

    fn on_conflict() -> OnConflict {
        let mut conflict = OnConflict::columns(Self::COLUMNS[..4].iter().copied());
        conflict.update_columns(Self::COLUMNS[6..].iter().copied());
        conflict
    }
}

/// The same rows, when nothing but their people changed: what the indexes say stays.
struct WindowPeople;

impl Table for WindowPeople {
    type Entity = inbox_windows::Entity;
    type Key = WindowKey;
    type Row = WindowRow;

    const COLUMNS: &'static [inbox_windows::Column] = Windows::COLUMNS;

    fn read(row: &Line) -> Result<(WindowKey, WindowRow), DbErr> {
        Windows::read(row)
    }

    fn write(key: &WindowKey, row: &WindowRow, values: &mut Vec<Value>) {
        Windows::write(key, row, values);
    }

    fn on_conflict() -> OnConflict {
        let mut conflict = OnConflict::columns(Self::COLUMNS[..4].iter().copied());
        conflict.update_columns([inbox_windows::Column::People, inbox_windows::Column::FirstActors]);
        conflict
    }
}

/// The row is the order in which they came.
pub(super) struct WindowActors;

impl Table for WindowActors {
    type Entity = inbox_window_actors::Entity;
    type Key = (WindowKey, UserId);
    type Row = Position;

    const COLUMNS: &'static [inbox_window_actors::Column] = &[
        inbox_window_actors::Column::Owner,
        inbox_window_actors::Column::Kind,
        inbox_window_actors::Column::TargetKind,
        inbox_window_actors::Column::Target,
        inbox_window_actors::Column::Actor,
        inbox_window_actors::Column::Position,
    ];

    fn read(row: &Line) -> Result<(Self::Key, Position), DbErr> {
        let key = WindowKey { recipient: user(row, 0)?, group: group(row, 1)? };
        Ok(((key, user(row, 4)?), position(row, 5)?))
    }

    fn write(key: &Self::Key, at: &Position, values: &mut Vec<Value>) {
        key.push(values);
        values.push(number(at.0));
    }

    fn on_conflict() -> OnConflict {
        let mut conflict = OnConflict::columns(Self::COLUMNS[..5].iter().copied());
        conflict.update_column(inbox_window_actors::Column::Position);
        conflict
    }
}

/// The columns that say which window; both tables begin with them, by the same names.
const WINDOW_COLUMNS: &[inbox_window_actors::Column] = WindowActors::COLUMNS.split_at(WindowKey::PARTS).0;

/// Whose window is one of these. A statement is prepared once for each number of keys, so the last is repeated up to a power of two.
fn of_windows(keys: &[WindowKey]) -> Option<Expr> {
    let last = keys.last()?;
    let padded = keys.iter().chain(std::iter::repeat_n(last, keys.len().next_power_of_two() - keys.len()));
    let tuples = padded.map(|key| {
        let mut values = Vec::with_capacity(WindowKey::PARTS);
        key.push(&mut values);
        ValueTuple::Many(values)
    });
    let listed = Query::select().column(Asterisk).from_values(tuples, "wanted").take();
    Some(Expr::tuple(WINDOW_COLUMNS.iter().map(|column| Expr::col(*column))).in_subquery(listed))
}

fn of_window(key: &WindowKey) -> Vec<Expr> {
    let mut values = Vec::with_capacity(WindowKey::PARTS);
    key.push(&mut values);
    WINDOW_COLUMNS.iter().zip(values).map(|(column, value)| Expr::col(*column).eq(value)).collect()
}

impl Snapshot {
    /// Whether a window is due.
    pub async fn windows_are_due(&mut self, now: Millis) -> Result<bool, StoreError> {
        let query = Query::select()
            .column(inbox_windows::Column::DueAt)
            .from(inbox_windows::Entity)
            .and_where(Expr::col(inbox_windows::Column::DueAt).lte(number(now)))
            .limit(1)
            .take();
        Ok(!self.link.rows(&query).await?.is_empty())
    }
}

impl WriteTx {
    /// The windows of these keys that are open.
    pub async fn windows_load(&mut self, keys: Vec<WindowKey>) -> Result<HashMap<WindowKey, WindowRow>, StoreError> {
        Ok(self.link.load::<Windows>(keys).await?.into_iter().collect())
    }

    pub async fn windows_save(&mut self, windows: &[(WindowKey, WindowRow)]) -> Result<(), StoreError> {
        self.link.save::<Windows>(windows.iter().map(|(key, row)| (key, row)).collect()).await
    }

    /// Saves windows whose people changed, and nothing else.
    pub async fn windows_save_people(&mut self, windows: &[(WindowKey, WindowRow)]) -> Result<(), StoreError> {
        self.link.save::<WindowPeople>(windows.iter().map(|(key, row)| (key, row)).collect()).await
    }

    /// Windows that are due, at most `limit`.
    pub async fn windows_due(&mut self, now: Millis, limit: u64) -> Result<Vec<(WindowKey, WindowRow)>, StoreError> {
        let query = Query::select()
            .columns(Windows::COLUMNS.iter().copied())
            .from(inbox_windows::Entity)
            .and_where(Expr::col(inbox_windows::Column::DueAt).lte(number(now)))
            .order_by(inbox_windows::Column::DueAt, Order::Asc)
            .limit(limit)
            .take();
        self.link.rows(&query).await?.iter().map(|row| Ok(Windows::read(row)?)).collect()
    }

    /// Windows about a post or about some of its comments: a post and each comment have one, that of their author's likes.
    pub async fn windows_about(&mut self, about: &About) -> Result<Vec<(WindowKey, WindowRow)>, StoreError> {
        let comment = Expr::col(inbox_windows::Column::Comment);
        let (post, comment) = match about {
            About::Post(post) => (post, comment.is_null()),
            About::Comments(post, comments) => (post, comment.is_in(comments.iter().map(|comment| number(comment.raw())))),
        };
        let query = Query::select()
            .columns(Windows::COLUMNS.iter().copied())
            .from(inbox_windows::Entity)
            .and_where(Expr::col(inbox_windows::Column::Post).eq(number(post.raw())))
            .and_where(comment)
            .take();
        self.link.rows(&query).await?.iter().map(|row| Ok(Windows::read(row)?)).collect()
    }

    /// The newest of those with rows of their own, of each window, newest first, at most `limit` of each.
    pub async fn windows_newest(&mut self, keys: &[WindowKey], limit: u64) -> Result<HashMap<WindowKey, Vec<UserId>>, StoreError> {
        let mut newest: HashMap<WindowKey, Vec<UserId>> = HashMap::new();
        let Some(wanted) = of_windows(keys) else { return Ok(newest) };
        let place = WindowStatement::new()
            .partition_by_columns(WINDOW_COLUMNS.iter().copied())
            .order_by(inbox_window_actors::Column::Position, Order::Desc)
            .order_by(inbox_window_actors::Column::Actor, Order::Desc)
            .take();
        let placed = Query::select()
            .columns(WindowActors::COLUMNS.iter().copied())
            .expr_window_as(Expr::cust("ROW_NUMBER()"), place, "place")
            .from(inbox_window_actors::Entity)
            .and_where(wanted)
            .take();
        let query = Query::select()
            .columns(WindowActors::COLUMNS.iter().copied())
            .from_subquery(placed, "placed")
            .and_where(Expr::col("place").lte(number(limit)))
            .order_by("place", Order::Asc)
            .take();
        for row in self.link.rows(&query).await? {
            let ((key, actor), _) = WindowActors::read(&row)?;
            newest.entry(key).or_default().push(actor);
        }
        Ok(newest)
    }

    /// Those of these people who have rows of their own in the windows already.
    pub async fn window_actors_load(&mut self, keys: Vec<(WindowKey, UserId)>) -> Result<Vec<(WindowKey, UserId)>, StoreError> {
        Ok(self.link.load::<WindowActors>(keys).await?.into_iter().map(|(key, _)| key).collect())
    }

    pub async fn window_actors_save(&mut self, actors: &[((WindowKey, UserId), Position)]) -> Result<(), StoreError> {
        self.link.save::<WindowActors>(actors.iter().map(|(key, at)| (key, at)).collect()).await
    }

    /// Takes away somebody's row; says whether there was one.
    pub async fn window_actor_delete(&mut self, key: WindowKey, actor: UserId) -> Result<bool, StoreError> {
        let mut delete = Query::delete();
        delete.from_table(inbox_window_actors::Entity);
        for condition in of_window(&key) {
            delete.and_where(condition);
        }
        delete.and_where(Expr::col(inbox_window_actors::Column::Actor).eq(number(actor.raw())));
        Ok(self.link.execute(&delete).await? > 0)
    }

    /// All windows of a recipient: no more than he has posts and comments that were liked lately.
    pub async fn windows_of(&mut self, recipient: UserId) -> Result<Vec<(WindowKey, WindowRow)>, StoreError> {
        let query = Query::select()
            .columns(Windows::COLUMNS.iter().copied())
            .from(inbox_windows::Entity)
            .and_where(Expr::col(inbox_windows::Column::Owner).eq(number(recipient.raw())))
            .take();
        self.link.rows(&query).await?.iter().map(|row| Ok(Windows::read(row)?)).collect()
    }

    /// Nobody has a row of his own in these windows any more; they stay open.
    pub async fn windows_empty(&mut self, keys: &[WindowKey]) -> Result<(), StoreError> {
        let Some(wanted) = of_windows(keys) else { return Ok(()) };
        let delete = Query::delete().from_table(inbox_window_actors::Entity).and_where(wanted).take();
        self.link.execute(&delete).await.map(|_| ())
    }

    /// Closes windows and forgets who was in them.
    pub async fn windows_delete(&mut self, keys: &[WindowKey]) -> Result<(), StoreError> {
        self.windows_empty(keys).await?;
        let Some(wanted) = of_windows(keys) else { return Ok(()) };
        let delete = Query::delete().from_table(inbox_windows::Entity).and_where(wanted).take();
        self.link.execute(&delete).await.map(|_| ())
    }
}
