//! How reads are answered: representation, entity tag, consistency token, 304.

use actix_web::HttpResponse;
use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use serde::Serialize;

use super::call::{Answer, Call};
use super::consistency;
use super::entity_tag;
use super::paging::{PageBody, PageKey, PageRequest};
use super::representation::Items;
use super::writes::{JSON, json};
use crate::ledger::view::Page;
use crate::vocabulary::ids::{Position, UserId};

/// An object. With a revision it gets an entity tag, and may be answered 304.
pub(super) fn data(call: &Call, reader: Option<UserId>, value: &impl Serialize, revision: Option<Position>) -> Answer {
    let bytes = json(value)?;
    let tag = revision.and_then(|revision| entity_tag::of(revision, &bytes));
    let unchanged = tag.as_ref().is_some_and(|tag| entity_tag::is_known(call.headers(), tag));
    let mut response = if unchanged {
        HttpResponse::new(StatusCode::NOT_MODIFIED)
    } else {
        let mut response = HttpResponse::new(StatusCode::OK).set_body(BoxBody::new(bytes));
        response.headers_mut().insert(header::CONTENT_TYPE, JSON);
        response
    };
    if let Some(tag) = tag {
        response.headers_mut().insert(header::ETAG, tag);
    }
    consistency::put_on_read(call, reader, &mut response)?;
    Ok(response)
}

/// A page of a list.
pub(super) fn page<'a, T, R, K>(
    call: &Call,
    reader: Option<UserId>,
    request: &PageRequest<K>,
    page: &'a Page<T, K>,
    version: Option<Position>,
) -> Answer
where
    R: From<&'a T> + Serialize,
    K: PageKey,
{
    let next = request.next(call, page.next);
    let (cursor, link) = next.unzip();
    let body = PageBody { items: Items::<T, R>::new(&page.items), next: cursor.as_deref(), version: version.map(|version| version.0) };
    let mut response = data(call, reader, &body, None)?;
    if let Some(link) = link {
        response.headers_mut().insert(header::LINK, link);
    }
    Ok(response)
}

/// JSON that no reader distinguishes.
pub(super) fn plain(value: &impl Serialize) -> Answer {
    Ok(text(JSON, json(value)?))
}

/// A body of some type.
pub(super) fn text(content_type: HeaderValue, body: impl Into<Vec<u8>>) -> HttpResponse {
    let mut response = HttpResponse::new(StatusCode::OK).set_body(BoxBody::new(body.into()));
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}
