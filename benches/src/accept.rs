//! *Accept*: durable 202s a second, and their latency at half that load, against `/livez` of the same process.

use std::time::Duration;

use crate::histogram::Histogram;
use crate::load::{Load, Measured, Pace, Source, Until, same};
use crate::people::People;
use crate::report::{Aim, Report, progress};
use crate::server::{House, Server};
use crate::wire::request;
use crate::{Options, Outcome};

const USERS: usize = 200;
const POSTS: usize = 5_000;
const COMMENT_BYTES: usize = 120;
/// The mode in which what is accepted is also applied and told.
const WORKING: &str = "workers";
const TOLD_LIMIT: Duration = Duration::from_secs(120);

pub(crate) async fn measure(options: &Options) -> Outcome<()> {
    let mut report = Report::new("accept");
    for (mode, workers, aim) in [("no workers", "0", 0.45), (WORKING, "adaptive", 0.3)] {
        let (house, people) = House::settled(options, USERS, POSTS).await?;
        let server = house.open(&[("write.workers", workers)]).await?;
        let mut sent = 0;
        for run in 0..options.runs {
            progress(&format!("accept with {mode}: run {} of {}", run + 1, options.runs));
            sent = measure_once(options, &server, &people, sent, mode, aim, &mut report).await?;
        }
        server.stop().await?;
    }
    report.publish(options)
}

async fn measure_once(
    options: &Options,
    server: &Server,
    people: &People,
    sent: u64,
    mode: &str,
    aim: f64,
    report: &mut Report,
) -> Outcome<u64> {
    let probe = || same(request("GET", "/livez", None, None));
    let livez = closed(options, server, probe()).await?.all(200)?;
    let likes = closed(options, server, people.likes(options.connections, sent)).await?.all(202)?;
    let told_of_likes = told(server, mode).await?;
    let comments = closed(options, server, people.comments(COMMENT_BYTES)).await?.all(202)?;
    let told_of_comments = told(server, mode).await?;
    let (live, liked) = (livez.rate(), likes.rate());
    report.add(&format!("/livez, {mode}"), "1/s", live);
    report.add(&format!("like, {mode}"), "1/s", liked);
    report.add(&format!("comment, {mode}"), "1/s", comments.rate());
    report.aim(&format!("like ÷ /livez, {mode}"), "×", liked / live, Aim::AtLeast(aim));
    report.aim(&format!("comment ÷ /livez, {mode}"), "×", comments.rate() / live, Aim::AtLeast(aim));
    report.add(&format!("server CPU a /livez, {mode}"), "µs", livez.cpu_us());
    report.add(&format!("server CPU a like, {mode}"), "µs", likes.cpu_us());
    report.add(&format!("server CPU a comment, {mode}"), "µs", comments.cpu_us());
    if mode == WORKING {
        report.add("until everybody was told of the likes", "s", told_of_likes.as_secs_f64());
        report.add("until everybody was told of the comments", "s", told_of_comments.as_secs_f64());
    }
    report.add(&format!("generator's cores while liking, {mode}"), "cores", likes.generator_share());

    let half = Pace::Open(liked / 2.0);
    let sent = sent + likes.latency.count();
    let live = paced(options, server, probe(), half).await?.all(200)?.latency;
    let like = paced(options, server, people.likes(options.connections, sent), half).await?.all(202)?.latency;
    told(server, mode).await?;
    for (what, latency) in [("/livez", &live), ("like", &like)] {
        for (name, part) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)] {
            report.add(&format!("{name} of {what} at half load, {mode}"), "ms", latency.quantile_ms(part));
        }
    }
    report.aim(&format!("p99 like ÷ p99 /livez, {mode}"), "×", like.quantile_ms(0.99) / live.quantile_ms(0.99), Aim::AtMost(3.0));
    Ok(sent + Histogram::count(&like))
}

/// Waits until nothing is left of one load that could be part of the next.
async fn told(server: &Server, mode: &str) -> Outcome<Duration> {
    if mode == WORKING { server.all_told(TOLD_LIMIT).await } else { Ok(Duration::ZERO) }
}

pub(crate) async fn closed(options: &Options, server: &Server, source: Source) -> Outcome<Measured> {
    paced(options, server, source, Pace::Closed).await
}

async fn paced(options: &Options, server: &Server, source: Source, pace: Pace) -> Outcome<Measured> {
    Load { connections: options.connections, pace, until: Until::Elapsed(options.time()), source }.run(server).await
}
