//! Sign-in over a ledger in memory: rules S4 to S14 at this level. Each test that guards a promise names the fault it catches.

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
        while self.chores.waiting() > 0 {
            assert!(self.chores.step().await);
        }
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

#[tokio::test]
async fn somebody_registers_logs_in_refreshes_and_logs_out() {
    let server = server().await;
    let registered = server.register("Bob").await.expect("registered");
    let identity = server.who(&registered).await.expect("signed in");
    assert_eq!((identity.user, identity.session, identity.role), (registered.user, Some(registered.session), Role::User));

    let logged_in = server.login("bOB", PASSWORD, "192.0.2.2").await.expect("logged in");
    assert_eq!(logged_in.user, registered.user);
    assert_ne!(logged_in.session, registered.session, "a login is a new session (fixation)");

    let refreshed = server.accounts.refresh(&logged_in.refresh_token).await.expect("refreshed");
    assert_eq!(refreshed.session, logged_in.session);
    assert_ne!(refreshed.refresh_token, logged_in.refresh_token);
    assert!(refreshed.position > logged_in.position);

    let identity = server.who(&refreshed).await.expect("signed in");
    server.accounts.logout(&identity).await.expect("logged out");
    assert!(matches!(server.who(&refreshed).await, Err(AuthError::SessionEnded)));
    assert!(matches!(server.who(&logged_in).await, Err(AuthError::SessionEnded)), "all tokens of the session");
    assert_eq!(kind(&server.accounts.refresh(&refreshed.refresh_token).await), Some(ErrorKind::Unauthenticated));
    assert!(server.who(&registered).await.is_ok(), "the other session lives");
    assert!(server.accounts.logout(&identity).await.is_ok(), "twice is the same");
}

#[tokio::test]
async fn a_registration_says_what_is_wrong_with_its_field() {
    let server = server().await;
    let table = [
        ("bo", PASSWORD, None, ("username", "too-short")),
        ("bob!", PASSWORD, None, ("username", "characters")),
        ("user.1", PASSWORD, None, ("username", "reserved")),
        ("bob", "short", None, ("password", "too-short")),
        ("bob", "password1", None, ("password", "common")),
        ("bob", PASSWORD, Some(" "), ("display_name", "blank")),
    ];
    for (username, password, display_name, expected) in table {
        let registration =
            Registration { username: username.to_owned(), password: password.to_owned(), display_name: display_name.map(str::to_owned) };
        let refused = server.accounts.register(registration, &Client::default()).await;

        assert_eq!(kind(&refused), Some(ErrorKind::Invalid));
        assert_eq!(refused.err().and_then(|error| error.invalid()).map(|(field, code, _)| (field, code)), Some(expected));
    }
    assert!(server.ledger.journal().is_empty());
}

#[tokio::test]
async fn a_name_is_given_once_however_many_ask_at_once() {
    // Planted fault: trusting the look-up before the hash instead of the name's lane.
    let server = server().await;
    let results = join_all((0..50).map(|_| server.register("bob"))).await;

    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    assert!(results.iter().filter(|result| result.is_err()).all(|result| kind(result) == Some(ErrorKind::UsernameTaken)));
    let before = server.ledger.journal().len();
    assert_eq!(kind(&server.register("BOB").await), Some(ErrorKind::UsernameTaken));
    assert_eq!(server.ledger.journal().len(), before, "seen to be taken before anything is written");
}

#[tokio::test]
async fn s5_fifty_refreshes_at_once_give_one_successor() {
    // Planted fault: a second use that ends the session although both tabs refreshed at once.
    let server = server().await;
    let registered = server.register("bob").await.expect("registered");
    let refreshed = join_all((0..50).map(|_| server.accounts.refresh(&registered.refresh_token))).await;

    let mut successors: Vec<_> = refreshed.into_iter().map(|result| result.expect("refreshed").refresh_token).collect();
    successors.dedup();
    assert_eq!(successors.len(), 1);
    assert_eq!(server.ledger.all_rows().sessions[&registered.session].generation, 1);
    assert!(server.accounts.refresh(&successors[0]).await.is_ok());
}

