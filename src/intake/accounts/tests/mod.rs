//! Sign-in over a ledger in memory: rules S4 to S14 at this level. Each test that guards a promise names the fault it catches.

mod guessing;
mod passwords;
mod sessions;
mod tokens;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use futures_util::future::join_all;

use super::fake_ledger::FakeLedger;
use super::limits::FREE_FAILURES;
use super::*;
use crate::support::auth::hashing::{HashingError, HashingLimits};
use crate::support::auth::issuers::{IssuerSettings, Issuers};
use crate::support::auth::keys::{KeyRing, rotate};
use crate::support::auth::secret::test_secret;
use crate::support::auth::token::TokenError;
use crate::support::clock::ManualClock;
use crate::support::error_kind::ErrorKind;
use crate::support::lock::lock;
use crate::vocabulary::owner::NameKey;

const NOW: Millis = 1_800_000_000_000;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;
const PASSWORD: &str = "correct horse battery";
/// Weak on purpose: the strength is tested beside the pool.
const MEMORY_KIB: u32 = 256;

/// One server over a ledger; several share a ledger to stand for restarts and neighbours.
struct Server {
    accounts: Accounts,
    chores: Chores,
    ledger: Arc<FakeLedger>,
    clock: Arc<ManualClock>,
    dir: Arc<tempfile::TempDir>,
}

async fn server() -> Server {
    let clock = Arc::new(ManualClock::at(NOW));
    let ledger = Arc::new(FakeLedger::new(Arc::clone(&clock)));
    let dir = Arc::new(tempfile::tempdir().expect("a directory"));
    std::fs::write(dir.path().join("foreign.json"), FOREIGN_JWKS).expect("written");
    start(
        &ledger,
        &clock,
        &dir,
        AccountSettings { logins_per_minute: 100_000, registrations_per_hour: 100_000, ..AccountSettings::default() },
        MEMORY_KIB,
    )
    .await
}

async fn start(
    ledger: &Arc<FakeLedger>,
    clock: &Arc<ManualClock>,
    dir: &Arc<tempfile::TempDir>,
    settings: AccountSettings,
    memory_kib: u32,
) -> Server {
    let server = start_unloaded(ledger, clock, dir, settings, memory_kib);
    assert!(server.accounts.revocations().load(ledger.as_ref(), clock.now()).await);
    server.accounts.parts.tokens.issuers().refresh_due(clock.now()).await;
    server
}

fn start_unloaded(
    ledger: &Arc<FakeLedger>,
    clock: &Arc<ManualClock>,
    dir: &Arc<tempfile::TempDir>,
    settings: AccountSettings,
    memory_kib: u32,
) -> Server {
    static LAST_ID: AtomicU64 = AtomicU64::new(1000);
    let keys = Arc::new(KeyRing::open(&dir.path().join("keys"), clock.now()).expect("keys"));
    let path = dir.path().join("foreign.json");
    let foreign =
        IssuerSettings { issuer: FOREIGN.to_owned(), audience: "sosik".to_owned(), jwks: path.to_str().expect("a path").to_owned() };
    let issuers = Arc::new(Issuers::new(vec![foreign], "own").expect("acceptable"));
    let limits = HashingLimits { threads: 2, queue_max: 200, memory_kib, ..HashingLimits::default() };
    let parts = AccountParts {
        ledger: Arc::clone(ledger) as Arc<dyn AccountLedger>,
        tokens: Arc::new(Tokens::new(keys, issuers, "own".to_owned(), "sosik".to_owned())),
        hashing: Arc::new(HashingPool::start(limits).expect("a pool")),
        clock: Arc::clone(clock) as Arc<dyn Clock>,
        ids: Arc::new(|| Ok(LAST_ID.fetch_add(1, Ordering::SeqCst))),
    };
    let (accounts, chores) = Accounts::new(settings, parts, &test_secret());
    // The first server hears of commits; its neighbours learn at their start.
    let _ = ledger.feed.set(Arc::clone(accounts.revocations()));
    Server { accounts, chores, ledger: Arc::clone(ledger), clock: Arc::clone(clock), dir: Arc::clone(dir) }
}

impl Server {
    async fn restarted(&self) -> Server {
        start(&self.ledger, &self.clock, &self.dir, self.accounts.settings, MEMORY_KIB).await
    }

    async fn register(&self, username: &str) -> Result<Credentials, AccountError> {
        let registration = Registration { username: username.to_owned(), password: PASSWORD.to_owned(), display_name: None };
        self.accounts.register(registration, &client("192.0.2.1")).await
    }

    async fn login(&self, username: &str, password: &str, address: &str) -> Result<Credentials, AccountError> {
        self.accounts.login(username, password.to_owned(), &client(address)).await
    }

    async fn who(&self, credentials: &Credentials) -> Result<Identity, AuthError> {
        self.accounts.authenticate(&credentials.access_token).await
    }

    async fn do_chores(&mut self) {
        self.chores.do_waiting().await;
    }
}

fn client(address: &str) -> Client {
    Client { address: Some(address.parse().expect("an address")), device: "a \u{7}browser".to_owned() }
}

fn kind<T: std::fmt::Debug>(result: &Result<T, AccountError>) -> Option<ErrorKind> {
    result.as_ref().err().map(AccountError::kind)
}

fn is_too_many<T: std::fmt::Debug>(result: &Result<T, AccountError>) -> bool {
    matches!(kind(result), Some(ErrorKind::TooManyRequests { .. }))
}

/// The key pair of RFC 8037, appendix A.
const FOREIGN: &str = "https://issuer.example";
const FOREIGN_JWKS: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"f1"}]}"#;
