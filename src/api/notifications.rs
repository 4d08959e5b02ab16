//! The inbox: its entries, what was read of them, and what its owner wants to hear of.

use actix_web::http::header;
use actix_web::web::Payload;
use serde::Serialize;

use super::call::{Answer, Call};
use super::fields::{Members, Reason};
use super::notification_shapes::{Notification, PreferencesBody, QuietHoursBody, WaysBody};
use super::paging::PageRequest;
use super::problem::{FieldError, Problem};
use super::representation::Items;
use super::{reply, writes};
use crate::intake::Wish;
use crate::ledger::view::NotificationView;
use crate::notify::inbox::PageAsked;
use crate::vocabulary::entry::{Group, NotAGroup, NotificationKind, ReadMark};
use crate::vocabulary::preferences::Preferences;

/// A page of the inbox as clients see it.
#[derive(Serialize)]
struct InboxBody<'a> {
    items: Items<'a, NotificationView, Notification<'a>>,
    next: Option<&'a str>,
    unread: u64,
    seq: u64,
    epoch: String,
}

#[derive(Serialize)]
struct UnreadBody {
    unread: u64,
}

impl Reason for NotAGroup {
    fn into_field_error(self, field: &'static str) -> FieldError {
        FieldError { field: field.into(), code: "format", detail: self.to_string().into() }
    }
}

/// `GET /v1/notifications`
pub(super) async fn list_notifications(call: Call) -> Answer {
    let reader = call.user()?;
    let (grouped, unread) = (flag(&call, "grouped")?, flag(&call, "unread")?);
    let kept = match (grouped, unread) {
        (false, false) => "",
        (true, false) => "grouped=true&",
        (false, true) => "unread=true&",
        (true, true) => "grouped=true&unread=true&",
    };
    let request = PageRequest::<u64>::of(&call, Some(reader), kept)?;
    let asked = PageAsked { grouped, unread, before: request.after, limit: request.limit };
    let page = call.services.notifications.list(reader, asked).await?;
    let (cursor, link) = request.next(&call, page.next).unzip();
    let body = InboxBody {
        items: Items::new(&page.items),
        next: cursor.as_deref(),
        unread: page.state.unread,
        seq: page.state.seq,
        epoch: page.epoch.to_string(),
    };
    let mut response = reply::data(&call, Some(reader), &body, None)?;
    if let Some(link) = link {
        response.headers_mut().insert(header::LINK, link);
    }
    Ok(response)
}

fn flag(call: &Call, name: &'static str) -> Result<bool, Problem> {
    match call.query().get(name)? {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(Problem::invalid(name, "choice", "must be true or false")),
    }
}

/// `POST /v1/notifications/read`
pub(super) async fn mark_read(call: Call, payload: Payload) -> Answer {
    let reader = call.user()?;
    let received = call.body(payload, false).await?;
    let members = received.members(&["up_to", "groups"])?;
    let groups = members.optional_list("groups", ReadMark::GROUPS_MAX, |text| text.parse::<Group>())?;
    let mark = match (members.optional_number("up_to")?, groups) {
        (Some(up_to), None) => ReadMark::UpTo(up_to),
        (None, Some(groups)) => ReadMark::Groups(groups),
        _ => return Err(Problem::invalid("up_to", "required", "either up_to or groups must be there")),
    };
    match writes::do_small(&call, reader, Wish::MarkRead { mark }).await? {
        Err(accepted) => Ok(accepted),
        Ok(receipt) => match call.services.notifications.unread(reader).await {
            Ok(unread) => writes::small_answer(&call, reader, &receipt, &UnreadBody { unread }),
            Err(error) => {
                tracing::debug!(%error, "a read mark stands, and what is unread now cannot be read");
                writes::accepted(&call, reader, &receipt)
            }
        },
    }
}

/// `GET /v1/notifications/preferences`
pub(super) async fn get_preferences(call: Call) -> Answer {
    let reader = call.user()?;
    let preferences = call.services.notifications.preferences(reader).await?;
    reply::data(&call, Some(reader), &PreferencesBody::from(&preferences), None)
}

/// `PUT /v1/notifications/preferences`: what is left out is as at the beginning.
pub(super) async fn set_preferences(call: Call, payload: Payload) -> Answer {
    let author = call.user()?;
    let received = call.body(payload, false).await?;
    let members = received.members(&["post", "comment", "reply", "mention", "like", "follow", "quiet_hours"])?;
    let preferences = parse_preferences(&members)?;
    match writes::do_small(&call, author, Wish::SetPreferences { preferences: preferences.clone() }).await? {
        Err(accepted) => Ok(accepted),
        Ok(receipt) => writes::small_answer(&call, author, &receipt, &PreferencesBody::from(&preferences)),
    }
}

fn parse_preferences(members: &Members<'_>) -> Result<Preferences, Problem> {
    let mut preferences = Preferences::default();
    for kind in NotificationKind::ALL {
        if let Some(ways) = members.optional_object::<WaysBody>(kind.as_str())? {
            preferences.set_ways(kind, ways.into());
        }
    }
    preferences.quiet_hours = match members.optional_object::<QuietHoursBody>("quiet_hours")? {
        None => None,
        Some(hours) => Some(hours.parse().map_err(|detail| Problem::invalid("quiet_hours", "format", detail))?),
    };
    Ok(preferences)
}
