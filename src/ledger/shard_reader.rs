//! Reads of one shard, many to a snapshot.
//!
//! Needs go in; rows, with the marks of the lanes, come out, all from one snapshot. While one snapshot is being read, further needs gather and
//! share the next: a lone read waits for nobody, a hundred at once cost five statements. Each server of the shard has a queue of its own: the
//! standbys that are read take turns, and the primary answers what must be the newest, and what a standby failed to. Full: the caller waits
//! for a place, so at most [`ASKS_MAX`] reads of a server are in hand. While one is down callers hear so at once, and it is tried meanwhile.

mod read_loop;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::freshness::{self, LogMark};
use super::hot_posts::HotPosts;
use super::reopening::Reopening;
use super::standbys::Standbys;
use crate::substrate::store::rows::{LaneRow, Needs, Rows, SourceLane};
use crate::substrate::store::{LogPosition, READ_PATIENCE, ReadSide, Snapshot, Store, StoreError};
use crate::support::chain::Chain;
use crate::support::faults::planted;
use crate::vocabulary::ids::{Position, PostId, UserId};
use crate::vocabulary::owner::{LANES, Lane, LaneAddress, ShardIndex};

pub use read_loop::ReadLoop;

/// Reads of one shard that wait at once.
const ASKS_MAX: usize = 1024;
/// What a standby has not answered by then the primary is asked.
pub(super) const STANDBY_PATIENCE: Duration = Duration::from_secs(1);
/// How long a reader waits for a state as new as he has seen, and how soon it is looked for again.
const FRESH_WITHIN: Duration = Duration::from_millis(500);
const FRESH_EVERY: Duration = Duration::from_millis(20);

/// How far the lanes were in the snapshot that some rows came from.
#[derive(Debug, Clone)]
pub struct Marks {
    applied: Vec<Position>,
    relayed: HashMap<SourceLane, Position>,
}

impl Marks {
    /// Those of a snapshot.
    pub async fn of(snapshot: &mut Snapshot) -> Result<Self, StoreError> {
        let lanes = snapshot.lanes().await?;
        Ok(Self::new(&lanes, snapshot.relay_cursors().await?))
    }

    pub(super) fn new(lanes: &[LaneRow], relayed: HashMap<SourceLane, Position>) -> Self {
        let mut applied = vec![Position::START; usize::from(LANES)];
        for row in lanes {
            if let Some(mark) = applied.get_mut(usize::from(row.lane.0)) {
                *mark = row.applied;
            }
        }
        Self { applied, relayed }
    }

    /// What the account and inbox lanes were in one snapshot, and the content lanes in another.
    fn joined(urgent: &Self, content: &Self) -> Self {
        let lanes = (0..LANES).map(Lane);
        let applied = lanes.map(|lane| if lane.is_urgent() { urgent.applied(lane) } else { content.applied(lane) }).collect();
        let mut relayed = content.relayed.clone();
        relayed.extend(urgent.relayed.iter().filter(|(source, _)| source.lane.is_urgent()).map(|(source, position)| (*source, *position)));
        Self { applied, relayed }
    }

    /// The position that a lane of this shard had applied.
    pub fn applied(&self, lane: Lane) -> Position {
        self.applied[usize::from(lane.0)]
    }

    /// The position up to which a lane, of whatever shard, had relayed its rows to this shard.
    pub fn relayed(&self, source: LaneAddress) -> Position {
        self.relayed.get(&SourceLane { shard: source.shard, lane: source.lane }).copied().unwrap_or_default()
    }
}

/// Rows and marks of one snapshot.
#[derive(Debug)]
pub struct Loaded {
    pub rows: Rows,
    /// There if somebody who shares the snapshot asked for them.
    pub marks: Option<Marks>,
    /// All that it shows lies before this place in the log; where a shard has standbys.
    pub position: Option<LogPosition>,
}

impl Loaded {
    /// Rows, and marks if asked for, from a snapshot that is in hand.
    pub async fn from(snapshot: &mut Snapshot, needs: &Needs, marks: bool) -> Result<Self, StoreError> {
        let marks = if marks { Some(Marks::of(snapshot).await?) } else { None };
        Ok(Self { rows: snapshot.rows_load(needs).await?, marks, position: None })
    }
}

/// Whose answer will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The newest there is: only the primary's.
    Newest,
    /// What everybody sees, or more: whichever server's turn it is.
    Any,
}

/// A shard did not answer a read.
#[derive(Debug, Clone, thiserror::Error)]
#[error("could not read the shard {shard}: {reason}")]
pub struct ReadFailed {
    pub shard: Arc<str>,
    pub reason: Arc<str>,
}

