//! Guessing passwords and asking too often: rules S10, S12 and S13.

use futures_util::FutureExt;

use super::*;

#[tokio::test]
async fn a_user_who_refreshes_or_changes_his_password_too_often_waits_and_writes_nothing() {
    // Planted fault: one user whose refreshes fill the room that is kept for signing in.
    let server = server().await;
    let bob = server.register("bob").await.expect("registered");
    let eve = server.register("eve").await.expect("registered");
    let identity = server.who(&bob).await.expect("signed in");

    let refreshed = join_all((0..300).map(|_| server.accounts.refresh(&bob.refresh_token))).await;
    let written = server.ledger.journal().iter().filter(|(_, command)| matches!(command, Command::RotateSession { .. })).count();
    assert!(refreshed.iter().all(|result| result.is_ok() || is_too_many(result)));
    assert_eq!(refreshed.iter().filter(|result| result.is_ok()).count(), written);
    assert!(written < 150, "{written} refreshes of one user");
    assert!(server.accounts.refresh(&eve.refresh_token).await.is_ok());

    let change = || server.accounts.change_password(&identity, PASSWORD.to_owned(), PASSWORD.to_owned());
    assert!(change().await.is_ok(), "his refreshes do not keep him from it");
    let mut changes = 1;
    while change().await.is_ok() {
        changes += 1;
    }
    assert!(is_too_many(&change().await) && changes < 150, "{changes} changes of one password");
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
async fn s10_a_thousand_logins_at_once_are_answered_or_told_to_come_again() {
    // Planted fault: an unbounded queue, in which all wait and the known token with them.
    let server = server().await;
    let own = server.register("bob").await.expect("registered");
    let heavy = AccountSettings { limits_enabled: false, ..server.accounts.settings };
    let server = start(&server.ledger, &server.clock, &server.dir, heavy, 19_456).await;
    let logins = join_all((0..1000).map(|_| server.login("nobody", "wrong password", "192.0.2.9")));
    let beside = async {
        for _ in 0..100 {
            server.who(&own).now_or_never().expect("it waits for nothing").expect("signed in");
            tokio::task::yield_now().await;
        }
    };
    let (results, ()) = tokio::join!(logins, beside);

    let busy =
        results.iter().filter(|result| matches!(kind(result), Some(ErrorKind::Overloaded { retry_after_s }) if retry_after_s > 0)).count();
    let answered = results.iter().filter(|result| kind(result) == Some(ErrorKind::Unauthenticated)).count();
    assert_eq!(busy + answered, 1000);
    assert!(busy > 500 && answered > 0, "{busy} {answered}");
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
async fn hashing_that_has_stopped_or_is_full_is_not_the_fault_of_the_caller() {
    let busy = AccountError::Hashing(HashingError::Busy { expected_wait: Duration::from_millis(1500) });
    assert_eq!(busy.kind(), ErrorKind::Overloaded { retry_after_s: 2 });
    assert_eq!(AccountError::Hashing(HashingError::Stopped).kind(), ErrorKind::Unavailable { retry_after_s: 1 });
}
