//! *Adaptive*: the same filled journal drained with fixed numbers of workers and with the adaptive limit, for small and large
//! bodies, on a fast shard and on one whose commits are slow.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::apply::{POSTS, users_for};
use crate::load::{Load, Pace, Until};
use crate::report::{Aim, Report, progress};
use crate::server::House;
use crate::{Options, Outcome};

const FIXED: [&str; 6] = ["1", "2", "4", "8", "16", "32"];
const LARGE_BYTES: usize = 8 * 1024;
/// Room for batches enough to learn from: one of large bodies holds a hundred.
const JOURNAL_BYTES: (&str, &str) = ("journal.max_bytes", "4GiB");
/// Large entries are 80 times a like: fewer of them take about as long.
const LARGE_PART: u64 = 10;
const SLOW_COMMIT_MS: &str = "20";
const DRAIN_LIMIT: Duration = Duration::from_secs(600);

pub(crate) async fn measure(options: &Options) -> Outcome<()> {
    let mut report = Report::new("adaptive");
    for (body, bytes) in [("likes", 0), ("8 KiB comments", LARGE_BYTES)] {
        let house = fill(options, bytes).await?;
        sweep(options, &options.server, &house, &[], &format!("{body}, fast"), &mut report).await?;
        if let Some(server) = &options.faults_server {
            let slow = format!("store::slow_commit=return({SLOW_COMMIT_MS})");
            sweep(options, server, &house, &[("FAILPOINTS", &slow)], &format!("{body}, slow"), &mut report).await?;
        } else {
            progress("no --faults-server: the slow shard is left out");
        }
    }
    report.publish(options)
}

async fn fill(options: &Options, body_bytes: usize) -> Outcome<House> {
    let entries = options.entries / 4;
    progress(&format!("filling a journal for bodies of {body_bytes} bytes"));
    let (house, people) = House::settled(options, users_for(entries).max(8), POSTS).await?;
    let server = house.open(&[("write.workers", "0"), JOURNAL_BYTES]).await?;
    if body_bytes == 0 {
        people.fill(&server, options.connections, entries).await?;
    } else {
        let (connections, until) = (options.connections, Until::Requests(entries / LARGE_PART));
        Load { connections, pace: Pace::Closed, until, source: people.comments(body_bytes) }.run(&server).await?.all(202)?;
    }
    server.stop().await?;
    Ok(house)
}

async fn sweep(options: &Options, binary: &Path, house: &House, more: &[(&str, &str)], name: &str, report: &mut Report) -> Outcome<()> {
    for run in 0..options.runs {
        progress(&format!("{name}: run {} of {}", run + 1, options.runs));
        for workers in FIXED.into_iter().chain(["adaptive"]) {
            let copy = house.copy_for(options, binary)?;
            let settings: Vec<(&str, &str)> = more.iter().copied().chain([("write.workers", workers), JOURNAL_BYTES]).collect();
            let server = copy.start(&settings)?;
            // The first half is for the search: it begins at one worker, and learns from each batch.
            server.drained_to(server.waiting().await? / 2, DRAIN_LIMIT).await?;
            let (half, waiting) = (Instant::now(), server.waiting().await?);
            server.drained(DRAIN_LIMIT).await?;
            report.add(&format!("{name}: {workers} workers"), "1/s", waiting as f64 / half.elapsed().as_secs_f64());
            server.stop().await?;
        }
    }
    let of = |workers: &str| report.median(&format!("{name}: {workers} workers"));
    let best = FIXED.into_iter().map(of).fold(f64::NAN, f64::max);
    let adaptive = of("adaptive");
    report.aim(&format!("{name}: adaptive ÷ best fixed"), "×", adaptive / best, Aim::AtLeast(0.95));
    Ok(())
}
