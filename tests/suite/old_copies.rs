//! G1 where another file is put in a shard's place. An older copy: what the journal still has is applied again, and where it has too little the
//! start is refused. Another shard's: the start is refused.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::Method;

use crate::support::client::{Person, nonce, within};
use crate::support::history::Id;
use crate::support::server::{Server, Settings, StartRefused};
use crate::support::{faults, shards};

/// Four bytes each: what fills a journal soon.
const LARGE_BODY: usize = 9_000;
/// Comments that the copy lacks.
const COMMENTS: i64 = 7;

/// A stopped server, the post that has comments, and the shard of it as it was before them.
struct Copied {
    server: Server,
    ann: Person,
    post: String,
    shard: String,
    copy: tempfile::TempDir,
}

fn files_of(folder: &Path, shard: &str) -> Vec<PathBuf> {
    let files = std::fs::read_dir(folder).expect("a folder").map(|file| file.expect("a file").path());
    files.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&format!("{shard}.db")))).collect()
}

fn copy_files(from: &Path, to: &Path, shard: &str) {
    // A log that belongs to another state of the file must not stay beside it.
    files_of(to, shard).iter().for_each(|path| std::fs::remove_file(path).expect("removed"));
    for path in files_of(from, shard) {
        std::fs::copy(&path, to.join(path.file_name().expect("a name"))).expect("copied");
    }
}

impl Copied {
    async fn make(settings: Settings) -> Self {
        let mut server = Server::start_with(settings.with("journal.max_bytes", "1MiB")).await;
        let ann = Person::join(&server, "ann").await.as_admin(&server).await;
        let place = async |id: &str| ann.get(&format!("/v1/ids/{id}")).send().await.expect(200).text_at("/shard");
        let home = place(&ann.id).await;
        // Elsewhere than its author, whose shard is told of it.
        let (post, shard) = loop {
            let post = ann.publish(&nonce()).await;
            let shard = place(&post).await;
            if shard != home {
                break (post, shard);
            }
        };
        let all_released = async || {
            let journal = ann.admin_call(Method::GET, "/admin/journal").send().await.expect(200);
            (journal.number_at("/waiting_entries") == 0).then_some(())
        };
        within(Duration::from_secs(60), "the journal to need nothing", all_released).await;
        server.terminate().await;
        let copy = tempfile::tempdir().expect("a folder");
        copy_files(&server.data(), copy.path(), &shard);
        server.restart().await;
        for _ in 0..COMMENTS {
            ann.write_comment(&post, &nonce()).wait(30).send().await.expect(201);
        }
        Self { server, ann, post, shard, copy }
    }

    /// Writes until the journal has given back the entries of the comments.
    async fn fill_the_journal(&self) {
        let began = self.journal("durable").await;
        let large = "\u{1f4ef}".repeat(LARGE_BODY);
        within(Duration::from_secs(120), "the journal to be trimmed", async || {
            self.ann.edit_post(&self.post, &large).wait(30).send().await.expect(200);
            (self.journal("first").await > began).then_some(())
        })
        .await;
    }

    async fn journal(&self, field: &str) -> i64 {
        self.ann.admin_call(Method::GET, "/admin/journal").send().await.expect(200).number_at(&format!("/{field}"))
    }

    async fn put_back(&mut self) {
        self.server.terminate().await;
        copy_files(self.copy.path(), &self.server.data(), &self.shard);
    }

