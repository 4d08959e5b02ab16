//! Windows close as their owners want it then, and nobody is left without word of what was committed.

use futures_util::FutureExt;

use super::*;
use crate::substrate::bus::{Bus, Heard, Interest};
use crate::substrate::store::rows::{MuteRow, PreferencesRow};
use crate::vocabulary::preferences::{Circle, Preferences, Ways};

const LANE: Lane = Lane(3);

/// The author's inbox after likes by these people: the first is told, the others gather. What happens to them before the window closes is saved with
/// `rows`; `last` comes to the inbox before that.
async fn closed(likers: u64, rows: &Rows, last: Option<What>) -> (Vec<Hint>, Vec<InboxEntry>) {
    let hamlet = Hamlet::with_followers(0).await;
    let folder = tempfile::tempdir().expect("a folder");
    let tools = tools(&folder);
    let store = hamlet.store(hamlet.place(&Owner::Inbox(AUTHOR)));
    let source = SourceLane { shard: ShardIndex(0), lane: LANE };
    let mut notices: Vec<Notice> = (1..=likers).map(|number| like(number, number, true)).collect();
    notices.extend(last.map(|what| Notice { what, ..like(likers + 1, 0, true) }));
    let parcel = Parcel { source, known: NoticeMark::default(), next: notices.last().expect("notices").mark, notices };
    deliver(store, &tools, &[&parcel], NOW).await.expect("delivers");
    let mut tx = store.begin().await.expect("begins");
    tx.rows_save(rows).await.expect("saves");
    tx.commit().await.expect("commits");

    let (hints, _) = close_windows(store, &tools, NOW + 1000).await.expect("closes");

    let (again, _) = close_windows(store, &tools, NOW + 3_600_000).await.expect("closes");
    assert!(again.is_empty(), "nobody came since: {again:?}");
    let mut snapshot = store.snapshot().await.expect("a snapshot");
    for counted in snapshot.audit_counters(CounterTable::Windows, None).await.expect("counts") {
        assert_eq!(counted.stored, counted.rows);
    }
    (hints, snapshot.inbox_after(AUTHOR, 1, 9).await.expect("entries"))
}

fn person(number: u64) -> UserId {
    UserId::from_raw(1000 + number)
}

fn wanting(ways: Ways) -> Rows {
    let mut preferences = Preferences::default();
    preferences.set_ways(NotificationKind::Like, ways);
    let mut rows = Rows::default();
    rows.preferences.insert(AUTHOR, PreferencesRow { preferences, position: Position(1) });
    rows
}

fn apart(people: impl IntoIterator<Item = u64>) -> Rows {
    let mut rows = Rows::default();
    for number in people {
        let state = PairState { blocked_by: true, ..PairState::default() };
        let row = RelationRow { state, has_followed: false, was_followed: false, position: Position(1) };
        rows.relations.insert((AUTHOR, person(number)), row);
    }
    rows
}

#[tokio::test]
async fn a_window_becomes_an_entry_of_all_who_gathered_in_it() {
    let (hints, entries) = closed(4, &Rows::default(), None).await;

    let [Hint::Inbox { line, .. }] = hints.as_slice() else { panic!("{hints:?}") };
    assert_eq!((line.count, line.actors.as_slice()), (3, [4, 3, 2].map(person).as_slice()));
    assert_eq!(entries.len(), 1);
}

#[tokio::test]
async fn whoever_wants_no_live_frames_gets_his_entries_without_them() {
    let (hints, entries) = closed(3, &wanting(Ways { stream: false, ..Ways::default() }), None).await;

    assert!(hints.is_empty(), "{hints:?}");
    assert_eq!(entries.iter().map(|entry| entry.line.count).collect::<Vec<_>>(), [2]);
}

