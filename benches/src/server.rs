//! The process that is measured: started on free ports in a folder of its own, asked for its CPU time, memory and backlog.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::load::Target;
use crate::people::{self, People};
use crate::report::progress;
use crate::wire::{Connection, request};
use crate::{Options, Outcome};

/// The gauge of entries that are accepted and not applied yet, over all shards.
const WAITING_METRIC: &str = "sosik_journal_waiting_entries";
const TOLD_METRIC: &str = "sosik_notices_delivered_total";
/// What the dispatchers have not told, by shard; they say it this often. That nothing is left counts when it was said twice.
const UNTOLD_METRICS: [&str; 2] = ["sosik_notices_waiting", "sosik_lanes_untold"];
const DISPATCHERS_TELL_EVERY: Duration = Duration::from_millis(300);
const QUIET_LOOKS: u32 = 2;
/// How old that gauge may be.
const METRICS_AGE_MAX: Duration = Duration::from_millis(1200);
/// Ticks of `/proc/PID/stat` a second: 100 on every Linux that we run on (`getconf CLK_TCK`).
const TICKS_A_SECOND: f64 = 100.0;
/// Where it says them, counted from the field behind the name: user and system mode.
const OWN_TIME: [usize; 2] = [11, 12];
const CHILDRENS_TIME: [usize; 2] = [13, 14];
/// A start with a million entries to read back takes seconds.
const START_LIMIT: Duration = Duration::from_secs(120);
const STOP_LIMIT: Duration = Duration::from_secs(60);
/// Names of one command line: the system bounds its length.
const TOKENS_AT_ONCE: usize = 10_000;

pub(crate) struct Server {
    pub(crate) public: SocketAddr,
    pub(crate) admin: SocketAddr,
    /// From the start of the process to its first line.
    pub(crate) start: Duration,
    /// A token with the admin role, once there is one.
    operator: Option<String>,
    child: Child,
    /// Kept open, so that the server can go on writing to it.
    _output: BufReader<ChildStdout>,
}

/// A data folder, and how a server is started on it.
pub(crate) struct House {
    folder: tempfile::TempDir,
    binary: PathBuf,
    operator: Option<String>,
    /// The value of `shards.members`, if its shards are not in files of the data folder.
    members: Option<String>,
}

impl House {
    pub(crate) fn new(options: &Options, binary: &Path) -> Outcome<Self> {
        let binary = binary.canonicalize().map_err(|error| format!("{}: {error}; build it first", binary.display()))?;
        let folder = match &options.folder {
            Some(folder) => tempfile::tempdir_in(folder)?,
            None => tempfile::tempdir()?,
        };
        Ok(Self { folder, binary, operator: None, members: None })
    }

    /// A second house with a copy of the data, whose server must have ended.
    pub(crate) fn copy(&self, options: &Options) -> Outcome<Self> {
        self.copy_for(options, &self.binary)
    }

    /// The same, for another binary.
    pub(crate) fn copy_for(&self, options: &Options, binary: &Path) -> Outcome<Self> {
        let copy = Self { operator: self.operator.clone(), members: self.members.clone(), ..Self::new(options, binary)? };
        copy_folder(&self.data(), &copy.data())?;
        Ok(copy)
    }

    /// The same, whose shards are in other databases, by names and URLs.
    pub(crate) fn copy_onto(&self, options: &Options, shards: &[(&str, &str)]) -> Outcome<Self> {
        Ok(Self { members: members(shards), ..self.copy(options)? })
    }

    /// The same house, whose one shard is read on a standby as well, however far behind that is.
    pub(crate) fn beside_standby(self, name: &str, url: &str, standby: &str) -> Self {
        let member = format!("[{{name=\"{name}\", url=\"{url}\", replicas=[\"{standby}\"], replica_lag_max=\"1h\"}}]");
        Self { members: Some(member), ..self }
    }

    /// A house where people live and have published posts, and whose first user is an operator. No server runs.
    pub(crate) async fn settled(options: &Options, users: usize, posts: usize) -> Outcome<(Self, People)> {
        Self::settled_on(options, users, posts, &[]).await
    }

    /// The same with its shards in databases, by names and URLs; none are the four files of the data folder.
    pub(crate) async fn settled_on(options: &Options, users: usize, posts: usize, shards: &[(&str, &str)]) -> Outcome<(Self, People)> {
        progress(&format!("{users} users and {posts} posts"));
        let mut house = Self::new(options, &options.server)?;
        house.members = members(shards);
        let server = house.open(&[]).await?;
        let people = People::settle(&server, users, posts).await?;
        server.stop().await?;
        house.run(&["user", "admin", &people::username(0)])?;
        house.operator = house.tokens(&[people::username(0)])?.pop();
        Ok((house, people))
    }

