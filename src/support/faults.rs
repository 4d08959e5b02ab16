//! Planted faults. In a build with the feature `faults` a test can switch each on by its name; in any other build none exists.

/// Whether a fault is switched on.
#[inline(always)]
#[cfg_attr(not(feature = "faults"), expect(unused_variables, reason = "no fault exists in this build"))]
pub fn planted(name: &'static str) -> bool {
    fail::fail_point!(name, |_| true);
    false
}

#[cfg(feature = "faults")]
pub use with_faults::*;

#[cfg(feature = "faults")]
mod with_faults {
    use std::time::Duration;

    use super::super::clock::{Clock, SystemClock};
    use crate::vocabulary::Millis;
    use crate::vocabulary::command::{Command, Entry};

    /// What a fault was switched on with: `name=return(text)`.
    pub fn planted_text(name: &'static str) -> Option<String> {
        fail::fail_point!(name, |text| text);
        None
    }

    /// Panics on an entry whose body holds the word of `apply::poison`.
    pub fn poison(entry: &Entry) {
        let body = match &entry.command {
            Command::CreatePost { body, .. } | Command::EditPost { body, .. } => body.as_str(),
            Command::CreateComment { body, .. } | Command::EditComment { body, .. } => body.as_str(),
            _ => return,
        };
        if planted_text("apply::poison").is_some_and(|word| body.contains(&word)) {
            std::panic::resume_unwind(Box::new("a planted poison".to_owned()));
        }
    }

    /// Holds up the jobs of one shard as long as `store::hold` names it.
    pub async fn hold_shard(shard: &str) {
        while planted_text("store::hold").is_some_and(|name| name == shard) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Whether `store::unavailable` names this shard, or a file in which its name stands.
    pub fn is_unavailable(shard: &str) -> bool {
        planted_text("store::unavailable").is_some_and(|text| names(&text, shard))
    }

    /// The same of `apply::invariant_broken`.
    pub fn is_broken(shard: &str) -> bool {
        planted_text("apply::invariant_broken").is_some_and(|text| names(&text, shard))
    }

    /// The same of `store::sync_fails`; the file is gone afterwards, so that it happens once.
    pub fn sync_fails(shard: &str) -> bool {
        planted_text("store::sync_fails").is_some_and(|text| names(&text, shard) && std::fs::remove_file(text).is_ok())
    }

    fn names(text: &str, shard: &str) -> bool {
        text == shard || std::fs::read_to_string(text).is_ok_and(|name| name == shard)
    }

    /// Whether the file that `store::read_only` names holds the name of this shard's file; nothing if the fault is not planted.
    pub fn is_read_only(shard: &str) -> Option<bool> {
        let list = planted_text("store::read_only")?;
        Some(std::fs::read_to_string(list).is_ok_and(|name| name == shard))
    }

    /// Holds up the thread that begins something on a shard's file, as long as the file that `store::file_hangs` names holds its name.
    pub fn hang_file(path: &std::path::Path) {
        let is_named =
            |list: String| std::fs::read_to_string(list).is_ok_and(|name| path.file_stem().is_some_and(|stem| stem == name.as_str()));
        while planted_text("store::file_hangs").is_some_and(is_named) {
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Makes a commit last as long as `store::slow_commit` says, in milliseconds.
    pub async fn slow_commit() {
        pause("store::slow_commit").await;
    }

    /// Waits as long as the fault says, in milliseconds, without holding up its thread.
    pub async fn pause(name: &'static str) {
        if let Some(milliseconds) = planted_text(name).and_then(|text| text.parse().ok()) {
            tokio::time::sleep(Duration::from_millis(milliseconds)).await;
        }
    }

    /// Holds up the first who comes here while the gate, a file that the fault names, is there. A file beside it says that he has come.
    pub async fn gate(name: &'static str) {
        let Some(gate) = planted_text(name).map(std::path::PathBuf::from).filter(|gate| gate.exists()) else { return };
        let is_first = std::fs::File::create_new(gate.with_extension("reached")).is_ok();
        while is_first && gate.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The machine's clock, off by what `clock::offset` says, in milliseconds; negative: behind.
    pub struct SkewedClock;

    impl Clock for SkewedClock {
        fn now(&self) -> Millis {
            let offset = planted_text("clock::offset").and_then(|text| text.parse().ok()).unwrap_or(0);
            SystemClock.now().saturating_add_signed(offset)
        }
    }
}
