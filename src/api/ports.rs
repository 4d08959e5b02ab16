//! What the API needs of the stages below it, as traits: so that the handlers can be tested without a database.
//!
//! `View` and `Intake` are the real ones; sign-in and operations are filled in by `app.rs`. One boxed future a call is the
//! price, a tenth of a microsecond beside the tens that a request takes.

use std::net::IpAddr;

use futures_util::future::LocalBoxFuture;

use crate::intake::{Intake, Submission, SubmitError, WriteStatus};
use crate::intake::{Receipt, rejection_kind};
use crate::ledger::view::{CommentView, Order, Page, PostView, UserRef, UserView, View, ViewError};
use crate::support::error_kind::ErrorKind;
use crate::vocabulary::Millis;
use crate::vocabulary::ids::{CommentId, Position, PostId, SessionId, UserId, WriteId};
use crate::vocabulary::rejection::Rejection;

/// A page of comments with the version of their post.
pub type CommentPage = (Page<CommentView, CommentId>, Position);

/// Where reads come from.
pub trait Reads: Send + Sync {
    fn post(&self, viewer: Option<UserId>, post: PostId) -> LocalBoxFuture<'_, Result<PostView, ViewError>>;
    fn comment(&self, viewer: Option<UserId>, post: PostId, comment: CommentId) -> LocalBoxFuture<'_, Result<CommentView, ViewError>>;
    fn comments(
        &self,
        viewer: Option<UserId>,
        post: PostId,
        order: Order,
        after: Option<CommentId>,
        limit: usize,
    ) -> LocalBoxFuture<'_, Result<CommentPage, ViewError>>;
    fn post_likes(
        &self,
        viewer: Option<UserId>,
        post: PostId,
        before: Option<UserId>,
        limit: usize,
    ) -> LocalBoxFuture<'_, Result<Page<UserView, UserId>, ViewError>>;
    fn user(&self, viewer: Option<UserId>, user: UserRef) -> LocalBoxFuture<'_, Result<UserView, ViewError>>;
    fn user_posts(
        &self,
        viewer: Option<UserId>,
        user: UserId,
        before: Option<PostId>,
        limit: usize,
    ) -> LocalBoxFuture<'_, Result<Page<PostView, PostId>, ViewError>>;
    fn followers(
        &self,
        viewer: Option<UserId>,
        user: UserId,
        before: Option<Position>,
        limit: usize,
    ) -> LocalBoxFuture<'_, Result<Page<UserView, Position>, ViewError>>;
    fn following(
        &self,
        viewer: Option<UserId>,
        user: UserId,
        before: Option<Position>,
        limit: usize,
    ) -> LocalBoxFuture<'_, Result<Page<UserView, Position>, ViewError>>;
    fn feed(&self, viewer: UserId, before: Option<PostId>, limit: usize) -> LocalBoxFuture<'_, Result<Page<PostView, PostId>, ViewError>>;
}

impl Reads for View {
    fn post(&self, viewer: Option<UserId>, post: PostId) -> LocalBoxFuture<'_, Result<PostView, ViewError>> {
        Box::pin(Self::post(self, viewer, post))
    }

    fn comment(&self, viewer: Option<UserId>, post: PostId, comment: CommentId) -> LocalBoxFuture<'_, Result<CommentView, ViewError>> {
        Box::pin(Self::comment(self, viewer, post, comment))
    }

    fn comments(
        &self,
        viewer: Option<UserId>,
        post: PostId,
        order: Order,
        after: Option<CommentId>,
        limit: usize,
    ) -> LocalBoxFuture<'_, Result<CommentPage, ViewError>> {
        Box::pin(Self::comments(self, viewer, post, order, after, limit))
    }

    fn post_likes(
        &self,
        viewer: Option<UserId>,
        post: PostId,
        before: Option<UserId>,
        limit: usize,
    ) -> LocalBoxFuture<'_, Result<Page<UserView, UserId>, ViewError>> {
        Box::pin(Self::post_likes(self, viewer, post, before, limit))
    }

    fn user(&self, viewer: Option<UserId>, user: UserRef) -> LocalBoxFuture<'_, Result<UserView, ViewError>> {
        Box::pin(async move { Self::user(self, viewer, &user).await })
    }

    fn user_posts(
        &self,
        viewer: Option<UserId>,
        user: UserId,
        before: Option<PostId>,
        limit: usize,
    ) -> LocalBoxFuture<'_, Result<Page<PostView, PostId>, ViewError>> {
        Box::pin(Self::user_posts(self, viewer, user, before, limit))
    }

    fn followers(
        &self,
        viewer: Option<UserId>,
        user: UserId,
        before: Option<Position>,
        limit: usize,
    ) -> LocalBoxFuture<'_, Result<Page<UserView, Position>, ViewError>> {
        Box::pin(Self::followers(self, viewer, user, before, limit))
    }

    fn following(
        &self,
        viewer: Option<UserId>,
        user: UserId,
        before: Option<Position>,
        limit: usize,
    ) -> LocalBoxFuture<'_, Result<Page<UserView, Position>, ViewError>> {
        Box::pin(Self::following(self, viewer, user, before, limit))
    }

    fn feed(&self, viewer: UserId, before: Option<PostId>, limit: usize) -> LocalBoxFuture<'_, Result<Page<PostView, PostId>, ViewError>> {
        Box::pin(Self::feed(self, viewer, before, limit))
    }
}

