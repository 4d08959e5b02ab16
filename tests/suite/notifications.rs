//! Who is told of what, once, and what becomes of it.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::client::{Person, nonce, within};
use crate::support::faults;
use crate::support::inboxes::{Inbox, violations};
use crate::support::server::{Server, Settings};

/// Longer than the first windows of likes together, where a busy machine makes them pass one after the other.
const PATIENCE: Duration = Duration::from_secs(120);

/// Something that tells `person` for sure, so that what came before it has been told, if it ever is: lanes differ, so each is asked for.
async fn wait_for(person: &Person, what: &str, is_there: impl Fn(&Inbox) -> bool) -> Inbox {
    within(PATIENCE, what, async || {
        let inbox = Inbox::of(person).await;
        is_there(&inbox).then_some(inbox)
    })
    .await
}

async fn comment(person: &Person, post: &str, text: &str) -> String {
    person.write_comment(post, text).wait(30).send().await.expect(201).text_at("/comment/id")
}

#[tokio::test]
async fn a_comment_reaches_the_author_and_earlier_commenters_once_and_a_muted_one_never() {
    let server = Server::start().await;
    let [ann, ben, eve, mia]: [Person; 4] = Person::join_many(&server, "teller", 4).await.try_into().expect("four");
    let post = ann.publish("What a morning").await;
    let first = comment(&ben, &post, "It is").await;
    let second = comment(&eve, &post, "So it is").await;
    let third = comment(&mia, &post, "Indeed").await;
    mia.put(&format!("/v1/posts/{post}/subscription")).json(&json!({"mode": "muted"})).wait(30).send().await.expect(200);
    eve.put(&format!("/v1/users/{}/mute", ben.id)).wait(30).send().await.expect(200);

    let last = comment(&ben, &post, "Is it not?").await;

    let inbox = wait_for(&ann, "the last comment", |inbox| inbox.comments().contains_key(&last)).await;
    assert_eq!(inbox.kinds(), ["comment"; 4]);
    assert_eq!(violations(&inbox, &BTreeSet::from([first, last.clone()])), Vec::<String>::new());
    let newest = &inbox.entries[0];
    assert_eq!((&newest["actors"][0]["username"], &newest["count"]), (&json!(ben.name), &json!(1)));
    assert_eq!((&newest["post"]["excerpt"], &newest["comment"]["excerpt"]), (&json!("What a morning"), &json!("Is it not?")));
    assert_eq!(newest["group"], json!(format!("comment:post:{post}")));
    // The last comment was told to all at once: whoever was to hear of it has heard.
    let of_eve = wait_for(&eve, "Mia's comment", |inbox| inbox.seq >= 1).await;
    assert!(!of_eve.comments().contains_key(&last), "she muted Ben: {:?}", of_eve.entries);
    assert!(!Inbox::of(&mia).await.comments().contains_key(&last), "she muted the thread");
    // He commented first, and not the last one only: each of the others' comments reached him once, and none of his own.
    assert_eq!(Inbox::of(&ben).await.comments(), [(second, 1), (third, 1)].into());
}

#[tokio::test]
async fn each_hears_once_by_the_strongest_reason() {
    let server = Server::start().await;
    let [ann, ben, eve]: [Person; 3] = Person::join_many(&server, "reasons", 3).await.try_into().expect("three");
    eve.follow(&ann.id).wait(30).send().await.expect(200);
    ben.follow(&ann.id).wait(30).send().await.expect(200);

    let post = ann.publish(&format!("Hello @{}", eve.name)).await;
    let asked = comment(&ben, &post, &format!("@{} and @{}?", ann.name, eve.name)).await;
    ann.reply(&post, &asked, &format!("Yes, @{}", ben.name)).wait(30).send().await.expect(201);

    let ben_heard = wait_for(&ben, "the reply", |inbox| inbox.kinds().contains(&"reply".to_owned())).await;
    assert_eq!(ben_heard.kinds(), ["post", "reply"]);
    let eve_heard = wait_for(&eve, "two mentions", |inbox| inbox.seq >= 2).await;
    assert_eq!(eve_heard.kinds(), ["mention", "mention"]);
    let ann_heard = wait_for(&ann, "the follows and the mention", |inbox| inbox.kinds().contains(&"mention".to_owned())).await;
    assert_eq!(ann_heard.kinds().iter().filter(|kind| *kind == "mention").count(), 1);
    assert!(!ann_heard.kinds().contains(&"comment".to_owned()));
}