#[tokio::test]
async fn s5_a_token_that_was_used_before_ends_its_session_but_for_the_grace_of_the_immediate_predecessor() {
    // Planted faults: a grace without end, or for any older token; an end that leaves the access tokens good.
    // (rotations before, generation used, milliseconds since the last rotation, still good)
    let table = [
        (0, 0, 0, true),
        (1, 1, DAY_MS, true),
        (1, 0, 0, true),
        (1, 0, REFRESH_GRACE_MS, true),
        (1, 0, REFRESH_GRACE_MS + 1, false),
        (2, 0, 0, false),
        (2, 1, REFRESH_GRACE_MS, true),
        (2, 1, REFRESH_GRACE_MS + 1, false),
        (3, 0, 0, false),
        (3, 1, 1, false),
    ];
    for (rotations, used, elapsed, good) in table {
        let server = server().await;
        let other = server.register("bob").await.expect("registered");
        let mut chain = vec![server.login("bob", PASSWORD, "192.0.2.1").await.expect("logged in")];
        for _ in 0..rotations {
            let last = chain.last().expect("one").refresh_token.clone();
            chain.push(server.accounts.refresh(&last).await.expect("refreshed"));
        }
        server.clock.advance(elapsed);
        let row = (rotations, used, elapsed);
        let again = server.accounts.refresh(&chain[used].refresh_token).await;

        assert_eq!(again.is_ok(), good, "{row:?}");
        if good {
            let successor = again.expect("good").refresh_token;
            assert!(chain.get(used + 1).is_none_or(|next| next.refresh_token == successor), "{row:?}");
            continue;
        }
        assert_eq!(kind(&again), Some(ErrorKind::Unauthenticated), "{row:?}");
        let newest = chain.last().expect("one");
        assert!(matches!(server.who(newest).await, Err(AuthError::SessionEnded | AuthError::Token(TokenError::Expired))), "{row:?}");
        assert!(server.accounts.refresh(&newest.refresh_token).await.is_err(), "the thief is out as well {row:?}");
        assert!(server.accounts.refresh(&other.refresh_token).await.is_ok(), "another session is not concerned {row:?}");
    }
}

#[tokio::test]
async fn s5_nothing_that_is_stored_or_journaled_lets_anybody_in() {
    let server = server().await;
    let registered = server.register("bob").await.expect("registered");
    let refreshed = server.accounts.refresh(&registered.refresh_token).await.expect("refreshed");
    let stored = format!("{:?} {:?}", server.ledger.journal(), server.ledger.all_rows());

    for secret in [PASSWORD, &registered.refresh_token, &refreshed.refresh_token, &registered.access_token] {
        assert!(!stored.contains(secret));
    }
    let shown = format!("{registered:?}");
    assert!(!shown.contains(&registered.refresh_token) && !shown.contains(&registered.access_token));
}

#[tokio::test]
async fn s4_no_kind_of_token_stands_in_for_another() {
    let server = server().await;
    let registered = server.register("bob").await.expect("registered");

    assert!(matches!(server.accounts.authenticate(&registered.refresh_token).await, Err(AuthError::Token(_))));
    assert_eq!(kind(&server.accounts.refresh(&registered.access_token).await), Some(ErrorKind::Unauthenticated));
    for garbage in ["", "x", "a.b.c", &"x".repeat(100_000)] {
        let refused = server.accounts.authenticate(garbage).await.err().map(|error| error.kind());
        assert_eq!(refused, Some(ErrorKind::Unauthenticated));
        assert_eq!(kind(&server.accounts.refresh(garbage).await), Some(ErrorKind::Unauthenticated));
    }
}

