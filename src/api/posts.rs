//! Posts: create, read, edit, delete.

use actix_web::web::Payload;

use super::call::{Answer, Call};
use super::representation::Post;
use super::{entity_tag, reply, writes};
use crate::intake::Wish;
use crate::vocabulary::ids::PostId;
use crate::vocabulary::text::PostBody;

/// `POST /v1/posts`
pub(super) async fn create_post(call: Call, payload: Payload) -> Answer {
    let author = call.user()?;
    let body = call.body(payload, false).await?.members(&["body"])?.required("body", PostBody::parse)?;
    writes::submit(&call, author, Wish::CreatePost { body }).await
}

/// `GET /v1/posts/{post}`
pub(super) async fn get_post(call: Call) -> Answer {
    let viewer = call.viewer()?;
    let post = call.services.reads.post(viewer, call.id("post")?).await?;
    reply::data(&call, viewer, &Post::from(&post), Some(post.revision))
}

/// `PATCH /v1/posts/{post}`
pub(super) async fn edit_post(call: Call, payload: Payload) -> Answer {
    let author = call.user()?;
    let post: PostId = call.id("post")?;
    let if_revision = entity_tag::wanted_revision(call.headers())?;
    let body = call.body(payload, false).await?.members(&["body"])?.required("body", PostBody::parse)?;
    writes::submit(&call, author, Wish::EditPost { post, body, if_revision }).await
}

/// `DELETE /v1/posts/{post}`
pub(super) async fn delete_post(call: Call, payload: Payload) -> Answer {
    let author = call.user()?;
    let post: PostId = call.id("post")?;
    let if_revision = entity_tag::wanted_revision(call.headers())?;
    call.no_body(payload).await?;
    writes::submit(&call, author, Wish::DeletePost { post, if_revision }).await
}
