//! Rows that another lane decided, laid into their owner's rows. They cannot be refused here.

use super::{Transition, accounts, pairs, row};
use crate::substrate::store::rows::{AccountRow, AuthorPostRow, NameRow, Role, UserCounters};
use crate::vocabulary::event::{NewAccount, Relay};
use crate::vocabulary::ids::Position;

pub(super) fn lay(transition: &mut Transition, position: Position, relay: &Relay) {
    match relay {
        Relay::AuthorPost { author, post, deleted } => {
            let counted = |row: Option<&AuthorPostRow>| i64::from(row.is_some_and(|row| !row.deleted));
            let after = AuthorPostRow { deleted: *deleted, position };
            let before = counted(row!(transition.author_posts, &(*author, *post)));
            transition.after.author_posts.insert((*author, *post), after);
            transition.step_user(*author, UserCounters { posts: counted(Some(&after)) - before, ..UserCounters::default() });
        }
        Relay::Pair { owner, other, state } => pairs::set_side(transition, *owner, *other, *state, position),
        Relay::Account(account) => open_account(transition, position, account),
        Relay::Name { name, user } => {
            transition.after.names.insert(name.clone(), NameRow { user: *user, position });
        }
        Relay::KeptWrite { author, kept } => transition.after.kept_writes.push((*author, kept.as_ref().clone())),
    }
}

fn open_account(transition: &mut Transition, position: Position, account: &NewAccount) {
    let row = AccountRow {
        user: account.user,
        username: account.username.clone(),
        display_name: account.display_name.clone(),
        bio: None,
        password_hash: account.password_hash.clone(),
        role: Role::User,
        revision: position,
        failed_logins: 0,
        backed_off_until: 0,
    };
    transition.after.accounts.insert(account.user, row);
    if let Some(session) = &account.session {
        accounts::open_session(transition, account.user, session, account.opened_at, position);
    }
}
