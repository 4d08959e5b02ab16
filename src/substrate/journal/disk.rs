//! The few things that the journal asks of a file system, and which failures of it mean "no room".

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::io::Errno;

use crate::support::data_folder::make_folders;
use crate::support::faults::planted;

/// Makes a file that only its owner may read; it must not exist.
pub(super) fn create_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

/// Opens a file to read and write, and makes it if it is not there.
pub(super) fn open_or_create_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

pub(super) fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path)
}

pub(super) fn open_file_to_read(path: &Path) -> io::Result<File> {
    File::open(path)
}

/// Makes a directory that only its owner may enter, with its parents, whose names are durable on return.
pub(super) fn create_directory(path: &Path) -> io::Result<()> {
    make_folders(path, 0o700)
}

/// Makes the names in a directory durable: without it a new file may be gone after a power cut, with all that was synced to it.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    fail::fail_point!("journal::directory_full", |_| Err(Errno::NOSPC.into()));
    File::open(path)?.sync_all()
}

/// Makes the bytes of a file durable. An error must end the process: Linux reports it once and marks the pages clean.
pub(super) fn sync_data(file: &File) -> io::Result<()> {
    match sync_once(file) {
        Err(_) if planted("journal::retry_sync") => sync_once(file),
        synced => synced,
    }
}

fn sync_once(file: &File) -> io::Result<()> {
    fail::fail_point!("journal::skip_sync", |_| Ok(()));
    fail::fail_point!("journal::sync_fails", |_| Err(Errno::IO.into()));
    rustix::fs::fdatasync(file)?;
    Ok(())
}

/// Removes a file that may be gone already.
pub(super) fn remove_file(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Whether a failure means only that there is no room: on the disk, in the quota, or under the limit of file sizes.
pub(super) fn is_out_of_room(error: &io::Error) -> bool {
    let of = |errno: Errno| error.raw_os_error() == Some(errno.raw_os_error());
    of(Errno::NOSPC) || of(Errno::DQUOT) || of(Errno::FBIG)
}

/// A path as error messages and reports name it.
pub(super) fn shown(path: &Path) -> String {
    path.display().to_string()
}
