//! What the stream needs of the stages that it must not know, filled in with them: objects look the same on the stream as in
//! every other answer.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use serde::Serialize;

use crate::api::problem::{Problem, ProblemName};
use crate::api::representation::{Comment, Post, Write};
use crate::intake::accounts::{Accounts, AuthError};
use crate::intake::settled_status;
use crate::ledger::view::{PostView, View, ViewError};
use crate::stream::frame::Numbers;
use crate::stream::ports::{Door, Look, Pages, Refusal, Sight, Signed, Unsigned};
use crate::support::error_kind::ErrorKind;
use crate::vocabulary::ids::{CommentId, PostId, UserId};
use crate::vocabulary::progress::Settled;

/// Tokens and sign-ins.
pub struct StreamDoor(pub Arc<Accounts>);

impl Door for StreamDoor {
    fn authenticate<'a>(&'a self, token: &'a str) -> LocalBoxFuture<'a, Result<Signed, Unsigned>> {
        async move {
            let identity = self.0.authenticate(token).await.map_err(|error| match error.kind() {
                ErrorKind::Unauthenticated => Unsigned::Refused,
                _ => Unsigned::Unavailable,
            })?;
            Ok(Signed { user: identity.user, session: identity.session, expires_at: identity.expires_at })
        }
        .boxed_local()
    }

    fn is_signed_in(&self, signed: &Signed) -> bool {
        !matches!(self.0.check_session(signed.user, signed.session), Err(AuthError::SessionEnded))
    }
}

/// Posts and what stands below them, and the user's own writes.
pub struct StreamPages(pub View);

impl Pages for StreamPages {
    fn look(&self, viewer: UserId, post: PostId) -> LocalBoxFuture<'_, Result<Look, Refusal>> {
        async move {
            let own = self.0.post(Some(viewer), post).await.map_err(refusal)?;
            // The numbers that all see, since those are what comes next; his own new post has none yet.
            let numbers = match self.0.post(None, post).await {
                Ok(all) => numbers_of(&all),
                Err(ViewError::NotFound) => numbers_of(&own),
                Err(error) => return Err(refusal(error)),
            };
            Ok(Look { author: own.author.user, numbers })
        }
        .boxed_local()
    }

    fn numbers(&self, post: PostId) -> LocalBoxFuture<'_, Result<Sight, Refusal>> {
        async move {
            match self.0.post(None, post).await {
                Ok(seen) => Ok(Sight::Numbers(numbers_of(&seen))),
                Err(ViewError::Gone) => Ok(self.0.deleted_at(post).await.map_err(refusal)?.map_or(Sight::Unseen, Sight::Deleted)),
                Err(ViewError::NotFound) => Ok(Sight::Unseen),
                Err(error) => Err(refusal(error)),
            }
        }
        .boxed_local()
    }

    fn post(&self, post: PostId) -> LocalBoxFuture<'_, Result<Option<String>, Refusal>> {
        async move { present(self.0.post(None, post).await)?.map(|post| json(&Post::from(&post))).transpose() }.boxed_local()
    }

    fn comment(&self, post: PostId, comment: CommentId) -> LocalBoxFuture<'_, Result<Option<String>, Refusal>> {
        async move { present(self.0.comment_as_left(post, comment).await)?.map(|comment| json(&Comment::from(&comment))).transpose() }
            .boxed_local()
    }

    fn hidden_from<'a>(&'a self, author: UserId, viewers: &'a [UserId]) -> LocalBoxFuture<'a, Result<HashSet<UserId>, Refusal>> {
        async move { self.0.hidden_from(author, viewers).await.map_err(refusal) }.boxed_local()
    }

    fn write(&self, settled: &Settled) -> Option<String> {
        let status = settled_status(settled.author, *settled)?;
        json(&Write::from(&status)).ok()
    }
}

fn numbers_of(post: &PostView) -> Numbers {
    Numbers { version: post.version, likes: post.likes, comments: post.comments }
}

/// What is not there, or not any more, is nothing that could not be read.
fn present<T>(read: Result<T, ViewError>) -> Result<Option<T>, Refusal> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(ViewError::NotFound | ViewError::Gone) => Ok(None),
        Err(error) => Err(refusal(error)),
    }
}

pub(super) fn refusal(error: ViewError) -> Refusal {
    refusal_of(&Problem::from(error))
}

/// A problem as the stream tells of it.
pub(super) fn refusal_of(problem: &Problem) -> Refusal {
    let name = problem.name();
    Refusal { code: name.as_str(), detail: name.title().to_owned() }
}

pub(super) fn json(value: &impl Serialize) -> Result<String, Refusal> {
    serde_json::to_string(value).map_err(|error| {
        tracing::error!(%error, "could not write a frame");
        refusal_of(&Problem::new(ProblemName::Internal))
    })
}
