//! The sections of the configuration: each field with its meaning. Its variable is `SOSIK__<SECTION>__<FIELD>`, named beside it
//! with the default.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::postgres_url::PostgresUrl;
use super::values::{Network, Origin, PublicUrl, Workers, listen, optional_span, size, span};
use crate::support::auth::issuers::IssuerSettings;

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

/// Where it listens, and what stands in front of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// Where clients are served. Port 0 asks the system for one. `SOSIK__SERVER__BIND`, 127.0.0.1:8080.
    #[serde(with = "listen")]
    pub bind: SocketAddr,
    /// Where operators are served. `SOSIK__SERVER__ADMIN_BIND`, 127.0.0.1:9090.
    #[serde(with = "listen")]
    pub admin_bind: SocketAddr,
    /// The URL under which clients reach it: the issuer of tokens, and the origin of its own pages. Absent: the issuer is `sosik`, and the
    /// origin is what a request names as its host. `SOSIK__SERVER__PUBLIC_URL`, absent.
    pub public_url: Option<PublicUrl>,
    /// Other origins whose pages may call with credentials. `SOSIK__SERVER__ALLOWED_ORIGINS`, none.
    pub allowed_origins: Vec<Origin>,
    /// Proxies whose `X-Forwarded-For`, `-Proto` and `-Host` are believed. `SOSIK__SERVER__TRUSTED_PROXIES`, none.
    pub trusted_proxies: Vec<Network>,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            bind: (Ipv4Addr::LOCALHOST, 8080).into(),
            admin_bind: (Ipv4Addr::LOCALHOST, 9090).into(),
            public_url: None,
            allowed_origins: Vec::new(),
            trusted_proxies: Vec::new(),
        }
    }
}

/// Who this process is. Datacenter and worker stand in every id that it makes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Node {
    /// 0 to 31. `SOSIK__NODE__DATACENTER`, 0.
    pub datacenter: u8,
    /// 0 to 31; unique among the live processes of a datacenter. `SOSIK__NODE__WORKER`, 0.
    pub worker: u8,
    /// What this process does. `SOSIK__NODE__ROLES`, all four; fewer come with a later release.
    pub roles: Vec<Role>,
}

impl Default for Node {
    fn default() -> Self {
        Self { datacenter: 0, worker: 0, roles: Role::ALL.to_vec() }
    }
}

/// A part of the work that a process may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Api,
    Writer,
    Notifier,
    Stream,
}

impl Role {
    pub const ALL: [Self; 4] = [Self::Api, Self::Writer, Self::Notifier, Self::Stream];
}

/// Where it keeps what it must not lose.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Data {
    /// Journal, SQLite shards and keys. `SOSIK__DATA__DIR`, `data`.
    pub dir: PathBuf,
}

impl Default for Data {
    fn default() -> Self {
        Self { dir: PathBuf::from("data") }
    }
}

/// The databases, and how owners are spread over them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Shards {
    /// `SOSIK__SHARDS__STRATEGY`, directory.
    pub strategy: Strategy,
    /// In this order; never empty after loading. `SOSIK__SHARDS__MEMBERS`, four SQLite files in the data folder.
    pub members: Vec<Member>,
}

impl Default for Shards {
    fn default() -> Self {
        Self { strategy: Strategy::Directory, members: (1..=Self::DEFAULT_MEMBERS).map(Member::default_of).collect() }
    }
}

impl Shards {
    /// Enough that several disks or cores have something to do, few enough to keep open on a small machine.
    const DEFAULT_MEMBERS: usize = 4;
}

/// How an owner finds its shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Strategy {
    /// A table of hash slots: a new member takes over slots, and only their owners move.
    Directory,
    /// The hash modulo the number of members: no table, but nearly all owners move when the number changes.
    Modulo,
    /// By id, thus by time: nothing moves for a new member, but all new posts go to one of them.
    Range,
}

/// How long a standby may lag, if nothing is said.
const REPLICA_LAG_MAX: Duration = Duration::from_secs(10);

/// One database.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// How logs, metrics and the topology call it.
    pub name: String,
    /// `sqlite:FILE`, relative to the data folder, or `postgres://USER@HOST:PORT/DATABASE`, also with several hosts
    /// and commas between them; all members are of one kind.
    pub url: String,
    /// The URLs of its streaming standbys: they are read, and the journal keeps what they have not replayed.
    #[serde(default)]
    pub replicas: Vec<String>,
    /// How long a standby may lag before it is not read any more, and not waited for; 10s.
    #[serde(default, with = "optional_span", skip_serializing_if = "Option::is_none")]
    pub replica_lag_max: Option<Duration>,
    /// With `strategy = "range"`: the lowest id that lives here. Given for all members or for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<u64>,
}

impl Member {
    const SQLITE_SCHEME: &'static str = "sqlite:";

    fn default_of(number: usize) -> Self {
        Self { name: format!("s{number}"), url: format!("sqlite:s{number}.db"), replicas: Vec::new(), replica_lag_max: None, from: None }
    }

