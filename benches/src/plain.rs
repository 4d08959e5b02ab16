//! *Plain*: likes a second that everybody can see, on one shard in PostgreSQL, against the plain way on the same server in the same run: a
//! handler that checks the token, inserts a row, bumps a counter and answers after its own COMMIT. Then how fast a filled journal drains into that
//! shard, against bare `insert_many`.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::apply::{POSTS, users_for};
use crate::baseline;
use crate::cluster::{self, Made};
use crate::load::{Load, Measured, Pace, Target, Until};
use crate::people::People;
use crate::plain_server::{self, PlainServer};
use crate::report::{Aim, Report, progress};
use crate::server::{House, Server};
use crate::wire::{Connection, request};
use crate::{Options, Outcome};

const USERS: usize = 100;
/// As many as its pool has connections: more only wait.
const PLAIN_CONNECTIONS: usize = 32;
const DRAIN_LIMIT: Duration = Duration::from_secs(300);

pub(crate) async fn measure(options: &Options) -> Outcome<()> {
    let cluster = cluster::named(options)?;
    let mut report = Report::new("plain");
    let ours = Made::new(cluster, "ours").await?;
    let (house, people) = House::settled_on(options, USERS, POSTS, &[("s1", &ours.url)]).await?;
    let server = house.open(&[]).await?;
    let theirs = Made::new(cluster, "plain").await?;
    plain_server::prepare(&theirs.url, &people.posts).await?;
    let plain = PlainServer::start(&theirs.url, &keys_of(server.public).await?)?;
    let (mut sent, mut sent_plain) = (0, 0);
    for run in 0..options.runs {
        progress(&format!("plain: run {} of {}", run + 1, options.runs));
        let done = load(options, &people, PLAIN_CONNECTIONS, sent_plain).run(&plain).await?.all(200)?;
        let (visible, likes) = visible(options, &server, &people, sent).await?;
        (sent, sent_plain) = (sent + likes.latency.count(), sent_plain + done.latency.count());
        report.add("plain likes", "1/s", done.rate());
        report.add("p99 of a plain like", "ms", done.latency.quantile_ms(0.99));
        report.add("likes that everybody can see", "1/s", visible);
        report.add("p99 of an accepted like", "ms", likes.latency.quantile_ms(0.99));
        report.aim("visible ÷ plain", "×", visible / done.rate(), Aim::AtLeast(6.0));
        drain(options, cluster, &mut report).await?;
    }
    server.stop().await?;
    report.publish(options)
}

fn load(options: &Options, people: &People, connections: usize, sent: u64) -> Load {
    Load { connections, pace: Pace::Closed, until: Until::Elapsed(options.time()), source: people.likes(connections, sent) }
}

/// What was accepted in the time, over the time until all of it can be seen.
pub(crate) async fn visible(options: &Options, server: &Server, people: &People, sent: u64) -> Outcome<(f64, Measured)> {
    let likes = load(options, people, options.connections, sent).run(server).await?.all(202)?;
    let drained = server.drained(DRAIN_LIMIT).await?;
    Ok((likes.latency.count() as f64 / (likes.elapsed + drained).as_secs_f64(), likes))
}

async fn drain(options: &Options, cluster: &str, report: &mut Report) -> Outcome<()> {
    let users = users_for(options.entries);
    let bare = Made::new(cluster, "bare").await?;
    let inserted = baseline::insert_many_into(&bare.url, users as u64, POSTS as u64).await?;
    let ours = Made::new(cluster, "drain").await?;
    let (house, people) = House::settled_on(options, users, POSTS, &[("s1", &ours.url)]).await?;
    progress(&format!("filling the journal with {} likes", options.entries));
    let server = house.open(&[("write.workers", "0")]).await?;
    people.fill(&server, options.connections, options.entries).await?;
    server.stop().await?;
    let server = house.start(&[])?;
    let (ready, waiting) = (Instant::now(), server.waiting().await?);
    server.drained(DRAIN_LIMIT).await?;
    let drained = waiting as f64 / ready.elapsed().as_secs_f64();
    server.stop().await?;
    report.add("insert_many × 500", "rows/s", inserted);
    report.add("drained", "1/s", drained);
    report.aim("drained ÷ insert_many", "×", drained / inserted, Aim::AtLeast(0.5));
    Ok(())
}

/// The public keys by which tokens are checked.
async fn keys_of(address: SocketAddr) -> Outcome<String> {
    let mut connection = Connection::open(address).await?;
    Ok(connection.json(&request("GET", "/.well-known/jwks.json", None, None), 200).await?.to_string())
}

impl Target for PlainServer {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn cpu_seconds(&self) -> Outcome<f64> {
        crate::server::cpu_of(self.process_id())
    }
}
