//! Lists of posts and of users: a stored page, the reader's own pending entries merged in by the same key.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::posts::author_in;
use super::users::{author_post, other_of};
use super::{Page, PostView, UserView, View, ViewError};
use crate::ledger::apply::{Transition, pair_after};
use crate::ledger::pending::{PendingWrite, Topic};
use crate::ledger::shard_reader::{Loaded, Marks, is_pending};
use crate::ledger::{Shard, apply};
use crate::substrate::store::rows::Needs;
use crate::substrate::store::{Snapshot, StoreError};
use crate::vocabulary::command::Command;
use crate::vocabulary::event::Relay;
use crate::vocabulary::ids::{Position, PostId, UserId};
use crate::vocabulary::owner::Owner;
use crate::vocabulary::relation::Follow;

/// The most followees whose posts a feed merges.
const FEED_FOLLOWEES_MAX: u64 = 5_000;

/// Which side of a follow a list shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Followers,
    Following,
}

impl View {
    /// Who likes the post, by user id, newest users first.
    pub async fn post_likes(
        &self,
        viewer: Option<UserId>,
        post: PostId,
        before: Option<UserId>,
        limit: usize,
    ) -> Result<Page<UserView, UserId>, ViewError> {
        let pending = self.pending_of_post(viewer, post).await?;
        let shard = self.shard_of(&Owner::Post(post));
        let mut needs = Needs { posts: vec![post], ..Needs::default() };
        needs.post_likes.extend(viewer.map(|viewer| (post, viewer)));
        for write in &pending {
            apply::needs_of(&write.entry, &mut needs);
        }
        let (stored, loaded) = shard
            .read(self.source, async |snapshot| {
                let stored = snapshot.post_likes_page(post, before, limit as u64 + 1).await?;
                Ok((stored, Loaded::from(snapshot, &needs, !pending.is_empty()).await?))
            })
            .await?;
        let rows = super::overlay(loaded, shard.index, &pending).into_rows();
        self.may_see(viewer, rows.posts.get(&post).ok_or(ViewError::NotFound)?.author).await?;
        author_in(&rows, post)?;

        let mut found = Found::stored(stored.into_iter().map(|user| (Reverse(user), user)), limit);
        if let Some(viewer) = viewer {
            let likes = rows.post_likes.get(&(post, viewer)).is_some_and(|like| like.liked);
            found.merge_own(Reverse(viewer), viewer, likes, before.map(Reverse));
        }
        let page = found.page(limit);
        let users: Vec<UserId> = page.items;
        Ok(Page { items: self.users(viewer, &users).await?, next: page.next.map(|Reverse(user)| user) })
    }

    /// A user's posts, newest first.
    pub async fn user_posts(
        &self,
        viewer: Option<UserId>,
        user: UserId,
        before: Option<PostId>,
        limit: usize,
    ) -> Result<Page<PostView, PostId>, ViewError> {
        self.existing(viewer, user).await?;
        self.may_see(viewer, user).await?;
        let shard = self.shard_of(&Owner::User(user));
        let page = self.authored(shard, viewer, &[user], before, limit).await?.page(limit);
        Ok(Page { items: self.posts(viewer, &page.items).await?, next: page.next.map(|Reverse(post)| post) })
    }

    /// Posts by those the viewer follows and by himself, newest first.
    pub async fn feed(&self, viewer: UserId, before: Option<PostId>, limit: usize) -> Result<Page<PostView, PostId>, ViewError> {
        let mut authors = self.followees(viewer).await?;
        authors.insert(viewer);
        let mut by_shard: HashMap<u16, Vec<UserId>> = HashMap::new();
        for author in authors {
            by_shard.entry(self.ledger.index_of(&Owner::User(author)).0).or_default().push(author);
        }
        let mut found = Found::default();
        for (shard, authors) in by_shard {
            let of_shard = self.authored(&self.ledger.shards[usize::from(shard)], Some(viewer), &authors, before, limit).await?;
            found = found.and(of_shard);
        }
        let page = found.page(limit);
        Ok(Page { items: self.posts(Some(viewer), &page.items).await?, next: page.next.map(|Reverse(post)| post) })
    }

