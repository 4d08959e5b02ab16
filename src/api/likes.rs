//! Likes of posts and comments, and who likes a post.

use actix_web::web::Payload;

use super::call::{Answer, Call};
use super::paging::PageRequest;
use super::representation::User;
use super::{reply, writes};
use crate::intake::Wish;
use crate::ledger::view::UserView;
use crate::vocabulary::ids::{PostId, UserId};

/// `PUT /v1/posts/{post}/like`
pub(super) async fn like_post(call: Call, payload: Payload) -> Answer {
    set_post_like(&call, payload, true).await
}

/// `DELETE /v1/posts/{post}/like`
pub(super) async fn unlike_post(call: Call, payload: Payload) -> Answer {
    set_post_like(&call, payload, false).await
}

async fn set_post_like(call: &Call, payload: Payload, liked: bool) -> Answer {
    let author = call.user()?;
    let post: PostId = call.id("post")?;
    call.no_body(payload).await?;
    writes::submit(call, author, Wish::SetPostLike { post, liked }).await
}

/// `GET /v1/posts/{post}/likes`
pub(super) async fn list_post_likes(call: Call) -> Answer {
    let viewer = call.viewer()?;
    let post: PostId = call.id("post")?;
    let request = PageRequest::of(&call, viewer, "")?;
    let page = call.services.reads.post_likes(viewer, post, request.after, request.limit).await?;
    reply::page::<UserView, User<'_>, UserId>(&call, viewer, &request, &page, None)
}

/// `PUT /v1/posts/{post}/comments/{comment}/like`
pub(super) async fn like_comment(call: Call, payload: Payload) -> Answer {
    set_comment_like(&call, payload, true).await
}

/// `DELETE /v1/posts/{post}/comments/{comment}/like`
pub(super) async fn unlike_comment(call: Call, payload: Payload) -> Answer {
    set_comment_like(&call, payload, false).await
}

async fn set_comment_like(call: &Call, payload: Payload, liked: bool) -> Answer {
    let author = call.user()?;
    let (post, comment) = (call.id("post")?, call.id("comment")?);
    call.no_body(payload).await?;
    writes::submit(call, author, Wish::SetCommentLike { post, comment, liked }).await
}