/// Where writes go.
pub trait Writes: Send + Sync {
    fn submit(&self, submission: Submission) -> LocalBoxFuture<'_, Result<Receipt, SubmitError>>;
    fn write_status(&self, author: UserId, write: WriteId) -> LocalBoxFuture<'_, Result<Option<WriteStatus>, SubmitError>>;
}

impl Writes for Intake {
    fn submit(&self, submission: Submission) -> LocalBoxFuture<'_, Result<Receipt, SubmitError>> {
        Box::pin(Self::submit(self, submission))
    }

    fn write_status(&self, author: UserId, write: WriteId) -> LocalBoxFuture<'_, Result<Option<WriteStatus>, SubmitError>> {
        Box::pin(Self::write_status(self, author, write))
    }
}

/// Who a believed token stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    pub user: UserId,
    /// `None` for an operator's token and for a foreign issuer's.
    pub session: Option<SessionId>,
    pub admin: bool,
    pub expires_at: Millis,
}

/// Who is at the other end, as far as sign-in wants to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    pub address: Option<IpAddr>,
    /// The `User-Agent`, cut to what a session keeps.
    pub device: String,
}

/// What a registration asks for. The texts are as they came; sign-in checks them.
pub struct Registration {
    pub username: String,
    pub password: String,
    pub display_name: Option<String>,
}

/// Tokens as they are handed out.
pub struct Grant {
    pub user: UserId,
    pub session: SessionId,
    pub access_token: String,
    pub expires_in_s: u64,
    pub refresh_token: String,
    pub refresh_expires_in_s: u64,
    /// The user as he sees himself; only after a registration or a login.
    pub seen: Option<Box<UserView>>,
}

/// One line of the list of sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionLine {
    pub session: SessionId,
    pub device: String,
    pub opened_at: Millis,
    pub last_used_at: Millis,
}

/// Why somebody could not sign in, or do something with his sessions.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    #[error("{field}: {detail}")]
    Invalid { field: &'static str, code: &'static str, detail: String },
    /// A token that is not believed, or a wrong name or password: one and the same.
    #[error("not signed in")]
    Unauthenticated,
    /// The current password was wrong.
    #[error("the current password is wrong")]
    WrongPassword,
    #[error("there is no such session")]
    NoSession,
    #[error("refused: {0:?}")]
    Refused(Rejection),
    #[error("too many attempts")]
    TooFast { retry_after_s: u64 },
    #[error("too much to do")]
    Overloaded { retry_after_s: u64 },
    #[error("the account's shard cannot be asked")]
    Unavailable { retry_after_s: u64 },
    #[error("the outcome is not known")]
    Indefinite,
    #[error("sign-in failed")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl SignInError {
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Invalid { .. } => ErrorKind::Invalid,
            Self::Unauthenticated => ErrorKind::Unauthenticated,
            Self::WrongPassword => ErrorKind::Forbidden,
            Self::NoSession => ErrorKind::NotFound,
            Self::Refused(rejection) => rejection_kind(*rejection),
            Self::TooFast { retry_after_s } => ErrorKind::TooManyRequests { retry_after_s: *retry_after_s },
            Self::Overloaded { retry_after_s } => ErrorKind::Overloaded { retry_after_s: *retry_after_s },
            Self::Unavailable { retry_after_s } => ErrorKind::Unavailable { retry_after_s: *retry_after_s },
            Self::Indefinite => ErrorKind::Indefinite,
            Self::Internal(_) => ErrorKind::Internal,
        }
    }
}

/// Who may come in.
pub trait SignIn: Send + Sync {
    /// Who the bearer token stands for. Called for every request that carries one.
    fn authenticate<'a>(&'a self, bearer: &'a str) -> LocalBoxFuture<'a, Result<Identity, SignInError>>;
    fn register(&self, registration: Registration, client: Client) -> LocalBoxFuture<'_, Result<Grant, SignInError>>;
    fn login(&self, username: String, password: String, client: Client) -> LocalBoxFuture<'_, Result<Grant, SignInError>>;
    fn refresh(&self, refresh_token: String, client: Client) -> LocalBoxFuture<'_, Result<Grant, SignInError>>;
    fn logout(&self, identity: Identity) -> LocalBoxFuture<'_, Result<(), SignInError>>;
    fn sessions(&self, identity: Identity) -> LocalBoxFuture<'_, Result<Vec<SessionLine>, SignInError>>;
    fn end_session(&self, identity: Identity, session: SessionId) -> LocalBoxFuture<'_, Result<(), SignInError>>;
    fn change_password(
        &self,
        identity: Identity,
        current: String,
        new: String,
        client: Client,
    ) -> LocalBoxFuture<'_, Result<(), SignInError>>;
    /// The public keys as a JWKS document.
    fn jwks(&self) -> String;
}
