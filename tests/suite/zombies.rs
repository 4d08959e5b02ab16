//! G2 beside a worker that should be dead (T2.4): it stands still with a batch in hand until another has done all of it, and goes on. The lane is
//! not where it knew it to be, so nothing of its batch is kept. Nor is it where another process has taken over the shard meanwhile: its epoch is.
//!
//! Controls: a lane that is moved on from wherever it stands, and an epoch that is compared outside the transaction, must be caught.

use crate::support::client::{Person, nonce, within};
use crate::support::databases::{execute, number};
use crate::support::faults::{self, Gate};
use crate::support::followed::UP_TO_DATE_WITHIN;
use crate::support::inboxes::Inbox;
use crate::support::number_from_environment;
use crate::support::server::{Server, Settings};

/// What became of a like and a comment that two workers had in hand.
struct Outcome {
    server: Server,
    ann: Person,
    ben: Person,
    post: String,
    write: String,
}

impl Outcome {
    /// What is wrong with them; there is nothing if each took effect once.
    async fn violations(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let done = async || {
            let failed = self.server.log().contains("a job failed");
            let state = self.ann.write_state(&self.write).await;
            (failed || state == "visible").then_some((failed, state))
        };
        let (failed, state) = within(UP_TO_DATE_WITHIN, "the worker to hear what became of its batch", done).await;
        if failed || state != "visible" {
            wrong.push(format!("the write is {state}, and a job failed: {failed}"));
            return wrong;
        }
        let post = self.ben.read_post(&self.post).await.expect(200);
        if (post.number_at("/likes"), post.number_at("/comments")) != (1, 1) {
            wrong.push(format!("counted otherwise: {}", post.text));
        }
        let place = Person::stranger(&self.server).get(&format!("/v1/ids/{}", self.post)).send().await.expect(200).text_at("/shard");
        let url = &self.server.postgres().shard(&place).url;
        for (table, rows) in [("post_likes", 1), ("comments", 1)] {
            let found = number(url, &format!("SELECT count(*) FROM {table} WHERE post = {}", self.post)).await;
            if found != rows {
                wrong.push(format!("{found} rows in {table}"));
            }
        }
        let inbox = Inbox::with_places(&self.ben, 2).await;
        if inbox.seq != 2 {
            wrong.push(format!("told {:?}", inbox.kinds()));
        }
        wrong
    }
}

/// A worker is held at a place while another server does what it has in hand; then it goes on.
async fn a_worker_goes_on_after_another_did_its_batch(place: &str, settings: Settings) -> Option<Outcome> {
    let gate = Gate::open();
    // How long the database lets a session stand still that holds lanes.
    let settings = settings.with("postgres.idle_in_transaction_timeout", "1s");
    let server = Server::start_on_postgres(settings.clone().fault((place, &gate.action()))).await?;
    let (ann, ben) = (Person::join(&server, "ann").await, Person::join(&server, "ben").await);
    let post = ben.publish(&nonce()).await;
    gate.close();
    let liked = ann.like(&post).send().await.expect(202).write_id();
    gate.is_reached().await;
    let write = ann.write_comment(&post, &nonce()).send().await.expect(202).write_id();

    let mut double = server.start_double(settings).await;
    let other = ann.at(&double);
    let done = async |write: &str| ["visible", "forgotten"].contains(&other.write_state(write).await.as_str()).then_some(());
    for write in [&liked, &write] {
        within(UP_TO_DATE_WITHIN, "the other to do it", async || done(write).await).await;
    }
    Inbox::with_places(&ben.at(&double), 2).await;
    double.terminate().await;
    assert_eq!(ann.write_state(&liked).await, "accepted", "it was not held");
    gate.let_through();
    Some(Outcome { server, ann, ben, post, write })
}

async fn nothing_is_kept_of_a_batch_that_another_did(place: &str) {
    for cycle in 0..number_from_environment("SOSIK_ZOMBIES", 1) {
        let Some(outcome) = Box::pin(a_worker_goes_on_after_another_did_its_batch(place, Settings::default())).await else { return };

        assert_eq!(outcome.violations().await, Vec::<String>::new(), "cycle {cycle}");
        assert!(outcome.server.log().contains("a lane was further than known"), "it was not refused in cycle {cycle}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_was_taken_for_dead_with_a_batch_in_hand_keeps_nothing_of_it() {
    nothing_is_kept_of_a_batch_that_another_did(faults::HOLDS_BATCH).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_whose_session_was_ended_in_the_middle_of_its_transaction_keeps_nothing_of_it() {
    nothing_is_kept_of_a_batch_that_another_did(faults::HOLDS_TRANSACTION).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_a_lane_that_is_moved_on_from_wherever_it_stands_is_caught() {
    let settings = Settings::default().fault((faults::SKIP_COMPARE, "return"));
    let Some(outcome) = Box::pin(a_worker_goes_on_after_another_did_its_batch(faults::HOLDS_BATCH, settings)).await else { return };

    assert!(!outcome.violations().await.is_empty(), "the fault has no effect");
}

/// A worker is held with a like in hand, on a connection that is there, while another process takes over the shard; how many likes it writes.
async fn likes_written_after_another_took_over(settings: Settings) -> Option<i64> {
    let gate = Gate::open();
    let server = Server::start_on_postgres(settings.fault((faults::HOLDS_BATCH, &gate.action()))).await?;
    let (ann, ben) = (Person::join(&server, "ann").await, Person::join(&server, "ben").await);
    let post = ben.publish(&nonce()).await;
    let place = ann.get(&format!("/v1/ids/{post}")).send().await.expect(200).text_at("/shard");
    let url = server.postgres().shard(&place).url.clone();
    gate.close();
    let liked = ann.like(&post).send().await.expect(202).write_id();
    gate.is_reached().await;

    execute(&url, "UPDATE shard SET epoch = epoch + 1").await;
    gate.let_through();

    let tried = async || {
        let refused = server.log().contains("carries the epoch 2 of its shard, and 1 is expected");
        (refused || ann.write_state(&liked).await != "accepted").then_some(())
    };
    within(UP_TO_DATE_WITHIN, "the like to be refused, or written", tried).await;
    Some(number(&url, "SELECT count(*) FROM post_likes").await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_whose_shard_was_taken_over_with_a_batch_in_hand_writes_nothing() {
    let Some(written) = likes_written_after_another_took_over(Settings::default()).await else { return };

    assert_eq!(written, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_an_epoch_that_is_compared_outside_the_transaction_is_caught() {
    let settings = Settings::default().fault((faults::SKIP_EPOCH_INSIDE, "return"));
    let Some(written) = likes_written_after_another_took_over(settings).await else { return };

    assert_eq!(written, 1, "the fault has no effect");
}
