//! G6: on every committed snapshot each counter is the number of its rows.
//!
//! The shards are opened beside the running server and compared in one read transaction each, ten times a second.
//! Controls: a counter that moves without its row, and one that is saved in a transaction of its own, must be caught.

use std::time::Duration;

use crate::support::client::{Person, within};
use crate::support::history::Violation;
use crate::support::inboxes::Inbox;
use crate::support::load::{Load, Mix};
use crate::support::server::{Server, Settings};
use crate::support::shards::{self, Shard};
use crate::support::verdict::{verdict, verdict_at_once};
use crate::support::{faults, number_from_environment, seed};

const COMPARE_EVERY: Duration = Duration::from_millis(100);

/// In each batch the counters come 20 ms after their rows: one look in a few falls between the two.
const NOTICED_WITHIN: Duration = Duration::from_secs(120);

/// How long a crowd may take to write what is deleted then.
const DELETION_TIMEOUT: Duration = Duration::from_secs(300);

/// Compares all shards again and again while something is done: what came of that, how often, and what was found.
async fn compare_during<T>(shards: &[Shard], work: impl Future<Output = T>) -> (T, (usize, Vec<Violation>)) {
    let (mut comparisons, mut found) = (0, Vec::new());
    let compare = async {
        loop {
            for shard in shards {
                found.extend(shard.counters_now().await);
                comparisons += 1;
            }
            tokio::time::sleep(COMPARE_EVERY).await;
        }
    };
    let done = tokio::select! {
        done = work => done,
        () = compare => unreachable!("it never ends"),
    };
    (done, (comparisons, found))
}

