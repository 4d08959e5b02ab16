//! Forged, foreign and malformed access tokens: rules S1 to S4, as tables.

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use jsonwebtoken::EncodingKey;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::support::auth::issuers::IssuerSettings;
use crate::support::auth::keys::{ANNOUNCED_MS, rotate};
use crate::support::auth::refresh::{RefreshClaims, RefreshTokens};
use crate::support::auth::seal::{ConsistencyToken, Sealer};
use crate::support::auth::secret::test_secret;
use crate::vocabulary::ids::Position;

const NOW: Millis = 1_800_000_000_000;
const NOW_S: u64 = NOW / 1000;
const OWN: &str = "http://127.0.0.1:8080";
const FOREIGN: &str = "https://issuer.example";

/// A server with one foreign issuer, and the private keys of both to forge with.
struct World {
    dir: tempfile::TempDir,
    tokens: Tokens,
    foreign: EncodingKey,
}

async fn world() -> World {
    let dir = tempfile::tempdir().expect("a directory");
    let keys = Arc::new(KeyRing::open(&dir.path().join("keys"), NOW).expect("made"));
    let pair = Ed25519KeyPair::generate().expect("a key");
    let x = URL_SAFE_NO_PAD.encode(pair.public_key());
    let jwks = json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "x": x, "kid": "f1" }] });
    let path = dir.path().join("foreign.json");
    std::fs::write(&path, jwks.to_string()).expect("written");
    let settings =
        IssuerSettings { issuer: FOREIGN.to_owned(), audience: "sosik-there".to_owned(), jwks: path.to_str().expect("a path").to_owned() };
    let issuers = Issuers::new(vec![settings], OWN).expect("acceptable");
    issuers.refresh_due(NOW).await;
    let tokens = Tokens::new(keys, Arc::new(issuers), OWN.to_owned(), "sosik".to_owned());
    World { dir, tokens, foreign: EncodingKey::from_ed_der(pair.to_pkcs8v1().expect("a document").as_ref()) }
}

impl World {
    fn header(&self) -> Value {
        json!({ "alg": "EdDSA", "typ": "at+jwt", "kid": self.tokens.keys().signing_kid(NOW) })
    }

    fn claims() -> Value {
        json!({ "iss": OWN, "aud": "sosik", "sub": "7", "sid": "8", "jti": "j", "iat": NOW_S, "nbf": NOW_S, "exp": NOW_S + 600 })
    }

    fn foreign_claims() -> Value {
        json!({ "iss": FOREIGN, "aud": "sosik-there", "sub": "anna|1", "exp": NOW_S + 600 })
    }

    /// Signs whatever is asked for with our own genuine key.
    fn signed(&self, header: &Value, claims: &Value) -> String {
        let key = self.tokens.keys().signing(NOW).expect("a key");
        sign_raw(&header.to_string(), &claims.to_string(), &key.encoding)
    }

    fn with_header(&self, change: impl Fn(&mut Value)) -> Result<Verified, TokenError> {
        let mut header = self.header();
        change(&mut header);
        self.tokens.verify(&self.signed(&header, &Self::claims()), NOW)
    }

    fn with_claim(&self, name: &str, value: Option<Value>) -> Result<Verified, TokenError> {
        self.tokens.verify(&self.signed(&self.header(), &changed(Self::claims(), name, value)), NOW)
    }

    fn foreign_with_claim(&self, name: &str, value: Option<Value>) -> Result<Verified, TokenError> {
        self.foreign(&json!({ "alg": "EdDSA", "kid": "f1" }), &changed(Self::foreign_claims(), name, value))
    }

    fn foreign(&self, header: &Value, claims: &Value) -> Result<Verified, TokenError> {
        self.tokens.verify(&sign_raw(&header.to_string(), &claims.to_string(), &self.foreign), NOW)
    }
}

fn changed(mut claims: Value, name: &str, value: Option<Value>) -> Value {
    let members = claims.as_object_mut().expect("an object");
    match value {
        Some(value) => members.insert(name.to_owned(), value),
        None => members.remove(name),
    };
    claims
}

fn sign_raw(header: &str, claims: &str, key: &EncodingKey) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), key, Algorithm::EdDSA).expect("signed");
    format!("{message}.{signature}")
}

