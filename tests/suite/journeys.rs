//! What people do, from end to end: they write, read, count, follow, fall out, and take back.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::client::{Person, nonce, within};
use crate::support::server::{Server, Settings};

const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_newcomer_posts_and_a_friend_comments_likes_and_follows() {
    let server = Server::start().await;
    let (ann, ben) = (Person::join(&server, "ann").await, Person::join(&server, "ben").await);

    let post = ann.publish("Good morning").await;
    ben.like(&post).wait(30).send().await.expect(200);
    ben.write_comment(&post, "And to you").wait(30).send().await.expect(201);
    ben.follow(&ann.id).wait(30).send().await.expect(200);

    let seen = ann.read_post(&post).await.expect(200);
    assert_eq!((seen.number_at("/likes"), seen.number_at("/comments")), (1, 1));
    assert_eq!(seen.text_at("/author/username"), ann.name);
    assert_eq!(seen.json["viewer"]["liked"], false);
    let comments = ann.all_items(&format!("/v1/posts/{post}/comments")).await;
    assert_eq!(comments[0]["body"], "And to you");
    let profile = ben.read_user(&ann.id).await.expect(200);
    assert_eq!((profile.number_at("/followers"), profile.number_at("/posts")), (1, 1));
    assert_eq!(profile.json["viewer"]["following"], true);
    let feed = ben.get("/v1/feed").send().await.expect(200);
    assert_eq!(feed.item_ids(), [post]);
}

#[tokio::test]
async fn a_write_is_seen_by_its_author_at_once_and_by_others_after_its_commit() {
    let mut server = Server::start().await;
    let (ann, ben) = (Person::join(&server, "ann").await, Person::join(&server, "ben").await);
    server.kill();
    server.restart_with(Settings::default().without_workers()).await;

    let accepted = ann.write_post("Only mine for now").send().await.expect(202);
    let post = accepted.text_at("/post/id");

    assert_eq!(accepted.header("location"), format!("/v1/writes/{}", accepted.write_id()));
    assert_eq!(ann.read_post(&post).await.expect(200).text_at("/body"), "Only mine for now");
    ben.read_post(&post).await.expect_problem(404, "not-found");
    assert_eq!(ann.write_state(&accepted.write_id()).await, "accepted");

    server.kill();
    server.restart_with(Settings::default()).await;
    within(PATIENCE, "the post to be visible", async || (ben.read_post(&post).await.status == 200).then_some(())).await;
}

#[tokio::test]
async fn a_write_tells_its_state_to_its_author_only() {
    let server = Server::start().await;
    let (ann, ben) = (Person::join(&server, "ann").await, Person::join(&server, "ben").await);

    let accepted = ann.write_post("Followed to the end").send().await.expect(202);
    let write = accepted.write_id();
    assert_eq!(ann.write_settled(&write).await, "visible");

    let status = ann.get(&format!("/v1/writes/{write}")).send().await.expect(200);
    assert_eq!(status.text_at("/kind"), "post.create");
    assert_eq!(status.text_at("/resource"), format!("/v1/posts/{}", accepted.text_at("/post/id")));
    assert!(status.json["problem"].is_null());
    assert!(status.text_at("/accepted_at") <= status.text_at("/visible_at"));
    assert!(!accepted.header("consistency-token").is_empty());
    ben.get(&format!("/v1/writes/{write}")).send().await.expect_problem(404, "not-found");
}

#[tokio::test]
async fn prefer_wait_answers_once_all_can_see_it() {
    let server = Server::start().await;
    let (ann, ben) = (Person::join(&server, "ann").await, Person::join(&server, "ben").await);

    let created = ann.write_post("Waited for").wait(25).send().await.expect(201);
    let post = created.text_at("/post/id");
    assert_eq!(created.header("location"), format!("/v1/posts/{post}"));
    assert_eq!(created.header("preference-applied"), "wait=25");
    ben.read_post(&post).await.expect(200);

    let liked = ben.like(&post).header("Prefer", "wait=99").send().await.expect(200);
    assert_eq!(liked.header("preference-applied"), "wait=30");
    assert_eq!(liked.number_at("/post/likes"), 1);
}

