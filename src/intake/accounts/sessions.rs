//! A user's own sessions: the list, the end of one, logout.

use super::{AccountError, Accounts, Decision, Identity};
use crate::substrate::store::rows::Needs;
use crate::vocabulary::Millis;
use crate::vocabulary::ids::{SessionId, UserId};
use crate::vocabulary::owner::Owner;
use crate::vocabulary::rejection::Rejection;

/// A session as its user sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionView {
    pub session: SessionId,
    pub device: String,
    pub created_at: Millis,
    pub last_used_at: Millis,
    /// The one that asks.
    pub current: bool,
}

impl Accounts {
    /// The sessions that live, the last used first; about [`super::SESSIONS_MAX`] at most.
    pub async fn sessions(&self, identity: &Identity) -> Result<Vec<SessionView>, AccountError> {
        let now = self.now();
        let (_, mut sessions) = self.account_with_sessions(identity.user).await?;
        sessions.retain(|session| !self.is_expired(session, now));
        sessions.sort_unstable_by_key(|session| std::cmp::Reverse((session.last_used_at, session.session)));
        let view = |session: crate::substrate::store::rows::SessionRow| SessionView {
            current: identity.session == Some(session.session),
            session: session.session,
            device: session.device,
            created_at: session.opened_at,
            last_used_at: session.last_used_at,
        };
        Ok(sessions.into_iter().map(view).collect())
    }

    /// Ends one of the user's sessions: its tokens are refused from now on. Another user's is not found.
    pub async fn end_session(&self, user: UserId, session: SessionId) -> Result<(), AccountError> {
        let needs = Needs { sessions: vec![session], ..Needs::default() };
        let rows = self.parts.ledger.rows(Owner::Account(user), needs).await.map_err(AccountError::Shard)?;
        let alive = rows.sessions.get(&session).is_some_and(|row| row.user == user && row.ended_at.is_none());
        if !alive {
            return Err(AccountError::SessionNotFound);
        }
        match self.end_now(user, session).await? {
            Decision::Done { .. } | Decision::Rejected(Rejection::SessionEnded) => {
                tracing::info!(target: "security", { user.id = %user, session.id = %session }, "session ended");
                Ok(())
            }
            Decision::Rejected(Rejection::NotFound) => Err(AccountError::SessionNotFound),
            Decision::Rejected(rejection) => Err(AccountError::Rejected(rejection)),
        }
    }

    /// Ends the session that asks. A token without one here (a foreign issuer's, an operator's) cannot be logged out.
    pub async fn logout(&self, identity: &Identity) -> Result<(), AccountError> {
        let session = identity.session.ok_or(AccountError::NoSession)?;
        match self.end_session(identity.user, session).await {
            // It ended meanwhile: what was asked for is so.
            Err(AccountError::SessionNotFound) => Ok(()),
            ended => ended,
        }
    }
}
