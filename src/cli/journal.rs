//! `sosik journal attach`: a new journal for shards whose own is lost.
//!
//! It begins above the highest position of any shard, so that no entry of it is taken for one that was applied. An interrupted
//! attachment is finished by another one.

use std::path::Path;

use super::{CliError, say};
use crate::app;
use crate::substrate::journal::Journal as _;
use crate::substrate::journal::embedded::{EmbeddedJournal, Options};
use crate::substrate::journal::look::JournalLook;
use crate::substrate::store::Store;
use crate::support::config::Config;
use crate::support::data_folder::DataFolder;
use crate::vocabulary::ids::Position;

/// Refused while there is a journal that holds, or may hold, something.
pub(super) async fn attach(config: &Config) -> Result<(), CliError> {
    // Looked at first: this makes no data folder.
    DataFolder::look(&config.data.dir).map_err(CliError::while_doing("find the data folder"))?;
    let folder = DataFolder::open(&config.data.dir).map_err(CliError::while_doing("take the data folder"))?;
    let mut shards: Vec<(&str, Store)> = Vec::with_capacity(config.shards.members.len());
    let mut highest = Position::START;
    for member in &config.shards.members {
        let store = app::open_without_journal(config, member, folder.path()).await?;
        let mut snapshot = store.snapshot().await.map_err(CliError::while_doing("read a shard"))?;
        let lanes = snapshot.lanes().await.map_err(CliError::while_doing("read a shard"))?;
        highest = lanes.iter().map(|row| row.applied).max().unwrap_or_default().max(highest);
        drop(snapshot);
        shards.push((&member.name, store));
    }

    let directory = folder.file(app::JOURNAL_FOLDER);
    refuse_used(&directory, highest)?;
    let options = Options { at_least: highest, ..Options::default() };
    let opened = EmbeddedJournal::open(&directory, options).map_err(CliError::while_doing("make the journal"))?;
    let (id, last) = (opened.report.id.0, opened.report.last);
    opened.journal.close();
    for (name, store) in shards {
        store.join_another(id, name).await.map_err(CliError::while_doing("join a shard"))?;
        store.close().await.map_err(CliError::while_doing("close the database"))?;
    }
    say(&format!("the shards belong to the journal {id} now, which begins after position {last}"));
    Ok(())
}

/// A journal that holds nothing, and stands above all shards, was made for them and can be taken.
fn refuse_used(directory: &Path, highest: Position) -> Result<(), CliError> {
    let shown = directory.display();
    let refusal = |what: &str| {
        let advice = "if it is lost for good, move it away and try again: what it holds and was not applied yet is lost then";
        Err(CliError::Refused(format!("the journal in {shown} {what}; {advice}")))
    };
    match JournalLook::at(directory) {
        Ok(None) => Ok(()),
        Ok(Some(found)) if found.records > 0 => refusal("holds entries"),
        Ok(Some(found)) if found.main.last() < highest => refusal("is behind its shards"),
        Ok(Some(_)) => Ok(()),
        Err(error) => refusal(&format!("cannot be read ({})", crate::support::chain::Chain(&error))),
    }
}
