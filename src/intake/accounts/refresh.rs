//! Refresh: the token of one generation for that of the next. The apply decides, by the time of the entry: so two tabs that refresh at
//! once get the same successor, and a token that was used before ends its session.

use super::{AccountError, Accounts, Credentials, Decision};
use crate::substrate::store::rows::{AccountRow, Needs, SessionRow};
use crate::vocabulary::Millis;
use crate::vocabulary::command::Command;
use crate::vocabulary::ids::{SessionId, UserId};
use crate::vocabulary::owner::Owner;
use crate::vocabulary::rejection::Rejection;

impl Accounts {
    /// New credentials for a refresh token that is good.
    pub async fn refresh(&self, token: &str) -> Result<Credentials, AccountError> {
        let claims = self.refresh_tokens.check(token).map_err(|_not_ours| AccountError::SessionEnded)?;
        let (user, session) = (claims.user, claims.session);
        let (_, before) = self.live_session(user, session).await?;
        if self.is_expired(&before, self.now()) {
            // Its tokens are refused by age already: the end only keeps lists short.
            self.chores.add(user, Command::EndSession { session });
            return Err(AccountError::SessionEnded);
        }
        let (position, at) = match self.decide(user, Command::RotateSession { session, from: claims.generation }, true).await? {
            Decision::Done { position, at } => (position, at),
            Decision::Rejected(Rejection::SessionEnded | Rejection::NotFound) => return Err(AccountError::SessionEnded),
            Decision::Rejected(rejection) => return Err(AccountError::Rejected(rejection)),
        };
        // "Done" may mean that the rotation found a token used before, and ended the session.
        match self.live_session(user, session).await {
            Ok((account, _)) => self.credentials((user, session), account.role, claims.generation.saturating_add(1), Some(position)),
            Err(AccountError::SessionEnded) => {
                self.refused_after_rotation(user, session, at);
                Err(AccountError::SessionEnded)
            }
            Err(error) => Err(error),
        }
    }

    fn refused_after_rotation(&self, user: UserId, session: SessionId, at: Millis) {
        tracing::warn!(target: "security", { user.id = %user, session.id = %session }, "a refresh token was used again; its session has ended");
        self.revocations.end([session], at);
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
