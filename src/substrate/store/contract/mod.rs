//! What every database must do: one suite, run on SQLite and on PostgreSQL.
//!
//! The PostgreSQL half needs a server, named by `SOSIK_TEST_POSTGRES`; `./test` starts one. Without it that half says on
//! standard error that it was left out.

use std::io::Write;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

use sea_orm::{ConnectionTrait, Database};

use super::rows::{Needs, Rows};
use super::{Backend, Store, StoreOptions};
use crate::support::config::PostgresUrl;

mod audit;
mod epochs;
mod faults;
mod inboxes;
mod lanes;
mod pages;
mod rows;
mod shard;

/// A shard of its own for one test.
pub(super) struct TestShard {
    pub(super) store: Store,
    pub(super) backend: Backend,
    _folder: Option<tempfile::TempDir>,
}

impl TestShard {
    pub(super) async fn sqlite() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let backend = Backend::Sqlite(folder.path().join("shard.sqlite"));
        Self::migrated(backend, Some(folder)).await
    }

    /// `None` if there is no server to test on.
    pub(super) async fn postgres() -> Option<Self> {
        static LEFT_OUT: Once = Once::new();
        static DATABASES: AtomicU32 = AtomicU32::new(0);
        let Ok(server) = std::env::var("SOSIK_TEST_POSTGRES") else {
            LEFT_OUT.call_once(|| {
                // Not by eprintln: the test harness would keep it to itself.
                let line = "LEFT OUT: the store's contract on PostgreSQL, since SOSIK_TEST_POSTGRES is not set; run ./test\n";
                std::io::stderr().write_all(line.as_bytes()).expect("standard error");
            });
            return None;
        };
        let name = format!("contract_{}_{}", std::process::id(), DATABASES.fetch_add(1, Ordering::SeqCst));
        let connection = Database::connect(&server).await.expect("the server named by SOSIK_TEST_POSTGRES");
        connection.execute_unprepared(&format!("CREATE DATABASE {name}")).await.expect("a database");
        let (base, _) = server.rsplit_once('/').expect("a URL with a database");
        let url = PostgresUrl::parse(&format!("{base}/{name}")).expect("a URL");
        Some(Self::migrated(Backend::Postgres(url), None).await)
    }

    async fn migrated(backend: Backend, folder: Option<tempfile::TempDir>) -> Self {
        let store = Store::open(&backend, StoreOptions::default()).await.expect("opens");
        store.migrate().await.expect("migrates");
        Self { store, backend, _folder: folder }
    }

    /// Saves rows in a transaction of their own.
    pub(super) async fn save(&self, rows: &Rows) {
        let mut tx = self.store.begin().await.expect("begins");
        tx.rows_save(rows).await.expect("saves");
        tx.commit().await.expect("commits");
    }

    pub(super) async fn load(&self, needs: &Needs) -> Rows {
        self.store.snapshot().await.expect("a snapshot").rows_load(needs).await.expect("loads")
    }
}

/// Makes one test of each function for each database.
macro_rules! on_both {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(
                #[tokio::test]
                async fn $name() {
                    super::$name($crate::substrate::store::contract::TestShard::sqlite().await).await;
                }
            )*
        }

        mod postgres {
            $(
                #[tokio::test]
                async fn $name() {
                    if let Some(shard) = $crate::substrate::store::contract::TestShard::postgres().await {
                        super::$name(shard).await;
                    }
                }
            )*
        }
    };
}
use on_both;
