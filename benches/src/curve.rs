//! *Curve*: how fast a filled journal drains into one shard in PostgreSQL, and how long a batch takes, over fixed numbers of workers; and where the
//! adaptive limit settles. On a primary as it is, on one whose disk is busy with other writes, and on one whose disk becomes busy half-way.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::apply::{POSTS, users_for};
use crate::cluster::{self, Made};
use crate::report::{Aim, Report, progress};
use crate::server::{House, Server};
use crate::svg::{self, Point};
use crate::{Options, Outcome};

const FIXED: [u16; 8] = [1, 2, 4, 8, 16, 32, 64, 128];
/// For each batch a connection, and some beside them.
const SETTINGS: [(&str, &str); 3] = [("postgres.writers", "136"), ("write.workers_max", "128"), ("journal.max_bytes", "4GiB")];
/// Of the entries of the other measurements: each point of the curve drains so many.
const ENTRIES_PART: u64 = 2;
const DRAIN_LIMIT: Duration = Duration::from_secs(600);
/// Who else writes to the disk: so many at once, so much until each sync.
const HOGS: usize = 4;
const HOG_BYTES: usize = 4 << 20;

/// When the disk is busy with other writes.
#[derive(Clone, Copy, PartialEq)]
enum Disk {
    Free,
    Busy,
    BusyFromHalf,
}

const PRIMARIES: [(&str, Disk); 3] = [("as it is", Disk::Free), ("busy disk", Disk::Busy), ("disk busy half-way", Disk::BusyFromHalf)];

pub(crate) async fn measure(options: &Options) -> Outcome<()> {
    let settled = Made::new(cluster::named(options)?, "settled").await?;
    let house = fill(options, &settled).await?;
    let mut report = Report::new("curve");
    for (primary, disk) in PRIMARIES {
        for run in 0..options.runs {
            progress(&format!("{primary}: run {} of {}", run + 1, options.runs));
            for workers in FIXED.map(|number| number.to_string()).into_iter().chain(["adaptive".to_owned()]) {
                drain(options, &house, &settled, &workers, primary, disk, &mut report).await?;
            }
        }
        judge(primary, &mut report)?;
    }
    settled.drop().await?;
    report.publish(options)
}

async fn fill(options: &Options, settled: &Made) -> Outcome<House> {
    let entries = options.entries / ENTRIES_PART;
    let (house, people) = House::settled_on(options, users_for(entries), POSTS, &[("s1", &settled.url)]).await?;
    progress(&format!("filling the journal with {entries} likes"));
    let server = house.open(&[("write.workers", "0"), SETTINGS[2]]).await?;
    people.fill(&server, options.connections, entries).await?;
    server.stop().await?;
    Ok(house)
}

/// One point: the second half of a drain, since the limit learns in the first.
async fn drain(
    options: &Options,
    house: &House,
    settled: &Made,
    workers: &str,
    primary: &str,
    disk: Disk,
    report: &mut Report,
) -> Outcome<()> {
    let made = settled.copy("curve").await?;
    let copy = house.copy_onto(options, &[("s1", &made.url)])?;
    let folder = options.folder.clone().unwrap_or_else(std::env::temp_dir);
    let mut hogs = if disk == Disk::Busy { hogs(&folder)? } else { Vec::new() };
    let settings: Vec<(&str, &str)> = SETTINGS.into_iter().chain([("write.workers", workers)]).collect();
    let server = copy.start(&settings)?;
    server.drained_to(server.waiting().await? / 2, DRAIN_LIMIT).await?;
    if disk == Disk::BusyFromHalf {
        hogs = self::hogs(&folder)?;
    }
    let (half, waiting, before) = (Instant::now(), server.waiting().await?, Batches::of(&server).await?);
    server.drained(DRAIN_LIMIT).await?;
    let rate = waiting as f64 / half.elapsed().as_secs_f64();
    let batches = Batches::of(&server).await?;
    report.add(&format!("{primary}: {workers} workers"), "1/s", rate);
    report.add(&format!("{primary}: a batch, {workers} workers"), "ms", batches.mean_ms_since(before));
    if workers == "adaptive" {
        report.add(&format!("{primary}: where the limit was at the end"), "workers", server.metric("sosik_workers_limit").await? as f64);
    }
    drop(hogs);
    server.stop().await?;
    made.drop().await
}

/// Holds the adaptive limit against the best number, and draws the curve.
fn judge(primary: &str, report: &mut Report) -> Outcome<()> {
    let rate = |workers: &str| report.median(&format!("{primary}: {workers} workers"));
    let latency = |workers: &str| report.median(&format!("{primary}: a batch, {workers} workers"));
    let points: Vec<Point> = FIXED
        .iter()
        .map(|number| Point { workers: f64::from(*number), rate: rate(&number.to_string()), latency_ms: latency(&number.to_string()) })
        .collect();
    let settled = Point {
        workers: report.median(&format!("{primary}: where the limit was at the end")),
        rate: rate("adaptive"),
        latency_ms: latency("adaptive"),
    };
    let best = points.iter().map(|point| point.rate).fold(f64::NAN, f64::max);
    let folder = Path::new("target/bench");
    std::fs::create_dir_all(folder)?;
    let path = folder.join(format!("curve-{}.svg", primary.replace(' ', "-")));
    std::fs::write(&path, svg::curve(primary, &points, settled))?;
    report.aim(&format!("{primary}: adaptive ÷ best fixed"), "×", settled.rate / best, Aim::AtLeast(0.95));
    report.note(&path.display().to_string());
    Ok(())
}

/// What a server's batches took together, since its start.
#[derive(Clone, Copy)]
struct Batches {
    seconds: f64,
    count: f64,
}

impl Batches {
    async fn of(server: &Server) -> Outcome<Self> {
        let figure = |name: &str| format!("sosik_job_seconds_{name}{{job=\"batch\"}}");
        Ok(Self { seconds: server.figure(&figure("sum")).await?, count: server.figure(&figure("count")).await? })
    }

    fn mean_ms_since(self, before: Self) -> f64 {
        (self.seconds - before.seconds) * 1000.0 / (self.count - before.count)
    }
}

/// Somebody else who writes to the disk, until it is dropped.
struct Hog {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<std::io::Result<()>>>,
}

fn hogs(folder: &Path) -> Outcome<Vec<Hog>> {
    (0..HOGS).map(|_| Hog::start(folder)).collect()
}

impl Hog {
    fn start(folder: &Path) -> Outcome<Self> {
        let (mut file, stop) = (tempfile::tempfile_in(folder)?, Arc::new(AtomicBool::new(false)));
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let bytes = vec![7; HOG_BYTES];
            while !told.load(Ordering::Relaxed) {
                std::io::Seek::rewind(&mut file)?;
                file.write_all(&bytes)?;
                file.sync_data()?;
            }
            Ok(())
        });
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Hog {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        if !matches!(ended, None | Some(Ok(Ok(())))) {
            progress("one that should keep the disk busy did not");
        }
    }
}
