//! Posts, comments, likes and subscriptions.

use super::*;
use crate::vocabulary::command::SubscriptionMode;
use crate::vocabulary::text::{CommentBody, PostBody};

const POST: PostId = PostId::from_raw(100);
const ALICE: UserId = UserId::from_raw(1);
const BOB: UserId = UserId::from_raw(2);

fn create(text: &str) -> Command {
    Command::CreatePost { post: POST, body: PostBody::parse(text).expect("a body") }
}

fn edit(text: &str, if_revision: Option<u64>) -> Command {
    Command::EditPost { post: POST, body: PostBody::parse(text).expect("a body"), if_revision: if_revision.map(Position) }
}

fn delete(if_revision: Option<u64>) -> Command {
    Command::DeletePost { post: POST, if_revision: if_revision.map(Position) }
}

fn reply(raw: u64, parent: Option<u64>) -> Command {
    let body = CommentBody::parse("hm").expect("a body");
    Command::CreateComment { post: POST, comment: comment(raw), parent: parent.map(comment), body }
}

fn edit_comment(raw: u64, if_revision: Option<u64>) -> Command {
    let body = CommentBody::parse("well").expect("a body");
    Command::EditComment { post: POST, comment: comment(raw), body, if_revision: if_revision.map(Position) }
}

fn delete_comment(raw: u64) -> Command {
    Command::DeleteComment { post: POST, comment: comment(raw), if_revision: None }
}

fn with_post() -> Model {
    let mut model = Model::default();
    model.write(ALICE, create("hello @bob"));
    model
}

#[test]
fn a_post_stands_in_its_authors_index_until_it_is_deleted() {
    let mut model = with_post();
    assert_eq!(model.rows.posts[&POST].author, ALICE);
    assert!(!model.rows.author_posts[&(ALICE, POST)].deleted);
    assert_eq!(model.rows.counters.users[&ALICE].posts, 1);

    assert_eq!(model.write(ALICE, delete(None)), Happened::PostDeleted { post: POST });

    assert_eq!(model.rows.posts[&POST].body.as_str(), "");
    assert!(model.rows.author_posts[&(ALICE, POST)].deleted);
    assert_eq!(model.rows.counters.users[&ALICE].posts, 0);
}

#[test]
fn only_its_author_edits_or_deletes_a_post_at_the_revision_he_named() {
    let cases: [(UserId, Command, Result<(), Rejection>); 7] = [
        (ALICE, edit("new", None), Ok(())),
        (ALICE, edit("new", Some(1)), Ok(())),
        (ALICE, edit("new", Some(2)), Err(Rejection::PreconditionFailed)),
        (BOB, edit("new", None), Err(Rejection::Forbidden)),
        (BOB, edit("new", Some(9)), Err(Rejection::Forbidden)),
        (ALICE, delete(Some(7)), Err(Rejection::PreconditionFailed)),
        (BOB, delete(None), Err(Rejection::Forbidden)),
    ];
    for (author, command, expected) in cases {
        let mut model = with_post();
        let happened = model.write(author, command.clone());
        match expected {
            Ok(()) => {
                assert!(matches!(happened, Happened::PostEdited { .. }), "{command:?}: {happened:?}");
                assert_eq!((model.rows.posts[&POST].revision, model.rows.posts[&POST].edited_at), (Position(2), Some(2000)));
            }
            Err(rejection) => {
                assert_eq!(happened, rejected(rejection), "{command:?}");
                assert_eq!(model.rows.posts, with_post().rows.posts, "{command:?}");
            }
        }
    }
}

#[test]
fn nothing_happens_to_a_post_that_is_gone_or_never_was() {
    let commands = [
        edit("new", None),
        delete(None),
        Command::SetPostLike { post: POST, liked: true },
        Command::SetPostLike { post: POST, liked: false },
        Command::SetSubscription { post: POST, mode: SubscriptionMode::Muted },
        reply(7, None),
        edit_comment(5, None),
        delete_comment(5),
        Command::SetCommentLike { post: POST, comment: comment(5), liked: true },
    ];
    for command in commands {
        assert_eq!(Model::default().write(ALICE, command.clone()), rejected(Rejection::NotFound), "{command:?}");
        let mut model = with_post();
        model.write(ALICE, reply(5, None));
        model.write(ALICE, delete(None));
        let before = model.rows.counters.clone();

        assert_eq!(model.write(ALICE, command.clone()), rejected(Rejection::Gone), "{command:?}");
        assert_eq!(model.rows.counters, before, "{command:?}");
    }
}

#[test]
fn an_edit_tells_only_of_those_it_names_anew() {
    let mut model = with_post();

    let happened = model.write(ALICE, edit("hello @bob and @carol", None));

    let Happened::PostEdited { mentions, .. } = happened else { panic!("{happened:?}") };
    assert_eq!(mentions.iter().map(|name| name.as_str()).collect::<Vec<_>>(), ["carol"]);
}

#[test]
fn a_like_counts_once_and_moves_the_version_only_when_it_changes() {
    let mut model = with_post();
    let mut like = |liked| model.write(BOB, Command::SetPostLike { post: POST, liked });
    let happened = [like(false), like(true), like(true), like(false), like(false), like(true)];

    let (liked, unliked) = (Happened::PostLiked { post: POST }, Happened::PostUnliked { post: POST });
    let again = Happened::PostLikedAgain { post: POST };
    assert_eq!(happened, [Happened::Nothing, liked, Happened::Nothing, unliked, Happened::Nothing, again]);
    let counters = model.rows.counters.posts[&POST];
    assert_eq!((counters.likes, counters.position), (1, Position(7)));
    assert_eq!(model.rows.posts[&POST].revision, Position(1), "a like is no new text");
}

