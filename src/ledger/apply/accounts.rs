//! Names, accounts and sessions: decided by the name's lane, or the account's.

use super::{Decided, Transition, row};
use crate::substrate::store::rows::{AccountRow, NameRow, SessionRow};
use crate::support::faults::planted;
use crate::vocabulary::Millis;
use crate::vocabulary::command::{Command, Entry, NewSession};
use crate::vocabulary::event::{Happened, NewAccount, Relay};
use crate::vocabulary::ids::{Position, SessionId, UserId};
use crate::vocabulary::owner::NameKey;
use crate::vocabulary::rejection::Rejection;
use crate::vocabulary::text::{Bio, DisplayName, Username};

/// For so long after a rotation the refresh token before it gets the same successor again: two tabs may refresh at once.
pub const ROTATION_GRACE_MS: Millis = 10_000;

pub(super) fn decide(transition: &mut Transition, entry: &Entry) -> Decided {
    let author = entry.author;
    match &entry.command {
        Command::Register { username, display_name, password_hash, session } => {
            take_name(transition, NameKey::of_username(username), entry).map_err(|Taken| Rejection::UsernameTaken)?;
            let account = NewAccount {
                user: author,
                username: username.clone(),
                display_name: display_name.clone(),
                password_hash: Some(password_hash.clone()),
                session: Some(session.clone()),
                opened_at: entry.accepted_at,
            };
            Ok((Happened::NameTaken, vec![Relay::Account(Box::new(account))]))
        }
        Command::AdoptSubject { issuer, subject, display_name } => {
            take_name(transition, NameKey::of_subject(issuer, subject), entry).map_err(|Taken| Rejection::SubjectTaken)?;
            let username = Username::generated(author);
            let name = NameKey::of_username(&username);
            let account = NewAccount {
                user: author,
                username,
                display_name: display_name.clone(),
                password_hash: None,
                session: None,
                opened_at: entry.accepted_at,
            };
            Ok((Happened::NameTaken, vec![Relay::Account(Box::new(account)), Relay::Name { name, user: author }]))
        }
        Command::EditProfile { display_name, bio } => edit_profile(transition, entry, display_name.as_ref(), bio.as_ref(), None),
        Command::EditProfileIf { revision, display_name, bio } => {
            edit_profile(transition, entry, display_name.as_ref(), bio.as_ref(), Some(*revision))
        }
        Command::OpenSession { session } => {
            account(transition, author)?;
            open_session(transition, author, session, entry.accepted_at, entry.position);
            Ok((Happened::SessionOpened { session: session.session }, Vec::new()))
        }
        Command::RotateSession { session, from } => rotate(transition, entry, *session, *from),
        Command::EndSession { session } => {
            let row = own_session(transition, author, *session).ok_or(Rejection::NotFound)?;
            if row.ended_at.is_some() {
                return Ok((Happened::Nothing, Vec::new()));
            }
            end_session(transition, row, entry);
            Ok((Happened::SessionsEnded { sessions: vec![*session] }, Vec::new()))
        }
        Command::ChangePassword { password_hash, keep } => change_password(transition, entry, password_hash, *keep),
        Command::RehashPassword { password_hash, replaces } => {
            let account = account(transition, author)?;
            if account.password_hash.as_ref() != Some(replaces) {
                // The password was changed since it was compared: the old one must not come back.
                return Ok((Happened::Nothing, Vec::new()));
            }
            let account = AccountRow { password_hash: Some(password_hash.clone()), ..account };
            transition.after.accounts.insert(author, account);
            Ok((Happened::Nothing, Vec::new()))
        }
        Command::BackOffLogin { until, failures } => {
            let account = AccountRow { backed_off_until: *until, failed_logins: *failures, ..account(transition, author)? };
            transition.after.accounts.insert(author, account);
            Ok((Happened::LoginBackedOff, Vec::new()))
        }
        _ => Err(Rejection::NotFound),
    }
}

/// The name has an owner already.
struct Taken;

fn take_name(transition: &mut Transition, name: NameKey, entry: &Entry) -> Result<(), Taken> {
    if row!(transition.names, &name).is_some() {
        return Err(Taken);
    }
    transition.after.names.insert(name, NameRow { user: entry.author, position: entry.position });
    Ok(())
}

