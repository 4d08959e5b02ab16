//! Inboxes: places, counts, marks, windows and cursors, as every database must keep them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use sea_orm::sea_query::SqliteQueryBuilder;

use crate::substrate::store::rows::{MuteRow, PreferencesRow, RelationRow, Rows, SourceLane};
use crate::substrate::store::{
    Backend, CounterTable, NoticeMark, NoticeStep, StandingKey, StandingRow, StoreErrorKind, WindowKey, WindowRow, Withdrawal,
};
use crate::vocabulary::entry::{About, EntryState, Group, InboxEntry, InboxLine, InboxState, NotificationKind, ReadMark, Target};
use crate::vocabulary::ids::{CommentId, NotificationId, Position, PostId, UserId};
use crate::vocabulary::owner::{Lane, ShardIndex};
use crate::vocabulary::preferences::{Preferences, Ways};
use crate::vocabulary::relation::{Follow, FollowNotify, PairState};

use super::super::inbox::unread_of;
use super::rows::user;
use super::{TestShard, on_both};

on_both!(
    entries_come_back_in_their_order_with_all_that_they_say,
    a_read_mark_only_goes_up_and_not_beyond_what_is_there,
    groups_are_joined_and_read_together,
    what_is_withdrawn_keeps_its_place,
    what_a_single_person_did_is_withdrawn_alone,
    a_recipient_stands_as_his_rows_say,
    a_prefix_goes_and_the_counts_follow,
    a_window_counts_its_people,
    windows_are_closed_together_and_others_stay,
    a_notice_cursor_moves_only_from_where_it_is_known,
    notice_cursors_move_together_or_not_at_all,
);

const ANN: UserId = UserId::from_raw(1);

fn post(raw: u64) -> PostId {
    PostId::from_raw(raw)
}

fn group(kind: NotificationKind, of: u64) -> Group {
    Group { kind, target: Target::Post(post(of)) }
}

/// A comment by `actor`, number `seq`, on the post `of`.
fn entry(seq: u64, actor: u64, of: u64) -> InboxEntry {
    let line = InboxLine {
        group: group(NotificationKind::Comment, of),
        actors: vec![user(actor)],
        count: 1,
        post: Some(post(of)),
        comment: Some(CommentId::from_raw(100 + seq)),
        created_at: seq * 1000,
    };
    InboxEntry { seq, id: NotificationId::from_raw(500 + seq), line: Arc::new(line), state: EntryState::Unread }
}

async fn fill(shard: &TestShard, entries: &[InboxEntry]) {
    let last = entries.last().expect("entries").seq;
    let state = InboxState { seq: last, unread: entries.len() as u64, ..InboxState::EMPTY };
    let owned: Vec<(UserId, InboxEntry)> = entries.iter().map(|entry| (ANN, entry.clone())).collect();
    let mut tx = shard.store.begin().await.expect("begins");
    tx.inbox_save(&owned, &BTreeMap::from([(ANN, state)])).await.expect("saves");
    tx.commit().await.expect("commits");
}

async fn mark(shard: &TestShard, mark: ReadMark) -> InboxState {
    let mut tx = shard.store.begin().await.expect("begins");
    let state = tx.inbox_mark_read(ANN, &mark).await.expect("marks");
    tx.commit().await.expect("commits");
    state
}

async fn withdraw(shard: &TestShard, what: Withdrawal<'_>, limit: u64) -> Vec<u64> {
    let mut tx = shard.store.begin().await.expect("begins");
    let mut places: Vec<u64> = tx.inbox_withdraw(what, limit).await.expect("withdraws").into_iter().map(|(_, seq)| seq).collect();
    tx.commit().await.expect("commits");
    places.sort_unstable();
    places
}

async fn entries_come_back_in_their_order_with_all_that_they_say(shard: TestShard) {
    let mut follow = entry(3, 9, 50);
    let line = InboxLine {
        group: Group { kind: NotificationKind::Follow, target: Target::Me },
        actors: [9, 8, u64::MAX >> 1].map(user).to_vec(),
        count: u32::MAX,
        post: None,
        comment: None,
        created_at: 7,
    };
    follow.line = Arc::new(line);
    let entries = [entry(1, 2, 50), entry(2, 3, 51), follow];
    fill(&shard, &entries).await;

    let mut snapshot = shard.store.snapshot().await.expect("a snapshot");
    assert_eq!(snapshot.inbox_after(ANN, 0, 9).await.expect("entries"), entries);
    assert_eq!(snapshot.inbox_after(ANN, 1, 1).await.expect("entries"), entries[1..2]);
    let newest_first: Vec<u64> =
        snapshot.inbox_page(ANN, Some(3), false, 9).await.expect("a page").into_iter().map(|entry| entry.seq).collect();
    assert_eq!(newest_first, [2, 1]);
    assert_eq!(snapshot.inbox_state(user(77)).await.expect("a state"), InboxState::EMPTY);
}

