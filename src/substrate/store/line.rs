//! One line of an answer, whichever database gave it.

use sea_orm::{DbErr, QueryResult, TryGetable};

use super::sqlite::FileLine;

/// A line of an answer; its columns are numbered from zero.
#[derive(Debug)]
pub(super) enum Line {
    Server(QueryResult),
    File(FileLine),
}

/// What a column can hold. Both databases know it.
pub(super) trait Cell: TryGetable + rusqlite::types::FromSql {}

impl<T: TryGetable + rusqlite::types::FromSql> Cell for T {}

impl Line {
    pub(super) fn get<T: Cell>(&self, index: usize) -> Result<T, DbErr> {
        match self {
            Self::Server(row) => row.try_get_by_index(index),
            Self::File(row) => row.get(index),
        }
    }
}