fn account(transition: &Transition, user: UserId) -> Result<AccountRow, Rejection> {
    row!(transition.accounts, &user).cloned().ok_or(Rejection::NotFound)
}

fn own_session(transition: &Transition, user: UserId, session: SessionId) -> Option<SessionRow> {
    row!(transition.sessions, &session).filter(|row| row.user == user).cloned()
}

pub(super) fn open_session(transition: &mut Transition, user: UserId, new: &NewSession, opened_at: Millis, position: Position) {
    let row = SessionRow {
        session: new.session,
        user,
        device: new.device.clone(),
        address_hash: new.address_hash,
        opened_at,
        last_used_at: opened_at,
        generation: 0,
        rotated_at: opened_at,
        ended_at: None,
        position,
    };
    transition.after.sessions.insert(new.session, row);
}

fn end_session(transition: &mut Transition, row: SessionRow, entry: &Entry) {
    let row = SessionRow { ended_at: Some(entry.accepted_at), position: entry.position, ..row };
    transition.after.sessions.insert(row.session, row);
}

/// Uses up a refresh token. One that was used before ends the session: it may have been stolen (RFC 9700, section 4.14).
fn rotate(transition: &mut Transition, entry: &Entry, session: SessionId, from: u32) -> Decided {
    let row = own_session(transition, entry.author, session).filter(|row| row.ended_at.is_none()).ok_or(Rejection::SessionEnded)?;
    if row.generation == from {
        let row = SessionRow {
            generation: from + 1,
            rotated_at: entry.accepted_at,
            last_used_at: entry.accepted_at,
            position: entry.position,
            ..row
        };
        transition.after.sessions.insert(session, row);
        return Ok((Happened::SessionRotated { session }, Vec::new()));
    }
    let in_grace = row.generation == from.saturating_add(1) && entry.accepted_at.saturating_sub(row.rotated_at) <= ROTATION_GRACE_MS;
    if in_grace || planted("sessions::skip_reuse_detection") {
        return Ok((Happened::Nothing, Vec::new()));
    }
    end_session(transition, row, entry);
    Ok((Happened::SessionsEnded { sessions: vec![session] }, Vec::new()))
}

fn edit_profile(
    transition: &mut Transition,
    entry: &Entry,
    display_name: Option<&DisplayName>,
    bio: Option<&Option<Bio>>,
    if_revision: Option<Position>,
) -> Decided {
    let mut account = account(transition, entry.author)?;
    if if_revision.is_some_and(|revision| revision != account.revision) {
        return Err(Rejection::PreconditionFailed);
    }
    if let Some(display_name) = display_name {
        account.display_name = display_name.clone();
    }
    if let Some(bio) = bio {
        account.bio = bio.clone();
    }
    account.revision = entry.position;
    transition.after.accounts.insert(entry.author, account);
    Ok((Happened::ProfileEdited, Vec::new()))
}

fn change_password(transition: &mut Transition, entry: &Entry, password_hash: &str, keep: Option<SessionId>) -> Decided {
    // Another change that came first ended the session that asks, and with it what the old password was good for.
    if let Some(keep) = keep
        && own_session(transition, entry.author, keep).is_none_or(|row| row.ended_at.is_some())
    {
        return Err(Rejection::SessionEnded);
    }
    let account = AccountRow { password_hash: Some(password_hash.to_owned()), ..account(transition, entry.author)? };
    transition.after.accounts.insert(entry.author, account);
    let known: std::collections::BTreeSet<SessionId> =
        transition.before.sessions.keys().chain(transition.after.sessions.keys()).copied().collect();
    let ending: Vec<SessionRow> = known
        .into_iter()
        .filter(|session| Some(*session) != keep)
        .filter_map(|session| own_session(transition, entry.author, session))
        .filter(|row| row.ended_at.is_none())
        .collect();
    let sessions = ending.iter().map(|row| row.session).collect();
    for row in ending {
        end_session(transition, row, entry);
    }
    Ok((Happened::PasswordChanged { sessions }, Vec::new()))
}
