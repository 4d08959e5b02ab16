//! The shards as they are, for commands that only read: no database is made and none is migrated.

use std::path::Path;

use super::CliError;
use crate::app;
use crate::substrate::store::Store;
use crate::support::config::Config;

/// The stores of all members, in the order of the map. One that is missing, or whose schema is older than this program, is refused.
pub(super) async fn stores(config: &Config, folder: &Path) -> Result<Vec<Store>, CliError> {
    let mut stores = Vec::with_capacity(config.shards.members.len());
    for member in &config.shards.members {
        // Opening a file would make it.
        if member.sqlite_file(folder).is_some_and(|file| !file.is_file()) {
            return Err(CliError::Refused(format!("the shard {} has no database", member.name)));
        }
        let store = app::connect(config, member, folder).await?;
        if !store.is_current().await.map_err(CliError::while_doing("read a shard"))? {
            return Err(CliError::Refused(format!(
                "the schema of the shard {} is older than this program: run sosik migrate first",
                member.name
            )));
        }
        stores.push(store);
    }
    Ok(stores)
}

pub(super) async fn close(stores: Vec<Store>) -> Result<(), CliError> {
    for store in stores {
        store.close().await.map_err(CliError::while_doing("close the database"))?;
    }
    Ok(())
}
