//! One submission, from the wish to the receipt.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio::sync::oneshot;

use super::digest::digest_of;
use super::{Intake, Receipt, Seen, Submission, SubmitError, Wish, WriteState, WriteStatus};
use crate::ledger::Ledger;
use crate::ledger::backlog::{NoRoom, Room};
use crate::ledger::kept_keys::{KeyReservation, KeyState, has_digest};
use crate::ledger::view::{PROVISIONAL, Preview, ViewError};
use crate::ledger::writes::{Known, Progress};
use crate::substrate::journal::{AppendError, Draft, Locator};
use crate::support::faults::planted;
use crate::support::snowflake::IdError;
use crate::vocabulary::Millis;
use crate::vocabulary::command::{Command, Entry, KeyUse};
use crate::vocabulary::event::KeptWrite;
use crate::vocabulary::ids::{Position, UserId, WriteId};
use crate::vocabulary::owner::{LaneAddress, Owner};

/// What became of a command that its caller waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decided {
    pub position: Position,
    pub accepted_at: Millis,
    pub progress: Progress,
}

impl Intake {
    /// Accepts a write: `Ok` once it is durable, or visible as the submission asks. Dropping the future never undoes what was appended.
    pub async fn submit(&self, submission: Submission) -> Result<Receipt, SubmitError> {
        let began = Instant::now();
        let Submission { author, wish, key, wait } = submission;
        if wish.other() == Some(author) {
            let detail = "nobody can follow, block or mute himself".to_owned();
            return Err(SubmitError::Invalid { field: "id", code: "self", detail });
        }
        self.rates.check(author).map_err(|fast| SubmitError::TooFast { retry_after_s: fast.retry_after_s, quota: fast.quota })?;
        let key = match key {
            Some(key) => Some(KeyUse { key, digest: digest_of(&wish).map_err(internal)? }),
            None => None,
        };
        let reservation = match &key {
            None => None,
            Some(key) => match self.reserve_key(author, key).await? {
                Ok(reservation) => Some(reservation),
                Err(answered) => return self.answer_again(author, &answered, wait).await,
            },
        };

        if planted("intake::append_twice") {
            let _appended = self.append(self.entry(author, wish.clone(), None)?, None).now_or_never();
        }
        let entry = self.entry(author, wish, key)?;
        let preview = self.preview(&entry).await?;
        let write = entry.write;
        let word = (wait > Duration::ZERO).then(|| self.ledger.writes.watch(write, true));
        let status = accepted_status(&entry);
        let position = match self.append(entry, reservation).await {
            Ok(position) => position,
            Err(error) => {
                self.ledger.writes.forget_waiters(write);
                return Err(error);
            }
        };
        self.accept_seconds.record(began.elapsed());
        let (status, seen) = match word {
            None => (status, self.view.seen(author, preview, position).await),
            Some(word) => {
                let status = self.status_after(status, wait, word).await;
                let seen = if matches!(status.state, WriteState::Rejected(_)) {
                    Seen::Nothing
                } else {
                    self.view.seen(author, preview, position).await
                };
                (status, seen)
            }
        };
        Ok(Receipt { status, seen, replayed: false, position })
    }

    /// Journals a command and waits until it is decided, or until all its rows are there. For what answers synchronously.
    pub async fn decide(&self, author: UserId, command: Command, until_visible: bool, within: Duration) -> Result<Decided, SubmitError> {
        let write = WriteId::from_raw(self.ids.next().map_err(no_id)?);
        let accepted_at = self.ledger.clock.now();
        let entry = Entry { position: PROVISIONAL, write, author, accepted_at, key: None, command };
        let word = self.ledger.writes.watch(write, until_visible);
        let decided = async {
            let position = self.append(entry, None).await?;
            let progress = word.await.map_err(|_lost| SubmitError::Indefinite)?;
            Ok(Decided { position, accepted_at, progress })
        };
        let result = tokio::time::timeout(within, decided).await.unwrap_or(Err(SubmitError::Indefinite));
        if result.is_err() {
            self.ledger.writes.forget_waiters(write);
        }
        result
    }

