//! The operator's commands on a data folder at rest: a check that changes nothing, and a new journal in place of a lost one.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use sea_orm::ConnectionTrait;

use crate::support::client::{Person, nonce};
use crate::support::server::{Server, Settings};

fn journal(server: &Server) -> PathBuf {
    server.data().join("journal")
}

/// All files below a folder with what is in them.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        if entry.path().is_dir() {
            found.extend(contents(&entry.path()));
        } else {
            found.insert(entry.path(), std::fs::read(entry.path()).expect("readable"));
        }
    }
    found
}

fn newest_segment(server: &Server) -> PathBuf {
    let names = contents(&journal(server)).into_keys();
    names.filter(|path| path.extension().is_some_and(|extension| extension == "segment")).max().expect("a segment")
}

#[tokio::test]
async fn a_check_tells_of_a_torn_tail_and_leaves_it_as_it_is() {
    let mut server = Server::start().await;
    let ann = Person::join(&server, "ann").await;
    let kept = ann.publish(&nonce()).await;
    server.kill();
    let segment = std::fs::File::options().write(true).open(newest_segment(&server)).expect("opens");
    let length = segment.metadata().expect("metadata").len();
    segment.write_all_at(&[0xab; 100], length - 100).expect("writes");
    let before = contents(&journal(&server));

    let (sound, output) = server.run(&["fsck"]);

    assert!(sound && output.contains("torn") && output.contains("clean"), "{output}");
    assert_eq!(contents(&journal(&server)), before, "the check changed the journal");
    server.restart().await;
    assert!(server.log().contains("was torn"), "the start did not cut it off");
    ann.read_post(&kept).await.expect(200);
}

#[tokio::test]
async fn a_check_reads_what_waits_and_changes_nothing() {
    let mut server = Server::start().await;
    let ann = Person::join(&server, "ann").await;
    server.terminate().await;
    server.restart_with(Settings::default().without_workers()).await;
    for _ in 0..20 {
        ann.write_post(&nonce()).send().await.expect(202);
    }
    server.kill();
    let before = contents(&journal(&server));

    let (sound, output) = server.run(&["fsck"]);

    assert!(sound && output.contains("20 entries wait"), "{output}");
    assert_eq!(contents(&journal(&server)), before, "the check changed the journal");
}

#[tokio::test]
async fn what_only_looks_stores_no_map_of_shards() {
    let mut server = Server::start().await;
    server.terminate().await;
    let map = server.data().join("topology.json");
    std::fs::remove_file(&map).expect("removed");

    for command in [&["shards", "status"][..], &["shards", "plan", "--members", "s1,s2,s3,s4,s5"], &["fsck"]] {
        let (done, output) = server.run(command);
        assert!(done && !map.exists(), "{command:?}: {output}");
    }
}

/// Beside a server that runs, and was started from the release before.
#[tokio::test]
async fn tokens_and_roles_are_given_on_the_present_schema_alone() {
    let server = Server::start().await;
    if server.databases.is_some() {
        return;
    }
    let ann = Person::join(&server, "ann").await;
    let steps = async |sql: &str| {
        for shard in ["s1", "s2", "s3", "s4"] {
            let file = sea_orm::Database::connect(format!("sqlite://{}", server.data().join(format!("{shard}.db")).display()));
            let file = file.await.expect("opens");
            file.execute_unprepared(sql).await.expect("a change");
            file.close().await.expect("closed");
        }
    };
    assert!(server.run(&["token", &ann.name]).0);
    steps("DELETE FROM seaql_migrations WHERE version = (SELECT max(version) FROM seaql_migrations)").await;

    for command in [["token", &ann.name].to_vec(), ["user", "admin", &ann.name].to_vec()] {
        let (done, output) = server.run(&command);
        assert!(!done && output.contains("older than this program"), "{command:?}: {output}");
    }
}

#[tokio::test]
async fn shards_whose_journal_is_lost_start_again_with_a_new_one_by_command_alone() {
    let mut server = Server::start().await;
    let ann = Person::join(&server, "ann").await;
    let kept = ann.publish(&nonce()).await;
    let version = ann.read_post(&kept).await.expect(200).number_at("/version");
    server.terminate().await;

    let (taken, refused) = server.run(&["journal", "attach"]);
    assert!(!taken && refused.contains("holds entries"), "a journal that is there was replaced: {refused}");
    std::fs::remove_dir_all(journal(&server)).expect("lost");
    let refused = server.try_restart().await.expect_err("a start without its journal");
    assert!(refused.log.contains("belongs to the journal"), "{}", refused.log);

    let (attached, output) = server.run(&["journal", "attach"]);
    assert!(attached && output.contains("begins after position"), "{output}");
    let (again, output) = server.run(&["journal", "attach"]);
    assert!(again, "an attachment that was interrupted is finished by another: {output}");
    server.restart().await;

    ann.read_post(&kept).await.expect(200);
    let (body, post) = (nonce(), ann.publish(&nonce()).await);
    ann.edit_post(&kept, &body).wait(30).send().await.expect(200);
    assert_eq!(ann.read_post(&kept).await.expect(200).text_at("/body"), body);
    let later = ann.read_post(&post).await.expect(200).number_at("/version");
    assert!(later > version, "position {later} after {version}");
    server.terminate().await;
    let (sound, output) = server.run(&["fsck"]);
    assert!(sound, "{output}");
    server.restart().await;
    ann.read_post(&post).await.expect(200);
}

#[tokio::test]
async fn a_journal_that_cannot_be_read_is_not_replaced_unasked() {
    let mut server = Server::start().await;
    let ann = Person::join(&server, "ann").await;
    ann.publish(&nonce()).await;
    server.kill();
    let segment = std::fs::File::options().write(true).open(newest_segment(&server)).expect("opens");
    segment.write_all_at(&[0xab; 64], 0).expect("writes");
    let before = contents(&journal(&server));

    let (taken, output) = server.run(&["journal", "attach"]);

    assert!(!taken && output.contains("cannot be read"), "{output}");
    assert_eq!(contents(&journal(&server)), before);
}