    async fn comments(&self) -> i64 {
        self.ann.read_post(&self.post).await.expect(200).number_at("/comments")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_older_copy_lacks_is_applied_again_from_the_journal_once() {
    let mut copied = Copied::make(Settings::default()).await;

    copied.put_back().await;
    copied.server.restart().await;

    let all_there = async || (copied.comments().await == COMMENTS).then_some(());
    within(Duration::from_secs(60), "the comments", all_there).await;
    let listed = copied.ann.all_items(&format!("/v1/posts/{}/comments", copied.post)).await;
    assert_eq!(listed.len() as i64, COMMENTS);
    copied.server.terminate().await;
    let (sound, output) = copied.server.run(&["fsck"]);
    assert!(sound, "{output}");
}

/// Catches a journal that gives back what a shard has not said that it has, and a start that does not ask.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_copy_that_lacks_what_the_journal_gave_back_is_refused_by_name() {
    let mut copied = Copied::make(Settings::default()).await;
    copied.fill_the_journal().await;
    copied.server.terminate().await;
    let newest = tempfile::tempdir().expect("a folder");
    copy_files(&copied.server.data(), newest.path(), &copied.shard);
    copy_files(copied.copy.path(), &copied.server.data(), &copied.shard);

    let refused = copied.server.try_restart().await.expect_err("a refusal");

    assert!(refused.log.contains(&format!("the shard {}", copied.shard)) && refused.log.contains("an older copy"), "{}", refused.log);
    copy_files(newest.path(), &copied.server.data(), &copied.shard);
    copied.server.restart().await;
    assert_eq!(copied.comments().await, COMMENTS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_an_older_copy_that_is_not_asked_what_it_has_is_caught() {
    let mut copied = Copied::make(Settings::default()).await;
    copied.fill_the_journal().await;

    copied.put_back().await;
    let unasked = copied.server.settings.clone().fault((faults::SKIP_COMPLETE, "return"));
    copied.server.restart_with(unasked).await;

    let all_applied = async || {
        let shards = copied.ann.admin_call(Method::GET, "/admin/shards").send().await.expect(200);
        let shards = shards.json["items"].as_array().expect("items").clone();
        shards.iter().all(|shard| shard["pending"] == 0).then_some(())
    };
    within(Duration::from_secs(60), "all to be applied", all_applied).await;
    assert!(copied.comments().await < COMMENTS, "the fault has no effect");
}

/// A server whose files of two shards took each other's place, started again with these settings; a post that was on one of them.
async fn after_a_swap(settings: Settings) -> (Server, Result<(), StartRefused>, String) {
    let mut server = Server::start().await;
    let ann = Person::join(&server, "ann").await;
    let post = loop {
        let post = ann.publish(&nonce()).await;
        if ann.get(&format!("/v1/ids/{post}")).send().await.expect(200).text_at("/shard") == "s1" {
            break post;
        }
    };
    server.terminate().await;
    swap(&server);
    server.settings = settings;
    let started = server.try_restart().await;
    (server, started, post)
}

fn swap(server: &Server) {
    let rename = |from: &str, to: &str| {
        for path in files_of(&server.data(), from) {
            let name = path.file_name().expect("a name").to_string_lossy().replacen(from, to, 1);
            std::fs::rename(&path, server.data().join(name)).expect("renamed");
        }
    };
    rename("s1", "aside");
    rename("s2", "s1");
    rename("aside", "s2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_shards_file_is_refused_by_name_and_left_as_it_is() {
    let (mut server, started, post) = after_a_swap(Settings::default()).await;

    let refused = started.expect_err("a refusal").log;
    assert!(refused.contains("is the shard s2 and") && refused.contains("wanted is the shard s1"), "{refused}");
    let (done, output) = server.run(&["migrate"]);
    assert!(!done && output.contains("wanted is the shard s1"), "{output}");
    swap(&server);
    server.restart().await;
    Person::stranger(&server).read_post(&post).await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_files_that_are_not_asked_whose_they_are_are_caught() {
    let unasked = Settings::default().fault((faults::SKIP_MEMBERSHIP, "return"));

    let (server, started, post) = after_a_swap(unasked).await;

    started.expect("a start");
    let post: Id = post.parse().expect("an id");
    let facts = shards::all_facts(&server).await;
    let is_elsewhere = facts.posts.iter().any(|fact| fact.id == post && fact.place == "s2");
    assert!(is_elsewhere, "the fault had no effect");
}
