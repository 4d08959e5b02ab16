//! The data folder: one process at a time, one format, files that are whole or absent.
//!
//! [`DataFolder::open`] makes the folder if there is none, takes its lock until the value is dropped, and refuses what a newer release, or
//! something else, has written. [`write_atomically`] is the one way to replace a small file: after a crash it is the old one or the new one.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// The format of the data that this release writes, and the newest that it reads. Raised when an older release could not read it any more.
pub const FORMAT: u32 = 1;

const FORMAT_FILE: &str = "format";
const LOCK_FILE: &str = "lock";
/// What ends the name of a file that is not in force yet.
const TEMPORARY_SUFFIX: &str = ".new";
/// Only the owner reads or writes: journal, databases and keys are all secret.
const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
/// A lock file holds a process id, a format file a number: what is longer is not ours.
const SMALL_FILE_BYTES_MAX: u64 = 64;

/// Why the data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataFolderError {
    #[error("could not {action} {}", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the data folder {} is in use by {holder}: stop that one, or give this one another folder with --data", path.display())]
    InUse { path: PathBuf, holder: Holder },
    #[error("worker {worker} of datacenter {datacenter} is in use by {holder}: give this one another node.worker (0 to 31)")]
    WorkerInUse { datacenter: u8, worker: u8, holder: Holder },
    #[error("the data in {} has format {found}, this release reads up to {FORMAT}: use the newer release that wrote it", path.display())]
    Newer { path: PathBuf, found: u32 },
    #[error("{} holds \"{found}\" but no file \"format\": it is not a data folder of Sosik; name another folder with --data", path.display())]
    Foreign { path: PathBuf, found: String },
    #[error("{} does not hold a format number", path.display())]
    FormatUnreadable { path: PathBuf },
}

/// The process that holds a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder(Option<u32>);

impl std::fmt::Display for Holder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(pid) => write!(formatter, "the process {pid}"),
            None => formatter.write_str("another process"),
        }
    }
}

/// A data folder that is ours until this is dropped.
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
    _lock: LockFile,
}

/// A worker number that is ours until this is dropped.
#[derive(Debug)]
pub struct WorkerClaim {
    pub datacenter: u8,
    pub worker: u8,
    _lock: LockFile,
}

impl DataFolder {
    /// Takes the folder, and makes it first if there is none.
    pub fn open(path: &Path) -> Result<Self, DataFolderError> {
        let path = make_folder(path)?;
        let lock = LockFile::take(&path.join(LOCK_FILE))?.map_err(|holder| DataFolderError::InUse { path: path.clone(), holder })?;
        match read_format(&path)? {
            Some(_) => {}
            None => {
                refuse_foreign(&path)?;
                let file = path.join(FORMAT_FILE);
                write_atomically(&file, format!("{FORMAT}\n").as_bytes(), FILE_MODE).map_err(|source| DataFolderError::Io {
                    action: "write",
                    path: file,
                    source,
                })?;
            }
        }
        Ok(Self { path, _lock: lock })
    }

    /// Checks a folder that another process may be serving from, for commands that only need its keys.
    pub fn look(path: &Path) -> Result<PathBuf, DataFolderError> {
        let path = std::path::absolute(path).map_err(|source| DataFolderError::Io { action: "find", path: path.to_owned(), source })?;
        match read_format(&path)? {
            Some(_) => Ok(path),
            None => {
                let source = io::Error::new(io::ErrorKind::NotFound, "there is no data folder of Sosik");
                Err(DataFolderError::Io { action: "open", path, source })
            }
        }
    }

