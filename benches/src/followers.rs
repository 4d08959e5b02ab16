//! *Followers*: one post to everybody who follows its author, each with an inbox of his own and a socket: frames a second, and the server's
//! CPU time for each, from the post to the last frame, entries of inboxes included.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::fanout::{Count, read, rounds};
use crate::load::Target;
use crate::people::publish_on;
use crate::report::{Report, progress};
use crate::seed::{Seed, name_of};
use crate::server::House;
use crate::socket::Socket;
use crate::wire::Connection;
use crate::{Options, Outcome};

const NOTIFICATION: &[u8] = br#"{"event":"notification""#;

pub(crate) async fn measure(options: &Options) -> Outcome<()> {
    let mut report = Report::new("followers");
    let followers = options.sockets as u64;
    let house = followed(options, followers).await?;
    let names: Vec<String> = (0..=followers).map(name_of).collect();
    let tokens = house.tokens(&names)?;
    for run in 0..options.runs {
        progress(&format!("posts to {followers} followers with sockets: run {} of {}", run + 1, options.runs));
        let server = house.open(&[]).await?;
        let count = Arc::new(Count::default());
        let mut readers = JoinSet::new();
        for token in &tokens[1..] {
            let socket = Socket::open(server.public, token).await?;
            readers.spawn(read(socket, NOTIFICATION, Arc::clone(&count)));
        }
        let mut writer = Connection::open(server.public).await?;
        let post = async || publish_on(&mut writer, &tokens[0], "Tidings for everybody who follows me.").await.map(drop);
        let told = rounds(options, &count, (options.sockets, 1), || server.cpu_seconds(), post).await?;
        readers.shutdown().await;
        told.add_to(&mut report, "", "frame");
        report.add("followers", "", followers as f64);
        server.drained(Duration::from_secs(60)).await?;
        server.stop().await?;
    }
    report.publish(options)
}

/// A house where the first of the crowd is followed, with the bell, by so many others.
pub(crate) async fn followed(options: &Options, followers: u64) -> Outcome<House> {
    let (house, _) = House::settled(options, 1, 0).await?;
    progress(&format!("{followers} followers"));
    let seed = Seed::open(&house).await?;
    seed.people(0..followers + 1).await?;
    seed.follows((1..=followers).map(|follower| (follower, 0))).await?;
    seed.finish().await?;
    Ok(house)
}
