//! Makes the next segment file ahead of its use, on a thread of its own, so that rotation does not wait for the disk.
//!
//! The file is filled with zeros and synced: a later sync of frames in it writes data only, no metadata of the file system.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use super::disk;

/// The name of the file until it becomes a segment.
pub(super) const PREPARED_NAME: &str = "next.prepared";
/// How much is zeroed at once, and how long the disk is left to others after it: the syncs of the journal do not queue behind zeros.
const ZERO_BYTES: usize = 256 * 1024;
const ZERO_PAUSE: Duration = Duration::from_millis(4);

/// The one who prepares. One file at a time.
pub(super) struct Preparer {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    path: PathBuf,
    segment_bytes: u64,
    state: Mutex<State>,
    changed: Condvar,
    /// Somebody waits for the file.
    hurry: AtomicBool,
}

enum State {
    Idle,
    Wanted,
    Working,
    Ready(File),
    Failed(io::Error),
    Stopped,
}

impl Preparer {
    pub(super) fn start(directory: &Path, segment_bytes: u64) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            path: directory.join(PREPARED_NAME),
            segment_bytes,
            state: Mutex::new(State::Idle),
            changed: Condvar::new(),
            hurry: AtomicBool::new(false),
        });
        let theirs = shared.clone();
        let thread = std::thread::Builder::new().name("journal-prepare".to_owned()).spawn(move || theirs.run())?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    pub(super) fn path(&self) -> &Path {
        &self.shared.path
    }

    /// Asks for a file ahead of time.
    pub(super) fn request(&self) {
        let mut state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*state, State::Idle) {
            *state = State::Wanted;
            self.shared.changed.notify_all();
        }
    }

    /// The prepared file. If it could not be made ahead, it is tried once more now.
    pub(super) fn take(&self) -> io::Result<File> {
        let mut state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*state, State::Idle | State::Failed(_)) {
            *state = State::Wanted;
            self.shared.changed.notify_all();
        }
        while matches!(*state, State::Wanted | State::Working) {
            self.shared.hurry.store(true, Ordering::Relaxed);
            state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        match std::mem::replace(&mut *state, State::Idle) {
            State::Ready(file) => Ok(file),
            State::Failed(error) => Err(error),
            _ => Err(io::Error::other("the journal is closed")),
        }
    }

    /// Ends the thread and takes the unused file away.
    pub(super) fn stop(&self) {
        let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        *self.shared.state.lock().unwrap_or_else(PoisonError::into_inner) = State::Stopped;
        self.shared.hurry.store(true, Ordering::Relaxed);
        self.shared.changed.notify_all();
        if thread.join().is_err() {
            tracing::error!("the journal's preparing thread panicked");
        }
        if let Err(error) = disk::remove_file(&self.shared.path) {
            tracing::warn!(%error, file = %disk::shown(&self.shared.path), "could not remove the prepared segment");
        }
    }
}

impl Drop for Preparer {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn run(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match *state {
                State::Stopped => return,
                State::Wanted => {
                    *state = State::Working;
                    drop(state);
                    let made = make_blank_file(&self.path, self.segment_bytes, &self.hurry);
                    self.hurry.store(false, Ordering::Relaxed);
                    state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                    if !matches!(*state, State::Stopped) {
                        *state = made.map_or_else(State::Failed, State::Ready);
                    }
                    self.changed.notify_all();
                }
                _ => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

/// Makes a synced file of zeros, without pauses once there is a `hurry`. Nothing is left of it after an error.
pub(super) fn make_blank_file(path: &Path, bytes: u64, hurry: &AtomicBool) -> io::Result<File> {
    disk::remove_file(path)?;
    let file = disk::create_file(path)?;
    match fill(&file, bytes, hurry) {
        Ok(()) => Ok(file),
        Err(error) => {
            disk::remove_file(path)?;
            Err(error)
        }
    }
}

fn fill(file: &File, bytes: u64, hurry: &AtomicBool) -> io::Result<()> {
    // Says at once whether there is room, and gets it in one piece; some file systems cannot.
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, bytes) {
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
        Err(error) => return Err(error.into()),
    }
    let zeros = vec![0; ZERO_BYTES.min(bytes as usize)];
    let mut offset = 0;
    while offset < bytes {
        let length = zeros.len().min((bytes - offset) as usize);
        file.write_all_at(&zeros[..length], offset)?;
        rustix::fs::fdatasync(file)?;
        offset += length as u64;
        if !hurry.load(Ordering::Relaxed) {
            std::thread::sleep(ZERO_PAUSE);
        }
    }
    file.sync_all()
}
