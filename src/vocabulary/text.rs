//! Text that people write, checked once at the edge. Inside, a `PostBody` is fine.
//!
//! Lengths count Unicode scalar values. Blank text, NUL and other control characters but tab and newline are refused.

use std::fmt;

/// Why a text is not acceptable, with a code for machines and a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    #[error("must not be blank")]
    Blank,
    #[error("must have at least {min} characters, has {found}")]
    TooShort { min: usize, found: usize },
    #[error("must have at most {max} characters, has {found}")]
    TooLong { max: usize, found: usize },
    #[error("must not contain control characters other than tab and newline")]
    ControlCharacter,
    #[error("may contain only a-z, 0-9, '_' and '.', and neither begin nor end with '.'")]
    UsernameCharacters,
    #[error("begins with a prefix that is reserved")]
    Reserved,
}

impl TextError {
    /// The `code` of the problem's `errors` member.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Blank => "blank",
            Self::TooShort { .. } => "too-short",
            Self::TooLong { .. } => "too-long",
            Self::ControlCharacter => "control-character",
            Self::UsernameCharacters => "characters",
            Self::Reserved => "reserved",
        }
    }
}

fn check(text: &str, max: usize) -> Result<(), TextError> {
    let found = text.chars().count();
    if found > max {
        return Err(TextError::TooLong { max, found });
    }
    if text.chars().any(|character| character.is_control() && character != '\t' && character != '\n') {
        return Err(TextError::ControlCharacter);
    }
    if text.chars().all(is_invisible) { Err(TextError::Blank) } else { Ok(()) }
}

/// White space, and the characters that show nothing: a text of only these is blank.
fn is_invisible(character: char) -> bool {
    character.is_whitespace()
        || matches!(character, '\u{00ad}' | '\u{034f}' | '\u{061c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180e}')
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}')
}

macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident, $max:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// The most Unicode scalar values it may have.
            pub const CHARACTERS_MAX: usize = $max;

            /// Checks what a client sent.
            pub fn parse(text: impl Into<String>) -> Result<Self, TextError> {
                let text = text.into();
                check(&text, Self::CHARACTERS_MAX)?;
                Ok(Self(text))
            }

            /// A text as a row gave it back: checked when it came in.
            pub fn from_row(text: String) -> Self {
                Self(text)
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }

            pub fn into_string(self) -> String {
                self.0
            }
        }
    };
}

text_type!(
    /// What a post says.
    PostBody,
    10_000
);
text_type!(
    /// What a comment says.
    CommentBody,
    5_000
);
text_type!(
    /// The name shown beside a username.
    DisplayName,
    50
);
text_type!(
    /// What a person says of himself.
    Bio,
    500
);

/// A username in its folded form.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Username(String);

impl Username {
    pub const CHARACTERS_MIN: usize = 3;
    pub const CHARACTERS_MAX: usize = 30;
    /// Names beginning so are made for users of foreign issuers, from their id: nobody can register one.
    pub const GENERATED_PREFIX: &'static str = "user.";

    /// Folds case and checks the form. Does not refuse generated names: use [`Username::parse_new`] for a registration.
    pub fn parse(text: &str) -> Result<Self, TextError> {
        let folded = text.to_ascii_lowercase();
        let found = folded.chars().count();
        if found < Self::CHARACTERS_MIN {
            return Err(TextError::TooShort { min: Self::CHARACTERS_MIN, found });
        }
        if found > Self::CHARACTERS_MAX {
            return Err(TextError::TooLong { max: Self::CHARACTERS_MAX, found });
        }
        let allowed = folded.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'.');
        if !allowed || folded.starts_with('.') || folded.ends_with('.') {
            return Err(TextError::UsernameCharacters);
        }
        Ok(Self(folded))
    }

    /// As [`Username::parse`], for a name that somebody chooses.
    pub fn parse_new(text: &str) -> Result<Self, TextError> {
        let username = Self::parse(text)?;
        if username.0.starts_with(Self::GENERATED_PREFIX) { Err(TextError::Reserved) } else { Ok(username) }
    }

    /// The name of a user whom a foreign issuer signs in: unique, since ids are.
    pub fn generated(user: super::ids::UserId) -> Self {
        Self(format!("{}{}", Self::GENERATED_PREFIX, user))
    }

    /// A name as a row gave it back.
    pub fn from_row(text: String) -> Self {
        Self(text)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Username {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_counts_characters_not_bytes() {
        assert!(CommentBody::parse("소".repeat(5_000)).is_ok());
        assert_eq!(CommentBody::parse("소".repeat(5_001)), Err(TextError::TooLong { max: 5_000, found: 5_001 }));
        assert!(PostBody::parse("x".repeat(10_000)).is_ok());
        assert!(PostBody::parse("x".repeat(10_001)).is_err());
    }

    #[test]
    fn blank_and_control_characters_are_refused() {
        for blank in ["", " ", "\t\n", "\u{200b}\u{feff}", "\u{3164}"] {
            assert_eq!(PostBody::parse(blank), Err(TextError::Blank), "{blank:?}");
        }
        for text in ["a\0b", "a\u{7}b", "a\rb", "a\u{9b}b"] {
            assert_eq!(PostBody::parse(text), Err(TextError::ControlCharacter), "{text:?}");
        }
        assert!(PostBody::parse("a\tb\nc").is_ok());
    }

    #[test]
    fn usernames_fold_case_and_keep_to_their_characters() {
        assert_eq!(Username::parse("Bob_1.x").map(|name| name.to_string()), Ok("bob_1.x".to_owned()));
        for text in [".bob", "bob.", "bo b", "böb", "b-b", "bob\u{200b}"] {
            assert_eq!(Username::parse(text), Err(TextError::UsernameCharacters), "{text:?}");
        }
        assert!(matches!(Username::parse("bo"), Err(TextError::TooShort { .. })));
        assert!(Username::parse(&"b".repeat(30)).is_ok());
        assert!(matches!(Username::parse(&"b".repeat(31)), Err(TextError::TooLong { .. })));
        assert_eq!(Username::parse_new("user.12"), Err(TextError::Reserved));
    }
}
