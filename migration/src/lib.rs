//! The schema, as migrations that only go forward: one file each, never changed once released.
//!
//! Each runs in one transaction on both databases, so that a crash leaves it done or not begun.

#![expect(
    elided_lifetimes_in_paths,
    reason = "the trait of sea-orm-migration elides the lifetime of SchemaManager, and async_trait wants the same"
)]

use std::pin::Pin;

use sea_orm_migration::prelude::*;
pub use sea_orm_migration::prelude::{MigrationTrait, MigratorTrait};
use sea_orm_migration::sea_orm::DbBackend;

/// Declares the files of the migrations, and lists them: a migration has the name of its file.
macro_rules! migrations {
    ($($file:ident),* $(,)?) => {
        $(mod $file;)*

        fn all() -> Vec<Box<dyn MigrationTrait>> {
            vec![$(Box::new(Step { name: stringify!($file), up: |manager| Box::pin($file::up(manager)) })),*]
        }
    };
}

migrations!(
    m000001_lanes,
    m000002_posts,
    m000003_users,
    m000004_accounts,
    m000005_followed_before,
    m000006_inboxes,
    m000007_first_actors,
    m000008_complete_to,
    m000009_unread_by_object,
    m000010_epoch,
    m000011_unread_by_age,
);

/// All migrations in their order.
pub struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        all()
    }
}

/// One migration.
struct Step {
    name: &'static str,
    up: for<'run> fn(&'run SchemaManager<'run>) -> Running<'run>,
}

type Running<'run> = Pin<Box<dyn Future<Output = Result<(), DbErr>> + Send + 'run>>;

impl MigrationName for Step {
    fn name(&self) -> &str {
        self.name
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Step {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        (self.up)(manager).await
    }
}

/// A table that SQLite keeps in the order of its key, without a second tree: for short rows that are found by a key of several
/// columns. PostgreSQL has no such thing and does not need the word.
fn clustered<const PARTS: usize>(manager: &SchemaManager<'_>, name: &'static str, key: [&'static str; PARTS]) -> TableCreateStatement {
    let mut table = Table::create();
    table.table(name);
    let mut primary = Index::create();
    for column in key {
        table.col(ColumnDef::new(column).big_integer().not_null());
        primary.col(column);
    }
    table.primary_key(&mut primary);
    if manager.get_database_backend() == DbBackend::Sqlite {
        table.extra("WITHOUT ROWID");
    }
    table
}

/// A table whose key is one number.
fn keyed(name: &'static str, key: &'static str) -> TableCreateStatement {
    let mut table = Table::create();
    table.table(name).col(ColumnDef::new(key).big_integer().not_null().primary_key());
    table
}

fn number(column: &'static str) -> ColumnDef {
    ColumnDef::new(column).big_integer().not_null().take()
}

fn number_or_null(column: &'static str) -> ColumnDef {
    ColumnDef::new(column).big_integer().null().take()
}

fn flag(column: &'static str) -> ColumnDef {
    ColumnDef::new(column).boolean().not_null().take()
}

fn text(column: &'static str) -> ColumnDef {
    ColumnDef::new(column).text().not_null().take()
}

fn text_or_null(column: &'static str) -> ColumnDef {
    ColumnDef::new(column).text().null().take()
}

fn bytes(column: &'static str) -> ColumnDef {
    ColumnDef::new(column).blob().not_null().take()
}

fn index(name: &'static str, table: &'static str, columns: &[&'static str]) -> IndexCreateStatement {
    let mut index = Index::create();
    index.name(name).table(table);
    for column in columns {
        index.col(*column);
    }
    index
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_migration_keeps_its_name_since_databases_remember_it() {
        let names: Vec<String> = Migrator::migrations().iter().map(|migration| migration.name().to_owned()).collect();

        assert_eq!(names[0], "m000001_lanes");
        assert_eq!(names[10], "m000011_unread_by_age");
        assert!(names.is_sorted());
    }
}
