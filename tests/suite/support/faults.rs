//! The planted faults: each breaks one promise on purpose, so that a test can show that its check would notice.
//!
//! The text after each name says where the code must hold the point, and what it must do there. A control test that finds its
//! fault without effect fails, so a point that is missing or moved is noticed.

use std::path::PathBuf;
use std::time::Duration;

use super::client::within;

/// How long somebody may take to come to a gate: two cores are shared with other tests.
const COMES_WITHIN: Duration = Duration::from_secs(60);

/// A fail point and what sets it off; several go into one `FAILPOINTS`.
pub(crate) type Fault<'a> = (&'a str, &'a str);

/// journal: the `fdatasync` of a group returns EIO. The process must end without a 202.
pub(crate) const SYNC_FAILS: &str = "journal::sync_fails";
/// journal: with `return`, a sync that failed is tried again, which Linux answers with success although nothing was written. Breaks G10.
pub(crate) const RETRY_SYNC: &str = "journal::retry_sync";
/// journal: with `return`, calls `durable` before the group is written. Breaks G1.
pub(crate) const ACK_EARLY: &str = "journal::ack_early";
/// journal: before a group is written. With [`ACK_EARLY`], `sleep(ms)` here is the time in which a kill loses it.
pub(crate) const BEFORE_WRITE: &str = "journal::before_write";
/// journal: after the group was written, before its sync. A place to die.
pub(crate) const BEFORE_SYNC: &str = "journal::before_sync";
/// journal: after the sync, before anybody is told. A place to die.
pub(crate) const AFTER_SYNC: &str = "journal::after_sync";
/// journal: with `return`, the disk is full in the middle of a group.
pub(crate) const DISK_FULL: &str = "journal::full";

/// intake: with `return`, idempotency keys are neither looked up nor remembered. Breaks G2.
pub(crate) const FORGET_KEYS: &str = "intake::forget_keys";
/// intake: with `return`, keys are not read back at the start. Breaks G2 over a restart.
pub(crate) const FORGET_KEYS_AT_START: &str = "intake::forget_keys_at_start";
/// ledger worker: with `return`, a dead letter takes no key to its author. Breaks G2 over a restart.
pub(crate) const BURY_WITHOUT_KEY: &str = "worker::bury_without_key";
/// ledger worker: with `return(WORD)`, an entry whose body holds the word panics each time.
pub(crate) const POISON: &str = "apply::poison";
/// intake: with `20%return`, one in five of the writes that are accepted is answered with a refusal. Breaks C2. With `sleep(ms)` a place to
/// die: what was asked for is on the disk, and nobody has been told.
pub(crate) const REFUSE_ACCEPTED: &str = "intake::refuse_accepted";
/// intake: with `return`, what is asked for once is appended twice, the other time with ids of its own. Breaks C1 and C3.
pub(crate) const APPEND_TWICE: &str = "intake::append_twice";
/// intake: between the claim of a key and the append. A place to wait (`sleep(ms)`) so that copies are in flight.
pub(crate) const BEFORE_APPEND: &str = "intake::before_append";
/// intake: with `return`, admission lets everything in. Breaks G9.
pub(crate) const ADMISSION_UNBOUNDED: &str = "admission::unbounded";

/// ledger view: with `return`, a read takes no pending writes. Breaks G3.
pub(crate) const SKIP_OVERLAY: &str = "pending::skip_overlay";
/// ledger pending: with `return`, a write leaves the overlay when its batch begins, not after its commit. Breaks the hand-over.
pub(crate) const DROP_EARLY: &str = "pending::drop_early";
/// ledger pending: with `return`, the index is not rebuilt from the journal at the start. Breaks G3 over a restart.
pub(crate) const SKIP_REBUILD: &str = "pending::skip_rebuild";
/// ledger view: with `return`, pending writes are laid over even when the snapshot has them already. Counts them twice.
pub(crate) const OVERLAY_TWICE: &str = "pending::overlay_applied";