/// What somebody asks for.
#[derive(Clone)]
enum Wanted {
    /// Any rows, and the marks if there is something pending to compare with them.
    Rows { needs: Box<Needs>, marks: bool },
    /// What shows a post to a viewer: the hottest question, with a statement of its own.
    Post(PostId, Option<UserId>),
    /// The whole post, to be kept in memory: nobody waits for it.
    Hot(PostId),
}

struct Ask {
    wanted: Wanted,
    reply: Option<Reply>,
}

type Reply = oneshot::Sender<Result<Arc<Loaded>, ReadFailed>>;

/// The door to the reads of one shard.
#[derive(Clone)]
pub struct ShardReader {
    shard: Arc<str>,
    index: ShardIndex,
    primary: Store,
    standbys: Arc<Standbys>,
    reopening: Arc<Reopening>,
    asks: mpsc::Sender<Ask>,
    /// Those of the standbys, in their order.
    asks_of_standbys: Arc<[mpsc::Sender<Ask>]>,
}

impl ShardReader {
    /// `hot`: where posts are kept that were asked for with [`ShardReader::keep_hot`].
    pub fn new(shard: Arc<str>, index: ShardIndex, primary: Store, standbys: Arc<Standbys>, hot: &Arc<HotPosts>) -> (Self, Vec<ReadLoop>) {
        let is_one_of_several = standbys.are_there();
        let mut loops = Vec::new();
        let mut begin = |server: ReadSide| {
            let (sender, asks) = mpsc::channel(ASKS_MAX);
            loops.push(ReadLoop { shard: Arc::clone(&shard), index, server, is_one_of_several, hot: Arc::clone(hot), asks });
            sender
        };
        let asks = begin(primary.reads().clone());
        let asks_of_standbys = standbys.read_sides().map(|server| begin(server.clone())).collect();
        let door = Self { shard: Arc::clone(&shard), index, primary, standbys, reopening: Arc::default(), asks, asks_of_standbys };
        (door, loops)
    }

    /// Whether reads are still answered.
    pub fn is_alive(&self) -> bool {
        !self.asks.is_closed() && self.asks_of_standbys.iter().all(|asks| !asks.is_closed())
    }

    /// What readers of a new primary wait for.
    pub fn reopening(&self) -> &Reopening {
        &self.reopening
    }

    /// Whether readers are let in.
    pub fn is_open(&self) -> bool {
        self.reopening.is_open()
    }

    /// Has a post loaded into memory, some time soon. A busy reader has better things to do, and is not asked.
    pub fn keep_hot(&self, post: PostId) {
        let asks = self.standbys.choose(LogPosition::default()).map_or(&self.asks, |at| &self.asks_of_standbys[at]);
        let _busy = asks.try_send(Ask { wanted: Wanted::Hot(post), reply: None });
    }

    /// Loads rows from one snapshot, and the marks if there is something pending to compare with them. What account and inbox lanes write is
    /// always the newest.
    pub async fn load(&self, needs: Needs, marks: bool, source: Source) -> Result<Arc<Loaded>, ReadFailed> {
        let rows = |needs| Wanted::Rows { needs: Box::new(needs), marks };
        if source == Source::Newest || !self.standbys.are_there() {
            return self.ask(rows(needs), Source::Newest).await;
        }
        let (urgent, content) = split(needs);
        match (urgent, content) {
            (None, content) => self.ask(rows(content.unwrap_or_default()), Source::Any).await,
            (Some(urgent), None) => self.ask_primary(rows(urgent)).await,
            (Some(urgent), Some(content)) => {
                let both = futures_util::future::try_join(self.ask_primary(rows(urgent)), self.ask(rows(content), Source::Any));
                let (urgent, content) = both.await?;
                let mut all = content.rows.clone();
                all.accounts.clone_from(&urgent.rows.accounts);
                all.sessions.clone_from(&urgent.rows.sessions);
                all.names.clone_from(&urgent.rows.names);
                all.preferences.clone_from(&urgent.rows.preferences);
                let marks = urgent.marks.as_ref().zip(content.marks.as_ref()).map(|(urgent, content)| Marks::joined(urgent, content));
                Ok(Arc::new(Loaded { rows: all, marks, position: content.position }))
            }
        }
    }

    /// Loads what shows a post to a viewer who has nothing pending about it.
    pub async fn load_post(&self, post: PostId, viewer: Option<UserId>, source: Source) -> Result<Arc<Loaded>, ReadFailed> {
        self.ask(Wanted::Post(post, viewer), source).await
    }

    async fn ask(&self, wanted: Wanted, source: Source) -> Result<Arc<Loaded>, ReadFailed> {
        if let Some(at) = self.standby_for(source).await? {
            match self.ask_at(&self.asks_of_standbys[at], wanted.clone(), STANDBY_PATIENCE).await {
                Ok(loaded) => {
                    self.note(Some(at), loaded.position);
                    return Ok(loaded);
                }
                Err(_tried) => self.standbys.failed(at, &self.shard),
            }
        }
        let loaded = self.ask_primary(wanted).await?;
        self.note(None, loaded.position);
        Ok(loaded)
    }