#[tokio::test]
async fn a_block_keeps_both_from_hearing_and_withdraws_what_was_unread() {
    let server = Server::start().await;
    let (ann, ben) = (Person::join(&server, "ann").await, Person::join(&server, "ben").await);
    let post = ann.publish("Before the quarrel").await;
    comment(&ben, &post, "I disagree").await;
    wait_for(&ann, "the comment", |inbox| inbox.unread == 1).await;

    ann.block(&ben.id).wait(30).send().await.expect(200);

    let inbox = wait_for(&ann, "the withdrawal", |inbox| inbox.unread == 0).await;
    assert_eq!((inbox.entries.len(), inbox.seq), (0, 1), "it keeps its place");
    let other = ben.publish(&format!("About @{}", ann.name)).await;
    let third = Person::join(&server, "third").await;
    third.write_comment(&other, &format!("Poor @{}", ben.name)).wait(30).send().await.expect(201);
    wait_for(&ben, "the mention", |inbox| inbox.unread == 1).await;
    assert_eq!(Inbox::of(&ann).await.seq, 1);
}

#[tokio::test]
async fn what_is_deleted_or_undone_before_it_was_read_is_withdrawn() {
    let server = Server::start().await;
    let (ann, ben) = (Person::join(&server, "ann").await, Person::join(&server, "ben").await);
    let post = ann.publish("Think twice").await;
    let regretted = comment(&ben, &post, "Oops").await;
    ben.like(&post).wait(30).send().await.expect(200);
    wait_for(&ann, "comment and like", |inbox| inbox.unread == 2).await;

    ben.unlike(&post).wait(30).send().await.expect(200);
    ben.delete(&format!("/v1/posts/{post}/comments/{regretted}")).wait(30).send().await.expect(200);

    let inbox = wait_for(&ann, "both withdrawn", |inbox| inbox.unread == 0).await;
    assert_eq!((inbox.entries.len(), inbox.seq), (0, 2));
    ben.like(&post).wait(30).send().await.expect(200);
    let last = comment(&ben, &post, "Better").await;
    let inbox = wait_for(&ann, "the better comment", |inbox| inbox.comments().contains_key(&last)).await;
    assert_eq!((inbox.kinds(), inbox.seq), (vec!["comment".to_owned()], 3), "a like that is set again tells nobody");
}

#[tokio::test]
async fn read_marks_only_go_up_and_groups_are_read_together() {
    let server = Server::start().await;
    let (ann, ben) = (Person::join(&server, "ann").await, Person::join(&server, "ben").await);
    let (one, other) = (ann.publish("One").await, ann.publish("Other").await);
    for post in [&one, &one, &other] {
        comment(&ben, post, &nonce()).await;
    }
    Inbox::with_places(&ann, 3).await;
    let mark = async |body: Value| {
        let answer = ann.post("/v1/notifications/read").json(&body).send().await.expect(200);
        answer.number_at("/unread")
    };

    assert_eq!(mark(json!({"groups": [format!("comment:post:{one}")]})).await, 1);
    assert_eq!(mark(json!({"up_to": 99})).await, 0, "cut at what is there");
    assert_eq!(mark(json!({"up_to": 1})).await, 0);
    comment(&ben, &other, "One more").await;
    let inbox = Inbox::with_places(&ann, 4).await;
    assert_eq!(inbox.unread, 1);
    let unread = ann.get("/v1/notifications?unread=true").send().await.expect(200);
    assert_eq!(unread.json["items"].as_array().map(Vec::len), Some(1));
    let grouped = ann.get("/v1/notifications?grouped=true").send().await.expect(200);
    let groups: Vec<(&Value, &Value, &Value)> =
        grouped.json["items"].as_array().expect("items").iter().map(|item| (&item["group"], &item["count"], &item["read"])).collect();
    let (first, second) = (json!(format!("comment:post:{other}")), json!(format!("comment:post:{one}")));
    assert_eq!(groups, [(&first, &json!(2), &json!(false)), (&second, &json!(2), &json!(true))]);
}

#[tokio::test]
async fn preferences_decide_what_is_told() {
    let server = Server::start().await;
    let (ann, ben) = (Person::join(&server, "ann").await, Person::join(&server, "ben").await);
    let post = ann.publish("Quiet, please").await;
    let wanted = json!({"like": {"inbox": false}, "comment": {"from": "following"}});
    let set = ann.put("/v1/notifications/preferences").json(&wanted).send().await.expect(200);
    assert_eq!(ann.get("/v1/notifications/preferences").send().await.expect(200).json, set.json);

    ben.like(&post).wait(30).send().await.expect(200);
    comment(&ben, &post, "From a stranger").await;
    // It is decided when she is told: what is told after it says that it has been.
    comment(&ben, &post, &format!("Look, @{}", ann.name)).await;
    wait_for(&ann, "the mention", |inbox| inbox.seq >= 1).await;
    ann.follow(&ben.id).wait(30).send().await.expect(200);
    let heard = comment(&ben, &post, "From a friend").await;

    let inbox = wait_for(&ann, "the friend's comment", |inbox| inbox.comments().contains_key(&heard)).await;
    assert_eq!((inbox.kinds(), inbox.seq), (vec!["mention".to_owned(), "comment".to_owned()], 2));
}