    /// Who follows the user, newest follow first; the key is the position of the follow.
    pub async fn followers(
        &self,
        viewer: Option<UserId>,
        user: UserId,
        before: Option<Position>,
        limit: usize,
    ) -> Result<Page<UserView, Position>, ViewError> {
        self.follows(viewer, user, Direction::Followers, before, limit).await
    }

    /// Whom the user follows, newest follow first; the key is the position of the follow.
    pub async fn following(
        &self,
        viewer: Option<UserId>,
        user: UserId,
        before: Option<Position>,
        limit: usize,
    ) -> Result<Page<UserView, Position>, ViewError> {
        self.follows(viewer, user, Direction::Following, before, limit).await
    }

    async fn existing(&self, viewer: Option<UserId>, user: UserId) -> Result<(), ViewError> {
        self.card(viewer, user).await.map(drop)
    }

    /// The keys of a page of posts by some authors of one shard, the reader's own pending ones merged in.
    async fn authored(
        &self,
        shard: &Shard,
        viewer: Option<UserId>,
        authors: &[UserId],
        before: Option<PostId>,
        limit: usize,
    ) -> Result<Found<Reverse<PostId>, PostId>, ViewError> {
        let own = viewer.filter(|viewer| authors.contains(viewer));
        let pending = self.pending(own, Topic::Authored).await?;
        let (stored, marks) = shard
            .read(self.source, async |snapshot| {
                let stored = snapshot.author_posts_page(authors, before, limit as u64 + 1).await?;
                Ok((stored, if pending.is_empty() { None } else { Some(Marks::of(snapshot).await?) }))
            })
            .await?;
        let mut found = Found::stored(stored.into_iter().map(|(_, post)| (Reverse(post), post)), limit);
        if let Some(marks) = marks {
            for write in pending.iter().filter(|write| is_pending(write.entry.position, write.home, shard.index, false, Some(&marks))) {
                // One that he deletes is left out when the post itself is read: only its own shard knows whether that will be refused.
                if let Some(Relay::AuthorPost { post, deleted: false, .. }) = author_post(write) {
                    found.merge_own(Reverse(post), post, true, before.map(Reverse));
                }
            }
        }
        Ok(found)
    }

    /// Whom the reader follows, with his pending follows and blocks.
    async fn followees(&self, viewer: UserId) -> Result<BTreeSet<UserId>, ViewError> {
        let pending = self.pending(Some(viewer), Topic::Pairs).await?;
        let shard = self.shard_of(&Owner::User(viewer));
        let (stored, own) = shard
            .read(self.source, async |snapshot| {
                let stored = snapshot.followees(viewer, FEED_FOLLOWEES_MAX).await?;
                Ok((stored, own_pairs(shard, snapshot, viewer, &pending).await?))
            })
            .await?;
        let mut followees: BTreeSet<UserId> = stored.into_iter().collect();
        for (other, follow) in own {
            match follow {
                Some(_) => followees.insert(other),
                None => followees.remove(&other),
            };
        }
        Ok(followees)
    }

    async fn follows(
        &self,
        viewer: Option<UserId>,
        user: UserId,
        direction: Direction,
        before: Option<Position>,
        limit: usize,
    ) -> Result<Page<UserView, Position>, ViewError> {
        self.existing(viewer, user).await?;
        let topic = if viewer == Some(user) { Topic::Pairs } else { Topic::Pair(user) };
        let pending = self.pending(viewer, topic).await?;
        let shard = self.shard_of(&Owner::User(user));
        let (stored, laid) = shard
            .read(self.source, async |snapshot| {
                let stored = match direction {
                    Direction::Followers => snapshot.followers_page(user, before, limit as u64 + 1).await?,
                    Direction::Following => snapshot.following_page(user, before, limit as u64 + 1).await?,
                };
                Ok((stored, laid_follows(shard, snapshot, viewer, user, direction, &pending).await?))
            })
            .await?;
        let mut found = Found::stored(stored.into_iter().map(|(other, follow)| (Reverse(follow.since), other)), limit);
        for (other, follow) in laid {
            found.keys.retain(|_, listed| *listed != other);
            if let Some(follow) = follow {
                found.merge_own(Reverse(follow.since), other, true, before.map(Reverse));
            }
        }
        let page = found.page(limit);
        Ok(Page { items: self.users(viewer, &page.items).await?, next: page.next.map(|Reverse(position)| position) })
    }
}

