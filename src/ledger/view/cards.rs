//! The names beside what people wrote, and who may see whose.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::{AuthorCard, View, ViewError, overlay};
use crate::ledger::apply::{Transition, needs_of};
use crate::ledger::blocks::{BLOCKS_CACHED_MAX, BlockSet};
use crate::ledger::cards::card_of;
use crate::ledger::pending::{Shows, Topic};
use crate::ledger::shard_reader::{Source, is_pending, subset};
use crate::substrate::store::rows::Needs;
use crate::vocabulary::command::Command;
use crate::vocabulary::ids::UserId;
use crate::vocabulary::owner::Owner;
use crate::vocabulary::relation::PairState;

/// Cards by user; users that do not exist are missing.
pub(super) type CardsByUser = HashMap<UserId, Arc<AuthorCard>>;

impl View {
    /// The cards of some users, as this reader sees them: his own with his pending changes.
    pub(super) async fn cards(&self, viewer: Option<UserId>, users: impl IntoIterator<Item = UserId>) -> Result<CardsByUser, ViewError> {
        let mut cards = CardsByUser::new();
        let mut missing: HashMap<u16, Needs> = HashMap::new();
        for user in users {
            if cards.contains_key(&user) {
                continue;
            }
            if Some(user) == viewer
                && let Some(card) = self.own_card(user).await?
            {
                cards.insert(user, card);
                continue;
            }
            match self.ledger.cards.get(user) {
                Some(card) => {
                    cards.insert(user, card);
                }
                None => missing.entry(self.ledger.index_of(&Owner::Account(user)).0).or_default().accounts.push(user),
            }
        }
        for (shard, needs) in missing {
            let tickets: Vec<_> = needs.accounts.iter().map(|user| (*user, self.ledger.cards.ticket(*user))).collect();
            let loaded = self.ledger.shards[usize::from(shard)].reader.load(needs, false, Source::Newest).await?;
            #[cfg(feature = "faults")]
            crate::support::faults::gate("cards::between_load_and_insert").await;
            for (user, ticket) in tickets {
                if let Some(account) = loaded.rows.accounts.get(&user) {
                    cards.insert(user, self.ledger.cards.keep(ticket, account));
                }
            }
        }
        Ok(cards)
    }

    /// One user's card.
    pub(super) async fn card(&self, viewer: Option<UserId>, user: UserId) -> Result<Arc<AuthorCard>, ViewError> {
        if let Some(card) = self.ledger.cards.get(user)
            && Some(user) != viewer
        {
            return Ok(card);
        }
        self.cards(viewer, [user]).await?.remove(&user).ok_or(ViewError::NotFound)
    }

    /// The reader's own card if he has changed it and that is not in the database yet.
    async fn own_card(&self, user: UserId) -> Result<Option<Arc<AuthorCard>>, ViewError> {
        let pending = self.pending(Some(user), Topic::Profile).await?;
        if pending.is_empty() {
            return Ok(None);
        }
        let mut needs = Needs::default();
        for write in &pending {
            needs_of(&write.entry, &mut needs);
        }
        let shard = self.shard_of(&Owner::Account(user));
        let loaded = self.load(shard, &needs, true).await?;
        let rows = overlay(loaded, shard.index, &pending).into_rows();
        Ok(rows.accounts.get(&user).map(|account| Arc::new(card_of(account))))
    }

    /// Whether one of the two has blocked the other.
    pub async fn is_blocked(&self, viewer: UserId, other: UserId) -> Result<bool, ViewError> {
        if viewer == other {
            return Ok(false);
        }
        let pending = self.ledger.pending.of(viewer, Topic::Pair(other), Shows::Everything).await?;
        if pending.iter().any(|write| matches!(write.entry.command, Command::SetBlock { .. })) {
            return Ok(self.pair(viewer, other, Source::Newest).await?.0.is_blocked());
        }
        match self.has_block(viewer, other).await {
            // A block stands on both sides.
            Err(ViewError::Unavailable { .. }) => self.has_block(other, viewer).await,
            known => known,
        }
    }

    /// Whether a block stands between the two, as the shard of the first has it.
    async fn has_block(&self, user: UserId, other: UserId) -> Result<bool, ViewError> {
        if let BlockSet::All(users) = self.block_set(user).await?.as_ref() {
            return Ok(users.contains(&other));
        }
        let needs = Needs { relations: vec![(user, other)], ..Needs::default() };
        let loaded = self.shard_of(&Owner::User(user)).reader.load(needs, false, Source::Newest).await?;
        Ok(loaded.rows.relations.get(&(user, other)).is_some_and(|row| row.state.is_blocked()))
    }

    /// Which of these people are in a block with the author, as far as it is committed.
    pub async fn hidden_from(&self, author: UserId, viewers: &[UserId]) -> Result<HashSet<UserId>, ViewError> {
        let mut hidden = HashSet::new();
        match self.block_set(author).await?.as_ref() {
            BlockSet::All(users) if users.is_empty() => {}
            BlockSet::All(users) => hidden.extend(viewers.iter().filter(|viewer| users.contains(*viewer))),
            BlockSet::TooMany => {
                for viewer in viewers {
                    if self.is_blocked(*viewer, author).await? {
                        hidden.insert(*viewer);
                    }
                }
            }
        }
        Ok(hidden)
    }

    async fn block_set(&self, user: UserId) -> Result<Arc<BlockSet>, ViewError> {
        if let Some(set) = self.ledger.blocks.get(user) {
            return Ok(set);
        }
        let ticket = self.ledger.blocks.ticket(user);
        let shard = self.shard_of(&Owner::User(user));
        // Whoever blocks somebody need not wait until all standbys know.
        let users = shard.look_up(async move |snapshot| snapshot.blocked_with(user, BLOCKS_CACHED_MAX as u64 + 1).await).await?;
        let too_many = users.len() > BLOCKS_CACHED_MAX;
        let set = Arc::new(if too_many { BlockSet::TooMany } else { BlockSet::All(users.into_iter().collect()) });
        self.ledger.blocks.keep(user, ticket, Arc::clone(&set));
        Ok(set)
    }

    /// The pair from the reader's side, and whether he mutes the other, with his pending writes.
    pub(super) async fn pair(&self, viewer: UserId, other: UserId, source: Source) -> Result<(PairState, bool), ViewError> {
        let pending = self.ledger.pending.of(viewer, Topic::Pair(other), Shows::Everything).await?;
        let needs = Needs { relations: vec![(viewer, other)], mutes: vec![(viewer, other)], ..Needs::default() };
        let shard = self.shard_of(&Owner::User(viewer));
        let shared = shard.reader.load(needs.clone(), !pending.is_empty(), source).await?;
        let marks = shared.marks.as_ref();
        let mut transition = Transition::over(subset(&shared.rows, &needs));
        for write in &pending {
            let decided_here = viewer < other || matches!(write.entry.command, Command::SetMute { .. });
            if is_pending(write.entry.position, write.home, shard.index, decided_here, marks) {
                transition.lay_pair(&write.entry, true);
            }
        }
        let rows = transition.into_rows();
        let state = rows.relations.get(&(viewer, other)).map(|row| row.state).unwrap_or_default();
        Ok((state, rows.mutes.get(&(viewer, other)).is_some_and(|row| row.muting)))
    }
}
