//! `sosik serve`: everything, until a signal.

use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{CliError, say};
use crate::app::App;
use crate::app::threads::Threads;
use crate::support::clock::Clock;
use crate::support::config::Config;
use crate::support::faults::planted;
use crate::support::small_pages::take_small_pages;
use crate::support::telemetry;

/// How long the way down may take where it is followed by a start: the writes of a primary that is gone would hold it up.
const STOP_BEFORE_START: Duration = Duration::from_secs(5);
/// What a shell reports of a process that SIGTERM killed.
const DIED_OF_SIGTERM: i32 = 128 + 15;

pub(super) fn serve(config: Config) -> Result<(), CliError> {
    let telemetry = Arc::new(telemetry::install(&config.telemetry).map_err(CliError::while_doing("install the log"))?);
    take_small_pages();
    #[cfg(feature = "faults")]
    let _scenario = fail::FailScenario::setup();
    let threads = Threads::start(&config)?;
    let groups = threads.groups();
    let served = actix_web::rt::System::new().block_on(async move {
        let mut signals = Signals::catch().map_err(CliError::while_doing("listen for signals"))?;
        // Nothing is served yet, and what was accepted before stays in the journal.
        let app = tokio::select! {
            app = App::start(config, telemetry, clock(), &groups) => app?,
            () = signals.heard() => return Ok(()),
        };
        let (public, admin) = app.addresses();
        say(&format!("sosik listening on http://{public} (admin http://{admin})"));
        let is_to_end = tokio::select! {
            () = signals.heard() => true,
            () = app.should_start_again() => false,
        };
        if is_to_end && planted("app::skip_drain") {
            // As a process that does not hear the signal: at once, with nothing finished.
            std::process::exit(DIED_OF_SIGTERM);
        }
        if is_to_end {
            // Further signals are heard and change nothing: the way down is bounded already.
            app.stop().await;
            return Ok(());
        }
        let mut stopped = std::pin::pin!(tokio::time::timeout(STOP_BEFORE_START, app.stop()));
        tokio::select! {
            biased;
            () = signals.heard() => {
                let _in_time = stopped.await;
                Ok(())
            }
            _in_time = &mut stopped => Err(start_again(public, admin)),
        }
    });
    threads.end();
    served
}

/// What asks the process to end.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From here on they end nothing by themselves.
    fn catch() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn heard(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Starts this program anew in this process, where it listens now; comes back only if that fails. What was accepted is in the journal, so
/// that it matters to nobody how far the way down had come.
fn start_again(public: SocketAddr, admin: SocketAddr) -> CliError {
    let failed = |source: std::io::Error| CliError::while_doing("start again")(source);
    let mut arguments = std::env::args_os();
    // Where another file has taken the program's place meanwhile, this one is found only here.
    let program = std::env::current_exe().ok().filter(|program| program.exists()).unwrap_or_else(|| PathBuf::from("/proc/self/exe"));
    let mut command = std::process::Command::new(&program);
    command.arg0(arguments.next().unwrap_or_else(|| program.into_os_string()));
    command.args(arguments);
    command.args([format!("--bind={public}"), format!("--admin-bind={admin}")]);
    failed(command.exec())
}

#[cfg(not(feature = "faults"))]
fn clock() -> Arc<dyn Clock> {
    Arc::new(crate::support::clock::SystemClock)
}

/// A test can set the clock of the whole process wrong.
#[cfg(feature = "faults")]
fn clock() -> Arc<dyn Clock> {
    Arc::new(crate::support::faults::SkewedClock)
}
