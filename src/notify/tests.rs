//! Telling a crowd, over real databases: in the middle of it everything that is in memory is lost.

mod planning;
mod windows;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::book::{Book, Cause, Notice, PARCEL_NOTICES_MAX, Parcel, What};
use super::delivery::{DeliveryError, Tools, close_windows, deliver};
use super::desk::{Basket, Desk};
use super::planner::{LaneAsked, OpenPages, Planner};
use super::{Ground, Unshown, Visible};
use crate::substrate::bus::{Hint, LocalBus};
use crate::substrate::store::rows::{CommentRow, EventsRow, PostRow, RelationRow, Rows, SourceLane, SubscriptionRow, UserCounters};
use crate::substrate::store::{Backend, CounterTable, FIRST_ACTORS_MAX, NoticeMark, Store, StoreError, StoreOptions, WindowKey, WindowRow};
use crate::support::clock::{Clock, ManualClock};
use crate::support::data_folder::{DataFolder, claim_worker};
use crate::support::snowflake::IdMaker;
use crate::vocabulary::command::SubscriptionMode;
use crate::vocabulary::entry::{EntryState, Group, InboxEntry, InboxLine, InboxState, NotificationKind, Target};
use crate::vocabulary::event::{Event, Happened, encode_events};
use crate::vocabulary::ids::{CommentId, NotificationId, Position, PostId, UserId, WriteId};
use crate::vocabulary::owner::{Lane, Owner, PlacementKey, ShardIndex};
use crate::vocabulary::relation::{Follow, FollowNotify, PairState};
use crate::vocabulary::text::{CommentBody, PostBody};

const SHARDS: u16 = 2;
const AUTHOR: UserId = UserId::from_raw(1);
const POST: PostId = PostId::from_raw(7);
const AT: Position = Position(5);
const NOW: u64 = 1_735_689_700_000;

/// Two shards; users are on one or the other by their number.
struct Hamlet {
    stores: Vec<Store>,
    visible: Vec<Visible>,
    _folder: tempfile::TempDir,
}

impl Ground for Hamlet {
    fn shards(&self) -> u16 {
        SHARDS
    }

    fn name(&self, _: ShardIndex) -> &str {
        "hamlet"
    }

    fn place(&self, owner: &Owner) -> ShardIndex {
        match owner.placement_key() {
            PlacementKey::Id(raw) => ShardIndex((raw % u64::from(SHARDS)) as u16),
            PlacementKey::Hash(_) => ShardIndex(0),
        }
    }

    fn store(&self, shard: ShardIndex) -> &Store {
        &self.stores[usize::from(shard.0)]
    }

    fn visible(&self, shard: ShardIndex) -> &Visible {
        &self.visible[usize::from(shard.0)]
    }

    fn is_readable(&self, _: ShardIndex) -> bool {
        true
    }

    fn unshown(&self, _: ShardIndex) -> Option<&Arc<Unshown>> {
        None
    }

    fn when_seen(&self, _: ShardIndex, news: Box<dyn FnOnce() + Send>) {
        news();
    }

