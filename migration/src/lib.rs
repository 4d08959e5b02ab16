//! The schema, as migrations that only go forward: one file each, never changed once released.
//!
//! Each runs in one transaction on both databases, so that a crash leaves it done or not begun.

#![expect(
    elided_lifetimes_in_paths,
    reason = "the trait of sea-orm-migration elides the lifetime of SchemaManager, and async_trait wants the same"
)]

use sea_orm_migration::prelude::*;
pub use sea_orm_migration::prelude::{MigrationTrait, MigratorTrait};
use sea_orm_migration::sea_orm::DbBackend;

mod m000001_lanes;
mod m000002_posts;
mod m000003_users;
mod m000004_accounts;
mod m000005_followed_before;
mod m000006_inboxes;
mod m000007_first_actors;

/// All migrations in their order.
pub struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m000001_lanes::Migration),
            Box::new(m000002_posts::Migration),
            Box::new(m000003_users::Migration),
            Box::new(m000004_accounts::Migration),
            Box::new(m000005_followed_before::Migration),
            Box::new(m000006_inboxes::Migration),
            Box::new(m000007_first_actors::Migration),
        ]
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
