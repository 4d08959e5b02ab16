//! Access tokens: EdDSA JWTs of ours, and JWTs of the further issuers that an operator configured (RFC 7519, 8725, 9068).
//!
//! A text in, who it stands for out. What is believed: exactly three parts, a known issuer, a key of that issuer's own set
//! chosen by `kid`, that key's one algorithm, our audience, and times that are whole numbers. A header that names keys or asks for
//! extensions (`crit`, `b64`, `jku`, `jwk`, `x5u`) is refused, and nothing that a token says is ever fetched or opened.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, Header};
use serde::{Deserialize, Deserializer, de::IgnoredAny};

use super::issuers::Issuers;
use super::keys::KeyRing;
use crate::vocabulary::Millis;
use crate::vocabulary::ids::{SessionId, UserId};

/// The most a token may measure; looked at before anything is parsed. Foreign tokens with many claims stay below half of it.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;
/// How far clocks of issuer and server may be apart.
pub const LEEWAY_S: u64 = 5;
/// The longest life of a token that we sign: what `sosik token` may ask for.
pub const LIFE_MAX_S: u64 = 24 * 60 * 60;
/// 9999-12-31T23:59:59Z: the end of RFC 3339. Later times are nonsense, and would overflow.
const SECONDS_MAX: u64 = 253_402_300_799;
/// What RFC 9068 calls access tokens.
const ACCESS_TOKEN_TYPE: &str = "at+jwt";
/// The value of `role` for operators.
const ROLE_ADMIN: &str = "admin";
/// OpenID Connect's limit of a subject.
pub const SUBJECT_CHARACTERS_MAX: usize = 255;
/// A key id longer than this is nobody's.
const KID_CHARACTERS_MAX: usize = 200;
const AUDIENCES_MAX: usize = 16;
const JTI_BYTES: usize = 12;

/// Why a token is not believed. Callers see one and the same 401; the reason is for the log and for tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("the token is too large")]
    TooLarge,
    #[error("the token is not three parts of base64url JSON")]
    Malformed,
    #[error("the token's header is not acceptable")]
    Header,
    #[error("the token is not an access token")]
    Type,
    #[error("the token's issuer is not known")]
    Issuer,
    /// The place in [`Issuers`] is given for a foreign issuer: its keys may be looked up again.
    #[error("the token's key is not known")]
    UnknownKey { foreign: Option<usize> },
    #[error("the token's algorithm is not its key's")]
    Algorithm,
    #[error("the token's signature is wrong")]
    Signature,
    #[error("a claim is missing or of the wrong type")]
    Claims,
    #[error("the token is for another audience")]
    Audience,
    #[error("the token is not valid yet")]
    NotYet,
    #[error("the token has expired")]
    Expired,
}

#[derive(Debug, thiserror::Error)]
pub enum SignError {
    #[error("a token lives at most {LIFE_MAX_S} seconds")]
    LifeTooLong,
    #[error("there is no key to sign with")]
    NoKey,
    #[error("the system has no randomness")]
    Randomness,
    #[error("could not sign the token")]
    Sign(#[source] jsonwebtoken::errors::Error),
}

/// What an access token is to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claims {
    pub user: UserId,
    /// `None` for an operator's token: no session stands behind it, so only its end ends it.
    pub session: Option<SessionId>,
    pub admin: bool,
    /// The seconds it lives.
    pub life_s: u64,
}

/// A token as it is handed out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    pub token: String,
    pub expires_in_s: u64,
}

/// Who a believed token stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verified {
    Own { user: UserId, session: Option<SessionId>, admin: bool, expires_at: Millis },
    Foreign { issuer: usize, subject: String, name: Option<String>, expires_at: Millis },
}

impl Verified {
    /// Not believed from then on.
    pub fn expires_at(&self) -> Millis {
        match self {
            Self::Own { expires_at, .. } | Self::Foreign { expires_at, .. } => *expires_at,
        }
    }
}

/// Signs and checks access tokens.
pub struct Tokens {
    keys: Arc<KeyRing>,
    issuers: Arc<Issuers>,
    issuer: String,
    audience: String,
}

#[derive(serde::Serialize)]
struct SignedClaims<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: UserId,
    #[serde(skip_serializing_if = "Option::is_none")]
    sid: Option<SessionId>,
    jti: String,
    iat: u64,
    nbf: u64,
    exp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'a str>,
}

