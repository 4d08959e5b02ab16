//! A new password: whoever changes it must know the present one, and all other sessions end.

use super::limits::Persisted;
use super::{AccountError, Accounts, Decision, Identity};
use crate::support::auth::hashing::Verdict;
use crate::support::auth::password_rules;
use crate::vocabulary::command::Command;
use crate::vocabulary::ids::SessionId;
use crate::vocabulary::owner::mix;
use crate::vocabulary::rejection::Rejection;

/// Keeps guesses at `current_password` apart from those at login.
const CHANGE_SALT: u64 = 0x7061_7373_776f_7264;

impl Accounts {
    /// Sets a new password and ends all sessions but the one that asks.
    pub async fn change_password(&self, identity: &Identity, current: String, new: String) -> Result<(), AccountError> {
        password_rules::check(&new).map_err(|source| AccountError::Password { field: "new_password", source })?;
        let user = identity.user;
        let limit = self.limits.password_of(user, self.now());
        limit.map_err(|wait| AccountError::TooMany { retry_after_s: wait.retry_after_s })?;
        let (account, sessions) = self.account_with_sessions(user).await?;
        // A stolen access token is no way around the limits of login. Each session counts for itself: its thief shuts no other out.
        let asking = identity.session.map(SessionId::raw);
        let guess = self.limits.guess(mix(user.raw() ^ CHANGE_SALT), asking, Persisted::default(), self.now());
        let attempt = guess.map_err(|wait| AccountError::TooMany { retry_after_s: wait.retry_after_s })?;
        let stored = account.and_then(|account| account.password_hash);
        if self.parts.hashing.verify(current, stored).await.map_err(AccountError::Hashing)? == Verdict::Wrong {
            tracing::warn!(target: "security", { user.id = %user }, "wrong current password");
            // A back-off that this leads to stands in memory: who asks here has signed in.
            let _ = attempt.failed(self.now());
            return Err(AccountError::WrongPassword);
        }
        attempt.succeeded();
        let password_hash = self.parts.hashing.hash(new).await.map_err(AccountError::Hashing)?;
        match self.decide(user, Command::ChangePassword { password_hash, keep: identity.session }, true).await? {
            Decision::Done { at, .. } => {
                // Those that were opened since we read come by the commit's own news.
                let others = sessions.into_iter().map(|session| session.session).filter(|session| Some(*session) != identity.session);
                self.revocations.end(others, at);
                tracing::info!(target: "security", { user.id = %user }, "password changed");
                Ok(())
            }
            Decision::Rejected(Rejection::SessionEnded) => Err(AccountError::SessionEnded),
            Decision::Rejected(rejection) => Err(AccountError::Rejected(rejection)),
        }
    }
}