#[tokio::test]
async fn s6_a_session_ends_when_idle_and_at_its_absolute_limit() {
    // Planted fault: a session that lives as long as somebody refreshes.
    let mut server = server().await;
    let idle = server.register("bob").await.expect("registered");
    let used = server.login("bob", PASSWORD, "192.0.2.1").await.expect("logged in");
    server.clock.advance(29 * DAY_MS);
    let mut used = server.accounts.refresh(&used.refresh_token).await.expect("in time");
    server.clock.advance(DAY_MS);
    assert_eq!(kind(&server.accounts.refresh(&idle.refresh_token).await), Some(ErrorKind::Unauthenticated));
    server.do_chores().await;
    let identity = server.who(&used).await;
    assert!(identity.is_err(), "the access token is long over");

    for day in [40, 60, 80] {
        server.clock.set(NOW + day * DAY_MS);
        used = server.accounts.refresh(&used.refresh_token).await.expect("used often enough");
    }
    server.clock.set(NOW + SESSION_LIFE_MAX_MS - 1);
    used = server.accounts.refresh(&used.refresh_token).await.expect("at the limit");
    server.clock.set(NOW + SESSION_LIFE_MAX_MS);
    assert_eq!(kind(&server.accounts.refresh(&used.refresh_token).await), Some(ErrorKind::Unauthenticated));
}

#[tokio::test]
async fn s7_a_revoked_session_stays_so_over_a_restart_and_no_token_is_believed_before_it_is_known() {
    // Planted fault: an empty set of ended sessions after a start.
    let server = server().await;
    let ended = server.register("bob").await.expect("registered");
    let alive = server.login("bob", PASSWORD, "192.0.2.1").await.expect("logged in");
    let identity = server.who(&ended).await.expect("signed in");
    server.accounts.logout(&identity).await.expect("logged out");

    let restarted = start_unloaded(&server.ledger, &server.clock, &server.dir, server.accounts.settings, MEMORY_KIB);
    server.ledger.unreadable.store(true, Ordering::SeqCst);
    assert!(!restarted.accounts.revocations().load(server.ledger.as_ref(), NOW).await);
    for credentials in [&ended, &alive] {
        let refused = restarted.who(credentials).await.err().map(|error| error.kind());
        assert_eq!(refused, Some(ErrorKind::Unavailable { retry_after_s: 1 }));
    }

    server.ledger.unreadable.store(false, Ordering::SeqCst);
    assert!(restarted.accounts.revocations().load(server.ledger.as_ref(), NOW).await);
    assert!(matches!(restarted.who(&ended).await, Err(AuthError::SessionEnded)));
    assert!(restarted.who(&alive).await.is_ok());
}

#[tokio::test]
async fn s7_the_node_that_ends_a_session_refuses_its_tokens_before_it_hears_of_the_commit() {
    // Planted fault: relying on the feed of commits alone.
    let first = server().await;
    let deaf = first.restarted().await;
    let out = first.register("bob").await.expect("registered");
    let reused = deaf.login("bob", PASSWORD, "192.0.2.1").await.expect("logged in");
    let other = deaf.login("bob", PASSWORD, "192.0.2.1").await.expect("logged in");
    let own = deaf.login("bob", PASSWORD, "192.0.2.1").await.expect("logged in");

    let identity = deaf.who(&out).await.expect("signed in");
    deaf.accounts.logout(&identity).await.expect("logged out");
    assert!(matches!(deaf.who(&out).await, Err(AuthError::SessionEnded)));

    deaf.accounts.refresh(&reused.refresh_token).await.expect("refreshed");
    deaf.clock.advance(REFRESH_GRACE_MS + 1);
    assert!(deaf.accounts.refresh(&reused.refresh_token).await.is_err());
    assert!(matches!(deaf.who(&reused).await, Err(AuthError::SessionEnded)));

    let identity = deaf.who(&own).await.expect("signed in");
    deaf.accounts.change_password(&identity, PASSWORD.to_owned(), "another good one".to_owned()).await.expect("changed");
    assert!(matches!(deaf.who(&other).await, Err(AuthError::SessionEnded)));
    assert!(deaf.who(&own).await.is_ok());
}

