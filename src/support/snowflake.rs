//! Ids: where and when. Takes the time, gives numbers that never repeat and only rise; waits for the disk at most when its reservation has run
//! out, and for nothing else.
//!
//! The clock may be set back at any moment, also between two lives of the process. So time is *reserved* before it is used: the file says
//! up to which millisecond ids may have been made, it is durable before the first id of that time is given out, and the next life starts
//! above it. If the clock stands, or is behind, or 4096 ids a millisecond are not enough, the count goes on from the last id, borrowing the
//! milliseconds to come, and the reservation moves on from there.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use super::clock::Clock;
use super::data_folder::{WorkerClaim, write_atomically};
use super::faults::planted;
use crate::vocabulary::ids::{DATACENTER_BITS, ID_EPOCH_MS, SEQUENCE_BITS, WORKER_BITS};

/// How far ahead of the clock time is reserved: few writes of the file, and a restart after a crash skips at most that much.
const RESERVE_AHEAD_MS: u64 = 3_000;
/// How far ahead of the count, where it runs before the clock: 400 000 ids. Small, so that many restarts do not drift into the future.
const RESERVE_COUNTING_MS: u64 = 100;
/// The last millisecond that fits into 41 bits: in the year 2094.
const TICK_MAX: u64 = (1 << 41) - 1;
const FILE_MODE: u32 = 0o600;

/// Why there is no id.
#[derive(Debug, thiserror::Error)]
pub enum IdError {
    #[error("could not {action} the id reservation {}", path.display())]
    Reservation {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the id reservation {} is not a number: restore it, or write a time in milliseconds above that of the latest id into it", path.display())]
    Unreadable { path: PathBuf },
    #[error("no ids are left: the clock is past the year 2094, or was, and ids were made then")]
    Exhausted,
}

/// Makes the ids of one datacenter and worker. Shared by all threads.
pub struct IdMaker {
    shared: Arc<Shared>,
    renewer: Option<JoinHandle<()>>,
}

struct Shared {
    clock: Arc<dyn Clock>,
    /// Datacenter and worker, in their place within an id.
    place: u64,
    /// The last id given out: its millisecond since the epoch of ids ("tick"), then its sequence.
    last: AtomicU64,
    /// Ids of ticks below this may be given out: the file says so, durably.
    reserved_until: AtomicU64,
    /// From this tick on the reservation is renewed in the background.
    renew_at: AtomicU64,
    renewal_wanted: AtomicBool,
    closing: AtomicBool,
    path: PathBuf,
    /// Held while the file is written.
    writing: Mutex<()>,
    /// Nobody else makes ids with our numbers while this lives.
    _claim: WorkerClaim,
}

impl IdMaker {
    /// Starts above all ids that an earlier life of this datacenter and worker may have made on this folder.
    pub fn open(folder: &Path, claim: WorkerClaim, clock: Arc<dyn Clock>) -> Result<Self, IdError> {
        let path = folder.join(format!("ids-{}-{}", claim.datacenter, claim.worker));
        let reserved = read_reservation(&path)?.unwrap_or(0);
        let now = tick_of(clock.now());
        if reserved > now + RESERVE_AHEAD_MS {
            tracing::warn!(ahead.ms = reserved - now, "the clock is behind the last ids: counting on from there");
        }
        // The first candidate is the first id of this tick; never id 0, which is no id.
        let start = reserved.max(1);
        let shared = Arc::new(Shared {
            place: (u64::from(claim.datacenter) << (SEQUENCE_BITS + WORKER_BITS)) | (u64::from(claim.worker) << SEQUENCE_BITS),
            clock,
            last: AtomicU64::new((start << SEQUENCE_BITS) - 1),
            reserved_until: AtomicU64::new(0),
            renew_at: AtomicU64::new(u64::MAX),
            renewal_wanted: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            path,
            writing: Mutex::new(()),
            _claim: claim,
        });
        shared.reserve(start.max(now))?;
        let renewing = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("ids".to_owned()).spawn(move || renewing.renew_when_asked());
        let renewer =
            thread.map_err(|source| IdError::Reservation { action: "start the thread for", path: shared.path.clone(), source })?;
        Ok(Self { shared, renewer: Some(renewer) })
    }

