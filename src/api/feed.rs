//! The feed: posts by those the reader follows and by himself.

use super::call::{Answer, Call};
use super::paging::PageRequest;
use super::reply;
use super::representation::Post;
use crate::ledger::view::PostView;
use crate::vocabulary::ids::PostId;

/// `GET /v1/feed`
pub(super) async fn get_feed(call: Call) -> Answer {
    let reader = call.user()?;
    let request = PageRequest::of(&call, Some(reader), "")?;
    let page = call.services.reads.feed(reader, request.after, request.limit).await?;
    reply::page::<PostView, Post<'_>, PostId>(&call, Some(reader), &request, &page, None)
}