    fn replayed(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

impl Hamlet {
    /// One post by an author with so many followers, every third of whom asked for the bell.
    async fn with_followers(followers: u64) -> Arc<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let mut stores = Vec::new();
        for shard in 0..SHARDS {
            let backend = Backend::Sqlite(folder.path().join(format!("{shard}.sqlite")));
            let store = Store::open(&backend, StoreOptions::default()).await.expect("opens");
            store.migrate().await.expect("migrates");
            stores.push(store);
        }
        let hamlet = Self { stores, visible: (0..SHARDS).map(|_| Visible::default()).collect(), _folder: folder };
        let mut rows = Rows::default();
        for raw in 0..followers {
            let notify = if raw % 3 == 0 { FollowNotify::Always } else { FollowNotify::Automatic };
            let state = PairState { followed_by: Some(Follow { since: Position(raw + 1), notify }), ..PairState::default() };
            let row = RelationRow { state, has_followed: false, was_followed: true, position: Position(1) };
            rows.relations.insert((AUTHOR, UserId::from_raw(100 + raw)), row);
        }
        rows.counters.users.insert(AUTHOR, UserCounters { followers: followers.cast_signed(), ..UserCounters::default() });
        let body = PostBody::from_row("Hello".to_owned());
        rows.posts.insert(POST, PostRow { post: POST, author: AUTHOR, body, revision: AT, edited_at: None, deleted: false });
        hamlet.happens(&rows, AT, AUTHOR, Happened::PostCreated { post: POST, mentions: Vec::new() }).await;
        Arc::new(hamlet)
    }

    /// Something happens to the post, and leaves these rows.
    async fn happens(&self, rows: &Rows, position: Position, author: UserId, happened: Happened) {
        let event = Event { position, write: WriteId::from_raw(position.0), author, accepted_at: NOW, happened, relays: Vec::new() };
        let mut tx = self.store(self.place(&Owner::Post(POST))).begin().await.expect("begins");
        tx.rows_save(rows).await.expect("saves");
        let payload = encode_events(&[event]).expect("encodes");
        tx.events_insert(&[EventsRow { lane: Lane(3), position, payload }]).await.expect("saves");
        tx.commit().await.expect("commits");
    }

    /// The inboxes with how many entries each has, and whether all counts agree.
    async fn told(&self) -> HashMap<u64, i64> {
        let mut told = HashMap::new();
        for store in &self.stores {
            let mut snapshot = store.snapshot().await.expect("a snapshot");
            let mut after = None;
            loop {
                let page = snapshot.audit_counters(CounterTable::Inboxes, after).await.expect("counts");
                let Some(last) = page.last() else { break };
                after = Some(last.key);
                for counted in page {
                    assert_eq!(counted.stored, counted.rows, "the inbox of {}", counted.key);
                    told.insert(counted.key, counted.rows[0]);
                }
            }
        }
        told
    }
}

/// As [`work_through`], of the event that a hamlet begins with.
async fn work(hamlet: &Arc<Hamlet>, tools: &Tools, automatic_up_to: u64, deliveries_max: usize) -> usize {
    work_through(hamlet, tools, AT, automatic_up_to, deliveries_max).await
}

/// A dispatcher's work by hand, from what the databases say; it loses everything after so many deliveries. Answers how many people the hints
/// tell.
async fn work_through(hamlet: &Arc<Hamlet>, tools: &Tools, through: Position, automatic_up_to: u64, deliveries_max: usize) -> usize {
    let source = hamlet.place(&Owner::Post(POST));
    let planner = Planner::new(Arc::clone(hamlet) as Arc<dyn Ground>, source, 1 << 20, automatic_up_to);
    let mut book = Book::new(source);
    book.begin(Lane(3), Position::START);
    let mut open: Option<OpenPages> = None;
    let (mut deliveries, mut told) = (0, 0);
    while book.planned(Lane(3)) < through || book.waiting() > 0 {
        if book.planned(Lane(3)) < through {
            let asked = LaneAsked { lane: Lane(3), planned: book.planned(Lane(3)), visible: through, open: open.take() };
            for (lane, plan) in planner.plan(vec![asked]).await.expect("plans") {
                let plan = plan.expect("a plan");
                book.enter(lane, plan.notices);
                book.set_planned(lane, plan.planned);
                open = plan.open;
            }
        }
        for destination in book.destinations() {
            let store = hamlet.store(destination);
            let cursors = store.snapshot().await.expect("a snapshot").notice_cursors().await.expect("cursors");
            book.set_cursors(destination, &cursors);
            let parcels = book.parcels(destination);
            if parcels.is_empty() {
                continue;
            }
            if deliveries == deliveries_max {
                return told;
            }
            deliveries += 1;
            let hints = deliver(store, tools, &parcels.iter().collect::<Vec<_>>(), NOW).await.expect("delivers");
            told += hints.iter().map(|hint| if let Hint::Inbox { told, .. } = hint { told.len() } else { 0 }).sum::<usize>();
            book.delivered(destination, &parcels);
        }
    }
    assert_eq!(book.progress(), [(Lane(3), through)]);
    told
}

fn tools(folder: &tempfile::TempDir) -> Tools {
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(NOW));
    let data = DataFolder::open(folder.path()).expect("a data folder");
    let claim = claim_worker(data.path(), 0, 0).expect("a claim");
    Tools { ids: Arc::new(IdMaker::open(data.path(), claim, clock).expect("ids")), hiding: None }
}

