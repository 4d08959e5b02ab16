//! *Fan-out*: one comment to everybody who watches its post: frames a second, and the server's CPU time for each.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::Notify;
use tokio::task::JoinSet;

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
/// What `nats-server` takes for a message over websockets, in microseconds: the better of the figures in docs/performance.md.
const PEER_US: f64 = 8.0;

pub(crate) async fn measure(options: &Options) -> Outcome<()> {
    let mut report = Report::new("fanout");
    let (house, people) = House::settled(options, USERS, 1).await?;
    for run in 0..options.runs {
        progress(&format!("fan-out to {} sockets: run {} of {}", options.sockets, run + 1, options.runs));
        let server = house.open(&[("stream.sockets_per_user", "100000")]).await?;
        measure_once(options, &server, &people, &mut report).await?;
        server.stop().await?;
    }
    report.publish(options)
}

/// What all readers count together.
#[derive(Default)]
struct Count {
    frames: AtomicU64,
    comments: AtomicU64,
    all_there: Notify,
}

async fn measure_once(options: &Options, server: &Server, people: &People, report: &mut Report) -> Outcome<()> {
    let post = &people.posts[0];
    let count = Arc::new(Count::default());
    let mut readers = JoinSet::new();
    for number in 0..options.sockets {
        let mut socket = Socket::open(server.public, &people.users[number % USERS].token).await?;
        socket.watch(post).await?;
        readers.spawn(read(socket, Arc::clone(&count), options.sockets as u64));
    }
    // The crowd's own arrival is told every two seconds; it must be over.
    tokio::time::sleep(Duration::from_secs(3)).await;

    let mut writer = Connection::open(server.public).await?;
    let body = json!({"body": "Tidings for everybody who looks at this page."}).to_string();
    let request = comment_on(post, &people.users[0].token, &body);
    let cpu = (server.cpu_seconds()?, cpu_of_self()?);
    let (began, before) = (Instant::now(), count.frames.load(Ordering::SeqCst));
    let mut comments = 0;
    while began.elapsed() < options.time() {
        comments += 1;
        writer.json(&request, 202).await?;
        tokio::time::timeout(FRAME_LIMIT, count.all_there.notified()).await?;
    }
    let elapsed = began.elapsed().as_secs_f64();
    let frames = (count.frames.load(Ordering::SeqCst) - before) as f64;
    let (server_cpu, own_cpu) = (server.cpu_seconds()? - cpu.0, cpu_of_self()? - cpu.1);
    readers.shutdown().await;

    report.add("sockets", "", options.sockets as f64);
    report.add("comments", "1/s", f64::from(comments) / elapsed);
    report.add("frames", "1/s", frames / elapsed);
    report.aim("server CPU a frame", "µs", server_cpu * 1e6 / frames, Aim::AtMost(PEER_US));
    report.add("generator CPU a frame", "µs", own_cpu * 1e6 / frames);
    Ok(())
}

async fn read(mut socket: Socket, count: Arc<Count>, sockets: u64) {
    const COMMENT: &[u8] = br#"{"event":"comment""#;
    // Ends with its connection, or with the measurement.
    while let Ok(text) = socket.text().await {
        count.frames.fetch_add(1, Ordering::Relaxed);
        if text.starts_with(COMMENT) && (count.comments.fetch_add(1, Ordering::SeqCst) + 1).is_multiple_of(sockets) {
            count.all_there.notify_one();
        }
    }
}
