//! Names, accounts and sessions.

use super::*;
use crate::ledger::apply::accounts::ROTATION_GRACE_MS;
use crate::vocabulary::command::NewSession;
use crate::vocabulary::ids::SessionId;
use crate::vocabulary::owner::NameKey;
use crate::vocabulary::text::{Bio, DisplayName, Username};

const ALICE: UserId = UserId::from_raw(1);
const BOB: UserId = UserId::from_raw(2);

fn session(raw: u64) -> SessionId {
    SessionId::from_raw(raw)
}

fn new_session(raw: u64) -> NewSession {
    NewSession { session: session(raw), device: "a browser".to_owned(), address_hash: 3 }
}

fn name(text: &str) -> DisplayName {
    DisplayName::parse(text).expect("a name")
}

fn register(username: &str, raw: u64) -> Command {
    Command::Register {
        username: Username::parse(username).expect("a username"),
        display_name: name("Alice"),
        password_hash: "first".to_owned(),
        session: new_session(raw),
    }
}

fn adopt(subject: &str) -> Command {
    Command::AdoptSubject { issuer: "https://id.example".to_owned(), subject: subject.to_owned(), display_name: name("Carol") }
}

/// Alice, with the session 10 opened at 1000.
fn registered() -> Model {
    let mut model = Model::default();
    assert_eq!(model.write_at(ALICE, register("alice", 10), 1000), Happened::NameTaken);
    model
}

fn open_sessions(model: &Model) -> Vec<u64> {
    let mut open: Vec<u64> = model.rows.sessions.values().filter(|row| row.ended_at.is_none()).map(|row| row.session.raw()).collect();
    open.sort_unstable();
    open
}

#[test]
fn a_registration_takes_the_name_and_opens_account_and_session() {
    let model = registered();

    let key = NameKey::of_username(&Username::parse("alice").expect("a username"));
    assert_eq!(model.rows.names[&key].user, ALICE);
    let account = &model.rows.accounts[&ALICE];
    assert_eq!((account.username.as_str(), account.password_hash.as_deref(), account.revision), ("alice", Some("first"), Position(1)));
    let row = &model.rows.sessions[&session(10)];
    assert_eq!((row.user, row.generation, row.opened_at, row.ended_at), (ALICE, 0, 1000, None));
}

#[test]
fn a_name_or_a_subject_is_given_once() {
    let mut model = registered();
    assert_eq!(model.write(BOB, register("Alice", 20)), rejected(Rejection::UsernameTaken));
    assert!(!model.rows.accounts.contains_key(&BOB));
    assert!(!model.rows.sessions.contains_key(&session(20)));

    assert_eq!(model.write(BOB, adopt("s1")), Happened::NameTaken);
    assert_eq!(model.write(user(3), adopt("s1")), rejected(Rejection::SubjectTaken));
    assert_eq!(model.write(user(3), adopt("s2")), Happened::NameTaken);

    let generated = NameKey::of_username(&Username::generated(BOB));
    assert_eq!(model.rows.names[&generated].user, BOB);
    assert_eq!(model.rows.accounts[&BOB].password_hash, None);
    assert!(model.rows.kept_writes.is_empty(), "sign-in is never remembered for retries");
}

#[test]
fn an_edit_of_the_profile_changes_what_was_sent() {
    let mut model = registered();
    let bio = Bio::parse("I write.").expect("a bio");
    model.write(ALICE, Command::EditProfile { display_name: None, bio: Some(Some(bio.clone())) });
    assert_eq!((&model.rows.accounts[&ALICE].display_name, &model.rows.accounts[&ALICE].bio), (&name("Alice"), &Some(bio)));

    model.write(ALICE, Command::EditProfile { display_name: Some(name("A.")), bio: Some(None) });
    let account = &model.rows.accounts[&ALICE];
    assert_eq!((&account.display_name, &account.bio, account.revision), (&name("A."), &None, Position(3)));
    assert_eq!(model.write(BOB, Command::EditProfile { display_name: None, bio: None }), rejected(Rejection::NotFound));
}

#[test]
fn an_edit_of_a_profile_that_was_changed_since_is_rejected() {
    let mut model = registered();
    let edit = |revision: Position, text: &str| Command::EditProfileIf { revision, display_name: Some(name(text)), bio: None };
    let seen = model.rows.accounts[&ALICE].revision;

    assert_eq!(model.write(ALICE, edit(seen, "First")), Happened::ProfileEdited);
    assert_eq!(model.write(ALICE, edit(seen, "Second")), rejected(Rejection::PreconditionFailed));
    assert_eq!(model.rows.accounts[&ALICE].display_name, name("First"));
}

#[test]
fn a_refresh_token_is_used_up_and_its_successor_is_given_again_within_the_grace() {
    let rotate = |from| Command::RotateSession { session: session(10), from };
    let rotated = Happened::SessionRotated { session: session(10) };
    let ended = Happened::SessionsEnded { sessions: vec![session(10)] };
    let at = 50_000;
    // The generation that is used, when, and what comes of it, after a rotation from generation 0 to 1 at `at`.
    let cases: [(u32, u64, Happened); 7] = [
        (1, at + 1, rotated),
        (0, at, Happened::Nothing),
        (0, at + ROTATION_GRACE_MS, Happened::Nothing),
        (0, at + ROTATION_GRACE_MS + 1, ended.clone()),
        // The clock was set back meanwhile.
        (0, at - 5, Happened::Nothing),
        (2, at + 1, ended.clone()),
        (u32::MAX, at + 1, ended),
    ];
    for (from, when, expected) in cases {
        let mut model = registered();
        model.write_at(ALICE, rotate(0), at);
        assert_eq!(model.rows.sessions[&session(10)].generation, 1);

        assert_eq!(model.write_at(ALICE, rotate(from), when), expected, "generation {from} at {when}");

        let row = &model.rows.sessions[&session(10)];
        assert_eq!(row.ended_at.is_some(), matches!(expected, Happened::SessionsEnded { .. }));
        assert_eq!(row.generation, if from == 1 { 2 } else { 1 });
    }
}

