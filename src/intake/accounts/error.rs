//! Why sign-in said no.

use super::seam::{DecideError, ShardUnavailable};
use crate::support::auth::hashing::HashingError;
use crate::support::auth::password_rules::PasswordError;
use crate::support::auth::token::SignError;
use crate::support::error_kind::ErrorKind;
use crate::support::snowflake::IdError;
use crate::vocabulary::rejection::Rejection;
use crate::vocabulary::text::TextError;

#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    #[error("{field} is not acceptable")]
    Text {
        field: &'static str,
        #[source]
        source: TextError,
    },
    #[error("{field} is not acceptable")]
    Password {
        field: &'static str,
        #[source]
        source: PasswordError,
    },
    #[error("the username is taken")]
    UsernameTaken,
    /// One and the same for an unknown user and a wrong password.
    #[error("the username or the password is wrong")]
    WrongCredentials,
    #[error("the current password is wrong")]
    WrongPassword,
    /// Also for a refresh token that is not ours, was used before, or is past its time.
    #[error("the session has ended")]
    SessionEnded,
    #[error("the token does not belong to a session of this server")]
    NoSession,
    #[error("there is no such session")]
    SessionNotFound,
    #[error("too many attempts")]
    TooMany { retry_after_s: u64 },
    #[error("could not check the password")]
    Hashing(#[source] HashingError),
    #[error("could not decide the write")]
    Decide(#[source] DecideError),
    #[error("could not read the account")]
    Shard(#[source] ShardUnavailable),
    #[error("the write was rejected unexpectedly: {0:?}")]
    Rejected(Rejection),
    #[error("could not make an id")]
    Id(#[source] IdError),
    #[error("could not sign a token")]
    Sign(#[source] SignError),
}

impl AccountError {
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Text { .. } | Self::Password { .. } => ErrorKind::Invalid,
            Self::UsernameTaken => ErrorKind::UsernameTaken,
            Self::WrongCredentials | Self::SessionEnded => ErrorKind::Unauthenticated,
            Self::WrongPassword | Self::NoSession => ErrorKind::Forbidden,
            Self::SessionNotFound => ErrorKind::NotFound,
            Self::TooMany { retry_after_s } => ErrorKind::TooManyRequests { retry_after_s: *retry_after_s },
            Self::Hashing(HashingError::Busy { expected_wait }) => {
                // Whole seconds, rounded up: coming too early only makes it worse.
                ErrorKind::Overloaded { retry_after_s: expected_wait.as_secs() + 1 }
            }
            Self::Hashing(HashingError::Stopped) => ErrorKind::Unavailable { retry_after_s: 1 },
            Self::Decide(error) => error.kind(),
            Self::Shard(error) => error.kind(),
            Self::Hashing(_) | Self::Rejected(_) | Self::Id(_) | Self::Sign(_) => ErrorKind::Internal,
        }
    }

    /// What was wrong with the input: the field, a code for machines, a sentence for people.
    pub fn invalid(&self) -> Option<(&'static str, &'static str, String)> {
        match self {
            Self::Text { field, source } => Some((field, source.code(), source.to_string())),
            Self::Password { field, source } => Some((field, source.code(), source.to_string())),
            _ => None,
        }
    }
}

impl DecideError {
    pub fn kind(&self) -> ErrorKind {
        match *self {
            Self::Overloaded { retry_after_s } => ErrorKind::Overloaded { retry_after_s },
            Self::Unavailable { retry_after_s } => ErrorKind::Unavailable { retry_after_s },
            Self::Indefinite => ErrorKind::Indefinite,
        }
    }
}

impl ShardUnavailable {
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::Unavailable { retry_after_s: self.retry_after_s }
    }
}
