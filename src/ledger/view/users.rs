//! Users, one or many, as one reader sees them.

use std::collections::HashMap;
use std::sync::Arc;

use super::{UserRef, UserView, UserViewer, View, ViewError, shown};
use crate::ledger::apply::Transition;
use crate::ledger::cards::card_of;
use crate::ledger::pending::{PendingWrite, Shows, Topic};
use crate::ledger::shard_reader::{Source, is_pending};
use crate::substrate::store::rows::{Needs, Rows};
use crate::vocabulary::command::Command;
use crate::vocabulary::event::Relay;
use crate::vocabulary::ids::UserId;
use crate::vocabulary::owner::{NameKey, Owner};

impl View {
    pub async fn user(&self, viewer: Option<UserId>, user: &UserRef) -> Result<UserView, ViewError> {
        let user = match user {
            UserRef::Id(user) => *user,
            UserRef::Name(name) => self.user_named(&NameKey::of_username(name)).await?.ok_or(ViewError::NotFound)?,
        };
        self.users(viewer, &[user]).await?.pop().ok_or(ViewError::NotFound)
    }

    /// Whose name it is.
    pub async fn user_named(&self, name: &NameKey) -> Result<Option<UserId>, ViewError> {
        let needs = Needs { names: vec![name.clone()], ..Needs::default() };
        let loaded = self.shard_of(&Owner::Name(name.clone())).reader.load(needs, false, Source::Newest).await?;
        Ok(loaded.rows.names.get(name).map(|row| row.user))
    }

    /// Many users, in the order asked for; those that do not exist are left out.
    pub(super) async fn users(&self, viewer: Option<UserId>, users: &[UserId]) -> Result<Vec<UserView>, ViewError> {
        let mut by_shard: HashMap<u16, Vec<UserId>> = HashMap::new();
        for user in users {
            by_shard.entry(self.ledger.index_of(&Owner::User(*user)).0).or_default().push(*user);
        }
        let mut found: HashMap<UserId, Arc<Rows>> = HashMap::new();
        for users in by_shard.into_values() {
            let rows = Arc::new(self.users_rows(viewer, &users).await?);
            found.extend(users.into_iter().map(|user| (user, Arc::clone(&rows))));
        }
        let mut views = Vec::with_capacity(users.len());
        for user in users {
            let Some(rows) = found.get(user) else { continue };
            let Some(account) = rows.accounts.get(user) else { continue };
            let counters = rows.counters.users.get(user).copied().unwrap_or_default();
            let viewer = match viewer {
                Some(viewer) if viewer != *user => Some(self.relation_to(viewer, *user).await?),
                _ => None,
            };
            views.push(UserView {
                card: card_of(account),
                followers: shown(counters.followers),
                following: shown(counters.following),
                posts: shown(counters.posts),
                viewer,
            });
        }
        Ok(views)
    }

    async fn relation_to(&self, viewer: UserId, user: UserId) -> Result<UserViewer, ViewError> {
        let (pair, muting) = self.pair(viewer, user, self.source).await?;
        Ok(UserViewer { following: pair.following.is_some(), followed_by: pair.followed_by.is_some(), blocking: pair.blocking, muting })
    }

    /// The rows of users of one shard, with the reader's pending writes about them laid over.
    async fn users_rows(&self, viewer: Option<UserId>, users: &[UserId]) -> Result<Rows, ViewError> {
        let mut needs = Needs { accounts: users.to_vec(), user_counters: users.to_vec(), ..Needs::default() };
        let mut pending: Vec<(Side, PendingWrite)> = Vec::new();
        if let Some(viewer) = viewer {
            for user in users {
                if *user == viewer {
                    self.own_pending(viewer, &mut pending).await?;
                } else {
                    let writes = self.ledger.pending.of(viewer, Topic::Pair(*user), Shows::Everything).await?;
                    pending.extend(writes.into_iter().map(|write| (Side::Other(*user), write)));
                }
            }
            for (side, write) in &pending {
                side_needs(*side, write, viewer, &mut needs);
            }
        }
        pending.sort_by_key(|(_, write)| write.entry.position);
        let shard = self.shard_of(&Owner::User(users[0]));
        let loaded = self.load(shard, &needs, !pending.is_empty()).await?;
        let marks = loaded.marks;
        let mut transition = Transition::over(loaded.rows);
        for (side, write) in &pending {
            let Some(viewer) = viewer else { break };
            if is_pending(write.entry.position, write.home, shard.index, decided_by_owner(*side, write, viewer), marks.as_ref()) {
                lay(&mut transition, *side, write);
            }
        }
        Ok(transition.into_rows())
    }

    async fn own_pending(&self, viewer: UserId, pending: &mut Vec<(Side, PendingWrite)>) -> Result<(), ViewError> {
        for (topic, side) in [(Topic::Profile, Side::Profile), (Topic::Authored, Side::Authored), (Topic::Pairs, Side::Own)] {
            let writes = self.ledger.pending.of(viewer, topic, Shows::Everything).await?;
            pending.extend(writes.into_iter().map(|write| (side, write)));
        }
        Ok(())
    }
}

/// Which of a user's rows a pending write of the reader shows in.
#[derive(Debug, Clone, Copy)]
pub(super) enum Side {
    /// The reader's own profile.
    Profile,
    /// The reader's own index of posts.
    Authored,
    /// The reader's own side of a pair.
    Own,
    /// The side of this other user.
    Other(UserId),
}

/// The user whom a follow, block or mute is about.
pub(super) fn other_of(command: &Command) -> Option<UserId> {
    match command {
        Command::SetFollow { followee: other, .. } | Command::SetBlock { other, .. } | Command::SetMute { other, .. } => Some(*other),
        _ => None,
    }
}

/// The index row that a pending post, or its end, brings to its author.
pub(super) fn author_post(write: &PendingWrite) -> Option<Relay> {
    let author = write.entry.author;
    match &write.entry.command {
        Command::CreatePost { post, .. } => Some(Relay::AuthorPost { author, post: *post, deleted: false }),
        Command::DeletePost { post, .. } => Some(Relay::AuthorPost { author, post: *post, deleted: true }),
        _ => None,
    }
}

fn side_needs(side: Side, write: &PendingWrite, viewer: UserId, needs: &mut Needs) {
    match side {
        Side::Profile => needs.accounts.push(viewer),
        Side::Authored => {
            if let Some(relay) = author_post(write) {
                crate::ledger::apply::relay_needs_of(&relay, needs);
            }
        }
        Side::Own => needs.relations.extend(other_of(&write.entry.command).map(|other| (viewer, other))),
        Side::Other(user) => needs.relations.push((user, viewer)),
    }
}

/// Whether the row that is laid over belongs to the lane that decides; else it comes by relay.
fn decided_by_owner(side: Side, write: &PendingWrite, viewer: UserId) -> bool {
    match side {
        Side::Profile => true,
        Side::Authored => false,
        Side::Own => other_of(&write.entry.command).is_some_and(|other| viewer < other),
        Side::Other(user) => user < viewer,
    }
}

fn lay(transition: &mut Transition, side: Side, write: &PendingWrite) {
    match side {
        Side::Profile => {
            transition.apply(&write.entry);
        }
        Side::Authored => {
            if let Some(relay) = author_post(write) {
                transition.relay(write.entry.position, &relay);
            }
        }
        Side::Own => transition.lay_pair(&write.entry, true),
        // A mute is the reader's alone: the other's rows do not know it.
        Side::Other(_) if matches!(write.entry.command, Command::SetMute { .. }) => {}
        Side::Other(_) => transition.lay_pair(&write.entry, false),
    }
}
