//! *Feed*: how long the first page of a feed takes for a reader who follows many authors.

use std::time::Duration;

use crate::load::{Load, Measured, Pace, Until, same};
use crate::report::{Aim, Report, progress};
use crate::seed::{Seed, name_of};
use crate::server::{House, Server};
use crate::wire::{Connection, request};
use crate::{Options, Outcome};

const FOLLOWEES: u64 = 5_000;
const POSTS_EACH: u64 = 20;
/// Readers who come at once.
const READERS: usize = 8;
const AIM_MS: f64 = 50.0;

pub(crate) async fn measure(options: &Options) -> Outcome<()> {
    let mut report = Report::new("feed");
    let (house, _) = House::settled(options, 1, 0).await?;
    progress(&format!("a reader of {FOLLOWEES} authors, each of {POSTS_EACH} posts"));
    let seed = Seed::open(&house).await?;
    seed.people(0..FOLLOWEES + 1).await?;
    seed.follows((1..=FOLLOWEES).map(|author| (0, author))).await?;
    seed.posts(1..FOLLOWEES + 1, POSTS_EACH).await?;
    seed.finish().await?;
    let reader = house.tokens(&[name_of(0)])?.remove(0);
    let read = request("GET", "/v1/feed", Some(&reader), None);
    for run in 0..options.runs {
        progress(&format!("feed: run {} of {}", run + 1, options.runs));
        let server = house.open(&[]).await?;
        let mut connection = Connection::open(server.public).await?;
        let began = std::time::Instant::now();
        let page = connection.json(&read, 200).await?;
        report.add("the first read after the start", "ms", began.elapsed().as_secs_f64() * 1e3);
        if page["items"].as_array().is_none_or(|items| items.len() != 20) {
            return Err(format!("not a page of 20 posts: {page}").into());
        }
        let alone = readers(&server, 1, &read, options.time()).await?;
        report.aim("p50, one reader", "ms", alone.latency.quantile_ms(0.5), Aim::AtMost(AIM_MS));
        report.aim("p99, one reader", "ms", alone.latency.quantile_ms(0.99), Aim::AtMost(AIM_MS));
        report.add("server CPU a page", "ms", alone.cpu_us() / 1e3);
        let together = readers(&server, READERS, &read, options.time()).await?;
        report.add(&format!("pages, {READERS} readers at once"), "1/s", together.rate());
        report.add(&format!("p50, {READERS} readers at once"), "ms", together.latency.quantile_ms(0.5));
        report.add(&format!("p99, {READERS} readers at once"), "ms", together.latency.quantile_ms(0.99));
        server.stop().await?;
    }
    report.publish(options)
}

async fn readers(server: &Server, readers: usize, read: &[u8], time: Duration) -> Outcome<Measured> {
    let load = Load { connections: readers, pace: Pace::Closed, until: Until::Elapsed(time), source: same(read.to_vec()) };
    load.run(server).await?.all(200)
}