#[test]
fn the_token_before_the_last_one_ends_the_session_even_within_the_grace() {
    let mut model = registered();
    for from in [0, 1] {
        model.write_at(ALICE, Command::RotateSession { session: session(10), from }, 2_000);
    }

    let happened = model.write_at(ALICE, Command::RotateSession { session: session(10), from: 0 }, 2_001);

    assert_eq!(happened, Happened::SessionsEnded { sessions: vec![session(10)] });
    let after = model.write_at(ALICE, Command::RotateSession { session: session(10), from: 2 }, 2_002);
    assert_eq!(after, rejected(Rejection::SessionEnded));
}

#[test]
fn a_session_is_its_users_alone() {
    let mut model = registered();
    model.write(BOB, register("bob", 20));

    assert_eq!(model.write(BOB, Command::RotateSession { session: session(10), from: 0 }), rejected(Rejection::SessionEnded));
    assert_eq!(model.write(BOB, Command::EndSession { session: session(10) }), rejected(Rejection::NotFound));
    assert_eq!(open_sessions(&model), [10, 20]);

    let ended = Happened::SessionsEnded { sessions: vec![session(10)] };
    assert_eq!(model.write(ALICE, Command::EndSession { session: session(10) }), ended);
    assert_eq!(model.write(ALICE, Command::EndSession { session: session(10) }), Happened::Nothing);
    assert_eq!(model.write(user(9), Command::OpenSession { session: new_session(30) }), rejected(Rejection::NotFound));
}

#[test]
fn a_new_password_ends_all_other_sessions_also_those_of_the_same_batch() {
    let mut model = registered();
    model.write(ALICE, Command::OpenSession { session: new_session(11) });
    model.write(ALICE, Command::OpenSession { session: new_session(12) });
    model.write(ALICE, Command::EndSession { session: session(12) });
    model.write(BOB, register("bob", 20));
    let entry = |position: u64, command: Command| Entry {
        position: Position(position),
        write: crate::vocabulary::ids::WriteId::from_raw(position),
        author: ALICE,
        accepted_at: 77,
        key: None,
        command,
    };

    let happened = model.batch(&[
        entry(6, Command::OpenSession { session: new_session(13) }),
        entry(7, Command::ChangePassword { password_hash: "second".to_owned(), keep: Some(session(11)) }),
    ]);

    assert_eq!(happened[1], Happened::PasswordChanged { sessions: vec![session(10), session(13)] });
    assert_eq!(open_sessions(&model), [11, 20]);
    let account = &model.rows.accounts[&ALICE];
    assert_eq!((account.password_hash.as_deref(), account.revision), (Some("second"), Position(1)), "the profile did not change");
}

#[test]
fn of_two_new_passwords_at_once_the_first_one_stands() {
    // Planted fault: a change whose session has ended meanwhile, judged by a password that is no more.
    let change = |hash: &str, keep| Command::ChangePassword { password_hash: hash.to_owned(), keep };
    let ended = Happened::PasswordChanged { sessions: vec![session(11)] };
    let mut model = registered();
    model.write(ALICE, Command::OpenSession { session: new_session(11) });
    model.write(BOB, register("bob", 20));

    assert_eq!(model.write(ALICE, change("second", Some(session(10)))), ended);
    for other in [11, 20, 99] {
        assert_eq!(model.write(ALICE, change("third", Some(session(other)))), rejected(Rejection::SessionEnded), "{other}");
    }

    assert_eq!(model.rows.accounts[&ALICE].password_hash.as_deref(), Some("second"));
    assert_eq!(open_sessions(&model), [10, 20]);
    assert_eq!(model.write(ALICE, change("fourth", None)), Happened::PasswordChanged { sessions: vec![session(10)] });
}

#[test]
fn a_rehash_and_a_back_off_end_nothing_and_are_saved() {
    let mut model = registered();

    let rehash = |from: &str, to: &str| Command::RehashPassword { password_hash: to.to_owned(), replaces: from.to_owned() };
    assert_eq!(model.write(ALICE, rehash("first", "stronger")), Happened::Nothing);
    assert_eq!(model.write(ALICE, rehash("first", "of an old password")), Happened::Nothing);
    assert_eq!(model.write(ALICE, Command::BackOffLogin { until: 90, failures: 4 }), Happened::LoginBackedOff);

    let account = &model.rows.accounts[&ALICE];
    assert_eq!((account.password_hash.as_deref(), account.backed_off_until, account.failed_logins), (Some("stronger"), 90, 4));
    assert_eq!(open_sessions(&model), [10]);
    assert_eq!(model.write(BOB, Command::BackOffLogin { until: 90, failures: 4 }), rejected(Rejection::NotFound));
}
