//! Writes that are remembered after they left the journal: for their key, or because they were rejected.

use sea_orm::sea_query::{Expr, ExprTrait, OnConflict, Query, SelectStatement};
use sea_orm::{DbErr, Order, Value};
use sosik_entities::kept_writes;

use crate::vocabulary::Millis;
use crate::vocabulary::event::KeptWrite;
use crate::vocabulary::ids::{UserId, WriteId};

use super::bulk::{Key, Table, replace_if_not_lower};
use super::error::StoreError;
use super::line::Line;
use super::link::Link;
use super::values::{get, millis, number, unsigned, user};

pub(super) struct KeptWrites;

pub(super) struct KeptWriteRow {
    author: UserId,
    key: Option<String>,
    kept_until: Millis,
    payload: Vec<u8>,
}

impl Table for KeptWrites {
    type Entity = kept_writes::Entity;
    type Key = WriteId;
    type Row = KeptWriteRow;

    const COLUMNS: &'static [kept_writes::Column] = &[
        kept_writes::Column::Write,
        kept_writes::Column::Author,
        kept_writes::Column::Key,
        kept_writes::Column::KeptUntil,
        kept_writes::Column::Payload,
    ];

    fn read(row: &Line) -> Result<(WriteId, KeptWriteRow), DbErr> {
        let found = KeptWriteRow { author: user(row, 1)?, key: get(row, 2)?, kept_until: millis(row, 3)?, payload: get(row, 4)? };
        Ok((WriteId::from_raw(unsigned(row, 0)?), found))
    }

    fn write(key: &WriteId, row: &KeptWriteRow, values: &mut Vec<Value>) {
        key.push(values);
        row.author.push(values);
        values.extend([row.key.clone().into(), number(row.kept_until), row.payload.clone().into()]);
    }

    /// The later word counts, whenever it arrives: a dead letter may be discarded after its key was kept, or while its key is on the way.
    fn on_conflict() -> OnConflict {
        let is_replaced = |column: &kept_writes::Column| matches!(column, kept_writes::Column::KeptUntil | kept_writes::Column::Payload);
        replace_if_not_lower::<Self>(kept_writes::Column::KeptUntil, is_replaced)
    }
}

pub(super) async fn save(link: &Link, kept: &[(UserId, KeptWrite)]) -> Result<(), StoreError> {
    let mut rows = std::collections::BTreeMap::new();
    for (author, write) in kept {
        let row = KeptWriteRow {
            author: *author,
            key: write.key.as_ref().map(|key| key.key.clone()),
            kept_until: write.accepted_at + KeptWrite::KEPT_MS,
            payload: postcard::to_stdvec(write).map_err(StoreError::KeptWrite)?,
        };
        rows.insert(write.write, row);
    }
    link.save::<KeptWrites>(rows.iter().collect()).await
}

pub(super) async fn by_write(link: &Link, author: UserId, write: WriteId) -> Result<Option<KeptWrite>, StoreError> {
    let query = of_author(author).and_where(Expr::col(kept_writes::Column::Write).eq(number(write.raw()))).take();
    first(link, &query).await
}

/// The newest one: a key may have come again after its time.
pub(super) async fn by_key(link: &Link, author: UserId, key: &str) -> Result<Option<KeptWrite>, StoreError> {
    let query = of_author(author)
        .and_where(Expr::col(kept_writes::Column::Key).eq(key))
        .order_by(kept_writes::Column::Write, Order::Desc)
        .limit(1)
        .take();
    first(link, &query).await
}

fn of_author(author: UserId) -> SelectStatement {
    Query::select()
        .column(kept_writes::Column::Payload)
        .from(kept_writes::Entity)
        .and_where(Expr::col(kept_writes::Column::Author).eq(number(author.raw())))
        .take()
}

async fn first(link: &Link, query: &SelectStatement) -> Result<Option<KeptWrite>, StoreError> {
    let rows = link.rows(query).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let payload: Vec<u8> = get(row, 0)?;
    postcard::from_bytes(&payload).map(Some).map_err(StoreError::KeptWrite)
}

/// Takes away at most `rows_max` whose time was over before `before`, and says how many.
pub(super) async fn purge(link: &Link, before: Millis, rows_max: u64) -> Result<u64, StoreError> {
    let over = Query::select()
        .column(kept_writes::Column::Write)
        .from(kept_writes::Entity)
        .and_where(Expr::col(kept_writes::Column::KeptUntil).lt(number(before)))
        .order_by(kept_writes::Column::KeptUntil, Order::Asc)
        .limit(rows_max)
        .take();
    let delete = Query::delete().from_table(kept_writes::Entity).and_where(Expr::col(kept_writes::Column::Write).in_subquery(over)).take();
    link.execute(&delete).await
}
