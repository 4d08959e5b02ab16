//! Many rows for PostgreSQL as one array a column: the text of a statement, and its plan, are the same whatever their number.
//!
//! Rows that lie flat go in, columns come out, and the statements that take them. An array has no place for what is absent: an absent number
//! has a word of its own in it, and rows without a text or bytes go the other way.

use sea_orm::sea_query::{ArrayType, Expr, ExprTrait, Func, Query, SelectStatement};
use sea_orm::{ColumnTrait, DbBackend, Value};

use super::bulk::{Key, Table};

/// Stands for an absent number: ids, positions and times are all above it.
const ABSENT: i64 = -i64::MAX;

/// The values of some rows, column by column.
pub(super) struct Columns(Vec<(ArrayType, Vec<Value>)>);

/// Whether each of these values has a place in an array.
pub(super) fn can_hold(values: &[Value]) -> bool {
    values.iter().all(|value| value.is_some() || matches!(value, Value::BigInt(None)))
}

impl Columns {
    /// `values` are rows of so many values, one after the other; at least one row, and of each column all of one type.
    pub(super) fn of(values: Vec<Value>, width: usize) -> Self {
        let rows = values.len() / width;
        let mut columns: Vec<(ArrayType, Vec<Value>)> =
            values.iter().take(width).map(|value| (value.array_type(), Vec::with_capacity(rows))).collect();
        for (index, value) in values.into_iter().enumerate() {
            columns[index % width].1.push(if value.is_some() { value } else { ABSENT.into() });
        }
        Self(columns)
    }

    pub(super) fn into_values(self) -> Vec<Value> {
        self.0.into_iter().map(|(of, values)| Value::Array(of, Some(Box::new(values)))).collect()
    }

    /// `SELECT unnest($1::bigint[]), …`: all step forward together (PostgreSQL's documentation, 9.26 "Set Returning Functions").
    fn unnest(&self) -> SelectStatement {
        Query::select().exprs(self.0.iter().enumerate().map(|(index, (of, _))| unnested(index, of))).take()
    }

    /// The same for the columns of a table, some of which can be absent.
    fn unnest_into<T: Table>(&self) -> SelectStatement {
        let columns = self.0.iter().zip(T::COLUMNS).enumerate().map(|(index, ((of, _), column))| {
            let value = unnested(index, of);
            let can_be_absent = *of == ArrayType::BigInt && column.def().is_null();
            if can_be_absent { Func::cust("nullif").args([value, Expr::cust(ABSENT.to_string())]).into() } else { value }
        });
        Query::select().exprs(columns).take()
    }
}

fn unnested(index: usize, of: &ArrayType) -> Expr {
    Func::cust("unnest").arg(Expr::cust(format!("${}::{}[]", index + 1, type_name(of)))).into()
}

/// The table `wanted` of so many numbers a row: `column1`, `column2` …
pub(super) fn wanted(width: usize) -> SelectStatement {
    let mut rows = Query::select();
    for index in 0..width {
        rows.expr_as(unnested(index, &ArrayType::BigInt), format!("column{}", index + 1));
    }
    Query::select().from_subquery(rows, "wanted").take()
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
    let _same_number = insert.select_from(rows.unnest_into::<T>());
    insert.on_conflict(T::on_conflict());
    DbBackend::Postgres.build(&insert).sql
}