#[tokio::test]
async fn a_signed_token_says_again_what_it_was_signed_for() {
    let world = world().await;
    let claims = Claims { user: UserId::from_raw(7), session: Some(SessionId::from_raw(8)), admin: true, life_s: 600 };
    let signed = world.tokens.sign(&claims, NOW).expect("signed");

    let expires_at = NOW + 600_000 + LEEWAY_S * 1000;
    let expected = Verified::Own { user: UserId::from_raw(7), session: Some(SessionId::from_raw(8)), admin: true, expires_at };
    assert_eq!(world.tokens.verify(&signed.token, NOW), Ok(expected));
    assert_eq!(signed.expires_in_s, 600);
    assert_eq!(world.tokens.verify(&signed.token, expires_at - 1).map(|verified| verified.expires_at()), Ok(expires_at));
    assert_eq!(world.tokens.verify(&signed.token, expires_at), Err(TokenError::Expired));
    assert_eq!(world.tokens.verify(&signed.token, NOW - 6_000), Err(TokenError::NotYet));
}

#[tokio::test]
async fn a_token_lives_no_longer_than_keys_overlap() {
    let world = world().await;
    let claims = |life_s| Claims { user: UserId::from_raw(7), session: None, admin: false, life_s };

    assert!(world.tokens.sign(&claims(LIFE_MAX_S), NOW).is_ok());
    assert!(matches!(world.tokens.sign(&claims(LIFE_MAX_S + 1), NOW), Err(SignError::LifeTooLong)));
}

#[tokio::test]
async fn a_rotation_leaves_the_tokens_in_use_good() {
    let world = world().await;
    let claims = Claims { user: UserId::from_raw(7), session: None, admin: false, life_s: 600 };
    rotate(&world.dir.path().join("keys"), NOW).expect("rotated");
    let turns = NOW + 1 + ANNOUNCED_MS;
    let before = world.tokens.sign(&claims, turns - 1).expect("signed").token;
    let after = world.tokens.sign(&claims, turns).expect("signed").token;

    assert_ne!(before.split('.').next(), after.split('.').next(), "another key signs");
    assert!(world.tokens.verify(&before, turns).is_ok());
    assert!(world.tokens.verify(&after, turns).is_ok());
}

#[tokio::test]
async fn the_control_of_these_tables_is_believed() {
    // If these were refused, every table below would pass for the wrong reason.
    let world = world().await;

    assert!(world.with_header(|_| ()).is_ok());
    assert!(world.with_claim("jti", Some(json!("other"))).is_ok());
    assert!(world.with_claim("sid", None).is_ok());
    assert!(world.with_claim("role", Some(json!("admin"))).is_ok());
    assert!(world.foreign_with_claim("name", Some(json!("Anna"))).is_ok());
}

#[tokio::test]
async fn s1_a_key_has_one_algorithm() {
    // Planted fault: using the algorithm that the header names.
    let world = world().await;
    let (header, claims) = (world.header(), World::claims());
    for alg in ["none", "None", "nOnE", "", "HS256", "RS256", "ES256", "PS256", "ES384", "eddsa", "EDDSA", "Ed25519"] {
        let forged = world.with_header(|header| header["alg"] = json!(alg));
        assert!(matches!(forged, Err(TokenError::Header | TokenError::Algorithm)), "{alg}: {forged:?}");
    }
    for alg in [json!(null), json!(1), json!(["EdDSA"]), json!({})] {
        assert_eq!(world.with_header(|header| header["alg"] = alg.clone()), Err(TokenError::Header), "{alg}");
    }

    // The classic confusion: the public key's bytes as the secret of an HMAC.
    let jwks = world.tokens.keys().jwks(NOW);
    let public = jwks["keys"][0]["x"].as_str().expect("a key");
    for secret in [public.as_bytes().to_vec(), URL_SAFE_NO_PAD.decode(public).expect("base64"), jwks.to_string().into_bytes()] {
        let mut header = header.clone();
        header["alg"] = json!("HS256");
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()));
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), message.as_bytes());
        let forged = format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag));
        assert_eq!(world.tokens.verify(&forged, NOW), Err(TokenError::Algorithm));
    }
}

