//! *Fan-out*: one comment to everybody who watches its post: frames a second, and the server's CPU time for each; beside it
//! `nats-server` with as many subscribers of one subject, and a message as long as the frame.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::load::Target;
use crate::peer::{Peer, Subscriber};
use crate::people::{People, comment_on};
use crate::report::{Aim, Report, progress};
use crate::server::{House, Server, cpu_of_self};
use crate::socket::Socket;
use crate::wire::Connection;
use crate::{Options, Outcome};

/// Sockets of one user count less than sockets: the fan-out does not know the difference.
const USERS: usize = 20;
/// How long the last frame of a comment may take.
const FRAME_LIMIT: Duration = Duration::from_secs(60);
/// Comments that are written before their frames are waited for: alone, and so many that several can share a write to a socket.
const BURSTS: [u64; 2] = [1, 8];
const COMMENT: &[u8] = br#"{"event":"comment""#;

pub(crate) async fn measure(options: &Options) -> Outcome<()> {
    let mut report = Report::new("fanout");
    let (house, people) = House::settled(options, USERS, 1).await?;
    for run in 0..options.runs {
        progress(&format!("fan-out to {} sockets: run {} of {}", options.sockets, run + 1, options.runs));
        let server = house.open(&[("stream.sockets_per_user", "100000")]).await?;
        let (ours, frame_bytes) = ours(options, &server, &people).await?;
        server.stop().await?;
        report.add("sockets", "", options.sockets as f64);
        report.add("bytes of a comment's frame", "", frame_bytes as f64);
        for (burst, told) in BURSTS.iter().zip(&ours) {
            told.add_to(&mut report, &format!("{burst} at once: "), "frame");
        }
        let Some(binary) = &options.nats_server else {
            report.note("nats-server is left out: no --nats-server");
            continue;
        };
        for ((burst, theirs), ours) in BURSTS.iter().zip(peers(options, binary, frame_bytes).await?).zip(&ours) {
            theirs.add_to(&mut report, &format!("nats-server, {burst} at once: "), "message");
            let ratio = ours.cost_us() / theirs.cost_us();
            report.aim(&format!("{burst} at once: server CPU a frame ÷ nats-server's a message"), "×", ratio, Aim::AtMost(1.0));
        }
    }
    report.publish(options)
}

/// What all readers count together.
#[derive(Default)]
pub(crate) struct Count {
    /// Everything that came.
    pub(crate) frames: AtomicU64,
    /// What came of what is waited for, and how much that will be.
    awaited: AtomicU64,
    expected: AtomicU64,
    bytes: AtomicUsize,
    all_there: Notify,
}

impl Count {
    /// How many frames came of those that are waited for.
    pub(crate) fn awaited(&self) -> u64 {
        self.awaited.load(Ordering::SeqCst)
    }

    /// Counts what is waited for; the last of a round ends it.
    pub(crate) fn came(&self, messages: u64, bytes: usize) {
        self.bytes.store(bytes, Ordering::Relaxed);
        if self.awaited.fetch_add(messages, Ordering::SeqCst) + messages == self.expected.load(Ordering::SeqCst) {
            self.all_there.notify_one();
        }
    }
}

/// What rounds of telling came to.
pub(crate) struct Told {
    rounds: u32,
    frames: u64,
    elapsed: Duration,
    server_cpu: f64,
    own_cpu: f64,
}

impl Told {
    /// CPU microseconds of the server for each frame.
    pub(crate) fn cost_us(&self) -> f64 {
        self.server_cpu * 1e6 / self.frames as f64
    }

    pub(crate) fn add_to(&self, report: &mut Report, who: &str, what: &str) {
        report.add(&format!("{who}rounds"), "1/s", f64::from(self.rounds) / self.elapsed.as_secs_f64());
        report.add(&format!("{who}{what}s"), "1/s", self.frames as f64 / self.elapsed.as_secs_f64());
        report.add(&format!("{who}server CPU a {what}"), "µs", self.cost_us());
        report.add(&format!("{who}generator CPU a {what}"), "µs", self.own_cpu * 1e6 / self.frames as f64);
    }
}