/// T7.5.
#[tokio::test]
async fn ten_thousand_followers_are_told_once_each_though_everything_in_memory_is_lost_again_and_again() {
    const FOLLOWERS: u64 = 10_000;
    let hamlet = Hamlet::with_followers(FOLLOWERS).await;
    let folder = tempfile::tempdir().expect("a folder");
    let tools = tools(&folder);

    let mut hints = 0;
    for deliveries in [3, 7, 1] {
        hints += work(&hamlet, &tools, u64::MAX, deliveries).await;
    }
    assert!(hints > 0 && (hints as u64) < FOLLOWERS, "it was cut short: {hints}");
    let began = std::time::Instant::now();
    let last = work(&hamlet, &tools, u64::MAX, usize::MAX).await;
    println!("{last} entries in {:?}", began.elapsed());

    let told = hamlet.told().await;
    assert_eq!((told.len() as u64, (hints + last) as u64), (FOLLOWERS, FOLLOWERS));
    assert!(told.values().all(|entries| *entries == 1));
}

#[tokio::test]
async fn above_a_number_of_followers_only_those_are_told_who_asked_for_it() {
    let hamlet = Hamlet::with_followers(30).await;
    let folder = tempfile::tempdir().expect("a folder");

    let told = work(&hamlet, &tools(&folder), 29, usize::MAX).await;

    assert_eq!((told, hamlet.told().await.len()), (10, 10));
    let all = Hamlet::with_followers(30).await;
    let other = tempfile::tempdir().expect("a folder");
    assert_eq!(work(&all, &self::tools(&other), 30, usize::MAX).await, 30);
}

/// A like of the post by somebody, or its undoing.
fn like(position: u64, actor: u64, liked: bool) -> Notice {
    let (actor, group) = (UserId::from_raw(1000 + actor), Group { kind: NotificationKind::Like, target: Target::Post(POST) });
    let line = InboxLine { group, actors: vec![actor], count: 1, post: Some(POST), comment: None, created_at: NOW };
    let mark = NoticeMark { position: Position(position), recipient: AUTHOR.raw() };
    let what = if liked { What::Gather(Arc::new(line)) } else { What::TakeBack { group, post: line.post, comment: line.comment } };
    Notice { mark, cause: Arc::new(Cause { actor, host: None, at: NOW }), what }
}

#[tokio::test]
async fn a_storm_of_likes_makes_few_entries_and_counts_everybody_though_each_delivery_comes_twice() {
    const LIKES: u64 = 10_000;
    let hamlet = Hamlet::with_followers(0).await;
    let folder = tempfile::tempdir().expect("a folder");
    let tools = tools(&folder);
    let store = hamlet.store(hamlet.place(&Owner::Inbox(AUTHOR)));
    let source = SourceLane { shard: ShardIndex(0), lane: Lane(3) };
    let mut notices: Vec<Notice> = (1..=LIKES).map(|number| like(number, number, true)).collect();
    // Ten think again while the window with them is open.
    notices.extend((1..=10).map(|number| like(LIKES + number, LIKES + 1 - number, false)));
    let (mut known, mut now) = (NoticeMark::default(), NOW);

    for chunk in notices.chunks(500) {
        let next = chunk.last().expect("notices").mark;
        let parcel = Parcel { source, known, next, notices: chunk.to_vec() };
        deliver(store, &tools, &[&parcel], now).await.expect("delivers");
        let again = deliver(store, &tools, &[&parcel], now).await.expect_err("it was told");
        assert!(matches!(again, DeliveryError::Store(StoreError::Fenced)), "{again}");
        known = next;
        now += 300;
        close_windows(store, &tools, now).await.expect("closes");
    }
    close_windows(store, &tools, now + 3_600_000).await.expect("closes");

    let mut snapshot = store.snapshot().await.expect("a snapshot");
    let groups = snapshot.inbox_groups(AUTHOR, None, None, false, 9).await.expect("groups");
    assert_eq!(groups.iter().map(|entry| u64::from(entry.line.count)).collect::<Vec<_>>(), [LIKES - 10]);
    let places = snapshot.inbox_state(AUTHOR).await.expect("a state").seq;
    assert!(places <= 5, "{places} entries");
    for table in [CounterTable::Inboxes, CounterTable::Windows] {
        for counted in snapshot.audit_counters(table, None).await.expect("counts") {
            assert_eq!(counted.stored, counted.rows);
        }
    }
}

