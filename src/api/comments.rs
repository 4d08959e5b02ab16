//! Comments of a post: create, list, read, edit, delete.

use actix_web::web::Payload;

use super::call::{Answer, Call};
use super::paging::PageRequest;
use super::problem::Problem;
use super::representation::Comment;
use super::{entity_tag, reply, writes};
use crate::intake::Wish;
use crate::ledger::view::{CommentView, Order};
use crate::vocabulary::ids::{CommentId, PostId};
use crate::vocabulary::text::CommentBody;

/// `POST /v1/posts/{post}/comments`
pub(super) async fn create_comment(call: Call, payload: Payload) -> Answer {
    let author = call.user()?;
    let post: PostId = call.id("post")?;
    let received = call.body(payload, false).await?;
    let members = received.members(&["body", "parent_id"])?;
    let body = members.required("body", CommentBody::parse)?;
    let parent = members.optional("parent_id", |text| text.parse::<CommentId>())?;
    writes::submit(&call, author, Wish::CreateComment { post, parent, body }).await
}

/// `GET /v1/posts/{post}/comments`
pub(super) async fn list_comments(call: Call) -> Answer {
    let viewer = call.viewer()?;
    let post: PostId = call.id("post")?;
    let (order, kept) = match call.query().get("order")? {
        None | Some("asc") => (Order::Ascending, "order=asc&"),
        Some("desc") => (Order::Descending, "order=desc&"),
        Some(_) => return Err(Problem::invalid("order", "choice", "must be asc or desc")),
    };
    let request = PageRequest::of(&call, viewer, kept)?;
    let (page, version) = call.services.reads.comments(viewer, post, order, request.after, request.limit).await?;
    reply::page::<CommentView, Comment<'_>, CommentId>(&call, viewer, &request, &page, Some(version))
}

/// `GET /v1/posts/{post}/comments/{comment}`
pub(super) async fn get_comment(call: Call) -> Answer {
    let viewer = call.viewer()?;
    let comment = call.services.reads.comment(viewer, call.id("post")?, call.id("comment")?).await?;
    reply::data(&call, viewer, &Comment::from(&comment), Some(comment.revision))
}

/// `PATCH /v1/posts/{post}/comments/{comment}`
pub(super) async fn edit_comment(call: Call, payload: Payload) -> Answer {
    let author = call.user()?;
    let (post, comment) = (call.id("post")?, call.id("comment")?);
    let if_revision = entity_tag::wanted_revision(call.headers())?;
    let body = call.body(payload, false).await?.members(&["body"])?.required("body", CommentBody::parse)?;
    writes::submit(&call, author, Wish::EditComment { post, comment, body, if_revision }).await
}

/// `DELETE /v1/posts/{post}/comments/{comment}`
pub(super) async fn delete_comment(call: Call, payload: Payload) -> Answer {
    let author = call.user()?;
    let (post, comment) = (call.id("post")?, call.id("comment")?);
    let if_revision = entity_tag::wanted_revision(call.headers())?;
    call.no_body(payload).await?;
    writes::submit(&call, author, Wish::DeleteComment { post, comment, if_revision }).await
}