/// What the reader's pending follows and blocks make of a list: the others concerned, with their follow as it is then.
async fn laid_follows(
    shard: &Shard,
    snapshot: &mut Snapshot,
    viewer: Option<UserId>,
    user: UserId,
    direction: Direction,
    pending: &[PendingWrite],
) -> Result<Vec<(UserId, Option<Follow>)>, StoreError> {
    let Some(viewer) = viewer.filter(|_| !pending.is_empty()) else { return Ok(Vec::new()) };
    if viewer == user && direction == Direction::Following {
        return own_pairs(shard, snapshot, viewer, pending).await;
    }
    let marks = Marks::of(snapshot).await?;
    let others: BTreeSet<UserId> = pending.iter().filter_map(|write| other_of(&write.entry.command)).collect();
    let own = viewer == user;
    let pairs: Vec<(UserId, UserId)> = if own { others.iter().map(|other| (user, *other)).collect() } else { vec![(user, viewer)] };
    let needs = Needs { relations: pairs.clone(), ..Needs::default() };
    let rows = snapshot.rows_load(&needs).await?;
    let mut transition = Transition::over(rows);
    for write in pending {
        let decided_here = if own { other_of(&write.entry.command).is_some_and(|other| user < other) } else { user < viewer };
        let about_pair = !matches!(write.entry.command, Command::SetMute { .. });
        if about_pair && is_pending(write.entry.position, write.home, shard.index, decided_here, Some(&marks)) {
            transition.lay_pair(&write.entry, own);
        }
    }
    let rows = transition.into_rows();
    Ok(pairs
        .into_iter()
        .map(|pair| {
            let state = rows.relations.get(&pair).map(|row| row.state).unwrap_or_default();
            (pair.1, if direction == Direction::Followers { state.followed_by } else { state.following })
        })
        .collect())
}

/// The reader's own side of the pairs that his pending writes are about.
async fn own_pairs(
    shard: &Shard,
    snapshot: &mut Snapshot,
    viewer: UserId,
    pending: &[PendingWrite],
) -> Result<Vec<(UserId, Option<Follow>)>, StoreError> {
    if pending.is_empty() {
        return Ok(Vec::new());
    }
    let marks = Marks::of(snapshot).await?;
    let others: BTreeSet<UserId> = pending.iter().filter_map(|write| other_of(&write.entry.command)).collect();
    let needs = Needs { relations: others.iter().map(|other| (viewer, *other)).collect(), ..Needs::default() };
    let rows = snapshot.rows_load(&needs).await?;
    let mut states: BTreeMap<UserId, _> =
        others.into_iter().map(|other| (other, rows.relations.get(&(viewer, other)).map(|row| row.state).unwrap_or_default())).collect();
    for write in pending {
        let Some(other) = other_of(&write.entry.command) else { continue };
        let Some(state) = states.get_mut(&other) else { continue };
        if is_pending(write.entry.position, write.home, shard.index, viewer < other, Some(&marks))
            && let Ok(after) = pair_after(*state, &write.entry.command, write.entry.position)
        {
            *state = after;
        }
    }
    Ok(states.into_iter().map(|(other, state)| (other, state.following)).collect())
}

/// What a page is cut from: stored entries with the reader's own merged in.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Found<K, V> {
    keys: BTreeMap<K, V>,
    /// Where the stored part was cut off: nothing is known of what comes after it.
    horizon: Option<K>,
}

