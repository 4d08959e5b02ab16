//! Bearer tokens, remembered ones, operators' and foreign ones: rules S2 to S4.

use super::*;

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
    let (rounds, together) = (200, 100);
    let mut fastest = Duration::MAX;
    for _ in 0..rounds {
        let started = Instant::now();
        for _ in 0..together {
            server.who(&own).await.expect("signed in");
        }
        fastest = fastest.min(started.elapsed());
    }
    // What the machine does beside it is in most rounds, but hardly in all.
    let each = fastest / together;

    eprintln!("a remembered token took {each:?}");
    // About a microsecond when optimised; a signature alone would take longer than this bound.
    assert!(each < Duration::from_micros(40), "{each:?}");
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