    /// The file of a SQLite member.
    pub fn sqlite_file(&self, data_dir: &Path) -> Option<PathBuf> {
        let file = self.url.strip_prefix(Self::SQLITE_SCHEME).filter(|file| !file.is_empty())?;
        // Both customs of the scheme: sqlite:FILE and sqlite://FILE.
        Some(data_dir.join(file.strip_prefix("//").unwrap_or(file)))
    }

    /// The hosts of a PostgreSQL member, one at least; none of another.
    pub fn postgres_hosts(&self) -> Vec<PostgresUrl> {
        if PostgresUrl::is_meant(&self.url) { PostgresUrl::parse_hosts(&self.url).unwrap_or_default() } else { Vec::new() }
    }

    pub fn is_in_postgres(&self) -> bool {
        !self.postgres_hosts().is_empty()
    }
}

impl Member {
    /// How long a standby may lag.
    pub fn lag_max(&self) -> Duration {
        self.replica_lag_max.unwrap_or(REPLICA_LAG_MAX)
    }

    /// The URLs of its standbys.
    pub fn replica_urls(&self) -> Vec<PostgresUrl> {
        self.replicas.iter().filter_map(|url| PostgresUrl::parse(url).ok()).collect()
    }
}

/// Without the URL, which may hold a password.
impl fmt::Debug for Member {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Member").field("name", &self.name).field("from", &self.from).finish_non_exhaustive()
    }
}

/// Connections to the shards that are PostgreSQL databases. Each shard has its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Postgres {
    /// Connections of a shard that write: as many batches at once as there are, less a few for what is no batch.
    /// `SOSIK__POSTGRES__WRITERS`, 16.
    pub writers: u16,
    /// Connections of a shard that read. `SOSIK__POSTGRES__READERS`, 4.
    pub readers: u16,
    /// How long making a connection, or waiting in line for one, may take. `SOSIK__POSTGRES__CONNECT_TIMEOUT`, 5s.
    #[serde(with = "span")]
    pub connect_timeout: Duration,
    /// How long one statement may take. `SOSIK__POSTGRES__STATEMENT_TIMEOUT`, 30s.
    #[serde(with = "span")]
    pub statement_timeout: Duration,
    /// How long it may wait for what another transaction holds. `SOSIK__POSTGRES__LOCK_TIMEOUT`, 5s.
    #[serde(with = "span")]
    pub lock_timeout: Duration,
    /// When the server ends a transaction from which it hears nothing, so that it does not hold a lane.
    /// `SOSIK__POSTGRES__IDLE_IN_TRANSACTION_TIMEOUT`, 30s.
    #[serde(with = "span")]
    pub idle_in_transaction_timeout: Duration,
}

impl Postgres {
    /// Connections that no batch takes: deliveries of notifications, and chores.
    const WRITERS_APART: u16 = 4;

    /// How many batches of a shard may be applied at once.
    pub fn batches_max(&self) -> u16 {
        self.writers.saturating_sub(Self::WRITERS_APART).max(1)
    }
}

impl Default for Postgres {
    fn default() -> Self {
        Self {
            writers: 16,
            readers: 4,
            connect_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(30),
            lock_timeout: Duration::from_secs(5),
            idle_in_transaction_timeout: Duration::from_secs(30),
        }
    }
}

/// Where accepted writes are durable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Journal {
    /// `SOSIK__JOURNAL__KIND`, embedded; `jetstream` comes with a later release.
    pub kind: JournalKind,
    /// The most bytes that may wait to be applied; full, writes are refused. `SOSIK__JOURNAL__MAX_BYTES`, 1GiB.
    #[serde(with = "size")]
    pub max_bytes: u64,
}

impl Default for Journal {
    fn default() -> Self {
        Self { kind: JournalKind::Embedded, max_bytes: 1 << 30 }
    }
}

/// The implementation of the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", rename_all = "lowercase")]
pub enum JournalKind {
    Embedded,
}

impl TryFrom<String> for JournalKind {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "embedded" => Ok(Self::Embedded),
            "jetstream" => Err("\"jetstream\" comes with a later release; this one has \"embedded\"".to_owned()),
            _ => Err(format!("expected \"embedded\", found {text:?}")),
        }
    }
}

/// How accepted writes are applied.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Write {
    /// Batches at once for a shard. `SOSIK__WRITE__WORKERS`, adaptive.
    pub workers: Workers,
    /// The adaptive limit's lower end. `SOSIK__WRITE__WORKERS_MIN`, 1.
    pub workers_min: u16,
    /// The adaptive limit's upper end. `SOSIK__WRITE__WORKERS_MAX`, 64.
    pub workers_max: u16,
    /// The most entries of a batch. `SOSIK__WRITE__BATCH_ROWS`, 1000.
    pub batch_rows: u32,
    /// The most bytes of a batch of more than one entry. `SOSIK__WRITE__BATCH_BYTES`, 1MiB.
    #[serde(with = "size")]
    pub batch_bytes: u64,
}

impl Default for Write {
    fn default() -> Self {
        Self { workers: Workers::Adaptive, workers_min: 1, workers_max: 64, batch_rows: 1000, batch_bytes: 1 << 20 }
    }
}