    /// Reserves a key, or finds what it was answered with.
    async fn reserve_key(&self, author: UserId, key: &KeyUse) -> Result<Result<KeyReservation, Arc<KeptWrite>>, SubmitError> {
        let reservation = match self.ledger.kept_keys.reserve(author, key) {
            KeyState::Reserved(reservation) => reservation,
            KeyState::Answered(kept) => return Ok(Err(kept)),
            KeyState::InFlight => return Err(SubmitError::KeyInUse),
            KeyState::Reused => return Err(SubmitError::KeyReused),
        };
        let shard = self.ledger.shard_of(&Owner::User(author));
        let sent = key.key.clone();
        let kept = shard.look_up(async move |snapshot| snapshot.kept_key(author, &sent).await).await;
        match kept.map_err(unavailable)? {
            None => Ok(Ok(reservation)),
            // Past its 24 hours, and not purged yet.
            Some(kept) if kept.accepted_at + KeptWrite::KEPT_MS <= self.ledger.clock.now() => Ok(Ok(reservation)),
            Some(kept) if has_digest(&kept, key) => Ok(Err(Arc::new(kept))),
            Some(_) => Err(SubmitError::KeyReused),
        }
    }

    /// The first answer once more: the same ids, with the present state of the write.
    async fn answer_again(&self, author: UserId, kept: &KeptWrite, wait: Duration) -> Result<Receipt, SubmitError> {
        let mut status = self.kept_status(author, kept).await?;
        let settled = matches!(status.state, WriteState::Visible | WriteState::Rejected(_));
        if wait > Duration::ZERO && !settled {
            let word = self.ledger.writes.watch_known(kept.write, true);
            status = self.status_after(status, wait, word).await;
        }
        let seen = match status.state {
            WriteState::Rejected(_) => Seen::Nothing,
            _ => self.view.resource_seen(author, kept.resource).await,
        };
        Ok(Receipt { status, seen, replayed: true, position: self.ledger.journal.durable() })
    }

    /// The state of a write after the wait for its word: the word, or where it has come to by then.
    async fn status_after(&self, status: WriteStatus, wait: Duration, word: oneshot::Receiver<Progress>) -> WriteStatus {
        let heard = tokio::time::timeout(wait, word).await.ok().and_then(Result::ok);
        let known = || match self.ledger.writes.known(status.write) {
            Some(Known::Settled(settled)) => Some(settled.progress),
            _ => None,
        };
        let progress = heard.or_else(known);
        with_progress(status, progress)
    }

    fn entry(&self, author: UserId, wish: Wish, key: Option<KeyUse>) -> Result<Entry, SubmitError> {
        let fresh = if wish.creates() { self.ids.next().map_err(no_id)? } else { 0 };
        let write = WriteId::from_raw(self.ids.next().map_err(no_id)?);
        let command = wish.into_command(fresh);
        Ok(Entry { position: PROVISIONAL, write, author, accepted_at: self.ledger.clock.now(), key, command })
    }

    async fn preview(&self, entry: &Entry) -> Result<Preview, SubmitError> {
        self.view.preview(entry).await.map_err(unavailable)?.map_err(SubmitError::Refused)
    }

    /// Appends an entry once more that could not be applied, with its ids and its key: an operator has mended what was wrong.
    pub async fn append_again(&self, entry: Entry) -> Result<Position, SubmitError> {
        self.append(Entry { position: PROVISIONAL, ..entry }, None).await
    }

