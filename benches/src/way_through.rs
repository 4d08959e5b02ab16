//! *Way through*: from the 202 of a comment to its frame on a friend's socket, while others write at a part of what the server can take.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::histogram::Histogram;
use crate::load::{Load, Pace, Until};
use crate::people::{People, comment_on};
use crate::report::{Aim, Report, progress};
use crate::server::{House, Server};
use crate::socket::Socket;
use crate::wire::Connection;
use crate::{Options, Outcome};

const USERS: usize = 50;
const POSTS: usize = 1_000;
const COMMENT_BYTES: usize = 120;
/// Between two comments that are timed.
const PROBE_EVERY: Duration = Duration::from_millis(20);
/// The aims at half load, in milliseconds.
const MEDIAN_MS: f64 = 10.0;
const WORST_HUNDREDTH_MS: f64 = 50.0;

pub(crate) async fn measure(options: &Options) -> Outcome<()> {
    let mut report = Report::new("way-through");
    let (house, people) = House::settled(options, USERS, POSTS).await?;
    let server = house.open(&[]).await?;
    for run in 0..options.runs {
        progress(&format!("way through: run {} of {}", run + 1, options.runs));
        // What is accepted and also applied, notifications included: it must not pile up.
        let load = load(options, &people, Pace::Closed);
        let full = load.run(&server).await?.all(202)?;
        let drained = server.all_told(Duration::from_secs(120)).await?;
        let capacity = full.latency.count() as f64 / (full.elapsed + drained).as_secs_f64();
        report.add("capacity", "comments/s", capacity);
        for part in [10, 50, 80] {
            let paced = self::load(options, &people, Pace::Open(capacity * f64::from(part) / 100.0));
            let (background, way) = tokio::join!(paced.run(&server), probe(options, &server, &people));
            background?.all(202)?;
            let way = way?;
            let (median, worst) = (way.quantile_ms(0.5), way.quantile_ms(0.99));
            if part == 50 {
                report.aim("p50 at 50 %", "ms", median, Aim::AtMost(MEDIAN_MS));
                report.aim("p99 at 50 %", "ms", worst, Aim::AtMost(WORST_HUNDREDTH_MS));
            } else {
                report.add(&format!("p50 at {part} %"), "ms", median);
                report.add(&format!("p99 at {part} %"), "ms", worst);
            }
            server.all_told(Duration::from_secs(120)).await?;
        }
    }
    server.stop().await?;
    report.publish(options)
}

fn load(options: &Options, people: &People, pace: Pace) -> Load {
    Load { connections: options.connections, pace, until: Until::Elapsed(options.time()), source: people.comments(COMMENT_BYTES) }
}

/// Comments on a post of the first user, and waits for the notification on his socket.
async fn probe(options: &Options, server: &Server, people: &People) -> Outcome<Histogram> {
    let mut friend = Socket::open(server.public, &people.users[0].token).await?;
    let mut writer = Connection::open(server.public).await?;
    let mut way = Histogram::new();
    let began = Instant::now();
    for number in 0_u64.. {
        if began.elapsed() >= options.time() {
            break;
        }
        // Found again in the excerpt of the notification.
        let nonce = format!("probe {number} of {began:?}");
        let body = json!({"body": nonce}).to_string();
        let request = comment_on(&people.posts[0], &people.users[1].token, &body);
        writer.json(&request, 202).await?;
        let accepted = Instant::now();
        friend.text_with(&body[r#"{"body":""#.len()..body.len() - 2]).await?;
        way.add(accepted.elapsed());
        tokio::time::sleep(PROBE_EVERY).await;
    }
    Ok(way)
}
