//! `sosik serve`: everything, until a signal.

use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

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
        let mut terminate = signal(SignalKind::terminate()).map_err(CliError::while_doing("listen for signals"))?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(CliError::while_doing("listen for signals"))?;
        let app = App::start(config, telemetry, clock(), &groups).await?;
        let (public, admin) = app.addresses();
        say(&format!("sosik listening on http://{public} (admin http://{admin})"));
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = app.should_start_again() => {
                let _in_time = tokio::time::timeout(STOP_BEFORE_START, app.stop()).await;
                return Err(start_again(public, admin));
            }
        }
        if planted("app::skip_drain") {
            // As a process that does not hear the signal: at once, with nothing finished.
            std::process::exit(DIED_OF_SIGTERM);
        }
        // Further signals are heard and change nothing: the way down is bounded already.
        app.stop().await;
        Ok(())
    });
    threads.end();
    served
}

/// Starts this program anew in this process, where it listens now; comes back only if that fails. What was accepted is in the journal, so
/// that it matters to nobody how far the way down had come.
fn start_again(public: SocketAddr, admin: SocketAddr) -> CliError {
    let failed = |source: std::io::Error| CliError::while_doing("start again")(source);
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return failed(error),
    };
    let mut command = std::process::Command::new(program);
    command.args(std::env::args_os().skip(1));
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
