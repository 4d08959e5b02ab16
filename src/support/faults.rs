//! Faults that need more than a fail point: only in builds with the feature `faults`.

use super::clock::{Clock, SystemClock};
use crate::vocabulary::Millis;
use crate::vocabulary::command::{Command, Entry};

/// Panics on an entry whose body holds the word that a test planted: `apply::poison` says it.
pub fn poison(entry: &Entry) {
    let planted = || -> Option<String> {
        fail::fail_point!("apply::poison", |word| word);
        None
    };
    let body = match &entry.command {
        Command::CreatePost { body, .. } | Command::EditPost { body, .. } => body.as_str(),
        Command::CreateComment { body, .. } | Command::EditComment { body, .. } => body.as_str(),
        _ => return,
    };
    if planted().is_some_and(|word| body.contains(&word)) {
        std::panic::resume_unwind(Box::new("a planted poison".to_owned()));
    }
}

/// Holds up the jobs of one shard as long as `store::hold` names it.
pub async fn pause_shard(shard: &str) {
    let held = || -> Option<String> {
        fail::fail_point!("store::hold", |name| name);
        None
    };
    while held().is_some_and(|name| name == shard) {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// The machine's clock, set wrong by `SOSIK_TEST_CLOCK_OFFSET_MS`.
pub struct SkewedClock(i64);

impl SkewedClock {
    pub fn from_environment() -> Self {
        let offset = std::env::var("SOSIK_TEST_CLOCK_OFFSET_MS").ok().and_then(|text| text.parse().ok());
        Self(offset.unwrap_or(0))
    }
}

impl Clock for SkewedClock {
    fn now(&self) -> Millis {
        SystemClock.now().saturating_add_signed(self.0)
    }
}