async fn a_read_mark_only_goes_up_and_not_beyond_what_is_there(shard: TestShard) {
    fill(&shard, &(1..=4).map(|seq| entry(seq, 2, 50)).collect::<Vec<_>>()).await;

    let first = mark(&shard, ReadMark::UpTo(2)).await;
    let lower = mark(&shard, ReadMark::UpTo(1)).await;
    let beyond = mark(&shard, ReadMark::UpTo(99)).await;

    assert_eq!((first.unread, first.read_up_to), (2, 2));
    assert_eq!(lower, first);
    assert_eq!((beyond.unread, beyond.read_up_to), (0, 4));
}

async fn groups_are_joined_and_read_together(shard: TestShard) {
    fill(&shard, &[entry(1, 2, 50), entry(2, 3, 50), entry(3, 2, 51), entry(4, 2, 50), entry(5, 4, 50)]).await;

    let state = mark(&shard, ReadMark::Groups(vec![group(NotificationKind::Comment, 51), group(NotificationKind::Like, 50)])).await;

    assert_eq!(state.unread, 4);
    let mut snapshot = shard.store.snapshot().await.expect("a snapshot");
    let groups = snapshot.inbox_groups(ANN, None, None, false, 9).await.expect("groups");
    let told: Vec<_> = groups.iter().map(|entry| (entry.seq, entry.line.count, entry.state, entry.line.actors.clone())).collect();
    assert_eq!(told, [(5, 4, EntryState::Unread, [4, 2, 3].map(user).to_vec()), (3, 1, EntryState::Read, vec![user(2)])]);
    let unread = snapshot.inbox_groups(ANN, None, None, true, 9).await.expect("groups");
    assert_eq!(unread.len(), 1);
    let second = snapshot.inbox_groups(ANN, Some(5), None, false, 1).await.expect("groups");
    assert_eq!(second.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [3]);
}

async fn what_is_withdrawn_keeps_its_place(shard: TestShard) {
    fill(&shard, &[entry(1, 2, 50), entry(2, 3, 50), entry(3, 2, 51), entry(4, 5, 51)]).await;
    mark(&shard, ReadMark::UpTo(1)).await;

    let comments = |of, numbers: &[u64]| About::Comments(post(of), numbers.iter().map(|number| CommentId::from_raw(*number)).collect());
    assert_eq!(withdraw(&shard, Withdrawal::About(&comments(51, &[104])), 9).await, [4]);
    assert_eq!(withdraw(&shard, Withdrawal::Person { recipient: ANN, actor: user(2) }, 9).await, [3], "what was read stays");
    let single = |kind, comment| Withdrawal::Single {
        recipient: ANN,
        group: group(kind, 50),
        post: Some(post(50)),
        comment: Some(CommentId::from_raw(comment)),
        actor: user(3),
    };
    assert_eq!(withdraw(&shard, single(NotificationKind::Like, 102), 9).await, [0; 0], "of another group");
    assert_eq!(withdraw(&shard, single(NotificationKind::Comment, 103), 9).await, [0; 0], "of another comment");
    assert_eq!(withdraw(&shard, Withdrawal::About(&About::Post(post(50))), 9).await, [0; 0], "of the post alone");
    let mut snapshot = shard.store.snapshot().await.expect("a snapshot");
    let all = comments(50, &[101, 102, 109]);
    assert_eq!(snapshot.inbox_unread_about(&all, 9).await.expect("a count"), 1);
    assert_eq!(withdraw(&shard, Withdrawal::About(&all), 9).await, [2]);

    let mut snapshot = shard.store.snapshot().await.expect("a snapshot");
    assert_eq!(snapshot.inbox_page(ANN, None, false, 9).await.expect("a page").len(), 1);
    let places: Vec<EntryState> = snapshot.inbox_after(ANN, 0, 9).await.expect("entries").into_iter().map(|entry| entry.state).collect();
    assert_eq!(places, [EntryState::Read, EntryState::Withdrawn, EntryState::Withdrawn, EntryState::Withdrawn]);
}

