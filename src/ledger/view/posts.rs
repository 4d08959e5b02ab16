//! Posts, one or many, as one reader sees them.

use std::collections::HashMap;
use std::sync::Arc;

use super::cards::CardsByUser;
use super::{AuthorCard, PostView, PostViewer, View, ViewError, overlay, overlay_hot, shown};
use crate::ledger::apply::needs_of;
use crate::ledger::hot_posts::Freshness;
use crate::ledger::pending::Topic;
use crate::substrate::store::rows::{Needs, Rows};
use crate::vocabulary::command::{Command, SubscriptionMode};
use crate::vocabulary::ids::{Position, PostId, UserId};
use crate::vocabulary::owner::Owner;

/// The rows that show one post to one reader.
pub(super) fn post_needs(viewer: Option<UserId>, post: PostId, needs: &mut Needs) {
    needs.posts.push(post);
    needs.post_counters.push(post);
    if let Some(viewer) = viewer {
        needs.post_likes.push((post, viewer));
        needs.subscriptions.push((post, viewer));
    }
}

/// Whether needs ask for nothing but what shows posts.
pub(super) fn is_plain(needs: &Needs) -> bool {
    let Needs {
        posts: _,
        post_counters: _,
        post_likes: _,
        subscriptions: _,
        comments,
        comment_counters,
        comment_likes,
        relations,
        mutes,
        author_posts,
        user_counters,
        accounts,
        sessions,
        sessions_of,
        names,
        preferences,
    } = needs;
    let below = comments.is_empty() && comment_counters.is_empty() && comment_likes.is_empty();
    let users = relations.is_empty() && mutes.is_empty() && author_posts.is_empty() && user_counters.is_empty() && accounts.is_empty();
    below && users && sessions.is_empty() && sessions_of.is_empty() && names.is_empty() && preferences.is_empty()
}

/// Whether the post's own rows, and the author's like and subscription of it, are all that the decision reads. A new comment has an id
/// that nothing had before: where it is still to be laid over, no row of it can be there.
pub(super) fn is_about_post(command: &Command) -> bool {
    match command {
        Command::EditPost { .. } | Command::DeletePost { .. } | Command::SetPostLike { .. } | Command::SetSubscription { .. } => true,
        Command::CreateComment { parent, .. } => parent.is_none(),
        _ => false,
    }
}

/// The post that rows hold: `Gone` if it was deleted.
pub(super) fn author_in(rows: &Rows, post: PostId) -> Result<UserId, ViewError> {
    let row = rows.posts.get(&post).ok_or(ViewError::NotFound)?;
    if row.deleted { Err(ViewError::Gone) } else { Ok(row.author) }
}

/// Puts a post together from rows that hold what [`post_needs`] names.
pub(super) fn post_view(rows: &Rows, viewer: Option<UserId>, post: PostId, author: &AuthorCard) -> Result<PostView, ViewError> {
    let row = rows.posts.get(&post).ok_or(ViewError::NotFound)?;
    let counters = rows.counters.posts.get(&post).copied().unwrap_or_default();
    let viewer = viewer.map(|viewer| PostViewer {
        liked: rows.post_likes.get(&(post, viewer)).is_some_and(|like| like.liked),
        subscription: rows.subscriptions.get(&(post, viewer)).map_or(SubscriptionMode::Default, |row| row.mode),
    });
    Ok(PostView {
        post,
        version: row.revision.max(counters.position),
        revision: row.revision,
        author: author.clone(),
        body: row.body.clone(),
        edited_at: row.edited_at,
        likes: shown(counters.likes),
        comments: shown(counters.comments),
        viewer,
    })
}