#[tokio::test]
async fn a_storm_of_likes_becomes_few_entries_that_count_everybody() {
    let server = Server::start().await;
    let ann = Person::join(&server, "ann").await;
    let crowd = Person::join_many(&server, "fan", 12).await;
    let post = ann.publish("Like me").await;

    let likes = futures_util::future::join_all(crowd.iter().map(|fan| fan.like(&post).wait(30).send())).await;
    likes.into_iter().for_each(|answer| drop(answer.expect(200)));
    let taken_back = &crowd[11];
    taken_back.unlike(&post).wait(30).send().await.expect(200);

    let counted = |inbox: &Inbox| inbox.entries.iter().map(|entry| entry["count"].as_u64().expect("a count")).sum::<u64>();
    let inbox = wait_for(&ann, "all who like it", |inbox| counted(inbox) >= 11).await;
    assert!(inbox.seq <= 4, "{:?}", inbox.entries);
    assert!(inbox.entries.iter().all(|entry| entry["group"] == json!(format!("like:post:{post}"))));
    // Of so many in so few entries three are in one.
    let shown =
        |entry: &Value| (entry["count"].as_u64().map(|count| count.min(3)), entry["actors"].as_array().map(|actors| actors.len() as u64));
    assert!(inbox.entries.iter().map(shown).all(|(due, shown)| due == shown), "{:?}", inbox.entries);
    assert!(inbox.entries.iter().map(shown).any(|(due, _)| due == Some(3)), "{:?}", inbox.entries);
    let grouped = ann.get("/v1/notifications?grouped=true").send().await.expect(200);
    assert_eq!(grouped.json["items"][0]["count"].as_u64(), Some(counted(&inbox)));
}

#[tokio::test]
async fn old_entries_go_and_the_rest_stays_in_place() {
    let settings = Settings::default().with("notify.retention_entries", "3").fault((faults::FORGET_OFTEN, "return"));
    let server = Server::start_with(settings).await;
    let (ann, ben) = (Person::join(&server, "ann").await, Person::join(&server, "ben").await);
    let post = ann.publish("Talk to me").await;
    for _ in 0..6 {
        comment(&ben, &post, &nonce()).await;
    }
    Inbox::with_places(&ann, 6).await;

    let inbox = wait_for(&ann, "three to be left", |inbox| inbox.entries.len() == 3).await;

    let places: Vec<u64> = inbox.entries.iter().filter_map(|entry| entry["seq"].as_u64()).collect();
    assert_eq!((places, inbox.seq, inbox.unread), (vec![6, 5, 4], 6, 3));
    let (clean, report) = fsck(server).await;
    assert!(clean, "{report}");
}

/// The check of the whole database, with the server stopped.
async fn fsck(mut server: Server) -> (bool, String) {
    server.terminate().await;
    server.run(&["fsck"])
}

/// Comments from several people on posts of several shards at once, all for one author, while the process dies at a named place of a delivery,
/// round after round. What is wrong with the author's inbox at the end.
async fn told_over_deaths(settings: &Settings, places: &[&str]) -> Vec<String> {
    let mut server = Server::start_with(settings.clone()).await;
    let ann = Person::join(&server, "ann").await;
    let crowd = Person::join_many(&server, "commenter", 4).await;
    let mut posts = Vec::new();
    for _ in 0..8 {
        posts.push(ann.publish(&nonce()).await);
    }
    let mut comments = BTreeSet::new();
    for (round, place) in places.iter().enumerate() {
        server.kill();
        server.restart_with(settings.clone().fault((place, &format!("{round}*off->sleep(60000)")))).await;
        comments.extend(comment_all(&posts, &crowd).await);
        // Few deliveries bring all: not every round reaches the place.
        let all_told = async || {
            let told = Inbox::of(&ann).await.comments();
            comments.iter().all(|comment| told.contains_key(comment))
        };
        server.stands_still_or(all_told).await;
    }
    server.kill();
    server.restart_with(settings.clone()).await;
    // What lies before these in their lanes has been seen before them.
    for (post, person) in posts.iter().zip(crowd.iter().cycle()) {
        comments.insert(comment(person, post, &nonce()).await);
    }
    let inbox = at_rest(&ann).await;
    let mut found = violations(&inbox, &comments);
    let (clean, report) = fsck(server).await;
    if !clean {
        found.push(report);
    }
    found
}

