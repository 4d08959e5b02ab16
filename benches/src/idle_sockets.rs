//! *Idle sockets*: what a signed-in socket that nobody writes to takes of the server's memory.

use crate::report::{Aim, Report, progress};
use crate::server::House;
use crate::socket::Socket;
use crate::{Options, Outcome};

const USERS: usize = 20;
const AIM_KIB: f64 = 10.0;
/// Opened before memory is looked at, so that what all sockets share is there already.
const WARM_UP: usize = 200;

pub(crate) async fn measure(options: &Options) -> Outcome<()> {
    let mut report = Report::new("idle-sockets");
    let (house, people) = House::settled(options, USERS, 1).await?;
    for run in 0..options.runs {
        progress(&format!("{} idle sockets: run {} of {}", options.sockets, run + 1, options.runs));
        let server = house.open(&[("stream.sockets_per_user", "100000")]).await?;
        let open = |number: usize| Socket::open(server.public, &people.users[number % USERS].token);
        let mut sockets = Vec::with_capacity(options.sockets + WARM_UP);
        for number in 0..WARM_UP {
            sockets.push(open(number).await?);
        }
        let (before, _) = server.resident_mib()?;
        let began = std::time::Instant::now();
        for number in 0..options.sockets {
            sockets.push(open(number).await?);
        }
        let opened = began.elapsed().as_secs_f64();
        let (after, _) = server.resident_mib()?;
        report.add("sockets", "", options.sockets as f64);
        report.add("opened", "1/s", options.sockets as f64 / opened);
        report.aim("resident memory a socket", "KiB", (after - before) * 1024.0 / options.sockets as f64, Aim::AtMost(AIM_KIB));
        drop(sockets);
        server.stop().await?;
    }
    report.publish(options)
}