impl View {
    pub async fn post(&self, viewer: Option<UserId>, post: PostId) -> Result<PostView, ViewError> {
        let mut needs = Needs::default();
        post_needs(viewer, post, &mut needs);
        let rows = self.post_rows(viewer, post, needs).await?;
        let author = rows.posts.get(&post).ok_or(ViewError::NotFound)?.author;
        self.may_see(viewer, author).await?;
        author_in(&rows, post)?;
        let card = self.card(viewer, author).await?;
        post_view(&rows, viewer, post, &card)
    }

    /// By which write a post was deleted, if everybody sees that it was.
    pub async fn deleted_at(&self, post: PostId) -> Result<Option<Position>, ViewError> {
        let mut needs = Needs::default();
        post_needs(None, post, &mut needs);
        let rows = self.post_rows(None, post, needs).await?;
        Ok(rows.posts.get(&post).filter(|row| row.deleted).map(|row| row.revision))
    }

    /// Rows below one post, with the reader's pending writes about it.
    pub(super) async fn post_rows(&self, viewer: Option<UserId>, post: PostId, mut needs: Needs) -> Result<Rows, ViewError> {
        let plain = is_plain(&needs);
        let pending = if plain { self.pending_of_post(viewer, post).await? } else { self.pending(viewer, Topic::Post(post)).await? };
        if plain && let Some(found) = self.hot_post(post, viewer, &pending, Freshness::Read) {
            return Ok(overlay_hot(found, &pending).into_rows());
        }
        for write in &pending {
            needs_of(&write.entry, &mut needs);
        }
        let shard = self.shard_of(&Owner::Post(post));
        let loaded = self.load_post(shard, viewer, post, &needs, !pending.is_empty()).await?;
        Ok(overlay(loaded, shard.index, &pending).into_rows())
    }

    /// `NotFound` if the two are in a block.
    pub(super) async fn may_see(&self, viewer: Option<UserId>, author: UserId) -> Result<(), ViewError> {
        match viewer {
            Some(viewer) if self.is_blocked(viewer, author).await? => Err(ViewError::NotFound),
            _ => Ok(()),
        }
    }

    /// Many posts, in the order asked for; those that this reader cannot see are left out.
    pub(super) async fn posts(&self, viewer: Option<UserId>, posts: &[PostId]) -> Result<Vec<PostView>, ViewError> {
        let mut by_shard: HashMap<u16, Vec<PostId>> = HashMap::new();
        for post in posts {
            by_shard.entry(self.ledger.index_of(&Owner::Post(*post)).0).or_default().push(*post);
        }
        let mut found: HashMap<PostId, Arc<Rows>> = HashMap::new();
        for (shard, posts) in by_shard {
            let shard = &self.ledger.shards[usize::from(shard)];
            let mut needs = Needs::default();
            let mut pending = Vec::new();
            for post in &posts {
                pending.extend(self.pending_of_post(viewer, *post).await?);
                post_needs(viewer, *post, &mut needs);
            }
            pending.sort_by_key(|write| write.entry.position);
            for write in &pending {
                needs_of(&write.entry, &mut needs);
            }
            let loaded = self.load(shard, &needs, !pending.is_empty()).await?;
            let rows = Arc::new(overlay(loaded, shard.index, &pending).into_rows());
            found.extend(posts.into_iter().map(|post| (post, Arc::clone(&rows))));
        }
        let authors: Vec<UserId> = found.iter().filter_map(|(post, rows)| author_in(rows, *post).ok()).collect();
        let cards: CardsByUser = self.cards(viewer, authors).await?;
        let mut views = Vec::with_capacity(posts.len());
        for post in posts {
            let Some(rows) = found.get(post) else { continue };
            let Ok(author) = author_in(rows, *post) else { continue };
            let Some(card) = cards.get(&author) else { continue };
            match self.may_see(viewer, author).await {
                Ok(()) => views.push(post_view(rows, viewer, *post, card)?),
                Err(ViewError::NotFound) => {}
                // Whether he may see it is not known now: a page without it would be a lie.
                Err(error) => return Err(error),
            }
        }
        Ok(views)
    }
}
