//! Committed, then visible: where standbys are read, others see a write when all of them have replayed it, and its author at once.
//!
//! Controls: a write that counts as seen too early, an overlay that ends at the commit, notifications before others can see: each must be
//! caught by the same look that finds nothing without it.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::client::{Answer, Person, nonce, within};
use crate::support::databases::number;
use crate::support::faults;
use crate::support::followed::{FOLLOWED, Followed, UP_TO_DATE_WITHIN, held, nothing_is_held, standby_is, standby_stands_still};
use crate::support::inboxes::Inbox;
use crate::support::load::{Load, Mix};
use crate::support::seed;
use crate::support::server::Settings;
use crate::support::socket::Socket;
use crate::support::verdict::verdict;

/// Longer than any test: a standby that stands still is waited for.
const WAITED_FOR: &str = "10m";
/// How soon others see what a standby has, and hear of it; and what a busy machine may take on top.
const TOLD_WITHIN: Duration = Duration::from_secs(1);
const BUSY_MARGIN: Duration = Duration::from_secs(10);

/// What somebody saw that he should not have, or did not see that he should.
#[derive(Debug, Default)]
struct Sight(Vec<String>);

impl Sight {
    fn note(&mut self, right: bool, what: impl FnOnce() -> String) {
        if !right {
            self.0.push(what());
        }
    }
}

/// Ben's post on the shard with a standby; Ann writes below it, and a stranger looks on. All three live elsewhere.
struct Scene {
    followed: Followed,
    ann: Person,
    ben: Person,
    admin: Person,
    post: String,
}

impl Scene {
    async fn set(settings: Settings) -> Option<Self> {
        let followed = Followed::start_read(settings, WAITED_FOR).await?;
        let (ann, ben) = (followed.join(false).await, followed.join(false).await);
        let admin = followed.as_admin(&Person::join(&followed.server, "op").await).await;
        let post = followed.publish(&ben).await;
        nothing_is_held(&admin).await;
        Some(Self { followed, ann, ben, admin, post })
    }

    async fn is_committed(&self, write: &str) -> String {
        let decided = async || Some(self.ann.write_state(write).await).filter(|state| state != "accepted");
        within(UP_TO_DATE_WITHIN, "the commit", decided).await
    }

    async fn comments_of(&self, reader: &Person) -> usize {
        reader.get(&format!("/v1/posts/{}/comments", self.post)).send().await.expect(200).item_ids().len()
    }

    async fn likers_of(&self, reader: &Person) -> Vec<String> {
        reader.get(&format!("/v1/posts/{}/likes", self.post)).send().await.expect(200).item_ids()
    }

    /// What the author of a like and a comment sees of them: each once, as an object, in lists and in counts.
    async fn look_as_author(&self, sight: &mut Sight) {
        let post = self.ann.read_post(&self.post).await;
        let right = post.json["likes"] == 1 && post.json["comments"] == 1 && post.json["viewer"]["liked"] == true;
        sight.note(right, || format!("the author sees {}", post.text));
        let (comments, likers) = (self.comments_of(&self.ann).await, self.likers_of(&self.ann).await);
        sight.note(comments == 1, || format!("the author finds {comments} comments"));
        sight.note(likers == [self.ann.id.clone()], || format!("the author finds {likers:?} as likers"));
    }

    /// What others see of them.
    async fn look_as_others(&self, sight: &mut Sight, seen: i64) {
        for reader in [&self.ben, &Person::stranger(&self.followed.server)] {
            let post = reader.read_post(&self.post).await;
            let right = post.json["likes"] == json!(seen) && post.json["comments"] == json!(seen);
            sight.note(right, || format!("others see {} instead of {seen}", post.text));
            let found = (self.comments_of(reader).await as i64, self.likers_of(reader).await.len() as i64);
            sight.note(found == (seen, seen), || format!("others find {found:?} comments and likers instead of {seen}"));
        }
    }

    async fn look_at_inbox(&self, sight: &mut Sight) {
        let inbox = Inbox::of(&self.ben).await;
        sight.note(inbox.seq == 0 && inbox.entries.is_empty(), || format!("told of {:?}", inbox.entries));
    }
}

/// What was told of a write.
fn states_of(events: &[serde_json::Value], written: &Answer) -> Vec<String> {
    let of_write = events.iter().filter(|event| event["event"] == "write" && event["data"]["id"] == written.write_id());
    of_write.map(|event| event["data"]["state"].as_str().expect("a state").to_owned()).collect()
}

