//! The rules of the house, kept by a test: what may import what, which libraries stand where, and what a file looks like.
//!
//! Each rule is a function from a file to its violations. Beside it stands a test that plants violations, so that the rule itself
//! is known to bite.

#![cfg(test)]

mod files;
mod rules;

use std::path::Path;
use std::process::Command;

use files::{File, all_code, documents, files, root, sources};
use rules::{
    MACHINE_PATHS, banned_crates, commands, dead_links, foreign_metrics, is_actor, is_told, keys, lost_bounds, machine_paths, metrics,
    raw_sends, silent_module, stray_actix, stray_database, subcommand, too_long, untold_metrics, upward_imports,
};

fn assert_kept(files: &[File], rule: impl Fn(&File) -> Vec<String>) {
    let broken: Vec<String> = files.iter().flat_map(|file| rule(file).into_iter().map(|what| format!("{}: {what}", file.path))).collect();
    assert!(broken.is_empty(), "{} broken rules\n{}", broken.len(), broken.join("\n"));
}

fn assert_bites(rule: impl Fn(&File) -> Vec<String>, violations: &[File], fine: &[File]) {
    for file in violations {
        assert!(!rule(file).is_empty(), "not noticed in {}: {}", file.path, file.text);
    }
    for file in fine {
        assert_eq!(rule(file), Vec::<String>::new(), "in {}: {}", file.path, file.text);
    }
}

#[test]
fn imports_point_only_downward() {
    assert_kept(&sources(), upward_imports);
}

#[test]
fn an_import_upward_is_noticed() {
    let planted = File::planted;
    assert_bites(
        upward_imports,
        &[
            planted("src/ledger/shard.rs", "use crate::api::Reply;"),
            planted("src/vocabulary/ids.rs", "fn now() -> u64 { crate::support::clock::now() }"),
            planted("src/substrate/mod.rs", "use crate::{support::lock::lock, ledger::{Ledger, Shard}};"),
            planted("src/ledger/view/posts.rs", "use super::super::super::intake::Intake;"),
            planted("src/api/mod.rs", "use crate::app::App;"),
            planted("src/app.rs", "use crate::cli::Arguments;"),
        ],
        &[
            planted("src/api/posts.rs", "use crate::{intake::Intake, ledger::view::View};"),
            planted("src/ledger/shard.rs", "// crate::api is above\nconst WORD: &str = \"crate::api\";"),
            planted("src/ledger/view/posts.rs", "use super::super::shard::Shard;"),
            planted("src/main.rs", "use sosik::cli;"),
        ],
    );
}

#[test]
fn actix_stands_only_with_the_actors_and_at_the_edges() {
    let sources = sources();
    let actors: Vec<String> = sources.iter().filter(|file| is_actor(file)).map(|file| file.path.clone()).collect();
    assert!(!actors.is_empty(), "the actors were not found");
    assert_kept(&sources, |file| stray_actix(file, &actors));
}

#[test]
fn actix_elsewhere_is_noticed() {
    let actor = File::planted("src/ledger/router.rs", "use actix::prelude::*;\nimpl Actor for Router {}");
    assert!(is_actor(&actor));
    assert!(!is_actor(&File::planted("src/ledger/lanes.rs", "// impl Actor for Lanes\n")));
    assert_bites(
        |file| stray_actix(file, std::slice::from_ref(&actor.path)),
        &[
            File::planted("src/ledger/lanes.rs", "use actix::prelude::*;"),
            File::planted("src/intake/mod.rs", "fn f() -> actix_web::Error {}"),
        ],
        &[
            actor.clone(),
            File::planted("src/ledger/router/steps.rs", "use actix::Context;"),
            File::planted("src/api/posts.rs", "use actix_web::web;"),
        ],
    );
}

#[test]
fn the_database_is_spoken_to_only_by_the_store() {
    assert_kept(&sources(), stray_database);
}

#[test]
fn a_database_elsewhere_is_noticed() {
    assert_bites(
        stray_database,
        &[
            File::planted("src/ledger/job.rs", "use sea_orm::DbErr;"),
            File::planted("src/api/posts.rs", "fn f(row: sosik_entities::posts::Model) {}"),
        ],
        &[File::planted("src/substrate/store/posts.rs", "use sea_orm::DbErr;"), File::planted("src/ledger/job.rs", "//! Not sea_orm's.\n")],
    );
}