/// An inbox may hold ten thousand entries, and an index be led by none of them: what is said to SQLite decides which way it goes.
#[tokio::test]
async fn no_withdrawal_of_one_thing_walks_through_an_inbox() {
    let shard = TestShard::sqlite().await;
    let Backend::Sqlite(path) = &shard.backend else { panic!("a file") };
    let file = rusqlite::Connection::open(path).expect("opens");
    let (about, some) = (About::Post(post(50)), About::Comments(post(50), [101, 102].map(CommentId::from_raw).into()));
    let single =
        |post| Withdrawal::Single { recipient: ANN, group: group(NotificationKind::Like, 50), post, comment: None, actor: user(3) };

    for what in [Withdrawal::About(&about), Withdrawal::About(&some), single(Some(post(50))), single(None)] {
        let question = unread_of(what, 9).to_string(SqliteQueryBuilder);
        let way: String = file.query_row(&format!("EXPLAIN QUERY PLAN {question}"), [], |row| row.get(3)).expect("a plan");
        assert!(way.contains("USING INDEX inbox_entries_unread (<expr>=?"), "{question}: {way}");
    }
}

async fn what_a_single_person_did_is_withdrawn_alone(shard: TestShard) {
    let alone = |seq, group: Group, post| {
        let line = InboxLine { group, actors: vec![user(3)], count: 1, post, comment: None, created_at: seq };
        InboxEntry { line: Arc::new(line), ..entry(seq, 3, 50) }
    };
    let (like, follow) = (group(NotificationKind::Like, 50), Group { kind: NotificationKind::Follow, target: Target::Me });
    fill(&shard, &[entry(1, 3, 50), alone(2, like, Some(post(50))), alone(3, follow, None)]).await;
    let single = |group, post, actor| Withdrawal::Single { recipient: ANN, group, post, comment: None, actor: user(actor) };

    assert_eq!(withdraw(&shard, single(like, Some(post(50)), 4), 9).await, [0; 0], "by somebody else");
    assert_eq!(withdraw(&shard, single(like, Some(post(50)), 3), 9).await, [2]);
    assert_eq!(withdraw(&shard, single(follow, None, 3), 9).await, [3]);
    fill(&shard, &[entry(1, 3, 50), alone(2, like, Some(post(50)))]).await;
    assert_eq!(withdraw(&shard, Withdrawal::About(&About::Post(post(50))), 9).await, [2]);
}

async fn a_recipient_stands_as_his_rows_say(shard: TestShard) {
    let mut rows = Rows::default();
    let blocked = PairState { blocked_by: true, ..PairState::default() };
    let following = PairState { following: Some(Follow { since: Position(3), notify: FollowNotify::Always }), ..PairState::default() };
    for (other, state) in [(8, following), (9, blocked)] {
        let relation = RelationRow { state, has_followed: false, was_followed: false, position: Position(4) };
        rows.relations.insert((ANN, user(other)), relation);
    }
    rows.mutes.insert((ANN, user(7)), MuteRow { muting: true, position: Position(4) });
    let mut preferences = Preferences::default();
    let seldom = Ways { stream: false, ..preferences.ways(NotificationKind::Like) };
    preferences.set_ways(NotificationKind::Like, seldom);
    rows.preferences.insert(ANN, PreferencesRow { preferences: preferences.clone(), position: Position(4) });
    fill(&shard, &[entry(1, 2, 50)]).await;
    let mut tx = shard.store.begin().await.expect("begins");
    tx.rows_save(&rows).await.expect("saves");

    let key = |recipient, actor, host: Option<u64>| StandingKey { recipient, actor: user(actor), host: host.map(user) };
    let keys = [key(ANN, 7, Some(9)), key(ANN, 8, None), key(ANN, 9, Some(7)), key(user(2), 1, Some(9))];
    let standings = tx.standings(keys.iter().chain(&keys[..1]).copied().collect()).await.expect("standings");

    let ann = StandingRow { inbox: InboxState { seq: 1, unread: 1, ..InboxState::EMPTY }, preferences, ..StandingRow::default() };
    let expected = HashMap::from([
        (keys[0], StandingRow { muted: true, apart_from_host: true, ..ann.clone() }),
        (keys[1], StandingRow { actor: following, ..ann.clone() }),
        (keys[2], StandingRow { actor: blocked, ..ann }),
        (keys[3], StandingRow::default()),
    ]);
    assert_eq!(standings, expected);
    assert!(tx.standings(Vec::new()).await.expect("nothing").is_empty());
}

