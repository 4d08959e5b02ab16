//! G1 and G9 where a shard has streaming standbys: the journal keeps what none of them has replayed, and says so when it is full.

use crate::support::client::{Person, nonce, within};
use crate::support::faults;
use crate::support::followed::{FOLLOWED, Followed, UP_TO_DATE_WITHIN, held, nothing_is_held, waited_for_standby};
use crate::support::server::{Server, Settings};

/// Four bytes each: what fills a shard's share of a small journal soon.
const LARGE_BODY: usize = 9_000;

/// How many of twelve likes, which the primary has, the journal still holds while the standby stands still.
async fn held_while_the_standby_stands_still(settings: Settings) -> Option<(Followed, Person, i64)> {
    let followed = Followed::start(settings).await?;
    let ann = followed.as_admin(&Person::join(&followed.server, "ann").await).await;
    let post = followed.publish(&ann).await;
    nothing_is_held(&ann).await;

    followed.standby.pause_replay().await;
    for round in 0..12 {
        let call = if round % 2 == 0 { ann.like(&post) } else { ann.unlike(&post) };
        call.wait(30).send().await.expect(200);
    }
    // The standby is asked many times in that time.
    let waited = async || {
        let waited_long = waited_for_standby(&ann).await > 2.0;
        (waited_long || held(&ann).await == 0).then_some(())
    };
    within(UP_TO_DATE_WITHIN, "the standby to be waited for, or not", waited).await;
    let held = held(&ann).await;
    Some((followed, ann, held))
}

fn standby_address(server: &Server) -> String {
    let url = &server.postgres().shard(FOLLOWED).replicas[0];
    url.rsplit_once('@').expect("a user").1.to_owned()
}

/// Catches a position in the log that is taken before the commit, and a journal that waits for the primary alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_journal_keeps_what_a_standby_has_not_replayed_and_gives_it_back_when_it_has() {
    let Some((followed, ann, held)) = held_while_the_standby_stands_still(Settings::default()).await else { return };

    assert!(held >= 12, "only {held} of 12 are held");
    let labels = format!("{{shard=\"{FOLLOWED}\",standby=\"{}\"}}", standby_address(&followed.server));
    assert_eq!(ann.metric(&format!("sosik_standby_up{labels}")).await, 1.0);
    assert!(ann.metric(&format!("sosik_standby_lag_bytes{labels}")).await > 0.0);
    followed.standby.resume_replay().await;
    nothing_is_held(&ann).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_a_place_in_the_log_that_was_read_before_the_commit_is_caught() {
    let settings = Settings::default().fault((faults::PLACE_EARLY, "return"));
    let Some((.., held)) = held_while_the_standby_stands_still(settings).await else { return };

    assert!(held < 12, "the fault has no effect: {held} are held");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_a_journal_that_does_not_wait_for_standbys_is_caught() {
    let settings = Settings::default().fault((faults::SKIP_STANDBYS, "return"));
    let Some((.., held)) = held_while_the_standby_stands_still(settings).await else { return };

    assert!(held < 12, "the fault has no effect: {held} are held");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_of_another_shard_is_not_read_and_not_waited_for() {
    let Some(mut followed) = Followed::start(Settings::default()).await else { return };
    let ann = Person::join(&followed.server, "ann").await;
    followed.server.terminate().await;
    let of_another = std::mem::take(&mut followed.shard().replicas);
    let databases = followed.server.databases.as_mut().expect("shards in PostgreSQL");
    let mistaken = databases.0.iter_mut().find(|shard| shard.name != FOLLOWED).expect("another shard");
    mistaken.replicas = of_another;
    let name = mistaken.name.clone();

    followed.server.restart().await;

    let refused = async || followed.server.log().contains(&format!("wanted is the shard {name} of the journal")).then_some(());
    within(UP_TO_DATE_WITHIN, "the standby to be looked at", refused).await;
    let post = loop {
        let post = ann.publish(&nonce()).await;
        if followed.place_of(&post).await == name {
            break post;
        }
    };
    Person::stranger(&followed.server).read_post(&post).await.expect(200);
    assert!(!followed.server.log().contains("and is read"), "{}", followed.server.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_standby_a_shard_fills_its_share_of_the_journal_and_is_refused_until_the_standby_is_taken_out() {
    let settings = Settings::default().with("journal.max_bytes", "1MiB");
    let Some(mut followed) = Followed::start(settings).await else { return };
    let ann = followed.as_admin(&Person::join(&followed.server, "ann").await).await;
    let here = followed.publish(&ann).await;
    followed.standby.crash();

    let large = "\u{1f4ef}".repeat(LARGE_BODY);
    ann.like(&here).wait(30).send().await.expect(200);
    let held_back = async || followed.server.log().contains("no standby replays the shard").then_some(());
    within(UP_TO_DATE_WITHIN, "the shard to be held back", held_back).await;
    let mut accepted = 1;
    let refused = loop {
        let answer = ann.edit_post(&here, &large).send().await;
        match answer.status {
            202 => accepted += 1,
            _ => break answer,
        }
        assert!(accepted < 100, "nothing ends it");
    };
    let refused = refused.expect_problem(503, "unavailable");
    assert_eq!(refused.json["accepted"], false, "{}", refused.text);
    // What lives elsewhere is not held up.
    while followed.place_of(&ann.publish(&nonce()).await).await == FOLLOWED {}
    assert!(held(&ann).await >= accepted);

    followed.server.terminate().await;
    followed.shard().replicas.clear();
    followed.server.restart().await;

    nothing_is_held(&ann).await;
    ann.like(&here).wait(30).send().await.expect(200);
}

/// Catches a stop that waits for connections which nobody gives back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_ends_in_time_after_the_primary_has_gone_and_its_standby_is_none_any_more() {
    let Some(mut followed) = Followed::start(Settings::default()).await else { return };
    let ann = followed.join(false).await;
    let post = followed.publish(&ann).await;
    followed.fail_over();
    ann.like(&post).send().await.expect(202);
    let noticed = async || followed.server.log().contains("is no standby").then_some(());
    within(UP_TO_DATE_WITHIN, "the standby to be looked at", noticed).await;

    assert_eq!(followed.server.terminate().await.code(), Some(0));
}