#[tokio::test]
async fn s1_the_signature_and_the_form_are_exact() {
    // Planted fault: skipping the check for an empty signature, or lax base64.
    let world = world().await;
    let good = world.signed(&world.header(), &World::claims());
    let (message, signature) = good.rsplit_once('.').expect("three parts");
    let (header, claims) = message.split_once('.').expect("two parts");
    let other_signature = {
        let stranger = EncodingKey::from_ed_der(Ed25519KeyPair::generate().expect("a key").to_pkcs8v1().expect("a document").as_ref());
        sign_raw(&world.header().to_string(), &World::claims().to_string(), &stranger)
    };
    let table = [
        format!("{message}."),
        message.to_owned(),
        format!("{header}.{signature}"),
        format!("..{signature}"),
        "..".to_owned(),
        String::new(),
        format!("{good}."),
        format!(".{good}"),
        format!("{good}.{signature}"),
        format!("{good}="),
        format!("{good} "),
        format!(" {good}"),
        format!("{message}.{}", "A".repeat(signature.len())),
        format!("{header}.{}.{signature}", URL_SAFE_NO_PAD.encode(World::foreign_claims().to_string())),
        format!("{header}.{}.{signature}", URL_SAFE_NO_PAD.encode("[1,2]")),
        format!("{}.{claims}.{signature}", URL_SAFE_NO_PAD.encode("\"text\"")),
        format!("{header}=.{claims}.{signature}"),
        other_signature,
        good.replace('.', "%2e"),
        "x".repeat(TOKEN_BYTES_MAX),
    ];
    for token in table {
        assert!(world.tokens.verify(&token, NOW).is_err(), "{token}");
    }
    assert!(world.tokens.verify(&good, NOW).is_ok());
}

