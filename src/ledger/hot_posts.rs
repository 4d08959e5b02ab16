//! Posts that are asked for again and again, in memory as their lanes left them.
//!
//! A post with its counters, and everybody's like and subscription of it, goes in from a snapshot; each batch moves it on when everybody sees
//! it, in the order of its lane. What comes out is what a snapshot at the entry's mark would have said. Promises: an entry never goes back, never mixes
//! two states, and is never older than what any reader of the database could have seen before. Full: moka evicts, and readers ask the database.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use moka::sync::Cache;

use crate::substrate::store::LaneMove;
use crate::substrate::store::rows::{LikeRow, PostCounters, PostRow, Rows, SubscriptionRow};
use crate::support::faults::planted;
use crate::support::lock::lock;
use crate::vocabulary::command::SubscriptionMode;
use crate::vocabulary::ids::{Position, PostId, UserId};
use crate::vocabulary::owner::{LANES, Lane, LaneAddress, Owner, ShardIndex, mix};

/// The most people whose likes, and whose subscriptions, of one post are kept. Of a post with more, only the post itself is.
pub const PEOPLE_MAX: usize = 2_000;
/// Posts that were missed lately. One that is missed again while it stands here is worth its loading.
const MISSED: usize = 16_384;
/// About what an entry takes without its text and people, and what each of these takes more.
const POST_BYTES: usize = 400;
const LIKE_BYTES: usize = 18;
const SUBSCRIPTION_BYTES: usize = 36;

/// What a reader of an entry needs to be sure of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// What the databases may have said to anybody before: not while there is a commit of the lane that not everybody sees.
    Read,
    /// A preview of an own write, which is decided again at the apply: what others just did to the counts may be missing. A text that somebody
    /// may have read, or found deleted, may not.
    Preview,
}

/// The people of a post.
#[derive(Debug, Default)]
struct People {
    likes: HashSet<UserId>,
    subscriptions: HashMap<UserId, SubscriptionMode>,
}

#[derive(Debug)]
struct State {
    /// All entries of the post's lane that touched it up to here are in.
    mark: Position,
    row: PostRow,
    counters: PostCounters,
    /// `None`: too many.
    people: Option<People>,
}

#[derive(Debug)]
struct HotPost {
    /// What the cache was told that it takes, in bytes.
    weight: AtomicU32,
    state: Mutex<State>,
}

/// What is known of a lane. Readers look without a lock.
#[derive(Debug, Default)]
struct LaneTrack {
    /// How far the entries have been moved on. The lock orders loading against moving on.
    moved: Mutex<Position>,
    /// Entries whose mark is below are out of date: a commit went by whose rows are not known here.
    floor: AtomicU64,
    /// As [`LaneTrack::moved`], for those who look without the lock.
    moved_to: AtomicU64,
    /// How far transactions were begun to be committed: if that is further, somebody may see what is not here.
    begun: AtomicU64,
    /// How far those that change or delete a text were.
    texts_begun: AtomicU64,
}

/// The cache. Shared by all threads.
pub struct HotPosts {
    posts: Cache<PostId, Arc<HotPost>>,
    /// By shard, then by lane.
    lanes: Vec<Vec<LaneTrack>>,
    missed: Vec<AtomicU64>,
    hits: metrics::Counter,
    misses: metrics::Counter,
}

/// A post as a snapshot holds it, to be kept.
#[derive(Debug)]
pub struct WholePost {
    /// The lane's position in that snapshot.
    pub mark: Position,
    pub row: PostRow,
    pub counters: PostCounters,
    /// Those who like it, up to one more than [`PEOPLE_MAX`].
    pub likes: Vec<UserId>,
    /// The subscriptions, up to one more than [`PEOPLE_MAX`].
    pub subscriptions: Vec<(UserId, SubscriptionMode)>,
}

/// What an entry says to one viewer, and up to which position of its lane.
#[derive(Debug)]
pub struct Found {
    pub rows: Rows,
    pub mark: Position,
    /// A commit is under way, or not seen by everybody, that may have changed the counts.
    pub is_behind: bool,
}

