use super::*;
use crate::vocabulary::event::Relay;
use crate::vocabulary::ids::{Position, WriteId};
use crate::vocabulary::text::{CommentBody, PostBody, Username};

const HOST: u64 = 1;
const ACTOR: u64 = 2;
const PARENT: u64 = 3;
const POST: PostId = PostId::from_raw(50);
const COMMENT: CommentId = CommentId::from_raw(60);

fn user(raw: u64) -> UserId {
    UserId::from_raw(raw)
}

fn users(raws: &[u64]) -> Vec<UserId> {
    raws.iter().copied().map(user).collect()
}

fn event(happened: Happened) -> Event {
    Event { position: Position(9), write: WriteId::from_raw(9), author: user(ACTOR), accepted_at: 7, happened, relays: Vec::<Relay>::new() }
}

fn post(deleted: bool) -> PostRow {
    PostRow { post: POST, author: user(HOST), body: PostBody::from_row(String::new()), revision: Position(1), edited_at: None, deleted }
}

fn comment(author: u64, deleted: bool) -> CommentRow {
    CommentRow {
        comment: COMMENT,
        post: POST,
        author: user(author),
        parent: None,
        body: CommentBody::from_row(String::new()),
        revision: Position(1),
        edited_at: None,
        deleted,
        answered: false,
    }
}

fn commented(parent: bool) -> Happened {
    Happened::CommentCreated { post: POST, comment: COMMENT, parent: parent.then_some(CommentId::from_raw(59)), mentions: Vec::new() }
}

#[test]
fn a_thread_that_is_muted_is_no_longer_gathered_for_whoever_muted_it() {
    let errand = |mode| errand_of(&event(Happened::Subscribed { post: POST, mode }), &Scene::default());

    assert_eq!(errand(SubscriptionMode::Muted), Some(Errand::Hush { recipient: user(ACTOR), post: POST }));
    assert_eq!(errand(SubscriptionMode::Subscribed), None);
}

/// Users with the reason for which they are told.
type Reasons = Vec<(u64, NotificationKind)>;

/// What the case is, who was told, and who should be.
type Case = (&'static str, Reasons, &'static [(u64, NotificationKind)]);