    /// Absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of a file in the folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

/// Takes a worker number on a data folder: no two live processes make ids with the same one.
pub fn claim_worker(folder: &Path, datacenter: u8, worker: u8) -> Result<WorkerClaim, DataFolderError> {
    let path = folder.join(format!("worker-{datacenter}-{worker}.lock"));
    let lock = LockFile::take(&path)?.map_err(|holder| DataFolderError::WorkerInUse { datacenter, worker, holder })?;
    Ok(WorkerClaim { datacenter, worker, _lock: lock })
}

/// Replaces a file so that after a crash it holds either the old bytes or the new ones, and on return, durably, the new ones.
pub fn write_atomically(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let temporary = write_temporary(path, bytes, mode)?;
    std::fs::rename(temporary, path)?;
    sync_folder(path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")))
}

/// Writes the new bytes beside the old ones, durably. Until the rename, nothing has changed.
fn write_temporary(path: &Path, bytes: &[u8], mode: u32) -> io::Result<PathBuf> {
    let mut name = path.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a path without a file name"))?.to_owned();
    name.push(TEMPORARY_SUFFIX);
    let temporary = path.with_file_name(name);
    // One left over by a crash may have other rights.
    match std::fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(temporary)
}

/// Makes the names in a folder durable.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn make_folder(path: &Path) -> Result<PathBuf, DataFolderError> {
    let failed = |source| DataFolderError::Io { action: "make the folder", path: path.to_owned(), source };
    let path = std::path::absolute(path).map_err(failed)?;
    if !path.is_dir() {
        make_folders(&path, FOLDER_MODE).map_err(failed)?;
    }
    Ok(path)
}

/// Makes a folder, if it is not there, and those above it that are not. The names of all of them are durable on return.
pub fn make_folders(path: &Path, mode: u32) -> io::Result<()> {
    let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) else {
        return DirBuilder::new().recursive(true).mode(mode).create(path);
    };
    if !parent.is_dir() {
        make_folders(parent, mode)?;
    }
    match DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists || !path.is_dir() => Err(error),
        _ => sync_folder(parent),
    }
}

fn read_format(folder: &Path) -> Result<Option<u32>, DataFolderError> {
    let path = folder.join(FORMAT_FILE);
    let text = match read_small(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(DataFolderError::Io { action: "read", path, source }),
    };
    match text.trim().parse::<u32>() {
        Ok(found) if found > FORMAT => Err(DataFolderError::Newer { path: folder.to_owned(), found }),
        Ok(found) if found > 0 => Ok(Some(found)),
        _ => Err(DataFolderError::FormatUnreadable { path }),
    }
}

/// The format is the first file that is written: without it the folder must be empty, but for locks and what a crash left of the format.
fn refuse_foreign(folder: &Path) -> Result<(), DataFolderError> {
    let failed = |source| DataFolderError::Io { action: "list", path: folder.to_owned(), source };
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
        // A file system of its own has lost+found.
        let ours =
            name == LOCK_FILE || name.ends_with(".lock") || name == format!("{FORMAT_FILE}{TEMPORARY_SUFFIX}") || name == "lost+found";
        if !ours {
            return Err(DataFolderError::Foreign { path: folder.to_owned(), found: name });
        }
    }
    Ok(())
}

