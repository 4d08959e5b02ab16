//! The inbox over stand-ins: what is asked for, and what is answered.

use std::sync::Arc;

use actix_web::http::Method;
use actix_web::test::TestRequest;
use futures_util::future::{LocalBoxFuture, ready};
use serde_json::{Value, json};

use super::doubles::{Doubles, Fate, user_view};
use super::{Stage, request};
use crate::api::ports::{NotificationPage, Notifications};
use crate::intake::Wish;
use crate::ledger::view::{Excerpt, NotificationView, ViewError};
use crate::notify::inbox::PageAsked;
use crate::vocabulary::entry::{EntryState, Epoch, Group, InboxEntry, InboxLine, InboxState, NotificationKind, ReadMark, Target};
use crate::vocabulary::ids::{NotificationId, PostId, UserId};
use crate::vocabulary::preferences::{Circle, Preferences, QuietHours, Ways};

/// An inbox of five entries: likes of a post.
impl Notifications for Doubles {
    fn list(&self, _: UserId, asked: PageAsked) -> LocalBoxFuture<'_, Result<NotificationPage, ViewError>> {
        let first = asked.before.map_or(5, |before| before - 1);
        let items: Vec<NotificationView> = (1..=first).rev().take(asked.limit).map(notification).collect();
        let next = items.last().map(|view| view.entry.seq).filter(|seq| *seq > 1);
        let state = InboxState { seq: 5, min_seq: 1, unread: 3, read_up_to: 2 };
        Box::pin(ready(Ok(NotificationPage { items, next, state, epoch: Epoch(0xfeed) })))
    }

    fn unread(&self, _: UserId) -> LocalBoxFuture<'_, Result<u64, ViewError>> {
        Box::pin(ready(Ok(3)))
    }

    fn preferences(&self, _: UserId) -> LocalBoxFuture<'_, Result<Preferences, ViewError>> {
        Box::pin(ready(Ok(Preferences::default())))
    }
}

fn notification(seq: u64) -> NotificationView {
    let post = PostId::from_raw(42);
    let group = Group { kind: NotificationKind::Like, target: Target::Post(post) };
    let line =
        InboxLine { group, actors: vec![UserId::from_raw(8)], count: 2, post: Some(post), comment: None, created_at: 1_735_689_600_000 };
    let state = if seq > 2 { EntryState::Unread } else { EntryState::Read };
    NotificationView {
        entry: InboxEntry { seq, id: NotificationId::from_raw(900 + seq), line: Arc::new(line), state },
        actors: vec![Arc::new(user_view(None, UserId::from_raw(8)).card)],
        post: Some(Excerpt { id: post, text: "hello".to_owned() }),
        comment: None,
    }
}

fn as_anna(method: Method, path: &str) -> TestRequest {
    super::as_anna(request(method, path))
}

#[actix_web::test]
async fn the_inbox_comes_in_pages_with_where_it_stands() {
    let stage = Stage::new();

    let first = stage.send(as_anna(Method::GET, "/v1/notifications?limit=2")).await;

    assert_eq!(first.status, 200);
    let body = first.json();
    assert_eq!((&body["unread"], &body["seq"], &body["epoch"]), (&json!(3), &json!(5), &json!("000000000000feed")));
    assert_eq!(
        body["items"][0],
        json!({"seq": 5, "id": "905", "kind": "like", "group": "like:post:42", "count": 2, "comment": null, "read": false,
            "actors": [{"id": "8", "username": body["items"][0]["actors"][0]["username"], "display_name": body["items"][0]["actors"][0]["display_name"]}],
            "post": {"id": "42", "excerpt": "hello"}, "created_at": "2025-01-01T00:00:00.000Z"})
    );
    let cursor = body["next"].as_str().expect("a next page").to_owned();
    let second = stage.send(as_anna(Method::GET, &format!("/v1/notifications?limit=2&cursor={cursor}"))).await;
    assert_eq!(second.json()["items"][0]["seq"], 3);
    let elsewhere = stage.send(as_anna(Method::GET, &format!("/v1/notifications?grouped=true&cursor={cursor}"))).await;
    assert_eq!(elsewhere.status, 400, "a cursor is good for its own list");
}

#[actix_web::test]
async fn a_read_mark_is_a_number_or_groups_and_nothing_else() {
    let stage = Stage::new();
    stage.doubles.will(Fate::Visible);
    let group: Group = "like:post:42".parse().expect("a group");
    let good = [(json!({"up_to": 4}), ReadMark::UpTo(4)), (json!({"groups": ["like:post:42"]}), ReadMark::Groups(vec![group]))];
    for (body, mark) in good {
        let answered = stage.send(as_anna(Method::POST, "/v1/notifications/read").set_json(&body)).await;
        assert_eq!((answered.status, answered.json()), (200, json!({"unread": 3})), "{body}");
        assert_eq!(stage.doubles.last().wish, Wish::MarkRead { mark });
    }
    let many = vec!["follow"; ReadMark::GROUPS_MAX + 1];
    for body in [
        json!({}),
        json!({"up_to": -1}),
        json!({"up_to": 1, "groups": ["follow"]}),
        json!({"groups": []}),
        json!({"groups": ["x"]}),
        json!({"groups": [1]}),
        json!({"groups": many}),
    ] {
        let answered = stage.send(as_anna(Method::POST, "/v1/notifications/read").set_json(&body)).await;
        assert_eq!(answered.status, 422, "{body}");
    }
}

#[actix_web::test]
async fn what_takes_longer_is_answered_as_any_other_write() {
    let stage = Stage::new();

    let answered = stage.send(as_anna(Method::POST, "/v1/notifications/read").set_json(json!({"up_to": 4}))).await;

    assert_eq!(answered.status, 202);
    assert!(answered.json()["write"]["id"].is_string());
}

#[actix_web::test]
async fn preferences_are_set_as_a_whole() {
    let stage = Stage::new();
    stage.doubles.will(Fate::Visible);
    let sent =
        json!({"like": {"inbox": false, "from": "following"}, "quiet_hours": {"from": "22:00", "to": "07:30", "time_zone": "Asia/Seoul"}});

    let answered = stage.send(as_anna(Method::PUT, "/v1/notifications/preferences").set_json(&sent)).await;

    let mut expected = Preferences::default();
    expected.set_ways(NotificationKind::Like, Ways { inbox: false, from: Circle::Following, ..Ways::default() });
    expected.quiet_hours = Some(QuietHours { from: 1320, to: 450, time_zone: "Asia/Seoul".to_owned() });
    assert_eq!(stage.doubles.last().wish, Wish::SetPreferences { preferences: expected });
    let body = answered.json();
    assert_eq!(body["like"], json!({"inbox": false, "stream": true, "push": false, "email": false, "from": "following"}));
    assert_eq!(body["quiet_hours"], sent["quiet_hours"]);
    assert_eq!(body["comment"]["inbox"], Value::Bool(true));
    for bad in [
        json!({"likes": {}}),
        json!({"like": {"sms": true}}),
        json!({"like": [true, true, true, true, "everyone"]}),
        json!({"quiet_hours": {"from": "25:00", "to": "07:00", "time_zone": "UTC"}}),
    ] {
        let refused = stage.send(as_anna(Method::PUT, "/v1/notifications/preferences").set_json(&bad)).await;
        assert_eq!(refused.status, 422, "{bad}");
    }
}

#[actix_web::test]
async fn an_inbox_is_its_owners_alone() {
    let stage = Stage::new();

    for path in ["/v1/notifications", "/v1/notifications/preferences"] {
        assert_eq!(stage.send(request(Method::GET, path)).await.status, 401, "{path}");
    }
}
