//! The process under test: the real binary in a folder of its own.
//!
//! It is started on free ports, killed, stopped or started again on the same folder. When it is dropped its log must hold no
//! panic, unless the test said that it plants one.

use std::collections::HashSet;
use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::client::within;
use super::databases::{self, Databases};
use super::faults::Fault;

/// How long a start may take: two cores are shared with other tests, and there may be a journal to replay.
const START_TIMEOUT: Duration = Duration::from_secs(120);
/// How long a thread may take to come to a place at which a fault holds it.
const STANDS_WITHIN: Duration = Duration::from_secs(120);
/// Longer than the server ever sleeps by itself.
const LONG_SLEEP: Duration = Duration::from_millis(50);
/// The longest that a stop may take (G14).
pub(crate) const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// Where the server listens now. It changes with each start; clients share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Address(Arc<RwLock<(String, String)>>);

impl Address {
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.0.read().expect("not poisoned").0)
    }

    pub(crate) fn admin_url(&self, path: &str) -> String {
        format!("{}{path}", self.0.read().expect("not poisoned").1)
    }

    /// `127.0.0.1:PORT` of the public listener.
    pub(crate) fn authority(&self) -> String {
        self.url("").trim_start_matches("http://").to_owned()
    }

    fn set(&self, public: String, admin: String) {
        *self.0.write().expect("not poisoned") = (public, admin);
    }
}

/// How to start it.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    environment: Vec<(String, String)>,
    faults: Vec<(String, String)>,
    panics_expected: bool,
}

impl Default for Settings {
    /// Limits off, since a test is faster than any person; tokens that live as long as is allowed.
    fn default() -> Self {
        Self { environment: Vec::new(), faults: Vec::new(), panics_expected: false }
            .with("limits.enabled", "false")
            .with("auth.access_ttl", "1h")
    }
}

impl Settings {
    /// Sets a configuration value by its key in the file.
    pub(crate) fn with(mut self, key: &str, value: &str) -> Self {
        let variable = format!("SOSIK__{}", key.to_uppercase().replace('.', "__"));
        self.environment.retain(|(name, _)| *name != variable);
        self.environment.push((variable, value.to_owned()));
        self
    }

    /// Turns a planted fault on.
    pub(crate) fn fault(mut self, (name, action): Fault<'_>) -> Self {
        self.faults.push((name.to_owned(), action.to_owned()));
        self
    }

    /// The test makes the server panic: its log may say so.
    pub(crate) fn panics_expected(mut self) -> Self {
        self.panics_expected = true;
        self
    }

    /// Accepts without applying.
    pub(crate) fn without_workers(self) -> Self {
        self.with("write.workers", "0")
    }
}

/// A running (or just ended) server and its folder.
pub(crate) struct Server {
    pub(crate) settings: Settings,
    pub(crate) address: Address,
    /// Its shards, if they are in PostgreSQL.
    pub(crate) databases: Option<Databases>,
    folder: Arc<tempfile::TempDir>,
    child: Option<Child>,
    starts: u32,
}

/// The start was refused: how it ended and what it said.
#[derive(Debug)]
pub(crate) struct StartRefused {
    pub(crate) status: Option<ExitStatus>,
    pub(crate) log: String,
}

impl Server {
    /// A server with the usual settings in a new folder.
    pub(crate) async fn start() -> Self {
        Self::start_with(Settings::default()).await
    }

    pub(crate) async fn start_with(settings: Settings) -> Self {
        Self::try_start(settings).await.unwrap_or_else(|refused| panic!("the server did not start: {:?}\n{}", refused.status, refused.log))
    }

    /// On SQLite, unless the whole suite is asked to run on PostgreSQL.
    pub(crate) async fn try_start(settings: Settings) -> Result<Self, StartRefused> {
        let databases = match databases::shared_cluster().filter(|_| databases::asked_for()) {
            Some(cluster) => Some(Databases::make(&cluster).await),
            None => None,
        };
        Self::try_start_on(settings, databases).await
    }

    /// With its shards in databases of the shared cluster; `None` if there is none.
    pub(crate) async fn start_on_postgres(settings: Settings) -> Option<Self> {
        let databases = Databases::make(&databases::shared_cluster()?).await;
        let started = Self::try_start_on(settings, Some(databases)).await;
        Some(started.unwrap_or_else(|refused| panic!("the server did not start: {:?}\n{}", refused.status, refused.log)))
    }

