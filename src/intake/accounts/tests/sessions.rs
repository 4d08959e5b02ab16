//! Sessions from their opening to their end: rules S5 to S8.

use super::*;
use crate::ledger::apply::ROTATION_GRACE_MS;

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
        (1, 0, ROTATION_GRACE_MS, true),
        (1, 0, ROTATION_GRACE_MS + 1, false),
        (2, 0, 0, false),
        (2, 1, ROTATION_GRACE_MS, true),
        (2, 1, ROTATION_GRACE_MS + 1, false),
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
async fn s7_a_shorter_life_of_tokens_brings_no_ended_session_back() {
    // Planted fault: ended sessions that are remembered as long as tokens live by the configuration of now.
    let server = server().await;
    let ended = server.register("bob").await.expect("registered");
    let identity = server.who(&ended).await.expect("signed in");
    server.accounts.logout(&identity).await.expect("logged out");
    server.clock.advance(5 * 60 * 1000);

    let settings = AccountSettings { access_ttl: Duration::from_secs(1), ..server.accounts.settings };
    let restarted = start(&server.ledger, &server.clock, &server.dir, settings, MEMORY_KIB).await;

    assert!(matches!(restarted.who(&ended).await, Err(AuthError::SessionEnded)));
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
    deaf.clock.advance(ROTATION_GRACE_MS + 1);
    assert!(deaf.accounts.refresh(&reused.refresh_token).await.is_err());
    assert!(matches!(deaf.who(&reused).await, Err(AuthError::SessionEnded)));

    let identity = deaf.who(&own).await.expect("signed in");
    deaf.accounts.change_password(&identity, PASSWORD.to_owned(), "another good one".to_owned()).await.expect("changed");
    assert!(matches!(deaf.who(&other).await, Err(AuthError::SessionEnded)));
    assert!(deaf.who(&own).await.is_ok());
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
async fn a_shard_that_decides_nothing_keeps_only_its_own_chores_waiting() {
    // Planted fault: one queue for all, in which each chore of a stopped shard costs the others its whole time.
    let Server { accounts, chores, ledger, .. } = server().await;
    let (stopped, other) = (UserId::from_raw(2), UserId::from_raw(3));
    *lock(&ledger.stalled) = Some(ledger.shard_of(stopped));
    for author in [stopped, stopped, other] {
        accounts.chores.add(author, Command::BackOffLogin { until: 0, failures: 0 });
    }

    let done = async {
        while ledger.journal().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = chores.run() => panic!("sign-in is still there"),
        () = tokio::time::sleep(6 * DECIDE_WITHIN) => panic!("it waits for the stopped shard"),
        () = done => {}
    }

    assert_eq!(ledger.journal()[0].0, other);
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
