//! One transaction's connection, to read or to write: a statement goes in, lines come out, from a server or from a file.

use std::sync::Arc;
use std::time::Duration;

use sea_orm::{
    AccessMode, ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, IsolationLevel, Statement, StatementBuilder,
    TransactionTrait, Value,
};

use super::bulk::Shapes;
use super::error::StoreError;
use super::line::Line;
use super::sqlite::{FilePool, FileTransaction};

/// The connections of one kind to one database. Cheap to clone.
#[derive(Clone)]
pub(super) enum Pool {
    Server(DatabaseConnection),
    File(Arc<FilePool>),
}

impl Pool {
    pub(super) fn backend(&self) -> DbBackend {
        match self {
            Self::Server(_) => DbBackend::Postgres,
            Self::File(_) => DbBackend::Sqlite,
        }
    }

    pub(super) async fn begin_writing(&self, patience: Option<Duration>) -> Result<Hold, StoreError> {
        match self {
            Self::Server(connection) => Ok(Hold::Server(on_live(|| answered(patience, connection.begin())).await?)),
            Self::File(file) => Ok(Hold::File(file.begin("BEGIN IMMEDIATE").await?)),
        }
    }

    /// All that is read is of one state.
    pub(super) async fn begin_reading(&self, patience: Option<Duration>) -> Result<Hold, StoreError> {
        match self {
            Self::Server(connection) => {
                let begin = || connection.begin_with_config(Some(IsolationLevel::RepeatableRead), Some(AccessMode::ReadOnly));
                Ok(Hold::Server(on_live(|| answered(patience, begin())).await?))
            }
            // A read transaction of SQLite is a snapshot already.
            Self::File(file) => Ok(Hold::File(file.begin("BEGIN").await?)),
        }
    }

    /// For statements each of which is a snapshot by itself: on a server that spares a beginning and an end.
    pub(super) async fn single_statements(&self, patience: Option<Duration>) -> Result<Hold, StoreError> {
        match self {
            Self::Server(connection) => Ok(Hold::Pool(connection.clone())),
            Self::File(_) => self.begin_reading(patience).await,
        }
    }

    /// The connections themselves, if there is a server.
    pub(super) fn server(&self) -> Result<&DatabaseConnection, StoreError> {
        match self {
            Self::Server(connection) => Ok(connection),
            Self::File(_) => Err(StoreError::NoServer),
        }
    }

    /// Ends all connections, after what is running.
    pub(super) async fn close(&self) -> Result<(), StoreError> {
        match self {
            Self::Server(connection) => Ok(connection.close_by_ref().await?),
            Self::File(file) => {
                file.close().await;
                Ok(())
            }
        }
    }
}

/// What a [`Link`] is made of.
pub(super) enum Hold {
    Server(DatabaseTransaction),
    /// Each statement for itself.
    Pool(DatabaseConnection),
    File(FileTransaction),
}

/// One transaction's connection, for reading or writing.
pub(super) struct Link {
    pub(super) hold: Hold,
    pub(super) backend: DbBackend,
    pub(super) shapes: Arc<Shapes>,
    /// How long it waits for an answer.
    pub(super) patience: Option<Duration>,
    /// The epoch that its database must carry, if that is known.
    pub(super) epoch: Option<u64>,
}

/// A server that started again leaves so many dead connections at most in a row, as far as they are tried.
const DEAD_MAX: usize = 4;

/// Asks again where a connection turns out to be one that its server has ended meanwhile: for what begins something or only reads.
async fn on_live<T, A: Future<Output = Result<T, StoreError>>>(ask: impl Fn() -> A) -> Result<T, StoreError> {
    for _ in 0..DEAD_MAX {
        match ask().await {
            Err(error) if error.is_lost_connection() => {}
            answer => return answer,
        }
    }
    ask().await
}

/// Waits for an answer as long as is allowed: what is not answered by then is lost with its connection.
pub(super) async fn answered<T>(patience: Option<Duration>, asked: impl Future<Output = Result<T, DbErr>>) -> Result<T, StoreError> {
    let Some(waited) = patience else { return Ok(asked.await?) };
    match tokio::time::timeout(waited, asked).await {
        Ok(answer) => Ok(answer?),
        Err(_elapsed) => Err(StoreError::NoAnswer { waited }),
    }
}

impl Link {
    pub(super) async fn rows(&self, statement: &impl StatementBuilder) -> Result<Vec<Line>, StoreError> {
        self.query(self.backend.build(statement)).await
    }

    /// How many rows it changed.
    pub(super) async fn execute(&self, statement: &impl StatementBuilder) -> Result<u64, StoreError> {
        self.run(self.backend.build(statement)).await
    }

    /// The same for a text that was built before.
    pub(super) async fn rows_of(&self, text: &str, values: Vec<Value>) -> Result<Vec<Line>, StoreError> {
        self.query(Statement::from_sql_and_values(self.backend, text, values)).await
    }

    pub(super) async fn execute_of(&self, text: &str, values: Vec<Value>) -> Result<u64, StoreError> {
        self.run(Statement::from_sql_and_values(self.backend, text, values)).await
    }

    async fn query(&self, statement: Statement) -> Result<Vec<Line>, StoreError> {
        let rows = match &self.hold {
            Hold::File(transaction) => return Ok(transaction.query(&statement)?.into_iter().map(Line::File).collect()),
            Hold::Server(transaction) => answered(self.patience, transaction.query_all_raw(statement)).await?,
            Hold::Pool(connection) => on_live(|| answered(self.patience, connection.query_all_raw(statement.clone()))).await?,
        };
        Ok(rows.into_iter().map(Line::Server).collect())
    }

    async fn run(&self, statement: Statement) -> Result<u64, StoreError> {
        match &self.hold {
            Hold::File(transaction) => transaction.execute(&statement),
            Hold::Server(transaction) => Ok(answered(self.patience, transaction.execute_raw(statement)).await?.rows_affected()),
            Hold::Pool(connection) => Ok(answered(self.patience, connection.execute_raw(statement)).await?.rows_affected()),
        }
    }

    /// After `Ok` it is durable. After an error it may be or not.
    pub(super) async fn commit(self) -> Result<(), StoreError> {
        match self.hold {
            Hold::Server(transaction) => answered(self.patience, transaction.commit()).await,
            Hold::Pool(_) => Ok(()),
            Hold::File(transaction) => transaction.commit(),
        }
    }
}