#[test]
fn actors_are_asked_only_through_their_mailbox() {
    assert_kept(&sources(), raw_sends);
}

#[test]
fn a_raw_send_is_noticed() {
    assert_bites(
        raw_sends,
        &[File::planted("src/app.rs", "address.do_send(Stop);"), File::planted("src/api/mod.rs", "struct Ports { writers: Addr<Writer> }")],
        &[
            File::planted("src/support/mailbox.rs", "struct Mailbox<A> { address: Addr<A> }"),
            File::planted("src/app.rs", "let address: SocketAddr;"),
        ],
    );
}

#[test]
fn a_file_has_one_subject_and_at_most_five_hundred_lines() {
    assert_kept(&all_code(), too_long);
}

#[test]
fn a_file_that_is_too_long_is_noticed() {
    assert_bites(too_long, &[File::planted("src/a.rs", &"\n".repeat(501))], &[File::planted("src/a.rs", &"\n".repeat(500))]);
}

#[test]
fn every_module_opens_with_what_it_is_for() {
    assert_kept(&all_code(), silent_module);
}

#[test]
fn a_silent_module_is_noticed() {
    assert_bites(
        silent_module,
        &[
            File::planted("src/a.rs", "use std::fmt;\n//! Late.\n"),
            File::planted("src/a.rs", "/// Of something else.\n"),
            File::planted("src/a.rs", ""),
        ],
        &[File::planted("src/a.rs", "//! What goes in, what comes out.\n")],
    );
}

#[test]
fn no_file_names_a_path_of_one_machine() {
    let mut all = all_code();
    all.extend(documents());
    all.extend(files(&["Cargo.toml", "deny.toml", "clippy.toml", "test", ".ci", ".cargo", "static", "tests/tools"], &[""]));
    assert_kept(&all, machine_paths);
}

#[test]
fn a_path_of_one_machine_is_noticed() {
    let [first, ..] = MACHINE_PATHS;
    assert_bites(machine_paths, &[File::planted("README.md", &format!("see {first}notes"))], &[File::planted("README.md", "see docs/")]);
}

#[test]
fn every_metric_begins_with_sosik() {
    assert_kept(&sources(), foreign_metrics);
}

#[test]
fn a_metric_of_another_name_is_noticed() {
    assert_bites(
        foreign_metrics,
        &[
            File::planted("src/a.rs", "metrics::counter!(\"writes_total\").increment(1);"),
            File::planted("src/a.rs", "const DEPTH: &str = \"depth\";\nmetrics::gauge!(DEPTH).set(1.0);"),
            File::planted("src/a.rs", "metrics::histogram!(\n    \"seconds\", \"job\" => name)"),
        ],
        &[File::planted("src/a.rs", "const DEPTH: &str = \"sosik_depth\";\nmetrics::gauge!(DEPTH).set(1.0);")],
    );
}

#[test]
fn every_metric_is_explained_and_every_explained_one_is_there() {
    let document = std::fs::read_to_string(root().join("docs/metrics.md")).expect("the document can be read");
    assert_kept(&sources(), |file| untold_metrics(file, &document));

    let recorded: Vec<String> = sources().iter().flat_map(metrics).collect();
    let named = document.split('`').skip(1).step_by(2).filter(|code| code.starts_with("sosik_"));
    let names = named.map(|code| code.split(['{', ' ']).next().unwrap_or_default());
    let gone: Vec<&str> = names.filter(|name| !recorded.iter().any(|metric| metric == name)).collect();
    assert!(gone.is_empty(), "docs/metrics.md explains what is not recorded: {gone:?}");
}

#[test]
fn a_metric_without_a_word_is_noticed() {
    let planted = |name: &str| File::planted("src/a.rs", &format!("metrics::counter!(\"{name}\").increment(1);"));
    let document = "| `sosik_writes_total{shard}`, `sosik_reads_total` | counter | … |";
    let told = [planted("sosik_writes_total"), planted("sosik_reads_total")];
    assert_bites(|file| untold_metrics(file, document), &[planted("sosik_write"), planted("sosik_seen_total")], &told);
}

