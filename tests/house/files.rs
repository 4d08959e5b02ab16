//! The files of the repository, and their code without comments and strings.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// A file of the repository, by its path from the root.
#[derive(Clone)]
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) text: String,
}

impl File {
    pub(crate) fn planted(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    pub(crate) fn is_in(&self, places: &[&str]) -> bool {
        places.iter().any(|place| self.path == *place || (place.ends_with('/') && self.path.starts_with(place)))
    }

    /// `src/ledger/view/posts.rs` is `["ledger", "view", "posts"]`.
    pub(crate) fn module(&self) -> Vec<&str> {
        let path = self.path.strip_prefix("src/").unwrap_or(&self.path).trim_end_matches(".rs").trim_end_matches("/mod");
        path.split('/').collect()
    }

    /// The code alone: comments and the insides of strings and characters are blanks, line by line where they were.
    pub(crate) fn code(&self) -> String {
        let bytes = self.text.as_bytes();
        let mut code = bytes.to_vec();
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            let length = comment_length(rest).or_else(|| text_length(rest, at > 0 && is_word(bytes[at - 1]))).unwrap_or(0);
            code[at..at + length].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
            at += length.max(1);
        }
        String::from_utf8_lossy(&code).into_owned()
    }
}

pub(crate) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn comment_length(rest: &[u8]) -> Option<usize> {
    if rest.starts_with(b"//") {
        return Some(rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len()));
    }
    if rest.starts_with(b"/*") {
        return Some(rest.windows(2).position(|pair| pair == b"*/").map_or(rest.len(), |end| end + 2));
    }
    None
}

/// The length of a string or character that begins here.
fn text_length(rest: &[u8], in_word: bool) -> Option<usize> {
    let raw = rest.strip_prefix(b"r").filter(|_| !in_word).or_else(|| rest.strip_prefix(b"br").filter(|_| !in_word));
    if let Some(raw) = raw {
        let hashes = raw.iter().take_while(|byte| **byte == b'#').count();
        if raw.get(hashes) == Some(&b'"') {
            let end: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
            let inside = &raw[hashes + 1..];
            let length = inside.windows(end.len()).position(|window| window == end).map_or(inside.len(), |at| at + end.len());
            return Some(rest.len() - raw.len() + hashes + 1 + length);
        }
    }
    match rest {
        [b'"', ..] => {
            let mut at = 1;
            while at < rest.len() && rest[at] != b'"' {
                at += if rest[at] == b'\\' { 2 } else { 1 };
            }
            Some((at + 1).min(rest.len()))
        }
        // A character, not a lifetime.
        [b'\'', b'\\', ..] => Some(rest.iter().skip(3).position(|byte| *byte == b'\'').map_or(rest.len(), |end| end + 4)),
        [b'\'', ..] => {
            let width = std::str::from_utf8(&rest[1..rest.len().min(5)]).map_or_else(|error| error.valid_up_to(), str::len);
            let first = std::str::from_utf8(&rest[1..1 + width]).ok()?.chars().next()?.len_utf8();
            (rest.get(1 + first) == Some(&b'\'')).then_some(first + 2)
        }
        _ => None,
    }
}

pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All files below the given places that end so, in order.
pub(crate) fn files(places: &[&str], endings: &[&str]) -> Vec<File> {
    let mut waiting: Vec<PathBuf> = places.iter().map(|place| root().join(place)).collect();
    let mut files = BTreeMap::new();
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            let entries = std::fs::read_dir(&path).expect("the folder can be read");
            waiting.extend(entries.map(|entry| entry.expect("its entry can be read").path()));
        } else if path.is_file()
            && path.file_name().is_some_and(|name| endings.iter().any(|ending| name.to_string_lossy().ends_with(ending)))
        {
            let name = path.strip_prefix(root()).expect("it is below the root").to_string_lossy().into_owned();
            let text = std::fs::read_to_string(&path).expect("the file can be read");
            files.insert(name.clone(), File { path: name, text });
        }
    }
    files.into_values().collect()
}

pub(crate) fn sources() -> Vec<File> {
    let files = files(&["src"], &[".rs"]);
    assert!(files.len() > 50, "the sources were not found");
    files
}

pub(crate) fn all_code() -> Vec<File> {
    let mut code = sources();
    code.extend(files(&["entities/src", "migration/src", "tests", "benches"], &[".rs"]));
    code
}

pub(crate) fn documents() -> Vec<File> {
    files(&["README.md", "docs"], &[".md"])
}
