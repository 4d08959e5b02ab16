//! Values that we hand to clients and believe when they come back: consistency tokens and page cursors. Signed, not
//! encrypted; opaque texts of `A-Za-z0-9-_`. A forged, foreign, cut or too long text is [`SealBroken`], and nothing more is said.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::secret::{MasterSecret, Purpose};
use crate::vocabulary::ids::{Position, UserId};
use crate::vocabulary::owner::ShardIndex;

/// A cookie holds 4096 bytes with its name and attributes.
pub const SEALED_CHARACTERS_MAX: usize = 3_500;
/// The most shards one consistency token speaks of: even the largest numbers then stay below [`SEALED_CHARACTERS_MAX`].
pub const TOKEN_SHARDS_MAX: usize = 100;
/// The most bytes a cursor carries: some ids and a position.
pub const CURSOR_BYTES_MAX: usize = 256;
/// 128 bits of MAC: what is signed lives for minutes and opens nothing.
const MAC_BYTES: usize = 16;

/// How fresh a read must be: what its holder has written and seen.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ConsistencyToken {
    /// The journal that the position is of.
    pub journal: uuid::Uuid,
    /// The holder's last own write.
    pub position: Position,
    /// What the holder has seen of shards that not everybody sees.
    pub shards: Vec<SeenShard>,
}

/// How far a shard was when somebody read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SeenShard {
    pub shard: ShardIndex,
    /// Of its primary.
    pub epoch: u64,
    /// A place in that primary's log.
    pub log: u64,
}

/// The text was not sealed by this server for this use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a value that this server sealed for this use")]
pub struct SealBroken;

/// The value is larger than a client is asked to carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too large to seal")]
pub struct TooLargeToSeal;

/// Seals and opens, each kind with its own key.
pub struct Sealer {
    consistency: hmac::Key,
    cursor: hmac::Key,
}

impl Sealer {
    pub fn new(secret: &MasterSecret) -> Self {
        Self { consistency: secret.key(Purpose::ConsistencyToken), cursor: secret.key(Purpose::Cursor) }
    }

    /// Seals a token for `holder`; `None` is who did not sign in.
    pub fn seal_token(&self, holder: Option<UserId>, token: &ConsistencyToken) -> Result<String, TooLargeToSeal> {
        if token.shards.len() > TOKEN_SHARDS_MAX {
            return Err(TooLargeToSeal);
        }
        let body = postcard::to_stdvec(token).map_err(|_error| TooLargeToSeal)?;
        Ok(seal(&self.consistency, &holder_context(holder), &body))
    }

    /// The token, if it was sealed for this holder.
    pub fn open_token(&self, holder: Option<UserId>, text: &str) -> Result<ConsistencyToken, SealBroken> {
        let body = open(&self.consistency, &holder_context(holder), text)?;
        postcard::from_bytes(&body).map_err(|_error| SealBroken)
    }

    /// Seals where a page ended. `list` names the list with all that shapes it, like `comments:123:asc`.
    pub fn seal_cursor(&self, list: &str, place: &[u8]) -> Result<String, TooLargeToSeal> {
        if place.len() > CURSOR_BYTES_MAX { Err(TooLargeToSeal) } else { Ok(seal(&self.cursor, list.as_bytes(), place)) }
    }

    /// Where the page ended, if the cursor came from this list.
    pub fn open_cursor(&self, list: &str, text: &str) -> Result<Vec<u8>, SealBroken> {
        open(&self.cursor, list.as_bytes(), text)
    }
}

fn holder_context(holder: Option<UserId>) -> [u8; 8] {
    holder.map_or(0, UserId::raw).to_be_bytes()
}

/// What the value is bound to goes into the MAC and not into the text. Its length goes first, so that no two splits are alike.
fn mac(key: &hmac::Key, context: &[u8], body: &[u8]) -> hmac::Tag {
    let mut signing = hmac::Context::with_key(key);
    signing.update(&(context.len() as u64).to_be_bytes());
    signing.update(context);
    signing.update(body);
    signing.sign()
}

fn seal(key: &hmac::Key, context: &[u8], body: &[u8]) -> String {
    let tag = mac(key, context, body);
    let mut bytes = Vec::with_capacity(MAC_BYTES + body.len());
    bytes.extend(&tag.as_ref()[..MAC_BYTES]);
    bytes.extend(body);
    URL_SAFE_NO_PAD.encode(bytes)
}