#[test]
fn the_links_of_the_documents_lead_somewhere() {
    let documents = documents();
    assert!(documents.iter().any(|file| file.path == "docs/ARCHITECTURE.md"), "the documents were not found");
    assert_kept(&documents, |file| dead_links(file, |path| root().join(path).exists()));
}

#[test]
fn a_link_that_leads_nowhere_is_noticed() {
    let exists = |path: &Path| path == Path::new("docs/limits.md");
    let fine = "[a](limits.md#top) [b](#here) [c](https://example.org/x)";
    assert_bites(|file| dead_links(file, exists), &[File::planted("docs/a.md", "[a](gone.md)")], &[File::planted("docs/a.md", fine)]);
}

#[test]
fn every_bound_that_the_documents_name_stands_in_its_file() {
    assert_kept(&documents(), |file| lost_bounds(file, |path| std::fs::read_to_string(root().join(path)).ok()));
}

#[test]
fn a_bound_that_is_gone_is_noticed() {
    let read = |path: &str| (path == "src/a.rs").then(|| "const DEPTH_MAX: usize = 8;".to_owned());
    let planted = File::planted;
    let violations =
        [planted("a.md", "| depth | `WIDTH_MAX` in `src/a.rs` | 8 |"), planted("a.md", "| depth | `DEPTH_MAX` in `src/b.rs` | 8 |")];
    assert_bites(|file| lost_bounds(file, read), &violations, &[planted("a.md", "| depth | `DEPTH_MAX` in `src/a.rs` | 8 |")]);
}

/// Whether a command of the README can be run. Those of `sosik` are asked for their help.
fn exists(command: &str) -> bool {
    if !command.starts_with("sosik") {
        let program = command.split_whitespace().next().unwrap_or_default();
        return root().join(program).is_file();
    }
    let help = Command::new(env!("CARGO_BIN_EXE_sosik")).args(subcommand(command)).arg("--help").output();
    help.is_ok_and(|output| output.status.success())
}

#[test]
fn the_commands_of_the_readme_exist() {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("the README can be read");
    let commands = commands(&readme);
    assert!(commands.len() > 5, "the commands were not found: {commands:?}");
    let missing: Vec<&String> = commands.iter().filter(|command| !exists(command)).collect();
    assert!(missing.is_empty(), "the README names commands that do not exist: {missing:?}");
}

#[test]
fn every_key_of_the_configuration_stands_in_the_readme() {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("the README can be read");
    let checked = Command::new(env!("CARGO_BIN_EXE_sosik")).args(["config", "check"]).output().expect("the binary runs");
    let keys = keys(&String::from_utf8_lossy(&checked.stdout));
    assert!(keys.len() > 30, "the keys were not found: {keys:?}");
    let missing: Vec<&String> = keys.iter().filter(|key| !is_told(&readme, key)).collect();
    assert!(missing.is_empty(), "the README does not say what these are: {missing:?}");
    assert!(!is_told(&readme, "server.port"), "a key that is told nowhere is noticed");
}

#[test]
fn a_command_that_does_not_exist_is_noticed() {
    let text = "```sh\n./no-such-script\nsosik keys melt\n```\n| `sosik frobnicate NAME` | … |\n`sosik unread`\n";
    assert_eq!(commands(text), ["./no-such-script", "sosik keys melt", "sosik frobnicate NAME"]);
    assert_eq!(subcommand("sosik user admin NAME --data x"), ["user", "admin"]);
    assert!(!exists("./no-such-script"));
    assert!(!exists("sosik frobnicate NAME"));
}

#[test]
fn no_banned_crate_is_built_in() {
    let lock = std::fs::read_to_string(root().join("Cargo.lock")).expect("Cargo.lock can be read");
    assert_eq!(banned_crates(&lock), Vec::<String>::new());
}

#[test]
fn a_banned_crate_is_noticed() {
    let package = |name: &str, version: &str| format!("[[package]]\nname = \"{name}\"\nversion = \"{version}\"\n");
    assert_eq!(banned_crates(&package("openssl", "0.10.70")).len(), 1);
    assert_eq!(banned_crates(&package("h2", "0.4.15")).len(), 1);
    assert_eq!(banned_crates(&(package("h2", "0.4.16") + &package("openssl-probe", "0.2.0"))), Vec::<String>::new());
}
