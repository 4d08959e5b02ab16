//! *Self-visibility*: reading one's own pending post, against reading a committed one with nothing pending.

use serde_json::json;

use crate::accept::closed;
use crate::load::same;
use crate::report::{Aim, Report, progress};
use crate::server::House;
use crate::wire::{Connection, request};
use crate::{Options, Outcome};

const COST_MAX: f64 = 2.0;
/// Writes of the same author that are pending beside the one that is read.
const PENDING_BESIDES: usize = 100;

pub(crate) async fn measure(options: &Options) -> Outcome<()> {
    let mut report = Report::new("own-read");
    let (house, people) = House::settled(options, 2, 10).await?;
    let server = house.open(&[("write.workers", "0")]).await?;
    let (author, reader) = (&people.users[0].token, &people.users[1].token);
    let mut connection = Connection::open(server.public).await?;
    let mut pending = String::new();
    for number in 0..=PENDING_BESIDES {
        let body = json!({"body": format!("Not applied yet {number}")}).to_string();
        let answer = connection.json(&request("POST", "/v1/posts", Some(author), Some(&body)), 202).await?;
        pending = answer["post"]["id"].as_str().ok_or("no post")?.to_owned();
    }
    let read = |post: &str, token: &str| same(request("GET", &format!("/v1/posts/{post}"), Some(token), None));
    for run in 0..options.runs {
        progress(&format!("own-read: run {} of {}", run + 1, options.runs));
        let committed = closed(options, &server, read(&people.posts[0], reader)).await?.all(200)?;
        let own = closed(options, &server, read(&pending, author)).await?.all(200)?;
        let beside = closed(options, &server, read(&people.posts[0], author)).await?.all(200)?;
        report.add("a committed post, nothing pending", "1/s", committed.rate());
        report.add("one's own pending post", "1/s", own.rate());
        report.add("a committed post, its reader has others pending", "1/s", beside.rate());
        report.add("server CPU, nothing pending", "µs", committed.cpu_us());
        report.add("server CPU, own pending", "µs", own.cpu_us());
        report.aim("cost of a pending read, by CPU", "×", own.cpu_us() / committed.cpu_us(), Aim::AtMost(COST_MAX));
        report.aim(
            "cost of a pending read, by p50",
            "×",
            own.latency.quantile_ms(0.5) / committed.latency.quantile_ms(0.5),
            Aim::AtMost(COST_MAX),
        );
    }
    server.stop().await?;
    report.publish(options)
}
