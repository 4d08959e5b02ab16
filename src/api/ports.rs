//! What the API needs of the stages below it, as traits: so that the handlers can be tested without a database.
//!
//! `Reader` over `View`, `Intake` and `Accounts` are the real ones; operations are filled in by `app.rs`. One boxed future a call is the
//! price, a tenth of a microsecond beside the tens that a request takes.

use futures_util::future::LocalBoxFuture;
use tokio::runtime::Handle;

use crate::intake::accounts::{AccountError, Accounts, AuthError, Client, Credentials, Identity, Registration, SessionView};
use crate::intake::{Intake, Receipt, Submission, SubmitError, WriteStatus};
use crate::ledger::freshness::LogMark;
use crate::ledger::view::{CommentView, NotificationView, Order, Page, PostView, UserRef, UserView, View, ViewError};
use crate::notify::inbox::PageAsked;
use crate::vocabulary::entry::{Epoch, InboxState};
use crate::vocabulary::ids::{CommentId, Position, PostId, SessionId, UserId, WriteId};
use crate::vocabulary::owner::Owner;
use crate::vocabulary::preferences::Preferences;

/// A page of comments with the version of their post.
pub type CommentPage = (Page<CommentView, CommentId>, Position);

/// Where reads come from.
pub trait Reads: Send + Sync {
    /// Whether every read of the shard shows at least this.
    fn is_seen_by_all(&self, mark: LogMark) -> bool;
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

/// The real one: objects are read where they are asked for, pages on threads that have the time.
pub struct Reader {
    pub view: View,
    pub runtime: Handle,
}

impl Reads for Reader {
    fn is_seen_by_all(&self, mark: LogMark) -> bool {
        self.view.is_seen_by_all(mark)
    }

    fn post(&self, viewer: Option<UserId>, post: PostId) -> LocalBoxFuture<'_, Result<PostView, ViewError>> {
        Box::pin(self.view.post(viewer, post))
    }

    fn comment(&self, viewer: Option<UserId>, post: PostId, comment: CommentId) -> LocalBoxFuture<'_, Result<CommentView, ViewError>> {
        Box::pin(self.view.comment(viewer, post, comment))
    }

    fn comments(
        &self,
        viewer: Option<UserId>,
        post: PostId,
        order: Order,
        after: Option<CommentId>,
        limit: usize,
    ) -> LocalBoxFuture<'_, Result<CommentPage, ViewError>> {
        let view = self.view.clone();
        Box::pin(async move {
            let read = move || async move { view.comments(viewer, post, order, after, limit).await };
            self.view.aside(&Owner::Post(post), &self.runtime, read).await
        })
    }

    fn post_likes(
        &self,
        viewer: Option<UserId>,
        post: PostId,
        before: Option<UserId>,
        limit: usize,
    ) -> LocalBoxFuture<'_, Result<Page<UserView, UserId>, ViewError>> {
        let view = self.view.clone();
        Box::pin(async move {
            let read = move || async move { view.post_likes(viewer, post, before, limit).await };
            self.view.aside(&Owner::Post(post), &self.runtime, read).await
        })
    }

    fn user(&self, viewer: Option<UserId>, user: UserRef) -> LocalBoxFuture<'_, Result<UserView, ViewError>> {
        Box::pin(async move { self.view.user(viewer, &user).await })
    }

    fn user_posts(
        &self,
        viewer: Option<UserId>,
        user: UserId,
        before: Option<PostId>,
        limit: usize,
    ) -> LocalBoxFuture<'_, Result<Page<PostView, PostId>, ViewError>> {
        let view = self.view.clone();
        Box::pin(async move {
            let read = move || async move { view.user_posts(viewer, user, before, limit).await };
            self.view.aside(&Owner::User(user), &self.runtime, read).await
        })
    }

    fn followers(
        &self,
        viewer: Option<UserId>,
        user: UserId,
        before: Option<Position>,
        limit: usize,
    ) -> LocalBoxFuture<'_, Result<Page<UserView, Position>, ViewError>> {
        let view = self.view.clone();
        Box::pin(async move {
            let read = move || async move { view.followers(viewer, user, before, limit).await };
            self.view.aside(&Owner::User(user), &self.runtime, read).await
        })
    }

    fn following(
        &self,
        viewer: Option<UserId>,
        user: UserId,
        before: Option<Position>,
        limit: usize,
    ) -> LocalBoxFuture<'_, Result<Page<UserView, Position>, ViewError>> {
        let view = self.view.clone();
        Box::pin(async move {
            let read = move || async move { view.following(viewer, user, before, limit).await };
            self.view.aside(&Owner::User(user), &self.runtime, read).await
        })
    }

    fn feed(&self, viewer: UserId, before: Option<PostId>, limit: usize) -> LocalBoxFuture<'_, Result<Page<PostView, PostId>, ViewError>> {
        let view = self.view.clone();
        Box::pin(async move {
            let read = move || async move { view.feed(viewer, before, limit).await };
            self.view.aside(&Owner::User(viewer), &self.runtime, read).await
        })
    }
}

