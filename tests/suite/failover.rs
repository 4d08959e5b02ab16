//! G1, G2 and G7 when a standby takes over (T1.10, T1.11): what it lacks is applied again from the journal, once; the old primary is fenced
//! off; and a standby that lacks what the journal no longer has is refused.

use rustix::process::Signal;
use serde_json::json;

use crate::support::client::{Person, nonce, within};
use crate::support::databases::{number, text};
use crate::support::followed::{FOLLOWED, Followed, UP_TO_DATE_WITHIN, nothing_is_held};
use crate::support::inboxes::{Inbox, violations};
use crate::support::load::{Load, Mix};
use crate::support::server::{STOP_TIMEOUT, Server, Settings};
use crate::support::socket::Socket;
use crate::support::verdict::verdict;
use crate::support::{faults, seed};

const CLIENTS: usize = 12;
/// What the server says when it has taken over a new primary.
const TAKEN_OVER: &str = "another primary has taken over the shard";

/// How far all lanes of a shard are together.
async fn applied(url: &str) -> i64 {
    number(url, "SELECT CAST(SUM(applied) AS bigint) FROM lanes").await
}

async fn assert_sound(server: &mut Server) {
    server.terminate().await;
    let (sound, output) = server.run(&["fsck"]);
    assert!(sound && output.contains("clean"), "{output}");
}

