//! `sosik token`: access tokens for scripts and load tests, a line for each name. They have no session: only their end ends them.

use std::time::Duration;

use super::{CliError, say, user::Users};
use crate::app;
use crate::intake::accounts::operator_token;
use crate::support::clock::{Clock, SystemClock};
use crate::support::config::Config;
use crate::support::data_folder::DataFolder;

pub(super) async fn print(config: &Config, names: &[String], ttl: Duration) -> Result<(), CliError> {
    let mut users = Users::look(config)?;
    let accounts = users.accounts(names).await?;
    users.close().await?;
    let folder = DataFolder::look(&config.data.dir).map_err(CliError::while_doing("open the data folder"))?;
    let now = SystemClock.now();
    let tokens = app::tokens(config, &folder, now)?;
    for account in &accounts {
        let signed = operator_token(&tokens, account, ttl, now).map_err(CliError::while_doing("sign the token"))?;
        say(&signed.token);
    }
    Ok(())
}
