//! `@username` in a text.

use crate::vocabulary::text::Username;

/// The most names of one text that are told; a text with more is likely spam, and each name costs a look-up.
const MENTIONS_MAX: usize = 50;

/// The names that a text mentions, in order, each once. `@bob.` names bob; `a@bob` is an address, not a mention.
pub(super) fn named(text: &str) -> Vec<Username> {
    let mut names: Vec<Username> = Vec::new();
    let mut before = None;
    for (at, character) in text.char_indices() {
        if character == '@' && !before.is_some_and(is_word) {
            let rest = &text[at + 1..];
            let end = rest.find(|next: char| !is_name(next)).unwrap_or(rest.len());
            if let Ok(name) = Username::parse(rest[..end].trim_end_matches('.'))
                && !names.contains(&name)
            {
                names.push(name);
                if names.len() == MENTIONS_MAX {
                    break;
                }
            }
        }
        before = Some(character);
    }
    names
}

/// The names that an edited text mentions and the text before it did not.
pub(super) fn newly_named(before: &str, after: &str) -> Vec<Username> {
    let known = named(before);
    named(after).into_iter().filter(|name| !known.contains(name)).collect()
}

fn is_name(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_' || character == '.'
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_' || character == '@'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_names_those_after_an_at_sign() {
        let cases: [(&str, &[&str]); 9] = [
            ("hello @bob and @Alice!", &["bob", "alice"]),
            ("@bob.", &["bob"]),
            ("@bob.. @bob", &["bob"]),
            ("mail me@bob.example", &[]),
            ("(@a_b.c)", &["a_b.c"]),
            ("@bo", &[]),
            ("@@bob", &[]),
            ("소식@bob", &[]),
            ("소식 @bob씨", &["bob"]),
        ];

        for (text, expected) in cases {
            let found: Vec<String> = named(text).iter().map(ToString::to_string).collect();
            assert_eq!(found, expected, "{text:?}");
        }
    }

    #[test]
    fn an_edit_names_only_those_who_were_not_named_before() {
        let found: Vec<String> = newly_named("hi @bob", "hi @bob and @eve").iter().map(ToString::to_string).collect();

        assert_eq!(found, ["eve"]);
    }
}
