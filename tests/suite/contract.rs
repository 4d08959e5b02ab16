//! R2: schemathesis, a stranger's fuzzer, reads `/openapi.json` and tries what it allows and what it does not. A 5xx is a failure.
//!
//! Control: a cursor that makes the server fail must be found.
//!
//! It is a Python program: `python3 -m venv .venv && .venv/bin/pip install schemathesis==4.32.*`. Without it the tests say so and
//! pass, unless `SOSIK_REQUIRE_SCHEMATHESIS` is set, as CI does.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::support::client::Person;
use crate::support::server::{Server, Settings};
use crate::support::{faults, number_from_environment};

/// What a path of the document may have an operation for.
const METHODS: [&str; 7] = ["get", "head", "put", "post", "patch", "delete", "options"];

fn schemathesis() -> Option<PathBuf> {
    let found = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/schemathesis");
    if found.exists() {
        return Some(found);
    }
    assert!(std::env::var_os("SOSIK_REQUIRE_SCHEMATHESIS").is_none(), "{} is missing", found.display());
    println!("skipped: {} is missing", found.display());
    None
}

/// Operations that would end the session that everything else is tried with; the stream, which is no answer but a socket; and the document,
/// which it reads anyway and never tries.
const LEFT_OUT: [&str; 5] = ["/v1/auth/logout", "/v1/auth/password", "/v1/auth/sessions", "/v1/stream", "/openapi.json"];

/// What CPython 3.11 says now and then of itself while the fuzzer makes its examples: no word about the server.
const INTERPRETER_FAULT: &str = "AST constructor recursion depth mismatch";

/// How many operations the document has, without those that are left out.
async fn operations(server: &Server) -> usize {
    let document = Person::stranger(server).get("/openapi.json").send().await.expect(200);
    let paths = document.json["paths"].as_object().expect("paths").iter();
    let tried = paths.filter(|(path, _)| !LEFT_OUT.iter().any(|left_out| path.starts_with(left_out)));
    tried.map(|(_, item)| METHODS.iter().filter(|method| item.get(**method).is_some()).count()).sum()
}

/// The number behind a word of the summary: `  Tested: 40`, `  Selected: 40/45`.
fn told(text: &str, word: &str) -> Option<usize> {
    let line = text.lines().find_map(|line| line.trim().strip_prefix(word)?.strip_prefix(": "))?;
    line.split('/').next()?.trim().parse().ok()
}

/// Every operation that it may try was tried.
fn assert_all_were_tried(text: &str, operations: usize) {
    let tried = (told(text, "Selected"), told(text, "Tested"));
    assert_eq!(tried, (Some(operations), Some(operations)), "selected and tested, of {operations}; SOSIK_FUZZ_SECONDS gives it more time");
}

/// Runs it, again if its interpreter failed; what it said if it found a server error.
async fn fuzz(server: &Server, token: Option<&str>) -> Result<(), String> {
    for _ in 0..2 {
        match fuzz_once(server, token).await {
            Err(findings) if findings.contains(INTERPRETER_FAULT) => {}
            result => return result,
        }
    }
    fuzz_once(server, token).await
}

/// Runs it for a bounded time.
async fn fuzz_once(server: &Server, token: Option<&str>) -> Result<(), String> {
    let Some(program) = schemathesis() else { return Ok(()) };
    let seconds = number_from_environment("SOSIK_FUZZ_SECONDS", 80);
    let examples = number_from_environment("SOSIK_FUZZ_EXAMPLES", 15).to_string();
    let mut command = Command::new(program);
    command.arg("--config-file").arg(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/tools/schemathesis.toml"));
    command.arg("run").arg(server.address.url("/openapi.json")).args(["--checks", "not_a_server_error", "--max-examples", &examples]);
    command.args(["--max-time", &seconds.to_string(), "--continue-on-failure", "--generation-database", "none"]);
    // Of many findings the first few are enough.
    command.args(["--max-failures", "3", "--workers", "1", "--request-timeout", "20", "--no-color", "--seed", "7", "--warnings", "off"]);
    command.args(["--exclude-path-regex", &format!("^({})", LEFT_OUT.join("|"))]);
    if let Some(token) = token {
        command.args(["--header", &format!("Authorization: Bearer {token}")]);
    }
    let finished = tokio::task::spawn_blocking(move || command.output());
    let output = tokio::time::timeout(Duration::from_secs(seconds * 2 + 60), finished).await;
    let output = output.expect("it ends").expect("it runs").expect("it can be started");
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{text}");
    if !output.status.success() {
        return Err(text);
    }
    assert_all_were_tried(&text, operations(server).await);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fuzzer_with_a_token_finds_no_server_error() {
    let server = Server::start().await;
    let ann = Person::join(&server, "ann").await;

    if let Err(findings) = fuzz(&server, ann.token.as_deref()).await {
        panic!("{findings}");
    }
    Person::stranger(&server).get("/livez").send().await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fuzzer_without_a_token_finds_no_server_error() {
    let server = Server::start().await;

    if let Err(findings) = fuzz(&server, None).await {
        panic!("{findings}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_a_server_error_is_found() {
    if schemathesis().is_none() {
        return;
    }
    let server = Server::start_with(Settings::default().fault((faults::CURSOR_FAILS, "return"))).await;
    let ann = Person::join(&server, "ann").await;

    let found = fuzz(&server, ann.token.as_deref()).await;

    let findings = found.expect_err("the fault had no effect");
    assert!(findings.contains("Server error"), "{findings}");
}
