//! Who asks: a bearer token, or the cookie of a browser. A credential that is not believed is refused everywhere it counts,
//! never taken for nobody.
//!
//! A cookie is sent by the browser whoever wrote the page, so a change that rests on one must come from an origin of ours.

use actix_web::dev::ServiceRequest;
use actix_web::http::header::{self, HeaderMap};

use super::{Door, routed_path};
use crate::api::auth::cookies;
use crate::api::call::Caller;
use crate::api::origin::Provenance;
use crate::api::problem::{Problem, ProblemName};
use crate::api::{Services, extract};
use crate::substrate::store::rows::Role;
use crate::support::faults::planted;

/// Calls that sign in: what credential they came with does not matter.
const SIGNING_IN: [&str; 3] = ["/v1/auth/register", "/v1/auth/login", "/v1/auth/refresh"];

/// What the admin listener shows to whoever reaches it: probes, metrics, and the dashboard, which asks for a token itself.
const OPEN_TO_ALL: [&str; 4] = ["/livez", "/readyz", "/metrics", "/"];
const DASHBOARD: &str = "/dashboard/";

/// Fills in who asks. On the admin listener it also keeps out who is no operator, before anything says what exists.
pub(super) async fn check(services: &Services, door: Door, request: &ServiceRequest, caller: &mut Caller) -> Result<(), Problem> {
    let path = routed_path(request.request());
    let counts = match door {
        Door::Public => path.starts_with("/v1/") && !SIGNING_IN.contains(&path),
        Door::Admin => !OPEN_TO_ALL.contains(&path) && !path.starts_with(DASHBOARD),
    };
    if !counts {
        return Ok(());
    }
    let headers = request.headers();
    if let Some(token) = bearer(headers)? {
        caller.identity = Some(services.sign_in.authenticate(token).await?);
    } else if door == Door::Public
        && let Some(token) = extract::cookie(headers, cookies::access_name(caller.secure))
    {
        caller.by_cookie = true;
        if !request.method().is_safe() && caller.provenance != Provenance::Ours && !planted("api::skip_origin_check") {
            tracing::info!("a write with a cookie came from a foreign page");
            return Err(Problem::new(ProblemName::Forbidden).detail("a write with a cookie must come from an allowed origin"));
        }
        caller.identity = Some(services.sign_in.authenticate(token).await?);
    }
    if door == Door::Admin {
        let identity = caller.identity.ok_or_else(Problem::not_signed_in)?;
        if identity.role != Role::Admin {
            return Err(Problem::new(ProblemName::Forbidden));
        }
    }
    Ok(())
}

/// The token of `Authorization`. Another scheme, or two fields, are credentials that are not believed.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let mut values = headers.get_all(header::AUTHORIZATION);
    let Some(value) = values.next() else { return Ok(None) };
    let token = value.to_str().ok().and_then(|text| {
        let (scheme, token) = text.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    match token {
        Some(token) if !token.is_empty() && values.next().is_none() => Ok(Some(token)),
        _ => Err(Problem::invalid_token()),
    }
}
