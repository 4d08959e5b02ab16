//! The rules: each a function from a file to its violations.

use std::path::Path;

use crate::files::{File, is_word};

/// The floors of `src/`, from the ground up. A module imports only those below it.
const FLOORS: [&str; 11] = ["vocabulary", "support", "substrate", "stream", "notify", "ledger", "intake", "api", "app", "cli", "main"];

/// Where actix may be named besides the actors' own files.
const ACTIX_PLACES: [&str; 6] =
    ["src/support/mailbox.rs", "src/support/mailbox/", "src/app.rs", "src/app/", "src/cli/serve.rs", "src/api/"];
const DATABASE_PLACES: [&str; 1] = ["src/substrate/store/"];
const DATABASE_LIBRARIES: [&str; 6] = ["sea_orm", "sea_orm_migration", "sqlx", "rusqlite", "sosik_entities", "sosik_migration"];
const MAILBOX: &str = "src/support/mailbox";

/// One subject fits in a file; beyond that it is two.
const FILE_LINES_MAX: usize = 500;

/// Parts of paths that only one machine has. In pieces, so that this file does not hold them itself.
pub(crate) const MACHINE_PATHS: [&str; 4] = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/Us", "ers/")];

/// Crates that must not be in Cargo.lock, as deny.toml says; with the first version that may.
const BANNED_CRATES: [(&str, Option<[u64; 3]>); 4] =
    [("openssl", None), ("openssl-sys", None), ("native-tls", None), ("h2", Some([0, 4, 16]))];

/// The words after each `prefix::` in the code, braces opened: `crate::{ledger::x, api}` gives `ledger` and `api`.
fn named_after(code: &str, prefix: &str) -> Vec<String> {
    let mut named = Vec::new();
    for (at, found) in code.match_indices(prefix) {
        if at > 0 && (is_word(code.as_bytes()[at - 1]) || code[..at].ends_with("::")) {
            continue;
        }
        let rest = code[at + found.len()..].trim_start();
        match rest.strip_prefix('{') {
            None => named.push(first_word(rest)),
            Some(inside) => {
                let mut depth = 0_i32;
                let mut item = String::new();
                for letter in inside.chars() {
                    match letter {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => named.push(first_word(std::mem::take(&mut item).trim())),
                        letter => item.push(letter),
                    }
                }
                named.push(first_word(item.trim()));
            }
        }
    }
    named
}

fn first_word(text: &str) -> String {
    text.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect()
}

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| *floor == module)
}

pub(crate) fn upward_imports(file: &File) -> Vec<String> {
    let module = file.module();
    let Some(own) = floor(module[0]) else { return Vec::new() };
    let code = file.code();
    let mut named = named_after(&code, "crate::");
    named.extend(named_after(&code, "sosik::"));
    // As many steps up as lead to the root; one more inside a `mod tests`.
    for steps in [module.len(), module.len() + 1] {
        named.extend(named_after(&code, &"super::".repeat(steps)));
    }
    let upward = named.into_iter().filter(|name| floor(name).is_some_and(|other| other > own));
    upward.map(|name| format!("{} is below {name} and imports it", module[0])).collect()
}

fn holds_word(code: &str, word: &str) -> bool {
    let bytes = code.as_bytes();
    code.match_indices(word).any(|(at, _)| {
        let before = at == 0 || !is_word(bytes[at - 1]);
        before && bytes.get(at + word.len()).is_none_or(|byte| !is_word(*byte))
    })
}

/// `actors`: the files that hold an actor. A folder of an actor's own name may hold parts of it.
pub(crate) fn stray_actix(file: &File, actors: &[String]) -> Vec<String> {
    let code = file.code();
    let names_it = ["actix", "actix_web", "actix_rt", "actix_http", "actix_ws"].iter().any(|name| holds_word(&code, name));
    let of_an_actor =
        actors.iter().any(|actor| file.path == *actor || file.path.starts_with(&format!("{}/", actor.trim_end_matches(".rs"))));
    if !names_it || of_an_actor || file.is_in(&ACTIX_PLACES) { Vec::new() } else { vec!["actix outside of the actors".to_owned()] }
}

pub(crate) fn is_actor(file: &File) -> bool {
    file.code().contains("impl Actor for ")
}

pub(crate) fn stray_database(file: &File) -> Vec<String> {
    if file.is_in(&DATABASE_PLACES) {
        return Vec::new();
    }
    let code = file.code();
    let named = DATABASE_LIBRARIES.iter().filter(|library| holds_word(&code, library));
    named.map(|library| format!("{library} outside of the store")).collect()
}

pub(crate) fn raw_sends(file: &File) -> Vec<String> {
    if file.path.starts_with(MAILBOX) {
        return Vec::new();
    }
    let code = file.code();
    let words = ["Addr", "Recipient", "do_send"].iter().filter(|word| holds_word(&code, word));
    words.map(|word| format!("{word}: ask through support::mailbox")).collect()
}

pub(crate) fn too_long(file: &File) -> Vec<String> {
    let lines = file.text.lines().count();
    if lines <= FILE_LINES_MAX { Vec::new() } else { vec![format!("{lines} lines, {FILE_LINES_MAX} at most")] }
}

pub(crate) fn silent_module(file: &File) -> Vec<String> {
    // The tests of a module have its subject.
    let of_a_module = file.path.ends_with("/tests.rs") || file.path.ends_with("/tests/mod.rs");
    if of_a_module || file.text.starts_with("//! ") { Vec::new() } else { vec!["it does not open with what it is for".to_owned()] }
}

