//! Databases for a measurement, in a cluster to throw away: they stay until it goes, unless they are dropped.

use std::sync::atomic::{AtomicU32, Ordering};

use sea_orm::{ConnectionTrait, Database};

use crate::{Options, Outcome};

static DATABASES: AtomicU32 = AtomicU32::new(0);

/// A database of this run.
pub(crate) struct Made {
    cluster: String,
    name: String,
    pub(crate) url: String,
}

impl Made {
    pub(crate) async fn new(cluster: &str, name: &str) -> Outcome<Self> {
        Self::make(cluster, name, "").await
    }

    /// One with the same rows. Nobody may be connected to the first.
    pub(crate) async fn copy(&self, name: &str) -> Outcome<Self> {
        Self::make(&self.cluster, name, &format!(" TEMPLATE {}", self.name)).await
    }

    async fn make(cluster: &str, name: &str, template: &str) -> Outcome<Self> {
        let (base, _) = cluster.rsplit_once('/').ok_or("--postgres: expected a URL with a database")?;
        let name = format!("bench_{name}_{}_{}", std::process::id(), DATABASES.fetch_add(1, Ordering::Relaxed));
        run(cluster, &format!("CREATE DATABASE {name}{template}")).await?;
        Ok(Self { cluster: cluster.to_owned(), url: format!("{base}/{name}"), name })
    }

    /// Where the same database is on a standby of the cluster.
    pub(crate) fn url_at(&self, standby: &str) -> Outcome<String> {
        let (base, _) = standby.rsplit_once('/').ok_or("--standby: expected a URL with a database")?;
        Ok(format!("{base}/{}", self.name))
    }

    pub(crate) async fn drop(self) -> Outcome<()> {
        run(&self.cluster, &format!("DROP DATABASE {} WITH (FORCE)", self.name)).await
    }
}

/// Where databases can be made.
pub(crate) fn named(options: &Options) -> Outcome<&str> {
    Ok(options.postgres.as_deref().ok_or("say where databases can be made: --postgres postgres://user@host:port/postgres")?)
}

async fn run(cluster: &str, text: &str) -> Outcome<()> {
    let operator = Database::connect(cluster).await?;
    operator.execute_unprepared(text).await?;
    Ok(operator.close().await?)
}
