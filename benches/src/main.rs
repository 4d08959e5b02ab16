//! Measures the release binary and prints tables; the same figures go to `target/bench/<name>.json`.
//!
//! What is compared runs in one invocation on the same cores, alternately, and the ratio is the result. The load generator
//! shares the cores, so its own CPU time is part of each table.
//!
//! `cargo build --release && cargo run --release -p sosik-bench -- accept`

mod accept;
mod adaptive;
mod apply;
mod baseline;
mod behind;
mod cluster;
mod curve;
mod fanout;
mod feed;
mod followers;
mod growth;
mod histogram;
mod hot_post;
mod idle_sockets;
mod load;
mod login;
mod memory;
mod own_read;
mod peer;
mod people;
mod placement;
mod plain;
mod plain_server;
mod report;
mod seed;
mod server;
mod socket;
mod storm;
mod svg;
mod two_clusters;
mod waiting;
mod way_through;
mod wire;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

/// Anything that ends a measurement is only told, so that it needs no type of its own.
pub(crate) type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[derive(Parser)]
#[command(about = "Measures a running sosik.")]
struct CommandLine {
    #[command(subcommand)]
    measurement: Measurement,
    #[command(flatten)]
    options: Options,
}

/// What all measurements share.
#[derive(Args, Clone)]
pub(crate) struct Options {
    /// The binary that is measured.
    #[arg(long, global = true, default_value = "target/release/sosik")]
    pub(crate) server: PathBuf,
    /// A release build with the feature `faults`: only `adaptive` needs it, for its slow shard.
    #[arg(long, global = true)]
    pub(crate) faults_server: Option<PathBuf>,
    /// Each figure is the median of so many runs.
    #[arg(long, global = true, default_value_t = 5)]
    pub(crate) runs: usize,
    /// Seconds of each run.
    #[arg(long, global = true, default_value_t = 4)]
    pub(crate) seconds: u64,
    /// Connections of the load generator.
    #[arg(long, global = true, default_value_t = 128)]
    pub(crate) connections: usize,
    /// Sockets of a stream. Each takes a file here and in the server, so `ulimit -n` must allow some more.
    #[arg(long, global = true, default_value_t = 10_000)]
    pub(crate) sockets: usize,
    /// Entries to fill a journal with.
    #[arg(long, global = true, default_value_t = 1_000_000)]
    pub(crate) entries: u64,
    /// The most followers of `growth`: 1 000, 10 000, 100 000 and 1 000 000, up to this.
    #[arg(long, global = true, default_value_t = 1_000_000)]
    pub(crate) followers: u64,
    /// Likes of `hot-post`, each of another user.
    #[arg(long, global = true, default_value_t = 100_000)]
    pub(crate) likes: u64,
    /// A `nats-server`, which `fanout` is compared with.
    #[arg(long, global = true)]
    pub(crate) nats_server: Option<PathBuf>,
    /// A cluster in which databases may be made and left behind, as `postgres://user@host:port/postgres`; `plain`, `curve`, `behind` and `two-clusters` need it.
    #[arg(long, global = true)]
    pub(crate) postgres: Option<String>,
    /// A streaming standby of that cluster, in the same form; `behind` needs it, and sets how late it replays.
    #[arg(long, global = true)]
    pub(crate) standby: Option<String>,
    /// Another cluster, on this machine as well, in the same form; `two-clusters` needs it.
    #[arg(long, global = true)]
    pub(crate) second_postgres: Option<String>,
    /// Where data folders are made; the system's folder for temporary files otherwise. Its disk is what is measured.
    #[arg(long, global = true)]
    pub(crate) folder: Option<PathBuf>,
}