#[tokio::test]
async fn s7_a_new_password_ends_all_other_sessions() {
    let server = server().await;
    let other = server.register("bob").await.expect("registered");
    let own = server.login("bob", PASSWORD, "192.0.2.1").await.expect("logged in");
    let identity = server.who(&own).await.expect("signed in");
    server.who(&other).await.expect("remembered as good");

    let wrong = server.accounts.change_password(&identity, "not it".to_owned(), "another good one".to_owned()).await;
    assert_eq!(kind(&wrong), Some(ErrorKind::Forbidden));
    let common = server.accounts.change_password(&identity, PASSWORD.to_owned(), "password1".to_owned()).await;
    assert_eq!(common.err().and_then(|error| error.invalid()).map(|(field, code, _)| (field, code)), Some(("new_password", "common")));
    assert!(server.who(&other).await.is_ok());

    server.accounts.change_password(&identity, PASSWORD.to_owned(), "another good one".to_owned()).await.expect("changed");
    assert!(server.who(&own).await.is_ok());
    assert!(matches!(server.who(&other).await, Err(AuthError::SessionEnded)));
    assert!(server.accounts.refresh(&own.refresh_token).await.is_ok());
    assert!(server.accounts.refresh(&other.refresh_token).await.is_err());
    assert_eq!(kind(&server.login("bob", PASSWORD, "192.0.2.1").await), Some(ErrorKind::Unauthenticated));
    assert!(server.login("bob", "another good one", "192.0.2.1").await.is_ok());
}

#[tokio::test]
async fn s7_a_login_that_was_overtaken_by_a_new_password_opens_nothing() {
    // Planted fault: a session opened with the old password after the change, which ended "all others".
    let server = server().await;
    let own = server.register("bob").await.expect("registered");
    let other_hash = server.accounts.parts.hashing.hash("another good one".to_owned()).await.expect("hashed");
    *lock(&server.ledger.in_between) = Some((own.user, Command::ChangePassword { password_hash: other_hash, keep: Some(own.session) }));

    assert_eq!(kind(&server.login("bob", PASSWORD, "192.0.2.1").await), Some(ErrorKind::Unauthenticated));
    let alive = server.ledger.all_rows().sessions.into_values().filter(|session| session.ended_at.is_none());
    assert_eq!(alive.map(|session| session.session).collect::<Vec<_>>(), [own.session]);
}

#[tokio::test]
async fn guesses_at_the_current_password_are_limited_too() {
    let server = server().await;
    let own = server.register("bob").await.expect("registered");
    let identity = server.who(&own).await.expect("signed in");
    for _ in 0..FREE_FAILURES {
        let wrong = server.accounts.change_password(&identity, "not it".to_owned(), "another good one".to_owned()).await;
        assert_eq!(kind(&wrong), Some(ErrorKind::Forbidden));
    }

    assert!(is_too_many(&server.accounts.change_password(&identity, PASSWORD.to_owned(), "another good one".to_owned()).await));
    let other = server.login("bob", PASSWORD, "192.0.2.1").await.expect("logged in");
    let identity = server.who(&other).await.expect("signed in");
    assert!(server.accounts.change_password(&identity, PASSWORD.to_owned(), "another good one".to_owned()).await.is_ok());
}

#[tokio::test]
async fn s8_sessions_are_listed_and_ended_by_their_user_only() {
    // Planted fault: ending a session by its id alone.
    let server = server().await;
    let first = server.register("bob").await.expect("registered");
    server.clock.advance(1000);
    let second = server.login("bob", PASSWORD, "192.0.2.1").await.expect("logged in");
    let stranger = server.register("eve").await.expect("registered");
    let identity = server.who(&second).await.expect("signed in");

    let sessions = server.accounts.sessions(&identity).await.expect("listed");
    let seen: Vec<_> = sessions.iter().map(|session| (session.session, session.current, session.created_at)).collect();
    assert_eq!(seen, [(second.session, true, NOW + 1000), (first.session, false, NOW)]);
    assert_eq!(sessions[0].device, "a browser", "without control characters");

    let before = server.ledger.journal().len();
    assert_eq!(kind(&server.accounts.end_session(stranger.user, first.session).await), Some(ErrorKind::NotFound));
    assert_eq!(server.ledger.journal().len(), before, "a stranger writes nothing");
    assert!(server.who(&first).await.is_ok());
    server.accounts.end_session(identity.user, first.session).await.expect("ended");
    assert!(matches!(server.who(&first).await, Err(AuthError::SessionEnded)));
    assert_eq!(kind(&server.accounts.end_session(identity.user, first.session).await), Some(ErrorKind::NotFound));
    assert_eq!(server.accounts.sessions(&identity).await.expect("listed").len(), 1);
}

