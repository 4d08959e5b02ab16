//! Windows: likes and follows that gather before they become one entry. A window is a row of its recipient's group; who is in it
//! stands beside it, so that nobody counts twice and an undo takes away the right one.

use std::collections::HashMap;

use sea_orm::sea_query::{Expr, ExprTrait, OnConflict, Query};
use sea_orm::{DbErr, Order, QueryResult, Value};
use sosik_entities::{inbox_window_actors, inbox_windows};

use crate::vocabulary::Millis;
use crate::vocabulary::entry::Group;
use crate::vocabulary::ids::{CommentId, Position, PostId, UserId};

use super::bulk::{Key, Link, Table};
use super::error::StoreError;
use super::inbox::{group, push_group};
use super::snapshot::Snapshot;
use super::values::{comment_or_null, number, number_or_null, position, post_or_null, small, unsigned, user};
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowRow {
    pub post: Option<PostId>,
    pub comment: Option<CommentId>,
    /// How many different people are in it.
    pub people: u32,
    /// How often it was opened again since things were quiet; each stage lasts longer.
    pub stage: u8,
    pub due_at: Millis,
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
    ];

    fn read(row: &QueryResult) -> Result<(WindowKey, WindowRow), DbErr> {
        let key = WindowKey { recipient: user(row, 0)?, group: group(row, 1)? };
        let (post, comment) = (post_or_null(row, 4)?, comment_or_null(row, 5)?);
        Ok((key, WindowRow { post, comment, people: small(row, 6)?, stage: small(row, 7)?, due_at: unsigned(row, 8)? }))
    }

    fn write(key: &WindowKey, row: &WindowRow, values: &mut Vec<Value>) {
        key.push(values);
        values.extend([number_or_null(row.post.map(PostId::raw)), number_or_null(row.comment.map(CommentId::raw))]);
        values.extend([i64::from(row.people).into(), i64::from(row.stage).into(), number(row.due_at)]);
    }

    fn on_conflict() -> OnConflict {
        let mut conflict = OnConflict::columns(Self::COLUMNS[..4].iter().copied());
        conflict.update_columns(Self::COLUMNS[6..].iter().copied());
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

    fn read(row: &QueryResult) -> Result<(Self::Key, Position), DbErr> {
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

fn of_window(key: &WindowKey) -> Vec<Expr> {
    let mut values = Vec::with_capacity(WindowKey::PARTS);
    key.push(&mut values);
    // Both tables begin with the same four columns, by the same names.
    let columns = Windows::COLUMNS[..WindowKey::PARTS].iter().map(|column| Expr::col(*column));
    columns.zip(values).map(|(column, value)| column.eq(value)).collect()
}

async fn forget(link: &Link, key: &WindowKey, with_row: bool) -> Result<(), StoreError> {
    let mut actors = Query::delete();
    actors.from_table(inbox_window_actors::Entity);
    let mut row = Query::delete();
    row.from_table(inbox_windows::Entity);
    for condition in of_window(key) {
        actors.and_where(condition.clone());
        row.and_where(condition);
    }
    link.execute(&actors).await?;
    if with_row {
        link.execute(&row).await?;
    }
    Ok(())
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

    /// Windows about a post, or about one comment of it, at most `limit`.
    pub async fn windows_about(
        &mut self,
        post: PostId,
        comment: Option<CommentId>,
        limit: u64,
    ) -> Result<Vec<(WindowKey, WindowRow)>, StoreError> {
        let mut query = Query::select();
        query
            .columns(Windows::COLUMNS.iter().copied())
            .from(inbox_windows::Entity)
            .and_where(Expr::col(inbox_windows::Column::Post).eq(number(post.raw())))
            .limit(limit);
        if let Some(comment) = comment {
            query.and_where(Expr::col(inbox_windows::Column::Comment).eq(number(comment.raw())));
        }
        self.link.rows(&query).await?.iter().map(|row| Ok(Windows::read(row)?)).collect()
    }

    /// The newest people of a window, newest first.
    pub async fn window_newest(&mut self, key: WindowKey, limit: u64) -> Result<Vec<UserId>, StoreError> {
        let mut query = Query::select();
        query.column(inbox_window_actors::Column::Actor).from(inbox_window_actors::Entity);
        for condition in of_window(&key) {
            query.and_where(condition);
        }
        query
            .order_by(inbox_window_actors::Column::Position, Order::Desc)
            .order_by(inbox_window_actors::Column::Actor, Order::Desc)
            .limit(limit);
        self.link.rows(&query).await?.iter().map(|row| Ok(user(row, 0)?)).collect()
    }

    /// Those of these people who are in the windows already.
    pub async fn window_actors_load(&mut self, keys: Vec<(WindowKey, UserId)>) -> Result<Vec<(WindowKey, UserId)>, StoreError> {
        Ok(self.link.load::<WindowActors>(keys).await?.into_iter().map(|(key, _)| key).collect())
    }

    pub async fn window_actors_save(&mut self, actors: &[((WindowKey, UserId), Position)]) -> Result<(), StoreError> {
        self.link.save::<WindowActors>(actors.iter().map(|(key, at)| (key, at)).collect()).await
    }

    /// Takes somebody out of a window; says whether he was in it.
    pub async fn window_actor_delete(&mut self, key: WindowKey, actor: UserId) -> Result<bool, StoreError> {
        let mut delete = Query::delete();
        delete.from_table(inbox_window_actors::Entity);
        for condition in of_window(&key) {
            delete.and_where(condition);
        }
        delete.and_where(Expr::col(inbox_window_actors::Column::Actor).eq(number(actor.raw())));
        Ok(self.link.execute(&delete).await? > 0)
    }

    /// The windows of a recipient that a person is in.
    pub async fn windows_of_actor(&mut self, recipient: UserId, actor: UserId) -> Result<Vec<WindowKey>, StoreError> {
        let query = Query::select()
            .columns(WindowActors::COLUMNS.iter().copied())
            .from(inbox_window_actors::Entity)
            .and_where(Expr::col(inbox_window_actors::Column::Owner).eq(number(recipient.raw())))
            .and_where(Expr::col(inbox_window_actors::Column::Actor).eq(number(actor.raw())))
            .take();
        self.link.rows(&query).await?.iter().map(|row| Ok(WindowActors::read(row)?.0.0)).collect()
    }

    /// Nobody is in the window any more; it stays open.
    pub async fn window_empty(&mut self, key: WindowKey) -> Result<(), StoreError> {
        forget(&self.link, &key, false).await
    }

    /// Closes a window and forgets who was in it.
    pub async fn window_delete(&mut self, key: WindowKey) -> Result<(), StoreError> {
        forget(&self.link, &key, true).await
    }
}
