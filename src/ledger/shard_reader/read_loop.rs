//! The loop that answers the reads of one server of a shard: what gathers while one snapshot is being read shares the next.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::{Ask, Loaded, Marks, ReadFailed, Reply, Wanted};
use crate::ledger::hot_posts::{HotPosts, PEOPLE_MAX, WholePost};
use crate::ledger::shard::planted_outage;
use crate::substrate::store::rows::Needs;
use crate::substrate::store::{ReadSide, StoreError, StoreErrorKind, in_time};
use crate::support::chain::Chain;
use crate::vocabulary::ids::{PostId, UserId};
use crate::vocabulary::owner::{LaneAddress, Owner, ShardIndex};

/// Reads that share a snapshot: more would only make the first ones wait for the last.
const ASKS_PER_SNAPSHOT: usize = 256;
/// When so many ask at once more are about to: the next snapshot waits for them.
const CROWD: usize = 6;
/// How long it waits. The runtime's timer counts in milliseconds.
const GATHERING: Duration = Duration::from_millis(1);
/// Whole posts that are loaded at once to be kept: each may come with thousands of people, and other reads wait meanwhile. What is left out is
/// asked for again if it is missed again.
const WHOLE_POSTS_AT_ONCE: usize = 4;
/// How long after a failed read the shard is tried again.
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// What answers them: run it as a task, one for each server of a shard.
pub struct ReadLoop {
    pub(super) shard: Arc<str>,
    pub(super) index: ShardIndex,
    pub(super) server: ReadSide,
    /// Whether there are several servers, so that it counts where the log was.
    pub(super) is_one_of_several: bool,
    pub(super) hot: Arc<HotPosts>,
    pub(super) asks: mpsc::Receiver<Ask>,
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
            if !hot.is_empty()
                && !is_down
                && let Err(error) = in_time(self.load_hot(hot)).await
            {
                tracing::debug!(shard = %self.shard, error = %Chain(&error), "posts could not be kept in memory");
                is_down = error.kind() == StoreErrorKind::Unavailable;
            }
            if is_down {
                trial = Some(Box::pin(answers_again(Arc::clone(&self.shard), self.server.clone())));
            }
        }
    }

    /// Tells those who asked; says whether the shard is down.
    fn answer(&self, loaded: Result<Loaded, StoreError>, replies: Vec<Reply>) -> bool {
        let is_down = matches!(&loaded, Err(error) if error.kind() == StoreErrorKind::Unavailable);
        let answer = match loaded {
            Ok(loaded) => Ok(Arc::new(loaded)),
            Err(error) => {
                tracing::warn!(shard = %self.shard, error = %Chain(&error), "a read failed");
                Err(ReadFailed { shard: Arc::clone(&self.shard), reason: error.to_string().into() })
            }
        };
        for reply in replies {
            let _left = reply.send(answer.clone());
        }
        is_down
    }

    async fn load_posts(&self, sights: &[(PostId, Option<UserId>)]) -> Result<Loaded, StoreError> {
        planted_outage(&self.shard)?;
        let rows = self.server.posts_seen(sights).await?;
        let position = if self.is_one_of_several { Some(self.server.log_position().await?) } else { None };
        Ok(Loaded { rows, marks: None, position })
    }

    /// Reads whole posts, few of them, and hands them to the cache.
    async fn load_hot(&self, mut posts: Vec<PostId>) -> Result<(), StoreError> {
        planted_outage(&self.shard)?;
        posts.sort_unstable();
        posts.dedup();
        posts.truncate(WHOLE_POSTS_AT_ONCE);
        let mut snapshot = self.server.snapshot().await?;
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
        planted_outage(&self.shard)?;
        let mut snapshot = self.server.snapshot().await?;
        let loaded = Loaded::from(&mut snapshot, needs, marks).await?;
        let position = if self.is_one_of_several { Some(snapshot.log_position().await?) } else { None };
        Ok(Loaded { position, ..loaded })
    }
}

/// Ends when the shard can be read again.
async fn answers_again(shard: Arc<str>, server: ReadSide) {
    loop {
        tokio::time::sleep(TRY_AGAIN_AFTER).await;
        let tried = async {
            planted_outage(&shard)?;
            server.snapshot().await?.lanes().await
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
