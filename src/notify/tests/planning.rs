//! How much one look plans.

use super::super::planner::{LANE_EVENTS_MAX, LOOK_NOTICES_MAX};
use super::*;

const PARTICIPANTS: u64 = 990;
const COMMENTS: u64 = 60;

/// A row of events is a batch's, all of it may be one lane's, and each of its comments may tell a thousand people.
#[tokio::test]
async fn a_look_has_a_bound_leaves_no_lane_out_and_the_next_ones_tell_the_rest() {
    let hamlet = Hamlet::with_followers(0).await;
    let source = hamlet.place(&Owner::Post(POST));
    let actor = UserId::from_raw(4_000);
    let mut rows = Rows::default();
    for raw in 1..=PARTICIPANTS {
        let comment = CommentId::from_raw(10_000 + raw);
        rows.comments.insert(comment, commented(comment, UserId::from_raw(5_000 + raw), Position(6)));
    }
    let event = |position: u64, happened: Happened| Event {
        position: Position(position),
        write: WriteId::from_raw(position),
        author: actor,
        accepted_at: NOW,
        happened,
        relays: Vec::new(),
    };
    let batch: Vec<Event> = (1..=COMMENTS)
        .map(|number| {
            let comment = CommentId::from_raw(20_000 + number);
            rows.comments.insert(comment, commented(comment, actor, Position(100 + number)));
            event(100 + number, Happened::CommentCreated { post: POST, comment, parent: None, mentions: Vec::new() })
        })
        .collect();
    let (busy, quiet, last) = (Lane(3), Lane(4), Position(100 + COMMENTS));
    let mut tx = hamlet.store(source).begin().await.expect("begins");
    tx.rows_save(&rows).await.expect("saves");
    for (lane, events) in [(busy, batch), (quiet, vec![event(101, Happened::PostLiked { post: POST })])] {
        let payload = encode_events(&events).expect("encodes");
        tx.events_insert(&[EventsRow { lane, position: last, payload }]).await.expect("saves");
    }
    tx.commit().await.expect("commits");

    let planner = Planner::new(Arc::clone(&hamlet) as Arc<dyn Ground>, source, 1 << 20, u64::MAX);
    let mut planned = HashMap::from([(busy, Position(100)), (quiet, Position(100))]);
    let (mut told, mut looks) = (Vec::new(), 0);
    while planned.values().any(|planned| *planned < last) {
        let due = planned.iter().filter(|(_, planned)| **planned < last);
        let asked = due.map(|(lane, planned)| LaneAsked { lane: *lane, planned: *planned, visible: last, open: None }).collect();
        let before = told.len();
        for (lane, plan) in planner.plan(asked).await.expect("plans") {
            let plan = plan.expect("a plan");
            assert!(plan.open.is_none());
            told.extend(plan.notices.iter().map(|(_, notice)| (lane, notice.mark)));
            planned.insert(lane, plan.planned);
        }
        looks += 1;
        assert!(told.len() - before <= LOOK_NOTICES_MAX + PARTICIPANTS as usize + 1, "{} notices of one look", told.len() - before);
        assert_eq!(planned[&quiet], last, "the quiet lane waits for nobody");
    }

    assert!(looks > 1);
    // Of each comment the participants and the author of the post, once and in order.
    told.retain(|(lane, _)| *lane == busy);
    assert_eq!(told.len() as u64, COMMENTS * (PARTICIPANTS + 1));
    assert!(told.is_sorted_by(|before, after| before.1 < after.1));
}

/// Likes are many and tell one each: what bounds a look is how many there are.
#[tokio::test]
async fn of_many_events_in_few_rows_a_look_takes_up_so_many() {
    let hamlet = Hamlet::with_followers(0).await;
    let source = hamlet.place(&Owner::Post(POST));
    let (lane, first, last) = (Lane(5), Position(100), Position(100 + 2 * LANE_EVENTS_MAX as u64 + 1));
    let events: Vec<Event> = (first.0 + 1..=last.0)
        .map(|position| Event {
            position: Position(position),
            write: WriteId::from_raw(position),
            author: UserId::from_raw(position),
            accepted_at: NOW,
            happened: Happened::PostLiked { post: POST },
            relays: Vec::new(),
        })
        .collect();
    let mut tx = hamlet.store(source).begin().await.expect("begins");
    for batch in events.chunks(1000) {
        let position = batch[batch.len() - 1].position;
        tx.events_insert(&[EventsRow { lane, position, payload: encode_events(batch).expect("encodes") }]).await.expect("saves");
    }
    tx.commit().await.expect("commits");

    let planner = Planner::new(Arc::clone(&hamlet) as Arc<dyn Ground>, source, 1 << 20, u64::MAX);
    let (mut planned, mut looks) = (first, Vec::new());
    while planned < last {
        let asked = LaneAsked { lane, planned, visible: last, open: None };
        for (_, plan) in planner.plan(vec![asked]).await.expect("plans") {
            let plan = plan.expect("a plan");
            looks.push((plan.notices.len(), plan.more));
            planned = plan.planned;
        }
    }

    assert_eq!(looks, [(LANE_EVENTS_MAX, true), (LANE_EVENTS_MAX, true), (1, false)]);
}
