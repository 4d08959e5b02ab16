//! *Storm*: how fast sockets are taken in when all come at once, how long a probe of health waits meanwhile, and how long it takes until
//! everybody is back after a restart, each at the time that he was told.

use std::cell::Cell;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::histogram::Histogram;
use crate::people::People;
use crate::report::{Aim, Report, progress};
use crate::server::House;
use crate::socket::Socket;
use crate::wire::{Connection, request};
use crate::{Options, Outcome};

const USERS: usize = 20;
/// Handshakes of the generator that are under way at once.
const AT_ONCE: usize = 512;
const HEALTH_MS_MAX: f64 = 100.0;
const PROBE_EVERY: Duration = Duration::from_millis(5);
const SETTINGS: [(&str, &str); 1] = [("stream.sockets_per_user", "100000")];

pub(crate) async fn measure(options: &Options) -> Outcome<()> {
    let mut report = Report::new("storm");
    let (house, people) = House::settled(options, USERS, 1).await?;
    for run in 0..options.runs {
        progress(&format!("a storm of {} sockets: run {} of {}", options.sockets, run + 1, options.runs));
        measure_once(options, &house, &people, &mut report).await?;
    }
    report.publish(options)
}

async fn measure_once(options: &Options, house: &House, people: &People, report: &mut Report) -> Outcome<()> {
    let server = house.open(&SETTINGS).await?;
    let address = server.public;
    let began = Instant::now();
    let (sockets, health) = probed(address, all_at_once(options, address, people)).await?;
    let opened = options.sockets as f64 / began.elapsed().as_secs_f64();
    report.add("sockets", "", options.sockets as f64);
    report.add("all at once: taken in and greeted", "1/s", opened);
    report.aim("all at once: longest probe of health", "ms", health.quantile_ms(1.0), Aim::AtMost(HEALTH_MS_MAX));
    report.add("all at once: p99 of the probes", "ms", health.quantile_ms(0.99));

    // Each reads on until he hears when to come back.
    let mut leaving = JoinSet::new();
    for socket in sockets {
        leaving.spawn(farewell(socket));
    }
    let mut waits = Vec::with_capacity(options.sockets);
    let stopping = server.stop();
    let (stopped, ()) = tokio::join!(stopping, async {
        while let Some(wait) = leaving.join_next().await {
            waits.extend(wait.ok().flatten());
        }
    });
    stopped?;
    report.add("after a restart: told when to come back", "", waits.len() as f64);

    let server = house.start_at(address, &SETTINGS)?.ready().await?;
    let began = Instant::now();
    let (_back, health) = probed(address, all_return(address, people, waits)).await?;
    report.add("after a restart: all are back", "s", began.elapsed().as_secs_f64());
    report.aim("after a restart: longest probe of health", "ms", health.quantile_ms(1.0), Aim::AtMost(HEALTH_MS_MAX));
    report.add("after a restart: p99 of the probes", "ms", health.quantile_ms(0.99));
    server.stop().await
}

async fn all_at_once(options: &Options, address: SocketAddr, people: &People) -> Outcome<Vec<Socket>> {
    let mut opening: JoinSet<Outcome<Socket>> = JoinSet::new();
    let mut sockets = Vec::with_capacity(options.sockets);
    for number in 0..options.sockets {
        if opening.len() == AT_ONCE
            && let Some(socket) = opening.join_next().await
        {
            sockets.push(socket??);
        }
        let token = people.users[number % USERS].token.clone();
        opening.spawn(async move { Socket::open(address, &token).await });
    }
    while let Some(socket) = opening.join_next().await {
        sockets.push(socket??);
    }
    Ok(sockets)
}

/// Each at his time.
async fn all_return(address: SocketAddr, people: &People, waits: Vec<Duration>) -> Outcome<Vec<Socket>> {
    let mut returning: JoinSet<Outcome<Socket>> = JoinSet::new();
    let mut sockets = Vec::with_capacity(waits.len());
    for (number, wait) in waits.into_iter().enumerate() {
        let token = people.users[number % USERS].token.clone();
        returning.spawn(async move {
            tokio::time::sleep(wait).await;
            Socket::open(address, &token).await
        });
    }
    while let Some(socket) = returning.join_next().await {
        sockets.push(socket??);
    }
    Ok(sockets)
}

/// What comes of some work, and how long probes of health wait while it is done.
async fn probed<T>(address: SocketAddr, work: impl Future<Output = Outcome<T>>) -> Outcome<(T, Histogram)> {
    let over = Cell::new(false);
    let work = async {
        let result = work.await;
        over.set(true);
        result
    };
    let (result, health) = tokio::join!(work, probe(address, &over));
    Ok((result?, health?))
}

/// Asks again and again, over a new connection each time, whether the server lives.
async fn probe(address: SocketAddr, over: &Cell<bool>) -> Outcome<Histogram> {
    let mut waits = Histogram::new();
    let probe = request("GET", "/livez", None, None);
    while !over.get() {
        let began = Instant::now();
        let mut connection = Connection::open(address).await?;
        let status = connection.exchange(&probe).await?.status;
        if status != 200 {
            return Err(format!("the probe of health got {status}").into());
        }
        waits.add(began.elapsed());
        tokio::time::sleep(PROBE_EVERY).await;
    }
    Ok(waits)
}

/// When to come back, as the socket's `bye` says.
async fn farewell(mut socket: Socket) -> Option<Duration> {
    loop {
        let text: serde_json::Value = serde_json::from_slice(socket.message().await.ok()?).ok()?;
        if text["event"] == "bye" {
            return text["retry_ms"].as_u64().map(Duration::from_millis);
        }
    }
}
