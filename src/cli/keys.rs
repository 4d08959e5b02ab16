//! `sosik keys rotate`: a new signing key. A running server notices it by itself.

use super::{CliError, say};
use crate::app::KEYS_FOLDER;
use crate::support::auth::keys;
use crate::support::clock::{Clock, SystemClock};
use crate::support::config::Config;
use crate::support::data_folder::DataFolder;

pub(super) fn rotate(config: &Config) -> Result<(), CliError> {
    let folder = DataFolder::look(&config.data.dir).map_err(CliError::while_doing("open the data folder"))?;
    let kid = keys::rotate(&folder.join(KEYS_FOLDER), SystemClock.now()).map_err(CliError::while_doing("rotate the keys"))?;
    let announced = keys::ANNOUNCED_MS.div_ceil(60_000);
    say(&format!("a running server publishes the key {kid} within seconds, and signs new tokens with it in less than {announced} minutes"));
    Ok(())
}
