//! Reading: a store page overlaid with the reader's own pending writes.

mod objects;

pub use objects::{AuthorCard, CommentView, Order, Page, PostView, PostViewer, UserRef, UserView, UserViewer, ViewError};

use crate::vocabulary::ids::{CommentId, Position, PostId, UserId};

/// Answers reads. Cheap to clone.
#[derive(Clone)]
pub struct View;

#[expect(clippy::todo, clippy::unused_async, reason = "the signatures come before the bodies")]
impl View {
    pub async fn post(&self, _viewer: Option<UserId>, _post: PostId) -> Result<PostView, ViewError> {
        todo!()
    }

    pub async fn comment(&self, _viewer: Option<UserId>, _post: PostId, _comment: CommentId) -> Result<CommentView, ViewError> {
        todo!()
    }

    /// A page of the post's comments, replies included, and the post's version.
    pub async fn comments(
        &self,
        _viewer: Option<UserId>,
        _post: PostId,
        _order: Order,
        _after: Option<CommentId>,
        _limit: usize,
    ) -> Result<(Page<CommentView, CommentId>, Position), ViewError> {
        todo!()
    }

    /// Who likes the post, by user id, newest users first.
    pub async fn post_likes(
        &self,
        _viewer: Option<UserId>,
        _post: PostId,
        _before: Option<UserId>,
        _limit: usize,
    ) -> Result<Page<UserView, UserId>, ViewError> {
        todo!()
    }

    pub async fn user(&self, _viewer: Option<UserId>, _user: &UserRef) -> Result<UserView, ViewError> {
        todo!()
    }

    /// A user's posts, newest first.
    pub async fn user_posts(
        &self,
        _viewer: Option<UserId>,
        _user: UserId,
        _before: Option<PostId>,
        _limit: usize,
    ) -> Result<Page<PostView, PostId>, ViewError> {
        todo!()
    }

    /// Who follows the user, newest follow first; the key is the position of the follow.
    pub async fn followers(
        &self,
        _viewer: Option<UserId>,
        _user: UserId,
        _before: Option<Position>,
        _limit: usize,
    ) -> Result<Page<UserView, Position>, ViewError> {
        todo!()
    }

    pub async fn following(
        &self,
        _viewer: Option<UserId>,
        _user: UserId,
        _before: Option<Position>,
        _limit: usize,
    ) -> Result<Page<UserView, Position>, ViewError> {
        todo!()
    }

    /// Posts by those the viewer follows and by himself, newest first.
    pub async fn feed(&self, _viewer: UserId, _before: Option<PostId>, _limit: usize) -> Result<Page<PostView, PostId>, ViewError> {
        todo!()
    }
}