/// Compares all shards for a while.
async fn compare_for(shards: &[Shard], time: Duration) -> (usize, Vec<Violation>) {
    compare_during(shards, tokio::time::sleep(time)).await.1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counters_equal_their_rows_on_every_snapshot_under_load_and_kills() {
    let clients = number_from_environment("SOSIK_COUNTER_CLIENTS", 24) as usize;
    let seconds = number_from_environment("SOSIK_COUNTER_SECONDS", 6);
    let seed = seed("counters");
    let mut server = Server::start().await;
    let people = Person::join_many(&server, "count", clients).await;
    let load = Load::start(people, Mix::counting(), 1, seed).await;

    let (mut comparisons, mut found) = (0, Vec::new());
    for _ in 0..3 {
        let shards = shards::open_all(&server).await;
        let (more, violations) = compare_for(&shards, Duration::from_secs(seconds) / 3).await;
        comparisons += more;
        found.extend(violations);
        drop(shards);
        server.kill();
        load.history.process_ended();
        server.restart().await;
    }
    let (history, people) = load.finish().await;

    println!("{comparisons} comparisons");
    assert!(comparisons > 0, "nothing was compared");
    assert_eq!(found, [], "of {comparisons} comparisons");
    verdict(&server, &history, &people).await.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_a_counter_saved_apart_from_its_rows_is_caught() {
    let server = Server::start_with(Settings::default().fault((faults::COUNTER_APART, "return"))).await;
    let people = Person::join_many(&server, "apart", 6).await;
    let load = Load::start(people, Mix::counting(), 1, seed("counters apart")).await;

    let shards = shards::open_all(&server).await;
    within(NOTICED_WITHIN, "a counter that is not its rows", async || {
        let mut found = Vec::new();
        for shard in &shards {
            found.extend(shard.counters_now().await);
        }
        (!found.is_empty()).then_some(())
    })
    .await;
    load.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_a_counter_that_moves_without_its_row_is_caught() {
    let server = Server::start_with(Settings::default().fault((faults::COUNT_TWICE, "return"))).await;
    let people = Person::join_many(&server, "twice", 4).await;
    let load = Load::start(people, Mix::counting(), 1, seed("counted twice")).await;

    load.goes_on_for(400).await;
    let (history, people) = load.finish().await;

    verdict_at_once(&server, &history, &people).await.assert_caught(&["C6"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_between_rows_counters_and_events_leaves_all_or_nothing() {
    let mut server = Server::start().await;
    let people = Person::join_many(&server, "torn", 6).await;
    let load = Load::start(people, Mix::counting(), 1, seed("torn")).await;

    let rounds = number_from_environment("SOSIK_DEATHS_PER_PLACE", 1) as usize;
    let places = [faults::BETWEEN_ROWS_AND_COUNTERS, faults::BETWEEN_ROWS_AND_EVENTS, faults::BEFORE_COMMIT];
    for place in places.into_iter().cycle().take(places.len() * rounds) {
        server.kill();
        load.history.process_ended();
        server.restart_with(Settings::default().fault((place, "5*off->sleep(60000)"))).await;
        server.stands_still().await;
        server.kill();
        load.history.process_ended();
        for shard in shards::open_all(&server).await {
            assert_eq!(shard.counters_now().await, [], "after a death at {place}");
        }
        server.restart_with(Settings::default()).await;
        load.goes_on_for(50).await;
    }
    let (history, people) = load.finish().await;

    verdict(&server, &history, &people).await.assert_clean();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_post_that_is_deleted_while_many_comment_leaves_counters_that_are_their_rows() {
    // So many are there when the post goes; the crowd goes on until it hears of it.
    let comments = number_from_environment("SOSIK_COMMENTS_OF_A_DELETED_POST", 150) as i64;
    let server = Server::start().await;
    let people = Person::join_many(&server, "crowd", 6).await;
    let post = people[0].publish("Soon gone").await;
    let shards = shards::open_all(&server).await;

    let comment = people.iter().map(|person| async {
        let mut statuses = Vec::new();
        while statuses.iter().filter(|status| **status == 410).count() < 5 {
            statuses.push(person.write_comment(&post, "one of many").send().await.status);
        }
        statuses
    });
    let delete = async {
        within(DELETION_TIMEOUT, "the comments", async || {
            (people[0].read_post(&post).await.number_at("/comments") >= comments).then_some(())
        })
        .await;
        people[0].delete(&format!("/v1/posts/{post}")).wait(30).send().await.expect(200);
    };
    let write = async { tokio::join!(futures_util::future::join_all(comment), delete).0 };
    let (statuses, (comparisons, found)) = compare_during(&shards, write).await;

    assert_eq!(found, [], "of {comparisons} comparisons");
    let statuses = statuses.concat();
    let accepted = statuses.iter().filter(|status| **status == 202).count();
    println!("deleted below {accepted} accepted comments, {comparisons} comparisons");
    assert!(accepted as i64 >= comments && comparisons > 0);
    assert!(statuses.iter().all(|status| [202, 410].contains(status)), "{:?}", statuses.iter().collect::<std::collections::BTreeSet<_>>());
    people[1].write_comment(&post, "Too late").send().await.expect_problem(410, "gone");
    for shard in &shards {
        assert_eq!(shard.counters_now().await, []);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fsck_finds_nothing_after_a_run_and_a_counter_that_was_changed_by_hand() {
    let mut server = Server::start().await;
    let people = Person::join_many(&server, "fsck", 4).await;
    let load = Load::start(people, Mix::default(), 1, seed("fsck")).await;
    load.goes_on_for(400).await;
    let (history, people) = load.finish().await;
    verdict(&server, &history, &people).await.assert_clean();
    server.terminate().await;
    let (sound, output) = server.run(&["fsck"]);
    assert!(sound, "{output}");

    let shards = shards::open_all(&server).await;
    let file = shards[0].file.clone();
    drop(shards);
    shards::execute(&file, "UPDATE post_counters SET likes = likes + 1").await;
    shards::execute(&file, "UPDATE user_counters SET followers = followers + 1").await;

    let (sound, output) = server.run(&["fsck"]);
    assert!(!sound, "{output}");
    assert!(output.contains(": post_counters "), "{output}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fsck_finds_nothing_in_what_was_not_relayed_before_a_kill() {
    let mut server = Server::start().await;
    let people = Person::join_many(&server, "half", 6).await;
    server.kill();
    server.restart_with(Settings::default().fault((faults::RELAY_STALLED, "return"))).await;
    let mut last = Vec::new();
    for (number, person) in people.iter().enumerate() {
        person.follow(&people[(number + 1) % people.len()].id).send().await.expect(202);
        last.push(person.write_post("Half way").send().await.expect(202).write_id());
    }
    for (person, write) in people.iter().zip(&last) {
        let committed = async || (person.write_state(write).await == "committed").then_some(());
        within(Duration::from_secs(60), "the commit", committed).await;
    }
    server.kill();

    let (sound, output) = server.run(&["fsck"]);

    assert!(sound, "{output}");
    let waiting = output.split(' ').next().and_then(|count| count.parse::<usize>().ok());
    assert!(waiting >= Some(2 * people.len()), "{output}");
}

/// Each kind of damage, and the table that a check must name.
const DAMAGE: [(&str, &str); 9] = [
    ("UPDATE comment_counters SET likes = likes + 1", "comment_counters"),
    ("UPDATE relations SET following_since = NULL, following_notify = NULL", "relations"),
    ("DELETE FROM author_posts", "author_posts"),
    ("UPDATE posts SET deleted = NOT deleted", "author_posts"),
    ("UPDATE accounts SET \"user\" = \"user\" + 1", "accounts"),
    ("UPDATE names SET name = name || 'x'", "names"),
    ("UPDATE inbox_states SET unread = unread + 1", "inbox_states"),
    ("UPDATE inbox_entries SET seq = seq + 100", "inbox_states"),
    ("DELETE FROM inbox_entries", "inbox_states"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fsck_names_the_table_of_each_kind_of_damage() {
    let mut server = Server::start().await;
    let people = Person::join_many(&server, "torn", 8).await;
    for (number, person) in people.iter().enumerate() {
        let post = person.publish("Sound").await;
        let comment = person.write_comment(&post, "As well").wait(30).send().await.expect(201).text_at("/comment/id");
        person.put(&format!("/v1/posts/{post}/comments/{comment}/like")).wait(30).send().await.expect(200);
        person.follow(&people[(number + 1) % people.len()].id).wait(30).send().await.expect(200);
    }
    for person in &people {
        Inbox::with_places(person, 1).await;
    }
    let (sound, output) = server.run(&["fsck"]);
    assert!(!sound && output.contains("in use"), "beside a running server: {output}");
    server.terminate().await;
    let (sound, output) = server.run(&["fsck"]);
    assert!(sound, "{output}");

    let files: Vec<_> = shards::open_all(&server).await.into_iter().map(|shard| shard.file.clone()).collect();
    for (damage, table) in DAMAGE {
        let sound_copies: Vec<Vec<u8>> = files.iter().map(|file| std::fs::read(file).expect("a copy")).collect();
        for file in &files {
            shards::execute(file, damage).await;
        }

        let (sound, output) = server.run(&["fsck"]);

        assert!(!sound && output.contains(&format!(": {table} ")), "{damage}: {output}");
        for (file, copy) in files.iter().zip(sound_copies) {
            std::fs::write(file, copy).expect("the sound file");
        }
    }
    let (sound, output) = server.run(&["fsck"]);
    assert!(sound, "{output}");
}
