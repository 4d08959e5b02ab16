//! *Memory*: what the process holds while a million entries wait, before and after a restart; and how a full one refuses.

use crate::apply::{POSTS, users_for};
use crate::load::{Load, Pace, Until};
use crate::report::{Aim, Report, progress};
use crate::server::House;
use crate::{Options, Outcome};

const RESIDENT_MIB_MAX: f64 = 300.0;
const REFUSAL_MS_MAX: f64 = 50.0;
const REFUSED_BYTES: usize = 2_000;

pub(crate) async fn measure(options: &Options) -> Outcome<()> {
    let mut report = Report::new("memory");
    for run in 0..options.runs {
        progress(&format!("memory: run {} of {}", run + 1, options.runs));
        resident(options, &mut report).await?;
        refusals(options, &mut report).await?;
    }
    report.publish(options)
}

async fn resident(options: &Options, report: &mut Report) -> Outcome<()> {
    let (house, people) = House::settled(options, users_for(options.entries), POSTS).await?;
    let server = house.open(&[("write.workers", "0")]).await?;
    report.add("resident after the start", "MiB", server.resident_mib()?.0);
    people.fill(&server, options.connections, options.entries).await?;
    report.add("entries waiting", "", server.waiting().await? as f64);
    report.aim("resident with all of them waiting", "MiB", server.resident_mib()?.0, Aim::AtMost(RESIDENT_MIB_MAX));
    server.stop().await?;

    let server = house.open(&[("write.workers", "0")]).await?;
    report.add("start with all of them to read back", "s", server.start.as_secs_f64());
    report.aim("resident after that start", "MiB", server.resident_mib()?.0, Aim::AtMost(RESIDENT_MIB_MAX));
    report.add("highest during that start", "MiB", server.resident_mib()?.1);
    server.stop().await?;

    let server = house.open(&[]).await?;
    server.drained(std::time::Duration::from_secs(300)).await?;
    report.aim("highest while draining", "MiB", server.resident_mib()?.1, Aim::AtMost(RESIDENT_MIB_MAX));
    report.add("resident once drained", "MiB", server.resident_mib()?.0);
    server.stop().await
}

async fn refusals(options: &Options, report: &mut Report) -> Outcome<()> {
    let (house, people) = House::settled(options, 16, 100).await?;
    let server = house.open(&[("write.workers", "0"), ("journal.max_bytes", "1MiB")]).await?;
    let load = |until| Load { connections: options.connections, pace: Pace::Closed, until, source: people.comments(REFUSED_BYTES) };
    load(Until::Requests(4_000)).run(&server).await?;
    let refused = load(Until::Elapsed(options.time())).run(&server).await?.all(503)?;
    report.add("refusals of a full server", "1/s", refused.rate());
    report.aim("p99 of a refusal", "ms", refused.latency.quantile_ms(0.99), Aim::AtMost(REFUSAL_MS_MAX));
    report.add("resident with a journal of 1 MiB, full", "MiB", server.resident_mib()?.1);
    server.stop().await
}
