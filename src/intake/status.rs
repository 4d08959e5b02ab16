//! The state of a write, for its author.

use super::submit::{internal, unavailable, with_progress};
use super::{Intake, SubmitError, WriteState, WriteStatus};
use crate::ledger::Shard;
use crate::ledger::pending::read_again;
use crate::ledger::writes::{Known, Settled, Waiting};
use crate::substrate::journal::ReadError;
use crate::vocabulary::command::{Entry, Resource, WriteKind};
use crate::vocabulary::event::KeptWrite;
use crate::vocabulary::ids::{UserId, WriteId};
use crate::vocabulary::owner::Owner;

impl Intake {
    /// The state of one of the author's writes; `None` if it is not his or forgotten.
    pub async fn write_status(&self, author: UserId, write: WriteId) -> Result<Option<WriteStatus>, SubmitError> {
        match self.ledger.writes.known(write) {
            Some(Known::Settled(settled)) => return Ok(settled_status(author, settled)),
            Some(Known::Waiting(waiting)) => {
                if let Some(entry) = self.entry_at(waiting).await?.filter(|entry| entry.write == write) {
                    return Ok((entry.author == author && entry.command.kind() != WriteKind::Account).then(|| waiting_status(&entry)));
                }
            }
            None => {}
        }
        let shard = self.ledger.shard_of(&Owner::User(author));
        let kept = shard.look_up(async move |snapshot| snapshot.kept_write(author, write).await).await.map_err(unavailable)?;
        let Some(kept) = kept else { return self.dead_letter_status(author, write).await };
        if kept.rejection.is_none() {
            // Its key is remembered also while an operator has it as a dead letter, on the shard that was to decide it.
            let home = self.ledger.shard_of(&home_of(author, &kept));
            if let Some(status) = self.dead_letter_on(home, author, write).await? {
                return Ok(Some(status));
            }
        }
        Ok(Some(kept_away(&kept)))
    }

    /// The present state of a write that is remembered for its key.
    pub(super) async fn kept_status(&self, author: UserId, kept: &KeptWrite) -> Result<WriteStatus, SubmitError> {
        Ok(self.write_status(author, kept.write).await?.unwrap_or_else(|| kept_away(kept)))
    }

    async fn entry_at(&self, Waiting { position, locator, shard }: Waiting) -> Result<Option<Entry>, SubmitError> {
        let ledger = std::sync::Arc::clone(&self.ledger);
        let read = move || read_again(ledger.journal.as_ref(), &ledger.shard(shard).name, position, locator);
        let read = tokio::task::spawn_blocking(read).await.map_err(internal)?;
        match read {
            Ok(record) => Entry::decode(record.position, &record.bytes).map(Some).map_err(internal),
            // It settled between the look and the reading.
            Err(ReadError::Trimmed(_)) => Ok(None),
            Err(error) => Err(internal(error)),
        }
    }

    /// A write that an operator has to look at stays accepted for its author.
    async fn dead_letter_status(&self, author: UserId, write: WriteId) -> Result<Option<WriteStatus>, SubmitError> {
        for shard in &self.ledger.shards {
            match self.dead_letter_on(shard, author, write).await {
                // A shard that is down says nothing of writes on others.
                Ok(None) | Err(SubmitError::Unavailable { .. }) => {}
                found => return found,
            }
        }
        Ok(None)
    }

    async fn dead_letter_on(&self, shard: &Shard, author: UserId, write: WriteId) -> Result<Option<WriteStatus>, SubmitError> {
        let letter = shard.look_up(async move |snapshot| snapshot.dead_letter(write).await).await.map_err(unavailable)?;
        let Some(letter) = letter else { return Ok(None) };
        let entry = Entry::decode(letter.position, &letter.entry).map_err(internal)?;
        Ok((entry.author == author).then(|| waiting_status(&entry)))
    }
}

/// The owner whose lane was to decide a write that is remembered.
fn home_of(author: UserId, kept: &KeptWrite) -> Owner {
    match kept.resource {
        Resource::Post(post) | Resource::Comment(post, _) => Owner::Post(post),
        Resource::User(_) if matches!(kept.kind, WriteKind::MuteSet | WriteKind::MuteUnset) => Owner::User(author),
        Resource::User(other) => Owner::User(author.min(other)),
    }
}

fn waiting_status(entry: &Entry) -> WriteStatus {
    WriteStatus {
        write: entry.write,
        kind: entry.command.kind(),
        resource: entry.command.resource(entry.author),
        state: WriteState::Accepted,
        accepted_at: Some(entry.accepted_at),
        committed_at: None,
        visible_at: None,
    }
}

/// A decided write as its author sees it; `None` for those of others, and for what is no write of the contract.
pub fn settled_status(author: UserId, settled: Settled) -> Option<WriteStatus> {
    if settled.author != author || settled.kind == WriteKind::Account {
        return None;
    }
    let status = WriteStatus {
        write: settled.write,
        kind: settled.kind,
        resource: settled.resource,
        state: WriteState::Accepted,
        accepted_at: Some(settled.accepted_at),
        committed_at: None,
        visible_at: None,
    };
    Some(with_progress(status, Some(settled.progress)))
}

/// A write that left the journal, as its author's shard remembers it: its times are not known any more.
fn kept_away(kept: &KeptWrite) -> WriteStatus {
    WriteStatus {
        write: kept.write,
        kind: kept.kind,
        resource: kept.resource,
        state: kept.rejection.map_or(WriteState::Visible, WriteState::Rejected),
        accepted_at: Some(kept.accepted_at),
        committed_at: None,
        visible_at: None,
    }
}