#[tokio::test]
async fn s8_opening_more_sessions_than_allowed_ends_the_least_used() {
    let mut server = server().await;
    let first = server.register("bob").await.expect("registered");
    for _ in 0..SESSIONS_MAX + 5 {
        server.clock.advance(1);
        server.login("bob", PASSWORD, "192.0.2.1").await.expect("logged in");
        server.do_chores().await;
    }

    let alive = server.ledger.all_rows().sessions.into_values().filter(|session| session.ended_at.is_none());
    let alive: Vec<_> = alive.map(|session| session.session).collect();
    assert_eq!(alive.len(), SESSIONS_MAX);
    assert!(!alive.contains(&first.session));
}

#[tokio::test]
async fn s9_a_hash_is_made_stronger_at_login_and_never_undoes_a_new_password() {
    // Planted fault: a rehash that is written whatever hash stands by then.
    let server = server().await;
    let own = server.register("bob").await.expect("registered");
    let before = server.ledger.all_rows().accounts[&own.user].password_hash.clone();
    let mut raised = start(&server.ledger, &server.clock, &server.dir, server.accounts.settings, MEMORY_KIB * 2).await;

    raised.login("bob", PASSWORD, "192.0.2.1").await.expect("logged in");
    let new_hash = raised.accounts.parts.hashing.hash("another good one".to_owned()).await.expect("hashed");
    *lock(&server.ledger.in_between) = Some((own.user, Command::ChangePassword { password_hash: new_hash.clone(), keep: None }));
    raised.do_chores().await;
    assert_eq!(server.ledger.all_rows().accounts[&own.user].password_hash.as_ref(), Some(&new_hash));

    server.ledger.change_rows(|rows| rows.accounts.get_mut(&own.user).expect("there").password_hash = before.clone());
    raised.login("bob", PASSWORD, "192.0.2.1").await.expect("logged in");
    raised.do_chores().await;
    let after = server.ledger.all_rows().accounts[&own.user].password_hash.clone().expect("a hash");
    assert!(after.contains(&format!("m={}", MEMORY_KIB * 2)), "{after}");
    raised.login("bob", PASSWORD, "192.0.2.1").await.expect("logged in");
    assert_eq!(raised.chores.waiting(), 0, "once is enough");
}

#[tokio::test]
async fn s10_a_thousand_logins_at_once_are_answered_or_told_to_come_again() {
    // Planted fault: an unbounded queue, in which all wait and the known token with them.
    let server = server().await;
    let own = server.register("bob").await.expect("registered");
    let heavy = AccountSettings { limits_enabled: false, ..server.accounts.settings };
    let server = start(&server.ledger, &server.clock, &server.dir, heavy, 19_456).await;
    let logins = join_all((0..1000).map(|_| server.login("nobody", "wrong password", "192.0.2.9")));
    let beside = async {
        let mut longest = Duration::ZERO;
        for _ in 0..100 {
            let started = Instant::now();
            server.who(&own).await.expect("signed in");
            longest = longest.max(started.elapsed());
            tokio::task::yield_now().await;
        }
        longest
    };
    let (results, longest) = tokio::join!(logins, beside);

    let busy =
        results.iter().filter(|result| matches!(kind(result), Some(ErrorKind::Overloaded { retry_after_s }) if retry_after_s > 0)).count();
    let answered = results.iter().filter(|result| kind(result) == Some(ErrorKind::Unauthenticated)).count();
    assert_eq!(busy + answered, 1000);
    assert!(busy > 500 && answered > 0, "{busy} {answered}");
    assert!(longest < Duration::from_millis(200), "{longest:?}");
}

#[tokio::test]
async fn s12_an_unknown_user_takes_the_same_path_as_a_wrong_password() {
    // Planted faults: an early answer for unknown names; a limit that only existing accounts reach.
    let server = server().await;
    server.register("bob").await.expect("registered");
    let mut paths = Vec::new();
    for name in ["bob", "nobody", "no such name!"] {
        let mut path = Vec::new();
        for _ in 0..FREE_FAILURES + 2 {
            let reads = server.ledger.reads.load(Ordering::SeqCst);
            let refused = server.login(name, "wrong password", "192.0.2.9").await;
            path.push((server.ledger.reads.load(Ordering::SeqCst) - reads, kind(&refused), refused.expect_err("refused").to_string()));
        }
        paths.push(path);
    }

    assert_eq!(paths[0], paths[1]);
    assert_eq!(paths[0], paths[2]);
    assert_eq!(paths[0][0].1, Some(ErrorKind::Unauthenticated));
    assert!(matches!(paths[0][FREE_FAILURES as usize].1, Some(ErrorKind::TooManyRequests { .. })));
}

