//! `sosik user …`: what an operator does to users, beside a running server or without one.

use std::path::Path;

use super::{CliError, say};
use crate::app;
use crate::ledger::topology::Topology;
use crate::substrate::store::rows::{AccountRow, Needs, Role};
use crate::substrate::store::{Store, StoreError};
use crate::support::config::Config;
use crate::support::data_folder::DataFolder;
use crate::vocabulary::owner::{NameKey, Owner, ShardIndex};
use crate::vocabulary::text::Username;

/// The role is the one thing that is set past the journal: it is the operator's word, not a user's write, and needs the machine's
/// own rights.
pub(super) async fn make_admin(config: &Config, name: &str) -> Result<(), CliError> {
    let (store, account) = find(config, name).await?;
    store.account_set_role(account.user, Role::Admin).await.map_err(CliError::while_doing("set the role"))?;
    store.close().await.map_err(CliError::while_doing("close the database"))?;
    say(&format!("{} is an admin from the next login or refresh on", account.username));
    Ok(())
}

/// The account with this username, and the database that holds it.
pub(super) async fn find(config: &Config, name: &str) -> Result<(Store, AccountRow), CliError> {
    let unknown = || CliError::Refused(format!("there is no user {name}"));
    let username = Username::parse(name).map_err(|error| CliError::Refused(format!("username: {error}")))?;
    let folder = DataFolder::look(&config.data.dir).map_err(CliError::while_doing("open the data folder"))?;
    let topology = Topology::open(&folder, &config.shards).map_err(CliError::while_doing("read the map of shards"))?;
    let key = NameKey::of_username(&username);
    let owner = Owner::Name(key.clone());
    let names = open(config, &folder, topology.place(owner.placement_key())).await?;
    let needs = Needs { names: vec![key.clone()], ..Needs::default() };
    let rows = load(&names, &needs).await.map_err(CliError::while_doing("look the name up"))?;
    let user = rows.names.get(&key).ok_or_else(unknown)?.user;
    let store = open(config, &folder, topology.place(Owner::Account(user).placement_key())).await?;
    let needs = Needs { accounts: vec![user], ..Needs::default() };
    let mut rows = load(&store, &needs).await.map_err(CliError::while_doing("look the account up"))?;
    let account = rows.accounts.remove(&user).ok_or_else(unknown)?;
    Ok((store, account))
}

async fn open(config: &Config, folder: &Path, shard: ShardIndex) -> Result<Store, CliError> {
    Ok(app::open_store(&config.shards.members[usize::from(shard.0)], folder).await?)
}

async fn load(store: &Store, needs: &Needs) -> Result<crate::substrate::store::rows::Rows, StoreError> {
    store.snapshot().await?.rows_load(needs).await
}
