//! `sosik token`: an access token for scripts and load tests. It has no session: only its end ends it.

use std::time::Duration;

use super::{CliError, say, user};
use crate::app;
use crate::intake::accounts::operator_token;
use crate::support::clock::{Clock, SystemClock};
use crate::support::config::Config;
use crate::support::data_folder::DataFolder;

pub(super) async fn print(config: &Config, name: &str, ttl: Duration) -> Result<(), CliError> {
    let (store, account) = user::find(config, name).await?;
    store.close().await.map_err(CliError::while_doing("close the database"))?;
    let folder = DataFolder::look(&config.data.dir).map_err(CliError::while_doing("open the data folder"))?;
    let now = SystemClock.now();
    let tokens = app::tokens(config, &folder, now)?;
    let signed = operator_token(&tokens, &account, ttl, now).map_err(CliError::while_doing("sign the token"))?;
    say(&signed.token);
    Ok(())
}