/// The first few people of a window stand in its row and the others beside it; nobody is to see the difference.
#[tokio::test]
async fn a_window_knows_its_people_wherever_they_are_kept() {
    let hamlet = Hamlet::with_followers(0).await;
    let folder = tempfile::tempdir().expect("a folder");
    let tools = tools(&folder);
    let store = hamlet.store(hamlet.place(&Owner::Inbox(AUTHOR)));
    let source = SourceLane { shard: ShardIndex(0), lane: Lane(3) };
    let people = 3 * FIRST_ACTORS_MAX as u64;
    let last = people;
    // The first is told at once, the others gather. Then somebody in the row, somebody beside it and somebody who never came think
    // again, one is blocked, and one comes back.
    let mut doings: Vec<(u64, bool)> = (1..=people).map(|actor| (actor, true)).collect();
    doings.extend([(5, false), (last - 5, false), (999, false), (5, true), (5, true), (6, true)]);
    let mut notices: Vec<Notice> = doings.iter().zip(1..).map(|((actor, liked), position)| like(position, *actor, *liked)).collect();
    let blocked = like(notices.len() as u64 + 1, 7, false);
    notices.push(Notice { what: What::Part(UserId::from_raw(1007)), ..blocked });
    let mut known = NoticeMark::default();

    for chunk in notices.chunks(10) {
        let next = chunk.last().expect("notices").mark;
        let parcel = Parcel { source, known, next, notices: chunk.to_vec() };
        deliver(store, &tools, &[&parcel], NOW).await.expect("delivers");
        known = next;
        let windows = store.snapshot().await.expect("a snapshot").audit_counters(CounterTable::Windows, None).await.expect("counts");
        assert!(windows.iter().all(|counted| counted.stored == counted.rows), "{windows:?}");
    }
    close_windows(store, &tools, NOW + 1000).await.expect("closes");

    let mut snapshot = store.snapshot().await.expect("a snapshot");
    let groups = snapshot.inbox_groups(AUTHOR, None, None, false, 9).await.expect("groups");
    let entries = snapshot.inbox_after(AUTHOR, 1, 9).await.expect("entries");
    let [entry] = entries.as_slice() else { panic!("{entries:?}") };
    // All but the first, the one beside the row and the blocked one.
    assert_eq!(u64::from(entry.line.count), people - 3);
    assert_eq!(entry.line.actors, [5, last, last - 1].map(|actor| UserId::from_raw(1000 + actor)));
    assert_eq!(groups.len(), 1);
}

/// Few subscribers of a post are told with the other people of a comment, many page by page; everybody hears once.
#[tokio::test]
async fn all_who_subscribed_hear_of_a_comment_whether_they_are_few_or_many() {
    for subscribers in [0, 1, 63, 64, 65, 2500_u64] {
        let hamlet = Hamlet::with_followers(0).await;
        let source = hamlet.place(&Owner::Post(POST));
        let (actor, comment) = (UserId::from_raw(2000), CommentId::from_raw(8));
        let mut rows = Rows::default();
        let people: Vec<UserId> = (0..subscribers).map(|raw| UserId::from_raw(2000 + raw)).collect();
        for user in &people {
            let row = SubscriptionRow { mode: SubscriptionMode::Subscribed, position: Position(1) };
            rows.subscriptions.insert((POST, *user), row);
        }
        let muted = SubscriptionRow { mode: SubscriptionMode::Muted, position: Position(1) };
        rows.subscriptions.insert((POST, UserId::from_raw(3)), muted);
        let position = Position(6);
        rows.comments.insert(comment, commented(comment, actor, position));
        let happened = Happened::CommentCreated { post: POST, comment, parent: None, mentions: Vec::new() };
        hamlet.happens(&rows, position, actor, happened).await;

        let planner = Planner::new(Arc::clone(&hamlet) as Arc<dyn Ground>, source, 1 << 20, u64::MAX);
        let (mut told, mut planned, mut open) = (Vec::new(), AT, None);
        while planned < position {
            let asked = LaneAsked { lane: Lane(3), planned, visible: position, open: open.take() };
            for (_, plan) in planner.plan(vec![asked]).await.expect("plans") {
                let plan = plan.expect("a plan");
                told.extend(plan.notices.iter().map(|(_, notice)| notice.recipient()));
                (planned, open) = (plan.planned, plan.open);
            }
        }

        let mut expected: Vec<UserId> = people.into_iter().filter(|user| *user != actor).collect();
        expected.insert(0, AUTHOR);
        assert_eq!(told, expected, "{subscribers} subscribers");
    }
}