/// The header members that mean anything to us. Serde refuses a member that stands twice.
#[derive(Deserialize)]
struct GivenHeader {
    alg: Algorithm,
    #[serde(default)]
    typ: Option<String>,
    kid: Option<String>,
    #[serde(default, deserialize_with = "present")]
    crit: bool,
    #[serde(default, deserialize_with = "present")]
    b64: bool,
    #[serde(default, deserialize_with = "present")]
    jku: bool,
    #[serde(default, deserialize_with = "present")]
    jwk: bool,
    #[serde(default, deserialize_with = "present")]
    x5u: bool,
    #[serde(default, deserialize_with = "present")]
    x5c: bool,
}

#[derive(Deserialize)]
struct GivenClaims {
    iss: String,
    aud: Audience,
    sub: String,
    exp: u64,
    #[serde(default, deserialize_with = "whole_number")]
    nbf: Option<u64>,
    #[serde(default, deserialize_with = "whole_number")]
    iat: Option<u64>,
    #[serde(default)]
    sid: Option<serde_json::Value>,
    #[serde(default)]
    jti: Option<serde_json::Value>,
    #[serde(default)]
    role: Option<serde_json::Value>,
    #[serde(default)]
    name: Option<serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

/// Whether the member stands there at all, `null` included.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}

/// A member that may be missing but not be `null`, a text or a fraction.
fn whole_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    u64::deserialize(deserializer).map(Some)
}

impl Tokens {
    /// `issuer` and `audience` are what our own tokens carry.
    pub fn new(keys: Arc<KeyRing>, issuers: Arc<Issuers>, issuer: String, audience: String) -> Self {
        Self { keys, issuers, issuer, audience }
    }

    pub fn keys(&self) -> &KeyRing {
        &self.keys
    }

    pub fn issuers(&self) -> &Issuers {
        &self.issuers
    }

    /// Signs with the newest key that everybody may know.
    pub fn sign(&self, claims: &Claims, now: Millis) -> Result<Signed, SignError> {
        if claims.life_s > LIFE_MAX_S {
            return Err(SignError::LifeTooLong);
        }
        self.keys.reload_if_changed(now);
        let key = self.keys.signing(now).ok_or(SignError::NoKey)?;
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some(ACCESS_TOKEN_TYPE.to_owned());
        header.kid = Some(key.kid.clone());
        let iat = now / 1000;
        let body = SignedClaims {
            iss: &self.issuer,
            aud: &self.audience,
            sub: claims.user,
            sid: claims.session,
            jti: random_jti()?,
            iat,
            nbf: iat,
            exp: iat + claims.life_s,
            role: claims.admin.then_some(ROLE_ADMIN),
        };
        let token = jsonwebtoken::encode(&header, &body, &key.encoding).map_err(SignError::Sign)?;
        Ok(Signed { token, expires_in_s: claims.life_s })
    }

    /// Who the token stands for, if every rule holds. Does no I/O beyond looking for new key files of ours.
    pub fn verify(&self, token: &str, now: Millis) -> Result<Verified, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::TooLarge);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header_part, claims_part) = message.split_once('.').ok_or(TokenError::Malformed)?;
        if claims_part.contains('.') {
            return Err(TokenError::Malformed);
        }
        let header = parse_header(header_part)?;
        let claims: GivenClaims = parse_part(claims_part, TokenError::Claims)?;
        let kid = header.kid.as_deref().ok_or(TokenError::Header)?;
        if claims.iss == self.issuer {
            self.check_own_type(&header)?;
            let key = self.keys.checking(kid, now).ok_or(TokenError::UnknownKey { foreign: None })?;
            check_signature(&header, Algorithm::EdDSA, &key.decoding, message, signature)?;
            return self.own(&claims, now);
        }
        let place = self.issuers.find(&claims.iss).ok_or(TokenError::Issuer)?;
        check_foreign_type(&header)?;
        let key = self.issuers.key(place, kid, now).ok_or(TokenError::UnknownKey { foreign: Some(place) })?;
        check_signature(&header, key.algorithm, &key.decoding, message, signature)?;
        let audience = self.issuers.audience(place).ok_or(TokenError::Issuer)?;
        foreign(place, audience, claims, now)
    }

    fn check_own_type(&self, header: &GivenHeader) -> Result<(), TokenError> {
        if header.typ.as_deref() == Some(ACCESS_TOKEN_TYPE) { Ok(()) } else { Err(TokenError::Type) }
    }

    fn own(&self, claims: &GivenClaims, now: Millis) -> Result<Verified, TokenError> {
        let expires_at = check_times(claims, now)?;
        if claims.nbf.is_none() || claims.iat.is_none() {
            return Err(TokenError::Claims);
        }
        check_audience(&claims.aud, &self.audience)?;
        let user = claims.sub.parse().map_err(|_error| TokenError::Claims)?;
        let session = match &claims.sid {
            None => None,
            Some(sid) => Some(sid.as_str().and_then(|sid| sid.parse().ok()).ok_or(TokenError::Claims)?),
        };
        let admin = match &claims.role {
            None => false,
            Some(role) if role.as_str() == Some(ROLE_ADMIN) => true,
            Some(_) => return Err(TokenError::Claims),
        };
        if !claims.jti.as_ref().is_some_and(serde_json::Value::is_string) {
            return Err(TokenError::Claims);
        }
        Ok(Verified::Own { user, session, admin, expires_at })
    }
}

