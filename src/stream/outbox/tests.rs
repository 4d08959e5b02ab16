//! The outbox by itself: what leaves it, in which order, and what happens when nobody takes anything out.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use proptest::prelude::*;

use super::*;
use crate::stream::frame::Numbers;
use crate::vocabulary::ids::{Position, PostId};

const BOUNDS: OutboxBounds = OutboxBounds { frames: 256, bytes: 1 << 20, posts: 3 };

#[derive(Default)]
struct Counted(AtomicUsize);

impl Wake for Counted {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// What leaves the outbox now, as names, numbers or close codes.
fn drain(outbox: &Outbox) -> Vec<String> {
    let mut left = Vec::new();
    while let Poll::Ready(Next::Frame(frame)) = outbox.poll_next(&Context::from_waker(Waker::noop())) {
        left.push(match frame.kind() {
            Kind::Notification(seq) => seq.to_string(),
            Kind::Reset(_) => "reset".to_owned(),
            Kind::Counts(post) => format!("counts {post}"),
            Kind::Control => format!("close {}", u16::from_be_bytes([frame.wire()[2], frame.wire()[3]])),
            Kind::Other => "other".to_owned(),
        });
    }
    left
}

fn entry(seq: u64) -> Frame {
    Frame::notification(seq, Some("{}"))
}

fn counts(post: u64, likes: u64) -> Frame {
    Frame::counts(PostId::from_raw(post), Numbers { version: Position(1), likes, comments: 0 }, 1)
}

/// An outbox whose client was greeted at this number.
fn greeted(seq: u64) -> Outbox {
    let outbox = Outbox::new(BOUNDS);
    outbox.begin(&[Frame::pong()], "e", seq, seq);
    drain(&outbox);
    outbox
}

/// Gives the outbox the page that it wants of an inbox with entries up to `seq`.
fn fill(outbox: &Outbox, seq: u64) -> bool {
    let Wanted::History { after, turn } = outbox.wanted() else { return false };
    let page = (after + 1..=seq).take(HISTORY_PAGE).map(|seq| Line { seq, frame: entry(seq) }).collect();
    assert!(outbox.fill(turn, page));
    true
}

#[test]
fn the_next_entry_is_sent_and_one_that_came_before_is_not_sent_again() {
    let outbox = greeted(3);

    for seq in [4, 4, 3, 5, 1] {
        outbox.push_entry(seq, &entry(seq));
    }

    assert_eq!(drain(&outbox), ["4", "5"]);
    assert_eq!(outbox.wanted(), Wanted::Nothing);
}

#[test]
fn an_entry_behind_a_hole_waits_for_the_hole_to_be_filled() {
    let outbox = greeted(3);

    outbox.push_entry(6, &entry(6));
    assert_eq!(drain(&outbox), Vec::<String>::new());
    // While the page is read the next one comes: it is in no page, and may not be lost.
    let Wanted::History { after: 3, turn } = outbox.wanted() else { panic!("{:?}", outbox.wanted()) };
    outbox.push_entry(7, &entry(7));
    let page = (4..=6).map(|seq| Line { seq, frame: entry(seq) }).collect();
    assert!(outbox.fill(turn, page));

    assert!(fill(&outbox, 7));
    assert_eq!(drain(&outbox), ["4", "5", "6", "7"]);
    outbox.push_entry(8, &entry(8));
    assert_eq!(drain(&outbox), ["8"], "live again");
}

#[test]
fn a_hint_of_an_entry_that_does_not_exist_is_not_asked_for_twice() {
    let outbox = greeted(3);
    outbox.note_entry(9);

    assert!(fill(&outbox, 5));

    assert_eq!(outbox.wanted(), Wanted::Nothing);
    assert_eq!(drain(&outbox), ["4", "5"]);
}

#[test]
fn entries_before_the_greeting_are_a_hole_behind_it() {
    let outbox = Outbox::new(BOUNDS);
    outbox.push_entry(5, &entry(5));
    outbox.begin(&[Frame::pong()], "e", 4, 4);

    assert!(fill(&outbox, 5));

    assert_eq!(drain(&outbox), ["other", "5"]);
}

#[test]
fn a_resume_takes_back_what_waits_and_begins_after_its_number() {
    let outbox = greeted(10);
    outbox.push_entry(11, &entry(11));
    outbox.hold();
    outbox.push_entry(12, &entry(12));
    outbox.go_on(Some(7), 12);

    while fill(&outbox, 12) {}

    assert_eq!(drain(&outbox), ["8", "9", "10", "11", "12"]);
}

#[test]
fn a_page_of_before_a_resume_is_not_sent_after_it() {
    let outbox = greeted(0);
    outbox.note_entry(3);
    let Wanted::History { turn, .. } = outbox.wanted() else { panic!("history") };
    outbox.hold();
    outbox.go_on(Some(1), 3);

    assert!(outbox.fill(turn, vec![Line { seq: 1, frame: entry(1) }]));
    while fill(&outbox, 3) {}

    assert_eq!(drain(&outbox), ["2", "3"]);
}

#[test]
fn a_resume_that_cannot_be_judged_goes_on_after_what_was_sent() {
    let outbox = greeted(0);
    outbox.push_entry(1, &entry(1));
    assert_eq!(drain(&outbox), ["1"]);
    outbox.push_entry(2, &entry(2));

    outbox.hold();
    outbox.go_on(None, 0);
    while fill(&outbox, 2) {}

    assert_eq!(drain(&outbox), ["2"]);
}

#[test]
fn a_page_that_does_not_begin_with_the_next_entry_says_that_something_is_missing() {
    let outbox = greeted(3);
    outbox.note_entry(9);
    let Wanted::History { turn, .. } = outbox.wanted() else { panic!("history") };

    assert!(!outbox.fill(turn, vec![Line { seq: 7, frame: entry(7) }]));
}

#[test]
fn history_waits_for_room_and_is_never_too_much() {
    let outbox = greeted(0);
    outbox.note_entry(10_000);
    let mut sent = 0;
    let mut deepest = 0;
    while sent < 10_000 {
        while fill(&outbox, 10_000) {
            deepest = deepest.max(outbox.depth());
        }
        // The client takes one frame.
        if let Poll::Ready(Next::Frame(frame)) = outbox.poll_next(&Context::from_waker(Waker::noop())) {
            sent += 1;
            assert_eq!(frame.kind(), Kind::Notification(sent));
        }
    }

    assert!(deepest <= HISTORY_BELOW + HISTORY_PAGE, "{deepest}");
}

#[test]
fn newer_counts_take_the_place_of_those_that_wait() {
    let outbox = greeted(0);
    outbox.push(&counts(1, 1));
    outbox.push(&counts(2, 1));
    outbox.push(&counts(1, 2));

    assert_eq!(drain(&outbox), ["counts 1", "counts 2"]);
}

#[test]
fn a_full_outbox_drops_counts_first_and_then_closes_its_socket() {
    let outbox = Outbox::new(OutboxBounds { frames: 4, ..BOUNDS });
    for post in 1..=3 {
        outbox.push(&counts(post, 1));
    }
    outbox.push(&Frame::pong());
    outbox.push(&counts(4, 1));
    assert_eq!(outbox.depth(), 1, "counts that do not fit are not worth those that wait");
    for _ in 0..3 {
        outbox.push(&Frame::pong());
    }
    assert_eq!(outbox.wanted(), Wanted::Nothing, "full is not too full");

    outbox.push(&Frame::pong());

    assert_eq!(outbox.wanted(), Wanted::Closing(CloseCode::TooFast));
    outbox.push(&Frame::pong());
    assert_eq!(drain(&outbox), ["close 4429"]);
}

#[test]
fn bytes_are_a_bound_of_their_own() {
    let outbox = Outbox::new(OutboxBounds { frames: 1000, bytes: 100, ..BOUNDS });
    for _ in 0..20 {
        outbox.push(&Frame::pong());
    }

    assert_eq!(outbox.wanted(), Wanted::Closing(CloseCode::TooFast));
}

#[test]
fn what_waits_is_sent_before_the_close_frame_and_the_first_code_stands() {
    let outbox = greeted(0);
    outbox.push(&Frame::pong());
    outbox.close(CloseCode::GoingAway);
    outbox.close(CloseCode::NotSignedIn);
    outbox.push(&Frame::pong());

    assert_eq!(drain(&outbox), ["other", "close 1001"]);
}

#[test]
fn nothing_follows_the_close_frame_though_a_page_was_on_its_way() {
    let outbox = greeted(0);
    outbox.note_entry(2);
    let Wanted::History { turn, .. } = outbox.wanted() else { panic!("history") };
    outbox.close(CloseCode::NotSignedIn);

    assert!(outbox.fill(turn, vec![Line { seq: 1, frame: entry(1) }, Line { seq: 2, frame: entry(2) }]));

    assert_eq!(drain(&outbox), ["close 4401"]);
}

#[test]
fn a_withdrawal_that_overtakes_its_entry_is_told_behind_it() {
    let outbox = greeted(0);
    let withdrawn = |seq| outbox.push_withdrawal(seq, &Frame::withdrawn(seq, 0));
    withdrawn(1);
    withdrawn(3);
    assert_eq!(drain(&outbox), Vec::<String>::new(), "the client does not know the entry");

    outbox.push_entry(1, &entry(1));
    outbox.push_entry(2, &entry(2));
    outbox.note_entry(4);
    assert!(fill(&outbox, 4));
    withdrawn(2);

    assert_eq!(drain(&outbox), ["1", "other", "2", "3", "other", "4", "other"]);
}

#[test]
fn withdrawals_that_wait_for_their_entries_have_a_bound() {
    let outbox = greeted(0);
    let most = WITHDRAWALS_AHEAD_MAX as u64;
    (1..=most + 1).for_each(|seq| outbox.push_withdrawal(seq, &Frame::withdrawn(seq, 0)));

    (1..=most + 1).for_each(|seq| outbox.push_entry(seq, &entry(seq)));

    assert_eq!(drain(&outbox).iter().filter(|frame| *frame == "other").count(), WITHDRAWALS_AHEAD_MAX, "the oldest went");
}

#[test]
fn counts_that_were_dropped_are_asked_for_when_there_is_room() {
    let outbox = Outbox::new(OutboxBounds { frames: 4, ..BOUNDS });
    for post in 1..=3 {
        outbox.push(&counts(post, 1));
    }
    outbox.push(&Frame::pong());
    outbox.push(&Frame::pong());
    assert_eq!(outbox.wanted(), Wanted::Nothing, "there is no room yet");
    // Those of this post come anyway.
    outbox.push(&counts(2, 2));
    assert_eq!(drain(&outbox), ["other", "other", "counts 2"]);

    let mut asked = Vec::new();
    while let Wanted::Counts(post) = outbox.wanted() {
        asked.push(post.raw());
    }
    asked.sort_unstable();
    assert_eq!(asked, [1, 3]);
    (1..=9).for_each(|post| outbox.note_uncounted(PostId::from_raw(post)));
    let left = std::iter::from_fn(|| matches!(outbox.wanted(), Wanted::Counts(_)).then_some(())).count();
    assert_eq!(left, BOUNDS.posts);
}

#[test]
fn history_is_no_slowness_where_few_frames_may_wait() {
    for frames in [1, 4, 16, 100] {
        let outbox = Outbox::new(OutboxBounds { frames, ..BOUNDS });
        outbox.begin(&[], "e", 0, 500);
        let mut sent = 0;
        while sent < 500 {
            while let Wanted::History { after, turn } = outbox.wanted() {
                let page = (after + 1..=500).take(outbox.page()).map(|seq| Line { seq, frame: entry(seq) }).collect();
                assert!(outbox.fill(turn, page));
            }
            assert!(outbox.depth() <= frames, "{} of {frames}", outbox.depth());
            if let Poll::Ready(Next::Frame(frame)) = outbox.poll_next(&Context::from_waker(Waker::noop())) {
                sent += 1;
                assert_eq!(frame.kind(), Kind::Notification(sent));
            }
        }
    }
}

#[test]
fn a_client_that_resumes_with_its_greeting_gets_nothing_before_what_it_asked_for() {
    let outbox = Outbox::new(BOUNDS);
    outbox.push_entry(11, &entry(11));
    outbox.begin(&[Frame::pong()], "e", 7, 10);

    outbox.push_entry(11, &entry(11));
    while fill(&outbox, 11) {}

    assert_eq!(drain(&outbox), ["other", "8", "9", "10", "11"]);
}

#[test]
fn whoever_waits_is_woken_by_what_he_waits_for() {
    let outbox = greeted(0);
    let (writer, session) = (Arc::new(Counted::default()), Arc::new(Counted::default()));
    let (as_writer, as_session) = (Waker::from(Arc::clone(&writer)), Waker::from(Arc::clone(&session)));
    let ask = || {
        assert!(outbox.poll_next(&Context::from_waker(&as_writer)).is_pending());
        while outbox.poll_news(&Context::from_waker(&as_session)).is_ready() {}
    };

    ask();
    outbox.push_entry(1, &entry(1));
    assert_eq!((writer.0.load(Ordering::SeqCst), session.0.load(Ordering::SeqCst)), (1, 0), "a live entry costs the session nothing");
    drain(&outbox);
    ask();
    outbox.push_entry(3, &entry(3));
    assert_eq!((writer.0.load(Ordering::SeqCst), session.0.load(Ordering::SeqCst)), (1, 1), "a hole is the session's");
    ask();
    outbox.gone();
    assert_eq!((writer.0.load(Ordering::SeqCst), session.0.load(Ordering::SeqCst)), (2, 2));
    assert_eq!(outbox.wanted(), Wanted::Stop);
}

#[derive(Debug, Clone)]
enum Step {
    /// The inbox gets an entry, and the hint of it arrives, or not, or twice.
    Append(u8),
    /// A hint of an older entry comes late.
    Late(u64),
    /// The session does what is wanted; a page may be cut by what was there a moment ago.
    Attend(u64),
    Take(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..3_u8).prop_map(Step::Append),
        1 => (0..40_u64).prop_map(Step::Late),
        3 => (0..3_u64).prop_map(Step::Attend),
        2 => (1..9_u8).prop_map(Step::Take),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_to_hints_entries_leave_in_order_and_all_of_them(steps in prop::collection::vec(step(), 1..120)) {
        let outbox = greeted(0);
        let mut inbox = 0;
        let mut expected = 1;
        let mut check = |outbox: &Outbox, most: usize| {
            for _ in 0..most {
                let Poll::Ready(Next::Frame(frame)) = outbox.poll_next(&Context::from_waker(Waker::noop())) else { break };
                assert_eq!(frame.kind(), Kind::Notification(expected));
                expected += 1;
            }
            expected
        };
        for step in steps {
            match step {
                Step::Append(hints) => {
                    inbox += 1;
                    (0..hints).for_each(|_| outbox.push_entry(inbox, &entry(inbox)));
                }
                Step::Late(seq) if seq > 0 && seq <= inbox => outbox.push_entry(seq, &entry(seq)),
                Step::Attend(behind) => drop(fill(&outbox, inbox.saturating_sub(behind).max(outbox.last_seq().unwrap_or(0)))),
                Step::Take(most) => drop(check(&outbox, usize::from(most))),
                Step::Late(_) => {}
            }
        }
        // The last word always comes in the end, be it by a look after hints were lost.
        outbox.note_entry(inbox);
        while fill(&outbox, inbox) || outbox.depth() > 0 {
            check(&outbox, 1);
        }
        prop_assert_eq!(check(&outbox, 0), inbox + 1);
    }
}
