//! A server, one of whose shards is in a cluster of its own with a standby that can take over; the others are in the shared cluster.

use std::time::Duration;

use reqwest::Method;
use serde_json::Value;

use super::client::{Person, nonce, within};
use super::databases::{Cluster, Databases, ShardDatabase, shared_cluster};
use super::server::{Server, Settings};

/// The shard that has a standby.
pub(crate) const FOLLOWED: &str = "s2";
/// How long a busy machine may take to bring a standby or the journal up to date.
pub(crate) const UP_TO_DATE_WITHIN: Duration = Duration::from_secs(60);
/// Four bytes each: what fills a journal soon.
const LARGE_BODY: usize = 9_000;

pub(crate) struct Followed {
    pub(crate) server: Server,
    pub(crate) primary: Cluster,
    pub(crate) standby: Cluster,
}

impl Followed {
    /// `None` if there is no PostgreSQL to test on. A standby that lags a second is left alone.
    pub(crate) async fn start(settings: Settings) -> Option<Self> {
        Self::start_with_url(settings, "1s", |shard, _| shard.url.clone()).await
    }

    /// With a standby that may lag so far, and is read already.
    pub(crate) async fn start_read(settings: Settings, lag_max: &'static str) -> Option<Self> {
        let followed = Self::start_with_url(settings, lag_max, |shard, _| shard.url.clone()).await?;
        let read = async || followed.server.log().contains("the standby has all that was seen, and is read").then_some(());
        within(UP_TO_DATE_WITHIN, "the standby to be read", read).await;
        Some(followed)
    }

    /// With a URL that names both servers, the primary first.
    pub(crate) async fn start_with_both_hosts(settings: Settings) -> Option<Self> {
        Self::start_with_url(settings, "1s", |shard, standby| {
            let (place, database) = shard.url.rsplit_once('/').expect("a URL with a database");
            let other = standby.url.rsplit_once('/').and_then(|(base, _)| base.rsplit_once('@')).expect("a host").1;
            format!("{place},{other}/{database}")
        })
        .await
    }

    async fn start_with_url(
        settings: Settings,
        lag_max: &'static str,
        url: impl FnOnce(&ShardDatabase, &Cluster) -> String,
    ) -> Option<Self> {
        let shared = shared_cluster()?;
        let primary = Cluster::start();
        let mut databases = Databases::make(&shared).await;
        let place = databases.0.iter().position(|shard| shard.name == FOLLOWED).expect("a shard of this name");
        databases.0[place] = ShardDatabase::make(&primary.url, FOLLOWED).await;
        let standby = primary.standby();
        databases.0[place].replicas = vec![databases.0[place].url_in(&standby)];
        databases.0[place].lag_max = lag_max;
        databases.0[place].url = url(&databases.0[place], &standby);
        let server = Server::try_start_on(settings, Some(databases)).await;
        let server = server.unwrap_or_else(|refused| panic!("the server did not start: {:?}\n{}", refused.status, refused.log));
        Some(Self { server, primary, standby })
    }

    pub(crate) fn shard(&mut self) -> &mut ShardDatabase {
        let databases = self.server.databases.as_mut().expect("shards in PostgreSQL");
        databases.0.iter_mut().find(|shard| shard.name == FOLLOWED).expect("a shard of this name")
    }

    /// The standby receives no more, the primary goes on and crashes, and the standby takes over. The server is not told.
    pub(crate) fn fail_over(&self) {
        self.primary.crash();
        self.standby.promote();
    }

    /// From the next start on the shard is where the standby was.
    pub(crate) fn point_at_the_standby(&mut self) {
        let url = self.server.postgres().shard(FOLLOWED).url_in(&self.standby);
        let shard = self.shard();
        shard.url = url;
        shard.replicas.clear();
    }

    pub(crate) async fn place_of(&self, id: &str) -> String {
        Person::stranger(&self.server).get(&format!("/v1/ids/{id}")).send().await.expect(200).text_at("/shard")
    }

    /// Somebody who lives on the followed shard, or elsewhere.
    pub(crate) async fn join(&self, on_followed: bool) -> Person {
        loop {
            let person = Person::join(&self.server, "ann").await;
            if (self.place_of(&person.id).await == FOLLOWED) == on_followed {
                return person;
            }
        }
    }

    /// Waits until the followed shard is read, which it is when it is up to date. `resident` lives there.
    pub(crate) async fn is_read(&self, resident: &Person) {
        let read = async || (resident.read_user(&resident.id).await.status == 200).then_some(());
        within(UP_TO_DATE_WITHIN, "the shard to be read", read).await;
    }

    /// A post on the followed shard.
    pub(crate) async fn publish(&self, author: &Person) -> String {
        loop {
            let post = author.publish(&nonce()).await;
            if self.place_of(&post).await == FOLLOWED {
                return post;
            }
        }
    }

    /// Makes somebody an operator; what he calls from then on.
    pub(crate) async fn as_admin(&self, person: &Person) -> Person {
        person.as_admin(&self.server).await
    }

    /// Writes until the journal has given back what it holds now.
    pub(crate) async fn fill_the_journal(&self, admin: &Person, post: &str) {
        let journal =
            async |field: &str| admin.admin_call(Method::GET, "/admin/journal").send().await.expect(200).number_at(&format!("/{field}"));
        let began = journal("durable").await;
        let large = "\u{1f4ef}".repeat(LARGE_BODY);
        within(Duration::from_secs(90), "the journal to be trimmed", async || {
            admin.edit_post(post, &large).wait(30).send().await.expect(200);
            (journal("first").await > began).then_some(())
        })
        .await;
    }
}

/// What operators see of the followed shard.
async fn report(admin: &Person) -> Value {
    let shards = admin.admin_call(Method::GET, "/admin/shards").send().await.expect(200);
    let shards = shards.json["items"].as_array().expect("items").clone();
    shards.into_iter().find(|shard| shard["name"] == FOLLOWED).expect("the shard")
}

/// Entries of the followed shard that the journal holds.
pub(crate) async fn held(admin: &Person) -> i64 {
    report(admin).await["pending"].as_i64().expect("a number")
}

/// Waits until the standby is what operators see: `read`, `behind` or `silent`.
pub(crate) async fn standby_is(admin: &Person, state: &str) {
    let is = async || (report(admin).await["standbys"][0]["state"] == state).then_some(());
    within(UP_TO_DATE_WITHIN, &format!("the standby to be {state}"), is).await;
}

/// How long the oldest commit has waited for the standby.
pub(crate) async fn waited_for_standby(admin: &Person) -> f64 {
    admin.metric(&format!("sosik_standby_wait_seconds{{shard=\"{FOLLOWED}\"}}")).await
}

/// Waits until something has waited for the standby for a while: it was asked many times meanwhile, and so was everything else that could
/// tell too early.
pub(crate) async fn standby_stands_still(admin: &Person) {
    let waited = async || (waited_for_standby(admin).await > 1.5).then_some(());
    within(UP_TO_DATE_WITHIN, "something to wait for the standby", waited).await;
}

pub(crate) async fn nothing_is_held(admin: &Person) {
    within(UP_TO_DATE_WITHIN, "the journal to be released", async || (held(admin).await == 0).then_some(())).await;
}