/// A page of somebody's inbox, with where it stood when it was read.
pub struct NotificationPage {
    pub items: Vec<NotificationView>,
    /// The `seq` to go on before.
    pub next: Option<u64>,
    pub state: InboxState,
    pub epoch: Epoch,
}

/// Where inboxes are read.
pub trait Notifications: Send + Sync {
    fn list(&self, reader: UserId, asked: PageAsked) -> LocalBoxFuture<'_, Result<NotificationPage, ViewError>>;
    fn unread(&self, reader: UserId) -> LocalBoxFuture<'_, Result<u64, ViewError>>;
    fn preferences(&self, reader: UserId) -> LocalBoxFuture<'_, Result<Preferences, ViewError>>;
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

/// Who may come in.
pub trait SignIn: Send + Sync {
    /// Who the bearer token stands for. Called for every request that carries one.
    fn authenticate<'a>(&'a self, bearer: &'a str) -> LocalBoxFuture<'a, Result<Identity, AuthError>>;
    fn register(&self, registration: Registration, client: Client) -> LocalBoxFuture<'_, Result<Credentials, AccountError>>;
    fn login(&self, username: String, password: String, client: Client) -> LocalBoxFuture<'_, Result<Credentials, AccountError>>;
    fn refresh(&self, refresh_token: String) -> LocalBoxFuture<'_, Result<Credentials, AccountError>>;
    fn logout(&self, identity: Identity) -> LocalBoxFuture<'_, Result<(), AccountError>>;
    fn sessions(&self, identity: Identity) -> LocalBoxFuture<'_, Result<Vec<SessionView>, AccountError>>;
    fn end_session(&self, user: UserId, session: SessionId) -> LocalBoxFuture<'_, Result<(), AccountError>>;
    fn change_password(&self, identity: Identity, current: String, new: String) -> LocalBoxFuture<'_, Result<(), AccountError>>;
    /// The public keys as a JWKS document.
    fn jwks(&self) -> serde_json::Value;
}

impl SignIn for Accounts {
    fn authenticate<'a>(&'a self, bearer: &'a str) -> LocalBoxFuture<'a, Result<Identity, AuthError>> {
        Box::pin(Self::authenticate(self, bearer))
    }

    fn register(&self, registration: Registration, client: Client) -> LocalBoxFuture<'_, Result<Credentials, AccountError>> {
        Box::pin(async move { Self::register(self, registration, &client).await })
    }

    fn login(&self, username: String, password: String, client: Client) -> LocalBoxFuture<'_, Result<Credentials, AccountError>> {
        Box::pin(async move { Self::login(self, &username, password, &client).await })
    }

    fn refresh(&self, refresh_token: String) -> LocalBoxFuture<'_, Result<Credentials, AccountError>> {
        Box::pin(async move { Self::refresh(self, &refresh_token).await })
    }

    fn logout(&self, identity: Identity) -> LocalBoxFuture<'_, Result<(), AccountError>> {
        Box::pin(async move { Self::logout(self, &identity).await })
    }

    fn sessions(&self, identity: Identity) -> LocalBoxFuture<'_, Result<Vec<SessionView>, AccountError>> {
        Box::pin(async move { Self::sessions(self, &identity).await })
    }

    fn end_session(&self, user: UserId, session: SessionId) -> LocalBoxFuture<'_, Result<(), AccountError>> {
        Box::pin(Self::end_session(self, user, session))
    }

    fn change_password(&self, identity: Identity, current: String, new: String) -> LocalBoxFuture<'_, Result<(), AccountError>> {
        Box::pin(async move { Self::change_password(self, &identity, current, new).await })
    }

    fn jwks(&self) -> serde_json::Value {
        Self::jwks(self)
    }
}