    pub(crate) async fn try_start_on(settings: Settings, databases: Option<Databases>) -> Result<Self, StartRefused> {
        let folder = Arc::new(tempfile::tempdir().expect("a temporary folder"));
        let mut server = Self { settings, address: Address::default(), databases, folder, child: None, starts: 0 };
        server.launch().await?;
        Ok(server)
    }

    /// Its shards in PostgreSQL.
    pub(crate) fn postgres(&self) -> &Databases {
        self.databases.as_ref().expect("shards in PostgreSQL")
    }

    /// Starts it again on its folder, with its present settings.
    pub(crate) async fn restart(&mut self) {
        self.try_restart().await.unwrap_or_else(|refused| panic!("the server did not start again: {:?}\n{}", refused.status, refused.log));
    }

    pub(crate) async fn restart_with(&mut self, settings: Settings) {
        self.settings = settings;
        self.restart().await;
    }

    pub(crate) async fn try_restart(&mut self) -> Result<(), StartRefused> {
        assert!(self.child.is_none(), "the server still runs");
        self.launch().await
    }

    /// Another server on a copy of its folder as it is now, and on the same shards in PostgreSQL: as if this one were taken for dead.
    pub(crate) async fn start_double(&self, settings: Settings) -> Self {
        let settings = settings.with("shards.members", &self.postgres().members());
        let folder = Arc::new(tempfile::tempdir().expect("a temporary folder"));
        let copied = Command::new("cp").arg("-r").arg(self.data()).arg(folder.path().join("data")).status().expect("cp");
        assert!(copied.success());
        let mut double = Self { settings, address: Address::default(), databases: None, folder, child: None, starts: 0 };
        double.launch().await.unwrap_or_else(|refused| panic!("the double did not start: {:?}\n{}", refused.status, refused.log));
        double
    }

    async fn launch(&mut self) -> Result<(), StartRefused> {
        self.start_listening().await?;
        self.wait_until_ready().await;
        Ok(())
    }