/// Of a deleted post nobody is to find anything in his inbox, nor of its comments, though everything in memory is lost in between.
#[tokio::test]
async fn a_deleted_post_is_withdrawn_with_all_its_comments_page_by_page() {
    const COMMENTS: u64 = 1_203;
    let hamlet = Hamlet::with_followers(0).await;
    let folder = tempfile::tempdir().expect("a folder");
    let tools = tools(&folder);
    assert_eq!(work(&hamlet, &tools, u64::MAX, usize::MAX).await, 0);
    let deleted_at = Position(9);
    let (comments, other): (Vec<CommentId>, PostId) =
        ((1..=COMMENTS).map(|raw| CommentId::from_raw(1_000 + raw)).collect(), PostId::from_raw(8));
    let mut rows = Rows::default();
    rows.comments.extend(comments.iter().map(|comment| (*comment, commented(*comment, UserId::from_raw(50), Position(6)))));
    hamlet.happens(&rows, deleted_at, AUTHOR, Happened::PostDeleted { post: POST }).await;
    // Two people, each on another shard, were told of everything; likes of one comment still gather.
    let readers = [UserId::from_raw(20), UserId::from_raw(21)];
    for reader in readers {
        let store = hamlet.store(hamlet.place(&Owner::Inbox(reader)));
        let about = comments.iter().map(|comment| (POST, Some(*comment))).chain([(POST, None), (other, None)]);
        let entries: Vec<(UserId, InboxEntry)> =
            about.zip(1..).map(|((post, comment), seq)| (reader, told_of(post, comment, seq))).collect();
        let all = entries.len() as u64;
        let mut tx = store.begin().await.expect("begins");
        let state = InboxState { seq: all, unread: all, ..InboxState::EMPTY };
        tx.inbox_save(&entries, &BTreeMap::from([(reader, state)])).await.expect("saves");
        let group = Group { kind: NotificationKind::Like, target: Target::Comment(comments[700]) };
        let window = WindowRow { post: Some(POST), comment: Some(comments[700]), people: 1, stage: 0, due_at: NOW, first: vec![AUTHOR] };
        tx.windows_save(&[(WindowKey { recipient: reader, group }, window)]).await.expect("saves");
        tx.commit().await.expect("commits");
    }

    for deliveries in [1, 3, 2, usize::MAX] {
        work_through(&hamlet, &tools, deleted_at, u64::MAX, deliveries).await;
    }

    hamlet.told().await;
    for reader in readers {
        let store = hamlet.store(hamlet.place(&Owner::Inbox(reader)));
        let (hints, _) = close_windows(store, &tools, NOW + 3_600_000).await.expect("closes");
        assert!(hints.is_empty(), "likes of a comment of a deleted post: {hints:?}");
        let left = store.snapshot().await.expect("a snapshot").inbox_page(reader, None, false, 9).await.expect("a page");
        assert_eq!(left.iter().map(|entry| (entry.line.post, entry.line.comment)).collect::<Vec<_>>(), [(Some(other), None)]);
    }
}

fn commented(comment: CommentId, author: UserId, revision: Position) -> CommentRow {
    let body = CommentBody::from_row("Hello".to_owned());
    CommentRow { comment, post: POST, parent: None, author, body, revision, edited_at: None, deleted: false, answered: false }
}

/// An unread entry about a post or a comment of it.
fn told_of(post: PostId, comment: Option<CommentId>, seq: u64) -> InboxEntry {
    let group = Group { kind: NotificationKind::Comment, target: Target::Post(post) };
    let line = InboxLine { group, actors: vec![AUTHOR], count: 1, post: Some(post), comment, created_at: NOW };
    InboxEntry { seq, id: NotificationId::from_raw(seq), line: Arc::new(line), state: EntryState::Unread }
}

/// A desk for the author's inbox.
fn desk_of(hamlet: &Arc<Hamlet>, tools: &Tools) -> Desk {
    let (shard, ground) = (hamlet.place(&Owner::Inbox(AUTHOR)), Arc::clone(hamlet) as Arc<dyn Ground>);
    let (bus, clock) = (Arc::new(LocalBus::default()), Arc::new(ManualClock::at(NOW)));
    Desk::new(ground, shard, Arc::clone(&tools.ids), bus, clock)
}

