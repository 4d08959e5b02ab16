//! How somebody wants to hear of a post's thread.

use actix_web::web::Payload;

use super::call::{Answer, Call};
use super::fields::Reason;
use super::problem::FieldError;
use super::writes;
use crate::intake::Wish;
use crate::vocabulary::command::SubscriptionMode;
use crate::vocabulary::ids::PostId;

/// The text is not one of the modes.
struct NotAMode;

impl Reason for NotAMode {
    fn into_field_error(self, field: &'static str) -> FieldError {
        FieldError { field: field.into(), code: "choice", detail: "must be subscribed, muted or default".into() }
    }
}

fn parse_mode(text: &str) -> Result<SubscriptionMode, NotAMode> {
    match text {
        "subscribed" => Ok(SubscriptionMode::Subscribed),
        "muted" => Ok(SubscriptionMode::Muted),
        "default" => Ok(SubscriptionMode::Default),
        _ => Err(NotAMode),
    }
}

/// `PUT /v1/posts/{post}/subscription`
pub(super) async fn set_subscription(call: Call, payload: Payload) -> Answer {
    let author = call.user()?;
    let post: PostId = call.id("post")?;
    let mode = call.body(payload, false).await?.members(&["mode"])?.required("mode", |text| parse_mode(&text))?;
    writes::submit(&call, author, Wish::SetSubscription { post, mode }).await
}