async fn a_prefix_goes_and_the_counts_follow(shard: TestShard) {
    fill(&shard, &(1..=6).map(|seq| entry(seq, 2, 50)).collect::<Vec<_>>()).await;
    mark(&shard, ReadMark::UpTo(1)).await;
    let trim = async |before, entries_max| {
        let mut snapshot = shard.store.snapshot().await.expect("a snapshot");
        let overfull = snapshot.inboxes_overfull(None, before, entries_max, 9).await.expect("inboxes");
        drop(snapshot);
        let mut tx = shard.store.begin().await.expect("begins");
        for recipient in &overfull {
            tx.inbox_trim(*recipient, before, entries_max).await.expect("trims");
        }
        tx.commit().await.expect("commits");
        let state = shard.store.snapshot().await.expect("a snapshot").inbox_state(ANN).await.expect("a state");
        (overfull.len(), state.min_seq, state.unread, state.seq)
    };

    assert_eq!(trim(0, 6).await, (0, 1, 5, 6), "nothing is too old or too much");
    assert_eq!(trim(0, 5).await, (1, 2, 5, 6), "the oldest, which was read");
    assert_eq!(trim(4000, 5).await, (1, 4, 3, 6), "two that are too old");
    assert_eq!(trim(u64::MAX >> 1, 5).await, (1, 7, 0, 6), "all of them");
    let mut snapshot = shard.store.snapshot().await.expect("a snapshot");
    for counted in snapshot.audit_counters(CounterTable::Inboxes, None).await.expect("counts") {
        assert_eq!(counted.stored, counted.rows);
    }
}

async fn a_window_counts_its_people(shard: TestShard) {
    let key = WindowKey { recipient: ANN, group: group(NotificationKind::Like, 50) };
    let window = WindowRow { post: Some(post(50)), comment: None, people: 4, stage: 1, due_at: 900, first: vec![user(7), user(5)] };
    let mut tx = shard.store.begin().await.expect("begins");
    tx.windows_save(&[(key, window.clone())]).await.expect("saves");
    tx.window_actors_save(&[((key, user(2)), Position(10)), ((key, user(3)), Position(20))]).await.expect("saves");

    assert_eq!(tx.windows_load(vec![key]).await.expect("loads").get(&key), Some(&window));
    assert_eq!(tx.windows_newest(&[key], 3).await.expect("people")[&key], [user(3), user(2)]);
    assert_eq!(tx.windows_newest(&[key], 1).await.expect("people")[&key], [user(3)]);
    assert_eq!(tx.window_actors_load(vec![(key, user(2)), (key, user(9))]).await.expect("people"), [(key, user(2))]);
    assert_eq!(tx.windows_of(ANN).await.expect("windows"), [(key, window.clone())]);
    assert!(window.is_crowded());
    let fewer = WindowRow { people: 3, first: vec![user(5)], stage: 4, ..window.clone() };
    tx.windows_save_people(&[(key, fewer)]).await.expect("saves");
    let saved = WindowRow { people: 3, first: vec![user(5)], ..window };
    assert_eq!(tx.windows_load(vec![key]).await.expect("loads").get(&key), Some(&saved), "the people, and nothing else");
    assert!(tx.window_actor_delete(key, user(3)).await.expect("deletes"));
    assert!(!tx.window_actor_delete(key, user(3)).await.expect("deletes"));
    assert_eq!(tx.windows_due(899, 9).await.expect("windows"), []);
    assert_eq!(tx.windows_due(900, 9).await.expect("windows").len(), 1);
    assert_eq!(tx.windows_about(&About::Post(post(50))).await.expect("windows").len(), 1);
    let comments = About::Comments(post(50), [CommentId::from_raw(101)].into());
    assert_eq!(tx.windows_about(&comments).await.expect("windows").len(), 0);
    tx.windows_delete(&[key]).await.expect("deletes");
    assert_eq!(tx.windows_load(vec![key]).await.expect("loads").len(), 0);
    assert!(tx.windows_newest(&[key], 3).await.expect("people").is_empty());
}

