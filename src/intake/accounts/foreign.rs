//! Users of further issuers: made at first sight of a valid token. The subject is taken like a name, so two first requests at once make
//! one user, and the loser finds the winner's.

use super::{AccountError, Accounts, Decision};
use crate::substrate::store::rows::{Needs, Role};
use crate::vocabulary::command::Command;
use crate::vocabulary::ids::UserId;
use crate::vocabulary::owner::{NameKey, Owner};
use crate::vocabulary::rejection::Rejection;
use crate::vocabulary::text::{DisplayName, TextError, Username};

impl Accounts {
    /// The user who stands for the subject, with the role of his account.
    pub(super) async fn user_of_subject(&self, issuer: &str, subject: &str, name: Option<String>) -> Result<(UserId, Role), AccountError> {
        let key = NameKey::of_subject(issuer, subject);
        let user = match self.user_of_name(key.clone()).await? {
            Some(user) => user,
            None => self.adopt(key, issuer, subject, name).await?,
        };
        let needs = Needs { accounts: vec![user], ..Needs::default() };
        let rows = self.parts.ledger.rows(Owner::Account(user), needs).await.map_err(AccountError::Shard)?;
        // The winner's account row may still be on its way; its role is the plain one.
        Ok((user, rows.accounts.get(&user).map_or(Role::User, |account| account.role)))
    }

    async fn adopt(&self, key: NameKey, issuer: &str, subject: &str, name: Option<String>) -> Result<UserId, AccountError> {
        let user = UserId::from_raw(self.new_id()?);
        let display_name = display_name(user, name).map_err(|source| AccountError::Text { field: "name", source })?;
        let command = Command::AdoptSubject { issuer: issuer.to_owned(), subject: subject.to_owned(), display_name };
        match self.decide(user, command, true).await? {
            Decision::Done { .. } => {
                tracing::info!(target: "security", { user.id = %user, %issuer }, "user of a foreign issuer made");
                Ok(user)
            }
            Decision::Rejected(Rejection::SubjectTaken) => {
                self.user_of_name(key).await?.ok_or(AccountError::Rejected(Rejection::SubjectTaken))
            }
            Decision::Rejected(rejection) => Err(AccountError::Rejected(rejection)),
        }
    }
}

/// What the token calls him, cut to what we show; else the generated username.
fn display_name(user: UserId, name: Option<String>) -> Result<DisplayName, TextError> {
    let shown: String =
        name.unwrap_or_default().chars().filter(|character| !character.is_control()).take(DisplayName::CHARACTERS_MAX).collect();
    DisplayName::parse(shown).or_else(|_| DisplayName::parse(Username::generated(user).to_string()))
}
