//! Entries that could not be applied, kept whole until an operator decides.

use sea_orm::sea_query::{Expr, ExprTrait, OnConflict, Query, SelectStatement};
use sea_orm::{DbErr, Order, Value};
use sosik_entities::dead_letters;

use crate::vocabulary::command::Entry;
use crate::vocabulary::ids::{Position, UserId, WriteId};

use super::bulk::{Key, Table};
use super::error::StoreError;
use super::line::Line;
use super::link::Link;
use super::rows::DeadLetterRow;
use super::values::{get, lane, millis, number, number_or_null, position, unsigned};

pub(super) struct DeadLetters;

impl Table for DeadLetters {
    type Entity = dead_letters::Entity;
    type Key = WriteId;
    type Row = DeadLetterRow;

    const COLUMNS: &'static [dead_letters::Column] = &[
        dead_letters::Column::Write,
        dead_letters::Column::Author,
        dead_letters::Column::Lane,
        dead_letters::Column::Position,
        dead_letters::Column::Entry,
        dead_letters::Column::Error,
        dead_letters::Column::DiedAt,
    ];

    fn read(row: &Line) -> Result<(WriteId, DeadLetterRow), DbErr> {
        let write = WriteId::from_raw(unsigned(row, 0)?);
        let found = DeadLetterRow {
            write,
            lane: lane(row, 2)?,
            position: position(row, 3)?,
            entry: get(row, 4)?,
            error: get(row, 5)?,
            died_at: millis(row, 6)?,
        };
        Ok((write, found))
    }

    /// The author is read out of the entry, so that his writes can be found; an entry that cannot be read has none.
    fn write(key: &WriteId, row: &DeadLetterRow, values: &mut Vec<Value>) {
        let author = Entry::decode(row.position, &row.entry).ok().map(|entry| entry.author.raw());
        key.push(values);
        values.push(number_or_null(author));
        row.lane.push(values);
        row.position.push(values);
        values.extend([row.entry.clone().into(), row.error.as_str().into(), number(row.died_at)]);
    }

    /// A retry that died again takes the place of the first try.
    fn on_conflict() -> OnConflict {
        OnConflict::column(dead_letters::Column::Write).update_columns(Self::COLUMNS[1..].iter().copied()).to_owned()
    }
}

pub(super) async fn insert(link: &Link, row: &DeadLetterRow) -> Result<(), StoreError> {
    link.save::<DeadLetters>(vec![(&row.write, row)]).await
}

/// Only the letter of this position: a retry may have died in the meantime, and is a letter of its own.
pub(super) async fn delete(link: &Link, write: WriteId, position: Position) -> Result<(), StoreError> {
    let delete = Query::delete()
        .from_table(dead_letters::Entity)
        .and_where(Expr::col(dead_letters::Column::Write).eq(number(write.raw())))
        .and_where(Expr::col(dead_letters::Column::Position).eq(number(position.0)))
        .take();
    link.execute(&delete).await.map(|_| ())
}

/// The letters of these writes, where they died before they were applied again.
pub(super) async fn delete_retried(link: &Link, retried: &[(WriteId, Position)]) -> Result<(), StoreError> {
    for (write, position) in retried {
        let delete = Query::delete()
            .from_table(dead_letters::Entity)
            .and_where(Expr::col(dead_letters::Column::Write).eq(number(write.raw())))
            .and_where(Expr::col(dead_letters::Column::Position).lt(number(position.0)))
            .take();
        link.execute(&delete).await?;
    }
    Ok(())
}

pub(super) async fn one(link: &Link, write: WriteId) -> Result<Option<DeadLetterRow>, StoreError> {
    Ok(link.load::<DeadLetters>(vec![write]).await?.pop().map(|(_, row)| row))
}

/// Oldest first.
pub(super) async fn page(link: &Link, after: Option<WriteId>, limit: u64) -> Result<Vec<DeadLetterRow>, StoreError> {
    let mut query = all();
    if let Some(after) = after {
        query.and_where(Expr::col(dead_letters::Column::Write).gt(number(after.raw())));
    }
    read(link, &query.order_by(dead_letters::Column::Write, Order::Asc).limit(limit).take()).await
}

pub(super) async fn newest(link: &Link) -> Result<Option<WriteId>, StoreError> {
    let query = all().order_by(dead_letters::Column::Write, Order::Desc).limit(1).take();
    Ok(read(link, &query).await?.pop().map(|row| row.write))
}

pub(super) async fn count(link: &Link) -> Result<u64, StoreError> {
    let query = Query::select().expr(Expr::col(dead_letters::Column::Write).count()).from(dead_letters::Entity).take();
    let rows = link.rows(&query).await?;
    Ok(rows.first().map_or(Ok(0), |row| unsigned(row, 0))?)
}

pub(super) async fn of_author(link: &Link, author: UserId, limit: u64) -> Result<Vec<DeadLetterRow>, StoreError> {
    let mut query = all();
    query.and_where(Expr::col(dead_letters::Column::Author).eq(number(author.raw())));
    read(link, &query.order_by(dead_letters::Column::Position, Order::Asc).limit(limit).take()).await
}

fn all() -> SelectStatement {
    Query::select().columns(DeadLetters::COLUMNS.iter().copied()).from(dead_letters::Entity).take()
}

async fn read(link: &Link, query: &SelectStatement) -> Result<Vec<DeadLetterRow>, StoreError> {
    let rows = link.rows(query).await?;
    rows.iter().map(|row| Ok(DeadLetters::read(row)?.1)).collect()
}
