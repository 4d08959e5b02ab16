//! The short closed list of what can go wrong, as far as a caller is concerned. Each stage's error answers `kind()`; only
//! `api` turns kinds into statuses.

/// What kind of failure it is. Waits are in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    Malformed,
    Invalid,
    Unauthenticated,
    Forbidden,
    NotFound,
    Gone,
    UsernameTaken,
    Conflict,
    PreconditionFailed,
    TooManyRequests {
        retry_after_s: u64,
    },
    Overloaded {
        retry_after_s: u64,
    },
    Unavailable {
        retry_after_s: u64,
    },
    /// It may still happen.
    Indefinite,
    Internal,
    KeyReused,
    KeyInUse,
}
