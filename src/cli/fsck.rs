//! `sosik fsck`: whether everything at rest agrees, while no server runs.

use super::{CliError, look, say};
use crate::app;
use crate::ledger::fsck::{Finding, check};
use crate::ledger::topology::Topology;
use crate::substrate::journal::look::JournalLook;
use crate::support::config::Config;
use crate::support::data_folder::DataFolder;

/// One line for each finding; an error if there was any. The folder is ours meanwhile: a server that runs is told of.
pub(super) async fn fsck(config: &Config) -> Result<(), CliError> {
    // Looked at first: a check makes no data folder.
    DataFolder::look(&config.data.dir).map_err(CliError::while_doing("find the data folder"))?;
    let folder = DataFolder::open(&config.data.dir).map_err(CliError::while_doing("take the data folder"))?;
    let topology = Topology::look(folder.path(), &config.shards).map_err(CliError::while_doing("read the map of shards"))?;
    let stores = look::stores(config, folder.path()).await?;
    let journal_folder = folder.file(app::JOURNAL_FOLDER);
    // It is looked at and not opened: that would cut a torn tail off.
    let looked = JournalLook::at(&journal_folder).map_err(CliError::while_doing("read the journal"))?;
    let Some(journal) = looked else {
        return Err(CliError::Refused(format!("there is no journal in {}", journal_folder.display())));
    };
    if let Some(torn) = &journal.torn {
        let bytes = torn.bytes;
        say(&format!(
            "{}: {bytes} bytes at {} are torn; they were never acknowledged, and the next start cuts them off",
            torn.file, torn.offset
        ));
    }
    for (member, store) in config.shards.members.iter().zip(&stores) {
        let identity = store.identity().await.map_err(CliError::while_doing("read a shard"))?;
        if let Some(joined) = identity.journal.filter(|joined| *joined != journal.id.0) {
            let refused = format!("the shard {} belongs to the journal {joined}, and this one is {}", member.name, journal.id.0);
            return Err(CliError::Refused(refused));
        }
    }

    let mut tell = |finding: &Finding| say(&finding.to_string());
    let checked = check(&topology, &stores, &journal, &mut tell).await.map_err(CliError::while_doing("check the data"))?;
    look::close(stores).await?;
    say(&format!("{} entries wait in the journal", checked.waiting));
    match checked.findings {
        0 => {
            say("clean");
            Ok(())
        }
        findings => Err(CliError::Refused(format!("findings: {findings}"))),
    }
}
