//! G1, G10 and G11 where a shard's server crashes or hangs: its lanes wait, the others go on, and when it is back everything is there
//! once.

use std::time::{Duration, Instant};

use crate::support::client::{Person, nonce, within};
use crate::support::databases::{Cluster, Databases, ShardDatabase, execute, shared_cluster, text};
use crate::support::load::{Load, Mix};
use crate::support::server::{Server, Settings};
use crate::support::verdict::verdict;
use crate::support::{number_from_environment, seed};

/// The shard whose server may crash.
const ILL: &str = "s2";

/// A server with one shard in a cluster of its own.
async fn server_with_a_cluster_apart(settings: Settings) -> Option<(Server, Cluster)> {
    let shared = shared_cluster()?;
    let cluster = Cluster::start();
    let mut databases = Databases::make(&shared).await;
    let place = databases.0.iter().position(|shard| shard.name == ILL).expect("a shard of this name");
    databases.0[place] = ShardDatabase::make(&cluster.url, ILL).await;
    let server = Server::try_start_on(settings, Some(databases)).await;
    Some((server.unwrap_or_else(|refused| panic!("the server did not start: {:?}\n{}", refused.status, refused.log)), cluster))
}

async fn place_of(person: &Person, id: &str) -> String {
    person.get(&format!("/v1/ids/{id}")).send().await.expect(200).text_at("/shard")
}

/// A post on the ill shard, and one elsewhere, by somebody who lives elsewhere.
async fn posts_here_and_there(server: &Server) -> (Person, String, String) {
    let ann = loop {
        let person = Person::join(server, "ann").await;
        if place_of(&person, &person.id).await != ILL {
            break person;
        }
    };
    let (mut here, mut there) = (None, None);
    while here.is_none() || there.is_none() {
        let post = ann.publish(&nonce()).await;
        let is_here = place_of(&ann, &post).await == ILL;
        *(if is_here { &mut here } else { &mut there }) = Some(post);
    }
    (ann, here.expect("a post"), there.expect("a post"))
}

/// How long twenty likes take that are waited for.
async fn likes_take(ann: &Person, post: &str) -> Duration {
    let began = Instant::now();
    for round in 0..20 {
        let call = if round % 2 == 0 { ann.like(post) } else { ann.unlike(post) };
        call.wait(30).send().await.expect(200);
    }
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_beside_a_server_that_is_gone_ends_in_time() {
    let Some((mut server, cluster)) = server_with_a_cluster_apart(Settings::default()).await else { return };
    let (ann, here, _) = posts_here_and_there(&server).await;
    cluster.crash();
    ann.like(&here).send().await.expect(202);

    assert_eq!(server.terminate().await.code(), Some(0));
    cluster.start_again();
}

/// Whether, beside a shard whose server is ill, the others go on, what comes for it is accepted, and all of it is there once when it is well.
async fn delays_only_its_shard(settings: Settings, ill: impl FnOnce(&Cluster), well: impl FnOnce(&Cluster)) {
    let Some((server, cluster)) = server_with_a_cluster_apart(settings).await else { return };
    let (ann, here, there) = posts_here_and_there(&server).await;
    let before = likes_take(&ann, &there).await;
    ill(&cluster);

    let began = Instant::now();
    let mut comments = Vec::new();
    for _ in 0..40 {
        comments.push(ann.write_comment(&here, &nonce()).send().await.expect(202).write_id());
    }
    // The first hear it after two seconds, the later ones at once.
    // What the machine needs by itself is allowed.
    let took = began.elapsed();
    assert!(took < Duration::from_secs(15) + before * 2, "40 writes for an ill shard took {took:?}");
    let beside = likes_take(&ann, &there).await;
    assert!(beside < Duration::from_secs(10) + before * 2, "20 likes on a healthy shard took {beside:?}, before {before:?}");
    ann.read_post(&here).await.expect_problem(503, "unavailable");
    Person::stranger(&server).get("/readyz").send().await.expect(200);
    assert_eq!(ann.write_state(&comments[0]).await, "accepted");
    let noticed = async || server.log().contains("does not take writes").then_some(());
    within(Duration::from_secs(60), "the server to notice", noticed).await;

    well(&cluster);
    for comment in &comments {
        assert_eq!(ann.write_settled(comment).await, "visible");
    }
    let stranger = Person::stranger(&server);
    let read = async || {
        let post = stranger.read_post(&here).await;
        (post.status == 200).then(|| post.number_at("/comments"))
    };
    assert_eq!(within(Duration::from_secs(60), "the post", read).await, 40);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_crashes_delays_only_its_shard_and_everything_is_applied_once_when_it_is_back() {
    delays_only_its_shard(Settings::default(), Cluster::crash, Cluster::start_again).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_delays_only_its_shard_and_everything_is_applied_once_when_it_goes_on() {
    let impatient = Settings::default().with("postgres.statement_timeout", "1s").with("postgres.connect_timeout", "1s");
    delays_only_its_shard(impatient, Cluster::freeze, Cluster::thaw).await;
}

/// Catches a server that would lose or tear what it said it had committed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_does_not_look_after_its_disk_is_refused_with_the_promises_that_it_breaks() {
    if shared_cluster().is_none() {
        return;
    }
    let cluster = Cluster::start();
    for (setting, promise) in [("fsync", "G1"), ("full_page_writes", "G10")] {
        execute(&cluster.url, &format!("ALTER SYSTEM SET {setting} = off")).await;
        execute(&cluster.url, "SELECT pg_reload_conf()").await;
        let off = async || (text(&cluster.url, &format!("SHOW {setting}")).await == "off").then_some(());
        within(Duration::from_secs(60), "the setting", off).await;

        let databases = Databases::make(&cluster.url).await;
        let refused = Server::try_start_on(Settings::default(), Some(databases)).await.err().expect("a refusal");

        assert!(refused.log.contains(&format!("{setting} = off")) && refused.log.contains(promise), "{}", refused.log);
        execute(&cluster.url, &format!("ALTER SYSTEM RESET {setting}")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_accepted_write_is_lost_or_doubled_by_crashes_of_a_server() {
    let cycles = number_from_environment("SOSIK_CRASH_CYCLES", 3);
    let Some((mut server, cluster)) = server_with_a_cluster_apart(Settings::default()).await else { return };
    let people = Person::join_many(&server, "crash", 12).await;
    let load = Load::start_beside_outages(people, Mix::default(), 1, seed("crashes of a server")).await;

    for _ in 0..cycles {
        load.goes_on_for(60).await;
        cluster.crash();
        load.goes_on_for(20).await;
        cluster.start_again();
    }
    load.goes_on_for(60).await;
    let (history, people) = load.finish().await;

    verdict(&server, &history, &people).await.assert_clean();
    server.terminate().await;
    let (sound, output) = server.run(&["fsck"]);
    assert!(sound && output.contains("clean"), "{output}");
}