impl HotPosts {
    pub fn new(bytes: u64, shards: usize) -> Self {
        let posts = Cache::builder().max_capacity(bytes).weigher(|_, post: &Arc<HotPost>| post.weight.load(Ordering::Relaxed)).build();
        let lanes = (0..shards).map(|_| (0..LANES).map(|_| LaneTrack::default()).collect()).collect();
        let counted = |outcome: &'static str| metrics::counter!("sosik_hot_posts_total", "outcome" => outcome);
        Self { posts, lanes, missed: (0..MISSED).map(|_| AtomicU64::new(0)).collect(), hits: counted("hit"), misses: counted("miss") }
    }

    /// The rows that show a post to a viewer. Take the viewer's pending writes before: those above the mark are still to be laid over.
    pub fn find(&self, post: PostId, viewer: Option<UserId>, at: LaneAddress, freshness: Freshness) -> Option<Found> {
        let found = self.look(post, viewer, at, freshness);
        if found.is_some() {
            self.hits.increment(1)
        } else {
            self.misses.increment(1)
        }
        found
    }

    fn look(&self, post: PostId, viewer: Option<UserId>, at: LaneAddress, freshness: Freshness) -> Option<Found> {
        let track = self.track(at)?;
        // Before the entry: if no commit is under way, all that were are in it.
        let moved_to = track.moved_to.load(Ordering::SeqCst);
        let is_behind = moved_to < track.begun.load(Ordering::SeqCst);
        let lacks_a_text = moved_to < track.texts_begun.load(Ordering::SeqCst) && !planted("hot_posts::preview_old_text");
        if lacks_a_text || (freshness == Freshness::Read && is_behind) {
            return None;
        }
        let hot = self.posts.get(&post)?;
        let state = lock(&hot.state);
        if state.mark.0 < track.floor.load(Ordering::SeqCst) {
            drop(state);
            self.posts.invalidate(&post);
            return None;
        }
        let mut rows = Rows::default();
        if let Some(viewer) = viewer {
            let people = state.people.as_ref()?;
            if people.likes.contains(&viewer) {
                rows.post_likes.insert((post, viewer), LikeRow { liked: true, position: state.mark });
            }
            if let Some(mode) = people.subscriptions.get(&viewer) {
                rows.subscriptions.insert((post, viewer), SubscriptionRow { mode: *mode, position: state.mark });
            }
        }
        rows.posts.insert(post, state.row.clone());
        rows.counters.posts.insert(post, state.counters);
        Some(Found { rows, mark: state.mark, is_behind })
    }

    /// Whether a post that was just missed is worth loading: it was missed before, not long ago, and is not being loaded since.
    pub fn is_wanted(&self, post: PostId) -> bool {
        let slot = &self.missed[(mix(post.raw()) % MISSED as u64) as usize];
        if slot.swap(post.raw(), Ordering::Relaxed) != post.raw() {
            return false;
        }
        slot.store(0, Ordering::Relaxed);
        !self.posts.contains_key(&post)
    }

    /// Keeps a post, unless its lane has been moved on since its snapshot.
    pub fn keep(&self, at: LaneAddress, whole: WholePost) {
        let Some(track) = self.track(at) else { return };
        let WholePost { mark, row, counters, likes, subscriptions } = whole;
        let few = likes.len() <= PEOPLE_MAX && subscriptions.len() <= PEOPLE_MAX;
        let people = few.then(|| People { likes: likes.into_iter().collect(), subscriptions: subscriptions.into_iter().collect() });
        let (post, state) = (row.post, State { mark, row, counters, people });
        let hot = Arc::new(HotPost { weight: AtomicU32::new(weight_of(&state)), state: Mutex::new(state) });
        let moved = lock(&track.moved);
        if mark >= *moved || planted("hot_posts::keep_old") {
            self.posts.insert(post, hot);
        }
    }

    /// A transaction that moves these lanes, and writes these rows, is about to be committed.
    pub fn committing(&self, shard: ShardIndex, moves: &[LaneMove], rows: &Rows) {
        let texts = lanes_of_changed_texts(rows);
        for to in moves {
            if let Some(track) = self.track(LaneAddress { shard, lane: to.lane }) {
                track.begun.fetch_max(to.next.0, Ordering::SeqCst);
                if texts.contains(&to.lane) {
                    track.texts_begun.fetch_max(to.next.0, Ordering::SeqCst);
                }
            }
        }
    }

