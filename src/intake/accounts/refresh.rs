//! Refresh: the token of one generation for that of the next. The apply decides, by the time of the entry: so two tabs that refresh at
//! once get the same successor, and a token that was used before ends its session.

use super::{AccountError, Accounts, Credentials, Decision};
use crate::substrate::store::rows::{AccountRow, Needs, SessionRow};
use crate::vocabulary::command::Command;
use crate::vocabulary::ids::{SessionId, UserId};
use crate::vocabulary::owner::Owner;
use crate::vocabulary::rejection::Rejection;

impl Accounts {
    /// New credentials for a refresh token that is good.
    pub async fn refresh(&self, token: &str) -> Result<Credentials, AccountError> {
        let claims = self.refresh_tokens.check(token).map_err(|_not_ours| AccountError::SessionEnded)?;
        let (user, session) = (claims.user, claims.session);
        let limit = self.limits.refresh_of(user, self.now());
        limit.map_err(|wait| AccountError::TooMany { retry_after_s: wait.retry_after_s })?;
        let (account_before, before) = self.live_session(user, session).await?;
        if self.is_expired(&before, self.now()) {
            // Its tokens are refused by age already: the end only keeps lists short.
            self.chores.add(user, Command::EndSession { session });
            return Err(AccountError::SessionEnded);
        }
        let position = match self.decide(user, Command::RotateSession { session, from: claims.generation }, true).await? {
            Decision::Done { position, .. } => position,
            Decision::Rejected(Rejection::SessionEnded | Rejection::NotFound) => {
                if claims.generation < before.generation {
                    self.was_used_again(user, session);
                }
                return Err(AccountError::SessionEnded);
            }
            Decision::Rejected(rejection) => return Err(AccountError::Rejected(rejection)),
        };
        let role = match self.live_session(user, session).await {
            Ok((account, _)) => account.role,
            // The old token is used up: whoever gets no new one now has none. If the session was ended meanwhile, the new one will be refused.
            Err(AccountError::Shard(_)) => account_before.role,
            // It was ended by another call meanwhile.
            Err(error) => return Err(error),
        };
        self.credentials((user, session), role, claims.generation.saturating_add(1), Some(position))
    }

    /// A token that had its successor already was refused: it may have been stolen, and its session has ended.
    fn was_used_again(&self, user: UserId, session: SessionId) {
        tracing::warn!(target: "security", { user.id = %user, session.id = %session }, "a refresh token was used again; its session has ended");
        metrics::counter!("sosik_refresh_tokens_reused_total").increment(1);
        self.revocations.end([session], self.now());
    }

    /// The account and the session, if it is the account's and has not ended.
    async fn live_session(&self, user: UserId, session: SessionId) -> Result<(AccountRow, SessionRow), AccountError> {
        let needs = Needs { accounts: vec![user], sessions: vec![session], ..Needs::default() };
        let mut rows = self.parts.ledger.rows(Owner::Account(user), needs).await.map_err(AccountError::Shard)?;
        let session = rows.sessions.remove(&session).filter(|session| session.user == user && session.ended_at.is_none());
        match (rows.accounts.remove(&user), session) {
            (Some(account), Some(session)) => Ok((account, session)),
            _ => Err(AccountError::SessionEnded),
        }
    }
}
