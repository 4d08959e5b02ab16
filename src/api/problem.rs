//! Everything that goes wrong, as a problem document (RFC 9457): the one place that turns kinds of errors into statuses.
//!
//! A handler fails with a [`Problem`]; the layer in `middleware` renders it, since only there the request's id and whether the
//! request was a write are known. Internal causes are logged here and never shown.

use std::borrow::Cow;
use std::fmt;

use actix_web::body::BoxBody;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::http::{ConnectionType, StatusCode};
use actix_web::{HttpResponse, ResponseError};
use serde::Serialize;

use crate::intake::accounts::{AccountError, AuthError};
use crate::intake::{Quota, SubmitError};
use crate::ledger::view::ViewError;
use crate::support::chain::Chain;
use crate::support::error_kind::ErrorKind;
use crate::vocabulary::rejection::Rejection;
use crate::vocabulary::text::TextError;

pub(super) const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/problem+json");
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");
const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");

macro_rules! problem_names {
    ($($name:ident, $text:literal, $status:literal, $title:literal, $explanation:literal;)+) => {
        /// The closed list of problems. `type` is `/problems/<name>`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum ProblemName { $($name),+ }

        impl ProblemName {
            pub const ALL: &[Self] = &[$(Self::$name),+];

            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text),+ }
            }

            pub fn status(self) -> u16 {
                match self { $(Self::$name => $status),+ }
            }

            pub fn title(self) -> &'static str {
                match self { $(Self::$name => $title),+ }
            }

            /// What a person finds at the problem's `type`.
            pub fn explanation(self) -> &'static str {
                match self { $(Self::$name => $explanation),+ }
            }
        }
    };
}

problem_names! {
    Malformed, "malformed", 400, "The request is not well formed",
        "The body is not JSON, or an id, a cursor or a header is not of the form that the API describes. Sending the same request again will fail again.";
    Unauthenticated, "unauthenticated", 401, "Signing in is needed",
        "The request carries no access token, or one that is not, or no longer, believed. Refresh the session or log in again.";
    Forbidden, "forbidden", 403, "This is not allowed",
        "The one who is signed in may not do this: only its author changes a post or a comment, people who block each other do not follow each other, and a browser's write must come from an allowed origin.";
    NotFound, "not-found", 404, "There is no such thing",
        "Nothing is at this address, or nothing that the one who asks may see.";
    Gone, "gone", 410, "It was deleted",
        "The object existed and was deleted. It will not come back.";
    MethodNotAllowed, "method-not-allowed", 405, "The method is not for this address",
        "The address exists; the Allow field lists the methods that it takes.";
    NotAcceptable, "not-acceptable", 406, "No acceptable representation",
        "The API answers with application/json, which the Accept field of the request excludes.";
    UnsupportedMediaType, "unsupported-media-type", 415, "The body is of a type that is not read here",
        "Send application/json in UTF-8, or for PATCH also application/merge-patch+json, without a content encoding.";
    UsernameTaken, "username-taken", 409, "The username is taken",
        "Somebody has this username already. Usernames do not distinguish upper and lower case.";
    KeyInUse, "idempotency-key-in-use", 409, "A request with this key is in flight",
        "An earlier request with the same Idempotency-Key has not been answered yet. Ask again a little later.";
    Conflict, "conflict", 409, "It conflicts with the present state",
        "The request was in order, but the present state does not allow it.";
    PreconditionFailed, "precondition-failed", 412, "It was changed in the meantime",
        "If-Match names a revision that is no longer the present one. Read the object again and decide anew.";
    RequestTimeout, "request-timeout", 408, "The request took too long to arrive",
        "The head of a request must arrive within 10 seconds, its body within 30.";
    PayloadTooLarge, "payload-too-large", 413, "The body is too large",
        "A request body may have at most 256 KiB.";
    Invalid, "invalid", 422, "A value is not acceptable",
        "The request is well formed, but some values are not acceptable; the member errors lists them by field.";
    KeyReused, "idempotency-key-reused", 422, "The key was used for another request",
        "An Idempotency-Key stands for one request; this one has another content than the first with the same key.";
    UpgradeRequired, "upgrade-required", 426, "A streaming protocol is needed",
        "The stream speaks WebSocket and server-sent events. Ask for an upgrade, or accept text/event-stream.";
    TooManyRequests, "too-many-requests", 429, "Too many requests",
        "Somebody asks faster than the limits allow. Wait for the seconds that Retry-After names.";
    Internal, "internal", 500, "Something went wrong here",
        "This is a fault of the server. Its log has the details under the request_id.";
    Overloaded, "overloaded", 503, "There is too much to do",
        "The queue of accepted writes is full. Nothing was accepted; come back after the seconds that Retry-After names.";
    Unavailable, "unavailable", 503, "A part of the data cannot be reached",
        "The shard that holds the data cannot be asked now. Come back after the seconds that Retry-After names.";
    Indefinite, "indefinite", 504, "The outcome is not known",
        "The request may still take effect. Ask again with the same Idempotency-Key.";
}

/// One input that was not acceptable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldError {
    pub field: Cow<'static, str>,
    pub code: &'static str,
    pub detail: Cow<'static, str>,
}