/// ledger hot posts: with `return`, a preview shows the text that memory holds, also while another is being committed. Breaks G4.
pub(crate) const PREVIEW_OLD_TEXT: &str = "hot_posts::preview_old_text";

/// ledger worker: before a batch opens its transaction (`sleep(ms)` stalls the apply, `panic` kills the worker).
pub(crate) const BEFORE_BATCH: &str = "worker::before_batch";
/// ledger worker: inside the transaction, before the commit. A place to die.
pub(crate) const BEFORE_COMMIT: &str = "worker::before_commit";
/// ledger worker: after the commit, before anybody is told. A place to die.
pub(crate) const AFTER_COMMIT: &str = "worker::after_commit";
/// ledger worker: with a batch in hand, before its transaction begins, and before it commits. Places for a [`Gate`].
pub(crate) const HOLDS_BATCH: &str = "worker::holds_batch";
pub(crate) const HOLDS_TRANSACTION: &str = "worker::holds_transaction";
/// worker: a gate after the commit of a dead letter, before anybody here hears of it.
pub(crate) const HOLDS_BURIAL: &str = "worker::holds_burial";
/// store: with `return`, a lane is moved on from wherever it stands. Breaks G2 beside a worker that should be dead.
pub(crate) const SKIP_COMPARE: &str = "lanes::skip_compare";
/// store: with `return`, rows are saved without "only if the stored position is lower", and a batch is applied newest first. Breaks G5.
pub(crate) const REVERSE_ORDER: &str = "apply::reverse_order";
/// ledger apply: with `return`, every like adds 1 to the counter, whether the row changed or not. Breaks G6.
pub(crate) const COUNT_TWICE: &str = "apply::count_unchanged";
/// ledger apply: with `return`, a like is written as that of the post's author, whoever likes it. Breaks C11.
pub(crate) const LIKE_OF_ANOTHER: &str = "apply::like_of_another";
/// store: with `return`, counters are saved in a transaction of their own, 20 ms after the rows. Breaks G6.
pub(crate) const COUNTER_APART: &str = "apply::counter_apart";
/// store: between the rows and the counters of a batch. A place to die.
pub(crate) const BETWEEN_ROWS_AND_COUNTERS: &str = "apply::between_rows_and_counters";
/// ledger worker: between the rows and the events row of a batch. A place to die.
pub(crate) const BETWEEN_ROWS_AND_EVENTS: &str = "worker::between_rows_and_events";
/// app: with `return`, the journal's room waits for what is owed to a shard that is gone. Breaks G11.
pub(crate) const LEAVE_OWED: &str = "keeper::leave_owed";
/// journal: with `return`, what is read again of a write is not what was written. The process must end.
pub(crate) const DAMAGED: &str = "journal::damaged";
/// ledger: with `return(FILE)`, each application of entries on the shard whose name stands in FILE finds a broken invariant. The shard must
/// stop and say so.
pub(crate) const INVARIANT_BROKEN: &str = "apply::invariant_broken";
/// ledger supervisor: with `return`, entries that meet a broken invariant become dead letters. Breaks G10.
pub(crate) const BURY_BROKEN: &str = "supervisor::bury_broken";
/// ledger relay: with `return`, the destination's cursor is not compared, so that relayed rows are written again with their counts.
pub(crate) const SKIP_CURSOR: &str = "relay::skip_cursor";
/// ledger worker: with `return`, posts are saved on the next shard as well. Breaks C10.
pub(crate) const WRITE_ELSEWHERE: &str = "worker::write_elsewhere";
/// ledger supervisor, ledger courier, ledger worker: where each actor looks what there is to do (`panic` takes it down).
pub(crate) const SUPERVISOR_PANICS: &str = "supervisor::panic";
pub(crate) const COURIER_PANICS: &str = "courier::panic";
pub(crate) const WORKER_ACTOR_PANICS: &str = "worker::panic_in_actor";
/// ledger reader: where it takes what is asked (`panic` takes it down).
pub(crate) const READER_PANICS: &str = "reader::panic";
/// ledger router: where it publishes the map, at its start. stream hub: where it hears a hint of the bus. notify: where a dispatcher looks
/// what there is to do, which does nothing with `return`. `panic` takes each down.
pub(crate) const ROUTER_PANICS: &str = "router::panic";
pub(crate) const HUB_PANICS: &str = "hub::panic";
pub(crate) const DISPATCHER_PANICS: &str = "notify::stalled";
/// stream session: where it hears its client (`panic` takes it down).
pub(crate) const SESSION_PANICS: &str = "session::panic";
/// stream session: with `return`, nobody learns that it has ended. Breaks G10.
pub(crate) const SKIP_SESSION_END: &str = "session::skip_end";
/// app: where the journal is looked after. intake: where a chore of sign-in is begun. `panic` takes each task down.
pub(crate) const HOUSEKEEPING_PANICS: &str = "housekeeping::panic";
pub(crate) const CHORES_PANIC: &str = "chores::panic";
/// app: with `return`, nobody looks whether the actors and tasks are alive. Breaks G10.
pub(crate) const SKIP_WATCH: &str = "app::skip_watch";
/// ledger worker: after the commit of a delivery, before its source knows. A place to die.
pub(crate) const AFTER_RELAYING: &str = "relay::after_delivery";
/// ledger relay: with `return`, nothing is relayed.
pub(crate) const RELAY_STALLED: &str = "relay::stalled";

