//! G11: what others owe to a shard that is gone does not hold the disk of all, and arrives once it is back.
//!
//! Control: a journal that keeps its segments for what is owed must be caught.

use std::time::{Duration, Instant};

use reqwest::Method;

use crate::support::client::{Person, nonce, within};
use crate::support::faults;
use crate::support::ill::Ill;
use crate::support::server::{Server, Settings};

/// Four bytes each: what fills a journal soon.
const LARGE_BODY: usize = 9_000;

/// A server of which one shard can be gone, from one moment to the other, and somebody who owes it something.
struct Owing {
    server: Server,
    ann: Person,
    /// On a shard that stays.
    post: String,
    /// Two who live on the shard that will be gone.
    away: Vec<Person>,
    shard: String,
    gone: Ill,
}

impl Owing {
    async fn make(settings: Settings) -> Self {
        let gone = Ill::new();
        let settings = settings.with("journal.max_bytes", "1MiB").fault((faults::SHARD_UNAVAILABLE, &gone.action()));
        let server = Server::start_with(settings).await;
        let ann = Person::join(&server, "ann").await.as_admin(&server).await;
        let place = async |id: &str| ann.get(&format!("/v1/ids/{id}")).send().await.expect(200).text_at("/shard");
        let home = place(&ann.id).await;
        // Later ids than hers, so that her shard decides who follows whom.
        let (mut away, mut shard) = (Vec::<Person>::new(), None);
        while away.len() < 2 {
            let person = Person::join(&server, "away").await;
            let at = place(&person.id).await;
            if at != home && shard.as_ref().is_none_or(|shard| *shard == at) {
                (shard, away) = (Some(at), away.into_iter().chain([person]).collect());
            }
        }
        let shard = shard.expect("a shard");
        let post = loop {
            let post = ann.publish(&nonce()).await;
            if place(&post).await != shard {
                break post;
            }
        };
        Self { server, ann, post, away, shard, gone }
    }

    fn set_gone(&self, gone: bool) {
        self.gone.set(if gone { &self.shard } else { "" });
    }

    async fn journal(&self, field: &str) -> i64 {
        self.ann.admin_call(Method::GET, "/admin/journal").send().await.expect(200).number_at(&format!("/{field}"))
    }

    /// Has ann follow somebody of the shard that is gone, and writes on another one: whether what comes after it is given back in time.
    async fn room_comes_back(&self, person: &Person, patience: Duration) -> bool {
        self.ann.follow(&person.id).send().await.expect(202);
        let followed = self.journal("durable").await;
        let (large, began) = ("\u{1f4ef}".repeat(LARGE_BODY), Instant::now());
        while began.elapsed() < patience {
            self.ann.edit_post(&self.post, &large).wait(30).send().await.expect(200);
            if self.journal("first").await > followed {
                return true;
            }
        }
        false
    }

    async fn is_followed(&self, person: &Person) {
        let stranger = Person::stranger(&self.server);
        let followed = async || {
            let user = stranger.read_user(&person.id).await;
            (user.status == 200 && user.number_at("/followers") == 1).then_some(())
        };
        within(Duration::from_secs(60), "the other side of the follow", followed).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_journal_gives_back_its_room_beside_a_shard_that_is_owed_rows_which_arrive_when_it_is_back() {
    let mut owing = Owing::make(Settings::default()).await;

    owing.set_gone(true);
    assert!(owing.room_comes_back(&owing.away[0], Duration::from_secs(120)).await);
    assert!(owing.journal("waiting_entries").await >= 1);
    owing.set_gone(false);
    owing.is_followed(&owing.away[0]).await;

    owing.set_gone(true);
    assert!(owing.room_comes_back(&owing.away[1], Duration::from_secs(120)).await);
    owing.server.kill();
    owing.set_gone(false);
    owing.server.restart().await;
    for person in &owing.away {
        owing.is_followed(person).await;
    }
    let released = async || (owing.journal("waiting_entries").await == 0).then_some(());
    within(Duration::from_secs(60), "the journal to need nothing", released).await;
    owing.server.terminate().await;
    let (sound, output) = owing.server.run(&["fsck"]);
    assert!(sound, "{output}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_a_journal_that_keeps_all_for_what_is_owed_is_caught() {
    let owing = Owing::make(Settings::default().fault((faults::LEAVE_OWED, "return"))).await;
    owing.set_gone(true);

    assert!(!owing.room_comes_back(&owing.away[0], Duration::from_secs(20)).await, "the fault had no effect");
}