    async fn ask_primary(&self, wanted: Wanted) -> Result<Arc<Loaded>, ReadFailed> {
        self.assert_open()?;
        self.ask_at(&self.asks, wanted, READ_PATIENCE).await
    }

    async fn ask_at(&self, asks: &mpsc::Sender<Ask>, wanted: Wanted, patience: Duration) -> Result<Arc<Loaded>, ReadFailed> {
        let (reply, answer) = oneshot::channel();
        let asked = async {
            asks.send(Ask { wanted, reply: Some(reply) }).await.map_err(|_closed| self.failed("the reader has stopped"))?;
            answer.await.map_err(|_closed| self.failed("the reader has stopped"))?
        };
        match tokio::time::timeout(patience, asked).await {
            Ok(answer) => answer,
            Err(_elapsed) => Err(self.failed("no answer in time")),
        }
    }

    fn assert_open(&self) -> Result<(), ReadFailed> {
        if self.is_open() { Ok(()) } else { Err(self.failed("it is brought up to date after a change of its primary")) }
    }

    /// The standby whose turn it is, if one has all that this reader has seen; `None`: the primary has it. An error if nobody has in time.
    pub(super) async fn standby_for(&self, source: Source) -> Result<Option<usize>, ReadFailed> {
        self.assert_open()?;
        if !self.standbys.are_there() {
            return Ok(None);
        }
        let needed = freshness::needed(self.index).filter(|_| !planted("consistency::skip_token"));
        let epoch = self.primary.epoch();
        let needed = match needed {
            None => LogPosition::default(),
            Some(mark) if mark.epoch == epoch => mark.position,
            // What he saw of an earlier primary was applied again, or else the shard were not open.
            Some(mark) if mark.epoch < epoch => return Ok(None),
            Some(_) => return Err(self.failed("nobody has what this reader has seen")),
        };
        if source == Source::Any
            && let Some(at) = self.standbys.choose(needed)
        {
            return Ok(Some(at));
        }
        self.primary_has(needed).await.map(|()| None)
    }

    /// Whether every read shows at least this: all who are read have it, or it was seen on an earlier primary and is applied again.
    pub fn is_seen_by_all(&self, mark: LogMark) -> bool {
        let epoch = self.primary.epoch();
        !self.standbys.are_there()
            || (mark.epoch == epoch && mark.position <= self.standbys.seen_to())
            || (mark.epoch < epoch && self.is_open())
    }

    async fn primary_has(&self, needed: LogPosition) -> Result<(), ReadFailed> {
        let reached = async {
            while !self.standbys.primary_reaches(needed) {
                match self.primary.reads().log_position().await {
                    Ok(position) => self.standbys.note_log_end(position),
                    Err(error) => tracing::debug!(shard = %self.shard, error = %Chain(&error), "the primary's log"),
                }
                if !self.standbys.primary_reaches(needed) {
                    tokio::time::sleep(FRESH_EVERY).await;
                }
            }
        };
        tokio::time::timeout(FRESH_WITHIN, reached).await.map_err(|_elapsed| self.failed("nobody has what this reader has seen"))
    }

    /// A reader was shown a state that lies before this place.
    pub(super) fn note(&self, standby: Option<usize>, position: Option<LogPosition>) {
        let Some(position) = position else { return };
        match standby {
            Some(at) => self.standbys.was_read(at, position),
            None => self.standbys.note_log_end(position),
        }
        // A planted fault: tokens speak of what nobody has.
        let position = if planted("consistency::from_the_future") { LogPosition(position.0 + (1 << 40)) } else { position };
        freshness::note(LogMark { shard: self.index, epoch: self.primary.epoch(), position });
    }

    /// A writer was shown what memory holds, which says nothing of what he had seen before: his next reads are as new as anybody's before.
    pub(super) fn note_newest(&self) {
        if self.standbys.are_there() {
            self.note(None, Some(self.standbys.log_end()));
        }
    }

    /// A read of this standby failed.
    pub(super) fn standby_failed(&self, at: usize) {
        self.standbys.failed(at, &self.shard);
    }

    fn failed(&self, reason: &str) -> ReadFailed {
        ReadFailed { shard: Arc::clone(&self.shard), reason: reason.into() }
    }
}

/// What account and inbox lanes write, and what content lanes do; `None` where nothing is asked for.
fn split(needs: Needs) -> (Option<Needs>, Option<Needs>) {
    let Needs { accounts, sessions, sessions_of, names, preferences, .. } = needs;
    let some = |needs: Needs| (needs != Needs::default()).then_some(needs);
    let content =
        Needs { accounts: Vec::new(), sessions: Vec::new(), sessions_of: Vec::new(), names: Vec::new(), preferences: Vec::new(), ..needs };
    (some(Needs { accounts, sessions, sessions_of, names, preferences, ..Needs::default() }), some(content))
}

