//! Signing in and out, and the list of one's sessions. What is decided is decided in intake's accounts; here are the shapes.

pub(super) mod cookies;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::Payload;
use serde::Serialize;

use super::call::{Answer, Call};
use super::origin::Provenance;
use super::ports::{Grant, Registration};
use super::problem::{Problem, ProblemName};
use super::representation::User;
use super::{consistency, reply, writes};
use crate::support::timestamp::Timestamp;
use crate::vocabulary::ids::SessionId;

/// The tokens of a grant. With cookies the body holds neither token.
#[derive(Serialize)]
struct GrantBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<User<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    access_token: Option<&'a str>,
    token_type: &'static str,
    expires_in: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<&'a str>,
    session_id: SessionId,
}

/// Whether the answer sets cookies. A foreign page must not sign its visitor in as somebody else.
fn wants_cookies(call: &Call) -> Result<bool, Problem> {
    let wanted = call.query().flag("cookies")?;
    if wanted && call.caller.provenance == Provenance::Foreign {
        tracing::info!("a sign-in with cookies came from a foreign page");
        return Err(Problem::new(ProblemName::Forbidden).detail("a sign-in with cookies must come from an allowed origin"));
    }
    Ok(wanted)
}

fn granted(call: &Call, grant: &Grant, status: StatusCode, cookies: bool) -> Answer {
    let body = GrantBody {
        user: grant.seen.as_deref().map(User::from),
        access_token: (!cookies).then_some(grant.access_token.as_str()),
        token_type: "Bearer",
        expires_in: grant.expires_in_s,
        refresh_token: (!cookies).then_some(grant.refresh_token.as_str()),
        session_id: grant.session,
    };
    let mut response = reply::text(writes::JSON, writes::json(&body)?);
    *response.status_mut() = status;
    if cookies {
        cookies::set_tokens(&mut response, grant, call.caller.secure);
        consistency::put_on_sign_in(call, grant.user, &mut response);
    }
    Ok(response)
}

fn text(text: String) -> Result<String, std::convert::Infallible> {
    Ok(text)
}

/// `POST /v1/auth/register`
pub(super) async fn register(call: Call, payload: Payload) -> Answer {
    let cookies = wants_cookies(&call)?;
    let received = call.body(payload, false).await?;
    let members = received.members(&["username", "password", "display_name"])?;
    let registration = Registration {
        username: members.required("username", text)?,
        password: members.required("password", text)?,
        display_name: members.optional("display_name", text)?,
    };
    let grant = call.services.sign_in.register(registration, call.client()).await?;
    granted(&call, &grant, StatusCode::CREATED, cookies)
}

/// `POST /v1/auth/login`
pub(super) async fn login(call: Call, payload: Payload) -> Answer {
    let cookies = wants_cookies(&call)?;
    let received = call.body(payload, false).await?;
    let members = received.members(&["username", "password"])?;
    let (username, password) = (members.required("username", text)?, members.required("password", text)?);
    let grant = call.services.sign_in.login(username, password, call.client()).await?;
    granted(&call, &grant, StatusCode::OK, cookies)
}

/// `POST /v1/auth/refresh`: with the token in the body, or in its cookie.
pub(super) async fn refresh(call: Call, payload: Payload) -> Answer {
    let wanted = wants_cookies(&call)?;
    let received = call.body(payload, true).await?;
    let given = received.members(&["refresh_token"])?.optional("refresh_token", text)?;
    let (token, by_cookie) = match given {
        Some(token) => (token, false),
        None => (refresh_cookie(&call)?, true),
    };
    let mut grant = call.services.sign_in.refresh(token, call.client()).await?;
    grant.seen = None;
    granted(&call, &grant, StatusCode::OK, wanted || by_cookie)
}

/// The refresh token of the cookie. A cookie is sent whoever wrote the page, so the page must be ours.
fn refresh_cookie(call: &Call) -> Result<String, Problem> {
    let token = call.cookie(cookies::refresh_name(call.caller.secure)).ok_or_else(Problem::not_signed_in)?;
    if call.caller.provenance == Provenance::Ours {
        Ok(token)
    } else {
        Err(Problem::new(ProblemName::Forbidden).detail("a refresh with a cookie must come from an allowed origin"))
    }
}

/// `POST /v1/auth/logout`
pub(super) async fn logout(call: Call, payload: Payload) -> Answer {
    let identity = call.identity()?;
    call.no_body(payload).await?;
    call.services.sign_in.logout(identity).await?;
    let mut response = HttpResponse::new(StatusCode::NO_CONTENT);
    if call.caller.by_cookie {
        cookies::clear(&mut response, call.caller.secure);
    }
    Ok(response)
}

#[derive(Serialize)]
struct SessionBody<'a> {
    id: SessionId,
    device: &'a str,
    created_at: Timestamp,
    last_used_at: Timestamp,
    current: bool,
}

#[derive(Serialize)]
struct SessionList<'a> {
    items: Vec<SessionBody<'a>>,
    /// A user has few sessions: always the whole list.
    next: Option<&'a str>,
}

/// `GET /v1/auth/sessions`
pub(super) async fn list_sessions(call: Call) -> Answer {
    let identity = call.identity()?;
    let sessions = call.services.sign_in.sessions(identity).await?;
    let items = sessions
        .iter()
        .map(|line| SessionBody {
            id: line.session,
            device: &line.device,
            created_at: Timestamp(line.opened_at),
            last_used_at: Timestamp(line.last_used_at),
            current: identity.session == Some(line.session),
        })
        .collect();
    reply::plain(&SessionList { items, next: None })
}

/// `DELETE /v1/auth/sessions/{session}`
pub(super) async fn end_session(call: Call, payload: Payload) -> Answer {
    let identity = call.identity()?;
    let session: SessionId = call.id("session")?;
    call.no_body(payload).await?;
    call.services.sign_in.end_session(identity, session).await?;
    Ok(HttpResponse::new(StatusCode::NO_CONTENT))
}

/// `POST /v1/auth/password`
pub(super) async fn change_password(call: Call, payload: Payload) -> Answer {
    let identity = call.identity()?;
    let received = call.body(payload, false).await?;
    let members = received.members(&["current_password", "new_password"])?;
    let (current, new) = (members.required("current_password", text)?, members.required("new_password", text)?);
    call.services.sign_in.change_password(identity, current, new, call.client()).await?;
    Ok(HttpResponse::new(StatusCode::NO_CONTENT))
}