impl Options {
    pub(crate) fn time(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}

#[derive(Subcommand, Clone)]
enum Measurement {
    /// Durable 202s a second against /livez of the same process, and latency at half that load.
    Accept,
    /// Draining a filled journal against bare `insert_many`, and visible likes a second against accepted ones.
    Apply,
    /// Fixed numbers of workers against the adaptive limit.
    Adaptive,
    /// Resident memory with a full backlog, and how fast a full server refuses.
    Memory,
    /// Registration and refresh while a backlog is drained.
    Waiting,
    /// Reading one's own pending post against reading with nothing pending.
    OwnRead,
    /// Logins against argon2id alone, what writes notice of them, and whether an unknown name answers sooner than a known one.
    Login,
    /// One comment to everybody who watches its post: the server's CPU time for each frame, beside nats-server's for each message.
    Fanout,
    /// One post to everybody who follows its author, each with an inbox and a socket.
    Followers,
    /// What an entry of an inbox costs with 1 000 to 1 000 000 followers.
    Growth,
    /// Likes on one post against likes on many, and what they leave behind.
    HotPost,
    /// The first page of a feed for a reader of 5 000 authors.
    Feed,
    /// All sockets at once, and all of them again after a restart.
    Storm,
    /// Resident memory of a signed-in socket that nobody writes to.
    IdleSockets,
    /// From the 202 of a comment to its frame on a friend's socket, at 10, 50 and 80 % of the capacity.
    WayThrough,
    /// Visible likes a second on one shard in PostgreSQL against the plain way on the same server, and draining a journal into it.
    Plain,
    /// Fixed numbers of workers on one shard in PostgreSQL against the adaptive limit, with a picture for each of three primaries.
    Curve,
    /// Reading one's own writes beside a standby that is half a minute behind, against one that keeps up.
    Behind,
    /// Visible likes a second on two shards in a cluster each, against one, and whose processor time they took.
    TwoClusters,
    /// What `plain` is compared with; it starts this itself.
    #[command(hide = true)]
    PlainServer {
        /// A JSON Web Key Set: who may sign tokens.
        #[arg(long)]
        keys: PathBuf,
    },
}

fn main() -> ExitCode {
    let CommandLine { measurement, options } = CommandLine::parse();
    if let Measurement::PlainServer { keys } = &measurement {
        let served = plain_server::serve(options.postgres.as_deref().unwrap_or_default(), keys);
        return served.map_or_else(|error| report::failed(error.as_ref()), |()| ExitCode::SUCCESS);
    }
    // One thread: the generator leaves the other core to the server.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return report::failed(&error),
    };
    let measured = runtime.block_on(async {
        match measurement {
            Measurement::Accept => Box::pin(accept::measure(&options)).await,
            Measurement::Apply => Box::pin(apply::measure(&options)).await,
            Measurement::Adaptive => Box::pin(adaptive::measure(&options)).await,
            Measurement::Memory => Box::pin(memory::measure(&options)).await,
            Measurement::Waiting => Box::pin(waiting::measure(&options)).await,
            Measurement::OwnRead => Box::pin(own_read::measure(&options)).await,
            Measurement::Login => Box::pin(login::measure(&options)).await,
            Measurement::Fanout => Box::pin(fanout::measure(&options)).await,
            Measurement::Followers => Box::pin(followers::measure(&options)).await,
            Measurement::Growth => Box::pin(growth::measure(&options)).await,
            Measurement::HotPost => Box::pin(hot_post::measure(&options)).await,
            Measurement::Feed => Box::pin(feed::measure(&options)).await,
            Measurement::Storm => Box::pin(storm::measure(&options)).await,
            Measurement::IdleSockets => Box::pin(idle_sockets::measure(&options)).await,
            Measurement::WayThrough => Box::pin(way_through::measure(&options)).await,
            Measurement::Plain => Box::pin(plain::measure(&options)).await,
            Measurement::Curve => Box::pin(curve::measure(&options)).await,
            Measurement::Behind => Box::pin(behind::measure(&options)).await,
            Measurement::TwoClusters => Box::pin(two_clusters::measure(&options)).await,
            Measurement::PlainServer { .. } => Ok(()),
        }
    });
    match measured {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report::failed(error.as_ref()),
    }
}