/// What is kept in memory for reads. It is never the authority.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cache {
    /// `SOSIK__CACHE__CAPACITY`, 64MiB.
    #[serde(with = "size")]
    pub capacity: u64,
}

impl Default for Cache {
    fn default() -> Self {
        Self { capacity: 64 << 20 }
    }
}

/// Tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// How long an access token is good. `SOSIK__AUTH__ACCESS_TTL`, 10m.
    #[serde(with = "span")]
    pub access_ttl: Duration,
    /// How long a session lives without use. `SOSIK__AUTH__REFRESH_TTL`, 30d.
    #[serde(with = "span")]
    pub refresh_ttl: Duration,
    /// Foreign issuers whose tokens sign their subjects in. `SOSIK__AUTH__ISSUERS`, none.
    pub issuers: Vec<Issuer>,
}

impl Default for Auth {
    fn default() -> Self {
        Self { access_ttl: 10 * MINUTE, refresh_ttl: 30 * DAY, issuers: Vec::new() }
    }
}

/// A foreign issuer of access tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Issuer {
    /// Compared with `iss`, byte for byte.
    pub issuer: String,
    /// Must stand in `aud`.
    pub audience: String,
    /// The issuer's keys: a file, or a URL of https, or of http on this machine.
    pub jwks: String,
}

impl Issuer {
    /// As sign-in takes it.
    pub fn settings(&self) -> IssuerSettings {
        IssuerSettings { issuer: self.issuer.clone(), audience: self.audience.clone(), jwks: self.jwks.clone() }
    }
}

/// How fast one user, or one address, may be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// `false` turns off all of these, and the back-off after failed logins. `SOSIK__LIMITS__ENABLED`, true.
    pub enabled: bool,
    /// Of one user. `SOSIK__LIMITS__WRITES_PER_MINUTE`, 600.
    pub writes_per_minute: u32,
    /// Of one address. `SOSIK__LIMITS__LOGINS_PER_MINUTE`, 10.
    pub logins_per_minute: u32,
    /// Of one address. `SOSIK__LIMITS__REGISTRATIONS_PER_HOUR`, 20.
    pub registrations_per_hour: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { enabled: true, writes_per_minute: 600, logins_per_minute: 10, registrations_per_hour: 20 }
    }
}

/// Who is told, and how long it is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Notify {
    /// Followers who did not ask for the bell are told of posts up to this number of them. `SOSIK__NOTIFY__AUTOMATIC_UP_TO`, 50000.
    pub automatic_up_to: u64,
    /// How long an inbox entry is kept. `SOSIK__NOTIFY__RETENTION`, 30d.
    #[serde(with = "span")]
    pub retention: Duration,
    /// How many entries an inbox keeps. `SOSIK__NOTIFY__RETENTION_ENTRIES`, 10000.
    pub retention_entries: u32,
}

impl Default for Notify {
    fn default() -> Self {
        Self { automatic_up_to: 50_000, retention: 30 * DAY, retention_entries: 10_000 }
    }
}

/// Open sockets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Stream {
    /// `SOSIK__STREAM__SOCKETS_PER_USER`, 10.
    pub sockets_per_user: u32,
    /// `SOSIK__STREAM__WATCHES_PER_SOCKET`, 100.
    pub watches_per_socket: u32,
    /// Frames that may wait for a slow client, 128 at least. `SOSIK__STREAM__OUTBOX_FRAMES`, 256.
    pub outbox_frames: u32,
    /// Bytes that may wait for a slow client, 64KiB at least. `SOSIK__STREAM__OUTBOX_BYTES`, 1MiB.
    #[serde(with = "size")]
    pub outbox_bytes: u64,
}

impl Default for Stream {
    fn default() -> Self {
        Self { sockets_per_user: 10, watches_per_socket: 100, outbox_frames: 256, outbox_bytes: 1 << 20 }
    }
}

/// The connection between nodes; comes with a later release.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Nats {
    /// `SOSIK__NATS__URL`, empty.
    pub url: String,
}

/// What strangers may do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Api {
    /// Whether posts, comments and users can be read without a token. `SOSIK__API__ANONYMOUS_READS`, true.
    pub anonymous_reads: bool,
}

impl Default for Api {
    fn default() -> Self {
        Self { anonymous_reads: true }
    }
}

/// What operators see.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Telemetry {
    /// A level, or directives such as `info,sosik::ledger=debug`. `SOSIK__TELEMETRY__LOG`, info.
    pub log: String,
    /// `text` for people, `json` for machines, `auto`: text on a terminal, else JSON. `SOSIK__TELEMETRY__FORMAT`, auto.
    pub format: LogFormat,
    /// Where traces go; comes with a later release. `SOSIK__TELEMETRY__OTLP_ENDPOINT`, empty.
    pub otlp_endpoint: String,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self { log: "info".to_owned(), format: LogFormat::Auto, otlp_endpoint: String::new() }
    }
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Auto,
    Text,
    Json,
}