#[tokio::test]
async fn s12_the_answer_does_not_wait_for_the_back_off_to_be_written() {
    // Planted fault: an existing account that answers more slowly from the fifth failure on.
    let mut server = server().await;
    server.register("bob").await.expect("registered");
    let before = server.ledger.journal().len();
    for _ in 0..FREE_FAILURES {
        assert!(server.login("bob", "wrong password", "192.0.2.9").await.is_err());
    }

    assert_eq!(server.ledger.journal().len(), before);
    assert_eq!(server.chores.waiting(), 1);
    server.do_chores().await;
    assert!(matches!(server.ledger.journal().last(), Some((_, Command::BackOffLogin { failures: FREE_FAILURES, .. }))));
}

#[tokio::test]
async fn s13_a_back_off_survives_a_restart_and_a_known_device_does_not_pay_for_strangers() {
    // Planted faults: a back-off only in memory; an owner who is shut out by strangers.
    let mut server = server().await;
    server.register("bob").await.expect("registered from 192.0.2.1");
    for _ in 0..FREE_FAILURES {
        assert_eq!(kind(&server.login("bob", "wrong password", "192.0.2.9").await), Some(ErrorKind::Unauthenticated));
    }
    server.do_chores().await;

    let mut restarted = server.restarted().await;
    for server in [&server, &restarted] {
        assert!(is_too_many(&server.login("bob", PASSWORD, "192.0.2.9").await), "a stranger, even with the right password");
        assert!(is_too_many(&server.login("bob", PASSWORD, "198.51.100.1").await), "from anywhere");
        assert!(server.login("bob", PASSWORD, "192.0.2.1").await.is_ok(), "the owner's device");
    }
    assert!(is_too_many(&restarted.login("bob", PASSWORD, "192.0.2.9").await), "the owner's login does not help a stranger");

    restarted.clock.advance(1_000);
    restarted.login("bob", PASSWORD, "192.0.2.9").await.expect("waited");
    restarted.do_chores().await;
    let account = restarted.ledger.all_rows().accounts.into_values().next().expect("one");
    assert_eq!((account.failed_logins, account.backed_off_until), (0, 0), "forgotten after a success");
}

#[tokio::test]
async fn s13_each_address_has_its_share_unless_limits_are_off() {
    let server = server().await;
    server.register("bob").await.expect("registered");
    let few = AccountSettings { logins_per_minute: 3, registrations_per_hour: 2, ..AccountSettings::default() };
    let limited = start(&server.ledger, &server.clock, &server.dir, few, MEMORY_KIB).await;
    for _ in 0..3 {
        limited.login("bob", PASSWORD, "192.0.2.1").await.expect("logged in");
    }
    assert_eq!(kind(&limited.login("bob", PASSWORD, "192.0.2.1").await), Some(ErrorKind::TooManyRequests { retry_after_s: 20 }));
    assert!(limited.login("bob", PASSWORD, "192.0.2.2").await.is_ok());
    for name in ["ann", "ben"] {
        limited.register(name).await.expect("registered");
    }
    assert_eq!(kind(&limited.register("cat").await), Some(ErrorKind::TooManyRequests { retry_after_s: 1800 }));

    let off = AccountSettings { limits_enabled: false, ..few };
    let unlimited = start(&server.ledger, &server.clock, &server.dir, off, MEMORY_KIB).await;
    for _ in 0..20 {
        assert_eq!(kind(&unlimited.login("bob", "wrong password", "192.0.2.1").await), Some(ErrorKind::Unauthenticated));
    }
    assert!(unlimited.login("bob", PASSWORD, "192.0.2.1").await.is_ok());
}

