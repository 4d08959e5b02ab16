//! Sign-in: accounts, sessions, and who a bearer token stands for.
//!
//! Names, passwords and tokens in; credentials and identities out. What changes an account is a command through the journal, and its
//! caller waits for the decision. A session's refresh token works once; using an older one again ends the session. An ended
//! session's access tokens are refused from the moment of the commit. An unknown user and a wrong password look the same from
//! outside, in words and in time. Full: hashing answers `Busy` with a wait; who tries too often gets 429 with a wait; the maps here
//! are bounded and forget the least used first.

mod authenticate;
mod chores;
mod error;
mod foreign;
mod limits;
mod password;
mod refresh;
mod register;
mod revocation;
mod seam;
mod sessions;
mod sign_in;

#[cfg(test)]
mod fake_ledger;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::substrate::store::rows::{AccountRow, Needs, Role, SessionRow};
use crate::support::auth::hashing::HashingPool;
use crate::support::auth::refresh::{RefreshClaims, RefreshTokens};
use crate::support::auth::secret::{AddressHasher, MasterSecret};
use crate::support::auth::token::{Claims, SignError, Signed, Tokens};
use crate::support::clock::Clock;
use crate::support::snowflake::IdError;
use crate::vocabulary::Millis;
use crate::vocabulary::command::{Command, NewSession};
use crate::vocabulary::ids::{Position, SessionId, UserId};
use crate::vocabulary::owner::Owner;

pub use authenticate::{AuthError, Identity};
pub use chores::Chores;
pub use error::AccountError;
pub use register::Registration;
pub use revocation::Revocations;
pub use seam::{AccountLedger, DecideError, Decision, EndedSession, ShardUnavailable};
pub use sessions::SessionView;

use authenticate::IdentityCache;
use chores::ChoreSender;
use limits::Limits;

/// How long a caller waits for a decision before he is told that it is open.
pub const DECIDE_WITHIN: Duration = Duration::from_secs(5);
/// A session ends so long after it was opened, however much it is used (ASVS V7.3.2).
pub const SESSION_LIFE_MAX_MS: u64 = 90 * 24 * 60 * 60 * 1000;
/// Sessions of one user that live at once: opening one more ends the least used.
pub const SESSIONS_MAX: usize = 100;

/// Makes a new Snowflake.
pub type Ids = Arc<dyn Fn() -> Result<u64, IdError> + Send + Sync>;

/// What the configuration says of sign-in.
#[derive(Debug, Clone, Copy)]
pub struct AccountSettings {
    pub access_ttl: Duration,
    pub refresh_ttl: Duration,
    pub limits_enabled: bool,
    /// Per address.
    pub logins_per_minute: u32,
    /// Per address.
    pub registrations_per_hour: u32,
    /// Tokens whose verified claims are remembered.
    pub cached_tokens: u64,
}

impl Default for AccountSettings {
    fn default() -> Self {
        Self {
            access_ttl: Duration::from_secs(10 * 60),
            refresh_ttl: Duration::from_secs(30 * 24 * 60 * 60),
            limits_enabled: true,
            logins_per_minute: 10,
            registrations_per_hour: 20,
            cached_tokens: 50_000,
        }
    }
}

/// What sign-in stands on.
pub struct AccountParts {
    pub ledger: Arc<dyn AccountLedger>,
    pub tokens: Arc<Tokens>,
    pub hashing: Arc<HashingPool>,
    pub clock: Arc<dyn Clock>,
    pub ids: Ids,
}

/// The client that signs in, as far as it is known.
#[derive(Debug, Clone, Default)]
pub struct Client {
    pub address: Option<IpAddr>,
    /// What it calls itself.
    pub device: String,
}

/// What a client gets when it signs in or refreshes.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    pub user: UserId,
    pub session: SessionId,
    pub access_token: String,
    pub expires_in_s: u64,
    pub refresh_token: String,
    /// For the cookie.
    pub refresh_expires_in_s: u64,
    /// The write that opened or moved the session; `None` where nothing was written.
    pub position: Option<Position>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Credentials").field("user", &self.user).field("session", &self.session).finish_non_exhaustive()
    }
}

/// Sign-in: the one value that handlers and middleware hold.
pub struct Accounts {
    settings: AccountSettings,
    parts: AccountParts,
    refresh_tokens: RefreshTokens,
    addresses: AddressHasher,
    limits: Limits,
    revocations: Arc<Revocations>,
    cache: IdentityCache,
    chores: ChoreSender,
}