async fn windows_are_closed_together_and_others_stay(shard: TestShard) {
    let keys: Vec<WindowKey> =
        [50, 51, 52].map(|post| WindowKey { recipient: ANN, group: group(NotificationKind::Like, post) }).into_iter().collect();
    let window = WindowRow { post: Some(post(50)), comment: None, people: 1, stage: 1, due_at: 900, first: Vec::new() };
    let mut tx = shard.store.begin().await.expect("begins");
    tx.windows_save(&keys.iter().map(|key| (*key, window.clone())).collect::<Vec<_>>()).await.expect("saves");
    let people: Vec<_> = keys.iter().zip(2..).map(|(key, actor)| ((*key, user(actor)), Position(10))).collect();
    tx.window_actors_save(&people).await.expect("saves");

    let newest = tx.windows_newest(&keys, 3).await.expect("people");
    assert_eq!(keys.iter().map(|key| newest[key].clone()).collect::<Vec<_>>(), [[user(2)], [user(3)], [user(4)]]);
    tx.windows_empty(&keys[..1]).await.expect("empties");
    tx.windows_delete(&keys[1..2]).await.expect("deletes");

    assert_eq!(tx.windows_newest(&keys, 3).await.expect("people"), HashMap::from([(keys[2], vec![user(4)])]));
    let mut left: Vec<WindowKey> = tx.windows_load(keys.clone()).await.expect("loads").into_keys().collect();
    left.sort_unstable();
    assert_eq!(left, [keys[0], keys[2]]);
    tx.windows_delete(&[]).await.expect("nothing is as good");
}

async fn a_notice_cursor_moves_only_from_where_it_is_known(shard: TestShard) {
    let source = SourceLane { shard: ShardIndex(2), lane: Lane(7) };
    let at = |position, recipient| NoticeMark { position: Position(position), recipient };
    let advance = async |known, next| {
        let mut tx = shard.store.begin().await.expect("begins");
        let moved = tx.notice_cursors_advance(&[NoticeStep { source, known, next }]).await;
        tx.commit().await.expect("commits");
        moved.map_err(|error| error.kind())
    };

    assert_eq!(advance(at(0, 0), at(5, 10)).await, Ok(()));
    assert_eq!(advance(at(0, 0), at(5, 11)).await, Err(StoreErrorKind::Fenced));
    assert_eq!(advance(at(5, 9), at(5, 11)).await, Err(StoreErrorKind::Fenced));
    assert_eq!(advance(at(5, 10), at(5, 10)).await, Err(StoreErrorKind::Invariant), "not forward");
    assert_eq!(advance(at(5, 10), at(6, 1)).await, Ok(()));
    let cursors = shard.store.snapshot().await.expect("a snapshot").notice_cursors().await.expect("cursors");
    assert_eq!(cursors.get(&source), Some(&at(6, 1)));
}

async fn notice_cursors_move_together_or_not_at_all(shard: TestShard) {
    let step = |lane, known, next| {
        let at = |position| if position == 0 { NoticeMark::default() } else { NoticeMark { position: Position(position), recipient: 1 } };
        NoticeStep { source: SourceLane { shard: ShardIndex(2), lane: Lane(lane) }, known: at(known), next: at(next) }
    };
    let advance = async |steps: &[NoticeStep]| {
        let mut tx = shard.store.begin().await.expect("begins");
        let moved = tx.notice_cursors_advance(steps).await.map_err(|error| error.kind());
        if moved.is_ok() {
            tx.commit().await.expect("commits");
        }
        moved
    };

    assert_eq!(advance(&[step(7, 0, 5), step(8, 0, 6)]).await, Ok(()));
    assert_eq!(advance(&[step(7, 5, 9), step(8, 5, 9)]).await, Err(StoreErrorKind::Fenced), "one is elsewhere");
    assert_eq!(advance(&[step(7, 5, 7), step(8, 6, 8), step(9, 0, 9)]).await, Ok(()), "moved and begun");
    let cursors = shard.store.snapshot().await.expect("a snapshot").notice_cursors().await.expect("cursors");
    let mut positions: Vec<(u16, u64)> = cursors.iter().map(|(source, mark)| (source.lane.0, mark.position.0)).collect();
    positions.sort_unstable();
    assert_eq!(positions, [(7, 7), (8, 8), (9, 9)]);
}
