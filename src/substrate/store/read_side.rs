//! The reading side of a database, a primary's or a standby's: snapshots come out, and how far its log was then.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::support::faults::planted;
use crate::vocabulary::ids::{PostId, UserId};

use super::bulk::Shapes;
use super::error::StoreError;
use super::link::{Hold, Link, Pool};
use super::post_sight;
use super::rows::Rows;
use super::snapshot::Snapshot;
use super::standby::{HERE_STANDS, LogPosition, log_position_in, one_row};
use super::tenure::Chosen;

/// A database that has not answered a caller's read by then is treated as one that cannot be read.
pub const READ_PATIENCE: Duration = Duration::from_secs(2);

/// What is read, unless its caller has waited long enough: a server that hangs must not hold whoever asks.
pub async fn in_time<T>(read: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let waited = READ_PATIENCE;
    tokio::time::timeout(waited, read).await.unwrap_or(Err(StoreError::NoAnswer { waited }))
}

/// Where a shard is read. Cheap to clone.
#[derive(Clone)]
pub struct ReadSide {
    pub(super) pool: Pool,
    pub(super) shapes: Arc<Shapes>,
    /// How long it waits for an answer.
    pub(super) patience: Option<Duration>,
    /// The shard, and the only primary that its rows may come from, once that is known.
    pub(super) chosen: Arc<OnceLock<Chosen>>,
}

impl ReadSide {
    /// A consistent state to read from.
    pub async fn snapshot(&self) -> Result<Snapshot, StoreError> {
        Ok(Snapshot { link: self.link(self.pool.begin_reading(self.patience).await?) })
    }

    /// What shows posts to viewers, from one snapshot: posts, their counters, each viewer's like and subscription.
    pub async fn posts_seen(&self, sights: &[(PostId, Option<UserId>)]) -> Result<Rows, StoreError> {
        post_sight::load(&self.link(self.pool.single_statements(self.patience).await?), sights).await
    }

    /// Where the log of a PostgreSQL server is now: what was read here before lies before it.
    pub async fn log_position(&self) -> Result<LogPosition, StoreError> {
        log_position_in(&one_row(self.pool.server()?, self.patience, HERE_STANDS).await?)
    }

    pub(super) fn link(&self, hold: Hold) -> Link {
        let epoch = self.chosen.get().map(|chosen| chosen.tenure.epoch).filter(|_| !planted("store::skip_epoch_inside"));
        Link { hold, backend: self.pool.backend(), shapes: Arc::clone(&self.shapes), patience: self.patience, epoch }
    }
}