/// The part of shared rows that one reader needs, as his own. Sessions that were asked for by user come by their user.
pub(super) fn subset(rows: &Rows, needs: &Needs) -> Rows {
    let mut own = Rows::default();
    fn copy<K: Copy + Eq + std::hash::Hash, V: Clone>(keys: &[K], from: &HashMap<K, V>, to: &mut HashMap<K, V>) {
        to.extend(keys.iter().filter_map(|key| from.get(key).map(|value| (*key, value.clone()))));
    }
    copy(&needs.posts, &rows.posts, &mut own.posts);
    copy(&needs.post_likes, &rows.post_likes, &mut own.post_likes);
    copy(&needs.subscriptions, &rows.subscriptions, &mut own.subscriptions);
    copy(&needs.comments, &rows.comments, &mut own.comments);
    copy(&needs.comment_likes, &rows.comment_likes, &mut own.comment_likes);
    copy(&needs.relations, &rows.relations, &mut own.relations);
    copy(&needs.mutes, &rows.mutes, &mut own.mutes);
    copy(&needs.author_posts, &rows.author_posts, &mut own.author_posts);
    copy(&needs.accounts, &rows.accounts, &mut own.accounts);
    copy(&needs.sessions, &rows.sessions, &mut own.sessions);
    copy(&needs.preferences, &rows.preferences, &mut own.preferences);
    copy(&needs.post_counters, &rows.counters.posts, &mut own.counters.posts);
    copy(&needs.comment_counters, &rows.counters.comments, &mut own.counters.comments);
    copy(&needs.user_counters, &rows.counters.users, &mut own.counters.users);
    if !needs.sessions_of.is_empty() {
        own.sessions
            .extend(rows.sessions.iter().filter(|(_, row)| needs.sessions_of.contains(&row.user)).map(|(key, row)| (*key, row.clone())));
    }
    own.names.extend(needs.names.iter().filter_map(|name| rows.names.get(name).map(|row| (name.clone(), row.clone()))));
    own
}

/// Whether a lane's row of a shard is behind an own write.
pub(super) fn is_pending(position: Position, home: LaneAddress, at: ShardIndex, decided_here: bool, marks: Option<&Marks>) -> bool {
    if planted("pending::overlay_applied") {
        return true;
    }
    let Some(marks) = marks else { return true };
    if decided_here && home.shard == at { position > marks.applied(home.lane) } else { position > marks.relayed(home) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::owner::NameKey;

    fn marks(lanes: &[(u16, u64)], relayed: &[(u16, u64)]) -> Marks {
        let row = |(lane, applied): &(u16, u64)| LaneRow {
            lane: Lane(*lane),
            applied: Position(*applied),
            relayed: Position::START,
            notified: Position::START,
        };
        let source = |(lane, position): &(u16, u64)| (SourceLane { shard: ShardIndex(1), lane: Lane(*lane) }, Position(*position));
        Marks::new(&lanes.iter().map(row).collect::<Vec<_>>(), relayed.iter().map(source).collect())
    }

    #[test]
    fn what_account_and_inbox_lanes_write_is_asked_for_apart() {
        let user = UserId::from_raw(7);
        let names = vec![NameKey::of_subject("issuer", "subject")];
        let content = Needs { user_counters: vec![user], relations: vec![(user, user)], ..Needs::default() };
        let urgent = Needs { accounts: vec![user], names, sessions_of: vec![user], preferences: vec![user], ..Needs::default() };
        let both = Needs { user_counters: vec![user], relations: vec![(user, user)], ..urgent.clone() };

        assert_eq!(split(both), (Some(urgent.clone()), Some(content.clone())));
        assert_eq!(split(urgent.clone()), (Some(urgent), None));
        assert_eq!(split(content.clone()), (None, Some(content)));
    }

    #[test]
    fn each_lane_is_compared_with_the_snapshot_that_its_rows_came_from() {
        let (content, urgent) = (3, LANES - 1);
        let newest = marks(&[(content, 9), (urgent, 9)], &[(content, 9), (urgent, 9)]);
        let seen = marks(&[(content, 5), (urgent, 5)], &[(content, 5), (urgent, 5)]);

        let joined = Marks::joined(&newest, &seen);

        assert_eq!((joined.applied(Lane(content)), joined.applied(Lane(urgent))), (Position(5), Position(9)));
        let relayed = |lane| joined.relayed(LaneAddress { shard: ShardIndex(1), lane: Lane(lane) });
        assert_eq!((relayed(content), relayed(urgent)), (Position(5), Position(9)));
    }
}
