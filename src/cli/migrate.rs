//! `sosik migrate`: the schema alone.

use super::{CliError, say};
use crate::app;
use crate::support::config::Config;
use crate::support::data_folder::DataFolder;

pub(super) async fn migrate(config: &Config) -> Result<(), CliError> {
    let folder = DataFolder::open(&config.data.dir).map_err(CliError::while_doing("open the data folder"))?;
    for member in &config.shards.members {
        let store = app::open_store(config, member, folder.path()).await?;
        store.close().await.map_err(CliError::while_doing("close the database"))?;
        say(&format!("{}: up to date", member.name));
    }
    Ok(())
}