/// What an answer needs beside the name.
#[derive(Debug, Default)]
struct Extras {
    detail: Option<Cow<'static, str>>,
    errors: Vec<FieldError>,
    retry_after_s: Option<u64>,
    quota: Option<Quota>,
    headers: Vec<(HeaderName, HeaderValue)>,
    closes: bool,
}

/// A problem on its way to the client.
#[derive(Debug)]
pub struct Problem {
    name: ProblemName,
    /// Boxed: most answers are not problems, and a `Result` is as large as its larger side.
    extras: Box<Extras>,
}

/// The members of the document.
#[derive(Serialize)]
pub(super) struct Document<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    #[serde(skip_serializing_if = "<[FieldError]>::is_empty")]
    errors: &'a [FieldError],
    /// `Some(None)` is `null`: it may still happen.
    #[serde(skip_serializing_if = "Option::is_none")]
    accepted: Option<Option<bool>>,
}

impl<'a> Document<'a> {
    /// A document outside of an answer, as a rejected Write carries it.
    pub(super) fn of_kind(kind: ErrorKind) -> Document<'a> {
        let name = name_of(kind);
        Document {
            r#type: type_of(name),
            title: name.title(),
            status: name.status(),
            detail: None,
            request_id: None,
            errors: &[],
            accepted: None,
        }
    }
}

fn type_of(name: ProblemName) -> String {
    format!("/problems/{}", name.as_str())
}

/// The table of kinds and names.
fn name_of(kind: ErrorKind) -> ProblemName {
    match kind {
        ErrorKind::Malformed => ProblemName::Malformed,
        ErrorKind::Invalid => ProblemName::Invalid,
        ErrorKind::Unauthenticated => ProblemName::Unauthenticated,
        ErrorKind::Forbidden => ProblemName::Forbidden,
        ErrorKind::NotFound => ProblemName::NotFound,
        ErrorKind::Gone => ProblemName::Gone,
        ErrorKind::UsernameTaken => ProblemName::UsernameTaken,
        ErrorKind::Conflict => ProblemName::Conflict,
        ErrorKind::PreconditionFailed => ProblemName::PreconditionFailed,
        ErrorKind::TooManyRequests { .. } => ProblemName::TooManyRequests,
        ErrorKind::Overloaded { .. } => ProblemName::Overloaded,
        ErrorKind::Unavailable { .. } => ProblemName::Unavailable,
        ErrorKind::Indefinite => ProblemName::Indefinite,
        ErrorKind::Internal => ProblemName::Internal,
        ErrorKind::KeyReused => ProblemName::KeyReused,
        ErrorKind::KeyInUse => ProblemName::KeyInUse,
    }
}

impl Problem {
    pub(super) fn new(name: ProblemName) -> Self {
        Self { name, extras: Box::default() }
    }

    pub(super) fn of_kind(kind: ErrorKind) -> Self {
        let mut problem = Self::new(name_of(kind));
        if let ErrorKind::TooManyRequests { retry_after_s }
        | ErrorKind::Overloaded { retry_after_s }
        | ErrorKind::Unavailable { retry_after_s } = kind
        {
            // Zero would ask for a storm.
            problem.extras.retry_after_s = Some(retry_after_s.max(1));
        }
        problem
    }