impl<K, V> Default for Found<K, V> {
    fn default() -> Self {
        Self { keys: BTreeMap::new(), horizon: None }
    }
}

impl<K: Ord + Clone, V> Found<K, V> {
    /// A stored page that was asked for with one entry more than `limit`.
    fn stored(entries: impl Iterator<Item = (K, V)>, limit: usize) -> Self {
        let keys: BTreeMap<K, V> = entries.collect();
        let horizon = keys.last_key_value().filter(|_| keys.len() > limit).map(|(last, _)| last.clone());
        Self { keys, horizon }
    }

    /// Puts an own entry in, or takes it out. One behind the horizon belongs to a later page, one up to `after` to an earlier one.
    fn merge_own(&mut self, key: K, value: V, present: bool, after: Option<K>) {
        if !present {
            self.keys.remove(&key);
            return;
        }
        let before_start = after.is_some_and(|after| key <= after);
        let behind_end = self.horizon.as_ref().is_some_and(|horizon| key > *horizon);
        if !before_start && !behind_end {
            self.keys.insert(key, value);
        }
    }

    /// Both together: known as far as either is.
    fn and(mut self, other: Self) -> Self {
        self.keys.extend(other.keys);
        let horizon = match (self.horizon, other.horizon) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        if let Some(horizon) = &horizon {
            self.keys.retain(|key, _| key <= horizon);
        }
        Self { keys: self.keys, horizon }
    }

    /// The first `limit` entries; `next` is where to go on, if more may follow. A page may be short, or empty, and still have a next.
    fn page(self, limit: usize) -> Page<V, K> {
        let Self { keys, horizon } = self;
        let next = if keys.len() > limit { keys.keys().nth(limit.saturating_sub(1)).cloned() } else { horizon };
        Page { items: keys.into_values().take(limit).collect(), next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(of: &[u32], limit: usize) -> Found<u32, u32> {
        Found::stored(of.iter().map(|key| (*key, *key)), limit)
    }

    #[test]
    fn an_own_entry_stands_where_its_key_says() {
        let mut page = found(&[2, 4], 1);
        page.merge_own(3, 3, true, Some(1));
        page.merge_own(1, 1, true, Some(1));
        page.merge_own(9, 9, true, Some(1));
        page.merge_own(2, 2, false, Some(1));
        assert_eq!(page.keys.into_keys().collect::<Vec<_>>(), [3, 4]);

        let mut whole = found(&[2, 4], 2);
        whole.merge_own(9, 9, true, Some(1));
        assert_eq!(whole.keys.into_keys().collect::<Vec<_>>(), [2, 4, 9]);
    }

    #[test]
    fn a_page_goes_on_only_if_more_may_follow() {
        assert_eq!(found(&[1, 2, 3], 2).page(2), Page { items: vec![1, 2], next: Some(2) });
        assert_eq!(found(&[1, 2], 2).page(2), Page { items: vec![1, 2], next: None });
        assert_eq!(found(&[], 2).page(2), Page { items: vec![], next: None });
    }

    #[test]
    fn a_page_from_which_own_entries_were_taken_goes_on_behind_what_was_stored() {
        let mut page = found(&[1, 2, 3], 2);
        page.merge_own(2, 2, false, None);
        assert_eq!(page.clone().page(2), Page { items: vec![1, 3], next: Some(3) });
        page.merge_own(3, 3, false, None);
        page.merge_own(1, 1, false, None);
        assert_eq!(page.page(2), Page { items: vec![], next: Some(3) });
    }

    #[test]
    fn two_lists_are_known_only_as_far_as_both() {
        let mut one = found(&[1, 2, 3], 2);
        one.merge_own(1, 1, false, None);
        one.merge_own(2, 2, false, None);

        let both = one.and(found(&[5, 6], 2));

        assert_eq!(both.page(2), Page { items: vec![3], next: Some(3) });
    }
}