/// What is wrong while the standby stands still, and after it has gone on.
async fn like_while_the_standby_stands_still(settings: Settings) -> Option<Sight> {
    let scene = Scene::set(settings).await?;
    let mut sight = Sight::default();
    let (mut bens, mut anns) = (Socket::open(&scene.ben).await, Socket::open(&scene.ann).await);
    bens.watch(&scene.post).await;
    scene.followed.standby.pause_replay().await;

    let liked = scene.ann.like(&scene.post).send().await.expect(202);
    let commented = scene.ann.write_comment(&scene.post, &nonce()).send().await.expect(202);
    scene.look_as_author(&mut sight).await;
    for write in [&liked, &commented].map(Answer::write_id) {
        let state = scene.is_committed(&write).await;
        sight.note(state == "committed", || format!("the write is {state}"));
    }
    scene.look_as_author(&mut sight).await;
    standby_stands_still(&scene.admin).await;
    scene.look_as_author(&mut sight).await;
    scene.look_as_others(&mut sight, 0).await;
    scene.look_at_inbox(&mut sight).await;
    let mut early = bens.settled().await;
    // His own watching is counted; the like and the comment are not.
    early.retain(|event| event["event"] != "counts" || event["likes"] != 0 || event["comments"] != 0);
    sight.note(early.is_empty(), || format!("Ben's page hears {early:?}"));
    let early = states_of(&anns.settled().await, &liked);
    sight.note(early == ["committed"], || format!("Ann's page hears {early:?} of her like"));
    let write = scene.ann.get(&format!("/v1/writes/{}", liked.write_id())).send().await.expect(200);
    sight.note(write.json["state"] == "committed" && write.json["visible_at"].is_null(), || format!("the write is {}", write.text));
    sight.note(!write.json["committed_at"].is_null(), || format!("no time of the commit in {}", write.text));

    if !sight.0.is_empty() {
        return Some(sight);
    }
    let resumed = Instant::now();
    scene.followed.standby.resume_replay().await;
    // The first that Ben hears leads to something that he can see.
    bens.event("notification").await;
    let told = resumed.elapsed();
    sight.note(told < TOLD_WITHIN + BUSY_MARGIN, || format!("told after {told:?}"));
    scene.look_as_others(&mut sight, 1).await;
    bens.event("comment").await;
    anns.event_where("write", |event| event["data"]["id"] == liked.write_id() && event["data"]["state"] == "visible").await;
    for write in [&liked, &commented].map(Answer::write_id) {
        let state = scene.ann.write_state(&write).await;
        sight.note(state == "visible", || format!("the write is {state} after Ben was told of it"));
    }
    scene.look_as_author(&mut sight).await;
    let write = scene.ann.get(&format!("/v1/writes/{}", liked.write_id())).send().await.expect(200);
    sight
        .note(write.text_at("/visible_at") > write.text_at("/committed_at"), || format!("visible no later than committed: {}", write.text));
    sight.note(Inbox::with_places(&scene.ben, 2).await.entries.len() == 2, || "Ben was not told of both".to_owned());
    Some(sight)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_like_is_its_authors_at_once_and_everybodys_when_the_standby_has_it_and_then_it_is_told() {
    let Some(sight) = Box::pin(like_while_the_standby_stands_still(Settings::default())).await else { return };

    assert_eq!(sight.0, Vec::<String>::new());
}

/// Tries of a fault that shows only if the primary wrote nothing else between the pause and the like.
const TRIES: usize = 5;

/// The fault is noticed by what it breaks: a remark begins so.
async fn assert_caught(fault: &str, remark: &str) {
    let mut sights = Vec::new();
    for _ in 0..TRIES {
        let settings = Settings::default().fault((fault, "return"));
        let Some(sight) = Box::pin(like_while_the_standby_stands_still(settings)).await else { return };
        if sight.0.iter().any(|noted| noted.starts_with(remark)) {
            return;
        }
        sights.push(sight);
    }
    panic!("{fault} has no effect that is noticed as {remark:?}: {sights:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_a_write_that_is_called_visible_without_waiting_is_caught() {
    assert_caught(faults::SHOW_EARLY, "the write is").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_an_overlay_that_ends_at_the_commit_is_caught() {
    assert_caught(faults::DROP_AT_COMMIT, "the author").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_a_notification_before_others_can_see_is_caught() {
    assert_caught(faults::BEFORE_VISIBLE, "told of").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_a_place_in_the_log_from_before_the_commit_makes_a_write_visible_too_early() {
    assert_caught(faults::PLACE_EARLY, "the write is").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_post_whose_authors_list_is_on_a_standby_that_stands_still_is_not_visible() {
    let Some(followed) = Followed::start_read(Settings::default(), WAITED_FOR).await else { return };
    let ann = followed.join(true).await;
    let admin = followed.as_admin(&ann).await;
    nothing_is_held(&admin).await;
    followed.standby.pause_replay().await;

    // The post itself is elsewhere; only its author's list waits.
    let (post, write) = loop {
        let written = ann.write_post(&nonce()).send().await.expect(202);
        let post = written.text_at("/post/id");
        if followed.place_of(&post).await != FOLLOWED {
            break (post, written.write_id());
        }
    };
    let listed = async |reader: &Person| {
        let page = reader.get(&format!("/v1/users/{}/posts", ann.id)).send().await.expect(200);
        (page.item_ids().contains(&post), reader.read_user(&ann.id).await.expect(200).number_at("/posts") > 0)
    };
    standby_stands_still(&admin).await;

    assert_eq!(ann.write_state(&write).await, "committed");
    assert_eq!(listed(&ann).await, (true, true));
    assert_eq!(listed(&Person::stranger(&followed.server)).await, (false, false));
    followed.standby.resume_replay().await;
    assert_eq!(ann.write_settled(&write).await, "visible");
    assert_eq!(listed(&Person::stranger(&followed.server)).await, (true, true));
}

/// What Ben, whose inbox is on the shard whose standby stands still, hears meanwhile of a like that everybody sees, and of a window that closes.
async fn inbox_while_its_standby_stands_still(settings: Settings) -> Option<Vec<String>> {
    let followed = Followed::start_read(settings, WAITED_FOR).await?;
    let ben = followed.join(true).await;
    let admin = followed.as_admin(&ben).await;
    let others = [followed.join(false).await, followed.join(false).await, followed.join(false).await];
    let post = loop {
        let post = ben.publish(&nonce()).await;
        if followed.place_of(&post).await != FOLLOWED {
            break post;
        }
    };
    // One entry from before, of the same group: it stays.
    others[0].like(&post).wait(30).send().await.expect(200);
    let told = Inbox::with_places(&ben, 1).await;
    assert_eq!((told.seq, told.unread), (1, 1));
    nothing_is_held(&admin).await;
    let mut socket = Socket::open(&ben).await;
    followed.standby.pause_replay().await;

    // The second waits in the window of the first, and the comment is told at once.
    others[1].like(&post).wait(30).send().await.expect(200);
    others[2].write_comment(&post, &nonce()).wait(30).send().await.expect(201);
    let url = followed.server.postgres().shard(FOLLOWED).url.clone();
    let delivered = async || (number(&url, "SELECT count(*) FROM inbox_entries").await == 3).then_some(());
    within(UP_TO_DATE_WITHIN, "the entries on the primary", delivered).await;

    let mut wrong = Vec::new();
    for query in ["", "?grouped=true", "?unread=true"] {
        let page = ben.get(&format!("/v1/notifications{query}")).send().await.expect(200);
        let shown = (page.number_at("/seq"), page.number_at("/unread"), page.json["items"].as_array().map_or(0, Vec::len));
        if shown != (1, 1, 1) || page.json["items"][0]["count"] != 1 {
            wrong.push(format!("the list{query} shows {}", page.text));
        }
    }
    let (_second, hello) = Socket::greeted(&ben).await;
    if (&hello["seq"], &hello["unread"]) != (&json!(1), &json!(1)) {
        wrong.push(format!("greeted with {hello}"));
    }
    let early = socket.settled().await;
    wrong.extend(early.iter().filter(|event| event["event"] == "notification").map(|event| format!("told {event}")));
    if wrong.is_empty() {
        followed.standby.resume_replay().await;
        for seq in [2, 3] {
            let told = socket.event("notification").await;
            if told["seq"] != seq {
                wrong.push(format!("told {told} instead of {seq}"));
            }
        }
        assert_eq!(Inbox::with_places(&ben, 3).await.unread, 3);
    }
    Some(wrong)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_of_an_inbox_is_shown_when_the_standby_of_the_inbox_has_it() {
    let Some(wrong) = Box::pin(inbox_while_its_standby_stands_still(Settings::default())).await else { return };

    assert_eq!(wrong, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_an_inbox_that_shows_what_only_the_primary_has_is_caught() {
    let settings = Settings::default().fault((faults::SHOW_INBOX_EARLY, "return"));
    let Some(wrong) = Box::pin(inbox_while_its_standby_stands_still(settings)).await else { return };

    assert!(!wrong.is_empty(), "the fault has no effect");
}

/// What others see less of than was visible, from when a standby lags too far until it is read again.
async fn read_beside_a_standby_that_lags_too_far(settings: Settings) -> Option<Vec<String>> {
    let followed = Followed::start_read(settings, "5s").await?;
    let (ann, ben) = (followed.join(false).await, followed.join(false).await);
    let admin = followed.as_admin(&Person::join(&followed.server, "op").await).await;
    let post = followed.publish(&ben).await;
    nothing_is_held(&admin).await;
    followed.standby.pause_replay().await;

    // It waits for the standby, and then for nobody.
    ann.like(&post).wait(30).send().await.expect(200);
    let left = async || followed.server.log().contains("a standby is too far behind, and is not read").then_some(());
    within(UP_TO_DATE_WITHIN, "the standby to be left alone", left).await;
    let began = Instant::now();
    ann.write_comment(&post, &nonce()).wait(30).send().await.expect(201);
    assert!(began.elapsed() < Duration::from_secs(5), "it waits for a standby that is not read: {:?}", began.elapsed());
    let mut less = Vec::new();
    let look = async |less: &mut Vec<String>| {
        let seen = ben.read_post(&post).await.expect(200);
        if (&seen.json["likes"], &seen.json["comments"]) != (&json!(1), &json!(1)) {
            less.push(seen.text);
        }
    };
    standby_stands_still(&admin).await;
    for _ in 0..10 {
        look(&mut less).await;
    }

    followed.standby.resume_replay().await;
    // Whoever answers, nobody ever sees less again.
    let read = async || {
        look(&mut less).await;
        let again = followed.server.log().matches("the standby has all that was seen, and is read").count() > 1;
        (again || !less.is_empty()).then_some(())
    };
    within(UP_TO_DATE_WITHIN, "the standby to be read again", read).await;
    look(&mut less).await;
    if less.is_empty() {
        standby_is(&admin, "read").await;
        nothing_is_held(&admin).await;
    }
    Some(less)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_that_lags_too_far_is_left_alone_and_is_read_again_when_it_has_all_that_was_seen() {
    let Some(less) = Box::pin(read_beside_a_standby_that_lags_too_far(Settings::default())).await else { return };

    assert_eq!(less, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_a_standby_that_is_read_however_far_it_is_behind_is_caught() {
    let settings = Settings::default().fault((faults::READ_BEHIND, "return"));
    let Some(less) = Box::pin(read_beside_a_standby_that_lags_too_far(settings)).await else { return };

    assert!(!less.is_empty(), "the fault has no effect");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_that_hangs_holds_up_a_read_and_what_others_see_no_longer_than_it_may_lag() {
    let Some(followed) = Followed::start_read(Settings::default(), "2s").await else { return };
    let (ann, ben) = (followed.join(false).await, followed.join(false).await);
    let admin = followed.as_admin(&Person::join(&followed.server, "op").await).await;
    let post = followed.publish(&ben).await;
    nothing_is_held(&admin).await;

    followed.standby.freeze();
    let began = Instant::now();
    ben.get(&format!("/v1/posts/{post}/comments")).send().await.expect(200);
    ann.like(&post).wait(30).send().await.expect(200);
    assert!(began.elapsed() < Duration::from_secs(20), "it took {:?}", began.elapsed());
    assert_eq!(ben.read_post(&post).await.expect(200).json["likes"], 1);
    standby_is(&admin, "silent").await;

    followed.standby.thaw();
    standby_is(&admin, "read").await;
    nothing_is_held(&admin).await;
    assert_eq!(ben.read_post(&post).await.expect(200).json["likes"], 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_that_is_gone_costs_no_read_and_no_write_and_is_read_again_when_it_is_back() {
    let Some(followed) = Followed::start_read(Settings::default(), WAITED_FOR).await else { return };
    let (ann, ben) = (followed.join(false).await, followed.join(false).await);
    let admin = followed.as_admin(&Person::join(&followed.server, "op").await).await;
    let post = followed.publish(&ben).await;
    nothing_is_held(&admin).await;

    followed.standby.crash();
    for round in 1..=20 {
        ann.write_comment(&post, &nonce()).wait(30).send().await.expect(201);
        let seen = ben.read_post(&post).await.expect(200);
        assert_eq!(seen.json["comments"], round, "{}", seen.text);
        assert_eq!(ben.get(&format!("/v1/posts/{post}/comments")).send().await.expect(200).item_ids().len(), round.min(20));
    }
    standby_is(&admin, "silent").await;
    assert!(held(&admin).await >= 20, "the journal does not keep what no standby has");

    followed.standby.start_again();
    standby_is(&admin, "read").await;
    nothing_is_held(&admin).await;
    assert_eq!(ben.read_post(&post).await.expect(200).json["comments"], 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_write_is_lost_doubled_or_counted_wrongly_under_a_load_beside_a_standby_that_falls_behind_and_comes_back() {
    let Some(followed) = Followed::start_read(Settings::default(), "1s").await else { return };
    let people = Person::join_many(&followed.server, "load", 6).await;
    let load = Load::start(people, Mix::default(), 2, seed("a standby that falls behind")).await;
    for _ in 0..2 {
        followed.standby.pause_replay().await;
        // Longer than it may lag, by as much as is written meanwhile.
        load.goes_on_for(150).await;
        followed.standby.resume_replay().await;
        load.goes_on_for(50).await;
    }
    followed.standby.crash();
    load.goes_on_for(50).await;
    followed.standby.start_again();
    load.goes_on_for(50).await;
    let (history, people) = load.finish().await;

    verdict(&followed.server, &history, &people).await.assert_clean();
}