    /// Access tokens of users, in the order of their names.
    pub(crate) fn tokens(&self, names: &[String]) -> Outcome<Vec<String>> {
        let mut tokens = Vec::with_capacity(names.len());
        for names in names.chunks(TOKENS_AT_ONCE) {
            let arguments: Vec<&str> = ["token", "--ttl", "1h"].into_iter().chain(names.iter().map(String::as_str)).collect();
            let output = self.run(&arguments)?;
            tokens.extend(output.lines().map(str::trim).filter(|line| line.matches('.').count() == 2).map(str::to_owned));
        }
        if tokens.len() == names.len() { Ok(tokens) } else { Err("not a token for each name".into()) }
    }

    /// Runs another command of the binary on the data; what it printed.
    pub(crate) fn run(&self, arguments: &[&str]) -> Outcome<String> {
        let mut command = Command::new(&self.binary);
        command.args(arguments).arg("--data").arg(self.data()).current_dir(self.folder.path()).envs(self.environment());
        let output = command.output()?;
        if output.status.success() {
            Ok(String::from_utf8(output.stdout)?)
        } else {
            Err(format!("{arguments:?}: {}", String::from_utf8_lossy(&output.stderr)).into())
        }
    }

    fn environment(&self) -> impl Iterator<Item = (&str, &str)> {
        self.members.iter().map(|members| ("SOSIK__SHARDS__MEMBERS", members.as_str()))
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Starts a server on free ports; `settings` are keys of the configuration with their values, others are variables (in capitals).
    pub(crate) fn start(&self, settings: &[(&str, &str)]) -> Outcome<Server> {
        self.start_at(SocketAddr::from(([127, 0, 0, 1], 0)), settings)
    }

    /// The same, at an address.
    pub(crate) fn start_at(&self, public: SocketAddr, settings: &[(&str, &str)]) -> Outcome<Server> {
        let log = std::fs::File::create(self.folder.path().join("log"))?;
        let mut command = Command::new(&self.binary);
        command.args(["serve", "--bind", &public.to_string(), "--admin-bind", "127.0.0.1:0", "--data"]).arg(self.data());
        command.current_dir(self.folder.path()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        command
            .envs(self.environment())
            .env("SOSIK__LIMITS__ENABLED", "false")
            .env("SOSIK__AUTH__ACCESS_TTL", "1h")
            .env("SOSIK__TELEMETRY__LOG", "warn");
        for (key, value) in settings {
            let is_variable = key.chars().all(|character| character.is_ascii_uppercase());
            let name = if is_variable { (*key).to_owned() } else { format!("SOSIK__{}", key.to_uppercase().replace('.', "__")) };
            command.env(name, value);
        }
        let began = Instant::now();
        let mut child = command.spawn()?;
        let mut output = BufReader::new(child.stdout.take().ok_or("no standard output")?);
        let mut line = String::new();
        output.read_line(&mut line)?;
        let start = began.elapsed();
        let (public, admin) = addresses(line.trim()).ok_or_else(|| {
            let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            format!("the server did not start: {line}{log}")
        })?;
        Ok(Server { public, admin, start, operator: self.operator.clone(), child, _output: output })
    }

    /// Starts a server and waits until it is ready.
    pub(crate) async fn open(&self, settings: &[(&str, &str)]) -> Outcome<Server> {
        self.start(settings)?.ready().await
    }
}

/// The value of `shards.members` for shards in databases.
fn members(shards: &[(&str, &str)]) -> Option<String> {
    let members: Vec<String> = shards.iter().map(|(name, url)| format!("{{name=\"{name}\", url=\"{url}\"}}")).collect();
    (!members.is_empty()).then(|| format!("[{}]", members.join(", ")))
}

/// From `sosik listening on http://A (admin http://B)`.
fn addresses(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let (public, admin) = line.strip_prefix("sosik listening on http://")?.strip_suffix(')')?.split_once(" (admin http://")?;
    Some((public.parse().ok()?, admin.parse().ok()?))
}

impl Server {
    /// Waits until it is ready.
    pub(crate) async fn ready(self) -> Outcome<Self> {
        let began = Instant::now();
        let probe = request("GET", "/readyz", None, None);
        while began.elapsed() < START_LIMIT {
            if let Ok(mut connection) = Connection::open(self.public).await
                && connection.exchange(&probe).await.is_ok_and(|response| response.status == 200)
            {
                return Ok(self);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Err("the server does not become ready".into())
    }

    /// Ends it with SIGTERM.
    pub(crate) async fn stop(mut self) -> Outcome<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let began = Instant::now();
        while began.elapsed() < STOP_LIMIT {
            if let Some(status) = self.child.try_wait()? {
                return if status.success() { Ok(()) } else { Err(format!("the server ended with {status}").into()) };
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Err("the server does not end".into())
    }

    /// Resident memory in MiB, now and at its highest.
    pub(crate) fn resident_mib(&self) -> Outcome<(f64, f64)> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok().map(|kib| kib / 1024.0)
        };
        field("VmRSS:").zip(field("VmHWM:")).ok_or_else(|| "no memory figures in /proc".into())
    }

    /// Entries that are accepted and not applied yet: exact for an operator, else as the metrics told last.
    pub(crate) async fn waiting(&self) -> Outcome<u64> {
        let mut connection = Connection::open(self.admin).await?;
        if let Some(token) = &self.operator {
            let journal = connection.json(&request("GET", "/admin/journal", Some(token), None), 200).await?;
            return journal["waiting_entries"].as_u64().ok_or_else(|| format!("no waiting_entries in {journal}").into());
        }
        tokio::time::sleep(METRICS_AGE_MAX).await;
        self.metric(WAITING_METRIC).await
    }

    /// A metric, summed over its labels; 0 while nothing has counted it.
    pub(crate) async fn metric(&self, name: &str) -> Outcome<u64> {
        Ok(self.figure(name).await? as u64)
    }

    /// The same with its fraction. A name with labels is for these alone.
    pub(crate) async fn figure(&self, name: &str) -> Outcome<f64> {
        let text = Connection::open(self.admin).await?.text(&request("GET", "/metrics", None, None)).await?;
        let values = text.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            let value = if rest.starts_with('{') { rest.rsplit('}').next() } else { Some(rest) };
            value?.trim().parse::<f64>().ok()
        });
        Ok(values.sum())
    }

    /// Notices that reached the shard of their recipient since the start.
    pub(crate) async fn notices_told(&self) -> Outcome<u64> {
        self.metric(TOLD_METRIC).await
    }

    /// Waits until so many notices were delivered since the start; the time it took.
    pub(crate) async fn told(&self, notices: u64, limit: Duration) -> Outcome<Duration> {
        let began = Instant::now();
        loop {
            let told = self.notices_told().await?;
            if told >= notices {
                return Ok(began.elapsed());
            }
            if began.elapsed() > limit {
                return Err(format!("{told} of {notices} notices were told after {limit:?}").into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until everything is applied, and everybody was told of it.
    pub(crate) async fn all_told(&self, limit: Duration) -> Outcome<Duration> {
        let began = Instant::now();
        self.drained(limit).await?;
        let mut quiet = 0;
        while quiet < QUIET_LOOKS {
            if began.elapsed() > limit {
                return Err(format!("not everybody was told after {limit:?}").into());
            }
            tokio::time::sleep(DISPATCHERS_TELL_EVERY).await;
            let left = self.metric(UNTOLD_METRICS[0]).await? + self.metric(UNTOLD_METRICS[1]).await?;
            quiet = if left == 0 { quiet + 1 } else { 0 };
        }
        Ok(began.elapsed())
    }

    /// Waits until nothing waits: the time it took.
    pub(crate) async fn drained(&self, limit: Duration) -> Outcome<Duration> {
        self.drained_to(0, limit).await
    }

    /// Waits until no more than so many entries wait: the time it took.
    pub(crate) async fn drained_to(&self, entries: u64, limit: Duration) -> Outcome<Duration> {
        let began = Instant::now();
        while self.waiting().await? > entries {
            if began.elapsed() > limit {
                return Err(format!("{} entries still wait after {limit:?}", self.waiting().await?).into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(began.elapsed())
    }
}

impl Target for Server {
    fn address(&self) -> SocketAddr {
        self.public
    }

    fn cpu_seconds(&self) -> Outcome<f64> {
        cpu_of(self.child.id())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only when it has ended, which is what is wanted.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// CPU seconds of this process.
pub(crate) fn cpu_of_self() -> Outcome<f64> {
    cpu_of(std::process::id())
}

/// CPU seconds, in user and system mode, of all threads of a process.
pub(crate) fn cpu_of(process: u32) -> Outcome<f64> {
    cpu_in(&std::fs::read_to_string(format!("/proc/{process}/stat"))?, OWN_TIME)
}

/// The same of its children that have ended and were waited for.
pub(crate) fn cpu_of_ended_children(process: u32) -> Outcome<f64> {
    cpu_in(&std::fs::read_to_string(format!("/proc/{process}/stat"))?, CHILDRENS_TIME)
}

fn cpu_in(stat: &str, [user, system]: [usize; 2]) -> Outcome<f64> {
    // The second field, the name, may hold spaces and ends with the last parenthesis.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok());
    ticks(user).zip(ticks(system)).map(|(user, system)| (user + system) / TICKS_A_SECOND).ok_or_else(|| "no CPU time in /proc".into())
}

fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_names_both_listeners() {
        let line = "sosik listening on http://127.0.0.1:4000 (admin http://127.0.0.1:4001)";

        let (public, admin) = addresses(line).expect("addresses");

        assert_eq!((public.port(), admin.port()), (4000, 4001));
    }

    #[test]
    fn cpu_time_is_read_behind_a_name_with_spaces() {
        let stat = "7 (a (b) c) S 1 7 7 0 -1 4194304 1 0 0 0 250 50 0 0 20 0 3 0 1 1 1";

        assert!((cpu_in(stat, OWN_TIME).expect("a time") - 3.0).abs() < 1e-9);
    }
}