#[tokio::test]
async fn a_wait_that_is_over_answers_accepted() {
    let mut server = Server::start().await;
    let ann = Person::join(&server, "ann").await;
    server.kill();
    server.restart_with(Settings::default().without_workers()).await;

    let answer = ann.write_post("Not yet").wait(1).send().await.expect(202);

    assert_eq!(answer.json["write"]["state"], "accepted");
}

#[tokio::test]
async fn a_like_counts_once_however_often_it_is_set() {
    let server = Server::start().await;
    let (ann, ben) = (Person::join(&server, "ann").await, Person::join(&server, "ben").await);
    let post = ann.publish("Like me").await;

    for _ in 0..3 {
        ben.like(&post).wait(30).send().await.expect(200);
    }
    assert_eq!(ann.read_post(&post).await.number_at("/likes"), 1);
    let likers = ann.all_items(&format!("/v1/posts/{post}/likes")).await;
    assert_eq!(likers.iter().map(|user| user["id"].as_str()).collect::<Vec<_>>(), [Some(ben.id.as_str())]);

    for _ in 0..2 {
        ben.unlike(&post).wait(30).send().await.expect(200);
    }
    assert_eq!(ann.read_post(&post).await.number_at("/likes"), 0);
}

#[tokio::test]
async fn ones_own_pending_likes_and_comments_are_counted_at_once_and_only_once() {
    let server = Server::start().await;
    let (ann, ben) = (Person::join(&server, "ann").await, Person::join(&server, "ben").await);
    let post = ann.publish("Count with me").await;

    for expected in 1..=20 {
        let comment = ben.write_comment(&post, &nonce()).send().await.expect(202);
        assert_eq!(ben.read_post(&post).await.number_at("/comments"), expected, "after {}", comment.text);
    }
    let liked = ben.like(&post).send().await.expect(202);
    assert_eq!(liked.number_at("/post/likes"), 1);
    for _ in 0..20 {
        let seen = ben.read_post(&post).await;
        assert_eq!((seen.number_at("/likes"), seen.number_at("/comments")), (1, 20));
    }
}

#[tokio::test]
async fn an_answered_comment_keeps_its_place_when_it_is_deleted() {
    let server = Server::start().await;
    let (ann, ben) = (Person::join(&server, "ann").await, Person::join(&server, "ben").await);
    let post = ann.publish("Talk").await;
    let first = ben.write_comment(&post, "first").wait(30).send().await.expect(201).text_at("/comment/id");
    let reply = ann.reply(&post, &first, "reply").wait(30).send().await.expect(201).text_at("/comment/id");
    let lone = ben.write_comment(&post, "lone").wait(30).send().await.expect(201).text_at("/comment/id");

    for comment in [&first, &lone] {
        ben.delete(&format!("/v1/posts/{post}/comments/{comment}")).wait(30).send().await.expect(200);
    }

    let comments = ann.all_items(&format!("/v1/posts/{post}/comments")).await;
    assert_eq!(comments.len(), 2);
    assert_eq!((&comments[0]["id"], &comments[0]["body"], &comments[0]["deleted"]), (&json!(first), &Value::Null, &json!(true)));
    assert_eq!((&comments[1]["id"], &comments[1]["parent_id"]), (&json!(reply), &json!(first)));
    assert_eq!(ann.read_post(&post).await.number_at("/comments"), 1);
}

