//! Registration, new passwords and stronger hashes: rules S7 and S9.

use super::*;

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
async fn s7_a_change_that_was_overtaken_by_another_one_changes_nothing() {
    // Planted fault: the thief's change, compared with the old password, applied after the owner's.
    let server = server().await;
    let thief = server.register("bob").await.expect("registered");
    let own = server.login("bob", PASSWORD, "192.0.2.1").await.expect("logged in");
    let identity = server.who(&thief).await.expect("signed in");
    let new_hash = server.accounts.parts.hashing.hash("another good one".to_owned()).await.expect("hashed");
    *lock(&server.ledger.in_between) = Some((own.user, Command::ChangePassword { password_hash: new_hash, keep: Some(own.session) }));

    let overtaken = server.accounts.change_password(&identity, PASSWORD.to_owned(), "a third good one".to_owned()).await;

    assert_eq!(kind(&overtaken), Some(ErrorKind::Unauthenticated));
    assert!(server.login("bob", "another good one", "192.0.2.1").await.is_ok());
    assert!(server.who(&own).await.is_ok());
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