#[tokio::test]
async fn what_gathered_and_is_not_wanted_any_more_comes_to_nothing() {
    let mut muted = Rows::default();
    muted.mutes.extend([2, 3].map(|number| ((AUTHOR, person(number)), MuteRow { muting: true, position: Position(1) })));
    let cases = [
        ("he wants no likes", wanting(Ways { inbox: false, ..Ways::default() }), None),
        ("he wants only those whom he follows", wanting(Ways { from: Circle::Following, ..Ways::default() }), None),
        ("he muted all of them", muted, None),
        ("all of them are blocked", apart([2, 3]), None),
        ("he muted the thread", Rows::default(), Some(What::Hush(POST))),
    ];

    for (case, rows, last) in cases {
        let (hints, entries) = closed(3, &rows, last).await;
        assert!(hints.is_empty() && entries.is_empty(), "{case}: {hints:?} {entries:?}");
    }
}

#[tokio::test]
async fn another_thread_that_is_muted_changes_nothing() {
    let (_, entries) = closed(3, &Rows::default(), Some(What::Hush(PostId::from_raw(8)))).await;

    assert_eq!(entries.len(), 1);
}

/// S49: whoever is blocked when the entry is written is not in it, be the notice that parts the two on its way or not.
#[tokio::test]
async fn whoever_is_blocked_meanwhile_is_not_in_the_entry() {
    let crowd = 2 * FIRST_ACTORS_MAX as u64;
    for (likers, blocked, count, shown) in [(4, 3, 2, [4, 2].as_slice()), (crowd, crowd, crowd - 2, &[crowd - 1, crowd - 2, 17])] {
        let (_, entries) = closed(likers, &apart([blocked]), None).await;

        let [entry] = entries.as_slice() else { panic!("{entries:?}") };
        assert_eq!(u64::from(entry.line.count), count, "{likers} likers");
        assert_eq!(entry.line.actors, shown.iter().copied().map(person).collect::<Vec<_>>(), "{likers} likers");
    }
}

/// A client takes the count from the event as it stands, after all entries of the same delivery.
#[tokio::test]
async fn a_withdrawal_tells_what_is_unread_when_all_is_done() {
    let hamlet = Hamlet::with_followers(0).await;
    let folder = tempfile::tempdir().expect("a folder");
    let tools = tools(&folder);
    let store = hamlet.store(hamlet.place(&Owner::Inbox(AUTHOR)));
    let source = SourceLane { shard: ShardIndex(0), lane: LANE };
    let told = told_of(POST, None, 0).line;
    let after = Notice { what: What::Entry(told), ..like(3, 2, true) };
    let mut known = NoticeMark::default();

    let mut hints = Vec::new();
    for notices in [vec![like(1, 1, true)], vec![like(2, 1, false), after]] {
        let parcel = Parcel { source, known, next: notices.last().expect("notices").mark, notices };
        hints = deliver(store, &tools, &[&parcel], NOW).await.expect("delivers");
        known = parcel.next;
    }

    let [Hint::Inbox { told, .. }, withdrawn] = hints.as_slice() else { panic!("{hints:?}") };
    assert_eq!(told.iter().map(|told| told.seq).collect::<Vec<_>>(), [2]);
    assert_eq!(*withdrawn, Hint::Withdrawn { user: AUTHOR, seq: 1, unread: 1 });
}

#[tokio::test]
async fn sockets_look_for_themselves_when_a_delivery_was_committed_and_nobody_heard() {
    let hamlet = Hamlet::with_followers(0).await;
    let folder = tempfile::tempdir().expect("a folder");
    let (bus, clock) = (Arc::new(LocalBus::default()), Arc::new(ManualClock::at(NOW)));
    let mut listener = bus.listen(8, Arc::new(Interest::default()));
    let (shard, ground) = (hamlet.place(&Owner::Inbox(AUTHOR)), Arc::clone(&hamlet) as Arc<dyn Ground>);
    let desk = Desk::new(ground, shard, tools(&folder).ids, bus, clock);
    let bring = async || desk.deliver(Arc::new(Basket::of(vec![parcel(3, 0, [5])]))).await.map(|delivered| delivered.result);
    assert!(matches!(bring().await, Some(Ok(()))));
    assert_eq!(listener.next().now_or_never(), None, "nobody listens for the author");

    // The answer did not come, so the same is brought again.
    let again = bring().await;

    assert!(matches!(again, Some(Err(DeliveryError::Store(StoreError::Fenced)))), "{again:?}");
    assert_eq!(listener.next().now_or_never(), Some(Some(Heard::Hint(Arc::new(Hint::Missed)))));
}