#[tokio::test]
async fn a_deleted_post_is_gone_with_everything_below_it() {
    let server = Server::start().await;
    let (ann, ben) = (Person::join(&server, "ann").await, Person::join(&server, "ben").await);
    let post = ann.publish("Short-lived").await;
    let comment = ben.write_comment(&post, "so true").wait(30).send().await.expect(201).text_at("/comment/id");

    let deleted = ann.delete(&format!("/v1/posts/{post}")).send().await.expect(202);
    assert!(deleted.json.get("post").is_none());
    ann.read_post(&post).await.expect_problem(410, "gone");
    ann.write_settled(&deleted.write_id()).await;

    for path in [format!("/v1/posts/{post}"), format!("/v1/posts/{post}/comments"), format!("/v1/posts/{post}/comments/{comment}")] {
        ben.get(&path).send().await.expect_problem(410, "gone");
    }
    let refused = ben.write_comment(&post, "too late").send().await.expect_problem(410, "gone");
    assert_eq!(refused.json["accepted"], false);
    assert_eq!(ann.read_user("me").await.number_at("/posts"), 0);
    assert!(ann.all_items(&format!("/v1/users/{}/posts", ann.id)).await.is_empty());
}

#[tokio::test]
async fn only_the_author_edits_or_deletes() {
    let server = Server::start().await;
    let (ann, ben) = (Person::join(&server, "ann").await, Person::join(&server, "ben").await);
    let post = ann.publish("Mine").await;
    let comment = ann.write_comment(&post, "mine too").wait(30).send().await.expect(201).text_at("/comment/id");

    ben.edit_post(&post, "yours").send().await.expect_problem(403, "forbidden");
    ben.delete(&format!("/v1/posts/{post}")).send().await.expect_problem(403, "forbidden");
    let path = format!("/v1/posts/{post}/comments/{comment}");
    ben.patch(&path).json(&json!({"body": "yours"})).send().await.expect_problem(403, "forbidden");
    ben.delete(&path).send().await.expect_problem(403, "forbidden");

    assert_eq!(ann.read_post(&post).await.text_at("/body"), "Mine");
}

#[tokio::test]
async fn a_feed_follows_its_reader_without_delay_or_leftovers() {
    let server = Server::start().await;
    let (ann, ben) = (Person::join(&server, "ann").await, Person::join(&server, "ben").await);
    let old = ann.publish("Before you came").await;
    assert!(ben.get("/v1/feed").send().await.expect(200).item_ids().is_empty());

    ben.follow(&ann.id).wait(30).send().await.expect(200);
    let own = ben.write_post("Mine").send().await.expect(202).text_at("/post/id");
    let new = ann.publish("After you came").await;
    assert_eq!(ben.get("/v1/feed").send().await.expect(200).item_ids(), [new, own.clone(), old]);

    ben.unfollow(&ann.id).wait(30).send().await.expect(200);
    assert_eq!(ben.get("/v1/feed").send().await.expect(200).item_ids(), [own]);
}

#[tokio::test]
async fn a_block_ends_both_follows_and_hides_each_from_the_other() {
    let server = Server::start().await;
    let (ann, ben) = (Person::join(&server, "ann").await, Person::join(&server, "ben").await);
    let post = ann.publish("Not for you").await;
    ben.follow(&ann.id).wait(30).send().await.expect(200);
    ann.follow(&ben.id).wait(30).send().await.expect(200);

    let blocked = ann.block(&ben.id).wait(30).send().await.expect(200);
    assert_eq!(blocked.json["user"]["viewer"]["blocking"], true);

    ben.read_post(&post).await.expect_problem(404, "not-found");
    ben.write_comment(&post, "hello?").send().await.expect_problem(404, "not-found");
    ben.like(&post).send().await.expect_problem(404, "not-found");
    ben.follow(&ann.id).send().await.expect_problem(403, "forbidden");
    for person in [&ann, &ben] {
        let me = person.read_user("me").await.expect(200);
        assert_eq!((me.number_at("/followers"), me.number_at("/following")), (0, 0));
    }

    ann.delete(&format!("/v1/users/{}/block", ben.id)).wait(30).send().await.expect(200);
    ben.read_post(&post).await.expect(200);
    assert_eq!(ben.read_user(&ann.id).await.json["viewer"]["following"], false);
}

