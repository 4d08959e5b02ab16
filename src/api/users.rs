//! Users: read, the own profile, somebody's posts.

use actix_web::web::Payload;

use super::call::{Answer, Call};
use super::paging::PageRequest;
use super::problem::Problem;
use super::representation::{Post, User};
use super::{entity_tag, reply, writes};
use crate::intake::Wish;
use crate::ledger::view::{PostView, UserRef};
use crate::vocabulary::ids::PostId;
use crate::vocabulary::text::{Bio, DisplayName};

/// `GET /v1/users/{user}`
pub(super) async fn get_user(call: Call) -> Answer {
    let viewer = call.viewer()?;
    let user = call.services.reads.user(viewer, call.user_ref()?).await?;
    reply::data(&call, viewer, &User::from(&user), Some(user.card.revision))
}

/// `GET /v1/users/me`
pub(super) async fn get_me(call: Call) -> Answer {
    let reader = call.user()?;
    let user = call.services.reads.user(Some(reader), UserRef::Id(reader)).await?;
    reply::data(&call, Some(reader), &User::from(&user), Some(user.card.revision))
}

/// `PATCH /v1/users/me`
pub(super) async fn edit_profile(call: Call, payload: Payload) -> Answer {
    let author = call.user()?;
    let received = call.body(payload, true).await?;
    let members = received.members(&["display_name", "bio"])?;
    let display_name = match members.nullable("display_name", DisplayName::parse)? {
        Some(None) => return Err(Problem::invalid("display_name", "null", "cannot be cleared")),
        given => given.flatten(),
    };
    let bio = members.nullable("bio", Bio::parse)?;
    let if_revision = entity_tag::wanted_revision(call.headers())?;
    writes::submit_small(&call, author, Wish::EditProfile { display_name, bio, if_revision }).await
}

/// `GET /v1/users/{user}/posts`
pub(super) async fn list_user_posts(call: Call) -> Answer {
    let viewer = call.viewer()?;
    let request = PageRequest::of(&call, viewer, "")?;
    let user = call.user_id().await?;
    let page = call.services.reads.user_posts(viewer, user, request.after, request.limit).await?;
    reply::page::<PostView, Post<'_>, PostId>(&call, viewer, &request, &page, None)
}