/// `at+jwt` or `JWT` or nothing, in any case and with or without `application/` as RFC 7515 allows: issuers differ here.
fn check_foreign_type(header: &GivenHeader) -> Result<(), TokenError> {
    let Some(typ) = &header.typ else { return Ok(()) };
    let typ = typ.to_ascii_lowercase();
    match typ.strip_prefix("application/").unwrap_or(&typ) {
        "at+jwt" | "jwt" => Ok(()),
        _ => Err(TokenError::Type),
    }
}

fn foreign(issuer: usize, audience: &str, claims: GivenClaims, now: Millis) -> Result<Verified, TokenError> {
    let expires_at = check_times(&claims, now)?;
    check_audience(&claims.aud, audience)?;
    let characters = claims.sub.chars().count();
    if characters == 0 || characters > SUBJECT_CHARACTERS_MAX || claims.sub.chars().any(char::is_control) {
        return Err(TokenError::Claims);
    }
    let name = claims.name.and_then(|name| name.as_str().map(str::to_owned));
    Ok(Verified::Foreign { issuer, subject: claims.sub, name, expires_at })
}

/// Answers when the token ends, in milliseconds, with the leeway.
fn check_times(claims: &GivenClaims, now: Millis) -> Result<Millis, TokenError> {
    let now_s = now / 1000;
    let times = [Some(claims.exp), claims.nbf, claims.iat];
    if times.into_iter().flatten().any(|time| time > SECONDS_MAX) {
        return Err(TokenError::Claims);
    }
    // An issue time in the future is a lie or a broken clock: the same as `nbf`.
    if [claims.nbf, claims.iat].into_iter().flatten().any(|time| time > now_s + LEEWAY_S) {
        return Err(TokenError::NotYet);
    }
    let expires_at = (claims.exp + LEEWAY_S) * 1000;
    if now >= expires_at { Err(TokenError::Expired) } else { Ok(expires_at) }
}

fn check_audience(given: &Audience, wanted: &str) -> Result<(), TokenError> {
    let named = match given {
        Audience::One(one) => one == wanted,
        Audience::Several(several) => several.len() <= AUDIENCES_MAX && several.iter().any(|one| one == wanted),
    };
    if named { Ok(()) } else { Err(TokenError::Audience) }
}

fn parse_header(part: &str) -> Result<GivenHeader, TokenError> {
    let header: GivenHeader = parse_part(part, TokenError::Header)?;
    let refused = header.crit || header.b64 || header.jku || header.jwk || header.x5u || header.x5c;
    let kid_fits = header.kid.as_ref().is_some_and(|kid| !kid.is_empty() && kid.len() <= KID_CHARACTERS_MAX);
    if refused || !kid_fits { Err(TokenError::Header) } else { Ok(header) }
}

fn parse_part<T: for<'de> Deserialize<'de>>(part: &str, wrong: TokenError) -> Result<T, TokenError> {
    let json = URL_SAFE_NO_PAD.decode(part).map_err(|_error| TokenError::Malformed)?;
    if json.first() != Some(&b'{') {
        // Serde would take a struct from an array as well.
        return Err(TokenError::Malformed);
    }
    serde_json::from_slice(&json).map_err(|_error| wrong)
}

/// The header only says which algorithm it claims; the key says which one it is.
fn check_signature(
    header: &GivenHeader,
    algorithm: Algorithm,
    key: &DecodingKey,
    message: &str,
    signature: &str,
) -> Result<(), TokenError> {
    if header.alg != algorithm {
        return Err(TokenError::Algorithm);
    }
    match jsonwebtoken::crypto::verify(signature, message.as_bytes(), key, algorithm) {
        Ok(true) => Ok(()),
        Ok(false) | Err(_) => Err(TokenError::Signature),
    }
}

fn random_jti() -> Result<String, SignError> {
    use aws_lc_rs::rand::{SecureRandom, SystemRandom};

    let mut bytes = [0; JTI_BYTES];
    SystemRandom::new().fill(&mut bytes).map_err(|_error| SignError::Randomness)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests;
