//! *Two clusters*: likes a second that everybody can see, on two shards in a cluster each, against one shard in one of them; and whose
//! processor time that was. On a machine whose cores are all busy with one, the second can only take from it.

use std::path::Path;

use sea_orm::{ConnectionTrait, Database, DbBackend, Statement};

use crate::apply::POSTS;
use crate::cluster::{self, Made};
use crate::people::People;
use crate::plain::visible;
use crate::report::{Report, progress};
use crate::server::{House, Server, cpu_of};
use crate::{Options, Outcome};

const USERS: usize = 100;

/// A server with its shards, and what was liked already.
struct Side {
    name: &'static str,
    server: Server,
    people: People,
    sent: u64,
    /// Its folder goes when this does.
    _house: House,
}

pub(crate) async fn measure(options: &Options) -> Outcome<()> {
    let first = cluster::named(options)?;
    let second =
        options.second_postgres.as_deref().ok_or("say where a second cluster is: --second-postgres postgres://user@host:port/postgres")?;
    let mut report = Report::new("two-clusters");
    let clusters = [("the first cluster", postmaster_of(first).await?), ("the second cluster", postmaster_of(second).await?)];
    let alone = Made::new(first, "alone").await?;
    let (one, two) = (Made::new(first, "one").await?, Made::new(second, "two").await?);
    let mut sides = [
        side(options, "one cluster", &[("s1", &alone.url)]).await?,
        side(options, "two clusters", &[("s1", &one.url), ("s2", &two.url)]).await?,
    ];
    for run in 0..options.runs {
        progress(&format!("two-clusters: run {} of {}", run + 1, options.runs));
        let mut rates = Vec::new();
        for side in &mut sides {
            let before = clusters.iter().map(|(_, postmaster)| cpu_of_cluster(*postmaster)).collect::<Outcome<Vec<_>>>()?;
            let (rate, likes) = visible(options, &side.server, &side.people, side.sent).await?;
            let count = likes.latency.count();
            side.sent += count;
            let each = |seconds: f64| seconds * 1e6 / count as f64;
            report.add(&format!("visible likes, {}", side.name), "1/s", rate);
            report.add(&format!("server CPU a like, {}", side.name), "µs", each(likes.server_cpu));
            report.add(&format!("generator's CPU a like, {}", side.name), "µs", each(likes.generator_cpu));
            for ((name, postmaster), before) in clusters.iter().zip(before) {
                report.add(&format!("CPU of {name} a like, {}", side.name), "µs", each(cpu_of_cluster(*postmaster)? - before));
            }
            rates.push(rate);
        }
        report.add("two ÷ one", "×", rates[1] / rates[0]);
    }
    for side in sides {
        side.server.stop().await?;
    }
    report.publish(options)
}

async fn side(options: &Options, name: &'static str, shards: &[(&str, &str)]) -> Outcome<Side> {
    let (house, people) = House::settled_on(options, USERS, POSTS, shards).await?;
    Ok(Side { name, server: house.open(&[]).await?, people, sent: 0, _house: house })
}

/// The process that has started all others of a cluster on this machine.
async fn postmaster_of(cluster: &str) -> Outcome<u32> {
    let database = Database::connect(cluster).await?;
    let asked = Statement::from_string(DbBackend::Postgres, "SELECT pg_backend_pid() AS process");
    let row = database.query_one_raw(asked).await?.ok_or("no answer")?;
    let process: i32 = row.try_get("", "process")?;
    let parent = parent_of(u32::try_from(process)?)?;
    database.close().await?;
    Ok(parent)
}

/// CPU seconds of a cluster's processes that run, and of those that have ended.
fn cpu_of_cluster(postmaster: u32) -> Outcome<f64> {
    let mut seconds = cpu_of(postmaster)? + crate::server::cpu_of_ended_children(postmaster)?;
    for entry in std::fs::read_dir(Path::new("/proc"))? {
        let Some(process) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // It may end while this looks: then its parent has its time.
        if parent_of(process).is_ok_and(|parent| parent == postmaster) {
            seconds += cpu_of(process).unwrap_or(0.0);
        }
    }
    Ok(seconds)
}

fn parent_of(process: u32) -> Outcome<u32> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")).ok_or("no parent in /proc")?;
    Ok(parent.trim().parse()?)
}