fn read_small(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(SMALL_FILE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// A file that is locked as long as this lives; the system unlocks it when the process ends, however it ends. The file stays.
#[derive(Debug)]
struct LockFile {
    _file: File,
}

impl LockFile {
    /// `Ok(Err(holder))`: another process, or another place in this one, has it.
    fn take(path: &Path) -> Result<Result<Self, Holder>, DataFolderError> {
        let failed = |action| move |source| DataFolderError::Io { action, path: path.to_owned(), source };
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(FILE_MODE).open(path);
        let mut file = opened.map_err(failed("open"))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(Err(Holder(read_small(path).ok().and_then(|text| text.trim().parse().ok())))),
            Err(error) => return Err(failed("lock")(error.into())),
        }
        // Only to be read by people and by the refusal above: no need to sync it.
        let written = file.set_len(0).and_then(|()| file.seek(SeekFrom::Start(0))).and_then(|_| writeln!(file, "{}", std::process::id()));
        written.map_err(failed("write"))?;
        Ok(Ok(Self { _file: file }))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).expect("exists").permissions().mode() & 0o777
    }

    #[test]
    fn a_new_folder_is_for_its_owner_only_and_has_a_format() {
        let parent = tempfile::tempdir().expect("a folder");

        let folder = DataFolder::open(&parent.path().join("a/b")).expect("opens");

        assert_eq!(mode(folder.path()), 0o700);
        assert_eq!(mode(&folder.file("format")), 0o600);
        assert_eq!(mode(&folder.file("lock")), 0o600);
        assert_eq!(std::fs::read_to_string(folder.file("format")).expect("reads"), "1\n");
    }

    #[test]
    fn folders_are_made_with_those_above_them_and_a_file_in_the_way_is_told() {
        let parent = tempfile::tempdir().expect("a folder");
        let (deep, file) = (parent.path().join("a/b/c"), parent.path().join("file"));
        std::fs::write(&file, "x").expect("writes");

        make_folders(&deep, 0o700).expect("makes");
        make_folders(&deep, 0o700).expect("is there");

        assert_eq!((mode(&deep), mode(&parent.path().join("a"))), (0o700, 0o700));
        assert!(make_folders(&file, 0o700).is_err() && make_folders(&file.join("d"), 0o700).is_err());
    }

    #[test]
    fn a_folder_in_use_is_refused_with_the_process_and_free_again_afterwards() {
        let parent = tempfile::tempdir().expect("a folder");
        let folder = DataFolder::open(parent.path()).expect("opens");

        let refused = DataFolder::open(parent.path()).expect_err("in use").to_string();

        assert!(refused.contains(&format!("the process {}", std::process::id())) && refused.contains("--data"), "{refused}");
        assert!(DataFolder::look(parent.path()).is_ok(), "looking needs no lock");
        drop(folder);
        assert!(DataFolder::open(parent.path()).is_ok());
    }

    #[test]
    fn a_worker_number_in_use_is_refused_and_another_one_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let claim = claim_worker(folder.path(), 0, 7).expect("free");

        let refused = claim_worker(folder.path(), 0, 7).expect_err("in use").to_string();

        assert!(refused.contains(&format!("the process {}", std::process::id())) && refused.contains("node.worker"), "{refused}");
        assert!(claim_worker(folder.path(), 0, 8).is_ok());
        assert!(claim_worker(folder.path(), 1, 7).is_ok());
        drop(claim);
        assert!(claim_worker(folder.path(), 0, 7).is_ok());
    }

    #[test]
    fn a_newer_format_is_refused_naming_both() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("format"), "2\n").expect("writes");

        let refused = DataFolder::open(folder.path()).expect_err("newer").to_string();

        assert!(refused.contains("format 2") && refused.contains("up to 1"), "{refused}");
        assert!(matches!(DataFolder::look(folder.path()), Err(DataFolderError::Newer { found: 2, .. })));
    }

    #[test]
    fn a_folder_with_other_things_in_it_and_an_unreadable_format_are_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("thesis.tex"), "x").expect("writes");
        assert!(matches!(DataFolder::open(folder.path()), Err(DataFolderError::Foreign { found, .. }) if found == "thesis.tex"));

        std::fs::write(folder.path().join("format"), "one\n").expect("writes");
        assert!(matches!(DataFolder::open(folder.path()), Err(DataFolderError::FormatUnreadable { .. })));
    }

    #[test]
    fn what_a_crash_left_of_the_first_start_is_no_hindrance() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("lock"), "1\n").expect("writes");
        std::fs::write(folder.path().join("format.new"), "").expect("writes");

        assert!(DataFolder::open(folder.path()).is_ok());
    }

    #[test]
    fn replacing_a_file_leaves_no_trace_and_sets_its_rights() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("keys");
        std::fs::write(&path, "old").expect("writes");
        std::fs::write(folder.path().join("keys.new"), "half").expect("writes");

        write_atomically(&path, b"new", 0o600).expect("writes");

        assert_eq!(std::fs::read(&path).expect("reads"), b"new");
        assert_eq!(mode(&path), 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).expect("lists").count(), 1);
    }

    #[test]
    fn a_crash_before_the_rename_leaves_the_old_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("format");
        write_atomically(&path, b"old", 0o600).expect("writes");

        // What a crash at the worst moment leaves: all of the new bytes, not yet in force.
        write_temporary(&path, b"new", 0o600).expect("writes");

        assert_eq!(std::fs::read(&path).expect("reads"), b"old");
        write_atomically(&path, b"newer", 0o600).expect("writes over what was left");
        assert_eq!(std::fs::read(&path).expect("reads"), b"newer");
    }
}