async fn comment_all(posts: &[String], crowd: &[Person]) -> Vec<String> {
    let sent = posts
        .iter()
        .zip(crowd.iter().cycle())
        .map(|(post, person)| async move { person.write_comment(post, &nonce()).send().await.expect(202).text_at("/comment/id") });
    futures_util::future::join_all(sent).await
}

/// What the dispatchers have yet to tell.
async fn untold(person: &Person) -> f64 {
    let mut untold = 0.0;
    for shard in ["s1", "s2", "s3", "s4"] {
        for metric in ["sosik_notices_waiting", "sosik_lanes_untold"] {
            untold += person.metric(&format!("{metric}{{shard=\"{shard}\"}}")).await;
        }
    }
    untold
}

/// The inbox once nothing is owed any more of what everybody can see.
async fn at_rest(person: &Person) -> Inbox {
    let mut before = 0;
    within(PATIENCE, "everybody to be told", async || {
        // The dispatchers say four times a second what they have yet to tell.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let (untold, inbox) = (untold(person).await, Inbox::of(person).await);
        let rests = inbox.seq > 0 && std::mem::replace(&mut before, inbox.seq) == inbox.seq;
        (rests && untold == 0.0).then_some(inbox)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_told_twice_or_not_at_all_when_the_process_dies_in_the_middle_of_telling() {
    let places = [faults::BEFORE_DELIVERY, faults::AFTER_DELIVERY, faults::BEFORE_DELIVERY, faults::AFTER_DELIVERY];

    let found = told_over_deaths(&Settings::default(), &places).await;

    assert_eq!(found, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_a_cursor_that_moves_in_its_own_transaction_is_caught() {
    let settings = Settings::default().fault((faults::CURSOR_APART, "return"));

    let found = told_over_deaths(&settings, &[faults::BEFORE_DELIVERY]).await;

    assert!(found.iter().any(|what| what.starts_with("nothing tells of")), "{found:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_a_seq_that_is_counted_outside_the_transaction_is_caught() {
    // So long that the dispatchers of all shards have read before the first of them writes.
    let settings = Settings::default().fault((faults::SEQ_OUTSIDE, "return(3000)"));
    let mut caught = Vec::new();
    for _ in 0..5 {
        caught = told_over_deaths(&settings, &[]).await;
        if !caught.is_empty() {
            return;
        }
    }
    panic!("not noticed: {caught:?}");
}

#[tokio::test]
async fn nobody_is_told_of_what_others_cannot_see_yet() {
    let (_server, ben) = told_while_relays_stand_still(Settings::default()).await;

    // Time in which he would be told.
    tokio::time::sleep(Duration::from_secs(2)).await;

    assert_eq!(Inbox::of(&ben).await.seq, 0);
}

#[tokio::test]
async fn control_notifying_before_visibility_is_caught() {
    let (_server, ben) = told_while_relays_stand_still(Settings::default().fault((faults::BEFORE_VISIBLE, "return"))).await;

    wait_for(&ben, "what nobody can see yet", |inbox| inbox.seq == 1).await;
}

/// Somebody who is named in a post that is committed and not visible.
async fn told_while_relays_stand_still(settings: Settings) -> (Server, Person) {
    let mut server = Server::start().await;
    let (ann, ben) = (Person::join(&server, "ann").await, Person::join(&server, "ben").await);
    server.kill();
    server.restart_with(settings.fault((faults::RELAY_STALLED, "return"))).await;
    let write = ann.write_post(&format!("Hello @{}", ben.name)).send().await.expect(202).write_id();
    within(PATIENCE, "the commit", async || (ann.write_state(&write).await == "committed").then_some(())).await;
    (server, ben)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn likes_are_counted_exactly_when_the_process_dies_while_a_window_closes() {
    let mut server = Server::start_with(Settings::default().fault((faults::BEFORE_CLOSE, "sleep(60000)"))).await;
    let ann = Person::join(&server, "ann").await;
    let crowd = Person::join_many(&server, "fan", 6).await;
    let post = ann.publish("Like me").await;
    let likes = futures_util::future::join_all(crowd.iter().map(|fan| fan.like(&post).send())).await;
    likes.into_iter().for_each(|answer| drop(answer.expect(202)));
    server.stands_still().await;
    server.kill();
    server.restart_with(Settings::default()).await;

    let counted = |inbox: &Inbox| inbox.entries.iter().map(|entry| entry["count"].as_u64().expect("a count")).sum::<u64>();
    let inbox = wait_for(&ann, "all who like it", |inbox| counted(inbox) >= 6).await;

    assert_eq!(counted(&inbox), 6, "{:?}", inbox.entries);
    assert_eq!(violations(&inbox, &BTreeSet::new()), Vec::<String>::new());
}
