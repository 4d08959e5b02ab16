//! The directory of the key files: for the owner's eyes only (S46).

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

/// Only the user that runs the server may read a secret.
pub(super) const SECRET_FILE_MODE: u32 = 0o600;
const SECRET_DIR_MODE: u32 = 0o700;

/// Makes the directory if it is missing, and takes other users' rights to it away.
pub(super) fn ensure_secret_dir(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(SECRET_DIR_MODE).create(dir)?;
    fs::set_permissions(dir, fs::Permissions::from_mode(SECRET_DIR_MODE))
}
