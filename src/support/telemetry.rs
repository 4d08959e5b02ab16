//! What operators see: log lines on standard error, and metrics as Prometheus reads them. Takes events and numbers from everywhere, promises that a
//! panic is logged too, and that what is recorded stays bounded as long as [`Telemetry::upkeep`] is called.

use std::io::IsTerminal;
use std::panic::PanicHookInfo;
use std::path::Path;
use std::time::Instant;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use super::config::{self, LogFormat};

/// Upper bounds of the buckets of times, from a look into memory to a caller who has given up.
const SECONDS_BUCKETS: [f64; 16] = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Upper bounds of the buckets of everything else that is counted in a histogram: entries of a batch, records of a group.
const SIZE_BUCKETS: [f64; 12] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0, 2_000.0, 5_000.0];

/// Why there are no logs or metrics.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("telemetry.log is not a filter")]
    Filter(#[source] ParseError),
    #[error("could not install the log")]
    Log(#[source] TryInitError),
    #[error("could not install the metrics")]
    Metrics(#[source] BuildError),
}

/// The metrics of this process.
#[derive(Clone)]
pub struct Telemetry {
    metrics: PrometheusHandle,
    started: Instant,
}

/// Libraries that tell at `info` what is no news to an operator, and one that calls it an error when we end a connection, or a client
/// breaks the rules of WebSockets. What the
/// configuration says of them comes after and wins.
const QUIET: &str = "sea_orm_migration=warn,actix_server=warn,actix_http::h1::dispatcher=off,actix_http::ws=off";

/// Installs log, metrics and panic hook for the whole process; once. To be called before anything records: mailboxes and
/// limiters keep the handles that they get.
pub fn install(config: &config::Telemetry) -> Result<Telemetry, TelemetryError> {
    let filter = EnvFilter::builder().parse(format!("{QUIET},{}", config.log)).map_err(TelemetryError::Filter)?;
    let is_terminal = std::io::stderr().is_terminal();
    let registry = tracing_subscriber::registry().with(filter);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let installed = match config.format {
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).try_init(),
        LogFormat::Auto if !is_terminal => registry.with(lines.json().flatten_event(true)).try_init(),
        LogFormat::Auto | LogFormat::Text => registry.with(lines.compact().with_ansi(is_terminal)).try_init(),
    };
    installed.map_err(TelemetryError::Log)?;
    let metrics = builder().and_then(PrometheusBuilder::install_recorder).map_err(TelemetryError::Metrics)?;
    log_panics();
    Ok(Telemetry { metrics, started: Instant::now() })
}

impl Telemetry {
    /// The page at `/metrics`.
    pub fn render(&self) -> String {
        metrics::gauge!("sosik_uptime_seconds").set(self.started.elapsed().as_secs_f64());
        if let Some(bytes) = resident_bytes() {
            metrics::gauge!("process_resident_memory_bytes").set(bytes as f64);
        }
        if let Some(seconds) = processor_seconds() {
            metrics::gauge!("process_cpu_seconds_total").set(seconds);
        }
        if let Some(count) = open_files() {
            metrics::gauge!("process_open_fds").set(count as f64);
        }
        self.metrics.render()
    }

    /// Folds what histograms have collected. Due every few seconds: they keep each value until then, some tens of thousands a second at worst.
    pub fn upkeep(&self) {
        self.metrics.run_upkeep();
    }
}

fn builder() -> Result<PrometheusBuilder, BuildError> {
    PrometheusBuilder::new().set_buckets(&SIZE_BUCKETS)?.set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS_BUCKETS)
}

/// The memory that the process really holds; `None` where the system does not say.
pub fn resident_bytes() -> Option<u64> {
    resident_bytes_in(&std::fs::read_to_string("/proc/self/status").ok()?)
}

fn resident_bytes_in(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Processor time of all threads so far, in user and in kernel mode; `None` where the system does not say.
pub fn processor_seconds() -> Option<f64> {
    processor_ticks_in(&std::fs::read_to_string("/proc/self/stat").ok()?)
        .map(|ticks| ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// Fields 14 and 15 of proc_pid_stat(5). The second is a name in parentheses, and may hold anything.
fn processor_ticks_in(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

/// Files and sockets that are open; `None` where the system does not say.
pub fn open_files() -> Option<u64> {
    let count = std::fs::read_dir(Path::new("/proc/self/fd")).ok()?.count() as u64;
    // The folder that is being listed is one of them.
    Some(count.saturating_sub(1))
}

/// A panic is a fault of ours: it must be in the log, with its place, wherever the thread's owner takes it to.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current().name().unwrap_or("unnamed").to_owned();
        let backtrace = std::backtrace::Backtrace::capture();
        let backtrace = if backtrace.status() == std::backtrace::BacktraceStatus::Captured { backtrace.to_string() } else { String::new() };
        metrics::counter!("sosik_panics_total").increment(1);
        tracing::error!(panic.place = %place, thread.name = %thread, panic.backtrace = %backtrace, "panic: {}", message_of(panic));
    }));
}

fn message_of<'a>(panic: &'a PanicHookInfo<'_>) -> &'a str {
    panic.payload_as_str().unwrap_or("a value that is not text")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Telemetry with a recorder of its own: the process-wide one can be installed only once.
    fn local() -> (Telemetry, metrics_exporter_prometheus::PrometheusRecorder) {
        let recorder = builder().expect("buckets").build_recorder();
        (Telemetry { metrics: recorder.handle(), started: Instant::now() }, recorder)
    }

    #[test]
    fn the_page_shows_what_was_recorded_and_how_the_process_is() {
        let (telemetry, recorder) = local();

        let page = metrics::with_local_recorder(&recorder, || {
            metrics::counter!("sosik_test_total", "kind" => "a").increment(3);
            metrics::histogram!("sosik_test_seconds").record(0.002);
            telemetry.upkeep();
            telemetry.render()
        });

        assert!(page.contains(r#"sosik_test_total{kind="a"} 3"#), "{page}");
        assert!(page.contains(r#"sosik_test_seconds_bucket{le="0.0025"} 1"#), "{page}");
        assert!(page.contains(r#"sosik_test_seconds_bucket{le="0.001"} 0"#), "{page}");
        for gauge in ["sosik_uptime_seconds", "process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds"] {
            assert!(page.lines().any(|line| line.starts_with(gauge)), "{gauge} is missing in {page}");
        }
    }

    #[test]
    fn the_resident_memory_is_read_in_bytes() {
        assert_eq!(resident_bytes_in("Name:\tsosik\nVmHWM:\t  9 kB\nVmRSS:\t    1234 kB\n"), Some(1234 * 1024));
        assert_eq!(resident_bytes_in("Name:\tsosik\n"), None);
        assert!(resident_bytes().is_some_and(|bytes| bytes > 1 << 20));
    }

    #[test]
    fn processor_time_is_that_of_both_modes_whatever_the_name() {
        let stat = "7 (a (b) c) S 1 7 7 0 -1 4194560 900 0 0 0 120 30 0 0 20 0 9 0 100 1 2";

        assert_eq!(processor_ticks_in(stat), Some(150));
        assert_eq!(processor_ticks_in("7 (x) S 1"), None);
    }

    #[test]
    fn an_open_file_is_counted() {
        let before = open_files().expect("the system says");
        // Neighbours open and close files too: more of them than any neighbour has.
        let files: Vec<_> = (0..200).map(|_| std::fs::File::open("/dev/null").expect("opens")).collect();

        assert!(open_files().expect("the system says") >= before + 100);
        drop(files);
    }
}
