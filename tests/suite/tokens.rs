//! Access tokens, by the security rules S1–S4 and S46: bent, of another kind, expired, of a rotated key.

use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::support::client::{PASSWORD, Person, within};
use crate::support::server::{Server, Settings};

fn encoded(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

/// Header and claims of a good token, to be bent.
fn parts(token: &str) -> (Value, Value, String) {
    let mut parts = token.split('.');
    let mut json = || {
        let bytes = URL_SAFE_NO_PAD.decode(parts.next().expect("a part")).expect("base64url");
        serde_json::from_slice(&bytes).expect("JSON")
    };
    let (header, claims) = (json(), json());
    (header, claims, parts.next().expect("a signature").to_owned())
}

pub(crate) fn changed(value: &Value, member: &str, to: Value) -> Value {
    let mut value = value.clone();
    value[member] = to;
    value
}

/// Tokens that must not be taken, each with the reason.
fn bent_tokens(token: &str, public_key: &[u8]) -> Vec<(String, String)> {
    let (header, claims, signature) = parts(token);
    let mut bent = Vec::new();
    let mut add = |why: &str, token: String| bent.push((why.to_owned(), token));
    for algorithm in ["none", "None", "nOnE", "NONE", "HS256", "RS256", "ES256", "PS256", "eddsa", "EDDSA"] {
        let header = changed(&header, "alg", json!(algorithm));
        add(&format!("alg {algorithm}, no signature"), format!("{}.{}.", encoded(&header), encoded(&claims)));
        add(&format!("alg {algorithm}, its signature"), format!("{}.{}.{signature}", encoded(&header), encoded(&claims)));
    }
    let signed = format!("{}.{}", encoded(&changed(&header, "alg", json!("HS256"))), encoded(&claims));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, public_key), signed.as_bytes());
    add("HS256 with the public key", format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref())));
    for (member, value) in [
        ("kid", json!("unknown")),
        ("kid", json!("../../../../dev/null")),
        ("kid", json!("' OR 1=1 --")),
        ("kid", json!("k".repeat(10_000))),
        ("kid", json!(["a"])),
        ("typ", json!("JWT")),
        ("typ", json!("rt+jwt")),
        ("crit", json!(["exp"])),
        ("b64", json!(false)),
        ("jku", json!("http://127.0.0.1:1/keys")),
        ("x5u", json!("http://127.0.0.1:1/keys")),
        ("jwk", json!({"kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(public_key)})),
    ] {
        add(&format!("{member} in the header"), format!("{}.{}.{signature}", encoded(&changed(&header, member, value)), encoded(&claims)));
    }
    for (member, value) in [("sub", json!("1")), ("exp", json!(99_999_999_999_u64)), ("exp", json!("99999999999")), ("aud", json!("x"))] {
        add(&format!("{member} changed"), format!("{}.{}.{signature}", encoded(&header), encoded(&changed(&claims, member, value))));
    }
    add("no signature", format!("{}.{}.", encoded(&header), encoded(&claims)));
    add("two parts", format!("{}.{}", encoded(&header), encoded(&claims)));
    add("four parts", format!("{token}.x"));
    add("cut", token[..token.len() - 3].to_owned());
    add("a dot", ".".to_owned());
    add("long", "a".repeat(7_000));
    bent
}

#[tokio::test]
async fn a_token_that_was_bent_in_any_way_is_refused_everywhere() {
    let server = Server::start().await;
    let ann = Person::join(&server, "ann").await;
    let keys = ann.get("/.well-known/jwks.json").send().await.expect(200);
    let key = URL_SAFE_NO_PAD.decode(keys.text_at("/keys/0/x")).expect("base64url");
    let post = ann.publish("Readable").await;

    for (why, token) in bent_tokens(ann.token.as_deref().expect("signed in"), &key) {
        let bent = ann.with_token(&token);
        for path in ["/v1/users/me", &format!("/v1/posts/{post}")] {
            let answer = bent.get(path).send().await;
            assert_eq!((answer.status, answer.problem()), (401, "unauthenticated"), "{why} on {path}: {}", answer.text);
            assert!(answer.header("www-authenticate").contains("error=\"invalid_token\""), "{why}: {:?}", answer.headers);
        }
    }
}

#[tokio::test]
async fn one_kind_of_token_is_no_other_kind() {
    // So that there is a line for each request.
    let server = Server::start_with(Settings::default().with("telemetry.log", "debug")).await;
    let ann = Person::join(&server, "ann").await;
    let access = ann.token.clone().expect("signed in");
    let consistency = ann.write_post("x").send().await.expect(202).header("consistency-token").to_owned();

    ann.with_token(&ann.refresh_token).read_user("me").await.expect_problem(401, "unauthenticated");
    ann.with_token(&consistency).read_user("me").await.expect_problem(401, "unauthenticated");
    ann.refresh(&access).await.expect_problem(401, "unauthenticated");
    ann.refresh(&consistency).await.expect_problem(401, "unauthenticated");
    let in_query = ann.signed_out().get(&format!("/v1/users/me?access_token={access}&token={access}")).send().await;
    in_query.expect_problem(401, "unauthenticated");
    let log = server.log();
    assert!(log.contains("/v1/users/"), "no request stands in the log");
    for token in [&access, &consistency, &ann.refresh_token] {
        assert!(!log.contains(token), "a token stands in the log");
    }
}

#[tokio::test]
async fn tokens_expire_and_the_operators_are_signed_by_the_same_key() {
    let server = Server::start_with(Settings::default().with("auth.access_ttl", "1s")).await;
    let (ann, bob) = (Person::join(&server, "ann").await, Person::join(&server, "bob").await);
    let (_, claims, _) = parts(ann.token.as_deref().expect("signed in"));
    assert_eq!(claims["sub"], json!(ann.id));
    for claim in ["iss", "aud", "sid", "jti", "iat", "exp", "nbf"] {
        assert!(!claims[claim].is_null(), "{claim} is missing in {claims}");
    }

    within(Duration::from_secs(60), "the token to expire", async || (ann.read_user("me").await.status == 401).then_some(())).await;

    let (made, output) = server.run(&["token", &ann.name, &bob.name, "--ttl", "1h"]);
    assert!(made, "{output}");
    let tokens: Vec<&str> = output.lines().map(str::trim).filter(|line| line.matches('.').count() == 2).collect();
    let [first, second] = tokens.as_slice() else { panic!("not a token for each name: {output}") };
    for (person, token) in [(&ann, first), (&bob, second)] {
        assert_eq!(person.with_token(token).read_user("me").await.expect(200).text_at("/id"), person.id);
    }
    let (made, output) = server.run(&["token", &ann.name, "nobody", "--ttl", "1h"]);
    assert!(!made && output.contains("nobody"), "{output}");
}

#[tokio::test]
async fn rotated_keys_overlap() {
    let mut server = Server::start().await;
    let ann = Person::join(&server, "ann").await;
    server.terminate().await;
    let (rotated, output) = server.run(&["keys", "rotate"]);
    assert!(rotated, "{output}");
    server.restart().await;

    ann.read_user("me").await.expect(200);
    let (header, ..) = parts(&ann.signed_out().login(&ann.name, PASSWORD).await.expect(200).text_at("/access_token"));
    let (before, ..) = parts(ann.token.as_deref().expect("signed in"));
    assert_eq!(header["kid"], before["kid"], "a key signs that others may not know yet");
    let keys = ann.get("/.well-known/jwks.json").send().await.expect(200);
    assert!(keys.json["keys"].as_array().is_some_and(|keys| keys.len() >= 2), "{}", keys.text);
    assert!(!keys.text.contains("\"d\""), "a private key is public");
}
