//! A body must arrive in time. The framework has a deadline for the head of a request only: a client that sends a byte a
//! minute would hold its place for ever.

use std::time::Duration;

use crate::api::problem::{Problem, ProblemName};

/// 256 KiB in this time is 9 KiB a second: slower than any phone that is worth waiting for.
const BODY_DEADLINE: Duration = Duration::from_secs(30);

/// What `reading` gives, or a problem when it takes too long. The clock starts with the first poll and does not stop for bytes
/// that trickle in.
pub(crate) async fn within<T>(reading: impl Future<Output = T>) -> Result<T, Problem> {
    tokio::time::timeout(BODY_DEADLINE, reading)
        .await
        .map_err(|_cause: tokio::time::error::Elapsed| Problem::new(ProblemName::RequestTimeout).closing())
}
