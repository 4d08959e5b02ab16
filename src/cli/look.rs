//! The shards as they are, for commands beside a server that may run: no database is made and none is migrated.

use std::path::Path;

use super::CliError;
use crate::app;
use crate::substrate::store::Store;
use crate::support::config::{Config, Member};

/// The stores of all members, in the order of the map.
pub(super) async fn stores(config: &Config, folder: &Path) -> Result<Vec<Store>, CliError> {
    let mut stores = Vec::with_capacity(config.shards.members.len());
    for member in &config.shards.members {
        stores.push(store(config, member, folder).await?);
    }
    Ok(stores)
}

/// One that is missing, or whose schema is older than this program, is refused.
pub(super) async fn store(config: &Config, member: &Member, folder: &Path) -> Result<Store, CliError> {
    // Opening a file would make it.
    if member.sqlite_file(folder).is_some_and(|file| !file.is_file()) {
        return Err(CliError::Refused(format!("the shard {} has no database", member.name)));
    }
    let (store, chosen) = app::connect(config, member, folder).await?;
    if !store.is_current().await.map_err(CliError::while_doing("read a shard"))? {
        let name = &member.name;
        return Err(CliError::Refused(format!("the schema of the shard {name} is older than this program: run sosik migrate first")));
    }
    // Should another one take over meanwhile, nothing is written to this one.
    chosen.into_iter().for_each(|chosen| store.expect(chosen));
    Ok(store)
}

pub(super) async fn close(stores: Vec<Store>) -> Result<(), CliError> {
    for store in stores {
        store.close().await.map_err(CliError::while_doing("close the database"))?;
    }
    Ok(())
}
