//! Login with a password. An unknown user takes the same steps as a known one: reads, limits, a hash compared, one error.

use super::limits::{Attempt, Persisted};
use super::{AccountError, Accounts, Client, Credentials, DecideError, Decision, SESSIONS_MAX};
use crate::substrate::store::rows::{AccountRow, SessionRow};
use crate::support::auth::hashing::Verdict;
use crate::support::chain::Chain;
use crate::vocabulary::command::Command;
use crate::vocabulary::ids::{SessionId, UserId};
use crate::vocabulary::owner::{NameKey, mix};
use crate::vocabulary::text::Username;

/// Surplus sessions that one login ends at most.
const ENDED_AT_ONCE_MAX: usize = 8;

impl Accounts {
    /// Opens a session for who knows the password.
    pub async fn login(&self, username: &str, password: String, client: &Client) -> Result<Credentials, AccountError> {
        let now = self.now();
        let address_hash = self.address_hash(client);
        let too_many = |wait: super::limits::Wait| AccountError::TooMany { retry_after_s: wait.retry_after_s };
        self.limits.login_from(address_hash, now).map_err(too_many)?;

        let name = login_name(username);
        let found = self.user_of_name(name.clone()).await?;
        // A user who does not exist is looked for as well, under an id that nobody has.
        let user = found.unwrap_or_else(|| UserId::from_raw(name.hash() >> 1));
        let (account, sessions) = self.account_with_sessions(user).await?;
        let account = account.filter(|_| found.is_some());
        let live = sessions.iter().filter(|session| !self.is_expired(session, now));
        let is_known = address_hash != 0 && live.into_iter().any(|session| session.address_hash == address_hash);
        let device = is_known.then_some(address_hash);
        let persisted = account.as_ref().map_or_else(Persisted::default, persisted);
        let attempt = self.limits.guess(mix(name.hash()), device, persisted, now).map_err(too_many)?;

        let stored = account.as_ref().and_then(|account| account.password_hash.clone());
        let verdict = self.parts.hashing.verify(password.clone(), stored.clone()).await.map_err(AccountError::Hashing)?;
        let (Verdict::Right { needs_rehash }, Some(account), Some(stored)) = (verdict, account, stored) else {
            self.login_failed(attempt, found, device);
            return Err(AccountError::WrongCredentials);
        };
        attempt.succeeded();
        if persisted.failures > 0 && device.is_none() {
            self.chores.add(user, Command::BackOffLogin { until: 0, failures: 0 });
        }
        let credentials = self.open_session(&account, &stored, &password, client).await?;
        self.end_surplus(user, sessions);
        if needs_rehash {
            self.rehash(user, password, stored).await;
        }
        tracing::info!(target: "security", { user.id = %user, session.id = %credentials.session }, "logged in");
        Ok(credentials)
    }

    fn login_failed(&self, attempt: Attempt, user: Option<UserId>, device: Option<u64>) {
        tracing::warn!(target: "security", { user.id = user.map(tracing::field::display) }, "login failed");
        let backed_off = attempt.failed(self.now());
        // Only what strangers did is kept: a known device's failures are few, and its own.
        if let (Some(backed_off), Some(user), None) = (backed_off, user, device) {
            let command = Command::BackOffLogin { until: backed_off.until, failures: backed_off.failures };
            self.chores.add(user, command);
        }
    }

    async fn open_session(&self, account: &AccountRow, stored: &str, password: &str, client: &Client) -> Result<Credentials, AccountError> {
        let session = self.new_session(client)?;
        let opened = session.session;
        let position = match self.decide(account.user, Command::OpenSession { session }, true).await? {
            Decision::Done { position, .. } => position,
            Decision::Rejected(rejection) => return Err(AccountError::Rejected(rejection)),
        };
        // The session stands: that its owner could not be looked at again does not undo it.
        let still_right = self.still_right(account.user, stored, password).await;
        if !still_right.map_err(|_cause| AccountError::Decide(DecideError::Indefinite))? {
            // The password was changed while it was compared: that ended all sessions, and this one came after.
            self.end_now(account.user, opened).await?;
            return Err(AccountError::WrongCredentials);
        }
        self.credentials((account.user, opened), account.role, 0, Some(position))
    }

    async fn still_right(&self, user: UserId, stored: &str, password: &str) -> Result<bool, AccountError> {
        let (account, _) = self.account_with_sessions(user).await?;
        let stored_now = account.and_then(|account| account.password_hash);
        if stored_now.as_deref() == Some(stored) {
            return Ok(true);
        }
        let verdict = self.parts.hashing.verify(password.to_owned(), stored_now).await.map_err(AccountError::Hashing)?;
        Ok(verdict != Verdict::Wrong)
    }

    /// Ends sessions that are past their limits, and the least used ones above [`SESSIONS_MAX`].
    fn end_surplus(&self, user: UserId, mut sessions: Vec<SessionRow>) {
        let now = self.now();
        sessions.sort_unstable_by_key(|session| (!self.is_expired(session, now), session.last_used_at));
        let surplus = (sessions.len() + 1).saturating_sub(SESSIONS_MAX);
        let ending = sessions.iter().enumerate().filter(|(index, session)| *index < surplus || self.is_expired(session, now));
        for (_, session) in ending.take(ENDED_AT_ONCE_MAX) {
            self.chores.add(user, Command::EndSession { session: session.session });
        }
    }

    async fn rehash(&self, user: UserId, password: String, replaces: String) {
        match self.parts.hashing.hash(password).await {
            Ok(password_hash) => self.chores.add(user, Command::RehashPassword { password_hash, replaces }),
            // At the next login, then.
            Err(error) => tracing::debug!(user.id = %user, error = %Chain(&error), "password not hashed anew"),
        }
    }

    /// Ends a session and refuses its tokens at once.
    pub(super) async fn end_now(&self, user: UserId, session: SessionId) -> Result<Decision, AccountError> {
        let decision = self.decide(user, Command::EndSession { session }, true).await?;
        if let Decision::Done { at, .. } = decision {
            self.revocations.end([session], at);
        }
        Ok(decision)
    }
}

fn persisted(account: &AccountRow) -> Persisted {
    Persisted { failures: account.failed_logins, until: account.backed_off_until }
}

/// The key of the name that was sent. One that cannot be a name is looked for as well, under a key that nobody has.
fn login_name(username: &str) -> NameKey {
    match Username::parse(username) {
        Ok(username) => NameKey::of_username(&username),
        Err(_) => NameKey::of_subject("", username),
    }
}
