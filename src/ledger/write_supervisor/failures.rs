//! What the supervisor does with a job that was not done: again, one by one, as a dead letter, or not before the next start.
//!
//! A job and its error go in; the queue gets it back. Nothing is dropped here.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;

use super::{CursorsMoved, InFlight, Retry, WriteSupervisor};
use crate::ledger::job::Job;
use crate::ledger::settlement;
use crate::ledger::write_worker::{JobError, told};
use crate::substrate::store::StoreError;
use crate::substrate::store::rows::LaneRow;
use crate::support::faults::planted;

/// Tries of a job that fails without its database being down.
const ATTEMPTS_MAX: u32 = 3;
/// No pause is longer: a shard that comes back is noticed soon.
const PAUSE_LONGEST: Duration = Duration::from_secs(2);
/// A shard that is down for so many tries in a row counts as stopped: its share of the queue is bounded.
const FAILURES_UNTIL_STOPPED: u32 = 3;

impl WriteSupervisor {
    pub(super) fn not_done(&mut self, flight: InFlight, error: &JobError, context: &mut Context<Self>) {
        if self.broken {
            self.retries.push_back(Retry { job: flight.job, attempts: flight.attempts, delivery: flight.delivery });
        } else if error.is_conflict() {
            self.conflicted(flight, error);
        } else if error.is_shard_down() {
            self.shard_down(flight, error, context);
        } else if error.is_fenced() {
            self.fenced(flight, context);
        } else if error.is_broken_shard() && !planted("supervisor::bury_broken") {
            self.shard_broken(flight, error);
        } else {
            self.failed(flight, error, context);
        }
    }

    fn shard_down(&mut self, flight: InFlight, error: &JobError, context: &mut Context<Self>) {
        self.failures += 1;
        self.failures_in_row += 1;
        let reason = told(error);
        if self.down.as_ref() != Some(&reason) {
            tracing::warn!(shard = %self.shard().name, error = %reason, "the shard's database does not take writes; trying again");
        }
        self.down = Some(reason);
        if self.failures_in_row >= FAILURES_UNTIL_STOPPED {
            self.ledger.backlog.set_stopped(self.shard, true);
        }
        self.retries.push_back(Retry { job: flight.job, attempts: flight.attempts, delivery: flight.delivery });
        self.pause(context);
    }

    /// The database holds what it must not, and who writes on would build upon it, so nobody does. Nothing is wrong with the job: it is kept, and done
    /// after the next start.
    fn shard_broken(&mut self, flight: InFlight, error: &JobError) {
        self.failures += 1;
        self.broken = true;
        self.shard().store.stop();
        let reason = told(error);
        tracing::error!(
            shard = %self.shard().name, job = flight.job.name(), rows = flight.job.rows(), error = %reason,
            "the shard's database broke what must hold, and gets no more writes: stop the server, mend the database or put a good copy \
             in its place, and start again; what was accepted for it is kept and applied then"
        );
        self.down = Some(reason);
        self.ledger.backlog.set_stopped(self.shard, true);
        self.retries.push_back(Retry { job: flight.job, attempts: flight.attempts, delivery: flight.delivery });
    }

    /// The database chose another transaction over this one. It chooses one of two, so that somebody always goes on.
    fn conflicted(&mut self, flight: InFlight, error: &JobError) {
        tracing::debug!(shard = %self.shard().name, job = flight.job.name(), error = %told(error), "rolled back for another; again at once");
        metrics::counter!("sosik_conflicts_total", "shard" => self.shard().name.to_string()).increment(1);
        self.retries.push_back(Retry { job: flight.job, attempts: flight.attempts, delivery: flight.delivery });
    }

    fn failed(&mut self, flight: InFlight, error: &JobError, context: &mut Context<Self>) {
        self.failures += 1;
        self.panics += u64::from(matches!(error, JobError::Panicked(_)));
        let (attempts, job) = (flight.attempts + 1, flight.job);
        let reason = told(error);
        tracing::error!(shard = %self.shard().name, job = job.name(), rows = job.rows(), attempts, error = %reason, "a job failed");
        if attempts < ATTEMPTS_MAX {
            self.retries.push_back(Retry { job, attempts, delivery: flight.delivery });
            self.pause(context);
            return;
        }
        match job.as_ref() {
            Job::Batch(runs) => match runs.as_slice() {
                [run] if run.entries.len() == 1 => {
                    let bury = Job::Bury { run: run.clone(), error: reason, died_at: self.ledger.clock.now() };
                    self.retries.push_back(Retry { job: Arc::new(bury), attempts: 0, delivery: None });
                }
                runs => runs.iter().for_each(|run| self.lanes.put_back(run, true)),
            },
            // Relayed rows cannot be refused, and a dead letter that cannot be stored must not be lost: the shard is broken.
            Job::Deliver(_) | Job::Relayed(_) | Job::Bury { .. } => {
                self.down = Some(reason);
                self.ledger.backlog.set_stopped(self.shard, true);
                self.retries.push_back(Retry { job, attempts: ATTEMPTS_MAX - 1, delivery: flight.delivery });
                self.pause(context);
            }
        }
    }

    /// A lane or a cursor was further than we knew: a commit succeeded although its answer did not come. Look where the lanes are.
    fn fenced(&mut self, flight: InFlight, context: &mut Context<Self>) {
        if let Some(ticket) = flight.delivery {
            if let Job::Deliver(parcels) = flight.job.as_ref() {
                let relays = parcels.iter().flat_map(|parcel| &parcel.relays).map(|(_, relay)| relay);
                settlement::maybe_delivered(&self.ledger, relays);
            }
            ticket.answer(Err(CursorsMoved));
            return;
        }
        tracing::warn!(shard = %self.shard().name, job = flight.job.name(), "a lane was further than known; looking where it is");
        self.paused = true;
        let store = self.shard().store.clone();
        let looked = async move { store.snapshot().await?.lanes().await };
        context.spawn(looked.into_actor(self).map(move |rows: Result<_, StoreError>, supervisor, context| {
            supervisor.paused = false;
            match rows {
                Ok(rows) => supervisor.catch_up(&flight.job, &rows),
                Err(error) => supervisor.not_done(flight, &JobError::Store(error), context),
            }
            supervisor.step(context);
        }));
    }

    fn catch_up(&mut self, job: &Job, rows: &[LaneRow]) {
        let runs = match job {
            Job::Batch(runs) => runs.as_slice(),
            Job::Bury { run, .. } => std::slice::from_ref(run),
            Job::Deliver(_) | Job::Relayed(_) => &[],
        };
        for run in runs {
            self.lanes.put_back(run, false);
            let Some(row) = rows.iter().find(|row| row.lane == run.lane) else { continue };
            let applied = self.lanes.catch_up(run.lane, row.applied);
            settlement::found_applied(&self.ledger, self.shard, run.lane, row.applied, &applied);
        }
    }

    fn pause(&mut self, context: &mut Context<Self>) {
        if self.paused {
            return;
        }
        self.paused = true;
        context.run_later(self.pause, |supervisor, context| {
            supervisor.paused = false;
            supervisor.step(context);
        });
        self.pause = (self.pause * 2).min(PAUSE_LONGEST);
    }
}
