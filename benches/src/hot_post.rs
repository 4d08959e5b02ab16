//! *Hot post*: the same number of likes, each of another user, on one post and spread over many: how fast they are taken in and told, what
//! they leave in the author's inbox, and how many frames a watcher of the post gets.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::fanout::{Count, read};
use crate::load::{Load, Pace, Source, Target, Until};
use crate::people::{like_of, publish_on};
use crate::report::{Aim, Report, progress};
use crate::seed::{Seed, name_of};
use crate::server::House;
use crate::socket::Socket;
use crate::wire::{Connection, request};
use crate::{Options, Outcome};

/// Posts that likes are spread over, and their authors, who like nothing.
const POSTS: usize = 5_000;
const AUTHORS: u64 = 100;
const DRAIN_LIMIT: Duration = Duration::from_secs(300);
/// The rate on one post against that on many.
const RATIO_MIN: f64 = 0.8;
/// Frames of counts a second that a watcher may get.
const COUNTS_A_SECOND: f64 = 4.0;
/// Windows double from a second on: 100 000 likes in minutes fill a handful.
const ENTRIES_MAX: f64 = 20.0;
const COUNTS: &[u8] = br#"{"event":"counts""#;

pub(crate) async fn measure(options: &Options) -> Outcome<()> {
    let mut report = Report::new("hot-post");
    let (house, _) = House::settled(options, 1, 0).await?;
    progress(&format!("{} users who like", options.likes));
    let seed = Seed::open(&house).await?;
    seed.people(0..AUTHORS + options.likes).await?;
    seed.finish().await?;
    let names: Vec<String> = (0..AUTHORS + options.likes).map(name_of).collect();
    let tokens = Arc::new(house.tokens(&names)?);
    for run in 0..options.runs {
        progress(&format!("hot post: run {} of {}", run + 1, options.runs));
        let spread = one(options, &house, &tokens, POSTS, &mut report).await?;
        let hot = one(options, &house, &tokens, 1, &mut report).await?;
        report.aim("accepted: one post ÷ many", "×", hot.accepted / spread.accepted, Aim::AtLeast(RATIO_MIN));
        report.aim("accepted and told: one post ÷ many", "×", hot.told / spread.told, Aim::AtLeast(RATIO_MIN));
    }
    report.publish(options)
}

/// Writes a second.
struct Rates {
    accepted: f64,
    told: f64,
}

/// All likes on so many posts, in a house of their own.
async fn one(options: &Options, house: &House, tokens: &Arc<Vec<String>>, posts: usize, report: &mut Report) -> Outcome<Rates> {
    let house = house.copy(options)?;
    let server = house.open(&[]).await?;
    let mut connection = Connection::open(server.public).await?;
    let mut ids = Vec::with_capacity(posts);
    for post in 0..posts {
        ids.push(publish_on(&mut connection, &tokens[post % AUTHORS as usize], "Tidings that everybody likes.").await?);
    }
    server.drained(DRAIN_LIMIT).await?;

    let count = Arc::new(Count::default());
    let mut watcher = Socket::open(server.public, &tokens[1]).await?;
    watcher.watch(&ids[0]).await?;
    let mut watching = JoinSet::new();
    watching.spawn(read(watcher, COUNTS, Arc::clone(&count)));

    let (what, likers) = (if posts == 1 { "one post" } else { "many posts" }, Arc::clone(tokens));
    let source: Source = {
        let (connections, posts) = (options.connections as u64, ids.clone());
        Arc::new(move |connection, number, into| {
            let like = (number * connections + connection as u64) as usize;
            like_of(into, &posts[like % posts.len()], &likers[AUTHORS as usize + like]);
        })
    };
    let (cpu, began, told) = (server.cpu_seconds()?, Instant::now(), server.notices_told().await?);
    let load = Load { connections: options.connections, pace: Pace::Closed, until: Until::Requests(options.likes), source };
    let likes = load.run(&server).await?.all(202)?;
    server.drained(DRAIN_LIMIT).await?;
    server.told(told + options.likes, DRAIN_LIMIT).await?;
    let elapsed = began.elapsed().as_secs_f64();
    let rates = Rates { accepted: likes.rate(), told: options.likes as f64 / elapsed };
    report.add(&format!("{what}: accepted"), "likes/s", rates.accepted);
    report.add(&format!("{what}: accepted and told"), "likes/s", rates.told);
    report.add(&format!("{what}: server CPU a like"), "µs", (server.cpu_seconds()? - cpu) * 1e6 / options.likes as f64);
    if posts == 1 {
        // Counts go out at the end of their quarter of a second.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let counts = count.awaited() as f64;
        report.aim("frames of counts a watcher got", "1/s", counts / began.elapsed().as_secs_f64(), Aim::AtMost(COUNTS_A_SECOND));
        let inbox = connection.json(&request("GET", "/v1/notifications", Some(&tokens[0]), None), 200).await?;
        report.aim("entries in the author's inbox", "", inbox["seq"].as_f64().ok_or("no seq")?, Aim::AtMost(ENTRIES_MAX));
        let post = connection.json(&request("GET", &format!("/v1/posts/{}", ids[0]), None, None), 200).await?;
        if post["likes"].as_u64() != Some(options.likes) {
            return Err(format!("{} likes, and the post says {}", options.likes, post["likes"]).into());
        }
    }
    watching.shutdown().await;
    server.stop().await?;
    Ok(rates)
}