#[tokio::test]
async fn a_remembered_token_is_not_believed_beyond_its_end_nor_after_its_key_was_taken_away() {
    // Planted faults: a cache that outlives the token, or the key.
    let server = server().await;
    let own = server.register("bob").await.expect("registered");
    let identity = server.who(&own).await.expect("signed in");
    server.clock.set(identity.expires_at - 1);
    assert!(server.who(&own).await.is_ok());
    server.clock.set(identity.expires_at);
    assert!(matches!(server.who(&own).await, Err(AuthError::Token(TokenError::Expired))));

    server.clock.set(NOW);
    assert!(server.who(&own).await.is_ok());
    let keys = server.dir.path().join("keys");
    for entry in std::fs::read_dir(&keys).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "pem") {
            std::fs::remove_file(path).expect("removed");
        }
    }
    rotate(&keys, NOW).expect("rotated");
    server.clock.advance(10_000);
    assert!(matches!(server.who(&own).await, Err(AuthError::Token(TokenError::UnknownKey { .. }))));
}

#[tokio::test]
async fn a_remembered_token_costs_little() {
    let server = server().await;
    let own = server.register("bob").await.expect("registered");
    server.who(&own).await.expect("signed in");
    let rounds = 20_000;
    let started = Instant::now();
    for _ in 0..rounds {
        server.who(&own).await.expect("signed in");
    }
    let each = started.elapsed() / rounds;

    eprintln!("a remembered token took {each:?}");
    // About a microsecond when optimised; a signature alone would take longer than this bound.
    assert!(each < Duration::from_micros(40), "{each:?}");
}

#[tokio::test]
async fn what_the_ledger_cannot_do_is_told_as_it_is() {
    let server = server().await;
    let own = server.register("bob").await.expect("registered");
    let table = [
        (DecideError::Overloaded { retry_after_s: 7 }, ErrorKind::Overloaded { retry_after_s: 7 }),
        (DecideError::Unavailable { retry_after_s: 8 }, ErrorKind::Unavailable { retry_after_s: 8 }),
        (DecideError::Indefinite, ErrorKind::Indefinite),
    ];
    for (refused, expected) in table {
        *lock(&server.ledger.refuse) = Some(refused);
        assert_eq!(kind(&server.register("eve").await), Some(expected));
        assert_eq!(kind(&server.login("bob", PASSWORD, "192.0.2.1").await), Some(expected));
        assert_eq!(kind(&server.accounts.refresh(&own.refresh_token).await), Some(expected));
    }
    *lock(&server.ledger.refuse) = None;
    server.ledger.unreadable.store(true, Ordering::SeqCst);
    assert_eq!(kind(&server.login("bob", PASSWORD, "192.0.2.1").await), Some(ErrorKind::Unavailable { retry_after_s: 3 }));
    assert_eq!(kind(&server.login("nobody", PASSWORD, "192.0.2.1").await), Some(ErrorKind::Unavailable { retry_after_s: 3 }));
}

#[tokio::test]
async fn hashing_that_has_stopped_or_is_full_is_not_the_fault_of_the_caller() {
    let busy = AccountError::Hashing(HashingError::Busy { expected_wait: Duration::from_millis(1500) });
    assert_eq!(busy.kind(), ErrorKind::Overloaded { retry_after_s: 2 });
    assert_eq!(AccountError::Hashing(HashingError::Stopped).kind(), ErrorKind::Unavailable { retry_after_s: 1 });
}

#[tokio::test]
async fn an_operators_token_has_the_role_of_the_account_and_no_session() {
    let server = server().await;
    let own = server.register("bob").await.expect("registered");
    server.ledger.change_rows(|rows| rows.accounts.get_mut(&own.user).expect("there").role = Role::Admin);
    let account = server.ledger.all_rows().accounts[&own.user].clone();
    let token = operator_token(&server.accounts.parts.tokens, &account, Duration::from_secs(3600), NOW).expect("signed").token;

    let identity = server.accounts.authenticate(&token).await.expect("signed in");
    assert_eq!((identity.user, identity.session, identity.role), (own.user, None, Role::Admin));
    assert_eq!(kind(&server.accounts.logout(&identity).await), Some(ErrorKind::Forbidden));
    let logged_in = server.login("bob", PASSWORD, "192.0.2.1").await.expect("logged in");
    assert_eq!(server.who(&logged_in).await.expect("signed in").role, Role::Admin);
}