/// A load, in the middle of which the standby hears no more, and the primary crashes a while later.
async fn load_over_a_crash(followed: &Followed, name: &str) -> Load {
    let people = Person::join_many(&followed.server, "over", CLIENTS).await;
    let load = Load::start_beside_outages(people, Mix::default(), 2, seed(name)).await;
    load.goes_on_for(100).await;
    followed.standby.stop_receiving().await;
    load.goes_on_for(150).await;
    let shard = followed.server.postgres().shard(FOLLOWED);
    let (ahead, behind) = (shard.url_in(&followed.primary), shard.url_in(&followed.standby));
    let lacks = async || (applied(&ahead).await > applied(&behind).await).then_some(());
    within(UP_TO_DATE_WITHIN, "something that the standby lacks", lacks).await;
    followed.primary.crash();
    load.goes_on_for(40).await;
    load
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_accepted_write_is_lost_or_doubled_when_the_url_is_changed_to_a_standby_that_was_behind() {
    let Some(mut followed) = Followed::start(Settings::default()).await else { return };
    let resident = followed.join(true).await;
    let load = load_over_a_crash(&followed, "a changed URL").await;

    followed.standby.promote();
    followed.server.kill();
    load.history.process_ended();
    followed.point_at_the_standby();
    followed.server.restart().await;
    load.goes_on_for(60).await;
    let (history, people) = load.finish().await;

    assert!(followed.server.log().contains(TAKEN_OVER));
    followed.is_read(&resident).await;
    verdict(&followed.server, &history, &people).await.assert_clean();
    assert_sound(&mut followed.server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_accepted_write_is_lost_or_doubled_when_the_second_host_of_a_url_takes_over_by_itself() {
    let Some(mut followed) = Followed::start_with_both_hosts(Settings::default()).await else { return };
    let resident = followed.join(true).await;
    let load = load_over_a_crash(&followed, "a second host").await;

    followed.standby.promote();
    let taken = async || followed.server.log().contains(TAKEN_OVER).then_some(());
    within(UP_TO_DATE_WITHIN, "the server to take the second host", taken).await;
    load.history.process_ended();
    load.goes_on_for(60).await;
    let (history, people) = load.finish().await;

    followed.is_read(&resident).await;
    followed.point_at_the_standby();
    verdict(&followed.server, &history, &people).await.assert_clean();
    assert_sound(&mut followed.server).await;
}

/// What became of a like after the new primary was gone and the old one back.
struct AfterReturn {
    followed: Followed,
    ann: Person,
    liked: String,
    state: String,
    /// How far the old primary was when it came back, and later.
    applied: (i64, i64),
}

async fn the_old_primary_comes_back(settings: Settings) -> Option<AfterReturn> {
    let followed = Followed::start_with_both_hosts(settings).await?;
    let ann = followed.join(false).await;
    let admin = followed.as_admin(&ann).await;
    let post = followed.publish(&ann).await;
    nothing_is_held(&admin).await;
    followed.fail_over();
    let taken_over = async |times: usize| (followed.server.log().matches(TAKEN_OVER).count() >= times).then_some(());
    within(UP_TO_DATE_WITHIN, "the server to take the second host", async || taken_over(1).await).await;
    ann.like(&post).wait(30).send().await.expect(200);

    followed.primary.start_again();
    let old = followed.server.postgres().shard(FOLLOWED).url_in(&followed.primary);
    let before = applied(&old).await;
    followed.standby.crash();
    let liked = ann.unlike(&post).send().await.expect(202).write_id();
    // It is looked at, and refused or taken.
    let looked_at = async || {
        let refused = followed.server.log().contains("carries the epoch 1 of its shard, and 2 is expected");
        if refused { Some(()) } else { taken_over(2).await }
    };
    within(UP_TO_DATE_WITHIN, "the old primary to be looked at", looked_at).await;
    let settled = async || {
        let state = ann.write_state(&liked).await;
        let read = ann.read_post(&post).await.status;
        (state != "accepted" || read == 503).then_some(state)
    };
    let state = within(UP_TO_DATE_WITHIN, "the like to wait, or to be applied", settled).await;
    let after = applied(&old).await;
    Some(AfterReturn { followed, ann, liked, state, applied: (before, after) })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_primary_that_comes_back_gets_no_write_and_gives_no_read() {
    let Some(returned) = the_old_primary_comes_back(Settings::default()).await else { return };
    let AfterReturn { mut followed, ann, liked, state, applied: (before, after) } = returned;

    assert_eq!((state.as_str(), before), ("accepted", after));
    let old = followed.server.postgres().shard(FOLLOWED).url_in(&followed.primary);
    assert_eq!(text(&old, "SELECT CAST(epoch AS text) FROM shard").await, "1");
    // It is listed first, and the only one that answers.
    followed.server.kill();
    let refused = followed.server.try_restart().await.expect_err("a refusal");
    assert!(refused.log.contains("carries the epoch 1 of its shard, and 2 is expected"), "{}", refused.log);
    followed.standby.start_again();
    followed.server.restart().await;
    assert_eq!(ann.write_settled(&liked).await, "visible");
    assert_eq!(applied(&old).await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_an_epoch_that_is_not_compared_is_caught() {
    let settings = Settings::default().fault((faults::SKIP_EPOCH, "return"));
    let Some(returned) = the_old_primary_comes_back(settings).await else { return };

    let AfterReturn { followed: _followed, ann, liked, .. } = returned;
    let applied = async || (ann.write_state(&liked).await != "accepted").then_some(());
    within(UP_TO_DATE_WITHIN, "the old primary to be written to", applied).await;
}

/// How many comments, and notifications of them, there are that the standby has not heard of.
const UNHEARD: usize = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promoted_standby_has_every_row_and_every_notification_once_and_its_inboxes_begin_anew() {
    let Some(mut followed) = Followed::start(Settings::default()).await else { return };
    let (ann, ben) = (followed.join(true).await, followed.join(false).await);
    let post = followed.publish(&ann).await;
    let admin = followed.as_admin(&ben).await;
    nothing_is_held(&admin).await;
    followed.standby.stop_receiving().await;
    for _ in 0..UNHEARD {
        ben.write_comment(&post, &nonce()).wait(30).send().await.expect(201);
    }
    // One side of it is on the followed shard, wherever it is decided.
    ben.follow(&ann.id).wait(30).send().await.expect(200);
    Inbox::with_places(&ann, UNHEARD as u64 + 1).await;
    let epoch = ann.get("/v1/notifications").send().await.expect(200).text_at("/epoch");

    followed.fail_over();
    followed.server.kill();
    followed.point_at_the_standby();
    let (done, output) = followed.server.run(&["shards", "promote", FOLLOWED]);
    assert!(done && output.contains("epoch 2"), "{output}");
    let (done, output) = followed.server.run(&["shards", "promote", FOLLOWED]);
    assert!(!done && output.contains("nothing to promote"), "{output}");
    followed.server.restart().await;
    followed.is_read(&ann).await;

    let inbox = Inbox::with_places(&ann, UNHEARD as u64 + 1).await;
    let comments = ann.all_items(&format!("/v1/posts/{post}/comments")).await;
    let comments: std::collections::BTreeSet<String> =
        comments.iter().map(|comment| comment["id"].as_str().expect("an id").to_owned()).collect();
    assert_eq!(comments.len(), UNHEARD);
    assert_eq!(violations(&inbox, &comments), Vec::<String>::new());
    assert_eq!(inbox.seq, UNHEARD as u64 + 1);
    let followers = async || (ann.read_user(&ann.id).await.expect(200).number_at("/followers") == 1).then_some(());
    within(UP_TO_DATE_WITHIN, "the follower", followers).await;
    let mut socket = Socket::open(&ann).await;

    socket.send(&json!({"op": "resume", "epoch": epoch, "after": 2})).await;
    assert_eq!(socket.event("reset").await["reason"], "epoch");
    drop(socket);
    assert_sound(&mut followed.server).await;
}

/// A post whose like the standby has not heard of, after that has taken over; what workers would apply waits.
async fn taken_over_and_not_up_to_date(settings: Settings, by_command: bool) -> Option<(Followed, Person, String)> {
    let mut followed = Followed::start(Settings::default()).await?;
    let ann = followed.join(false).await;
    let admin = followed.as_admin(&ann).await;
    let post = followed.publish(&ann).await;
    nothing_is_held(&admin).await;
    followed.standby.stop_receiving().await;
    ann.like(&post).wait(30).send().await.expect(200);
    followed.fail_over();
    followed.server.kill();
    followed.point_at_the_standby();
    if by_command {
        let (done, output) = followed.server.run(&["shards", "promote", FOLLOWED]);
        assert!(done && output.contains("epoch 2"), "{output}");
    }
    followed.server.restart_with(settings.without_workers()).await;
    Some((followed, ann, post))
}

/// Catches a start that lets readers in since another one, or a command, has raised the epoch before it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_wait_at_every_start_until_the_new_primary_has_what_the_journal_held() {
    for by_command in [true, false] {
        let held = taken_over_and_not_up_to_date(Settings::default(), by_command).await;
        let Some((mut followed, ann, post)) = held else { return };
        let stranger = Person::stranger(&followed.server);

        for _ in 0..2 {
            stranger.read_post(&post).await.expect_problem(503, "unavailable");
            ann.read_post(&post).await.expect_problem(503, "unavailable");
            followed.server.kill();
            followed.server.restart().await;
        }
        followed.server.kill();
        followed.server.restart_with(Settings::default()).await;

        let read = async || (stranger.read_post(&post).await.status == 200).then_some(());
        within(UP_TO_DATE_WITHIN, "the shard to be read", read).await;
        assert_eq!(stranger.read_post(&post).await.expect(200).number_at("/likes"), 1);
        // Who was let in once is let in at once by later starts.
        followed.server.kill();
        followed.server.restart_with(Settings::default().without_workers()).await;
        assert_eq!(stranger.read_post(&post).await.expect(200).number_at("/likes"), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_readers_who_are_let_in_before_the_new_primary_is_up_to_date_are_caught() {
    let forgetful = Settings::default().fault((faults::FORGET_READERS, "return"));
    let Some((followed, _, post)) = taken_over_and_not_up_to_date(forgetful, false).await else { return };

    let seen = Person::stranger(&followed.server).read_post(&post).await.expect(200).number_at("/likes");
    assert_eq!(seen, 0, "the fault had no effect");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_told_to_stop_while_it_takes_over_stops() {
    let Some(mut followed) = Followed::start_with_both_hosts(Settings::default()).await else { return };
    let ann = followed.join(false).await;
    let post = followed.publish(&ann).await;
    followed.fail_over();
    // It waits for the primary that is gone, and holds up the way down.
    ann.like(&post).send().await.expect(202);
    let begun = async || followed.server.log().contains("starting again, to take it over").then_some(());
    within(UP_TO_DATE_WITHIN, "the takeover to begin", begun).await;

    followed.server.signal(Signal::TERM);

    assert!(followed.server.ended_within(STOP_TIMEOUT).await.is_some(), "it goes on:\n{}", followed.server.log());
}

/// A stopped server whose shard is now where a standby was that lacks what the journal no longer has.
struct TooOld {
    followed: Followed,
    ann: Person,
    post: String,
    epoch: String,
}

/// `beside`: another standby keeps up, so that the journal is trimmed without harm to whoever takes that one.
async fn a_standby_that_is_too_old(settings: Settings, beside: bool) -> Option<TooOld> {
    let mut followed = Followed::start(settings.with("journal.max_bytes", "1MiB")).await?;
    let second = beside.then(|| followed.primary.standby());
    if let Some(second) = &second {
        let url = followed.server.postgres().shard(FOLLOWED).url_in(second);
        followed.shard().replicas.push(url);
        followed.server.terminate().await;
        followed.server.restart().await;
    }
    let ann = followed.join(true).await;
    let admin = followed.as_admin(&ann).await;
    let post = followed.publish(&ann).await;
    let epoch = ann.get("/v1/notifications").send().await.expect(200).text_at("/epoch");
    let database = followed.server.postgres().shard(FOLLOWED).clone();
    let there = async || (applied(&database.url_in(&followed.standby)).await == applied(&database.url).await).then_some(());
    within(UP_TO_DATE_WITHIN, "the standby to have them", there).await;
    followed.standby.stop_receiving().await;
    for _ in 0..UNHEARD {
        ann.write_comment(&post, &nonce()).wait(30).send().await.expect(201);
    }
    followed.fill_the_journal(&admin, &post).await;
    followed.server.kill();
    followed.fail_over();
    followed.point_at_the_standby();
    Some(TooOld { followed, ann, post, epoch })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_that_is_too_old_is_refused_and_taken_only_with_its_loss_accepted_and_its_inboxes_reset() {
    let Some(TooOld { mut followed, ann, post, epoch }) = a_standby_that_is_too_old(Settings::default(), true).await else { return };

    let refused = followed.server.try_restart().await.expect_err("a refusal").log;
    assert!(refused.contains(&format!("the shard {FOLLOWED}")) && refused.contains("an older copy"), "{refused}");
    let (done, output) = followed.server.run(&["shards", "promote", FOLLOWED]);
    assert!(!done && output.contains("an older copy") && output.contains("--accept-loss"), "{output}");
    let (done, output) = followed.server.run(&["shards", "promote", "nowhere"]);
    assert!(!done && output.contains("there is no shard nowhere"), "{output}");
    let (done, output) = followed.server.run(&["shards", "promote", FOLLOWED, "--accept-loss"]);
    assert!(done && output.contains("is lost"), "{output}");
    followed.server.restart().await;
    followed.is_read(&ann).await;

    // The journal that was full has room again when it was looked after.
    let liked = async || (ann.like(&post).wait(30).send().await.status == 200).then_some(());
    within(UP_TO_DATE_WITHIN, "a like to be accepted and seen", liked).await;
    assert!(ann.read_post(&post).await.expect(200).number_at("/comments") < UNHEARD as i64, "what was accepted as lost is there");
    assert_ne!(ann.get("/v1/notifications").send().await.expect(200).text_at("/epoch"), epoch);
    let mut socket = Socket::open(&ann).await;

    socket.send(&json!({"op": "resume", "epoch": epoch, "after": 0})).await;
    assert_eq!(socket.event("reset").await["reason"], "epoch");
}

/// Without the fault the journal is not trimmed, since the only standby has not heard; with it, what it lacks is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_a_journal_that_is_given_back_before_the_standby_has_replayed_it_is_caught() {
    let early = Settings::default().fault((faults::SKIP_STANDBYS, "return"));
    let Some(TooOld { mut followed, ann, post, .. }) = a_standby_that_is_too_old(early, false).await else { return };

    assert!(followed.server.try_restart().await.expect_err("a refusal").log.contains("an older copy"));
    let unasked = followed.server.settings.clone().fault((faults::SKIP_COMPLETE, "return"));
    followed.server.restart_with(unasked).await;
    let comments = async || {
        let post = ann.read_post(&post).await;
        (post.status == 200).then(|| post.number_at("/comments"))
    };
    assert!(within(UP_TO_DATE_WITHIN, "the post", comments).await < UNHEARD as i64, "nothing was lost");
}
