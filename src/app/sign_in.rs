//! What the API needs of sign-in, filled in.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;

use crate::api::ports::{Client, Grant, Identity, Registration, SessionLine, SignIn, SignInError};
use crate::intake::accounts::{self, AccountError, Accounts, AuthError, Credentials};
use crate::ledger::view::{UserRef, View};
use crate::substrate::store::rows::Role;
use crate::support::error_kind::ErrorKind;
use crate::vocabulary::ids::SessionId;
use crate::vocabulary::rejection::Rejection;

pub(super) struct SignInDesk {
    accounts: Arc<Accounts>,
    view: View,
}

impl SignInDesk {
    pub(super) fn new(accounts: Arc<Accounts>, view: View) -> Self {
        Self { accounts, view }
    }

    async fn grant(&self, credentials: Credentials, with_user: bool) -> Grant {
        let seen = if with_user {
            // The tokens are good whether or not the user's shard can be read this moment.
            self.view.user(Some(credentials.user), &UserRef::Id(credentials.user)).await.ok().map(Box::new)
        } else {
            None
        };
        Grant {
            user: credentials.user,
            session: credentials.session,
            access_token: credentials.access_token,
            expires_in_s: credentials.expires_in_s,
            refresh_token: credentials.refresh_token,
            refresh_expires_in_s: credentials.refresh_expires_in_s,
            seen,
        }
    }
}

impl SignIn for SignInDesk {
    fn authenticate<'a>(&'a self, bearer: &'a str) -> LocalBoxFuture<'a, Result<Identity, SignInError>> {
        async move {
            match self.accounts.authenticate(bearer).await {
                Ok(identity) => Ok(outward(identity)),
                Err(error) => Err(refused(error)),
            }
        }
        .boxed_local()
    }

    fn register(&self, registration: Registration, client: Client) -> LocalBoxFuture<'_, Result<Grant, SignInError>> {
        async move {
            let Registration { username, password, display_name } = registration;
            let registration = accounts::Registration { username, password, display_name };
            let credentials = self.accounts.register(registration, &inward(client)).await.map_err(failed)?;
            Ok(self.grant(credentials, true).await)
        }
        .boxed_local()
    }

    fn login(&self, username: String, password: String, client: Client) -> LocalBoxFuture<'_, Result<Grant, SignInError>> {
        async move {
            let credentials = self.accounts.login(&username, password, &inward(client)).await.map_err(failed)?;
            Ok(self.grant(credentials, true).await)
        }
        .boxed_local()
    }

    fn refresh(&self, refresh_token: String, _: Client) -> LocalBoxFuture<'_, Result<Grant, SignInError>> {
        async move {
            let credentials = self.accounts.refresh(&refresh_token).await.map_err(failed)?;
            Ok(self.grant(credentials, false).await)
        }
        .boxed_local()
    }

    fn logout(&self, identity: Identity) -> LocalBoxFuture<'_, Result<(), SignInError>> {
        async move { self.accounts.logout(&of(identity)).await.map_err(failed) }.boxed_local()
    }

    fn sessions(&self, identity: Identity) -> LocalBoxFuture<'_, Result<Vec<SessionLine>, SignInError>> {
        async move {
            let sessions = self.accounts.sessions(&of(identity)).await.map_err(failed)?;
            let line = |session: accounts::SessionView| SessionLine {
                session: session.session,
                device: session.device,
                opened_at: session.created_at,
                last_used_at: session.last_used_at,
            };
            Ok(sessions.into_iter().map(line).collect())
        }
        .boxed_local()
    }

    fn end_session(&self, identity: Identity, session: SessionId) -> LocalBoxFuture<'_, Result<(), SignInError>> {
        async move { self.accounts.end_session(identity.user, session).await.map_err(failed) }.boxed_local()
    }

    fn change_password(&self, identity: Identity, current: String, new: String, _: Client) -> LocalBoxFuture<'_, Result<(), SignInError>> {
        async move { self.accounts.change_password(&of(identity), current, new).await.map_err(failed) }.boxed_local()
    }

    fn jwks(&self) -> String {
        self.accounts.jwks().to_string()
    }
}

fn outward(identity: accounts::Identity) -> Identity {
    Identity { user: identity.user, session: identity.session, admin: identity.role == Role::Admin, expires_at: identity.expires_at }
}

fn of(identity: Identity) -> accounts::Identity {
    let role = if identity.admin { Role::Admin } else { Role::User };
    accounts::Identity { user: identity.user, session: identity.session, role, expires_at: identity.expires_at }
}

fn inward(client: Client) -> accounts::Client {
    accounts::Client { address: client.address, device: client.device }
}

fn refused(error: AuthError) -> SignInError {
    match error.kind() {
        ErrorKind::Unavailable { retry_after_s } => SignInError::Unavailable { retry_after_s },
        ErrorKind::Overloaded { retry_after_s } => SignInError::Overloaded { retry_after_s },
        ErrorKind::TooManyRequests { retry_after_s } => SignInError::TooFast { retry_after_s },
        ErrorKind::Internal => SignInError::Internal(Box::new(error)),
        _ => SignInError::Unauthenticated,
    }
}

fn failed(error: AccountError) -> SignInError {
    if let Some((field, code, detail)) = error.invalid() {
        return SignInError::Invalid { field, code, detail };
    }
    match error.kind() {
        ErrorKind::Unauthenticated => SignInError::Unauthenticated,
        ErrorKind::Forbidden => SignInError::WrongPassword,
        ErrorKind::NotFound => SignInError::NoSession,
        ErrorKind::UsernameTaken => SignInError::Refused(Rejection::UsernameTaken),
        ErrorKind::TooManyRequests { retry_after_s } => SignInError::TooFast { retry_after_s },
        ErrorKind::Overloaded { retry_after_s } => SignInError::Overloaded { retry_after_s },
        ErrorKind::Unavailable { retry_after_s } => SignInError::Unavailable { retry_after_s },
        ErrorKind::Indefinite => SignInError::Indefinite,
        _ => SignInError::Internal(Box::new(error)),
    }
}