impl Accounts {
    /// Builds sign-in, and the chores that somebody must run beside it ([`Chores::run`]).
    pub fn new(settings: AccountSettings, parts: AccountParts, secret: &MasterSecret) -> (Self, Chores) {
        let revocations = Arc::new(Revocations::default());
        let (sender, chores) = chores::chores(Arc::clone(&parts.ledger));
        let accounts = Self {
            settings,
            parts,
            refresh_tokens: RefreshTokens::new(secret),
            addresses: AddressHasher::new(secret),
            limits: Limits::new(&settings),
            revocations,
            cache: IdentityCache::new(settings.cached_tokens, settings.access_ttl),
            chores: sender,
        };
        (accounts, chores)
    }

    /// The ended sessions, for whoever hears of commits: feed every `SessionsEnded` and `PasswordChanged` to it.
    pub fn revocations(&self) -> &Arc<Revocations> {
        &self.revocations
    }

    /// The public keys, as `/.well-known/jwks.json` shows them.
    pub fn jwks(&self) -> serde_json::Value {
        self.parts.tokens.keys().jwks(self.now())
    }

    fn now(&self) -> Millis {
        self.parts.clock.now()
    }

    fn new_id(&self) -> Result<u64, AccountError> {
        (self.parts.ids)().map_err(AccountError::Id)
    }

    fn address_hash(&self, client: &Client) -> u64 {
        client.address.map_or(0, |address| self.addresses.hash(address))
    }

    /// A session for this client, not opened yet.
    fn new_session(&self, client: &Client) -> Result<NewSession, AccountError> {
        let shown = client.device.chars().filter(|character| !character.is_control());
        Ok(NewSession {
            session: SessionId::from_raw(self.new_id()?),
            device: shown.take(NewSession::DEVICE_CHARACTERS_MAX).collect(),
            address_hash: self.address_hash(client),
        })
    }

    async fn decide(&self, author: UserId, command: Command, until_visible: bool) -> Result<Decision, AccountError> {
        self.parts.ledger.decide(author, command, until_visible, DECIDE_WITHIN).await.map_err(AccountError::Decide)
    }

    /// The account with its sessions that have not ended.
    async fn account_with_sessions(&self, user: UserId) -> Result<(Option<AccountRow>, Vec<SessionRow>), AccountError> {
        let needs = Needs { accounts: vec![user], sessions_of: vec![user], ..Needs::default() };
        let mut rows = self.parts.ledger.rows(Owner::Account(user), needs).await.map_err(AccountError::Shard)?;
        let sessions = rows.sessions.into_values().filter(|session| session.user == user && session.ended_at.is_none()).collect();
        Ok((rows.accounts.remove(&user), sessions))
    }

    /// Whether a session is past its idle or its absolute limit.
    fn is_expired(&self, session: &SessionRow, now: Millis) -> bool {
        let idle_ms = u64::try_from(self.settings.refresh_ttl.as_millis()).unwrap_or(u64::MAX);
        now.saturating_sub(session.last_used_at) >= idle_ms || now.saturating_sub(session.opened_at) >= SESSION_LIFE_MAX_MS
    }

    /// Signs an access token and makes the refresh token of this generation.
    fn credentials(
        &self,
        session: (UserId, SessionId),
        role: Role,
        generation: u32,
        position: Option<Position>,
    ) -> Result<Credentials, AccountError> {
        let (user, session) = session;
        let claims = Claims { user, session: Some(session), admin: role == Role::Admin, life_s: self.settings.access_ttl.as_secs() };
        let Signed { token, expires_in_s } = self.parts.tokens.sign(&claims, self.now()).map_err(AccountError::Sign)?;
        Ok(Credentials {
            user,
            session,
            access_token: token,
            expires_in_s,
            refresh_token: self.refresh_tokens.make(RefreshClaims { user, session, generation }),
            refresh_expires_in_s: self.settings.refresh_ttl.as_secs(),
            position,
        })
    }
}

/// An access token for an operator's scripts (`sosik token`): without a session, so that only its end ends it.
pub fn operator_token(tokens: &Tokens, account: &AccountRow, life: Duration, now: Millis) -> Result<Signed, SignError> {
    let claims = Claims { user: account.user, session: None, admin: account.role == Role::Admin, life_s: life.as_secs() };
    tokens.sign(&claims, now)
}
