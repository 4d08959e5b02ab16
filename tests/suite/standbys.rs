//! G1 and G9 where a shard has streaming standbys: the journal keeps what none of them has replayed, and says so when it is full.

use std::time::Duration;

use reqwest::Method;

use crate::support::client::{PASSWORD, Person, nonce, within};
use crate::support::databases::{Cluster, Databases, ShardDatabase, shared_cluster};
use crate::support::faults;
use crate::support::server::{Server, Settings};

/// The shard that has a standby.
const FOLLOWED: &str = "s2";
/// Nothing waits for a standby any more, or it is seen to wait.
const NOTICED_WITHIN: Duration = Duration::from_secs(60);
/// Four bytes each: what fills a journal soon.
const LARGE_BODY: usize = 9_000;

/// A server, one of whose shards is in a cluster of its own with a standby.
async fn server_with_a_standby(settings: Settings) -> Option<(Server, Cluster, Cluster)> {
    let shared = shared_cluster()?;
    let primary = Cluster::start();
    let mut databases = Databases::make(&shared).await;
    let place = databases.0.iter().position(|shard| shard.name == FOLLOWED).expect("a shard of this name");
    databases.0[place] = ShardDatabase::make(&primary.url, FOLLOWED).await;
    let standby = primary.standby();
    databases.0[place].replicas = vec![databases.0[place].url_in(&standby)];
    let server = Server::try_start_on(settings, Some(databases)).await;
    let server = server.unwrap_or_else(|refused| panic!("the server did not start: {:?}\n{}", refused.status, refused.log));
    Some((server, primary, standby))
}

/// Somebody whose posts are on the followed shard, some of them.
async fn publish_there(person: &Person) -> String {
    loop {
        let post = person.publish(&nonce()).await;
        if person.get(&format!("/v1/ids/{post}")).send().await.expect(200).text_at("/shard") == FOLLOWED {
            return post;
        }
    }
}

/// Somebody who may ask what operators may.
async fn join_as_admin(server: &Server) -> Person {
    let ann = Person::join(server, "ann").await;
    let (done, output) = server.run(&["user", "admin", &ann.name]);
    assert!(done, "{output}");
    ann.signed_in(&ann.login(&ann.name, PASSWORD).await.expect(200), &ann.name)
}

/// Entries of the followed shard that the journal holds.
async fn waiting(admin: &Person) -> i64 {
    let shards = admin.admin_call(Method::GET, "/admin/shards").send().await.expect(200);
    let shards = shards.json["items"].as_array().expect("items").clone();
    let followed = shards.iter().find(|shard| shard["name"] == FOLLOWED).expect("the shard");
    followed["pending"].as_i64().expect("a number")
}

async fn nothing_waits(person: &Person) {
    within(NOTICED_WITHIN, "the journal to be released", async || (waiting(person).await == 0).then_some(())).await;
}

/// How many of twelve likes, which the primary has, the journal still holds while the standby stands still.
async fn held_while_the_standby_stands_still(settings: Settings) -> Option<(Server, Person, Cluster, Cluster, i64)> {
    let (server, primary, standby) = server_with_a_standby(settings).await?;
    let ann = join_as_admin(&server).await;
    let post = publish_there(&ann).await;
    nothing_waits(&ann).await;

    standby.pause_replay().await;
    for round in 0..12 {
        let call = if round % 2 == 0 { ann.like(&post) } else { ann.unlike(&post) };
        call.wait(30).send().await.expect(200);
    }
    // The standby is asked many times in that time.
    let lag = format!("sosik_standby_wait_seconds{{shard=\"{FOLLOWED}\"}}");
    let waited = async || {
        let held = ann.metric(&lag).await > 2.0;
        (held || waiting(&ann).await == 0).then_some(())
    };
    within(NOTICED_WITHIN, "the standby to be waited for, or not", waited).await;
    let held = waiting(&ann).await;
    Some((server, ann, primary, standby, held))
}

/// Catches a position in the log that is taken before the commit, and a journal that waits for the primary alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_journal_keeps_what_a_standby_has_not_replayed_and_gives_it_back_when_it_has() {
    let Some((server, ann, _primary, standby, held)) = held_while_the_standby_stands_still(Settings::default()).await else { return };

    assert!(held >= 12, "only {held} of 12 are held");
    let labels = format!("{{shard=\"{FOLLOWED}\",standby=\"{}\"}}", standby_address(&server));
    assert_eq!(ann.metric(&format!("sosik_standby_up{labels}")).await, 1.0);
    assert!(ann.metric(&format!("sosik_standby_lag_bytes{labels}")).await > 0.0);
    standby.resume_replay().await;
    nothing_waits(&ann).await;
}

fn standby_address(server: &Server) -> String {
    let url = &server.postgres().shard(FOLLOWED).replicas[0];
    url.rsplit_once('@').expect("a user").1.to_owned()
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
async fn without_its_standby_a_shard_fills_its_share_of_the_journal_and_is_refused_until_the_standby_is_taken_out() {
    let settings = Settings::default().with("journal.max_bytes", "1MiB");
    let Some((mut server, _primary, standby)) = server_with_a_standby(settings.clone()).await else { return };
    let ann = join_as_admin(&server).await;
    let here = publish_there(&ann).await;
    standby.crash();

    let large = "\u{1f4ef}".repeat(LARGE_BODY);
    ann.like(&here).wait(30).send().await.expect(200);
    let held_back = async || server.log().contains("no standby replays the shard").then_some(());
    within(NOTICED_WITHIN, "the shard to be held back", held_back).await;
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
    loop {
        let post = ann.publish(&nonce()).await;
        if ann.get(&format!("/v1/ids/{post}")).send().await.expect(200).text_at("/shard") != FOLLOWED {
            break;
        }
    }
    assert!(waiting(&ann).await >= accepted);

    server.terminate().await;
    let databases = server.databases.as_mut().expect("shards in PostgreSQL");
    databases.0.iter_mut().for_each(|shard| shard.replicas.clear());
    server.restart().await;

    nothing_waits(&ann).await;
    ann.like(&here).wait(30).send().await.expect(200);
}
