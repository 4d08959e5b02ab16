//! Accounts, sessions and names.

use sea_orm::sea_query::OnConflict;
use sea_orm::{DbErr, Value};
use sosik_entities::{accounts, names, sessions};

use crate::vocabulary::ids::{SessionId, UserId};
use crate::vocabulary::owner::NameKey;
use crate::vocabulary::text::{Bio, DisplayName, Username};

use super::bulk::{Key, Table, replace_if_higher, replace_if_not_lower};
use super::line::Line;
use super::rows::{AccountRow, NameRow, Role, SessionRow};
use super::values::{get, millis, number, number_or_null, position, small, unreadable, unsigned, unsigned_or_null, user};

pub(super) struct Accounts;

impl Table for Accounts {
    type Entity = accounts::Entity;
    type Key = UserId;
    type Row = AccountRow;

    const COLUMNS: &'static [accounts::Column] = &[
        accounts::Column::User,
        accounts::Column::Username,
        accounts::Column::DisplayName,
        accounts::Column::Bio,
        accounts::Column::PasswordHash,
        accounts::Column::Role,
        accounts::Column::Revision,
        accounts::Column::FailedLogins,
        accounts::Column::BackedOffUntil,
    ];

    fn read(row: &Line) -> Result<(UserId, AccountRow), DbErr> {
        let key = user(row, 0)?;
        let role = match get::<i64>(row, 5)? {
            ROLE_USER => Role::User,
            ROLE_ADMIN => Role::Admin,
            other => return Err(unreadable("a role", other)),
        };
        let found = AccountRow {
            user: key,
            username: Username::from_row(get(row, 1)?),
            display_name: DisplayName::from_row(get(row, 2)?),
            bio: get::<Option<String>>(row, 3)?.map(Bio::from_row),
            password_hash: get(row, 4)?,
            role,
            revision: position(row, 6)?,
            failed_logins: small(row, 7)?,
            backed_off_until: millis(row, 8)?,
        };
        Ok((key, found))
    }

    /// A new account has the role of a user, whatever the row says: see [`Accounts::on_conflict`].
    fn write(key: &UserId, row: &AccountRow, values: &mut Vec<Value>) {
        key.push(values);
        values.extend([row.username.as_str().into(), row.display_name.as_str().into()]);
        values.extend([row.bio.as_ref().map(|bio| bio.as_str().to_owned()).into(), row.password_hash.clone().into()]);
        values.extend([ROLE_USER.into(), number(row.revision.0), i64::from(row.failed_logins).into(), number(row.backed_off_until)]);
    }

    /// The role stays as it is: only an operator changes it, and a profile edit that was decided on an older row must not
    /// take it back.
    fn on_conflict() -> OnConflict {
        let replaced = |column: &accounts::Column| !matches!(column, accounts::Column::Role);
        replace_if_not_lower::<Self>(accounts::Column::Revision, replaced)
    }
}

const ROLE_USER: i64 = 0;
const ROLE_ADMIN: i64 = 1;

pub(super) fn role_code(role: Role) -> i64 {
    match role {
        Role::User => ROLE_USER,
        Role::Admin => ROLE_ADMIN,
    }
}

pub(super) struct Sessions;

impl Table for Sessions {
    type Entity = sessions::Entity;
    type Key = SessionId;
    type Row = SessionRow;

    const COLUMNS: &'static [sessions::Column] = &[
        sessions::Column::Session,
        sessions::Column::User,
        sessions::Column::Device,
        sessions::Column::AddressHash,
        sessions::Column::OpenedAt,
        sessions::Column::LastUsedAt,
        sessions::Column::Generation,
        sessions::Column::RotatedAt,
        sessions::Column::EndedAt,
        sessions::Column::Position,
    ];

    fn read(row: &Line) -> Result<(SessionId, SessionRow), DbErr> {
        let key = SessionId::from_raw(unsigned(row, 0)?);
        let found = SessionRow {
            session: key,
            user: user(row, 1)?,
            device: get(row, 2)?,
            address_hash: unsigned(row, 3)?,
            opened_at: millis(row, 4)?,
            last_used_at: millis(row, 5)?,
            generation: small(row, 6)?,
            rotated_at: millis(row, 7)?,
            ended_at: unsigned_or_null(row, 8)?,
            position: position(row, 9)?,
        };
        Ok((key, found))
    }

    fn write(key: &SessionId, row: &SessionRow, values: &mut Vec<Value>) {
        key.push(values);
        row.user.push(values);
        values.push(row.device.as_str().into());
        values.extend([number(row.address_hash), number(row.opened_at), number(row.last_used_at)]);
        values.extend([i64::from(row.generation).into(), number(row.rotated_at), number_or_null(row.ended_at), number(row.position.0)]);
    }

    fn on_conflict() -> OnConflict {
        replace_if_higher::<Self>(sessions::Column::Position)
    }
}

pub(super) struct Names;

impl Table for Names {
    type Entity = names::Entity;
    type Key = NameKey;
    type Row = NameRow;

    const COLUMNS: &'static [names::Column] = &[names::Column::Name, names::Column::User, names::Column::Position];

    fn read(row: &Line) -> Result<(NameKey, NameRow), DbErr> {
        Ok((NameKey::from_row(get(row, 0)?), NameRow { user: user(row, 1)?, position: position(row, 2)? }))
    }

    fn write(key: &NameKey, row: &NameRow, values: &mut Vec<Value>) {
        key.push(values);
        row.user.push(values);
        values.push(number(row.position.0));
    }

    fn on_conflict() -> OnConflict {
        replace_if_higher::<Self>(names::Column::Position)
    }
}
