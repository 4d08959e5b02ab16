//! One request as the handlers see it: who asks, for what, under which conditions. Every handler takes a [`Call`].

use std::future::{Ready, ready};
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::http::header::{self, HeaderMap, HeaderName};
use actix_web::web::Data;
use actix_web::{FromRequest, HttpMessage, HttpRequest, HttpResponse};

use super::Services;
use super::extract::{self, Body};
use super::origin::Provenance;
use super::ports::{Client, Identity};
use super::problem::{Problem, ProblemName};
use crate::ledger::view::UserRef;
use crate::vocabulary::command::NewSession;
use crate::vocabulary::ids::{NotAnId, UserId};
use crate::vocabulary::text::Username;

pub(super) type Answer = Result<HttpResponse, Problem>;

pub(super) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
pub(super) const PREFER: HeaderName = HeaderName::from_static("prefer");
/// The longest wait that `Prefer` can ask for, in seconds.
pub(super) const WAIT_MAX_S: u64 = 30;
const KEY_CHARACTERS_MAX: usize = 64;

/// What the layer found out about who asks.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Caller {
    pub(super) identity: Option<Identity>,
    /// The client's own address, as far as it can be believed.
    pub(super) address: Option<IpAddr>,
    /// The credential came as a cookie.
    pub(super) by_cookie: bool,
    /// Cookies go out with `Secure` and their prefixes.
    pub(super) secure: bool,
    /// Whose page sent it, as far as the browser says; only found out where cookies count.
    pub(super) provenance: Provenance,
}

/// A request with what the handlers need beside it.
pub(super) struct Call {
    pub(super) services: Data<Services>,
    pub(super) caller: Caller,
    request: HttpRequest,
}

impl FromRequest for Call {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Self::of(request))
    }
}

impl Call {
    fn of(request: &HttpRequest) -> Result<Self, Problem> {
        if !extract::accepts_json(request.headers()) {
            return Err(Problem::new(ProblemName::NotAcceptable));
        }
        let services = request.app_data::<Data<Services>>().cloned().ok_or_else(|| Problem::new(ProblemName::Internal))?;
        let caller = request.extensions().get::<Caller>().copied().unwrap_or_default();
        Ok(Self { services, caller, request: request.clone() })
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        self.request.headers()
    }

    pub(super) fn path(&self) -> &str {
        self.request.path()
    }

    /// Who asks, for calls that need somebody.
    pub(super) fn identity(&self) -> Result<Identity, Problem> {
        self.caller.identity.ok_or_else(Problem::not_signed_in)
    }

    /// The user who asks, for calls that need one.
    pub(super) fn user(&self) -> Result<UserId, Problem> {
        self.identity().map(|identity| identity.user)
    }

    /// The user who reads, or nobody, if nobody may read.
    pub(super) fn viewer(&self) -> Result<Option<UserId>, Problem> {
        match self.caller.identity {
            Some(identity) => Ok(Some(identity.user)),
            None if self.services.settings.anonymous_reads => Ok(None),
            None => Err(Problem::not_signed_in()),
        }
    }

    /// An id of the path.
    pub(super) fn id<T: FromStr<Err = NotAnId>>(&self, name: &'static str) -> Result<T, Problem> {
        let text = self.request.match_info().get(name).unwrap_or_default();
        text.parse().map_err(|error: NotAnId| Problem::malformed(format!("{name}: {error}")))
    }

    /// The user of the path: an id, `@` and a username, or `me`.
    pub(super) fn user_ref(&self) -> Result<UserRef, Problem> {
        let text = self.request.match_info().get("user").unwrap_or_default();
        if text == "me" {
            return self.user().map(UserRef::Id);
        }
        match text.strip_prefix('@') {
            // What cannot be a username is nobody's.
            Some(name) => Username::parse(name).map(UserRef::Name).map_err(|_cause| Problem::new(ProblemName::NotFound)),
            None => self.id("user").map(UserRef::Id),
        }
    }

    /// The id of the user of the path. A name costs a read.
    pub(super) async fn user_id(&self) -> Result<UserId, Problem> {
        match self.user_ref()? {
            UserRef::Id(user) => Ok(user),
            name @ UserRef::Name(_) => {
                let viewer = self.caller.identity.map(|identity| identity.user);
                Ok(self.services.reads.user(viewer, name).await?.card.user)
            }
        }
    }

    pub(super) fn query(&self) -> extract::Query<'_> {
        extract::Query::of(self.request.query_string())
    }

    /// `Idempotency-Key`, without the quotes of a structured-field string.
    pub(super) fn key(&self) -> Result<Option<String>, Problem> {
        let Some(value) = extract::single(self.headers(), &IDEMPOTENCY_KEY)? else { return Ok(None) };
        let key = value.strip_prefix('"').and_then(|inner| inner.strip_suffix('"')).unwrap_or(value);
        let fits = (1..=KEY_CHARACTERS_MAX).contains(&key.len())
            && key.bytes().all(|byte| (0x21..=0x7e).contains(&byte) && byte != b'"' && byte != b'\\');
        if fits { Ok(Some(key.to_owned())) } else { Err(Problem::malformed("Idempotency-Key: expected 1 to 64 visible characters")) }
    }

    /// The wait that `Prefer` asks for, cut to what is granted.
    pub(super) fn wait(&self) -> Option<Duration> {
        extract::preferred_wait_s(self.headers()).map(|seconds| Duration::from_secs(seconds.min(WAIT_MAX_S)))
    }

    /// The members of the body; `optional`: there may be none.
    pub(super) async fn body(&self, payload: actix_web::web::Payload, optional: bool) -> Result<Body, Problem> {
        Body::read(&self.request, payload, optional).await
    }

    /// For calls that take nothing: no body, or an empty object.
    pub(super) async fn no_body(&self, payload: actix_web::web::Payload) -> Result<(), Problem> {
        if !extract::has_body(self.headers()) {
            return Ok(());
        }
        self.body(payload, true).await?.members(&[]).map(drop)
    }

    /// Who is at the other end.
    pub(super) fn client(&self) -> Client {
        let agent = self.headers().get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        Client { address: self.caller.address, device: agent.chars().take(NewSession::DEVICE_CHARACTERS_MAX).collect() }
    }

    /// A cookie of ours by its full name.
    pub(super) fn cookie(&self, name: &str) -> Option<String> {
        extract::cookie(self.headers(), name).map(str::to_owned)
    }
}
