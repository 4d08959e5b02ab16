//! Registration: one command that takes the name, makes the account and opens its first session.

use super::{AccountError, Accounts, Client, Credentials, Decision};
use crate::substrate::store::rows::{Needs, Role};
use crate::support::auth::password_rules;
use crate::vocabulary::command::Command;
use crate::vocabulary::ids::UserId;
use crate::vocabulary::owner::{NameKey, Owner};
use crate::vocabulary::rejection::Rejection;
use crate::vocabulary::text::{DisplayName, Username};

/// What somebody who registers sends.
pub struct Registration {
    pub username: String,
    pub password: String,
    /// Without one the username is shown.
    pub display_name: Option<String>,
}

impl Accounts {
    /// Makes an account; answers once all of its rows are there.
    pub async fn register(&self, registration: Registration, client: &Client) -> Result<Credentials, AccountError> {
        let username = Username::parse_new(&registration.username).map_err(|source| AccountError::Text { field: "username", source })?;
        let display_name = DisplayName::parse(registration.display_name.unwrap_or_else(|| username.to_string()))
            .map_err(|source| AccountError::Text { field: "display_name", source })?;
        password_rules::check(&registration.password).map_err(|source| AccountError::Password { field: "password", source })?;
        let limit = self.limits.registration_from(self.address_hash(client), self.now());
        limit.map_err(|wait| AccountError::TooMany { retry_after_s: wait.retry_after_s })?;

        // Hashing is dear: a name that is seen to be taken is refused before. The name's lane has the last word.
        if self.user_of_name(NameKey::of_username(&username)).await?.is_some() {
            return Err(AccountError::UsernameTaken);
        }
        let password_hash = self.parts.hashing.hash(registration.password).await.map_err(AccountError::Hashing)?;
        let user = UserId::from_raw(self.new_id()?);
        let session = self.new_session(client)?;
        let opened = session.session;
        match self.decide(user, Command::Register { username, display_name, password_hash, session }, true).await? {
            Decision::Done { position, .. } => {
                tracing::info!(target: "security", { user.id = %user, session.id = %opened }, "registered");
                self.credentials((user, opened), Role::User, 0, Some(position))
            }
            Decision::Rejected(Rejection::UsernameTaken) => Err(AccountError::UsernameTaken),
            Decision::Rejected(rejection) => Err(AccountError::Rejected(rejection)),
        }
    }

    /// Who has the name.
    pub(super) async fn user_of_name(&self, name: NameKey) -> Result<Option<UserId>, AccountError> {
        let needs = Needs { names: vec![name.clone()], ..Needs::default() };
        let rows = self.parts.ledger.rows(Owner::Name(name.clone()), needs).await.map_err(AccountError::Shard)?;
        Ok(rows.names.get(&name).map(|row| row.user))
    }
}
