//! A write that cannot be applied stays accepted for its author, with its key, until an operator retries or discards it.
//!
//! Control: a dead letter that takes no key to its author must be caught.

use std::time::Duration;

use reqwest::Method;

use crate::support::client::{Answer, PASSWORD, Person, nonce, within};
use crate::support::faults::{self, Gate};
use crate::support::server::{Server, Settings};

/// The word that no worker can stand.
const POISON: &str = "arsenic";

fn poisoned() -> Settings {
    Settings::default().fault((faults::POISON, "return(arsenic)")).panics_expected()
}

/// A keyed post that became a dead letter.
struct Buried {
    server: Server,
    ann: Person,
    operator: Person,
    body: String,
    key: String,
    first: Answer,
}

impl Buried {
    async fn under(settings: Settings) -> Self {
        let mut server = Server::start().await;
        let ann = Person::join(&server, "ann").await;
        let operator = Person::join(&server, "operator").await;
        server.terminate().await;
        let (made, output) = server.run(&["user", "admin", &operator.name]);
        assert!(made, "{output}");
        server.restart_with(settings).await;
        let operator = operator.signed_in(&operator.signed_out().login(&operator.name, PASSWORD).await.expect(200), &operator.name);
        let (body, key) = (format!("{POISON} {}", nonce()), nonce());
        let first = ann.write_post(&body).key(&key).send().await.expect(202);
        let buried = Self { server, ann, operator, body, key, first };
        within(Duration::from_secs(60), "the dead letter", async || buried.letters().await.contains(&buried.write()).then_some(())).await;
        buried
    }

    fn write(&self) -> String {
        self.first.write_id()
    }

    fn post(&self) -> String {
        self.first.text_at("/post/id")
    }

    async fn letters(&self) -> Vec<String> {
        self.operator.admin_call(Method::GET, "/admin/dead-letters").send().await.expect(200).item_ids()
    }

    /// Where it died last.
    async fn position(&self) -> i64 {
        let letter = self.operator.admin_call(Method::GET, &format!("/admin/dead-letters/{}", self.write())).send().await;
        letter.expect(200).number_at("/position")
    }

    async fn operate(&self, what: &str) -> Answer {
        self.operator.admin_call(Method::POST, &format!("/admin/dead-letters/{}/{what}", self.write())).send().await
    }

    async fn again(&self) -> Answer {
        self.ann.write_post(&self.body).key(&self.key).send().await
    }

    /// The same request is answered with the same write, which is accepted.
    async fn is_remembered(&self) -> bool {
        let again = self.again().await.expect(202);
        again.write_id() == self.write() && again.header("idempotency-replayed") == "true" && again.text_at("/write/state") == "accepted"
    }

    async fn assert_accepted(&self) {
        assert_eq!(self.ann.write_state(&self.write()).await, "accepted");
        assert!(self.is_remembered().await);
        self.ann.read_post(&self.post()).await.expect_problem(404, "not-found");
    }

    /// Starts it once more, when the journal has nothing of the write any more.
    async fn restart_with(&mut self, settings: Settings) {
        self.server.terminate().await;
        self.server.restart_with(settings).await;
        // The second start begins behind what the first one found settled, once that is marked in the lanes.
        within(Duration::from_secs(60), "the marks of what is relayed", async || {
            let lanes = self.operator.admin_call(Method::GET, "/admin/lanes").send().await.expect(200).json["items"].take();
            let lanes = lanes.as_array().expect("lanes");
            (!lanes.is_empty() && lanes.iter().all(|lane| lane["applied"] == lane["relayed"])).then_some(())
        })
        .await;
        self.server.terminate().await;
        self.server.restart().await;
    }
}

#[tokio::test]
async fn a_dead_letter_stays_accepted_with_its_key_over_restarts_until_it_is_retried() {
    let mut buried = Buried::under(poisoned()).await;
    buried.assert_accepted().await;
    let other = buried.ann.write_post("Another body").key(&buried.key).send().await;
    other.expect_problem(422, "idempotency-key-reused");

    buried.restart_with(poisoned()).await;
    buried.assert_accepted().await;
    assert_eq!(buried.letters().await, [buried.write()]);

    let died = buried.position().await;
    buried.operate("retry").await.expect(202);
    within(Duration::from_secs(60), "the retry to die as well", async || (buried.position().await > died).then_some(())).await;
    assert_eq!(buried.letters().await, [buried.write()]);
    buried.server.kill();
    buried.server.restart_with(Settings::default().panics_expected()).await;
    buried.operate("retry").await.expect(202);

    assert_eq!(buried.ann.write_settled(&buried.write()).await, "visible");
    assert_eq!(buried.letters().await, [""; 0]);
    assert_eq!(buried.ann.read_post(&buried.post()).await.expect(200).text_at("/body"), buried.body);
    let again = buried.again().await.expect(202);
    assert_eq!((again.write_id(), again.text_at("/write/state")), (buried.write(), "visible".to_owned()));
    buried.operate("retry").await.expect_problem(404, "not-found");
}