    pub(super) fn malformed(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ProblemName::Malformed).detail(detail)
    }

    pub(super) fn invalid(field: impl Into<Cow<'static, str>>, code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::invalid_fields(vec![FieldError { field: field.into(), code, detail: detail.into() }])
    }

    pub(super) fn invalid_fields(errors: Vec<FieldError>) -> Self {
        let mut problem = Self::new(ProblemName::Invalid);
        problem.extras.errors = errors;
        problem
    }

    /// No credentials were sent: RFC 6750 asks for a challenge without an error.
    pub(super) fn not_signed_in() -> Self {
        Self::new(ProblemName::Unauthenticated)
    }

    /// Credentials were sent and are not believed.
    pub(super) fn invalid_token() -> Self {
        Self::new(ProblemName::Unauthenticated)
            .header(header::WWW_AUTHENTICATE, HeaderValue::from_static(r#"Bearer realm="sosik", error="invalid_token""#))
    }

    pub(super) fn method_not_allowed(allow: HeaderValue) -> Self {
        Self::new(ProblemName::MethodNotAllowed).header(header::ALLOW, allow)
    }

    /// The body is of a type that this call does not read.
    pub(super) fn unsupported_media_type(patch: bool) -> Self {
        let problem = Self::new(ProblemName::UnsupportedMediaType).closing();
        if patch {
            problem.header(ACCEPT_PATCH, HeaderValue::from_static("application/json, application/merge-patch+json"))
        } else {
            problem.header(ACCEPT_POST, HeaderValue::from_static("application/json"))
        }
    }

    #[must_use]
    pub(super) fn detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.extras.detail = Some(detail.into());
        self
    }

    #[must_use]
    pub(super) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.extras.headers.push((name, value));
        self
    }

    /// Closes the connection after the answer: what follows on it cannot be trusted, or will not be read.
    #[must_use]
    pub(super) fn closing(mut self) -> Self {
        self.extras.closes = true;
        self
    }

    /// Whether the connection ends with it.
    pub(super) fn closes(&self) -> bool {
        self.extras.closes
    }

    pub(super) fn name(&self) -> ProblemName {
        self.name
    }

    /// What `accepted` says when the request was a write.
    fn accepted(&self) -> Option<Option<bool>> {
        match self.name.status() {
            504 => Some(None),
            400..=499 | 503 => Some(Some(false)),
            _ => None,
        }
    }

    /// The answer. `write`: the request asked for a change.
    pub(super) fn render(&self, request_id: &str, write: bool) -> HttpResponse {
        let document = Document {
            r#type: type_of(self.name),
            title: self.name.title(),
            status: self.name.status(),
            detail: self.extras.detail.as_deref(),
            request_id: Some(request_id),
            errors: &self.extras.errors,
            accepted: if write { self.accepted() } else { None },
        };
        // A document of texts and numbers always serialises; an empty body is still the right status.
        let body = serde_json::to_vec(&document).unwrap_or_default();
        let status = StatusCode::from_u16(self.name.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = HttpResponse::with_body(status, BoxBody::new(body));
        if self.extras.closes {
            response.head_mut().set_connection_type(ConnectionType::Close);
        }
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, CONTENT_TYPE);
        for (name, value) in &self.extras.headers {
            headers.insert(name.clone(), value.clone());
        }
        if self.name == ProblemName::Unauthenticated && !headers.contains_key(header::WWW_AUTHENTICATE) {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(r#"Bearer realm="sosik""#));
        }
        if let Some(seconds) = self.extras.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(quota) = &self.extras.quota {
            insert_text(headers, RATE_LIMIT_POLICY, &format!(r#""writes";q={};w={}"#, quota.limit, quota.window_s));
            insert_text(headers, RATE_LIMIT, &format!(r#""writes";r={};t={}"#, quota.remaining, quota.reset_s));
        }
        response
    }
}

fn insert_text(headers: &mut header::HeaderMap, name: HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name, value);
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name.as_str())
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.name.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// Only a place holder: the layer renders the document.
    fn error_response(&self) -> HttpResponse {
        HttpResponse::new(self.status_code())
    }
}

/// A fault of ours: the log has the chain, the client an id to ask with.
fn log_internal(stage: &'static str, error: &(dyn std::error::Error + 'static)) {
    tracing::error!(stage, error = %Chain(error), "a request failed");
}

fn detail_of_rejection(rejection: Rejection) -> Option<&'static str> {
    match rejection {
        Rejection::SubjectTaken => Some("this subject has a user already"),
        Rejection::Discarded => Some("an operator discarded the write after it could not be applied"),
        _ => None,
    }
}

impl From<SubmitError> for Problem {
    fn from(error: SubmitError) -> Self {
        let problem = Self::of_kind(error.kind());
        match error {
            SubmitError::Invalid { field, code, detail } => Self::invalid(field, code, detail),
            SubmitError::Refused(rejection) => match detail_of_rejection(rejection) {
                Some(detail) => problem.detail(detail),
                None => problem,
            },
            SubmitError::Unavailable { shard, .. } => {
                tracing::debug!(shard, "a write was refused: the shard has used up its share");
                problem
            }
            SubmitError::TooFast { quota, .. } => {
                let mut problem = problem;
                problem.extras.quota = Some(quota);
                problem
            }
            SubmitError::Internal(source) => {
                log_internal("intake", source.as_ref());
                problem
            }
            SubmitError::Overloaded { .. } | SubmitError::KeyReused | SubmitError::KeyInUse | SubmitError::Indefinite => problem,
        }
    }
}

impl From<ViewError> for Problem {
    fn from(error: ViewError) -> Self {
        if let ViewError::Internal(source) = &error {
            log_internal("view", source.as_ref());
        }
        Self::of_kind(error.kind())
    }
}

impl From<AccountError> for Problem {
    fn from(error: AccountError) -> Self {
        if let Some((field, code, detail)) = error.invalid() {
            return Self::invalid(field, code, detail);
        }
        if error.kind() == ErrorKind::Internal {
            log_internal("sign-in", &error);
        }
        let problem = Self::of_kind(error.kind());
        match error {
            AccountError::WrongPassword => problem.detail("the current password is wrong"),
            AccountError::NoSession => problem.detail("no session of this server stands behind the token"),
            _ => problem,
        }
    }
}

impl From<AuthError> for Problem {
    fn from(error: AuthError) -> Self {
        match error.kind() {
            ErrorKind::Unauthenticated => Self::invalid_token(),
            ErrorKind::Internal => {
                log_internal("authentication", &error);
                Self::new(ProblemName::Internal)
            }
            kind => Self::of_kind(kind),
        }
    }
}

/// A text that did not pass, as an error of its field.
pub(super) fn text_error(field: &'static str, error: &TextError) -> FieldError {
    FieldError { field: Cow::Borrowed(field), code: error.code(), detail: Cow::Owned(error.to_string()) }
}