/// Tells so many readers, a burst at once, waits until it all came to everybody, and tells again, for the time of a run.
pub(crate) async fn rounds(
    options: &Options,
    count: &Count,
    (readers, burst): (usize, u64),
    cpu: impl Fn() -> Outcome<f64>,
    mut tell: impl AsyncFnMut() -> Outcome<()>,
) -> Outcome<Told> {
    let before = (cpu()?, cpu_of_self()?, count.frames.load(Ordering::SeqCst));
    let began = Instant::now();
    let mut rounds = 0;
    while began.elapsed() < options.time() {
        rounds += 1;
        count.expected.fetch_add(burst * readers as u64, Ordering::SeqCst);
        for _ in 0..burst {
            tell().await?;
        }
        tokio::time::timeout(FRAME_LIMIT, count.all_there.notified()).await?;
    }
    let (server_cpu, own_cpu) = (cpu()? - before.0, cpu_of_self()? - before.1);
    let frames = count.frames.load(Ordering::SeqCst) - before.2;
    Ok(Told { rounds, frames, elapsed: began.elapsed(), server_cpu, own_cpu })
}

/// What each burst came to, and the length of a frame.
async fn ours(options: &Options, server: &Server, people: &People) -> Outcome<(Vec<Told>, usize)> {
    let post = &people.posts[0];
    let count = Arc::new(Count::default());
    let mut readers = JoinSet::new();
    for number in 0..options.sockets {
        let mut socket = Socket::open(server.public, &people.users[number % USERS].token).await?;
        socket.watch(post).await?;
        readers.spawn(read(socket, COMMENT, Arc::clone(&count)));
    }
    // The crowd's own arrival is told every two seconds; it must be over.
    tokio::time::sleep(Duration::from_secs(3)).await;

    let mut writer = Connection::open(server.public).await?;
    let body = json!({"body": "Tidings for everybody who looks at this page."}).to_string();
    let request = comment_on(post, &people.users[0].token, &body);
    let mut told = Vec::new();
    for burst in BURSTS {
        let tell = async || writer.json(&request, 202).await.map(drop);
        told.push(rounds(options, &count, (options.sockets, burst), || server.cpu_seconds(), tell).await?);
    }
    readers.shutdown().await;
    Ok((told, count.bytes.load(Ordering::Relaxed)))
}

/// Counts what a socket gets, until its connection or the measurement ends.
pub(crate) async fn read(mut socket: Socket, awaited: &'static [u8], count: Arc<Count>) {
    while let Ok(text) = socket.message().await {
        count.frames.fetch_add(1, Ordering::Relaxed);
        if text.starts_with(awaited) {
            count.came(1, text.len());
        }
    }
}

async fn peers(options: &Options, binary: &Path, message_bytes: usize) -> Outcome<Vec<Told>> {
    let peer = Peer::start(binary).await?;
    let count = Arc::new(Count::default());
    let mut readers = JoinSet::new();
    for _ in 0..options.sockets {
        readers.spawn(read_peer(peer.subscribe().await?, Arc::clone(&count)));
    }
    let mut publisher = peer.publisher().await?;
    let message = vec![b'm'; message_bytes];
    let mut told = Vec::new();
    for burst in BURSTS {
        let tell = async || Ok(publisher.publish(&message).await?);
        told.push(rounds(options, &count, (options.sockets, burst), || peer.cpu_seconds(), tell).await?);
    }
    readers.shutdown().await;
    Ok(told)
}

async fn read_peer(mut subscriber: Subscriber, count: Arc<Count>) {
    while let Ok(messages) = subscriber.messages().await {
        count.frames.fetch_add(messages, Ordering::Relaxed);
        if messages > 0 {
            count.came(messages, 0);
        }
    }
}
