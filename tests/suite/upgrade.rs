//! G16: an older binary refuses newer data, a foreign journal or a torn configuration, and says what and where.
//!
//! Control: a binary that opens newer data all the same must be caught.

use crate::support::client::Person;
use crate::support::faults;
use crate::support::server::{Server, Settings};
use crate::support::shards;

/// A folder with data, one of whose shards was migrated by a release that does not exist yet.
async fn data_of_a_newer_release() -> (Server, Person, String) {
    let mut server = Server::start().await;
    let ann = Person::join(&server, "ann").await;
    let post = ann.publish("From before").await;
    server.terminate().await;
    let opened = shards::open_all(&server).await;
    let file = opened[0].file.clone();
    drop(opened);
    shards::execute(&file, "INSERT INTO seaql_migrations (version, applied_at) VALUES ('m999999_from_the_future', 0)").await;
    (server, ann, post)
}

#[tokio::test]
async fn newer_data_is_refused_by_name() {
    let (mut server, _, _) = data_of_a_newer_release().await;

    let refused = server.try_restart().await.expect_err("a refusal");

    assert!(refused.status.is_some_and(|status| !status.success()));
    assert!(refused.log.contains("m999999_from_the_future"), "{}", refused.log);
    assert!(!refused.log.contains("panicked"), "{}", refused.log);
}

#[tokio::test]
async fn control_newer_data_that_is_opened_all_the_same_is_caught() {
    let (mut server, _, _) = data_of_a_newer_release().await;
    server.settings = Settings::default().fault((faults::ACCEPT_NEWER_DATA, "return"));

    assert!(server.try_restart().await.is_ok(), "the fault had no effect");
}

#[tokio::test]
async fn shards_of_another_journal_are_refused() {
    let mut first = Server::start().await;
    Person::join(&first, "ann").await.publish("Here").await;
    first.terminate().await;
    let mut second = Server::start().await;
    Person::join(&second, "ben").await.publish("There").await;
    second.terminate().await;
    let (mine, theirs) = (shards::database_files(&first.data()), shards::database_files(&second.data()));
    for (target, source) in mine.iter().zip(&theirs) {
        std::fs::copy(source, target).expect("a copy");
    }

    let refused = first.try_restart().await.expect_err("a refusal");

    assert!(refused.log.contains("journal"), "{}", refused.log);
    assert!(!refused.log.contains("panicked"), "{}", refused.log);
}

#[tokio::test]
async fn a_bad_value_stops_the_start_and_names_its_key() {
    for (key, value) in [("journal.max_bytes", "12KiB"), ("write.workers", "many"), ("node.worker", "32"), ("shards.strategy", "random")] {
        let refused =
            Server::try_start(Settings::default().with(key, value)).await.err().unwrap_or_else(|| panic!("{key}={value} was taken"));

        assert!(refused.status.is_some_and(|status| !status.success()));
        assert!(refused.log.contains(key), "{key} is not named in: {}", refused.log);
        assert!(!refused.log.contains("panicked"), "{}", refused.log);
    }
}

#[tokio::test]
async fn a_folder_that_was_migrated_before_starts_as_it_is() {
    let mut server = Server::start().await;
    let ann = Person::join(&server, "ann").await;
    let post = ann.publish("Kept").await;
    server.terminate().await;

    let (migrated, output) = server.run(&["migrate"]);
    assert!(migrated, "{output}");
    server.restart().await;

    ann.read_post(&post).await.expect(200);
}
