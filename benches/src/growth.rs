//! *Growth*: what an entry of an inbox costs the server when the author has 1 000, 10 000, 100 000 and 1 000 000 followers, all with the
//! bell and none with a socket.

use std::time::{Duration, Instant};

use crate::followers::followed;
use crate::load::Target;
use crate::people::publish_on;
use crate::report::{Aim, Report, progress};
use crate::seed::name_of;
use crate::wire::Connection;
use crate::{Options, Outcome};

const SIZES: [u64; 4] = [1_000, 10_000, 100_000, 1_000_000];
/// Of each size so many entries at least, so that ticks of 10 ms do not matter.
const ENTRIES_MIN: u64 = 200_000;
const TELLING_LIMIT: Duration = Duration::from_secs(600);
/// How much more an entry may cost at the most followers than at the fewest.
const RISE_MAX: f64 = 1.3;

pub(crate) async fn measure(options: &Options) -> Outcome<()> {
    let mut report = Report::new("growth");
    let sizes: Vec<u64> = SIZES.into_iter().filter(|size| *size <= options.followers).collect();
    for run in 0..options.runs {
        let mut costs = Vec::new();
        for followers in sizes.iter().copied() {
            progress(&format!("growth, {followers} followers: run {} of {}", run + 1, options.runs));
            costs.push(measure_once(options, followers, &mut report).await?);
        }
        let (least, most) = costs.iter().fold((f64::INFINITY, 0.0_f64), |(least, most), cost| (least.min(*cost), most.max(*cost)));
        report.aim("dearest ÷ cheapest entry", "×", most / least, Aim::AtMost(RISE_MAX));
    }
    report.publish(options)
}

/// CPU microseconds of an entry.
async fn measure_once(options: &Options, followers: u64, report: &mut Report) -> Outcome<f64> {
    let began = Instant::now();
    let house = followed(options, followers).await?;
    report.add(&format!("{followers} followers: filled and checked"), "s", began.elapsed().as_secs_f64());
    let token = house.tokens(&[name_of(0)])?.remove(0);
    let server = house.open(&[]).await?;
    let posts = ENTRIES_MIN.div_ceil(followers);
    let mut writer = Connection::open(server.public).await?;
    // The first is not counted: statements are prepared then, and inboxes begun.
    publish_on(&mut writer, &token, "The first tidings for everybody who follows me.").await?;
    server.told(followers, TELLING_LIMIT).await?;
    let (cpu, began) = (server.cpu_seconds()?, Instant::now());
    for post in 0..posts {
        publish_on(&mut writer, &token, &format!("Tidings {post} for everybody who follows me.")).await?;
    }
    server.told((1 + posts) * followers, TELLING_LIMIT).await?;
    let (elapsed, entries) = (began.elapsed().as_secs_f64(), (posts * followers) as f64);
    let cost = (server.cpu_seconds()? - cpu) * 1e6 / entries;
    report.add(&format!("{followers} followers: entries"), "1/s", entries / elapsed);
    report.add(&format!("{followers} followers: server CPU an entry"), "µs", cost);
    server.stop().await?;
    // What the counter says has to lie in the inboxes.
    house.run(&["fsck"])?;
    Ok(cost)
}
