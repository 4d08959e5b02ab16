//! PostgreSQL for a server under test: databases of its own in the cluster that `SOSIK_TEST_POSTGRES` names, gone with it, and whole
//! clusters for tests that let one crash.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbBackend, Statement, TryGetable};

use super::client::within;

/// Shards of a server, as many as SQLite files otherwise.
const SHARDS: usize = 4;
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// The cluster that all tests share; without one the test says that it was left out.
pub(crate) fn shared_cluster() -> Option<String> {
    static LEFT_OUT: Once = Once::new();
    let found = std::env::var("SOSIK_TEST_POSTGRES").ok();
    if found.is_none() {
        LEFT_OUT.call_once(|| {
            // Not by eprintln: the test harness would keep it to itself.
            let line = "LEFT OUT: the suite on PostgreSQL, since SOSIK_TEST_POSTGRES is not set; run ./test\n";
            std::io::stderr().write_all(line.as_bytes()).expect("standard error");
        });
    }
    found
}

/// Whether the whole suite is asked to run on PostgreSQL.
pub(crate) fn asked_for() -> bool {
    std::env::var("SOSIK_SUITE_ON").is_ok_and(|on| on == "postgres")
}

pub(crate) async fn connect(url: &str) -> DatabaseConnection {
    let mut options = ConnectOptions::new(url.to_owned());
    options.max_connections(1).sqlx_logging(false);
    Database::connect(options).await.unwrap_or_else(|error| panic!("{url}: {error}"))
}

/// Runs one statement in a session of its own.
pub(crate) async fn execute(url: &str, sql: &str) {
    let session = connect(url).await;
    session.execute_unprepared(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    session.close().await.expect("closed");
}

/// The one value that a question gives.
async fn answer<T: TryGetable>(url: &str, question: &str) -> T {
    let session = connect(url).await;
    let row = session.query_one_raw(Statement::from_string(DbBackend::Postgres, question)).await;
    let value = row.unwrap_or_else(|error| panic!("{question}: {error}")).expect("a row").try_get_by_index(0).expect("a value");
    session.close().await.expect("closed");
    value
}

pub(crate) async fn number(url: &str, question: &str) -> i64 {
    answer(url, question).await
}

pub(crate) async fn text(url: &str, question: &str) -> String {
    answer(url, question).await
}

/// Another database of the same cluster.
fn beside(cluster: &str, name: &str) -> String {
    let (base, _) = cluster.rsplit_once('/').expect("a URL with a database");
    format!("{base}/{name}")
}

/// A database for one shard.
#[derive(Debug, Clone)]
pub(crate) struct ShardDatabase {
    pub(crate) name: String,
    pub(crate) url: String,
    /// The URLs of its standbys.
    pub(crate) replicas: Vec<String>,
    /// `replica_lag_max`, if it has standbys.
    pub(crate) lag_max: &'static str,
    database: String,
    cluster: String,
}

impl ShardDatabase {
    /// Makes it, empty. `name` is the shard's.
    pub(crate) async fn make(cluster: &str, name: &str) -> Self {
        let database = format!("suite_{}_{}", std::process::id(), DATABASES.fetch_add(1, Ordering::SeqCst));
        execute(cluster, &format!("CREATE DATABASE {database}")).await;
        let (url, cluster) = (beside(cluster, &database), cluster.to_owned());
        Self { name: name.to_owned(), url, replicas: Vec::new(), lag_max: "1s", database, cluster }
    }

    /// The same database in a cluster that is a copy of its own.
    pub(crate) fn url_in(&self, cluster: &Cluster) -> String {
        beside(&cluster.url, &self.database)
    }

    /// Its name in the cluster.
    pub(crate) fn database(&self) -> &str {
        &self.database
    }

    /// Sets what holds for its later sessions.
    pub(crate) async fn set(&self, setting: &str) {
        execute(&self.cluster, &format!("ALTER DATABASE {} {setting}", self.database())).await;
    }

    /// Ends all its sessions, as an operator does; answers how many there were.
    pub(crate) async fn end_sessions(&self) -> i64 {
        let ended = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = ";
        number(&self.cluster, &format!("{ended}'{}'", self.database())).await
    }

    /// Deadlocks that the server has had to resolve here.
    pub(crate) async fn deadlocks(&self) -> i64 {
        number(&self.url, &format!("SELECT deadlocks FROM pg_stat_database WHERE datname = '{}'", self.database())).await
    }
}

/// The databases of a server. They go when it does.
#[derive(Debug, Default)]
pub(crate) struct Databases(pub(crate) Vec<ShardDatabase>);

impl Databases {
    pub(crate) async fn make(cluster: &str) -> Self {
        let mut databases = Vec::new();
        for number in 1..=SHARDS {
            databases.push(ShardDatabase::make(cluster, &format!("s{number}")).await);
        }
        Self(databases)
    }

    /// The value of `shards.members`.
    pub(crate) fn members(&self) -> String {
        let member = |ShardDatabase { name, url, replicas, lag_max, .. }: &ShardDatabase| {
            let replicas: Vec<String> = replicas.iter().map(|replica| format!("\"{replica}\"")).collect();
            format!("{{name=\"{name}\", url=\"{url}\", replicas=[{}], replica_lag_max=\"{lag_max}\"}}", replicas.join(", "))
        };
        let members: Vec<String> = self.0.iter().map(member).collect();
        format!("[{}]", members.join(", "))
    }

    pub(crate) fn shard(&self, name: &str) -> &ShardDatabase {
        self.0.iter().find(|shard| shard.name == name).expect("a shard of this name")
    }
}

impl Drop for Databases {
    fn drop(&mut self) {
        let shards = std::mem::take(&mut self.0);
        // The test's own runtime may be on its way down.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                for shard in shards {
                    let mut options = ConnectOptions::new(shard.cluster.clone());
                    options.max_connections(1).sqlx_logging(false).acquire_timeout(Duration::from_secs(3));
                    // A cluster of its own may be gone already.
                    let Ok(session) = Database::connect(options).await else { continue };
                    let _left = session.execute_unprepared(&format!("DROP DATABASE {} WITH (FORCE)", shard.database())).await;
                }
            });
        });
        dropped.join().expect("the databases are dropped");
    }
}