#[test]
fn a_comment_like_counts_once() {
    let mut model = with_post();
    model.write(ALICE, reply(5, None));
    let mut like = |liked| model.write(BOB, Command::SetCommentLike { post: POST, comment: comment(5), liked });
    let happened = [like(true), like(true), like(false), like(true), like(false)];

    let (of, below) = (comment(5), POST);
    assert_eq!(
        happened,
        [
            Happened::CommentLiked { post: below, comment: of },
            Happened::Nothing,
            Happened::CommentUnliked { post: below, comment: of },
            Happened::CommentLikedAgain { post: below, comment: of },
            Happened::CommentUnliked { post: below, comment: of },
        ]
    );
    assert_eq!(model.rows.counters.comments[&comment(5)], 0);
}

#[test]
fn a_subscription_is_news_only_when_it_changes() {
    let mut model = with_post();
    let mut subscribe = |mode| model.write(BOB, Command::SetSubscription { post: POST, mode });
    let (muted, default) = (SubscriptionMode::Muted, SubscriptionMode::Default);

    assert_eq!(subscribe(muted), Happened::Subscribed { post: POST, mode: muted });
    assert_eq!(subscribe(muted), Happened::Nothing);
    assert_eq!(subscribe(default), Happened::Subscribed { post: POST, mode: default });
    assert_eq!(model.rows.subscriptions[&(POST, BOB)].mode, default);
}

#[test]
fn a_comment_that_was_answered_keeps_its_place_when_it_is_deleted() {
    let mut model = with_post();
    model.write(ALICE, reply(5, None));
    model.write(BOB, reply(6, Some(5)));
    assert!(model.rows.comments[&comment(5)].answered);
    assert_eq!(model.rows.comments[&comment(5)].revision, Position(2), "a reply is no new text");

    assert_eq!(model.write(ALICE, delete_comment(5)), Happened::CommentDeleted { post: POST, comment: comment(5) });
    model.write(BOB, delete_comment(6));

    let (parent, child) = (&model.rows.comments[&comment(5)], &model.rows.comments[&comment(6)]);
    assert!(parent.deleted && parent.answered && parent.body.as_str().is_empty());
    assert!(child.deleted && !child.answered);
    assert_eq!(model.rows.counters.posts[&POST].comments, 0);
}

#[test]
fn an_edit_in_one_batch_with_an_answer_keeps_both() {
    let mut model = with_post();
    model.write(ALICE, reply(5, None));
    let entry = |position: u64, author: UserId, command: Command| Entry {
        position: Position(position),
        write: crate::vocabulary::ids::WriteId::from_raw(position),
        author,
        accepted_at: 0,
        key: None,
        command,
    };

    model.batch(&[entry(3, BOB, reply(6, Some(5))), entry(4, ALICE, edit_comment(5, Some(2))), entry(5, BOB, delete_comment(6))]);

    let parent = &model.rows.comments[&comment(5)];
    assert!(parent.answered && parent.body.as_str() == "well" && parent.revision == Position(4));
    assert_eq!(model.rows.counters.posts[&POST].comments, 1);
}

#[test]
fn comments_have_rules_of_their_own() {
    let other_post =
        Command::EditComment { post: post(101), comment: comment(5), body: CommentBody::parse("x").expect("a body"), if_revision: None };
    let cases: [(UserId, Command, Rejection); 8] = [
        (BOB, edit_comment(5, None), Rejection::Forbidden),
        (BOB, delete_comment(5), Rejection::Forbidden),
        (ALICE, edit_comment(5, Some(1)), Rejection::PreconditionFailed),
        (ALICE, edit_comment(4, None), Rejection::NotFound),
        (ALICE, other_post, Rejection::NotFound),
        (BOB, reply(9, Some(4)), Rejection::NotFound),
        (BOB, reply(9, Some(6)), Rejection::Gone),
        (ALICE, delete_comment(6), Rejection::Gone),
    ];
    for (author, command, rejection) in cases {
        let mut model = with_post();
        model.write(ALICE, reply(5, None));
        model.write(ALICE, reply(6, None));
        model.write(ALICE, delete_comment(6));
        let other = Command::CreatePost { post: post(101), body: PostBody::parse("other").expect("a body") };
        model.write(ALICE, other);
        let before = model.rows.comments.clone();

        assert_eq!(model.write(author, command.clone()), rejected(rejection), "{command:?}");
        assert_eq!(model.rows.comments, before, "{command:?}");
        assert_eq!(model.miscounted(), Vec::<String>::new());
    }
}

#[test]
fn a_rejection_is_remembered_with_its_author_and_an_idle_write_only_for_its_key() {
    let mut model = with_post();
    model.write(BOB, edit("mine", None));
    let kept = &model.rows.kept_writes;
    assert_eq!(kept.len(), 1);
    assert_eq!((kept[0].0, kept[0].1.rejection), (BOB, Some(Rejection::Forbidden)));

    let unlike = |position: u64, key: Option<&str>| Entry {
        position: Position(position),
        write: crate::vocabulary::ids::WriteId::from_raw(position),
        author: BOB,
        accepted_at: 0,
        key: key.map(|key| crate::vocabulary::command::KeyUse { key: key.to_owned(), digest: [0; 16] }),
        command: Command::SetPostLike { post: POST, liked: false },
    };
    model.batch(&[unlike(3, None), unlike(4, Some("k"))]);
    model.deliver_all();

    assert_eq!(model.rows.kept_writes.iter().map(|(_, kept)| kept.write.raw()).collect::<Vec<_>>(), [2, 4]);
    assert_eq!(model.events().keys().copied().collect::<Vec<_>>(), [Position(1), Position(2), Position(4)]);
}
