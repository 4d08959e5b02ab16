//! Reads of one shard, many to a snapshot.
//!
//! Needs go in; rows, with the marks of the lanes, come out, all from one snapshot. While one snapshot is being read, further needs gather and
//! share the next: a lone read waits for nobody, a hundred at once cost five statements. Full: the caller waits for a place,
//! so at most [`ASKS_MAX`] reads of a shard are in hand. While the shard is down callers hear so at once, and it is tried meanwhile.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::hot_posts::{HotPosts, PEOPLE_MAX, WholePost};
use super::reopening::Reopening;
use crate::substrate::store::rows::{LaneRow, Needs, Rows, SourceLane};
use crate::substrate::store::{Store, StoreError, StoreErrorKind};
use crate::support::faults::planted;
use crate::vocabulary::ids::{Position, PostId, UserId};
use crate::vocabulary::owner::{LANES, Lane, LaneAddress, Owner, ShardIndex};

/// Reads of one shard that wait at once.
const ASKS_MAX: usize = 1024;
/// Reads that share a snapshot: more would only make the first ones wait for the last.
const ASKS_PER_SNAPSHOT: usize = 256;
/// When so many ask at once more are about to: the next snapshot waits for them.
const CROWD: usize = 6;
/// How long it waits. The runtime's timer counts in milliseconds.
const GATHERING: Duration = Duration::from_millis(1);
/// A shard that has not answered by then is treated as one that cannot be read.
pub(super) const READ_PATIENCE: Duration = Duration::from_secs(2);

/// How long after a failed read the shard is tried again.
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// How far the lanes were in the snapshot that some rows came from.
#[derive(Debug, Clone)]
pub struct Marks {
    applied: Vec<Position>,
    relayed: HashMap<SourceLane, Position>,
}

impl Marks {
    pub(super) fn new(lanes: &[LaneRow], relayed: HashMap<SourceLane, Position>) -> Self {
        let mut applied = vec![Position::START; usize::from(LANES)];
        for row in lanes {
            if let Some(mark) = applied.get_mut(usize::from(row.lane.0)) {
                *mark = row.applied;
            }
        }
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
}

/// A shard did not answer a read.
#[derive(Debug, Clone, thiserror::Error)]
#[error("could not read the shard {shard}: {reason}")]
pub struct ReadFailed {
    pub shard: Arc<str>,
    pub reason: Arc<str>,
}

/// What somebody asks for.
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
#[derive(Debug, Clone)]
pub struct ShardReader {
    shard: Arc<str>,
    reopening: Arc<Reopening>,
    asks: mpsc::Sender<Ask>,
}

/// What answers them: run it as a task, one a shard.
pub struct ReadLoop {
    shard: Arc<str>,
    index: ShardIndex,
    store: Store,
    hot: Arc<HotPosts>,
    asks: mpsc::Receiver<Ask>,
}

impl ShardReader {
    /// `hot`: where posts are kept that were asked for with [`ShardReader::keep_hot`].
    pub fn new(shard: Arc<str>, index: ShardIndex, store: Store, hot: Arc<HotPosts>) -> (Self, ReadLoop) {
        let (sender, asks) = mpsc::channel(ASKS_MAX);
        let door = Self { shard: Arc::clone(&shard), reopening: Arc::default(), asks: sender };
        (door, ReadLoop { shard, index, store, hot, asks })
    }

    /// Whether reads are still answered.
    pub fn is_alive(&self) -> bool {
        !self.asks.is_closed()
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
        let _busy = self.asks.try_send(Ask { wanted: Wanted::Hot(post), reply: None });
    }

    /// Loads rows from one snapshot, and the marks if there is something pending to compare with them.
    pub async fn load(&self, needs: Needs, marks: bool) -> Result<Arc<Loaded>, ReadFailed> {
        self.ask(Wanted::Rows { needs: Box::new(needs), marks }).await
    }

