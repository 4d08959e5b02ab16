//! Key files on the disk: written whole or not at all, and for the owner's eyes only.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Only the user that runs the server may read a secret (S46).
pub(super) const SECRET_FILE_MODE: u32 = 0o600;
const SECRET_DIR_MODE: u32 = 0o700;

/// Makes the directory if it is missing, and takes other users' rights to it away.
pub(super) fn ensure_secret_dir(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(SECRET_DIR_MODE).create(dir)?;
    fs::set_permissions(dir, fs::Permissions::from_mode(SECRET_DIR_MODE))
}

/// Writes a file so that a crash leaves the old one or the new one: a temporary file is synced, renamed over `path`, and the
/// directory synced. The file has exactly `mode`, whatever the umask says.
pub(super) fn write_atomically(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a file needs a directory and a name"));
    };
    let temporary = dir.join(format!(".{}.{}.tmp", name.to_string_lossy(), std::process::id()));
    let written = write_synced(&temporary, bytes, mode).and_then(|()| fs::rename(&temporary, path));
    if let Err(error) = written {
        // What is left of the attempt is of no use; the first error is the one to tell.
        drop(fs::remove_file(&temporary));
        return Err(error);
    }
    fs::File::open(dir)?.sync_all()
}

fn write_synced(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path)?;
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.write_all(bytes)?;
    file.sync_all()
}