pub(crate) fn machine_paths(file: &File) -> Vec<String> {
    let found = MACHINE_PATHS.iter().filter(|path| file.text.contains(*path));
    found.map(|path| format!("a path of one machine: {path}")).collect()
}

/// The names of the metrics that a file records: the first argument of each macro, with constants of the same file looked up.
pub(crate) fn metrics(file: &File) -> Vec<String> {
    let mut metrics = Vec::new();
    for name in ["counter!(", "gauge!(", "histogram!("] {
        for (at, _) in file.text.match_indices(name) {
            let argument = file.text[at + name.len()..].trim_start();
            let metric = match argument.strip_prefix('"') {
                Some(literal) => literal.split('"').next().unwrap_or_default().to_owned(),
                None => {
                    let constant = format!("const {}: &str = \"", first_word(argument));
                    // Not a constant of this file: a macro's own definition, or a name that is checked where it stands.
                    let Some((_, value)) = file.text.split_once(&constant) else { continue };
                    value.split('"').next().unwrap_or_default().to_owned()
                }
            };
            metrics.push(metric);
        }
    }
    metrics
}

pub(crate) fn foreign_metrics(file: &File) -> Vec<String> {
    // `process_`: the names that every Prometheus board knows.
    let foreign = metrics(file).into_iter().filter(|metric| !metric.starts_with("sosik_") && !metric.starts_with("process_"));
    foreign.map(|metric| format!("the metric {metric:?} does not begin with sosik_")).collect()
}

/// Metrics of a file that the document of metrics does not name. Those of tests (`sosik_test_…`) need no word.
pub(crate) fn untold_metrics(file: &File, document: &str) -> Vec<String> {
    let is_told = |metric: &String| [format!("`{metric}`"), format!("`{metric}{{")].iter().any(|told| document.contains(told));
    let untold = metrics(file).into_iter().filter(|metric| !metric.starts_with("sosik_test_") && !is_told(metric));
    untold.map(|metric| format!("docs/metrics.md does not say what {metric} is")).collect()
}

/// Links of a document that lead nowhere; only those inside the repository are followed.
pub(crate) fn dead_links(file: &File, exists: impl Fn(&Path) -> bool) -> Vec<String> {
    let folder = Path::new(&file.path).parent().unwrap_or(Path::new(""));
    let links = file.text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let inside = links.filter(|link| !link.contains("://") && !link.starts_with('#'));
    let targets = inside.map(|link| link.split('#').next().unwrap_or_default().to_owned());
    targets.filter(|target| !exists(&folder.join(target))).map(|target| format!("the link to {target} leads nowhere")).collect()
}

/// Constants in a document's table of bounds, written `` `NAME` in `src/…` ``, that do not stand in the file.
pub(crate) fn lost_bounds(file: &File, read: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut lost = Vec::new();
    for row in file.text.lines().filter(|line| line.starts_with('|')) {
        let Some((before, after)) = row.split_once("` in `") else { continue };
        let (Some(name), Some(path)) = (before.rsplit('`').next(), after.split('`').next()) else { continue };
        if !read(path).is_some_and(|text| text.contains(&format!("const {name}:"))) {
            lost.push(format!("there is no {name} in {path}"));
        }
    }
    lost
}

/// The commands of a document, from its blocks of shell and the first column of its tables: `sosik keys rotate`, `./test`.
pub(crate) fn commands(text: &str) -> Vec<String> {
    let mut in_shell = false;
    let mut found = Vec::new();
    for line in text.lines() {
        if line.starts_with("```") {
            in_shell = line.trim_end() == "```sh";
        } else if in_shell {
            found.push(line.trim().to_owned());
        } else if let Some(code) = line.strip_prefix("| `").and_then(|rest| rest.split('`').next()) {
            found.push(code.to_owned());
        }
    }
    found.retain(|line| line.starts_with("sosik ") || line.starts_with("./") || line.starts_with(".ci/"));
    found
}

/// The words of a `sosik` command up to its first argument.
pub(crate) fn subcommand(command: &str) -> Vec<&str> {
    let words = command.split_whitespace().skip(1);
    words.take_while(|word| word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-') && !word.starts_with('-')).collect()
}

pub(crate) fn banned_crates(lock: &str) -> Vec<String> {
    let mut banned = Vec::new();
    for package in lock.split("[[package]]") {
        let value = |key: &str| package.lines().find_map(|line| line.strip_prefix(&format!("{key} = \""))?.strip_suffix('"'));
        let (Some(name), Some(version)) = (value("name"), value("version")) else { continue };
        let numbers: Vec<u64> = version.split(['.', '-', '+']).take(3).filter_map(|part| part.parse().ok()).collect();
        if BANNED_CRATES
            .iter()
            .any(|(crate_name, from)| *crate_name == name && from.is_none_or(|from| numbers.as_slice() < from.as_slice()))
        {
            banned.push(format!("{name} {version} is banned by deny.toml"));
        }
    }
    banned
}

/// The dotted keys of a configuration in TOML; those of a list's tables are left out.
pub(crate) fn keys(configuration: &str) -> Vec<String> {
    let mut section = None;
    let mut keys = Vec::new();
    for line in configuration.lines() {
        if line.starts_with('[') {
            section = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')).filter(|name| !name.starts_with('['));
        } else if let (Some(section), Some((key, _))) = (section, line.split_once(" = ")) {
            keys.push(format!("{section}.{key}"));
        }
    }
    keys
}

/// Whether a text names a key between backticks, or all of its section.
pub(crate) fn is_told(text: &str, key: &str) -> bool {
    let section = key.split('.').next().unwrap_or_default();
    text.contains(&format!("`{key}`")) || text.contains(&format!("`{section}.*`"))
}