    /// Loads what shows a post to a viewer who has nothing pending about it.
    pub async fn load_post(&self, post: PostId, viewer: Option<UserId>) -> Result<Arc<Loaded>, ReadFailed> {
        self.ask(Wanted::Post(post, viewer)).await
    }

    async fn ask(&self, wanted: Wanted) -> Result<Arc<Loaded>, ReadFailed> {
        if !self.is_open() {
            return Err(self.failed("it is brought up to date after a change of its primary"));
        }
        let (reply, answer) = oneshot::channel();
        let asked = async {
            self.asks.send(Ask { wanted, reply: Some(reply) }).await.map_err(|_closed| self.failed("the reader has stopped"))?;
            answer.await.map_err(|_closed| self.failed("the reader has stopped"))?
        };
        match tokio::time::timeout(READ_PATIENCE, asked).await {
            Ok(answer) => answer,
            Err(_elapsed) => Err(self.failed("no answer in time")),
        }
    }

    fn failed(&self, reason: &str) -> ReadFailed {
        ReadFailed { shard: Arc::clone(&self.shard), reason: reason.into() }
    }
}

impl ReadLoop {
    /// Answers until the last [`ShardReader`] is gone.
    pub async fn run(mut self) {
        let mut asks = Vec::with_capacity(ASKS_PER_SNAPSHOT);
        let mut trial: Option<Pin<Box<dyn Future<Output = ()> + Send>>> = None;
        loop {
            let received = match &mut trial {
                None => self.asks.recv_many(&mut asks, ASKS_PER_SNAPSHOT).await,
                Some(answers) => tokio::select! {
                    () = answers => {
                        trial = None;
                        continue;
                    }
                    received = self.asks.recv_many(&mut asks, ASKS_PER_SNAPSHOT) => received,
                },
            };
            if received == 0 {
                return;
            }
            fail::fail_point!("reader::panic");
            if trial.is_some() {
                let failed = ReadFailed { shard: Arc::clone(&self.shard), reason: "it is down, and being tried".into() };
                for reply in asks.drain(..).filter_map(|ask| ask.reply) {
                    let _left = reply.send(Err(failed.clone()));
                }
                continue;
            }
            if (CROWD..ASKS_PER_SNAPSHOT).contains(&asks.len()) {
                tokio::time::sleep(GATHERING).await;
                while asks.len() < ASKS_PER_SNAPSHOT
                    && let Ok(ask) = self.asks.try_recv()
                {
                    asks.push(ask);
                }
            }
            metrics::histogram!("sosik_reads_per_snapshot").record(asks.len() as f64);
            let (mut sights, mut viewers) = (Vec::new(), Vec::new());
            let (mut needs, mut marks, mut others) = (Needs::default(), false, Vec::new());
            let mut hot = Vec::new();
            for Ask { wanted, reply } in asks.drain(..) {
                match wanted {
                    Wanted::Post(post, viewer) => {
                        sights.push((post, viewer));
                        viewers.extend(reply);
                    }
                    Wanted::Hot(post) => hot.push(post),
                    Wanted::Rows { needs: more, marks: compared } => {
                        absorb(&mut needs, *more);
                        marks |= compared;
                        others.extend(reply);
                    }
                }
            }
            let mut is_down = false;
            if !viewers.is_empty() {
                is_down |= self.answer(in_time(self.load_posts(&sights)).await, viewers);
            }
            if !others.is_empty() {
                is_down |= self.answer(in_time(self.load(&needs, marks)).await, others);
            }
            if is_down {
                trial = Some(Box::pin(answers_again(Arc::clone(&self.shard), self.store.clone())));
                continue;
            }
            if !hot.is_empty()
                && let Err(error) = self.load_hot(hot).await
            {
                tracing::debug!(shard = %self.shard, error = %crate::support::chain::Chain(&error), "posts could not be kept in memory");
            }
        }
    }

