//! Which passwords are taken: 8 to 128 characters of any kind, kept as they are, unless everybody tries them first.
//!
//! `common_passwords.txt` beside this file holds 7 362 of them: the first 5 000 of at least eight characters from the frequency list
//! of zxcvbn 4.5 (MIT, see `common_passwords.license.txt`), folded to lower case, and families: repeated and counted digits, letters, keyboard
//! walks, and frequent words with a number or a year from 1990 to 2030.
//! No rule asks for digits or symbols: NIST SP 800-63B and ASVS 6.2.5 advise against it.

use std::collections::HashSet;
use std::sync::LazyLock;

/// Unicode scalar values a password must have.
pub const CHARACTERS_MIN: usize = 8;
/// And may have: enough for any passphrase, and a bound on what is hashed.
pub const CHARACTERS_MAX: usize = 128;

static COMMON: LazyLock<HashSet<&'static str>> = LazyLock::new(|| include_str!("common_passwords.txt").lines().collect());

/// Why a password is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    #[error("must have at least {CHARACTERS_MIN} characters, has {found}")]
    TooShort { found: usize },
    #[error("must have at most {CHARACTERS_MAX} characters, has {found}")]
    TooLong { found: usize },
    #[error("is one of the passwords that are tried first")]
    Common,
}

impl PasswordError {
    /// The `code` of the problem's `errors` member.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooShort { .. } => "too-short",
            Self::TooLong { .. } => "too-long",
            Self::Common => "common",
        }
    }
}

/// Checks a new password. One that is only compared is not checked: the rules may have changed since it was set.
pub fn check(password: &str) -> Result<(), PasswordError> {
    let found = password.chars().count();
    if found < CHARACTERS_MIN {
        return Err(PasswordError::TooShort { found });
    }
    if found > CHARACTERS_MAX {
        return Err(PasswordError::TooLong { found });
    }
    if COMMON.contains(password.to_lowercase().as_str()) { Err(PasswordError::Common) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_count_characters_at_the_limits() {
        assert_eq!(check("1aB소😀xé"), Err(PasswordError::TooShort { found: 7 }));
        assert_eq!(check("1aB소😀xéz"), Ok(()));
        assert_eq!(check(&"소".repeat(128)), Ok(()));
        assert_eq!(check(&"소".repeat(129)), Err(PasswordError::TooLong { found: 129 }));
    }

    #[test]
    fn any_character_is_taken() {
        // Planted fault: composition rules, or refusing what the rules of texts refuse.
        for password in ["alllowercaseletters", "        x       ", "nul\0inside", "tab\tand\u{7}bell", "\u{202e}reversed"] {
            assert_eq!(check(password), Ok(()), "{password:?}");
        }
    }

    #[test]
    fn common_passwords_are_refused_in_any_case() {
        for password in
            ["password", "Password", "PASSWORD1", "12345678", "qwertyuiop", "iloveyou1", "letmein123", "Summer2024", "football1"]
        {
            assert_eq!(check(password), Err(PasswordError::Common), "{password}");
        }
    }

    #[test]
    fn the_list_is_in_order_without_doubles_and_holds_only_what_could_be_chosen() {
        let lines: Vec<_> = include_str!("common_passwords.txt").lines().collect();

        assert!(lines.windows(2).all(|pair| pair[0] < pair[1]), "sorted, each once");
        for line in &lines {
            assert_eq!(*line, line.to_lowercase());
            assert!((CHARACTERS_MIN..=CHARACTERS_MAX).contains(&line.chars().count()), "{line}");
        }
        assert!(lines.len() >= 3000, "{}", lines.len());
    }
}