fn open(key: &hmac::Key, context: &[u8], text: &str) -> Result<Vec<u8>, SealBroken> {
    if text.len() > SEALED_CHARACTERS_MAX {
        return Err(SealBroken);
    }
    let mut bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_error| SealBroken)?;
    let (given, body) = bytes.split_at_checked(MAC_BYTES).ok_or(SealBroken)?;
    let expected = mac(key, context, body);
    aws_lc_rs::constant_time::verify_slices_are_equal(given, &expected.as_ref()[..MAC_BYTES]).map_err(|_error| SealBroken)?;
    Ok(bytes.split_off(MAC_BYTES))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::support::auth::secret::test_secret;

    const ANNA: Option<UserId> = Some(UserId::from_raw(1));
    const BEN: Option<UserId> = Some(UserId::from_raw(2));

    fn token(shards: usize) -> ConsistencyToken {
        ConsistencyToken {
            journal: uuid::Uuid::from_u128(u128::MAX),
            position: Position(u64::MAX),
            shards: (0..shards)
                .map(|shard| SeenShard { shard: ShardIndex(u16::MAX - shard as u16), epoch: u64::MAX, log: u64::MAX })
                .collect(),
        }
    }

    #[test]
    fn a_token_opens_for_its_holder_only() {
        // Planted fault: leaving the holder out of the MAC.
        let sealer = Sealer::new(&test_secret());
        let text = sealer.seal_token(ANNA, &token(4)).expect("small");

        assert_eq!(sealer.open_token(ANNA, &text), Ok(token(4)));
        assert_eq!(sealer.open_token(BEN, &text), Err(SealBroken));
        assert_eq!(sealer.open_token(None, &text), Err(SealBroken));
        assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'));
    }

    #[test]
    fn the_largest_token_fits_a_cookie_and_one_shard_more_is_refused() {
        let sealer = Sealer::new(&test_secret());
        let text = sealer.seal_token(ANNA, &token(TOKEN_SHARDS_MAX)).expect("at the limit");

        assert!(text.len() <= SEALED_CHARACTERS_MAX, "{}", text.len());
        assert_eq!(sealer.open_token(ANNA, &text), Ok(token(TOKEN_SHARDS_MAX)));
        assert_eq!(sealer.seal_token(ANNA, &token(TOKEN_SHARDS_MAX + 1)), Err(TooLargeToSeal));
    }

    #[test]
    fn a_cursor_opens_for_its_list_only_and_never_as_a_token() {
        // Planted fault: one key for both kinds, or a cursor that any list takes.
        let sealer = Sealer::new(&test_secret());
        let text = sealer.seal_cursor("comments:1:asc", b"place").expect("small");

        assert_eq!(sealer.open_cursor("comments:1:asc", &text), Ok(b"place".to_vec()));
        for list in ["comments:1:desc", "comments:2:asc", "comments:1:as", "comments:1:ascp", ""] {
            assert_eq!(sealer.open_cursor(list, &text), Err(SealBroken), "{list}");
        }
        let eight_bytes_like_a_holder = sealer.seal_cursor("\0\0\0\0\0\0\0\u{1}", b"").expect("small");
        assert_eq!(sealer.open_token(ANNA, &eight_bytes_like_a_holder), Err(SealBroken));
        assert_eq!(sealer.seal_cursor("l", &[0; CURSOR_BYTES_MAX + 1]), Err(TooLargeToSeal));
        assert!(sealer.seal_cursor("l", &[0; CURSOR_BYTES_MAX]).is_ok());
    }

    proptest! {
        #[test]
        fn a_changed_or_cut_value_is_refused(bit in 0_usize..400, cut in 0_usize..60) {
            let sealer = Sealer::new(&test_secret());
            let text = sealer.seal_token(ANNA, &token(1)).expect("small");
            let mut bytes = URL_SAFE_NO_PAD.decode(&text).expect("base64");
            let index = bit % (bytes.len() * 8);
            bytes[index / 8] ^= 1 << (index % 8);

            prop_assert_eq!(sealer.open_token(ANNA, &URL_SAFE_NO_PAD.encode(bytes)), Err(SealBroken));
            prop_assert_eq!(sealer.open_token(ANNA, &text[..cut.min(text.len() - 1)]), Err(SealBroken));
        }

        #[test]
        fn any_other_text_is_refused(text in ".{0,200}") {
            prop_assert_eq!(Sealer::new(&test_secret()).open_token(ANNA, &text), Err(SealBroken));
        }
    }
}