    /// It is committed, wrote these rows, and everybody sees them. To be called before any pending write of it is dropped.
    pub fn moved_on(&self, shard: ShardIndex, moves: &[LaneMove], rows: &Rows) {
        let touched = touched(rows);
        let planted = planted("hot_posts::never_move_on");
        for to in moves {
            let Some(track) = self.track(LaneAddress { shard, lane: to.lane }) else { continue };
            let mut moved = lock(&track.moved);
            *moved = to.next.max(*moved);
            let through = *moved;
            for (post, people) in touched.get(&to.lane).into_iter().flatten().filter(|_| !planted) {
                if let Some(hot) = self.posts.get(post) {
                    self.move_on(*post, &hot, to.next, rows, people);
                }
            }
            track.moved_to.store(through.0, Ordering::SeqCst);
        }
    }

    /// A lane is at a position by a commit whose rows are not known here. [`HotPosts::moved_on`], without any, follows when everybody sees it.
    pub fn forget(&self, at: LaneAddress, position: Position) {
        let Some(track) = self.track(at) else { return };
        track.begun.fetch_max(position.0, Ordering::SeqCst);
        track.floor.fetch_max(position.0, Ordering::SeqCst);
    }

    fn move_on(&self, post: PostId, hot: &Arc<HotPost>, to: Position, rows: &Rows, people: &[UserId]) {
        let mut state = lock(&hot.state);
        if state.mark >= to {
            return;
        }
        state.mark = to;
        if let Some(row) = rows.posts.get(&post) {
            state.row = row.clone();
        }
        if let Some(step) = rows.counters.posts.get(&post) {
            state.counters.likes += step.likes;
            state.counters.comments += step.comments;
            state.counters.position = step.position.max(state.counters.position);
        }
        if let Some(known) = &mut state.people {
            for user in people {
                known.take(*user, rows.post_likes.get(&(post, *user)), rows.subscriptions.get(&(post, *user)));
            }
            if known.likes.len() > PEOPLE_MAX || known.subscriptions.len() > PEOPLE_MAX {
                state.people = None;
            }
        }
        let weight = weight_of(&state);
        drop(state);
        if weight > hot.weight.load(Ordering::Relaxed) {
            // Told rarely: in steps of a half more.
            hot.weight.store(weight.saturating_add(weight / 2), Ordering::Relaxed);
            self.posts.insert(post, Arc::clone(hot));
        }
    }

    fn track(&self, at: LaneAddress) -> Option<&LaneTrack> {
        self.lanes.get(usize::from(at.shard.0))?.get(usize::from(at.lane.0))
    }
}

impl People {
    fn take(&mut self, user: UserId, like: Option<&LikeRow>, subscription: Option<&SubscriptionRow>) {
        match like {
            Some(LikeRow { liked: true, .. }) => {
                self.likes.insert(user);
            }
            Some(LikeRow { liked: false, .. }) => {
                self.likes.remove(&user);
            }
            None => {}
        }
        if let Some(row) = subscription {
            self.subscriptions.insert(user, row.mode);
        }
    }
}

/// The lanes of posts that saved rows edit or delete. A new post is nowhere yet.
fn lanes_of_changed_texts(rows: &Rows) -> HashSet<Lane> {
    let changed = rows.posts.values().filter(|row| row.edited_at.is_some() || row.deleted);
    changed.map(|row| Owner::Post(row.post).lane()).collect()
}

/// The posts that saved rows are about, by lane, with the people whose like or subscription is among them.
fn touched(rows: &Rows) -> HashMap<Lane, Vec<(PostId, Vec<UserId>)>> {
    let mut touched: HashMap<PostId, Vec<UserId>> = HashMap::new();
    for post in rows.posts.keys().chain(rows.counters.posts.keys()) {
        touched.entry(*post).or_default();
    }
    for (post, user) in rows.post_likes.keys().chain(rows.subscriptions.keys()) {
        touched.entry(*post).or_default().push(*user);
    }
    let mut by_lane: HashMap<Lane, Vec<(PostId, Vec<UserId>)>> = HashMap::new();
    for (post, people) in touched {
        by_lane.entry(Owner::Post(post).lane()).or_default().push((post, people));
    }
    by_lane
}

