//! Load on many kept connections: as fast as the answers come (closed), or at a fixed rate (open).
//!
//! In an open load each request has its time. If its connection is still waiting for an earlier answer then, the latency
//! counts from that time, so that a stall is not hidden by the requests that it held back (coordinated omission). If the connection was
//! idle, it counts from the moment of sending, so that the timer's own grain of 1 ms is not taken for the server's.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::Outcome;
use crate::histogram::Histogram;
use crate::server::cpu_of_self;
use crate::wire::Connection;

/// Writes the bytes of the n-th request of a connection.
pub(crate) type Source = Arc<dyn Fn(usize, u64, &mut Vec<u8>)>;

/// How hard to push.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pace {
    /// Each connection sends when it has its answer.
    Closed,
    /// So many requests a second over all connections.
    Open(f64),
}

/// When to end.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Until {
    Elapsed(Duration),
    /// So many requests over all connections.
    Requests(u64),
}

pub(crate) struct Load {
    pub(crate) connections: usize,
    pub(crate) pace: Pace,
    pub(crate) until: Until,
    pub(crate) source: Source,
}

/// What a load came to.
pub(crate) struct Measured {
    pub(crate) statuses: BTreeMap<u16, u64>,
    pub(crate) latency: Histogram,
    pub(crate) elapsed: Duration,
    /// CPU seconds of the server and of this process.
    pub(crate) server_cpu: f64,
    pub(crate) generator_cpu: f64,
}

impl Measured {
    pub(crate) fn rate(&self) -> f64 {
        self.latency.count() as f64 / self.elapsed.as_secs_f64()
    }

    pub(crate) fn count(&self, status: u16) -> u64 {
        self.statuses.get(&status).copied().unwrap_or(0)
    }

    /// CPU microseconds of the server for each answer.
    pub(crate) fn cpu_us(&self) -> f64 {
        self.server_cpu * 1e6 / self.latency.count().max(1) as f64
    }

    /// The part of one core that the generator used.
    pub(crate) fn generator_share(&self) -> f64 {
        self.generator_cpu / self.elapsed.as_secs_f64()
    }

    /// All answers had this status.
    pub(crate) fn all(self, status: u16) -> Outcome<Self> {
        if self.count(status) == self.latency.count() && self.latency.count() > 0 {
            Ok(self)
        } else {
            Err(format!("expected only {status}, got {:?}", self.statuses).into())
        }
    }
}

/// The same request from all connections.
pub(crate) fn same(request: Vec<u8>) -> Source {
    Arc::new(move |_, _, into| into.extend_from_slice(&request))
}

/// What a load is sent to.
pub(crate) trait Target {
    fn address(&self) -> SocketAddr;

    /// CPU seconds, in user and system mode, of all its threads.
    fn cpu_seconds(&self) -> Outcome<f64>;
}

impl Load {
    /// Runs it to its end.
    pub(crate) async fn run(&self, server: &impl Target) -> Outcome<Measured> {
        // Connections are there when the time begins: to open them all takes as long as some hundred requests.
        let mut connections = Vec::with_capacity(self.connections);
        for _ in 0..self.connections {
            connections.push(Connection::open(server.address()).await?);
        }
        let cpu = (server.cpu_seconds()?, cpu_of_self()?);
        let started = Instant::now();
        let mut lanes: JoinSet<Outcome<(BTreeMap<u16, u64>, Histogram)>> = JoinSet::new();
        let local = tokio::task::LocalSet::new();
        for (number, connection) in connections.into_iter().enumerate() {
            let lane = Lane {
                connection,
                number,
                source: Arc::clone(&self.source),
                until: self.until,
                connections: self.connections,
                period: match self.pace {
                    Pace::Closed => None,
                    Pace::Open(rate) => Some(Duration::from_secs_f64(self.connections as f64 / rate)),
                },
                started,
            };
            lanes.spawn_local_on(lane.run(), &local);
        }
        let mut statuses: BTreeMap<u16, u64> = BTreeMap::new();
        let mut latency = Histogram::new();
        local
            .run_until(async {
                while let Some(lane) = lanes.join_next().await {
                    let (counts, histogram) = lane??;
                    for (status, count) in counts {
                        *statuses.entry(status).or_default() += count;
                    }
                    latency.merge(&histogram);
                }
                Outcome::Ok(())
            })
            .await?;
        let elapsed = started.elapsed();
        let (server_cpu, generator_cpu) = (server.cpu_seconds()? - cpu.0, cpu_of_self()? - cpu.1);
        Ok(Measured { statuses, latency, elapsed, server_cpu, generator_cpu })
    }
}

struct Lane {
    connection: Connection,
    number: usize,
    source: Source,
    until: Until,
    connections: usize,
    /// Time between two requests of this connection, if it has a rate.
    period: Option<Duration>,
    started: Instant,
}

impl Lane {
    async fn run(mut self) -> Outcome<(BTreeMap<u16, u64>, Histogram)> {
        let mut statuses = BTreeMap::new();
        let mut latency = Histogram::new();
        let mut request = Vec::with_capacity(16 * 1024);
        let mut number = 0_u64;
        while !self.is_over(number) {
            request.clear();
            (self.source)(self.number, number, &mut request);
            let sent = self.wait_for_turn(number).await;
            let status = self.connection.exchange(&request).await?.status;
            latency.add(sent.elapsed());
            *statuses.entry(status).or_default() += 1;
            number += 1;
        }
        Ok((statuses, latency))
    }

    fn is_over(&self, number: u64) -> bool {
        match self.until {
            Until::Elapsed(time) => self.started.elapsed() >= time,
            Until::Requests(all) => number * self.connections as u64 + self.number as u64 >= all,
        }
    }

    /// Waits until the request is due; the moment from which its latency counts.
    async fn wait_for_turn(&self, number: u64) -> Instant {
        let Some(period) = self.period else { return Instant::now() };
        // Connections take turns within a period.
        let place = self.number as f64 / self.connections as f64 + number as f64;
        let due = self.started + period.mul_f64(place);
        if due <= Instant::now() {
            return due;
        }
        tokio::time::sleep_until(due.into()).await;
        Instant::now()
    }
}