/// notify: inside a delivery's transaction, before the commit. A place to die.
pub(crate) const BEFORE_DELIVERY: &str = "notify::before_commit";
/// notify: after a delivery's commit, before the dispatcher knows. A place to die.
pub(crate) const AFTER_DELIVERY: &str = "notify::after_commit";
/// notify: inside the transaction that closes windows. A place to die.
pub(crate) const BEFORE_CLOSE: &str = "notify::before_close";
/// notify: with `return(MS)`, `seq` goes on from what was read so long before the delivery's transaction. Breaks G7.
pub(crate) const SEQ_OUTSIDE: &str = "inbox::seq_outside";
/// notify: with `return`, a destination's cursor is moved in a transaction of its own, before the entries are written. Breaks G7.
pub(crate) const CURSOR_APART: &str = "notify::cursor_apart";
/// notify: with `return`, people are told of what is committed, whether others can see it or not. Breaks G6.
pub(crate) const BEFORE_VISIBLE: &str = "notify::before_visible";
/// notify: with `return`, an entry is shown and told of at its commit, whether the standbys that are read have it or not. Breaks G7 over a
/// failover.
pub(crate) const SHOW_INBOX_EARLY: &str = "inbox::show_early";
/// ledger view: with `return`, a page of an inbox fails where one of its texts cannot be read. Breaks G11.
pub(crate) const NEED_ALL_SHARDS: &str = "inbox::need_all_shards";
/// notify: with `return`, old entries are looked for all the time. Breaks nothing; saves a test ten minutes.
pub(crate) const FORGET_OFTEN: &str = "notify::forget_often";

/// ledger standbys: with `return`, a commit's place in the log is one that was read before it. Breaks G1 over a failover.
pub(crate) const PLACE_EARLY: &str = "standbys::place_early";
/// ledger standbys: with `return`, nothing waits for standbys. Breaks G1 over a failover.
pub(crate) const SKIP_STANDBYS: &str = "standbys::skip_wait";

/// ledger standbys: with `return`, the journal gives back what one standby has, whatever others that are read have. Breaks G3 where standbys are
/// read: what is laid over is read from the journal.
pub(crate) const ONE_IS_ENOUGH: &str = "standbys::one_is_enough";
/// ledger standbys: with `return`, what is committed counts as seen by everybody, whatever the standbys that are read have. Breaks the stages of a
/// write.
pub(crate) const SHOW_EARLY: &str = "standbys::show_early";
/// ledger settlement: with `return`, a write leaves the overlay at its commit, whether everybody sees it or not. Breaks G3 where standbys are read.
pub(crate) const DROP_AT_COMMIT: &str = "pending::drop_at_commit";