/// A cluster of one test's own, which it may crash.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) url: String,
}

impl Cluster {
    pub(crate) fn start() -> Self {
        let output = tool(&["start", "--tied"]);
        let url = output.trim().strip_prefix("SOSIK_TEST_POSTGRES=").unwrap_or_else(|| panic!("an unexpected answer: {output}"));
        Self { url: url.to_owned() }
    }

    /// A streaming standby of it, in a cluster of its own.
    pub(crate) fn standby(&self) -> Self {
        Self { url: tool(&["standby", &self.url]).trim().to_owned() }
    }

    /// A standby becomes a primary, with what it has received.
    pub(crate) fn promote(&self) {
        tool(&["promote", &self.url]);
    }

    /// A standby hears nothing more of its primary.
    pub(crate) async fn stop_receiving(&self) {
        execute(&self.url, "ALTER SYSTEM SET primary_conninfo = ''").await;
        execute(&self.url, "SELECT pg_reload_conf()").await;
        let deaf = async || (number(&self.url, "SELECT count(*) FROM pg_stat_wal_receiver").await == 0).then_some(());
        within(Duration::from_secs(20), "the standby to stop receiving", deaf).await;
    }

    /// A standby goes on receiving, and shows nothing new, until [`Cluster::resume_replay`].
    pub(crate) async fn pause_replay(&self) {
        execute(&self.url, "SELECT pg_wal_replay_pause()").await;
        let paused = async || (text(&self.url, "SELECT pg_get_wal_replay_pause_state()").await == "paused").then_some(());
        within(Duration::from_secs(60), "the standby to pause", paused).await;
    }

    pub(crate) async fn resume_replay(&self) {
        execute(&self.url, "SELECT pg_wal_replay_resume()").await;
    }

    /// As if its machine had lost power: nothing is finished, nothing is written out.
    pub(crate) fn crash(&self) {
        tool(&["crash", &self.url]);
    }

    pub(crate) fn start_again(&self) {
        tool(&["again", &self.url]);
    }

    /// It takes connections and says nothing, until [`Cluster::thaw`].
    pub(crate) fn freeze(&self) {
        tool(&["freeze", &self.url]);
    }

    pub(crate) fn thaw(&self) {
        tool(&["thaw", &self.url]);
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        tool(&["stop", &self.url]);
    }
}

/// TLS in front of a cluster, with a certificate for `localhost` of the authority `tests/tools/tls/authority.pem`.
pub(crate) struct TlsFront {
    port: String,
    process: Child,
}

impl TlsFront {
    pub(crate) fn start(cluster: &str) -> Self {
        let behind = cluster.rsplit_once('/').and_then(|(base, _)| base.rsplit_once(':')).expect("a URL with a port").1;
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tools/postgres_tls.py");
        let mut command = Command::new("python3");
        let mut process = command.args([script, behind]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python3");
        let mut port = String::new();
        BufReader::new(process.stdout.take().expect("piped")).read_line(&mut port).expect("a port");
        Self { port: port.trim().to_owned(), process }
    }

    /// A shard's URL through it; the authority is a file beside the tool.
    pub(crate) fn url(&self, shard: &ShardDatabase, host: &str, authority: &str) -> String {
        let authority = format!("{}/tests/tools/tls/{authority}", env!("CARGO_MANIFEST_DIR"));
        format!("postgres://sosik@{host}:{}/{}?sslmode=verify-full&sslrootcert={authority}", self.port, shard.database())
    }
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        let _gone = self.process.kill().and_then(|()| self.process.wait().map(drop));
    }
}

fn tool(arguments: &[&str]) -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tools/postgres.py");
    let output = Command::new("python3").arg(script).args(arguments).output().expect("python3");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}