fn weight_of(state: &State) -> u32 {
    let people = state
        .people
        .as_ref()
        .map_or(0, |people| people.likes.capacity() * LIKE_BYTES + people.subscriptions.capacity() * SUBSCRIPTION_BYTES);
    u32::try_from(POST_BYTES + state.row.body.as_str().len() + people).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::text::PostBody;

    const POST: PostId = PostId::from_raw(7);
    const ANN: UserId = UserId::from_raw(1);
    const BOB: UserId = UserId::from_raw(2);

    fn at() -> LaneAddress {
        LaneAddress { shard: ShardIndex(0), lane: Owner::Post(POST).lane() }
    }

    fn snapshot(mark: u64, likes: &[UserId]) -> WholePost {
        let row = PostRow {
            post: POST,
            author: ANN,
            body: PostBody::from_row("tidings".to_owned()),
            revision: Position(1),
            edited_at: None,
            deleted: false,
        };
        let counters = PostCounters { likes: likes.len() as i64, comments: 0, position: Position(mark) };
        WholePost { mark: Position(mark), row, counters, likes: likes.to_vec(), subscriptions: Vec::new() }
    }

    fn to(known: u64, next: u64) -> [LaneMove; 1] {
        [LaneMove { lane: at().lane, known: Position(known), next: Position(next) }]
    }

    fn liked_by(user: UserId, position: u64) -> Rows {
        let mut rows = Rows::default();
        rows.post_likes.insert((POST, user), LikeRow { liked: true, position: Position(position) });
        rows.counters.posts.insert(POST, PostCounters { likes: 1, comments: 0, position: Position(position) });
        rows
    }

    fn likes(posts: &HotPosts, viewer: UserId, freshness: Freshness) -> Option<(i64, bool)> {
        let found = posts.find(POST, Some(viewer), at(), freshness)?;
        Some((found.rows.counters.posts[&POST].likes, found.rows.post_likes.contains_key(&(POST, viewer))))
    }

    fn hot() -> HotPosts {
        HotPosts::new(1 << 20, 1)
    }

    #[test]
    fn a_committed_like_shows_at_once_and_only_once() {
        let _no_faults = fail::FailScenario::setup();
        let posts = hot();
        posts.keep(at(), snapshot(10, &[ANN]));

        posts.moved_on(ShardIndex(0), &to(10, 12), &liked_by(BOB, 12));
        posts.moved_on(ShardIndex(0), &to(10, 12), &liked_by(BOB, 12));

        assert_eq!(likes(&posts, BOB, Freshness::Read), Some((2, true)));
        assert_eq!(likes(&posts, ANN, Freshness::Read), Some((2, true)));
    }

    #[test]
    fn a_snapshot_from_before_a_commit_is_not_kept_after_it() {
        let _no_faults = fail::FailScenario::setup();
        let posts = hot();

        posts.moved_on(ShardIndex(0), &to(10, 12), &liked_by(BOB, 12));
        posts.keep(at(), snapshot(10, &[]));
        assert_eq!(likes(&posts, BOB, Freshness::Read), None);

        posts.keep(at(), snapshot(12, &[BOB]));
        assert_eq!(likes(&posts, BOB, Freshness::Read), Some((1, true)));
    }

    #[test]
    fn a_snapshot_that_already_saw_a_commit_is_not_moved_on_by_it() {
        let _no_faults = fail::FailScenario::setup();
        let posts = hot();
        posts.keep(at(), snapshot(12, &[BOB]));

        posts.moved_on(ShardIndex(0), &to(10, 12), &liked_by(BOB, 12));

        assert_eq!(likes(&posts, BOB, Freshness::Read), Some((1, true)));
    }

    #[test]
    fn while_a_commit_is_under_way_readers_ask_the_database_and_previews_do_not() {
        let _no_faults = fail::FailScenario::setup();
        let posts = hot();
        posts.keep(at(), snapshot(10, &[]));

        posts.committing(ShardIndex(0), &to(10, 12), &liked_by(BOB, 12));
        assert_eq!(likes(&posts, BOB, Freshness::Read), None);
        assert_eq!(likes(&posts, BOB, Freshness::Preview), Some((0, false)));
        assert!(posts.find(POST, None, at(), Freshness::Preview).expect("the post").is_behind);

        posts.moved_on(ShardIndex(0), &to(10, 12), &liked_by(BOB, 12));
        assert_eq!(likes(&posts, BOB, Freshness::Read), Some((1, true)));
    }

    /// What a preview shows while this change of the post is being committed, and after it.
    fn previewed_beside(change: impl FnOnce(&mut PostRow)) -> [Option<String>; 2] {
        let posts = hot();
        posts.keep(at(), snapshot(10, &[]));
        let mut row = snapshot(10, &[]).row;
        row.revision = Position(12);
        change(&mut row);
        let changed = Rows { posts: HashMap::from([(POST, row)]), ..Rows::default() };
        let text = || {
            let found = posts.find(POST, Some(BOB), at(), Freshness::Preview)?;
            Some(found.rows.posts[&POST].body.as_str().to_owned())
        };

        posts.committing(ShardIndex(0), &to(10, 12), &changed);
        let during = text();
        posts.moved_on(ShardIndex(0), &to(10, 12), &changed);
        [during, text()]
    }

    #[test]
    fn while_a_text_is_changed_or_deleted_previews_ask_the_database_too() {
        let _no_faults = fail::FailScenario::setup();
        let edit = |row: &mut PostRow| (row.body, row.edited_at) = (PostBody::from_row("news".to_owned()), Some(5));
        let delete = |row: &mut PostRow| (row.body, row.deleted) = (PostBody::from_row(String::new()), true);

        assert_eq!(previewed_beside(edit), [None, Some("news".to_owned())]);
        assert_eq!(previewed_beside(delete), [None, Some(String::new())]);
    }

    #[test]
    fn readers_ask_the_databases_as_long_as_not_everybody_sees_all_commits_of_the_lane() {
        let _no_faults = fail::FailScenario::setup();
        let posts = hot();
        posts.keep(at(), snapshot(10, &[]));
        posts.committing(ShardIndex(0), &to(10, 12), &liked_by(BOB, 12));
        posts.committing(ShardIndex(0), &to(12, 14), &liked_by(ANN, 14));

        posts.moved_on(ShardIndex(0), &to(10, 12), &liked_by(BOB, 12));
        assert_eq!(likes(&posts, BOB, Freshness::Read), None);

        posts.moved_on(ShardIndex(0), &to(12, 14), &liked_by(ANN, 14));
        assert_eq!(likes(&posts, BOB, Freshness::Read), Some((2, true)));
    }

    #[test]
    fn a_commit_whose_rows_are_not_known_makes_what_is_kept_useless() {
        let _no_faults = fail::FailScenario::setup();
        let posts = hot();
        posts.keep(at(), snapshot(10, &[]));

        posts.forget(at(), Position(12));

        assert_eq!(likes(&posts, BOB, Freshness::Preview), None);
    }

    #[test]
    fn a_post_that_too_many_like_still_shows_itself_but_says_nothing_of_its_viewers() {
        let _no_faults = fail::FailScenario::setup();
        let posts = hot();
        let crowd: Vec<UserId> = (0..=PEOPLE_MAX as u64).map(UserId::from_raw).collect();
        posts.keep(at(), snapshot(10, &crowd));

        assert_eq!(likes(&posts, BOB, Freshness::Read), None);
        let found = posts.find(POST, None, at(), Freshness::Read).expect("the post");
        assert_eq!(found.rows.counters.posts[&POST].likes, PEOPLE_MAX as i64 + 1);
    }

    #[test]
    fn only_what_is_missed_again_is_loaded_and_not_once_more_for_each_miss() {
        let posts = hot();

        let wanted = [(); 4].map(|()| posts.is_wanted(POST));

        assert_eq!(wanted, [false, true, false, true]);
    }

    /// The fault that the order of loading and moving on is for.
    #[cfg(feature = "faults")]
    #[test]
    fn a_cache_that_keeps_an_old_snapshot_is_found_out() {
        let scenario = fail::FailScenario::setup();
        fail::cfg("hot_posts::keep_old", "return").expect("a fault");
        let posts = hot();

        posts.moved_on(ShardIndex(0), &to(10, 12), &liked_by(BOB, 12));
        posts.keep(at(), snapshot(10, &[]));

        assert_eq!(likes(&posts, BOB, Freshness::Read), Some((0, false)));
        scenario.teardown();
    }
}