/// ledger standbys: with `return`, a standby is read however far it is behind. Breaks what was visible once.
pub(crate) const READ_BEHIND: &str = "standbys::read_behind";
/// ledger reader: with `return`, a read is answered by whoever's turn it is, whatever its reader has seen. Breaks G4 where standbys are read.
pub(crate) const SKIP_TOKEN: &str = "consistency::skip_token";
/// ledger reader: with `return`, what somebody has seen counts as further than any log reaches.
pub(crate) const FROM_THE_FUTURE: &str = "consistency::from_the_future";

/// store: with `return`, no epoch is compared: any server that takes writes will do. Breaks G2 over a failover.
pub(crate) const SKIP_EPOCH: &str = "store::skip_epoch";
/// store: with `return`, the epoch is compared when a connection is made, and not in the transaction that writes. Breaks G2 over a failover.
pub(crate) const SKIP_EPOCH_INSIDE: &str = "store::skip_epoch_inside";
/// store: with `return`, no database is asked whose shard it is. Breaks G1 where two are mixed up.
pub(crate) const SKIP_MEMBERSHIP: &str = "store::skip_membership";
/// app primaries: with `return`, what readers of a new primary wait for is not written down. Breaks G4 over a failover.
pub(crate) const FORGET_READERS: &str = "failover::forget_readers";
/// ledger recovery: with `return`, a shard is not asked at the start whether it has what the journal gave back. Breaks G1 over an old copy.
pub(crate) const SKIP_COMPLETE: &str = "recovery::skip_complete";

/// store: with `return(NAME)`, every transaction and snapshot of the shard NAME fails as if it were gone. Instead of the name, a file in which
/// it stands.
pub(crate) const SHARD_UNAVAILABLE: &str = "store::unavailable";
/// ledger worker: with `return(NAME)`, jobs of the shard NAME hang: it takes a connection and never answers.
pub(crate) const SHARD_HANGS: &str = "store::hold";
/// store: with `return(FILE)`, SQLite refuses to write to the shard whose name stands in FILE, and only reads.
pub(crate) const SHARD_READ_ONLY: &str = "store::read_only";
/// store: with `return(FILE)`, whoever begins something on the file of the shard whose name stands in FILE hangs, and his thread with him.
pub(crate) const FILE_HANGS: &str = "store::file_hangs";
/// store: with `return(FILE)`, the disk does not take one commit of the shard whose name stands in FILE, which is taken away. It must get no
/// further one.
pub(crate) const SHARD_SYNC_FAILS: &str = "store::sync_fails";
/// store: with `return(MS)`, each commit takes that much longer.
pub(crate) const SLOW_COMMIT: &str = "store::slow_commit";
/// ledger census: with `return(MS)`, each page of a walk over everything comes that much later.
pub(crate) const SLOW_CENSUS: &str = "census::slow_page";
/// ledger cards: between the load of a row and its insertion into the cache. A place for a [`Gate`].
pub(crate) const BETWEEN_LOAD_AND_INSERT: &str = "cards::between_load_and_insert";
/// ledger cards: with `return`, an insertion replaces a newer version. Breaks G4.
pub(crate) const CACHE_GOES_BACK: &str = "cards::plain_put";

/// auth: with `return`, ended sessions are not looked at when a token is checked. Breaks G15.
pub(crate) const SKIP_REVOCATION: &str = "sessions::skip_revocation";
/// auth: with `return`, an old refresh token is taken without ending the session. Breaks S5.
pub(crate) const SKIP_REUSE_DETECTION: &str = "sessions::skip_reuse_detection";
/// api: with `return`, cookie-signed requests are not checked for their origin. Breaks S16.
pub(crate) const SKIP_ORIGIN_CHECK: &str = "api::skip_origin_check";
/// api: with `return`, a body in chunks that nobody reads is left to the framework, which reads it for ever.
pub(crate) const DROP_UNREAD_BODIES: &str = "api::drop_unread_bodies";
/// api: with `return`, a cursor that cannot be read is answered as a failure of the server. Breaks the API's contract.
pub(crate) const CURSOR_FAILS: &str = "api::cursor_fails";
/// api: with `return`, only the author's own objects are not checked for their author. Breaks S23.
pub(crate) const SKIP_OWNER_CHECK: &str = "intake::skip_owner_check";

