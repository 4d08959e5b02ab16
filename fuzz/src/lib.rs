//! What is fuzzed, one function a target: any bytes go in, and what must hold for them is asserted. Each says whether the bytes were what it
//! reads, so that a corpus of nothing but nonsense is noticed. `tests/fuzz_corpus.rs` replays the corpus without a fuzzer.

use std::sync::{Arc, OnceLock};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sosik::stream::announced::Announced;
use sosik::stream::op::Op;
use sosik::stream::place;
use sosik::support::auth::issuers::Issuers;
use sosik::support::auth::keys::KeyRing;
use sosik::support::auth::seal::{CURSOR_BYTES_MAX, ConsistencyToken, Sealer};
use sosik::support::auth::secret::MasterSecret;
use sosik::support::auth::token::{TokenError, Tokens};
use sosik::vocabulary::command::Entry;
use sosik::vocabulary::event::decode_events;
use sosik::vocabulary::ids::{Position, UserId};

const NOW_MS: u64 = 1_800_000_000_000;
const ISSUER: &str = "http://127.0.0.1:8080";
const LIST: &str = "/v1/feed?7";
const HOLDER: Option<UserId> = Some(UserId::from_raw(7));

/// Keys of a server, made once.
struct Keys {
    sealer: Sealer,
    tokens: Tokens,
    _folder: tempfile::TempDir,
}

fn keys() -> &'static Keys {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    KEYS.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let secret = MasterSecret::open(&folder.path().join("keys")).expect("a secret");
        let ring = Arc::new(KeyRing::open(&folder.path().join("keys"), NOW_MS).expect("a key"));
        let issuers = Arc::new(Issuers::new(Vec::new(), ISSUER).expect("no further issuers"));
        let tokens = Tokens::new(ring, issuers, ISSUER.to_owned(), "sosik".to_owned());
        Keys { sealer: Sealer::new(&secret), tokens, _folder: folder }
    })
}

/// The bytes of a client, before and after they are frames.
pub fn client_frame(bytes: &[u8]) -> bool {
    let at_once = Announced::default().pass(bytes).is_ok();
    let mut one_by_one = Announced::default();
    let in_parts = bytes.chunks(1).all(|part| one_by_one.pass(part).is_ok());
    assert_eq!(at_once, in_parts, "how bytes are cut must not matter");
    std::str::from_utf8(bytes).is_ok_and(|text| Op::parse(text).is_ok())
}

/// `Last-Event-ID`.
pub fn last_event_id(bytes: &[u8]) -> bool {
    let Some((epoch, number)) = std::str::from_utf8(bytes).ok().and_then(place::parse) else { return false };
    assert_eq!(place::parse(&format!("{epoch}:{number}")), Some((epoch, number)), "what was read can be written");
    true
}

/// A cursor that was not sealed here, and one that was.
pub fn cursor(bytes: &[u8]) -> bool {
    let sealer = &keys().sealer;
    if let Ok(text) = std::str::from_utf8(bytes) {
        assert!(sealer.open_cursor(LIST, text).is_err(), "a forged cursor was opened");
    }
    let forged = URL_SAFE_NO_PAD.encode(bytes);
    assert!(sealer.open_cursor(LIST, &forged).is_err(), "a forged cursor was opened");
    let Ok(sealed) = sealer.seal_cursor(LIST, bytes) else {
        assert!(bytes.len() > CURSOR_BYTES_MAX, "a short place was not sealed");
        return false;
    };
    assert_eq!(sealer.open_cursor(LIST, &sealed).as_deref(), Ok(bytes), "a genuine cursor opens");
    assert!(sealer.open_cursor("/v1/feed?8", &sealed).is_err(), "a cursor of another list was opened");
    true
}

/// A consistency token that was not sealed here, and the bytes of one that was.
pub fn consistency_token(bytes: &[u8]) -> bool {
    let sealer = &keys().sealer;
    if let Ok(text) = std::str::from_utf8(bytes) {
        assert!(sealer.open_token(HOLDER, text).is_err(), "a forged token was opened");
    }
    let Ok(token) = postcard::from_bytes::<ConsistencyToken>(bytes) else { return false };
    if let Ok(sealed) = sealer.seal_token(HOLDER, &token) {
        assert_eq!(sealer.open_token(HOLDER, &sealed).as_ref(), Ok(&token), "a genuine token opens");
        assert!(sealer.open_token(None, &sealed).is_err(), "a token of somebody else was opened");
    }
    true
}

/// What a record of the journal holds, and what an event row holds.
pub fn journal_entry(bytes: &[u8]) -> bool {
    if let Ok(events) = decode_events(bytes) {
        assert!(events.len() <= bytes.len(), "more events than bytes");
    }
    let Ok(entry) = Entry::decode(Position(17), bytes) else { return false };
    let written = entry.encode().expect("what was read can be written");
    assert_eq!(Entry::decode(Position(17), &written).expect("and read again"), entry);
    true
}

/// The header of an access token, before claims and a signature that are wrong; and bytes that are a whole token.
pub fn jwt_header(bytes: &[u8]) -> bool {
    let tokens = &keys().tokens;
    if let Ok(text) = std::str::from_utf8(bytes) {
        assert!(tokens.verify(text, NOW_MS).is_err(), "a forged token was believed");
    }
    let claims = format!(r#"{{"iss":"{ISSUER}","aud":"sosik","sub":"7","iat":1799999999,"nbf":1799999999,"exp":1800000600}}"#);
    let parts = [bytes, claims.as_bytes(), &[0; 64]].map(|part| URL_SAFE_NO_PAD.encode(part));
    match tokens.verify(&parts.join("."), NOW_MS) {
        Ok(_) => panic!("a token without a signature was believed"),
        Err(error) => !matches!(error, TokenError::TooLarge | TokenError::Malformed | TokenError::Header | TokenError::Type),
    }
}
