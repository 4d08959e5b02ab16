//! `sosik user …`: what an operator does to users, beside a running server or without one.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::PathBuf;

use super::{CliError, look, say};
use crate::ledger::topology::Topology;
use crate::substrate::store::Store;
use crate::substrate::store::rows::{AccountRow, Needs, Role, Rows};
use crate::support::config::Config;
use crate::support::data_folder::DataFolder;
use crate::vocabulary::owner::{NameKey, Owner, ShardIndex};
use crate::vocabulary::text::Username;

/// The role is the one thing that is set past the journal: it is the operator's word, not a user's write, and needs the machine's
/// own rights.
pub(super) async fn make_admin(config: &Config, name: &str) -> Result<(), CliError> {
    let mut users = Users::look(config)?;
    for account in users.accounts(&[name.to_owned()]).await? {
        let store = users.store_of(&Owner::Account(account.user)).await?;
        store.account_set_role(account.user, Role::Admin).await.map_err(CliError::while_doing("set the role"))?;
        say(&format!("{} is an admin from the next login or refresh on", account.username));
    }
    users.close().await
}

/// The users of a data folder. A shard is opened when it is needed.
pub(super) struct Users<'config> {
    config: &'config Config,
    folder: PathBuf,
    topology: Topology,
    stores: HashMap<ShardIndex, Store>,
}

impl<'config> Users<'config> {
    pub(super) fn look(config: &'config Config) -> Result<Self, CliError> {
        let folder = DataFolder::look(&config.data.dir).map_err(CliError::while_doing("open the data folder"))?;
        let topology = Topology::look(&folder, &config.shards).map_err(CliError::while_doing("read the map of shards"))?;
        Ok(Self { config, folder, topology, stores: HashMap::new() })
    }

    /// The accounts with these usernames, in their order; a name that nobody has is refused.
    pub(super) async fn accounts(&mut self, names: &[String]) -> Result<Vec<AccountRow>, CliError> {
        let keys = names.iter().map(|name| {
            let username = Username::parse(name).map_err(|error| CliError::Refused(format!("username: {error}")))?;
            Ok(NameKey::of_username(&username))
        });
        let keys: Vec<NameKey> = keys.collect::<Result<_, CliError>>()?;
        let unknown = |name: &String| CliError::Refused(format!("there is no user {name}"));
        let found = self.load(&keys, |key| Owner::Name(key.clone()), |needs, key| needs.names.push(key.clone())).await?;
        let users = keys.iter().zip(names).map(|(key, name)| Ok(found.names.get(key).ok_or_else(|| unknown(name))?.user));
        let users = users.collect::<Result<Vec<_>, CliError>>()?;
        let found = self.load(&users, |user| Owner::Account(*user), |needs, user| needs.accounts.push(*user)).await?;
        let accounts = users.iter().zip(names).map(|(user, name)| found.accounts.get(user).cloned().ok_or_else(|| unknown(name)));
        accounts.collect()
    }

    /// The names and accounts of these keys, each from the shard of its owner.
    async fn load<K>(&mut self, keys: &[K], owner: impl Fn(&K) -> Owner, need: impl Fn(&mut Needs, &K)) -> Result<Rows, CliError> {
        let mut needs: HashMap<ShardIndex, Needs> = HashMap::new();
        for key in keys {
            need(needs.entry(self.topology.place(owner(key).placement_key())).or_default(), key);
        }
        let mut rows = Rows::default();
        for (shard, needs) in needs {
            let store = self.store(shard).await?;
            let mut snapshot = store.snapshot().await.map_err(CliError::while_doing("open a database"))?;
            let found = snapshot.rows_load(&needs).await.map_err(CliError::while_doing("look users up"))?;
            rows.names.extend(found.names);
            rows.accounts.extend(found.accounts);
        }
        Ok(rows)
    }

    async fn store_of(&mut self, owner: &Owner) -> Result<&Store, CliError> {
        self.store(self.topology.place(owner.placement_key())).await
    }

    async fn store(&mut self, shard: ShardIndex) -> Result<&Store, CliError> {
        let member = &self.config.shards.members[usize::from(shard.0)];
        match self.stores.entry(shard) {
            Entry::Occupied(open) => Ok(open.into_mut()),
            Entry::Vacant(place) => Ok(place.insert(look::store(self.config, member, &self.folder).await?)),
        }
    }

    pub(super) async fn close(self) -> Result<(), CliError> {
        for store in self.stores.into_values() {
            store.close().await.map_err(CliError::while_doing("close a database"))?;
        }
        Ok(())
    }
}
