//! Many rows in few statements, the same for all tables: what a [`Table`] says about itself goes in, statements of a few
//! fixed shapes come out.
//!
//! A file is asked for each key and each row by itself: a statement is a call there and no way to anywhere, and one that changes a single row needs
//! no copy of the pages that it touches, as SQLite makes for one that might fail half-way. PostgreSQL, which is far away, reads each parameter by
//! itself and plans for their number, gets its rows as arrays where it can ([`super::arrays`]), and else in few sizes: powers of two and a
//! rest. More keys or rows than one statement takes make several statements.

use std::any::TypeId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use sea_orm::sea_query::{Expr, ExprTrait, IntoIden, OnConflict, Query, SelectStatement, ValueTuple};
use sea_orm::{DbBackend, DbErr, EntityTrait, Value};

use super::arrays::{self, Columns};
use super::error::StoreError;
use super::line::Line;
use super::link::{Hold, Link};

/// The most keys that one statement looks for on a server.
const LOAD_KEYS_MAX: usize = 1024;
/// The most rows that one statement saves on a server. A row has at most thirteen columns, so this stays far below the 65535 parameters of
/// PostgreSQL.
const SAVE_ROWS_MAX: usize = 512;
/// So few rows are saved by one statement, whatever their number: each statement is a way to the database and back.
const SAVE_ROWS_FEW: usize = 16;

/// A key as the parameters of a statement.
pub(super) trait Key: Ord + Clone {
    const PARTS: usize;

    fn push(&self, values: &mut Vec<Value>);
}

/// How one kind of row goes to its table and comes back.
pub(super) trait Table: 'static {
    type Entity: EntityTrait;
    type Key: Key;
    type Row;

    /// All columns, those of the key first. `write` gives and `read` takes values in this order.
    const COLUMNS: &'static [<Self::Entity as EntityTrait>::Column];

    fn read(row: &Line) -> Result<(Self::Key, Self::Row), DbErr>;

    fn write(key: &Self::Key, row: &Self::Row, values: &mut Vec<Value>);

    /// What happens to a row that is there already.
    fn on_conflict() -> OnConflict;
}

/// What a statement does with keys or rows. A file gets them one at a time, a server any number of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Shape {
    Load,
    Ask,
    Save,
    /// So many rows, value by value.
    SaveRows(usize),
}

/// The texts of the statements that were built before, by table or question.
#[derive(Debug, Default)]
pub(super) struct Shapes(Mutex<HashMap<(TypeId, Shape), Arc<str>>>);

impl Shapes {
    fn text<T: 'static>(&self, shape: Shape, build: impl FnOnce() -> String) -> Arc<str> {
        let mut texts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(texts.entry((TypeId::of::<T>(), shape)).or_insert_with(|| Arc::from(build())))
    }
}

impl Link {
    /// The rows of these keys that exist, in any order. `keys` is sorted and freed of doubles. No keys, no statement.
    pub(super) async fn load<T: Table>(&self, mut keys: Vec<T::Key>) -> Result<Vec<(T::Key, T::Row)>, StoreError> {
        keys.sort_unstable();
        keys.dedup();
        if let Hold::File(file) = &self.hold {
            let text = self.shapes.text::<T>(Shape::Load, || load_text::<T>(self.backend));
            let lines = file.query_each(&text, &keys, T::Key::push)?;
            return Ok(lines.into_iter().map(|line| T::read(&Line::File(line))).collect::<Result<_, _>>()?);
        }
        let mut found = Vec::new();
        for chunk in keys.chunks(LOAD_KEYS_MAX) {
            let columns = columns_of(chunk);
            let text = self.shapes.text::<T>(Shape::Load, || arrays::load_text::<T>(&columns));
            for row in self.rows_of(&text, columns.into_values()).await? {
                found.push(T::read(&row)?);
            }
        }
        Ok(found)
    }