/// The key pair of RFC 8037, appendix A.
const FOREIGN: &str = "https://issuer.example";
const FOREIGN_JWKS: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"f1"}]}"#;
const FOREIGN_SEED: &str = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";

fn foreign_token(kid: &str, subject: &str, name: &str) -> String {
    use aws_lc_rs::signature::Ed25519KeyPair;
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    let seed = URL_SAFE_NO_PAD.decode(FOREIGN_SEED).expect("base64");
    let pair = Ed25519KeyPair::from_seed_unchecked(&seed).expect("a key");
    let key = jsonwebtoken::EncodingKey::from_ed_der(pair.to_pkcs8v1().expect("a document").as_ref());
    let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::EdDSA);
    header.kid = Some(kid.to_owned());
    let claims = serde_json::json!({ "iss": FOREIGN, "aud": "sosik", "sub": subject, "name": name, "exp": NOW / 1000 + 600 });
    jsonwebtoken::encode(&header, &claims, &key).expect("signed")
}

#[tokio::test]
async fn a_foreign_subject_becomes_one_user_however_many_requests_come_first() {
    // Planted fault: a user for each of the first requests.
    let server = server().await;
    let tokens: Vec<_> = (0..20).map(|number| foreign_token("f1", "anna|1", &format!("Anna {number}"))).collect();
    let users = join_all(tokens.iter().map(|token| server.accounts.authenticate(token))).await;
    let mut users: Vec<_> = users.into_iter().map(|identity| identity.expect("signed in").user).collect();
    users.dedup();

    assert_eq!(users.len(), 1);
    let rows = server.ledger.all_rows();
    assert_eq!(rows.accounts.len(), 1);
    let account = &rows.accounts[&users[0]];
    assert!(account.display_name.as_str().starts_with("Anna"));
    assert_eq!(account.username.as_str(), format!("user.{}", users[0]));
    assert_eq!(rows.names[&NameKey::of_subject(FOREIGN, "anna|1")].user, users[0]);

    let again = server.restarted().await.accounts.authenticate(&tokens[3]).await.expect("signed in");
    assert_eq!((again.user, again.session), (users[0], None));
    let other = server.accounts.authenticate(&foreign_token("f1", "ben|2", "\u{7}\n ")).await.expect("signed in").user;
    assert_ne!(other, users[0]);
    assert_eq!(server.ledger.all_rows().accounts[&other].display_name.as_str(), format!("user.{other}"), "a blank name is not shown");
}

#[tokio::test]
async fn a_foreign_user_has_no_password_here() {
    let server = server().await;
    let identity = server.accounts.authenticate(&foreign_token("f1", "anna|1", "Anna")).await.expect("signed in");
    let name = format!("user.{}", identity.user);

    assert_eq!(kind(&server.login(&name, "", "192.0.2.1").await), Some(ErrorKind::Unauthenticated));
    let changed = server.accounts.change_password(&identity, String::new(), "another good one".to_owned()).await;
    assert_eq!(kind(&changed), Some(ErrorKind::Forbidden));
}

#[tokio::test]
async fn an_unknown_foreign_key_is_looked_for_and_keys_that_cannot_be_read_are_not_the_callers_fault() {
    let server = server().await;
    let two = FOREIGN_JWKS.replace("f1", "f2");
    std::fs::write(server.dir.path().join("foreign.json"), &two).expect("written");
    let token = foreign_token("f2", "anna|1", "Anna");
    assert!(matches!(server.accounts.authenticate(&token).await, Err(AuthError::Token(TokenError::UnknownKey { .. }))), "not so soon");
    server.clock.advance(60_000);
    assert!(server.accounts.authenticate(&token).await.is_ok());

    std::fs::write(server.dir.path().join("foreign.json"), "broken").expect("written");
    let restarted = server.restarted().await;
    let refused = restarted.accounts.authenticate(&token).await.err().map(|error| error.kind());
    assert_eq!(refused, Some(ErrorKind::Unavailable { retry_after_s: 60 }));
}
