//! Each check must find what it is for: a clean record passes, and the same record with one lie in it does not.

use super::*;
use crate::support::facts::{CommentFact, PostFact};

const ANN: Id = 1;
const BEN: Id = 2;
const POST: Id = 10;
const COMMENT: Id = 20;

fn at(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn operation(actor: Id, action: Action, began: u64, ended: u64, outcome: Outcome) -> Operation {
    let (began, ended) = (at(began), Some(at(ended)));
    Operation { session: actor as u32, actor, action, began, sent: began, ended, outcome: Some(outcome) }
}

fn accepted(write: Id, object: Option<Id>) -> Outcome {
    Outcome::Ok { write, object, replayed: false }
}

fn unknown() -> Outcome {
    Outcome::Info { why: "connection reset".to_owned() }
}

/// Ann posts and edits, Ben comments, likes, unlikes, likes and follows; Ann likes his comment.
fn record() -> Record {
    let like = |liked| Action::SetLike { post: POST, liked };
    let operations = vec![
        operation(ANN, Action::CreatePost { nonce: "n1".into() }, 0, 10, accepted(100, Some(POST))),
        operation(ANN, Action::EditPost { post: POST, nonce: "n2".into() }, 20, 30, accepted(101, None)),
        operation(BEN, Action::CreateComment { post: POST, parent: None, nonce: "n3".into() }, 20, 30, accepted(102, Some(COMMENT))),
        operation(BEN, like(true), 40, 50, accepted(103, None)),
        operation(BEN, like(false), 60, 70, accepted(104, None)),
        operation(BEN, like(true), 80, 90, accepted(105, None)),
        operation(BEN, Action::SetFollow { followee: ANN, following: true }, 100, 110, accepted(106, None)),
        operation(BEN, Action::CreateComment { post: POST, parent: None, nonce: "n4".into() }, 120, 130, Outcome::Fail { status: 503 }),
        operation(BEN, Action::CreateComment { post: POST, parent: None, nonce: "n5".into() }, 140, 150, unknown()),
        operation(ANN, Action::SetCommentLike { post: POST, comment: COMMENT, liked: true }, 160, 170, accepted(107, None)),
    ];
    Record { operations, observations: Vec::new() }
}

fn comment(id: Id, body: &str) -> CommentFact {
    CommentFact { id, post: POST, author: BEN, body: Some(body.to_owned()), place: "s1".to_owned() }
}

fn facts() -> Facts {
    Facts {
        posts: vec![PostFact { id: POST, author: ANN, body: Some("n2 again".to_owned()), place: "s1".to_owned() }],
        comments: vec![comment(COMMENT, "n3 adds")],
        likes: vec![(POST, BEN, "s1".to_owned())],
        comment_likes: vec![(COMMENT, ANN, "s1".to_owned())],
        follows: vec![(BEN, ANN)],
        followed: vec![(ANN, BEN)],
        author_posts: vec![(ANN, POST)],
        post_counters: HashMap::from([(POST, (1, 1))]),
        comment_counters: HashMap::from([(COMMENT, 1)]),
        user_counters: HashMap::from([(ANN, [1, 1, 0]), (BEN, [0, 0, 1])]),
    }
}

fn read(session: Id, key: Key, value: Held, version: u64, began: u64) -> Observation {
    Observation { session: session as u32, own: true, key, value, version: Some(version), began: at(began), ended: at(began + 1) }
}

fn text(nonce: &str) -> Held {
    Held::Text(nonce.to_owned())
}

#[test]
fn an_honest_run_passes_every_check() {
    let report = Report::of(&record()).check(&record(), &facts());

    assert_eq!(report.violations, []);
    assert_eq!((report.accepted, report.refused, report.unknown), (8, 1, 1));
}

#[test]
fn a_lost_comment_is_caught() {
    let mut facts = facts();
    facts.comments.clear();

    assert_eq!(accepted_is_there_once(&record(), &facts).len(), 1);
}

#[test]
fn a_comment_written_twice_is_caught() {
    let mut facts = facts();
    facts.comments.push(comment(21, "n3 adds"));

    assert_eq!(accepted_is_there_once(&record(), &facts).len(), 1);
}

#[test]
fn a_row_on_two_shards_is_caught() {
    let mut facts = facts();
    let twin = PostFact { place: "s2".to_owned(), ..facts.posts[0].clone() };
    facts.posts.push(twin);
    let map = HashMap::from([(POST, "s1".to_owned())]);

    assert!(!accepted_is_there_once(&record(), &facts).is_empty());
    assert!(!rows_are_where_the_map_says(&facts, &map).is_empty());
}

#[test]
fn a_refused_write_that_happened_is_caught() {
    let mut facts = facts();
    facts.comments.push(comment(22, "n4 adds"));

    assert_eq!(refused_is_nowhere(&record(), &facts).len(), 1);
}

#[test]
fn an_unanswered_write_may_stand_once_but_not_twice() {
    let mut facts = facts();
    facts.comments.push(comment(23, "n5 adds"));
    assert_eq!(unanswered_is_there_at_most_once(&record(), &facts), []);

    facts.comments.push(comment(24, "n5 adds"));
    assert!(!unanswered_is_there_at_most_once(&record(), &facts).is_empty());
}

#[test]
fn an_older_text_or_a_lost_like_at_the_end_is_caught() {
    let mut older = facts();
    older.posts[0].body = Some("n1 says".to_owned());
    assert_eq!(the_last_accepted_stands(&record(), &older).len(), 1);

    let mut unliked = facts();
    unliked.likes.clear();
    assert_eq!(the_last_accepted_stands(&record(), &unliked).len(), 1);

    let mut unliked = facts();
    unliked.comment_likes.clear();
    assert_eq!(the_last_accepted_stands(&record(), &unliked).len(), 1);
}

#[test]
fn what_hangs_on_a_comment_that_is_deleted_may_be_refused() {
    let mut record = record();
    let reply = Action::CreateComment { post: POST, parent: Some(COMMENT), nonce: "n7".into() };
    record.operations.push(operation(BEN, Action::DeleteComment { post: POST, comment: COMMENT }, 180, 190, accepted(110, None)));
    record.operations.push(operation(ANN, reply, 180, 190, accepted(111, Some(21))));
    let mut facts = facts();
    facts.comments[0].body = None;
    facts.comment_likes.clear();

    assert_eq!(accepted_is_there_once(&record, &facts), []);
    assert_eq!(the_last_accepted_stands(&record, &facts), []);
}

#[test]
fn of_two_overlapping_writes_either_may_be_last() {
    let mut record = record();
    record.operations.push(operation(BEN, Action::SetLike { post: POST, liked: false }, 85, 95, accepted(107, None)));
    assert_eq!(the_last_accepted_stands(&record, &facts()), []);

    let mut unliked = facts();
    unliked.likes.clear();
    assert_eq!(the_last_accepted_stands(&record, &unliked), []);
}

#[test]
fn an_unanswered_unlike_is_bounded_by_the_end_of_its_process() {
    let mut record = record();
    record.operations.insert(5, operation(BEN, Action::SetLike { post: POST, liked: false }, 72, 78, unknown()));
    let mut unliked = facts();
    unliked.likes.clear();
    assert_eq!(the_last_accepted_stands(&record, &unliked).len(), 1, "it ended before the last like began");

    record.operations[5].ended = None;
    assert_eq!(the_last_accepted_stands(&record, &unliked), []);
}

#[test]
fn what_was_sent_again_to_the_next_process_is_bounded_by_its_end() {
    let history = History::new();
    let like = Action::SetLike { post: POST, liked: true };
    let (lost, asked_again) = (history.begin(1, ANN, like.clone()), history.begin(1, ANN, like));
    history.process_ended();
    history.send_again(asked_again);
    history.end(lost, unknown());
    history.end(asked_again, unknown());

    let operations = history.record().operations;

    assert!(operations[lost].ended.is_some());
    assert_eq!(operations[asked_again].ended, None);
}

#[test]
fn a_deleted_post_that_still_stands_is_caught() {
    let mut record = record();
    record.operations.push(operation(ANN, Action::DeletePost { post: POST }, 200, 210, accepted(108, None)));

    assert!(!the_last_accepted_stands(&record, &facts()).is_empty());
}

#[test]
fn a_read_older_than_ones_own_write_is_caught() {
    let mut record = record();
    record.observations = vec![read(ANN, Key::Text(POST), text("n2"), 2, 40)];
    assert_eq!(sessions_never_go_back(&record), []);

    record.observations = vec![read(ANN, Key::Text(POST), text("n1"), 1, 40)];
    assert_eq!(sessions_never_go_back(&record).len(), 1);

    record.observations = vec![read(ANN, Key::Text(POST), Held::Deleted, 1, 40)];
    assert_eq!(sessions_never_go_back(&record).len(), 1, "a post that is gone from its author's sight is lost");
}

#[test]
fn a_like_that_its_author_does_not_see_is_caught() {
    let mut record = record();
    record.observations = vec![read(BEN, Key::Like(POST, BEN), Held::Set(false), 3, 55)];
    assert_eq!(sessions_never_go_back(&record).len(), 1);

    record.observations = vec![read(BEN, Key::Like(POST, BEN), Held::Set(true), 3, 55)];
    assert_eq!(sessions_never_go_back(&record), []);
}

#[test]
fn a_session_that_goes_back_in_version_or_text_or_from_the_dead_is_caught() {
    let stranger = |value, version, began| Observation { own: false, ..read(3, Key::Text(POST), value, version, began) };
    let mut record = record();

    record.observations = vec![stranger(text("n1"), 5, 40), stranger(text("n1"), 4, 50)];
    assert_eq!(sessions_never_go_back(&record).len(), 1);

    record.observations = vec![stranger(text("n2"), 5, 40), stranger(text("n1"), 5, 50)];
    assert_eq!(sessions_never_go_back(&record).len(), 1);

    record.observations = vec![stranger(Held::Deleted, 5, 40), stranger(text("n2"), 6, 50)];
    assert_eq!(sessions_never_go_back(&record).len(), 1);

    record.observations = vec![stranger(text("n1"), 5, 40), stranger(text("n2"), 6, 50)];
    assert_eq!(sessions_never_go_back(&record), []);
}

#[test]
fn what_vanishes_after_it_was_seen_is_caught() {
    let stranger = |value, began| Observation { own: false, version: None, ..read(3, Key::Text(POST), value, 0, began) };
    let mut record = record();

    record.observations = vec![stranger(Held::Missing, 40), stranger(text("n2"), 50), stranger(text("n2"), 60)];
    assert_eq!(sessions_never_go_back(&record), []);

    record.observations = vec![stranger(text("n2"), 40), stranger(Held::Missing, 50)];
    assert_eq!(sessions_never_go_back(&record).len(), 1);

    record.observations = vec![stranger(Held::Deleted, 40), stranger(Held::Missing, 50)];
    assert_eq!(sessions_never_go_back(&record).len(), 1);
}

#[test]
fn a_write_that_never_comes_to_an_end_is_caught() {
    let mut report = Report::of(&record()).check(&record(), &facts());
    report.not_settled(vec![(105, "committed".to_owned())]);

    report.assert_caught(&["C1"]);
}

#[test]
fn a_counter_that_is_not_its_rows_is_caught() {
    let mut wrong_likes = facts();
    wrong_likes.post_counters.insert(POST, (2, 1));
    assert_eq!(counters_are_their_rows(&wrong_likes).len(), 1);

    let mut wrong_comment_likes = facts();
    wrong_comment_likes.comment_counters.clear();
    assert_eq!(counters_are_their_rows(&wrong_comment_likes).len(), 1);

    let mut wrong_followers = facts();
    wrong_followers.user_counters.insert(ANN, [1, 0, 0]);
    assert_eq!(counters_are_their_rows(&wrong_followers).len(), 1);

    let mut forgotten = facts();
    forgotten.user_counters.clear();
    assert_eq!(counters_are_their_rows(&forgotten).len(), 2);
}

#[test]
fn an_id_given_twice_is_caught() {
    let mut record = record();
    record.operations.push(operation(ANN, Action::CreatePost { nonce: "n6".into() }, 200, 210, accepted(109, Some(COMMENT))));
    assert_eq!(ids_are_unique(&record, &facts()).len(), 1);

    let mut both = facts();
    both.posts.push(PostFact { id: COMMENT, author: ANN, body: None, place: "s1".to_owned() });
    assert_eq!(ids_are_unique(&self::record(), &both).len(), 1);
}

#[test]
fn a_comment_beside_another_shard_than_its_post_is_caught() {
    let map = HashMap::from([(POST, "one".to_owned())]);
    assert_eq!(rows_are_where_the_map_says(&facts(), &map), []);

    let mut strayed = facts();
    strayed.comments[0].place = "s2".to_owned();
    assert_eq!(rows_are_where_the_map_says(&strayed, &map).len(), 2, "the comment, and that its like stayed");
    assert_eq!(rows_are_where_the_map_says(&facts(), &HashMap::new()).len(), 1);
}

#[test]
fn what_nobody_asked_for_is_caught() {
    let mut phantom = facts();
    phantom.comments.push(comment(25, "n99 adds"));
    assert_eq!(nothing_is_there_unasked(&record(), &phantom).len(), 1);

    let mut liked = facts();
    liked.likes.push((POST, ANN, "s1".to_owned()));
    assert_eq!(nothing_is_there_unasked(&record(), &liked).len(), 1);

    let mut liked = facts();
    liked.comment_likes.push((COMMENT, BEN, "s1".to_owned()));
    assert_eq!(nothing_is_there_unasked(&record(), &liked).len(), 1);

    let mut one_sided = facts();
    one_sided.followed.clear();
    assert_eq!(nothing_is_there_unasked(&record(), &one_sided).len(), 1);
}
