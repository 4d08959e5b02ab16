//! Refresh tokens: `version, user, session, generation, HMAC of these`, base64url. Nothing secret is stored: the row of the
//! session says which generation is good, and the key makes its token again.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::secret::{MasterSecret, Purpose};
use crate::vocabulary::ids::{SessionId, UserId};

const VERSION: u8 = 1;
const BODY_BYTES: usize = 1 + 8 + 8 + 4;
const MAC_BYTES: usize = 32;
/// The length of every refresh token: base64 of body and MAC, without padding.
pub const TOKEN_CHARACTERS: usize = (BODY_BYTES + MAC_BYTES) * 4 / 3 + 1;

/// What a genuine refresh token says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefreshClaims {
    pub user: UserId,
    pub session: SessionId,
    pub generation: u32,
}

/// The text is no refresh token of ours. Says no more, so that a forger learns nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a refresh token of this server")]
pub struct NotARefreshToken;

/// Makes and checks refresh tokens.
pub struct RefreshTokens {
    key: hmac::Key,
}

impl RefreshTokens {
    pub fn new(secret: &MasterSecret) -> Self {
        Self { key: secret.key(Purpose::RefreshToken) }
    }

    /// The one token of this generation.
    pub fn make(&self, claims: RefreshClaims) -> String {
        let mut bytes = Vec::with_capacity(BODY_BYTES + MAC_BYTES);
        bytes.push(VERSION);
        bytes.extend(claims.user.raw().to_be_bytes());
        bytes.extend(claims.session.raw().to_be_bytes());
        bytes.extend(claims.generation.to_be_bytes());
        let mac = hmac::sign(&self.key, &bytes);
        bytes.extend(mac.as_ref());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// What the token says, if we made it; the MAC is compared in constant time.
    pub fn check(&self, token: &str) -> Result<RefreshClaims, NotARefreshToken> {
        if token.len() != TOKEN_CHARACTERS {
            return Err(NotARefreshToken);
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_error| NotARefreshToken)?;
        let (body, mac) = bytes.split_at_checked(BODY_BYTES).ok_or(NotARefreshToken)?;
        hmac::verify(&self.key, body, mac).map_err(|_error| NotARefreshToken)?;
        let (version, numbers) = body.split_first().ok_or(NotARefreshToken)?;
        let (user, numbers) = numbers.split_first_chunk::<8>().ok_or(NotARefreshToken)?;
        let (session, numbers) = numbers.split_first_chunk::<8>().ok_or(NotARefreshToken)?;
        let generation = numbers.first_chunk::<4>().ok_or(NotARefreshToken)?;
        if *version != VERSION {
            return Err(NotARefreshToken);
        }
        Ok(RefreshClaims {
            user: UserId::from_raw(u64::from_be_bytes(*user)),
            session: SessionId::from_raw(u64::from_be_bytes(*session)),
            generation: u32::from_be_bytes(*generation),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::support::auth::secret::test_secret;

    const CLAIMS: RefreshClaims = RefreshClaims { user: UserId::from_raw(7), session: SessionId::from_raw(8), generation: 9 };

    proptest! {
        #[test]
        fn every_token_is_understood_again_and_has_the_stated_length(user in 1..u64::MAX, session in 1..u64::MAX, generation: u32) {
            let tokens = RefreshTokens::new(&test_secret());
            let claims = RefreshClaims { user: UserId::from_raw(user), session: SessionId::from_raw(session), generation };
            let token = tokens.make(claims);

            prop_assert_eq!(token.len(), TOKEN_CHARACTERS);
            prop_assert_eq!(tokens.check(&token), Ok(claims));
            prop_assert_eq!(tokens.make(claims), token, "two tabs get the same successor");
        }

        #[test]
        fn a_single_changed_bit_is_noticed(bit in 0..(BODY_BYTES + MAC_BYTES) * 8) {
            // Planted fault: leaving a field out of the MAC, or comparing only part of it.
            let tokens = RefreshTokens::new(&test_secret());
            let mut bytes = URL_SAFE_NO_PAD.decode(tokens.make(CLAIMS)).expect("base64");
            bytes[bit / 8] ^= 1 << (bit % 8);

            prop_assert_eq!(tokens.check(&URL_SAFE_NO_PAD.encode(bytes)), Err(NotARefreshToken));
        }

        #[test]
        fn any_other_text_is_refused(text in ".{0,100}") {
            prop_assert_eq!(RefreshTokens::new(&test_secret()).check(&text), Err(NotARefreshToken));
        }
    }

    #[test]
    fn tokens_of_another_server_and_cut_or_longer_ones_are_refused() {
        let tokens = RefreshTokens::new(&test_secret());
        let dir = tempfile::tempdir().expect("a directory");
        let other = RefreshTokens::new(&MasterSecret::open(dir.path()).expect("made"));
        let token = tokens.make(CLAIMS);

        assert_eq!(tokens.check(&other.make(CLAIMS)), Err(NotARefreshToken));
        assert_eq!(tokens.check(&token[..token.len() - 1]), Err(NotARefreshToken));
        assert_eq!(tokens.check(&format!("{token}=")), Err(NotARefreshToken));
        assert_eq!(tokens.check(&format!("{token}A")), Err(NotARefreshToken));
    }
}