    /// Finds room for an entry and appends it; returns when it is durable.
    async fn append(&self, entry: Entry, key: Option<KeyReservation>) -> Result<Position, SubmitError> {
        let home = self.ledger.address_of(&entry.home());
        let bytes = entry.encode().map_err(internal)?;
        let reservation = self.ledger.backlog.reserve(bytes.len(), home.shard, home.lane.is_urgent());
        let room = reservation.map_err(|no_room| self.refusal(no_room, home))?.keep();
        let (durable, is_durable) = oneshot::channel();
        fail::fail_point!("intake::before_append");
        let opening = Opening { ledger: Arc::clone(&self.ledger), room: Some(room), home, key, entry: Some(entry), durable: Some(durable) };
        let draft = Draft { bytes, durable: Box::new(move |position, locator| opening.open(position, locator)) };
        self.ledger.journal.append(draft).map_err(|error| match error {
            AppendError::Full(_) | AppendError::Closed => SubmitError::Overloaded { retry_after_s: DISK_RETRY_AFTER_S },
            AppendError::TooLarge(_) => internal(error),
        })?;
        // Dropped uncalled: the disk was full and the record was cut off again. A failed sync ends the process instead.
        let synced = tokio::time::timeout(DURABLE_WITHIN, is_durable).await.map_err(|_late| SubmitError::Indefinite)?;
        let position = synced.map_err(|_cut_off| SubmitError::Overloaded { retry_after_s: DISK_RETRY_AFTER_S })?;
        if planted("intake::refuse_accepted") {
            return Err(SubmitError::Overloaded { retry_after_s: DISK_RETRY_AFTER_S });
        }
        Ok(position)
    }

    fn refusal(&self, no_room: NoRoom, home: LaneAddress) -> SubmitError {
        match no_room {
            NoRoom::Full { retry_after_s } => SubmitError::Overloaded { retry_after_s },
            NoRoom::ShardShare { retry_after_s } => {
                SubmitError::Unavailable { shard: self.ledger.shard(home.shard).name.to_string(), retry_after_s }
            }
        }
    }
}

/// Seconds after which a full disk, or a closing server, is worth another try.
const DISK_RETRY_AFTER_S: u64 = 10;

/// How long a caller waits for the sync of what he appended: a disk may hang.
const DURABLE_WITHIN: Duration = Duration::from_secs(20);

/// An entry between its append and its sync.
struct Opening {
    ledger: Arc<Ledger>,
    room: Option<Room>,
    home: LaneAddress,
    key: Option<KeyReservation>,
    entry: Option<Entry>,
    durable: Option<oneshot::Sender<Position>>,
}

impl Opening {
    /// The journal has synced the entry: everybody may see it now.
    fn open(mut self, position: Position, locator: Locator) {
        let (Some(mut entry), Some(room)) = (self.entry.take(), self.room.take()) else { return };
        entry.position = position;
        if let Some(key) = self.key.take() {
            key.accepted(&entry);
        }
        self.ledger.opened(entry, self.home, room, locator);
        if let Some(durable) = self.durable.take() {
            // The caller may have left; the write stands.
            let _left = durable.send(position);
        }
    }
}

impl Drop for Opening {
    /// Cut off before it was durable: nobody will hear of it.
    fn drop(&mut self) {
        if let Some(room) = self.room.take() {
            self.ledger.backlog.abandoned(room);
        }
        if let Some(entry) = self.entry.take() {
            self.ledger.writes.forget_waiters(entry.write);
        }
    }
}

fn accepted_status(entry: &Entry) -> WriteStatus {
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

/// The status with what was heard of it meanwhile.
pub(super) fn with_progress(status: WriteStatus, progress: Option<Progress>) -> WriteStatus {
    match progress {
        None | Some(Progress::Accepted) => status,
        Some(Progress::Committed { at }) => WriteStatus { state: WriteState::Committed, committed_at: Some(at), ..status },
        Some(Progress::Visible { committed_at, at }) => {
            WriteStatus { state: WriteState::Visible, committed_at: Some(committed_at), visible_at: Some(at), ..status }
        }
        Some(Progress::Rejected { rejection, .. }) => WriteStatus { state: WriteState::Rejected(rejection), ..status },
    }
}

/// Ids are reserved on the disk, and it may be full.
fn no_id(error: IdError) -> SubmitError {
    match error {
        IdError::Reservation { .. } => SubmitError::Overloaded { retry_after_s: DISK_RETRY_AFTER_S },
        error => internal(error),
    }
}

pub(super) fn internal(error: impl std::error::Error + Send + Sync + 'static) -> SubmitError {
    SubmitError::Internal(Box::new(error))
}

pub(super) fn unavailable(error: ViewError) -> SubmitError {
    match error {
        ViewError::Unavailable { shard } => SubmitError::Unavailable { shard, retry_after_s: ViewError::RETRY_AFTER_S },
        error => internal(error),
    }
}
