//! `sosik shards promote`: the operator's word that a shard has another primary, or an older copy for good. While no server runs.
//!
//! The new epoch is written with the journal first and then in the database. A start takes over a primary that is complete by itself; this is
//! for who wants to do it before, and for one that is not.

use super::{CliError, say};
use crate::app;
use crate::ledger::recovery::check_complete;
use crate::substrate::journal::expectations::{Expectations, Expected};
use crate::substrate::journal::look::JournalLook;
use crate::substrate::store::{OfJournal, Tenure, Wanted};
use crate::support::config::Config;
use crate::support::data_folder::DataFolder;

pub(super) async fn promote(config: &Config, name: &str, accept_loss: bool) -> Result<(), CliError> {
    let Some(member) = config.shards.members.iter().find(|member| member.name == name) else {
        let names: Vec<&str> = config.shards.members.iter().map(|member| member.name.as_str()).collect();
        return Err(CliError::Refused(format!("there is no shard {name}; there are {}", names.join(", "))));
    };
    // Looked at first: this makes no data folder.
    DataFolder::look(&config.data.dir).map_err(CliError::while_doing("find the data folder"))?;
    let folder = DataFolder::open(&config.data.dir).map_err(CliError::while_doing("take the data folder"))?;
    let journal_folder = folder.file(app::JOURNAL_FOLDER);
    let journal = JournalLook::at(&journal_folder).map_err(CliError::while_doing("read the journal"))?;
    let expectations = Expectations::open(&journal_folder).map_err(CliError::while_doing("read what the journal expects"))?;
    let (Some(journal), Some(expected)) = (journal, expectations.of(name)) else {
        return Err(CliError::Refused(format!("the journal has not met the shard {name} yet: start the server")));
    };

    let (store, timeline) = app::open_any(config, member, folder.path(), accept_loss).await?;
    let identity = store.identity().await.map_err(CliError::while_doing("read the shard"))?;
    if identity.journal != Some(journal.id.0) || identity.shard_name.as_deref() != Some(name) {
        let found = identity.journal.map_or_else(|| "none".to_owned(), |journal| journal.to_string());
        let refused =
            format!("this database is the shard {:?} of the journal {found}, not {name} of {}", identity.shard_name, journal.id.0);
        return Err(CliError::Refused(refused));
    }
    let found = Tenure { epoch: identity.epoch, timeline };
    let complete = check_complete(name, identity.complete_to, expected.complete_to);
    if !accept_loss {
        if timeline.is_none() || (found == expected.tenure && complete.is_ok()) {
            return Err(CliError::Refused(format!("nothing to promote: the shard {name} is the one that was written to last")));
        }
        complete.map_err(CliError::while_doing("promote it"))?;
    }
    let epoch = epoch_after(found, expected.tenure);
    let next = Expected { tenure: Tenure { epoch, timeline }, read_from: journal.main.last(), ..expected };
    let shard = Wanted { shard_name: name.to_owned(), journal: OfJournal::This(journal.id.0) };
    app::raise(&store, shard, found, next, &expectations).await?;
    store.close().await.map_err(CliError::while_doing("close the database"))?;
    let had = identity.complete_to.unwrap_or_default();
    let lost = match had < expected.complete_to {
        true => format!("; what it had of positions {} to {} is lost", had.next(), expected.complete_to),
        false => String::new(),
    };
    say(&format!("the shard {name} has the epoch {epoch} now{lost}; its inboxes begin anew for their readers"));
    Ok(())
}

/// One that nobody has had. A promotion that was interrupted before it came to the database is finished under the epoch that it gave: the
/// database would be two behind otherwise, and the next start could not tell it from one that was fenced off.
fn epoch_after(found: Tenure, expected: Tenure) -> u64 {
    if found.timeline.is_some() && found.is_half_raised(expected) { expected.epoch } else { found.epoch.max(expected.epoch) + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupted_promotion_is_finished_and_no_epoch_is_given_twice_otherwise() {
        let tenure = |epoch, timeline| Tenure { epoch, timeline };
        for (found, expected, next) in [
            (tenure(1, Some(2)), tenure(1, Some(1)), 2),
            (tenure(1, Some(2)), tenure(2, Some(2)), 2),
            (tenure(1, Some(3)), tenure(2, Some(2)), 3),
            (tenure(2, Some(2)), tenure(2, Some(2)), 3),
            // Copies of a file have no timeline by which they could be told apart.
            (tenure(1, None), tenure(2, None), 3),
        ] {
            assert_eq!(epoch_after(found, expected), next, "{found:?} {expected:?}");
        }
    }
}