    /// Tells those who asked; says whether the shard is down.
    fn answer(&self, loaded: Result<Loaded, StoreError>, replies: Vec<Reply>) -> bool {
        let is_down = matches!(&loaded, Err(error) if error.kind() == StoreErrorKind::Unavailable);
        let answer = match loaded {
            Ok(loaded) => Ok(Arc::new(loaded)),
            Err(error) => {
                tracing::warn!(shard = %self.shard, error = %crate::support::chain::Chain(&error), "a read failed");
                Err(ReadFailed { shard: Arc::clone(&self.shard), reason: error.to_string().into() })
            }
        };
        for reply in replies {
            let _left = reply.send(answer.clone());
        }
        is_down
    }

    async fn load_posts(&self, sights: &[(PostId, Option<UserId>)]) -> Result<Loaded, StoreError> {
        super::shard::planted_outage(&self.shard)?;
        Ok(Loaded { rows: self.store.posts_seen(sights).await?, marks: None })
    }

    /// Reads whole posts, and hands them to the cache.
    async fn load_hot(&self, mut posts: Vec<PostId>) -> Result<(), StoreError> {
        super::shard::planted_outage(&self.shard)?;
        posts.sort_unstable();
        posts.dedup();
        let mut snapshot = self.store.snapshot().await?;
        let marks = Marks::new(&snapshot.lanes().await?, HashMap::new());
        let needs = Needs { posts: posts.clone(), post_counters: posts, ..Needs::default() };
        let rows = snapshot.rows_load(&needs).await?;
        let most = PEOPLE_MAX as u64 + 1;
        for (post, row) in rows.posts {
            let counters = rows.counters.posts.get(&post).copied().unwrap_or_default();
            let likes = snapshot.post_likes_page(post, None, most).await?;
            let subscriptions = snapshot.subscriptions_page(post, None, most).await?;
            let lane = Owner::Post(post).lane();
            let whole = WholePost { mark: marks.applied(lane), row, counters, likes, subscriptions };
            self.hot.keep(LaneAddress { shard: self.index, lane }, whole);
        }
        Ok(())
    }

    async fn load(&self, needs: &Needs, marks: bool) -> Result<Loaded, StoreError> {
        super::shard::planted_outage(&self.shard)?;
        let mut snapshot = self.store.snapshot().await?;
        let marks = if marks { Some(Marks::new(&snapshot.lanes().await?, snapshot.relay_cursors().await?)) } else { None };
        let rows = snapshot.rows_load(needs).await?;
        Ok(Loaded { rows, marks })
    }
}

/// What is read, unless those who asked have given up: a shard that hangs must not hold those who ask later.
async fn in_time(read: impl Future<Output = Result<Loaded, StoreError>>) -> Result<Loaded, StoreError> {
    let waited = READ_PATIENCE;
    tokio::time::timeout(waited, read).await.unwrap_or(Err(StoreError::NoAnswer { waited }))
}

/// Ends when the shard can be read again.
async fn answers_again(shard: Arc<str>, store: Store) {
    loop {
        tokio::time::sleep(TRY_AGAIN_AFTER).await;
        let tried = async {
            super::shard::planted_outage(&shard)?;
            store.snapshot().await?.lanes().await
        };
        match tried.await {
            Err(error) if error.kind() == StoreErrorKind::Unavailable => {}
            // What else is wrong with it, the next who asks is told.
            _ => return,
        }
    }
}

/// Adds what one asks for to what all ask for.
fn absorb(all: &mut Needs, one: Needs) {
    all.posts.extend(one.posts);
    all.post_counters.extend(one.post_counters);
    all.post_likes.extend(one.post_likes);
    all.subscriptions.extend(one.subscriptions);
    all.comments.extend(one.comments);
    all.comment_counters.extend(one.comment_counters);
    all.comment_likes.extend(one.comment_likes);
    all.relations.extend(one.relations);
    all.mutes.extend(one.mutes);
    all.author_posts.extend(one.author_posts);
    all.user_counters.extend(one.user_counters);
    all.accounts.extend(one.accounts);
    all.sessions.extend(one.sessions);
    all.sessions_of.extend(one.sessions_of);
    all.names.extend(one.names);
    all.preferences.extend(one.preferences);
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
