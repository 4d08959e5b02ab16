//! What the journal expects of its shards: a small file beside the segments, by which an older copy of a shard is told from the present one.
//!
//! What is entered is durable on return, and was true of the shard before. So a shard that has less lacks something that the journal no
//! longer holds. Full: a reserve on the disk is given up for it, since what is entered lets segments go, and their room comes back.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde::{Deserialize, Serialize};

use super::disk;
use crate::substrate::store::Tenure;
use crate::support::data_folder::write_atomically;
use crate::support::lock::lock;
use crate::vocabulary::ids::Position;

const FILE: &str = "shards.json";
const RESERVE_FILE: &str = "reserve";
/// Enough for the file, whose new version stands beside the old one for a moment, and for what the directory may take.
const RESERVE_BYTES: usize = 64 * 1024;
const FILE_MODE: u32 = 0o600;

/// What is expected of one shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// The primary that may be written to: no other.
    pub tenure: Tenure,
    /// The journal may have given back entries of the shard up to here, so it must have them.
    pub complete_to: Position,
    /// What the journal held when another primary took over: readers may have seen it, so none is let in before the shard has it again. It
    /// stays when they are, since what was applied once is there at every later start.
    #[serde(default, skip_serializing_if = "is_start")]
    pub read_from: Position,
}

fn is_start(position: &Position) -> bool {
    *position == Position::START
}

#[derive(Debug, thiserror::Error)]
pub enum ExpectationsError {
    #[error("could not {action} {}", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} cannot be read", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
}

/// The expectations of one journal, by the shards' names.
#[derive(Debug)]
pub struct Expectations {
    path: PathBuf,
    shards: Mutex<BTreeMap<String, Expected>>,
}

impl Expectations {
    /// Those of the journal in `folder`; none if it has no such file yet. Blocking, as is [`Expectations::set`].
    pub fn open(folder: &Path) -> Result<Self, ExpectationsError> {
        let path = folder.join(FILE);
        let shards = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|source| ExpectationsError::Unreadable { path: path.clone(), source })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(source) => return Err(ExpectationsError::Io { action: "read", path, source }),
        };
        Ok(Self { path, shards: Mutex::new(shards) })
    }

    /// What is expected of a shard; `None` of one that this journal has not met.
    pub fn of(&self, shard: &str) -> Option<Expected> {
        lock(&self.shards).get(shard).copied()
    }

    /// Enters what is true of these shards, durably.
    pub fn set<'name>(&self, news: impl IntoIterator<Item = (&'name str, Expected)>) -> Result<(), ExpectationsError> {
        let mut shards = lock(&self.shards);
        let mut next = shards.clone();
        next.extend(news.into_iter().map(|(shard, expected)| (shard.to_owned(), expected)));
        if next == *shards {
            return Ok(());
        }
        let bytes = serde_json::to_vec(&next).map_err(|source| ExpectationsError::Unreadable { path: self.path.clone(), source })?;
        let reserve = self.path.with_file_name(RESERVE_FILE);
        let mut written = self.write(&bytes);
        if written.as_ref().is_err_and(disk::is_out_of_room) && std::fs::remove_file(&reserve).is_ok() {
            written = self.write(&bytes);
        }
        written.map_err(|source| ExpectationsError::Io { action: "write", path: self.path.clone(), source })?;
        *shards = next;
        drop(shards);
        if !reserve.exists()
            && let Err(error) = write_atomically(&reserve, &[0; RESERVE_BYTES], FILE_MODE)
        {
            tracing::warn!(%error, "there is no room for the journal's reserve; it is tried again when segments were given back");
        }
        Ok(())
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        fail::fail_point!("expectations::full", |_| Err(rustix::io::Errno::NOSPC.into()));
        write_atomically(&self.path, bytes, FILE_MODE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_takes_what_lets_segments_go_as_long_as_there_is_a_reserve() {
        let scenario = fail::FailScenario::setup();
        let folder = tempfile::tempdir().expect("a folder");
        let expectations = Expectations::open(folder.path()).expect("opens");
        let expected = |complete_to| Expected { complete_to: Position(complete_to), ..Expected::default() };
        expectations.set([("s1", expected(7))]).expect("writes");
        let reserve = folder.path().join(RESERVE_FILE);
        assert_eq!(std::fs::metadata(&reserve).expect("a reserve").len(), RESERVE_BYTES as u64);

        fail::cfg("expectations::full", "1*return->off").expect("a fault");
        expectations.set([("s1", expected(8))]).expect("the reserve makes room");
        std::fs::remove_file(&reserve).expect("there is room for a new one");
        fail::cfg("expectations::full", "return").expect("a fault");
        let full = expectations.set([("s1", expected(9))]);

        assert!(matches!(full, Err(ExpectationsError::Io { action: "write", .. })), "{full:?}");
        assert_eq!(Expectations::open(folder.path()).expect("opens").of("s1"), Some(expected(8)));
        scenario.teardown();
    }

    #[test]
    fn what_was_entered_is_there_after_opening_again_and_what_is_torn_is_refused() {
        let _no_faults = fail::FailScenario::setup();
        let folder = tempfile::tempdir().expect("a folder");
        let expectations = Expectations::open(folder.path()).expect("opens");
        assert_eq!(expectations.of("s1"), None);
        let expected = |complete_to| Expected { complete_to: Position(complete_to), ..Expected::default() };
        expectations.set([("s1", expected(7)), ("s2", expected(8))]).expect("writes");
        let taken_over = Expected { read_from: Position(12), ..expected(9) };
        expectations.set([("s2", taken_over)]).expect("writes");

        let again = Expectations::open(folder.path()).expect("opens");
        assert_eq!((again.of("s1"), again.of("s2")), (Some(expected(7)), Some(taken_over)));

        let path = folder.path().join(FILE);
        let whole = std::fs::read(&path).expect("reads");
        std::fs::write(&path, &whole[..whole.len() / 2]).expect("writes");
        assert!(matches!(Expectations::open(folder.path()), Err(ExpectationsError::Unreadable { .. })));
    }
}
