//! Which shard is ill, for faults that read it from a file: it is known only when posts lie on it.

use crate::support::server::Settings;

/// A file that says which shard is ill, from now on.
pub(crate) struct Ill(tempfile::NamedTempFile);

impl Ill {
    /// None yet.
    pub(crate) fn new() -> Self {
        Self(tempfile::NamedTempFile::new().expect("a file"))
    }

    /// `of`: what ails it.
    pub(crate) fn fault(&self, of: &str) -> Settings {
        Settings::default().fault((of, &self.action()))
    }

    pub(crate) fn action(&self) -> String {
        format!("return({})", self.0.path().display())
    }

    pub(crate) fn set(&self, shard: &str) {
        std::fs::write(self.0.path(), shard).expect("it is written");
    }
}
