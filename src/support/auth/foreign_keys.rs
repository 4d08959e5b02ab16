//! A foreign issuer's JWKS document as a set of checking keys. Pure: text in, keys out.
//!
//! Each key has one algorithm: the one it names, or the one its type implies. Secret (`oct`) keys, keys for encryption, keys
//! without an id and keys of unknown types are left out.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};

/// Issuers publish a handful of keys.
const KEYS_MAX: usize = 64;
/// RSA below 2048 bits is broken.
const RSA_MODULUS_BYTES_MIN: usize = 256;

/// A key of a foreign issuer with the one algorithm that it may be used with.
pub(super) struct ForeignKey {
    pub(super) algorithm: Algorithm,
    pub(super) decoding: DecodingKey,
}

/// The text is no JWKS document, or holds no key that could be used.
#[derive(Debug, thiserror::Error)]
pub enum JwksError {
    #[error("not a JWKS document")]
    NotJwks(#[source] serde_json::Error),
    #[error("more than {KEYS_MAX} keys")]
    TooMany,
    #[error("no key that can check signatures")]
    NoKey,
}

#[derive(serde::Deserialize)]
struct Document {
    keys: Vec<serde_json::Value>,
}

/// The usable keys by id.
pub(super) fn parse(json: &[u8]) -> Result<HashMap<String, ForeignKey>, JwksError> {
    let document: Document = serde_json::from_slice(json).map_err(JwksError::NotJwks)?;
    if document.keys.len() > KEYS_MAX {
        return Err(JwksError::TooMany);
    }
    let mut keys = HashMap::new();
    for value in document.keys {
        // One by one: a key of a kind that we do not know must not hide the others.
        let Ok(jwk) = serde_json::from_value::<Jwk>(value) else { continue };
        if let Some((kid, key)) = usable(&jwk) {
            keys.insert(kid, key);
        }
    }
    if keys.is_empty() { Err(JwksError::NoKey) } else { Ok(keys) }
}

fn usable(jwk: &Jwk) -> Option<(String, ForeignKey)> {
    let kid = jwk.common.key_id.clone().filter(|kid| !kid.is_empty())?;
    let signs = jwk.common.public_key_use.as_ref().is_none_or(|public_use| *public_use == PublicKeyUse::Signature);
    let verifies = jwk.common.key_operations.as_ref().is_none_or(|operations| operations.contains(&KeyOperations::Verify));
    if !signs || !verifies {
        return None;
    }
    let algorithm = algorithm(jwk)?;
    let decoding = DecodingKey::from_jwk(jwk).ok()?;
    Some((kid, ForeignKey { algorithm, decoding }))
}

fn algorithm(jwk: &Jwk) -> Option<Algorithm> {
    let named = jwk.common.key_algorithm;
    match &jwk.algorithm {
        AlgorithmParameters::RSA(parameters) => {
            let modulus = URL_SAFE_NO_PAD.decode(&parameters.n).ok()?;
            let length = modulus.iter().skip_while(|byte| **byte == 0).count();
            if length < RSA_MODULUS_BYTES_MIN {
                return None;
            }
            match named {
                None | Some(KeyAlgorithm::RS256) => Some(Algorithm::RS256),
                Some(KeyAlgorithm::RS384) => Some(Algorithm::RS384),
                Some(KeyAlgorithm::RS512) => Some(Algorithm::RS512),
                Some(KeyAlgorithm::PS256) => Some(Algorithm::PS256),
                Some(KeyAlgorithm::PS384) => Some(Algorithm::PS384),
                Some(KeyAlgorithm::PS512) => Some(Algorithm::PS512),
                Some(_) => None,
            }
        }
        AlgorithmParameters::EllipticCurve(parameters) => match (&parameters.curve, named) {
            (EllipticCurve::P256, None | Some(KeyAlgorithm::ES256)) => Some(Algorithm::ES256),
            (EllipticCurve::P384, None | Some(KeyAlgorithm::ES384)) => Some(Algorithm::ES384),
            _ => None,
        },
        AlgorithmParameters::OctetKeyPair(parameters) => match (&parameters.curve, named) {
            (EllipticCurve::Ed25519, None | Some(KeyAlgorithm::EdDSA)) => Some(Algorithm::EdDSA),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED: &str = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"ed""#;

    fn algorithms(keys: &str) -> Vec<(String, Algorithm)> {
        let parsed = parse(format!(r#"{{"keys":[{keys}]}}"#).as_bytes()).unwrap_or_default();
        parsed.into_iter().map(|(kid, key)| (kid, key.algorithm)).collect()
    }

    #[test]
    fn a_key_has_the_one_algorithm_of_its_type() {
        let short_rsa = format!(r#"{{"kty":"RSA","kid":"r","e":"AQAB","n":"{}"}}"#, URL_SAFE_NO_PAD.encode([0xff; 255]));
        let rsa = format!(r#"{{"kty":"RSA","kid":"r","e":"AQAB","n":"{}""#, URL_SAFE_NO_PAD.encode([0xff; 256]));
        let ec = r#"{"kty":"EC","crv":"P-256","kid":"e","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0""#;
        let cases: [(String, Option<Algorithm>); 13] = [
            (format!("{ED}}}"), Some(Algorithm::EdDSA)),
            (format!(r#"{ED},"alg":"EdDSA","use":"sig"}}"#), Some(Algorithm::EdDSA)),
            (format!(r#"{ED},"alg":"HS256"}}"#), None),
            (format!(r#"{ED},"alg":"ES256"}}"#), None),
            (format!(r#"{ED},"use":"enc"}}"#), None),
            (format!(r#"{ED},"key_ops":["encrypt"]}}"#), None),
            (r#"{"kty":"oct","kid":"o","k":"c2VjcmV0","alg":"HS256"}"#.to_owned(), None),
            (short_rsa, None),
            (format!("{rsa}}}"), Some(Algorithm::RS256)),
            (format!(r#"{rsa},"alg":"PS256"}}"#), Some(Algorithm::PS256)),
            (format!(r#"{rsa},"alg":"RSA-OAEP"}}"#), None),
            (format!("{ec}}}"), Some(Algorithm::ES256)),
            (format!(r#"{ec},"alg":"ES384"}}"#), None),
        ];
        for (key, expected) in cases {
            assert_eq!(algorithms(&key).first().map(|(_, algorithm)| *algorithm), expected, "{key}");
        }
    }

    #[test]
    fn a_key_of_an_unknown_kind_does_not_hide_the_others() {
        assert_eq!(algorithms(&format!(r#"{{"kty":"AKP","kid":"new"}},7,{{}},{ED}}}"#)), [("ed".to_owned(), Algorithm::EdDSA)]);
    }

    #[test]
    fn what_is_no_document_or_has_no_key_is_refused() {
        assert!(matches!(parse(b"{}"), Err(JwksError::NotJwks(_))));
        assert!(matches!(parse(b"<html>"), Err(JwksError::NotJwks(_))));
        assert!(matches!(parse(br#"{"keys":[]}"#), Err(JwksError::NoKey)));
        let many = vec![format!("{ED}}}"); KEYS_MAX + 1].join(",");
        assert!(matches!(parse(format!(r#"{{"keys":[{many}]}}"#).as_bytes()), Err(JwksError::TooMany)));
    }
}
