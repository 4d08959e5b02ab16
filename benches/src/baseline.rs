//! What we stand on: likes written by `insert_many` in batches into a file of the same schema, without us.

use std::path::Path;
use std::time::{Duration, Instant};

use sea_orm::sea_query::{Expr, ExprTrait, OnConflict};
use sea_orm::sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};
use sea_orm::{ActiveValue, ConnectOptions, ConnectionTrait, Database, DatabaseConnection, EntityTrait, TransactionTrait};
use sosik_entities::post_likes;
use sosik_migration::{Migrator, MigratorTrait};
use tokio::task::JoinSet;

use crate::Outcome;

/// Rows of one statement, each in a transaction of its own.
const BATCH_ROWS: u64 = 500;

/// Writes the likes of all pairs of users and posts, spread over so many files with a task each; rows a second.
pub(crate) async fn insert_many(folder: &Path, files: u64, users: u64, posts: u64) -> Outcome<f64> {
    let mut databases = Vec::new();
    for number in 0..files {
        let path = folder.join(format!("baseline-{number}.sqlite"));
        if path.exists() {
            std::fs::remove_file(&path)?;
        }
        databases.push(open(&path).await?);
    }
    let began = Instant::now();
    let mut writers = JoinSet::new();
    for (number, database) in databases.into_iter().enumerate() {
        writers.spawn(async move { write(&database, number as u64, files, users, posts).await });
    }
    while let Some(writer) = writers.join_next().await {
        writer??;
    }
    Ok((users * posts) as f64 / began.elapsed().as_secs_f64())
}

/// The same into a database of PostgreSQL.
pub(crate) async fn insert_many_into(url: &str, users: u64, posts: u64) -> Outcome<f64> {
    let database = Database::connect(ConnectOptions::new(url).max_connections(1).sqlx_logging(false).to_owned()).await?;
    Migrator::up(&database, None).await?;
    let began = Instant::now();
    write(&database, 0, 1, users, posts).await?;
    Ok((users * posts) as f64 / began.elapsed().as_secs_f64())
}

async fn open(path: &Path) -> Outcome<DatabaseConnection> {
    let mut options = ConnectOptions::new(format!("sqlite://{}?mode=rwc", path.display()));
    options.max_connections(1).min_connections(1).sqlx_logging(false).acquire_timeout(Duration::from_secs(5));
    // The same settings as the store's own writer.
    options.map_sqlx_sqlite_opts(|options| {
        options
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .pragma("mmap_size", "0")
            .pragma("temp_store", "memory")
            .pragma("wal_autocheckpoint", "4000")
            .pragma("cache_size", "-16384")
    });
    let database = Database::connect(options).await?;
    Migrator::up(&database, None).await?;
    Ok(database)
}

async fn write(database: &DatabaseConnection, file: u64, files: u64, users: u64, posts: u64) -> Outcome<()> {
    let mut batch = Vec::with_capacity(BATCH_ROWS as usize);
    let mut position = 0_i64;
    for user in 0..users {
        for post in (file..posts).step_by(files as usize) {
            position += 1;
            batch.push(post_likes::ActiveModel {
                post: ActiveValue::Set(id(post)),
                user: ActiveValue::Set(id(posts + user)),
                liked: ActiveValue::Set(true),
                position: ActiveValue::Set(position),
            });
            if batch.len() as u64 == BATCH_ROWS {
                insert(database, std::mem::take(&mut batch)).await?;
            }
        }
    }
    if batch.is_empty() { Ok(()) } else { insert(database, batch).await }
}

/// An id like ours: most of it a time, so that neighbours differ in their middle.
fn id(number: u64) -> i64 {
    ((number << 22) | (1 << 60)) as i64
}

async fn insert(database: &DatabaseConnection, rows: Vec<post_likes::ActiveModel>) -> Outcome<()> {
    let newer = Expr::col((post_likes::Entity, post_likes::Column::Position)).lt(Expr::cust("excluded.position"));
    let conflict = OnConflict::columns([post_likes::Column::Post, post_likes::Column::User])
        .update_columns([post_likes::Column::Liked, post_likes::Column::Position])
        .action_and_where(newer)
        .to_owned();
    let transaction = database.begin().await?;
    let statement = post_likes::Entity::insert_many(rows).on_conflict(conflict);
    statement.exec_without_returning(&transaction).await?;
    transaction.commit().await?;
    Ok(())
}

/// The version of the SQLite that is linked here, to be told beside the figures.
pub(crate) async fn sqlite_version() -> Outcome<String> {
    let database = Database::connect("sqlite::memory:").await?;
    let statement = sea_orm::Statement::from_string(sea_orm::DbBackend::Sqlite, "SELECT sqlite_version() AS version");
    let row = database.query_one_raw(statement).await?.ok_or("no version")?;
    Ok(row.try_get("", "version")?)
}