#[tokio::test]
async fn s1_extensions_and_members_that_stand_twice_are_refused() {
    let world = world().await;
    for (name, value) in [("crit", json!(["b64"])), ("crit", json!([])), ("crit", json!(null)), ("b64", json!(false)), ("b64", json!(true))]
    {
        assert_eq!(world.with_header(|header| header[name] = value.clone()), Err(TokenError::Header), "{name} {value}");
    }

    let key = world.tokens.keys().signing(NOW).expect("a key");
    let kid = &key.kid;
    let claims = World::claims().to_string();
    let twice = format!(r#"{{"alg":"EdDSA","alg":"EdDSA","typ":"at+jwt","kid":"{kid}"}}"#);
    assert_eq!(world.tokens.verify(&sign_raw(&twice, &claims, &key.encoding), NOW), Err(TokenError::Header));
    let two_subjects = claims.replacen('{', r#"{"sub":"1","#, 1);
    let token = sign_raw(&world.header().to_string(), &two_subjects, &key.encoding);
    assert_eq!(world.tokens.verify(&token, NOW), Err(TokenError::Claims));
}

#[tokio::test]
async fn s2_keys_come_only_from_our_own_set() {
    // Planted fault: opening a file named by `kid`, or trusting an embedded key.
    let world = world().await;
    for kid in ["x", "", "../../dev/null", "/dev/null", "' OR 1=1 --", "f1", &"k".repeat(10_000)] {
        let forged = world.with_header(|header| header["kid"] = json!(kid));
        assert!(matches!(forged, Err(TokenError::Header | TokenError::UnknownKey { foreign: None } | TokenError::TooLarge)), "{forged:?}");
    }
    for kid in [json!(null), json!(7), json!(["x"]), json!({ "kid": "x" })] {
        assert_eq!(world.with_header(|header| header["kid"] = kid.clone()), Err(TokenError::Header), "{kid}");
    }
    let without = world.with_header(|header| {
        header.as_object_mut().expect("an object").remove("kid");
    });
    assert_eq!(without, Err(TokenError::Header));
}

#[tokio::test]
async fn s2_a_token_that_names_a_place_for_keys_is_refused_and_nobody_goes_there() {
    // Planted fault: fetching `jku` or `x5u`.
    let world = world().await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("set");
    let url = format!("http://{}/keys", listener.local_addr().expect("an address"));
    let embedded = world.tokens.keys().jwks(NOW)["keys"][0].clone();
    for (name, value) in [("jku", json!(url)), ("x5u", json!(url)), ("jwk", embedded), ("x5c", json!(["MII"])), ("jku", json!(null))] {
        assert_eq!(world.with_header(|header| header[name] = value.clone()), Err(TokenError::Header), "{name}");
        let mut header = json!({ "alg": "EdDSA", "kid": "f1" });
        header[name] = value.clone();
        assert_eq!(world.foreign(&header, &World::foreign_claims()), Err(TokenError::Header), "{name} foreign");
    }

    assert_eq!(listener.accept().map(|_| ()).map_err(|error| error.kind()), Err(std::io::ErrorKind::WouldBlock));
}

#[tokio::test]
async fn s3_times_are_whole_numbers() {
    // Planted fault: CVE-2026-25537, where an `exp` of the wrong type counts as absent.
    let world = world().await;
    let soon = NOW_S + 60;
    let wrong = [
        json!(soon.to_string()),
        json!(soon as f64 + 0.5),
        json!(-1),
        json!(i64::MAX as u64 + 1),
        json!(u64::MAX),
        json!(1e30),
        json!(SECONDS_MAX + 1),
        json!(null),
        json!([soon]),
        json!({ "n": soon }),
        json!(true),
    ];
    for name in ["exp", "nbf", "iat"] {
        for value in &wrong {
            assert_eq!(world.with_claim(name, Some(value.clone())), Err(TokenError::Claims), "{name} {value}");
            assert_eq!(world.foreign_with_claim(name, Some(value.clone())), Err(TokenError::Claims), "foreign {name} {value}");
        }
        assert_eq!(world.with_claim(name, None), Err(TokenError::Claims), "{name} missing");
    }
    // `1.0` and `1e9` are whole in value and still not how a time is written.
    let key = world.tokens.keys().signing(NOW).expect("a key");
    for number in ["1800000600.0", "18000006e2"] {
        let claims = World::claims().to_string().replace(&(NOW_S + 600).to_string(), number);
        let token = sign_raw(&world.header().to_string(), &claims, &key.encoding);
        assert_eq!(world.tokens.verify(&token, NOW), Err(TokenError::Claims), "{number}");
    }
    assert_eq!(world.foreign_with_claim("exp", None), Err(TokenError::Claims));
    assert!(world.foreign_with_claim("nbf", None).is_ok(), "a foreign issuer need not send it");
}

#[tokio::test]
async fn s3_the_leeway_is_five_seconds() {
    // Planted fault: the library's default of 60 s.
    let world = world().await;
    let cases = [
        ("exp", NOW_S - 4, Ok(())),
        ("exp", NOW_S - 5, Err(TokenError::Expired)),
        ("exp", 0, Err(TokenError::Expired)),
        ("nbf", NOW_S + 5, Ok(())),
        ("nbf", NOW_S + 6, Err(TokenError::NotYet)),
        ("iat", NOW_S + 6, Err(TokenError::NotYet)),
    ];
    for (name, value, expected) in cases {
        assert_eq!(world.with_claim(name, Some(json!(value))).map(|_| ()), expected, "{name} {value}");
        assert_eq!(world.foreign_with_claim(name, Some(json!(value))).map(|_| ()), expected, "foreign {name} {value}");
    }
}

#[tokio::test]
async fn s3_issuer_audience_and_subject_are_required() {
    // Planted fault: an `aud` that is only checked when it is there.
    let world = world().await;
    for value in [
        None,
        Some(json!(null)),
        Some(json!(1)),
        Some(json!([])),
        Some(json!(["other"])),
        Some(json!("other")),
        Some(json!("SOSIK")),
        Some(json!({})),
    ] {
        let refused = world.with_claim("aud", value.clone());
        assert!(matches!(refused, Err(TokenError::Claims | TokenError::Audience)), "{value:?} {refused:?}");
        assert!(world.foreign_with_claim("aud", value.clone()).is_err(), "foreign {value:?}");
    }
    assert!(world.with_claim("aud", Some(json!(["other", "sosik"]))).is_ok());
    for value in [None, Some(json!(null)), Some(json!(1)), Some(json!("other")), Some(json!([OWN])), Some(json!(""))] {
        let refused = world.with_claim("iss", value.clone());
        assert!(matches!(refused, Err(TokenError::Claims | TokenError::Issuer)), "{value:?} {refused:?}");
    }
    for value in [
        None,
        Some(json!(null)),
        Some(json!(7)),
        Some(json!("")),
        Some(json!("0")),
        Some(json!("07")),
        Some(json!("anna")),
        Some(json!(["7"])),
    ] {
        assert_eq!(world.with_claim("sub", value.clone()), Err(TokenError::Claims), "{value:?}");
    }
    for value in [None, Some(json!(7)), Some(json!("")), Some(json!("a\nb")), Some(json!("x".repeat(SUBJECT_CHARACTERS_MAX + 1)))] {
        assert_eq!(world.foreign_with_claim("sub", value.clone()), Err(TokenError::Claims), "foreign {value:?}");
    }
    for (name, value) in [("sid", json!(8)), ("sid", json!("x")), ("role", json!("root")), ("role", json!(["admin"])), ("jti", json!(1))] {
        assert_eq!(world.with_claim(name, Some(value.clone())), Err(TokenError::Claims), "{name} {value}");
    }
}

#[tokio::test]
async fn s4_other_kinds_of_tokens_are_not_access_tokens() {
    // Planted fault: one key, or one `typ`, for several kinds.
    let world = world().await;
    for typ in
        [json!("JWT"), json!("jwt"), json!("AT+JWT"), json!("refresh+jwt"), json!("ticket+jwt"), json!("application/at+jwt"), json!("")]
    {
        assert_eq!(world.with_header(|header| header["typ"] = typ.clone()), Err(TokenError::Type), "{typ}");
    }
    assert_eq!(world.with_header(|header| header["typ"] = json!(null)), Err(TokenError::Type));

    let secret = test_secret();
    let claims = RefreshClaims { user: UserId::from_raw(7), session: SessionId::from_raw(8), generation: 0 };
    let refresh = RefreshTokens::new(&secret).make(claims);
    let sealed = ConsistencyToken { journal: uuid::Uuid::nil(), position: Position(1), shards: Vec::new() };
    let consistency = Sealer::new(&secret).seal_token(Some(UserId::from_raw(7)), &sealed).expect("small");
    let access = world.signed(&world.header(), &World::claims());
    assert_eq!(world.tokens.verify(&refresh, NOW), Err(TokenError::Malformed));
    assert_eq!(world.tokens.verify(&consistency, NOW), Err(TokenError::Malformed));
    assert!(RefreshTokens::new(&secret).check(&access).is_err());
    assert!(RefreshTokens::new(&secret).check(&consistency).is_err());
    assert!(Sealer::new(&secret).open_token(Some(UserId::from_raw(7)), &refresh).is_err());
}

#[tokio::test]
async fn a_foreign_token_signs_its_subject_in_and_no_one_of_ours() {
    // Planted fault: a foreign issuer's key that is good for our own issuer, or the reverse.
    let world = world().await;
    let verified = world.foreign_with_claim("name", Some(json!("Anna")));
    let expires_at = NOW + 600_000 + LEEWAY_S * 1000;
    let expected = Verified::Foreign { issuer: 0, subject: "anna|1".to_owned(), name: Some("Anna".to_owned()), expires_at };
    assert_eq!(verified, Ok(expected));

    let kid = world.tokens.keys().signing_kid(NOW);
    let ours_by_them = world.foreign(&json!({ "alg": "EdDSA", "typ": "at+jwt", "kid": kid }), &World::claims());
    assert_eq!(ours_by_them, Err(TokenError::Signature));
    let ours_by_their_key = world.foreign(&json!({ "alg": "EdDSA", "typ": "at+jwt", "kid": "f1" }), &World::claims());
    assert_eq!(ours_by_their_key, Err(TokenError::UnknownKey { foreign: None }));
    let theirs_by_us = world.tokens.verify(&world.signed(&world.header(), &World::foreign_claims()), NOW);
    assert_eq!(theirs_by_us, Err(TokenError::UnknownKey { foreign: Some(0) }));

    for (typ, good) in [("JWT", true), ("at+jwt", true), ("application/at+jwt", true), ("id+jwt", false), ("logout+jwt", false)] {
        let header = json!({ "alg": "EdDSA", "kid": "f1", "typ": typ });
        assert_eq!(world.foreign(&header, &World::foreign_claims()).is_ok(), good, "{typ}");
    }
}

#[tokio::test]
async fn the_size_is_looked_at_first() {
    let world = world().await;
    let padded = |length: usize| {
        let token = world.signed(&world.header(), &changed(World::claims(), "pad", Some(json!("x".repeat(length)))));
        (token.len(), world.tokens.verify(&token, NOW))
    };
    let (at_most, last) = (0..TOKEN_BYTES_MAX).rev().map(padded).find(|(length, _)| *length <= TOKEN_BYTES_MAX).expect("fits");
    assert!(at_most > TOKEN_BYTES_MAX - 8 && last.is_ok(), "{at_most} {last:?}");
    assert_eq!(padded(TOKEN_BYTES_MAX).1, Err(TokenError::TooLarge));
}

proptest! {
    #[test]
    fn any_text_is_refused_without_a_panic(text in ".{0,300}", parts in proptest::collection::vec("[A-Za-z0-9_-]{0,40}", 0..5)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let world = runtime.block_on(world());
        prop_assert!(world.tokens.verify(&text, NOW).is_err());
        prop_assert!(world.tokens.verify(&parts.join("."), NOW).is_err());
    }

    #[test]
    fn a_single_changed_character_breaks_a_token(place in 0_usize..400, replacement in "[A-Za-z0-9_-]") {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let world = runtime.block_on(world());
        let good = world.signed(&world.header(), &World::claims());
        let place = place % good.len();
        let mut forged = good.clone();
        forged.replace_range(place..=place, &replacement);
        prop_assume!(forged != good);

        prop_assert!(world.tokens.verify(&forged, NOW).is_err());
    }
}