    /// Starts it on its folder and waits until it says where it listens: for one that may never be ready.
    pub(crate) async fn start_listening(&mut self) -> Result<(), StartRefused> {
        self.starts += 1;
        let log = std::fs::File::create(self.log_path(self.starts)).expect("a log file");
        let mut command = self.command(&["serve", "--bind", "127.0.0.1:0", "--admin-bind", "127.0.0.1:0"]);
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().expect("the binary can be run");
        let output = child.stdout.take().expect("piped");
        self.child = Some(child);
        let (sender, receiver) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let mut lines = BufReader::new(output).lines();
            // The rest is read so that the server never blocks on a full pipe.
            if sender.send(lines.next().and_then(Result::ok)).is_ok() {
                lines.for_each(drop);
            }
        });
        match tokio::time::timeout(START_TIMEOUT, receiver).await {
            Ok(Ok(Some(line))) => {
                self.note_address(&line);
                Ok(())
            }
            Ok(_) => {
                let status = self.child.take().and_then(|mut child| child.wait().ok());
                Err(StartRefused { status, log: self.log() })
            }
            Err(_) => panic!("no first line within {START_TIMEOUT:?}\n{}", self.log()),
        }
    }

    fn note_address(&self, line: &str) {
        let addresses = line
            .strip_prefix("sosik listening on ")
            .and_then(|rest| rest.strip_suffix(')'))
            .and_then(|rest| rest.split_once(" (admin "))
            .unwrap_or_else(|| panic!("an unexpected first line: {line}"));
        self.address.set(addresses.0.to_owned(), addresses.1.to_owned());
    }

    async fn wait_until_ready(&mut self) {
        let client = reqwest::Client::new();
        let started = Instant::now();
        loop {
            let answer = client.get(self.address.url("/readyz")).timeout(Duration::from_secs(5)).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return;
            }
            assert!(started.elapsed() < START_TIMEOUT, "not ready within {START_TIMEOUT:?}\n{}", self.log());
            if let Some(status) = self.exit_status_now() {
                panic!("ended while starting: {status}\n{}", self.log());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A command of the same binary on the same folder, with the same settings.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sosik"));
        let faults: Vec<String> = self.settings.faults.iter().map(|(name, action)| format!("{name}={action}")).collect();
        command
            .args(arguments)
            .arg("--data")
            .arg(self.data())
            .current_dir(self.folder.path())
            .env_remove("FAILPOINTS")
            .envs(self.databases.iter().map(|databases| ("SOSIK__SHARDS__MEMBERS", databases.members())))
            .envs(self.settings.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        if !faults.is_empty() {
            command.env("FAILPOINTS", faults.join(";"));
        }
        command
    }

    /// Runs a command of the binary to its end; its output and whether it succeeded.
    pub(crate) fn run(&self, arguments: &[&str]) -> (bool, String) {
        let output = self.command(arguments).output().expect("the binary can be run");
        (output.status.success(), format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
    }

    /// The data folder.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// kill -9, and the end of the process.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it can be killed");
            child.wait().expect("it ends");
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("it runs");
        kill_process(Pid::from_child(child), signal).expect("it can be signalled");
    }

    /// SIGTERM, and its end within the promised time.
    pub(crate) async fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.ended_within(STOP_TIMEOUT).await.unwrap_or_else(|| panic!("still running {STOP_TIMEOUT:?} after SIGTERM\n{}", self.log()))
    }

    /// Waits for the end of the process.
    pub(crate) async fn ended_within(&mut self, limit: Duration) -> Option<ExitStatus> {
        let started = Instant::now();
        while started.elapsed() < limit {
            if let Some(status) = self.exit_status_now() {
                self.child = None;
                return Some(status);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        None
    }

    fn exit_status_now(&mut self) -> Option<ExitStatus> {
        self.child.as_mut().and_then(|child| child.try_wait().expect("its state can be asked"))
    }

    /// The process's id, for /proc.
    pub(crate) fn process_id(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// Resident memory in KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process_id())).expect("the process runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
        line.trim().trim_end_matches("kB").trim().parse().expect("a number")
    }

    /// The processor time that all its threads took so far, in ticks of the clock: hundredths of a second.
    pub(crate) fn processor_ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process_id())).expect("the process runs");
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        fields[11..13].iter().map(|field| field.parse::<u64>().expect("a number")).sum()
    }

    /// Waits until one of its threads sleeps for long: it has come to a place at which a fault holds it.
    pub(crate) async fn stands_still(&self) {
        self.stands_still_or(async || false).await;
    }

    /// The same, unless something else comes true.
    pub(crate) async fn stands_still_or(&self, mut other: impl AsyncFnMut() -> bool) {
        let mut asleep = HashSet::new();
        within(STANDS_WITHIN, "a thread to come to the planted place", async || {
            let still = self.sleeping_threads();
            let stands = !asleep.is_disjoint(&still);
            asleep = still;
            if stands || other().await {
                return Some(());
            }
            tokio::time::sleep(LONG_SLEEP).await;
            None
        })
        .await;
    }

    /// Threads that sleep, not those that wait for work: the thread, and how often it has given the core away, which a sleep does once.
    fn sleeping_threads(&self) -> HashSet<(OsString, String)> {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.process_id())).expect("the process runs").flatten();
        let sleeping = threads.filter_map(|thread| {
            // A thread may end meanwhile.
            let waits_in = std::fs::read_to_string(thread.path().join("wchan")).unwrap_or_default();
            let status = std::fs::read_to_string(thread.path().join("status")).unwrap_or_default();
            let switches = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
            waits_in.contains("nanosleep").then(|| (thread.file_name(), switches.trim().to_owned()))
        });
        sleeping.collect()
    }

    fn log_path(&self, start: u32) -> PathBuf {
        self.folder.path().join(format!("log.{start}"))
    }

    /// What the present (or last) process wrote to standard error.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.log_path(self.starts)).unwrap_or_default()
    }

    /// What all processes on this folder wrote to standard error.
    pub(crate) fn all_logs(&self) -> String {
        (1..=self.starts).map(|start| std::fs::read_to_string(self.log_path(start)).unwrap_or_default()).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        let logs = self.all_logs();
        if std::thread::panicking() {
            let tail: Vec<&str> = logs.lines().rev().take(40).collect();
            eprintln!("the end of the server's log:\n{}", tail.into_iter().rev().collect::<Vec<_>>().join("\n"));
        } else if !self.settings.panics_expected {
            // The second is how the server's own log tells of one.
            let panic = logs.lines().find(|line| line.contains("panicked at") || line.contains("panic: "));
            assert!(panic.is_none(), "the server panicked: {panic:?}\n{logs}");
        }
    }
}