/// Likes at these positions of a lane that was told up to `known`.
fn parcel(lane: u16, known: u64, positions: impl IntoIterator<Item = u64>) -> Parcel {
    let notices: Vec<Notice> = positions.into_iter().map(|position| like(position, u64::from(lane), true)).collect();
    let (known, next) = (NoticeMark { position: Position(known), recipient: 0 }, notices[notices.len() - 1].mark);
    Parcel { source: SourceLane { shard: ShardIndex(0), lane: Lane(lane) }, known, next, notices }
}

/// While one source's parcels are delivered, those of others gather and go together; what ails one of them is its own.
#[tokio::test]
async fn a_source_that_is_not_where_it_thought_fails_alone() {
    let hamlet = Hamlet::with_followers(0).await;
    let folder = tempfile::tempdir().expect("a folder");
    let store = hamlet.store(hamlet.place(&Owner::Inbox(AUTHOR))).clone();
    let tools = tools(&folder);
    let desk = desk_of(&hamlet, &tools);
    let bring = async |lane, known| {
        let delivered = desk.deliver(Arc::new(Basket::of(vec![parcel(lane, known, [5])]))).await;
        delivered.map(|delivered| delivered.result)
    };

    let (first, wrong, right, last) = tokio::join!(bring(3, 0), bring(4, 2), bring(5, 0), bring(3, 0));

    assert!(matches!(first, Some(Ok(()))), "{first:?}");
    assert!(matches!(wrong, Some(Err(DeliveryError::Store(StoreError::Fenced)))), "{wrong:?}");
    assert!(matches!(right, Some(Ok(()))), "{right:?}");
    assert!(matches!(last, Some(Err(DeliveryError::Store(StoreError::Fenced)))), "the same again: {last:?}");
    close_windows(&store, &tools, NOW + 1000).await.expect("closes");
    let entries = store.snapshot().await.expect("a snapshot").inbox_after(AUTHOR, 0, 9).await.expect("entries");
    assert_eq!(entries.iter().map(|entry| entry.line.count).collect::<Vec<_>>(), [1, 1]);
}

#[tokio::test]
async fn a_basket_that_waits_takes_with_it_what_becomes_due_meanwhile() {
    let hamlet = Hamlet::with_followers(0).await;
    let folder = tempfile::tempdir().expect("a folder");
    let tools = tools(&folder);
    let desk = desk_of(&hamlet, &tools);
    let store = hamlet.store(hamlet.place(&Owner::Inbox(AUTHOR)));
    let (under_way, waiting) = (Arc::new(Basket::of(vec![parcel(3, 0, [5])])), Arc::new(Basket::of(vec![parcel(4, 0, [5])])));

    // The desk takes the first, and cannot begin while somebody else writes to the shard.
    let writing = store.begin().await.expect("begins");
    let behind = async {
        let mut waits = true;
        while std::mem::take(&mut waits) {
            under_way.refill(|| {
                waits = true;
                vec![parcel(3, 0, [5])]
            });
            tokio::task::yield_now().await;
        }
        let meanwhile = async {
            under_way.refill(|| panic!("it was taken"));
            waiting.refill(|| vec![parcel(4, 0, 5..=6)]);
            drop(writing);
        };
        tokio::join!(desk.deliver(Arc::clone(&waiting)), meanwhile).0
    };
    let (first, second) = tokio::join!(desk.deliver(Arc::clone(&under_way)), behind);

    for (lane, delivered, through) in [(3, first, 5), (4, second, 6)] {
        let delivered = delivered.expect("an answer");
        delivered.result.expect("delivered");
        assert_eq!(delivered.parcels[0].next.position, Position(through), "the answer for lane {lane}");
        let cursors = store.snapshot().await.expect("a snapshot").notice_cursors().await.expect("cursors");
        let source = SourceLane { shard: ShardIndex(0), lane: Lane(lane) };
        assert_eq!(cursors[&source].position, Position(through), "the cursor of lane {lane}");
    }
}

#[test]
fn a_full_basket_is_left_as_it_is() {
    let full = PARCEL_NOTICES_MAX as u64;
    let basket = Basket::of(vec![parcel(3, 0, 1..=full)]);

    basket.refill(|| panic!("there is no room for more"));
}
