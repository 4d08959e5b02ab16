//! What one user is to another: follows, blocks and mutes.

use actix_web::web::Payload;

use super::call::{Answer, Call};
use super::paging::PageRequest;
use super::problem::Problem;
use super::representation::User;
use super::{reply, writes};
use crate::intake::Wish;
use crate::ledger::view::UserView;
use crate::vocabulary::ids::{Position, UserId};
use crate::vocabulary::relation::FollowNotify;

/// Who asks, and the other one of the path. Nobody has a relation to himself.
async fn pair(call: &Call) -> Result<(UserId, UserId), Problem> {
    let author = call.user()?;
    let other = call.user_id().await?;
    if author == other { Err(Problem::invalid("user", "self", "must be somebody else")) } else { Ok((author, other)) }
}

/// `PUT /v1/users/{user}/follow`
pub(super) async fn follow_user(call: Call, payload: Payload) -> Answer {
    let (author, followee) = pair(&call).await?;
    let notify = match call.body(payload, true).await?.members(&["notify"])?.optional_flag("notify")? {
        None => FollowNotify::Automatic,
        Some(true) => FollowNotify::Always,
        Some(false) => FollowNotify::Never,
    };
    writes::submit(&call, author, Wish::SetFollow { followee, notify: Some(notify) }).await
}

/// `DELETE /v1/users/{user}/follow`
pub(super) async fn unfollow_user(call: Call, payload: Payload) -> Answer {
    let (author, followee) = pair(&call).await?;
    call.no_body(payload).await?;
    writes::submit(&call, author, Wish::SetFollow { followee, notify: None }).await
}

/// `PUT /v1/users/{user}/block`
pub(super) async fn block_user(call: Call, payload: Payload) -> Answer {
    set_block(&call, payload, true).await
}

/// `DELETE /v1/users/{user}/block`
pub(super) async fn unblock_user(call: Call, payload: Payload) -> Answer {
    set_block(&call, payload, false).await
}

async fn set_block(call: &Call, payload: Payload, blocking: bool) -> Answer {
    let (author, other) = pair(call).await?;
    call.no_body(payload).await?;
    writes::submit(call, author, Wish::SetBlock { other, blocking }).await
}

/// `PUT /v1/users/{user}/mute`
pub(super) async fn mute_user(call: Call, payload: Payload) -> Answer {
    set_mute(&call, payload, true).await
}

/// `DELETE /v1/users/{user}/mute`
pub(super) async fn unmute_user(call: Call, payload: Payload) -> Answer {
    set_mute(&call, payload, false).await
}

async fn set_mute(call: &Call, payload: Payload, muting: bool) -> Answer {
    let (author, other) = pair(call).await?;
    call.no_body(payload).await?;
    writes::submit(call, author, Wish::SetMute { other, muting }).await
}

/// `GET /v1/users/{user}/followers`
pub(super) async fn list_followers(call: Call) -> Answer {
    let viewer = call.viewer()?;
    let request = PageRequest::of(&call, viewer, "")?;
    let user = call.user_id().await?;
    let page = call.services.reads.followers(viewer, user, request.after, request.limit).await?;
    reply::page::<UserView, User<'_>, Position>(&call, viewer, &request, &page, None)
}

/// `GET /v1/users/{user}/following`
pub(super) async fn list_following(call: Call) -> Answer {
    let viewer = call.viewer()?;
    let request = PageRequest::of(&call, viewer, "")?;
    let user = call.user_id().await?;
    let page = call.services.reads.following(viewer, user, request.after, request.limit).await?;
    reply::page::<UserView, User<'_>, Position>(&call, viewer, &request, &page, None)
}