    /// Asks one question about many keys of numbers, a server about at most `most` in one statement. `T` names its text, which `question` makes of
    /// a statement that selects from these keys: the table `wanted` with `column1`, `column2` … No keys, no statement.
    pub(super) async fn ask<T: 'static, K: Key>(
        &self,
        mut keys: Vec<K>,
        most: usize,
        question: fn(SelectStatement) -> SelectStatement,
    ) -> Result<Vec<Line>, StoreError> {
        keys.sort_unstable();
        keys.dedup();
        let build = |wanted: SelectStatement| self.backend.build(&question(wanted)).sql;
        if let Hold::File(file) = &self.hold {
            let text = self.shapes.text::<T>(Shape::Ask, || build(wanted(K::PARTS)));
            return Ok(file.query_each(&text, &keys, K::push)?.into_iter().map(Line::File).collect());
        }
        let text = self.shapes.text::<T>(Shape::Ask, || build(arrays::wanted(K::PARTS)));
        let mut found = Vec::new();
        for chunk in keys.chunks(most) {
            found.extend(self.rows_of(&text, columns_of(chunk).into_values()).await?);
        }
        Ok(found)
    }

    /// Saves rows in the order of their keys, as [`Table::on_conflict`] says. No rows, no statement.
    pub(super) async fn save<T: Table>(&self, mut rows: Vec<(&T::Key, &T::Row)>) -> Result<(), StoreError> {
        rows.sort_unstable_by(|left, right| left.0.cmp(right.0));
        if let Hold::File(file) = &self.hold {
            let text = self.shapes.text::<T>(Shape::Save, || save_text::<T>(self.backend, 1));
            return file.execute_each(&text, rows, |(key, row), values| T::write(key, row, values));
        }
        let mut rest = rows.as_slice();
        while !rest.is_empty() {
            let mut count = rest.len().min(SAVE_ROWS_MAX);
            let mut values = Vec::with_capacity(count * T::COLUMNS.len());
            rest[..count].iter().for_each(|(key, row)| T::write(key, row, &mut values));
            let (text, values) = if arrays::can_hold(&values) {
                let columns = Columns::of(values, T::COLUMNS.len());
                (self.shapes.text::<T>(Shape::Save, || arrays::save_text::<T>(&columns)), columns.into_values())
            } else {
                count = rows_saved_next(count);
                values.truncate(count * T::COLUMNS.len());
                (self.shapes.text::<T>(Shape::SaveRows(count), || save_text::<T>(self.backend, count)), values)
            };
            self.execute_of(&text, values).await?;
            rest = &rest[count..];
        }
        Ok(())
    }
}

fn columns_of<K: Key>(keys: &[K]) -> Columns {
    let mut values = Vec::with_capacity(keys.len() * K::PARTS);
    keys.iter().for_each(|key| key.push(&mut values));
    Columns::of(values, K::PARTS)
}

/// How many of so many rows, at least one, go into the next statement.
fn rows_saved_next(rest: usize) -> usize {
    if rest <= SAVE_ROWS_FEW { rest } else { 1 << Ord::min(rest.ilog2(), SAVE_ROWS_MAX.ilog2()) }
}

/// The table `wanted` of one row of so many numbers.
fn wanted(width: usize) -> SelectStatement {
    Query::select().from_values([ValueTuple::Many(vec![Value::from(0_i64); width])], "wanted").take()
}

/// The text alone: its parameters are bound anew each time. They stand in the order in which keys and rows push them.
fn load_text<T: Table>(backend: DbBackend) -> String {
    let mut select = Query::select();
    select.columns(T::COLUMNS.iter().copied()).from(T::Entity::default());
    for part in &T::COLUMNS[..T::Key::PARTS] {
        select.and_where(Expr::col(*part).eq(0_i64));
    }
    backend.build(&select).sql
}

fn save_text<T: Table>(backend: DbBackend, count: usize) -> String {
    let mut insert = Query::insert();
    insert.into_table(T::Entity::default()).columns(T::COLUMNS.iter().copied());
    for _ in 0..count {
        insert.values_panic(std::iter::repeat_n(Expr::value(0_i64), T::COLUMNS.len()));
    }
    insert.on_conflict(T::on_conflict());
    backend.build(&insert).sql
}

/// A row that is there is replaced as a whole, if `position` is higher.
pub(super) fn replace_if_higher<T: Table>(position: <T::Entity as EntityTrait>::Column) -> OnConflict {
    let newer = excluded(position).gt(stored::<T>(position));
    replace::<T>(|_| true, newer)
}

/// As [`replace_if_higher`], also when it is equal, for a version that does not move with every change of its row; and only
/// those columns that `replaced` says.
pub(super) fn replace_if_not_lower<T: Table>(
    version: <T::Entity as EntityTrait>::Column,
    replaced: impl Fn(&<T::Entity as EntityTrait>::Column) -> bool,
) -> OnConflict {
    let newer = excluded(version).gte(stored::<T>(version));
    replace::<T>(replaced, newer)
}

fn replace<T: Table>(replaced: impl Fn(&<T::Entity as EntityTrait>::Column) -> bool, newer: Expr) -> OnConflict {
    let (key, rest) = T::COLUMNS.split_at(T::Key::PARTS);
    let mut conflict = OnConflict::columns(key.iter().copied());
    conflict.update_columns(rest.iter().copied().filter(replaced));
    conflict.action_and_where(newer);
    conflict
}

/// The value that was to be inserted.
pub(super) fn excluded(column: impl IntoIden) -> Expr {
    Expr::col(("excluded", column.into_iden()))
}

/// The value that is there.
pub(super) fn stored<T: Table>(column: <T::Entity as EntityTrait>::Column) -> Expr {
    Expr::col((T::Entity::default(), column))
}

/// The stored and the incoming number together.
pub(super) fn sum<T: Table>(column: <T::Entity as EntityTrait>::Column) -> Expr {
    stored::<T>(column).add(excluded(column))
}
