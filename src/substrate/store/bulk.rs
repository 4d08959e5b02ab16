//! Many rows in few statements, the same for all tables: what a [`Table`] says about itself goes in, statements of a few
//! fixed shapes come out.
//!
//! A statement is prepared once for each number of rows, so those numbers are few: reads repeat the last key up to the next power of two,
//! saves are cut into powers of two and a rest. More keys or rows than one statement takes make several statements. PostgreSQL, which
//! reads each parameter by itself and plans for their number, gets its rows as arrays where it can ([`super::arrays`]).

use std::any::TypeId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use sea_orm::sea_query::{Asterisk, Expr, ExprTrait, IntoIden, OnConflict, Query, SelectStatement, ValueTuple};
use sea_orm::{DbBackend, DbErr, EntityTrait, Value};

use super::arrays::{self, Columns};
use super::error::StoreError;
use super::line::Line;
use super::link::Link;

/// The most keys that one statement looks for. A key has at most five parts, so this stays far below the 32766 parameters of
/// SQLite and the 65535 of PostgreSQL.
const LOAD_KEYS_MAX: usize = 1024;
/// The most rows that one statement saves. A row has at most thirteen columns.
const SAVE_ROWS_MAX: usize = 512;
/// So few rows are saved by one statement, whatever their number: each statement is a way to the database and back.
const SAVE_ROWS_FEW: usize = 16;
/// A statement whose text is the same for any number of rows.
const ANY_NUMBER: usize = 0;

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

/// The texts of the statements that were built before, by table, kind and number of rows.
#[derive(Debug, Default)]
pub(super) struct Shapes(Mutex<HashMap<(TypeId, bool, usize), Arc<str>>>);

impl Shapes {
    fn text(&self, key: (TypeId, bool, usize), build: impl FnOnce() -> String) -> Arc<str> {
        let mut texts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(texts.entry(key).or_insert_with(|| Arc::from(build())))
    }
}

impl Link {
    /// The rows of these keys that exist, in any order. `keys` is sorted and freed of doubles. No keys, no statement.
    pub(super) async fn load<T: Table>(&self, mut keys: Vec<T::Key>) -> Result<Vec<(T::Key, T::Row)>, StoreError> {
        keys.sort_unstable();
        keys.dedup();
        let mut found = Vec::new();
        for chunk in keys.chunks(LOAD_KEYS_MAX) {
            let (count, values) = self.keys_flat(chunk);
            let (text, values) = if self.takes_arrays() {
                let columns = Columns::of(values, T::Key::PARTS);
                (self.shapes.text((TypeId::of::<T>(), false, ANY_NUMBER), || arrays::load_text::<T>(&columns)), columns.into_values())
            } else {
                (self.shapes.text((TypeId::of::<T>(), false, count), || load_text::<T>(self.backend, count)), values)
            };
            for row in self.rows_of(&text, values).await? {
                found.push(T::read(&row)?);
            }
        }
        Ok(found)
    }

    /// Asks one question about many keys of numbers, at most `most` in one statement. `T` names its text, which `question` makes of a statement
    /// that selects from these keys: the table `wanted` with `column1`, `column2` … No keys, no statement.
    pub(super) async fn ask<T: 'static, K: Key>(
        &self,
        mut keys: Vec<K>,
        most: usize,
        question: fn(SelectStatement) -> SelectStatement,
    ) -> Result<Vec<Line>, StoreError> {
        keys.sort_unstable();
        keys.dedup();
        let mut found = Vec::new();
        for chunk in keys.chunks(most) {
            let (count, values) = self.keys_flat(chunk);
            let build = |wanted: SelectStatement| self.backend.build(&question(wanted)).sql;
            let (text, values) = if self.takes_arrays() {
                let text = self.shapes.text((TypeId::of::<T>(), false, ANY_NUMBER), || build(arrays::wanted(K::PARTS)));
                (text, Columns::of(values, K::PARTS).into_values())
            } else {
                (self.shapes.text((TypeId::of::<T>(), false, count), || build(wanted(K::PARTS, count))), values)
            };
            found.extend(self.rows_of(&text, values).await?);
        }
        Ok(found)
    }

    /// Keys as parameters, one after the other, and how many: where each number of them has a text of its own, the last one is repeated.
    fn keys_flat<K: Key>(&self, keys: &[K]) -> (usize, Vec<Value>) {
        let count = if self.takes_arrays() { keys.len() } else { keys.len().next_power_of_two() };
        let mut values = Vec::with_capacity(count * K::PARTS);
        keys.iter().chain(keys.last().into_iter().cycle()).take(count).for_each(|key| key.push(&mut values));
        (count, values)
    }

    /// Saves rows in the order of their keys, as [`Table::on_conflict`] says. No rows, no statement.
    pub(super) async fn save<T: Table>(&self, mut rows: Vec<(&T::Key, &T::Row)>) -> Result<(), StoreError> {
        rows.sort_unstable_by(|left, right| left.0.cmp(right.0));
        let mut rest = rows.as_slice();
        while !rest.is_empty() {
            let mut count = if self.takes_arrays() { rest.len().min(SAVE_ROWS_MAX) } else { rows_saved_next(rest.len()) };
            let mut values = Vec::with_capacity(count * T::COLUMNS.len());
            rest[..count].iter().for_each(|(key, row)| T::write(key, row, &mut values));
            let as_arrays = self.takes_arrays() && arrays::can_hold(&values);
            if !as_arrays {
                count = rows_saved_next(count);
                values.truncate(count * T::COLUMNS.len());
            }
            let (text, values) = if as_arrays {
                let columns = Columns::of(values, T::COLUMNS.len());
                (self.shapes.text((TypeId::of::<T>(), true, ANY_NUMBER), || arrays::save_text::<T>(&columns)), columns.into_values())
            } else {
                (self.shapes.text((TypeId::of::<T>(), true, count), || save_text::<T>(self.backend, count)), values)
            };
            self.execute_of(&text, values).await?;
            rest = &rest[count..];
        }
        Ok(())
    }
}

/// How many of so many rows, at least one, go into the next statement.
fn rows_saved_next(rest: usize) -> usize {
    if rest <= SAVE_ROWS_FEW { rest } else { 1 << Ord::min(rest.ilog2(), SAVE_ROWS_MAX.ilog2()) }
}

/// The table `wanted` of so many rows of so many numbers.
fn wanted(width: usize, count: usize) -> SelectStatement {
    let rows = std::iter::repeat_n(ValueTuple::Many(vec![Value::from(0_i64); width]), count);
    Query::select().from_values(rows, "wanted").take()
}

/// The text alone: its parameters are bound anew each time. They stand in the order in which keys and rows push them.
fn load_text<T: Table>(backend: DbBackend, count: usize) -> String {
    let key = &T::COLUMNS[..T::Key::PARTS];
    let mut select = Query::select();
    select.columns(T::COLUMNS.iter().copied()).from(T::Entity::default());
    match key {
        [single] => {
            select.and_where(Expr::col(*single).is_in(std::iter::repeat_n(0_i64, count)));
        }
        parts => {
            let tuples = std::iter::repeat_n(ValueTuple::Many(vec![Value::from(0_i64); parts.len()]), count);
            let listed = Query::select().column(Asterisk).from_values(tuples, "wanted").take();
            select.and_where(Expr::tuple(parts.iter().map(|part| Expr::col(*part))).in_subquery(listed));
        }
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
