//! Who a bearer token stands for: on the way of every request, so what was verified once is remembered by the token's hash.
//!
//! A token in, an identity out. A remembered identity is never used beyond the token's end, after its session has ended, or after the
//! keys that we sign with changed. Bounded: the least used tokens are forgotten, and verified again.

use std::time::Duration;

use aws_lc_rs::digest;
use moka::sync::Cache;

use super::{AccountError, Accounts};
use crate::substrate::store::rows::Role;
use crate::support::auth::token::{TOKEN_BYTES_MAX, TokenError, Verified};
use crate::support::error_kind::ErrorKind;
use crate::support::faults::planted;
use crate::vocabulary::Millis;
use crate::vocabulary::ids::{SessionId, UserId};

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    pub user: UserId,
    /// `None` for tokens of foreign issuers and of operators.
    pub session: Option<SessionId>,
    pub role: Role,
    /// The end of the token.
    pub expires_at: Millis,
}

/// Why a token lets nobody in.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    #[error("the token is not valid")]
    Token(#[source] TokenError),
    #[error("the session of the token has ended")]
    SessionEnded,
    /// It may be good: what is needed to judge it cannot be read now.
    #[error("the token cannot be judged now")]
    Unavailable { retry_after_s: u64 },
    #[error("could not find the user of the token")]
    Account(#[source] AccountError),
}

impl AuthError {
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Token(_) | Self::SessionEnded => ErrorKind::Unauthenticated,
            Self::Unavailable { retry_after_s } => ErrorKind::Unavailable { retry_after_s: *retry_after_s },
            // Whether the user was made is not the caller's concern: his own request has not begun.
            Self::Account(error) => match error.kind() {
                ErrorKind::Indefinite => ErrorKind::Unavailable { retry_after_s: 1 },
                kind => kind,
            },
        }
    }
}

type TokenHash = [u8; 32];

#[derive(Clone, Copy)]
struct Remembered {
    identity: Identity,
    /// The generation of our keys that it was verified with.
    keys: u64,
}

pub(super) struct IdentityCache(Cache<TokenHash, Remembered>);

impl IdentityCache {
    pub(super) fn new(tokens_max: u64, access_ttl: Duration) -> Self {
        // The end of each token is checked at each use; the time to live only gives the room back.
        Self(Cache::builder().max_capacity(tokens_max).time_to_live(access_ttl).build())
    }
}

impl Accounts {
    /// Who the token stands for. A remembered token costs a hash and a look-up; a new one a signature, and a foreign one also reads.
    pub async fn authenticate(&self, bearer: &str) -> Result<Identity, AuthError> {
        if bearer.len() > TOKEN_BYTES_MAX {
            return Err(AuthError::Token(TokenError::TooLarge));
        }
        let now = self.now();
        let hash = token_hash(bearer);
        let keys = self.parts.tokens.keys();
        keys.reload_if_changed(now);
        let identity = match self.cache.0.get(&hash) {
            Some(known) if known.keys == keys.generation() && now < known.identity.expires_at => known.identity,
            _ => {
                // Boxed: the rare way must not make the future of every request large.
                let (identity, keys) = Box::pin(self.verify(bearer, now)).await?;
                self.cache.0.insert(hash, Remembered { identity, keys });
                identity
            }
        };
        self.check_session(identity.user, identity.session)?;
        Ok(identity)
    }

    /// Whether the user's session still lives: for streams, which outlast a request.
    pub fn check_session(&self, user: UserId, session: Option<SessionId>) -> Result<(), AuthError> {
        if planted("sessions::skip_revocation") {
            return Ok(());
        }
        let Some(session) = session else { return Ok(()) };
        if !self.revocations.is_loaded(self.parts.ledger.shard_of(user)) {
            return Err(AuthError::Unavailable { retry_after_s: 1 });
        }
        if self.revocations.is_ended(session) { Err(AuthError::SessionEnded) } else { Ok(()) }
    }

    async fn verify(&self, bearer: &str, now: Millis) -> Result<(Identity, u64), AuthError> {
        let tokens = &self.parts.tokens;
        let verified = match tokens.verify(bearer, now) {
            Err(TokenError::UnknownKey { foreign: Some(place) }) => {
                tokens.issuers().refresh_for_unknown_key(place, now).await;
                let again = tokens.verify(bearer, now);
                if again.is_err() && !tokens.issuers().has_keys(place, now) {
                    return Err(AuthError::Unavailable { retry_after_s: 60 });
                }
                again
            }
            verified => verified,
        };
        let keys = tokens.keys().generation();
        let identity = match verified.map_err(AuthError::Token)? {
            Verified::Own { user, session, admin, expires_at } => {
                Identity { user, session, role: if admin { Role::Admin } else { Role::User }, expires_at }
            }
            Verified::Foreign { issuer, subject, name, expires_at } => {
                let issuer = tokens.issuers().name(issuer).ok_or(AuthError::Token(TokenError::Issuer))?;
                let (user, role) = self.user_of_subject(issuer, &subject, name).await.map_err(AuthError::Account)?;
                Identity { user, session: None, role, expires_at }
            }
        };
        Ok((identity, keys))
    }
}

fn token_hash(bearer: &str) -> TokenHash {
    let digest = digest::digest(&digest::SHA256, bearer.as_bytes());
    let mut hash = TokenHash::default();
    hash.copy_from_slice(digest.as_ref());
    hash
}
