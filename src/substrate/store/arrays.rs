//! Many rows for PostgreSQL as one array a column: the text of a statement, and its plan, are the same whatever their number.
//!
//! Rows that lie flat go in, columns come out, and the statements that take them. An array has no place for what is absent, so rows with
//! such values go the other way.

use sea_orm::sea_query::{ArrayType, Expr, ExprTrait, Func, Query, SelectStatement};
use sea_orm::{DbBackend, Value};

use super::bulk::{Key, Table};

/// The values of some rows, column by column.
pub(super) struct Columns(Vec<(ArrayType, Vec<Value>)>);

/// Whether each of these values has a place in an array.
pub(super) fn can_hold(values: &[Value]) -> bool {
    values.iter().all(Value::is_some)
}

impl Columns {
    /// `values` are rows of so many values, one after the other; at least one row, and of each column all of one type.
    pub(super) fn of(values: Vec<Value>, width: usize) -> Self {
        let rows = values.len() / width;
        let mut columns: Vec<(ArrayType, Vec<Value>)> =
            values.iter().take(width).map(|value| (value.array_type(), Vec::with_capacity(rows))).collect();
        for (index, value) in values.into_iter().enumerate() {
            columns[index % width].1.push(value);
        }
        Self(columns)
    }

    pub(super) fn into_values(self) -> Vec<Value> {
        self.0.into_iter().map(|(of, values)| Value::Array(of, Some(Box::new(values)))).collect()
    }

    /// `SELECT unnest($1::bigint[]), …`: all step forward together (PostgreSQL's documentation, 9.26 "Set Returning Functions").
    fn unnest(&self) -> SelectStatement {
        let arrays = self.0.iter().enumerate().map(|(index, (of, _))| Expr::cust(format!("${}::{}[]", index + 1, type_name(of))));
        Query::select().exprs(arrays.map(|array| Func::cust("unnest").arg(array))).take()
    }
}

fn type_name(of: &ArrayType) -> &'static str {
    match of {
        ArrayType::Bool => "boolean",
        ArrayType::SmallInt => "smallint",
        ArrayType::Int => "integer",
        ArrayType::String => "text",
        ArrayType::Bytes => "bytea",
        _ => "bigint",
    }
}

/// All columns of the rows that have these keys.
pub(super) fn load_text<T: Table>(keys: &Columns) -> String {
    let parts = T::COLUMNS[..T::Key::PARTS].iter().map(|part| Expr::col(*part));
    let mut select = Query::select();
    select.columns(T::COLUMNS.iter().copied()).from(T::Entity::default());
    select.and_where(Expr::tuple(parts).in_subquery(keys.unnest()));
    DbBackend::Postgres.build(&select).sql
}

/// Saves rows that lie in their columns' order, as [`Table::on_conflict`] says.
pub(super) fn save_text<T: Table>(rows: &Columns) -> String {
    let mut insert = Query::insert();
    insert.into_table(T::Entity::default()).columns(T::COLUMNS.iter().copied());
    // It is refused only if the numbers of columns differ.
    let _same_number = insert.select_from(rows.unnest());
    insert.on_conflict(T::on_conflict());
    DbBackend::Postgres.build(&insert).sql
}
