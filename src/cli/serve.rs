//! `sosik serve`: everything, until a signal.

use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};

use super::{CliError, say};
use crate::app::{self, App};
use crate::support::clock::Clock;
use crate::support::config::Config;
use crate::support::faults::planted;
use crate::support::telemetry;

/// What a shell reports of a process that SIGTERM killed.
const DIED_OF_SIGTERM: i32 = 128 + 15;

pub(super) fn serve(config: Config) -> Result<(), CliError> {
    let telemetry = Arc::new(telemetry::install(&config.telemetry).map_err(CliError::while_doing("install the log"))?);
    #[cfg(feature = "faults")]
    let _scenario = fail::FailScenario::setup();
    let runtime = app::ledger_runtime()?;
    let ledger = runtime.handle().clone();
    let served = actix_web::rt::System::new().block_on(async move {
        let mut terminate = signal(SignalKind::terminate()).map_err(CliError::while_doing("listen for signals"))?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(CliError::while_doing("listen for signals"))?;
        let app = App::start(config, telemetry, clock(), &ledger).await?;
        let (public, admin) = app.addresses();
        say(&format!("sosik listening on http://{public} (admin http://{admin})"));
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        if planted("app::skip_drain") {
            // As a process that does not hear the signal: at once, with nothing finished.
            std::process::exit(DIED_OF_SIGTERM);
        }
        // Further signals are heard and change nothing: the way down is bounded already.
        app.stop().await;
        Ok(())
    });
    runtime.shutdown_background();
    served
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