    /// The next id: above all before it. An error only if the disk does not take a reservation that has run out.
    pub fn next(&self) -> Result<u64, IdError> {
        let shared = &self.shared;
        loop {
            let last = shared.last.load(Ordering::Relaxed);
            let next = (last + 1).max(tick_of(shared.clock.now()) << SEQUENCE_BITS);
            let candidate = if planted("snowflake::repeat") { last } else { next };
            let tick = candidate >> SEQUENCE_BITS;
            if tick >= shared.reserved_until.load(Ordering::Acquire) {
                shared.reserve(tick)?;
                continue;
            }
            if shared.last.compare_exchange_weak(last, candidate, Ordering::AcqRel, Ordering::Relaxed).is_err() {
                continue;
            }
            if tick >= shared.renew_at.load(Ordering::Relaxed) {
                self.ask_for_renewal();
            }
            let sequence = candidate & ((1 << SEQUENCE_BITS) - 1);
            return Ok((tick << (SEQUENCE_BITS + WORKER_BITS + DATACENTER_BITS)) | shared.place | sequence);
        }
    }

    fn ask_for_renewal(&self) {
        if let Some(renewer) = &self.renewer
            && !self.shared.renewal_wanted.swap(true, Ordering::AcqRel)
        {
            renewer.thread().unpark();
        }
    }
}

impl Drop for IdMaker {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::Release);
        if let Some(renewer) = self.renewer.take() {
            renewer.thread().unpark();
            // A panic there has been logged, and does not matter any more.
            let _ = renewer.join();
        }
    }
}

impl Shared {
    /// Makes ids of `tick` allowed: on return, the file says so.
    fn reserve(&self, tick: u64) -> Result<(), IdError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if tick < self.reserved_until.load(Ordering::Acquire) {
            return Ok(());
        }
        self.extend(tick)
    }

    /// Moves the reservation on. The lock must be held.
    fn extend(&self, tick: u64) -> Result<(), IdError> {
        let now = tick_of(self.clock.now());
        let until = (now + RESERVE_AHEAD_MS).max(tick + RESERVE_COUNTING_MS).max(self.reserved_until.load(Ordering::Acquire));
        if tick >= TICK_MAX || until > TICK_MAX {
            return Err(IdError::Exhausted);
        }
        write_reservation(&self.path, until)?;
        self.renew_at.store(until - (until - tick.max(now).min(until)) / 2, Ordering::Relaxed);
        self.reserved_until.store(until, Ordering::Release);
        Ok(())
    }

    /// The background: renews before the reservation runs out, so that nobody waits for the disk while ids are made steadily.
    fn renew_when_asked(&self) {
        while !self.closing.load(Ordering::Acquire) {
            if !self.renewal_wanted.swap(false, Ordering::AcqRel) {
                std::thread::park();
                continue;
            }
            let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
            let tick = self.last.load(Ordering::Acquire) >> SEQUENCE_BITS;
            if tick < self.renew_at.load(Ordering::Relaxed) {
                continue;
            }
            if let Err(error) = self.extend(tick) {
                // Whoever needs an id after the reservation tries again, and hears of it.
                tracing::warn!(error = &error as &dyn std::error::Error, "could not renew the id reservation in the background");
                self.renew_at.store(u64::MAX, Ordering::Relaxed);
            }
        }
    }
}

fn tick_of(now: u64) -> u64 {
    now.saturating_sub(ID_EPOCH_MS)
}

/// The tick up to which ids may have been made. The file holds milliseconds since the Unix epoch, for people.
fn read_reservation(path: &Path) -> Result<Option<u64>, IdError> {
    match std::fs::read_to_string(path) {
        Ok(text) => {
            let until = text.trim().parse::<u64>().ok().filter(|until| *until >= ID_EPOCH_MS && tick_of(*until) <= TICK_MAX);
            until.map(|until| Some(tick_of(until))).ok_or_else(|| IdError::Unreadable { path: path.to_owned() })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(IdError::Reservation { action: "read", path: path.to_owned(), source }),
    }
}

fn write_reservation(path: &Path, until: u64) -> Result<(), IdError> {
    fail::fail_point!("snowflake::skip_reservation", |_| Ok(()));
    fail::fail_point!("snowflake::full", |_| {
        Err(IdError::Reservation { action: "write", path: path.to_owned(), source: rustix::io::Errno::NOSPC.into() })
    });
    write_atomically(path, format!("{}\n", until + ID_EPOCH_MS).as_bytes(), FILE_MODE).map_err(|source| IdError::Reservation {
        action: "write",
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests;