/// Whom a comment tells.
fn told(named: &[u64], participants: &[u64], parent: Option<u64>) -> Reasons {
    let (host, own) = (post(false), comment(ACTOR, false));
    let parent_row = parent.map(|author| comment(author, false));
    let (named, participants) = (users(named), users(participants));
    let scene = Scene { post: Some(&host), comment: Some(&own), parent: parent_row.as_ref(), named: &named, participants: &participants };
    match errand_of(&event(commented(parent.is_some())), &scene) {
        Some(Errand::Tell { people, .. }) => people.into_iter().map(|(user, kind)| (user.raw(), kind)).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_comment_tells_the_author_the_participants_and_whom_it_answers_each_once_by_the_strongest_reason() {
    use NotificationKind::{Comment, Mention, Reply};
    let cases: [Case; 7] = [
        ("the author of the post", told(&[], &[], None), &[(HOST, Comment)]),
        ("who commented before", told(&[], &[5, 6], None), &[(HOST, Comment), (5, Comment), (6, Comment)]),
        ("whom it answers, instead of as a participant", told(&[], &[PARENT], Some(PARENT)), &[(HOST, Comment), (PARENT, Reply)]),
        ("whom it names, instead of as the author", told(&[HOST, 5], &[5], None), &[(HOST, Mention), (5, Mention)]),
        ("a reply is stronger than a mention", told(&[PARENT], &[], Some(PARENT)), &[(HOST, Comment), (PARENT, Reply)]),
        ("never the actor", told(&[ACTOR], &[ACTOR], Some(ACTOR)), &[(HOST, Comment)]),
        ("an author who is answered", told(&[], &[], Some(HOST)), &[(HOST, Reply)]),
    ];

    for (case, found, expected) in cases {
        assert_eq!(found, expected, "{case}");
    }
}

#[test]
fn a_post_tells_its_followers_and_whom_it_names() {
    let row = PostRow { author: user(ACTOR), ..post(false) };
    let named = users(&[5, ACTOR]);
    let scene = Scene { post: Some(&row), named: &named, ..Scene::default() };

    let errand = errand_of(&event(Happened::PostCreated { post: POST, mentions: Vec::new() }), &scene);

    let people = BTreeMap::from([(user(5), NotificationKind::Mention)]);
    let crowd = Some((Crowd::Followers(user(ACTOR)), NotificationKind::Post));
    assert_eq!(errand, Some(Errand::Tell { people, crowd, post: POST, comment: None }));
}

#[test]
fn an_edit_tells_only_those_whom_it_names_newly() {
    let row = post(false);
    let named = users(&[5]);
    let scene = Scene { post: Some(&row), named: &named, ..Scene::default() };
    let bob = Username::parse("bob").expect("a username");

    let silent = errand_of(&event(Happened::PostEdited { post: POST, mentions: Vec::new() }), &scene);
    let named = errand_of(&event(Happened::PostEdited { post: POST, mentions: vec![bob] }), &scene);

    assert_eq!(silent, None);
    let people = BTreeMap::from([(user(5), NotificationKind::Mention)]);
    assert_eq!(named, Some(Errand::Tell { people, crowd: None, post: POST, comment: None }));
}

#[test]
fn likes_and_follows_gather_and_are_taken_back() {
    let (row, own) = (post(false), comment(HOST, false));
    let scene = Scene { post: Some(&row), comment: Some(&own), ..Scene::default() };
    let (of_post, of_comment) = (like_of_post(POST), like_of_comment(COMMENT));
    let host = user(HOST);
    let cases = [
        (Happened::PostLiked { post: POST }, Errand::Gather { recipient: host, group: of_post, post: Some(POST), comment: None }),
        (Happened::PostUnliked { post: POST }, Errand::TakeBack { recipient: host, group: of_post, post: Some(POST), comment: None }),
        (
            Happened::CommentLiked { post: POST, comment: COMMENT },
            Errand::Gather { recipient: host, group: of_comment, post: Some(POST), comment: Some(COMMENT) },
        ),
        (
            Happened::CommentUnliked { post: POST, comment: COMMENT },
            Errand::TakeBack { recipient: host, group: of_comment, post: Some(POST), comment: Some(COMMENT) },
        ),
        (Happened::Followed { followee: user(7) }, Errand::Gather { recipient: user(7), group: FOLLOW, post: None, comment: None }),
        (Happened::Unfollowed { followee: user(7) }, Errand::TakeBack { recipient: user(7), group: FOLLOW, post: None, comment: None }),
    ];

    for (happened, errand) in cases {
        assert_eq!(errand_of(&event(happened.clone()), &scene), Some(errand), "{happened:?}");
    }
}

#[test]
fn nobody_is_told_of_what_is_gone_nor_of_himself() {
    let (gone, standing) = (post(true), post(false));
    let (own, own_gone) = (PostRow { author: user(ACTOR), ..post(false) }, comment(ACTOR, true));
    let liked = Happened::PostLiked { post: POST };
    let cases = [
        ("a like of a deleted post", liked.clone(), Scene { post: Some(&gone), ..Scene::default() }),
        ("a like of an own post", liked, Scene { post: Some(&own), ..Scene::default() }),
        ("a deleted comment", commented(false), Scene { post: Some(&standing), comment: Some(&own_gone), ..Scene::default() }),
        ("a comment on a deleted post", commented(false), Scene { post: Some(&gone), ..Scene::default() }),
        ("a block that ends", Happened::BlockSet { other: user(7), blocking: false }, Scene::default()),
        ("a session", Happened::ProfileEdited, Scene::default()),
    ];

    for (case, happened, scene) in cases {
        assert_eq!(errand_of(&event(happened), &scene), None, "{case}");
    }
}

#[test]
fn what_is_deleted_or_blocked_is_withdrawn() {
    let cases = [
        (Happened::PostDeleted { post: POST }, Errand::Withdraw { post: POST, comment: None }),
        (Happened::CommentDeleted { post: POST, comment: COMMENT }, Errand::Withdraw { post: POST, comment: Some(COMMENT) }),
        (Happened::BlockSet { other: user(7), blocking: true }, Errand::Part { one: user(ACTOR), other: user(7) }),
    ];

    for (happened, errand) in cases {
        assert_eq!(errand_of(&event(happened.clone()), &Scene::default()), Some(errand), "{happened:?}");
    }
}

#[test]
fn pages_of_a_crowd_hold_everybody_once_in_the_order_of_ids() {
    let people = BTreeMap::from([(user(4), NotificationKind::Mention), (user(20), NotificationKind::Mention)]);
    let left_out = HashSet::from([user(6)]);
    let page = |ids: &[u64], span| {
        let merged = merge_page(&people, (&users(ids), NotificationKind::Post), span, &left_out);
        merged.into_iter().map(|(user, kind)| (user.raw(), kind)).collect::<Vec<_>>()
    };

    let first = page(&[4, 6, 9], (None, Some(user(9))));
    let last = page(&[12], (Some(user(9)), None));

    assert_eq!(first, [(4, NotificationKind::Mention), (9, NotificationKind::Post)]);
    assert_eq!(last, [(12, NotificationKind::Post), (20, NotificationKind::Mention)]);
}