#[tokio::test]
async fn nobody_follows_blocks_or_mutes_himself() {
    let server = Server::start().await;
    let ann = Person::join(&server, "ann").await;

    for relation in ["follow", "block", "mute"] {
        let answer = ann.put(&format!("/v1/users/{}/{relation}", ann.id)).send().await.expect_problem(422, "invalid");
        assert_eq!(answer.json["accepted"], false);
    }
}

#[tokio::test]
async fn a_mute_and_a_subscription_are_the_readers_own_business() {
    let server = Server::start().await;
    let (ann, ben) = (Person::join(&server, "ann").await, Person::join(&server, "ben").await);
    let post = ann.publish("Loud").await;

    let muted = ben.put(&format!("/v1/users/{}/mute", ann.id)).send().await.expect(202);
    assert_eq!(muted.json["user"]["viewer"]["muting"], true);
    let subscription = format!("/v1/posts/{post}/subscription");
    let subscribed = ben.put(&subscription).json(&json!({"mode": "subscribed"})).send().await.expect(202);
    assert_eq!(subscribed.json["post"]["viewer"]["subscription"], "subscribed");
    ben.put(&subscription).json(&json!({"mode": "loudly"})).send().await.expect_problem(422, "invalid");

    assert_eq!(ann.read_user(&ben.id).await.json["viewer"]["muting"], false);
    assert_eq!(ann.read_post(&post).await.json["viewer"]["subscription"], "default");
}

#[tokio::test]
async fn a_tag_names_the_text_for_writers_and_the_whole_for_readers() {
    let server = Server::start().await;
    let (ann, ben) = (Person::join(&server, "ann").await, Person::join(&server, "ben").await);
    let post = ann.publish("First").await;
    let path = format!("/v1/posts/{post}");
    let first = ann.read_post(&post).await.header("etag").to_owned();

    ann.get(&path).header("If-None-Match", &first).send().await.expect(304);
    ben.like(&post).wait(30).send().await.expect(200);
    let liked = ann.get(&path).header("If-None-Match", &first).send().await.expect(200).header("etag").to_owned();
    assert_ne!(liked, first, "the representation changed with the like");

    ann.edit_post(&post, "Second").header("If-Match", &first).wait(30).send().await.expect(200);
    let refused = ann.edit_post(&post, "Third").header("If-Match", &first).send().await.expect_problem(412, "precondition-failed");
    assert_eq!(refused.json["accepted"], false);
    ann.delete(&path).header("If-Match", &liked).send().await.expect_problem(412, "precondition-failed");

    let seen = ann.read_post(&post).await;
    assert_eq!(seen.text_at("/body"), "Second");
    assert!(seen.json["edited_at"].is_string());

    let me = ann.get("/v1/users/me").send().await.expect(200).header("etag").to_owned();
    let edit = |name: &str| ann.patch("/v1/users/me").json(&json!({"display_name": name})).header("If-Match", &me);
    edit("Ann A.").send().await.expect(200);
    edit("Ann B.").send().await.expect_problem(412, "precondition-failed");
    assert_eq!(ann.get("/v1/users/me").send().await.expect(200).text_at("/display_name"), "Ann A.");
}