/// bus: with `return`, nobody is told of anything, whoever listens. Breaks G8.
pub(crate) const DEAF_BUS: &str = "bus::deaf";
/// bus: with `return`, what was listened for once counts as listened for. Costs hints that nobody hears.
pub(crate) const NEVER_FORGET_LISTENERS: &str = "bus::never_forget";
/// stream: with `return`, a live entry is sent whatever number it has, and no hole is filled. Breaks G7.
pub(crate) const SKIP_HOLES: &str = "stream::skip_holes";
/// stream: with `return`, hints of entries with an odd number do not arrive. What a bus may do.
pub(crate) const LOSE_HINTS: &str = "stream::lose_hints";
/// stream: with `return`, each hint of the bus is lost, and the hub is told so. What a bus may do.
pub(crate) const LOSE_ALL_HINTS: &str = "stream::lose_all_hints";
/// stream: between the look of a new socket into the inbox and its first live entry. A place for a [`Gate`].
pub(crate) const BETWEEN_LOOK_AND_ATTACH: &str = "stream::between_look_and_attach";
/// stream: with `return`, an outbox takes frames however many wait in it. Breaks G9.
pub(crate) const OUTBOX_UNBOUNDED: &str = "outbox::unbounded";
/// stream: with `return`, frames of a post go to watchers that it is hidden from. Breaks S49.
pub(crate) const TELL_EVERYBODY: &str = "stream::tell_everybody";

/// support snowflake: with `2%return`, one in fifty ids is that which was given before. Breaks C9.
pub(crate) const REPEAT_ID: &str = "snowflake::repeat";
/// support snowflake: with `return`, the reserved-until time is neither written nor read. Breaks G13.
pub(crate) const SKIP_RESERVATION: &str = "snowflake::skip_reservation";
/// support snowflake: with `1*off->return`, the disk has no room for a reservation after that of the start.
pub(crate) const NO_ROOM_FOR_IDS: &str = "snowflake::full";
/// support clock: with `return(MS)`, the system clock is that many milliseconds off (negative: behind). Read at each call.
pub(crate) const CLOCK_OFFSET: &str = "clock::offset";

/// app: with `return`, SIGTERM ends the process at once, without the drain. Breaks G14.
pub(crate) const SKIP_DRAIN: &str = "app::skip_drain";
/// store: with `return`, a schema from a newer release is opened all the same. Breaks G16.
pub(crate) const ACCEPT_NEWER_DATA: &str = "store::accept_newer_data";

/// A gate at a planted place: while it is closed, the first who comes there waits at it.
pub(crate) struct Gate {
    folder: tempfile::TempDir,
}

impl Gate {
    pub(crate) fn open() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder") }
    }

    pub(crate) fn closed() -> Self {
        let gate = Self::open();
        gate.close();
        gate
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("gate")
    }

    /// What sets its place off.
    pub(crate) fn action(&self) -> String {
        format!("return({})", self.file().display())
    }

    pub(crate) fn close(&self) {
        std::fs::write(self.file(), "closed").expect("it is closed");
    }

    /// Waits until somebody waits at it.
    pub(crate) async fn is_reached(&self) {
        let reached = async || self.file().with_extension("reached").exists().then_some(());
        within(COMES_WITHIN, "somebody at the gate", reached).await;
    }

    /// Lets him go on.
    pub(crate) fn let_through(&self) {
        std::fs::remove_file(self.file()).expect("it is opened");
    }
}