/// Catches a letter that outlives its retry: to discard it would reject what took effect.
#[tokio::test]
async fn a_retry_that_is_under_way_over_a_crash_takes_its_letter_along() {
    let mut buried = Buried::under(poisoned()).await;
    buried.server.kill();
    buried.server.restart_with(Settings::default().without_workers()).await;

    buried.operate("retry").await.expect(202);
    for what in ["discard", "retry"] {
        buried.operate(what).await.expect_problem(503, "unavailable");
    }
    buried.server.kill();
    buried.server.restart_with(Settings::default()).await;

    assert_eq!(buried.ann.write_settled(&buried.write()).await, "visible");
    for what in ["discard", "retry"] {
        buried.operate(what).await.expect_problem(404, "not-found");
    }
    assert_eq!(buried.ann.read_post(&buried.post()).await.expect(200).text_at("/body"), buried.body);
}

#[tokio::test]
async fn a_discarded_dead_letter_is_rejected_for_good() {
    let mut buried = Buried::under(poisoned()).await;

    buried.operate("discard").await.expect(204);

    for _ in 0..2 {
        assert_eq!(buried.ann.write_state(&buried.write()).await, "rejected");
        let again = buried.again().await;
        assert_eq!((again.write_id(), again.text_at("/write/state")), (buried.write(), "rejected".to_owned()));
        buried.ann.read_post(&buried.post()).await.expect_problem(404, "not-found");
        assert_eq!(buried.letters().await, [""; 0]);
        buried.restart_with(Settings::default().panics_expected()).await;
    }
}

/// One shard that is down must not hide the letters of the others.
#[tokio::test]
async fn dead_letters_are_listed_and_found_beside_a_shard_that_is_down() {
    let down = tempfile::NamedTempFile::new().expect("a file");
    let fault = format!("return({})", down.path().display());
    let buried = Buried::under(poisoned().fault((faults::SHARD_UNAVAILABLE, &fault))).await;
    let letter = format!("/admin/dead-letters/{}", buried.write());
    let at = buried.operator.admin_call(Method::GET, &letter).send().await.expect(200).text_at("/shard");
    let unknown = format!("/admin/dead-letters/{}", buried.post());
    let unknown = async || buried.operator.admin_call(Method::GET, &unknown).send().await.status;
    assert_eq!(unknown().await, 404);

    for other in ["s1", "s2", "s3", "s4"].into_iter().filter(|name| *name != at) {
        std::fs::write(down.path(), other).expect("written");
        assert_eq!(buried.letters().await, [buried.write()]);
        assert_eq!(buried.operator.admin_call(Method::GET, &letter).send().await.expect(200).text_at("/shard"), at);
        assert_eq!(unknown().await, 503, "the shard that is down may hold it");
        let lanes = buried.operator.admin_call(Method::GET, "/admin/lanes").send().await.expect(200).json["items"].take();
        let lanes = lanes.as_array().expect("lanes").clone();
        assert!(!lanes.is_empty() && lanes.iter().all(|lane| lane["shard"] != other));
    }
}

#[tokio::test]
async fn a_dead_letter_is_rejected_though_an_operator_is_faster_than_the_worker_that_wrote_it() {
    let gate = Gate::closed();
    let mut buried = Buried::under(poisoned().fault((faults::HOLDS_BURIAL, &gate.action()))).await;
    gate.is_reached().await;

    buried.operate("discard").await.expect(204);
    assert_eq!(buried.ann.write_state(&buried.write()).await, "rejected");
    gate.let_through();

    buried.restart_with(Settings::default().panics_expected()).await;
    assert_eq!(buried.ann.write_state(&buried.write()).await, "rejected");
}

#[tokio::test]
async fn control_a_dead_letter_without_its_key_is_caught() {
    let mut buried = Buried::under(poisoned().fault((faults::BURY_WITHOUT_KEY, "return"))).await;

    buried.restart_with(Settings::default().panics_expected()).await;

    assert!(!buried.is_remembered().await, "the fault had no effect");
}