#[tokio::test]
async fn pages_join_without_a_gap_or_a_repeat() {
    let server = Server::start().await;
    let ann = Person::join(&server, "ann").await;
    let post = ann.publish("Many comments").await;
    let mut written = Vec::new();
    for number in 0..23 {
        written.push(ann.write_comment(&post, &format!("comment {number}")).send().await.expect(202).text_at("/comment/id"));
    }

    for (order, expected) in [("asc", written.clone()), ("desc", written.iter().rev().cloned().collect())] {
        let mut path = format!("/v1/posts/{post}/comments?order={order}&limit=5");
        let mut read = Vec::new();
        loop {
            let page = ann.get(&path).send().await.expect(200);
            read.extend(page.item_ids());
            let Some(next) = page.json["next"].as_str() else {
                assert!(page.header("link").is_empty());
                break;
            };
            assert!(next.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'), "{next}");
            assert!(page.header("link").contains(&format!("cursor={next}")) && page.header("link").ends_with("rel=\"next\""));
            path = format!("/v1/posts/{post}/comments?order={order}&limit=5&cursor={next}");
        }
        assert_eq!(read, expected, "{order}");
    }
}

#[tokio::test]
async fn a_page_has_a_size_from_one_to_a_hundred_and_a_cursor_that_was_given() {
    let server = Server::start().await;
    let ann = Person::join(&server, "ann").await;

    for limit in ["1", "100"] {
        ann.get(&format!("/v1/feed?limit={limit}")).send().await.expect(200);
    }
    for limit in ["0", "101"] {
        ann.get(&format!("/v1/feed?limit={limit}")).send().await.expect_problem(422, "invalid");
    }
    ann.get("/v1/feed?cursor=made-up").send().await.expect_problem(400, "malformed");
    ann.get("/v1/feed?cursor=").send().await.expect_problem(400, "malformed");
}

#[tokio::test]
async fn a_repeated_key_gives_the_first_answer_also_after_a_restart() {
    let mut server = Server::start().await;
    let ann = Person::join(&server, "ann").await;
    let key = nonce();
    let first = ann.write_post("Once only").key(&key).send().await.expect(202);
    assert_eq!(first.header("idempotency-replayed"), "");

    for restart in [false, true] {
        if restart {
            server.kill();
            server.restart().await;
        }
        let again = ann.write_post("Once only").key(&format!("\"{key}\"")).send().await.expect(202);
        assert_eq!(again.header("idempotency-replayed"), "true", "restart: {restart}");
        assert_eq!((again.write_id(), again.text_at("/post/id")), (first.write_id(), first.text_at("/post/id")));
        assert_eq!(again.header("location"), first.header("location"));
        ann.write_post("Something else").key(&key).send().await.expect_problem(422, "idempotency-key-reused");
    }
    within(PATIENCE, "one post", async || (ann.all_items(&format!("/v1/users/{}/posts", ann.id)).await.len() == 1).then_some(())).await;
}

#[tokio::test]
async fn keys_belong_to_their_user_and_have_a_form() {
    let server = Server::start().await;
    let (ann, ben) = (Person::join(&server, "ann").await, Person::join(&server, "ben").await);
    let key = nonce();
    ann.write_post("Mine").key(&key).send().await.expect(202);

    let other = ben.write_post("Mine as well").key(&key).send().await.expect(202);
    assert_eq!(other.header("idempotency-replayed"), "");
    ann.write_post("x").key(&"k".repeat(64)).send().await.expect(202);
    for wrong in ["k".repeat(65), String::new(), "two words".to_owned()] {
        ann.write_post("x").key(&wrong).send().await.expect_problem(400, "malformed");
    }
}

#[tokio::test]
async fn a_refused_write_is_not_remembered_under_its_key() {
    let server = Server::start().await;
    let ann = Person::join(&server, "ann").await;
    let key = nonce();

    ann.write_post("   ").key(&key).send().await.expect_problem(422, "invalid");

    let accepted = ann.write_post("Better").key(&key).send().await.expect(202);
    assert_eq!(accepted.header("idempotency-replayed"), "");
}

#[tokio::test]
async fn a_profile_is_edited_and_cleared() {
    let server = Server::start().await;
    let ann = Person::join(&server, "ann").await;

    let edited = ann.patch("/v1/users/me").json(&json!({"display_name": "Ann A.", "bio": "Tidings."})).send().await.expect(200);
    assert_eq!((edited.text_at("/user/display_name"), edited.text_at("/user/bio")), ("Ann A.".to_owned(), "Tidings.".to_owned()));

    ann.patch("/v1/users/me").header("Content-Type", "application/merge-patch+json").body(r#"{"bio": null}"#).send().await.expect(200);
    let seen = ann.signed_out().read_user(&format!("@{}", ann.name)).await.expect(200);
    assert_eq!(seen.text_at("/display_name"), "Ann A.");
    assert!(seen.json["bio"].is_null());
    assert!(seen.json.get("viewer").is_none(), "a stranger has no view of his own");
}

#[tokio::test]
async fn text_has_its_limits_and_names_the_field_that_breaks_them() {
    let server = Server::start().await;
    let ann = Person::join(&server, "ann").await;

    ann.write_post(&"뉴".repeat(10_000)).send().await.expect(202);
    for wrong in ["뉴".repeat(10_001), String::new(), " \n\t ".to_owned(), "a\u{0}b".to_owned(), "bell \u{7}".to_owned()] {
        let answer = ann.write_post(&wrong).send().await.expect_problem(422, "invalid");
        assert_eq!(answer.json["errors"][0]["field"], "body");
        assert_eq!(answer.json["accepted"], false);
    }
    let post = ann.publish("Room below").await;
    ann.write_comment(&post, &"c".repeat(5_000)).send().await.expect(202);
    ann.write_comment(&post, &"c".repeat(5_001)).send().await.expect_problem(422, "invalid");
}

#[tokio::test]
async fn an_id_tells_when_where_and_on_which_shard() {
    let server = Server::start_with(Settings::default().with("node.datacenter", "3").with("node.worker", "17")).await;
    let ann = Person::join(&server, "ann").await;
    let post = ann.publish("Where am I?").await;

    let parts = Person::stranger(&server).get(&format!("/v1/ids/{post}")).send().await.expect(200);

    assert_eq!(parts.text_at("/id"), post);
    assert_eq!((parts.number_at("/datacenter"), parts.number_at("/worker")), (3, 17));
    assert_eq!(parts.text_at("/timestamp"), ann.read_post(&post).await.text_at("/created_at"));
    assert!(parts.json["shard"].is_string());
    for wrong in ["0", "007", "-1", "abc", "9223372036854775808"] {
        ann.get(&format!("/v1/ids/{wrong}")).send().await.expect_problem(400, "malformed");
    }
}

#[tokio::test]
async fn strangers_read_posts_but_nothing_that_is_about_me() {
    let server = Server::start().await;
    let ann = Person::join(&server, "ann").await;
    let post = ann.publish("For all").await;
    let stranger = Person::stranger(&server);

    for path in [format!("/v1/posts/{post}"), format!("/v1/users/{}", ann.id), format!("/v1/posts/{post}/comments")] {
        stranger.get(&path).send().await.expect(200);
    }
    for path in ["/v1/users/me", "/v1/feed", "/v1/auth/sessions"] {
        let answer = stranger.get(path).send().await.expect_problem(401, "unauthenticated");
        assert!(answer.header("www-authenticate").starts_with("Bearer"));
    }
    assert!(stranger.read_post(&post).await.json.get("viewer").is_none());
}

#[tokio::test]
async fn without_anonymous_reads_everything_needs_a_token() {
    let server = Server::start_with(Settings::default().with("api.anonymous_reads", "false")).await;
    let ann = Person::join(&server, "ann").await;
    let post = ann.publish("For members").await;

    Person::stranger(&server).read_post(&post).await.expect_problem(401, "unauthenticated");
    ann.read_post(&post).await.expect(200);
}

#[tokio::test]
async fn a_token_of_another_reader_is_no_measure_of_freshness() {
    let server = Server::start().await;
    let (ann, ben) = (Person::join(&server, "ann").await, Person::join(&server, "ben").await);
    let written = ann.write_post("Fresh").wait(30).send().await.expect(201);
    let token = written.header("consistency-token").to_owned();
    let path = format!("/v1/posts/{}", written.text_at("/post/id"));

    ann.get(&path).header("Consistency-Token", &token).send().await.expect(200);
    ben.get(&path).header("Consistency-Token", &token).send().await.expect_problem(400, "malformed");
    let mut forged = token.clone();
    let last = forged.pop().expect("a token");
    forged.push(if last == 'A' { 'B' } else { 'A' });
    for wrong in [forged.as_str(), &token[..token.len() / 2], "x"] {
        ann.get(&path).header("Consistency-Token", wrong).send().await.expect_problem(400, "malformed");
    }
}
