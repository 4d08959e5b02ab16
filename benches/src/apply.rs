//! *Apply*: how fast a filled journal drains, against bare `insert_many`; and visible likes a second under a steady load.

use std::time::{Duration, Instant};

use crate::baseline;
use crate::load::{Load, Pace, Target, Until};
use crate::report::{Aim, Report, progress};
use crate::server::House;
use crate::{Options, Outcome};

pub(crate) const POSTS: usize = 5_000;
const DRAIN_LIMIT: Duration = Duration::from_secs(300);

/// Enough users that each like is of another pair.
pub(crate) fn users_for(entries: u64) -> usize {
    (entries as usize).div_ceil(POSTS).max(1)
}

pub(crate) async fn measure(options: &Options) -> Outcome<()> {
    let mut report = Report::new("apply");
    progress(&format!("SQLite {}", baseline::sqlite_version().await?));
    let filled = filled_house(options).await?;
    for run in 0..options.runs {
        progress(&format!("apply: run {} of {}", run + 1, options.runs));
        let bare = bare_rate(options, &mut report).await?;
        let copy = filled.copy(options)?;
        let server = copy.start(&[])?;
        let ready = Instant::now();
        // What was applied before the first line was printed is not part of the rate.
        let waiting = server.waiting().await?;
        let cpu = server.cpu_seconds()?;
        server.drained(DRAIN_LIMIT).await?;
        let rate = waiting as f64 / ready.elapsed().as_secs_f64();
        report.add("start with the journal filled", "s", server.start.as_secs_f64());
        report.add("drained", "1/s", rate);
        report.add("server CPU an applied like", "µs", (server.cpu_seconds()? - cpu) * 1e6 / waiting.max(1) as f64);
        report.aim("drained ÷ insert_many", "×", rate / bare, Aim::AtLeast(0.5));
        server.stop().await?;
        end_to_end(options, &mut report).await?;
    }
    report.publish(options)
}

/// The better of one file and four files at once.
async fn bare_rate(options: &Options, report: &mut Report) -> Outcome<f64> {
    let folder = match &options.folder {
        Some(folder) => tempfile::tempdir_in(folder)?,
        None => tempfile::tempdir()?,
    };
    let (users, posts) = (users_for(options.entries) as u64, POSTS as u64);
    let one = baseline::insert_many(folder.path(), 1, users, posts).await?;
    let four = baseline::insert_many(folder.path(), 4, users, posts).await?;
    report.add("insert_many × 500, one file", "rows/s", one);
    report.add("insert_many × 500, four files at once", "rows/s", four);
    Ok(one.max(four))
}

/// A house whose journal is full of likes that nobody applied.
pub(crate) async fn filled_house(options: &Options) -> Outcome<House> {
    let (house, people) = House::settled(options, users_for(options.entries), POSTS).await?;
    progress(&format!("filling the journal with {} likes", options.entries));
    let server = house.open(&[("write.workers", "0")]).await?;
    people.fill(&server, options.connections, options.entries).await?;
    server.stop().await?;
    Ok(house)
}

/// Likes for a while with the workers running: what was accepted, and what of it was visible at the end of that time.
async fn end_to_end(options: &Options, report: &mut Report) -> Outcome<()> {
    let (house, people) = House::settled(options, 100, POSTS).await?;
    let server = house.open(&[]).await?;
    let connections = options.connections;
    let until = Until::Elapsed(options.time() * 3);
    let load = Load { connections, pace: Pace::Closed, until, source: people.likes(connections, 0) };
    let likes = load.run(&server).await?.all(202)?;
    let waiting = server.waiting().await?;
    let visible = likes.latency.count().saturating_sub(waiting) as f64 / likes.elapsed.as_secs_f64();
    report.add("accepted likes, end to end", "1/s", likes.rate());
    report.add("visible likes, end to end", "1/s", visible);
    report.aim("visible ÷ accepted", "×", visible / likes.rate(), Aim::AtLeast(0.6));
    report.add("server CPU a visible like", "µs", likes.cpu_us());
    server.drained(DRAIN_LIMIT).await?;
    server.stop().await
}
