//! R2: schemathesis, a stranger's fuzzer, reads `/openapi.json` and tries what it allows and what it does not. A 5xx is a failure.
//!
//! It is a Python program: `python3 -m venv .venv && .venv/bin/pip install schemathesis==4.32.*`. Without it the tests say so and
//! pass, unless `SOSIK_REQUIRE_SCHEMATHESIS` is set, as CI does.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::support::client::Person;
use crate::support::number_from_environment;
use crate::support::server::Server;

fn schemathesis() -> Option<PathBuf> {
    let found = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/schemathesis");
    if found.exists() {
        return Some(found);
    }
    assert!(std::env::var_os("SOSIK_REQUIRE_SCHEMATHESIS").is_none(), "{} is missing", found.display());
    println!("skipped: {} is missing", found.display());
    None
}

/// What CPython 3.11 says now and then of itself while the fuzzer makes its examples: no word about the server.
const INTERPRETER_FAULT: &str = "AST constructor recursion depth mismatch";

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
    command.args(["--workers", "1", "--request-timeout", "20", "--no-color", "--seed", "7", "--warnings", "off"]);
    // These calls would end the session that everything else is tried with; the stream is no answer but a socket.
    command.args(["--exclude-path-regex", "^/v1/auth/(logout|password|sessions)|^/v1/stream"]);
    if let Some(token) = token {
        command.args(["--header", &format!("Authorization: Bearer {token}")]);
    }
    let finished = tokio::task::spawn_blocking(move || command.output());
    let output = tokio::time::timeout(Duration::from_secs(seconds * 2 + 60), finished).await;
    let output = output.expect("it ends").expect("it runs").expect("it can be started");
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{text}");
    if output.status.success() { Ok(()) } else { Err(text) }
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
