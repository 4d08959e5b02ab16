//! Comments: one, or a page of a post's.

use super::cards::CardsByUser;
use super::posts::{author_in, post_needs};
use super::{AuthorCard, CommentView, Order, Page, View, ViewError, latest, overlay, shown};
use crate::ledger::apply::needs_of;
use crate::ledger::pending::{PendingWrite, Topic};
use crate::ledger::shard_reader::Loaded;
use crate::substrate::store::rows::{CommentRow, Needs, Rows};
use crate::vocabulary::command::Command;
use crate::vocabulary::ids::{CommentId, Position, PostId, UserId};
use crate::vocabulary::owner::Owner;

/// The rows that show one comment to one reader.
pub(super) fn comment_needs(viewer: Option<UserId>, comment: CommentId, needs: &mut Needs) {
    needs.comments.push(comment);
    needs.comment_counters.push(comment);
    if let Some(viewer) = viewer {
        needs.comment_likes.push((comment, viewer));
    }
}

/// The comment that rows hold below a post: `Gone` if it left no place.
pub(super) fn comment_in(rows: &Rows, post: PostId, comment: CommentId) -> Result<&CommentRow, ViewError> {
    let row = rows.comments.get(&comment).filter(|row| row.post == post).ok_or(ViewError::NotFound)?;
    if row.deleted && !row.answered { Err(ViewError::Gone) } else { Ok(row) }
}

/// Puts a comment together from rows that hold what [`comment_needs`] names.
pub(super) fn comment_view(rows: &Rows, row: &CommentRow, viewer: Option<UserId>, author: &AuthorCard) -> CommentView {
    CommentView {
        comment: row.comment,
        post: row.post,
        parent: row.parent,
        revision: row.revision,
        author: author.clone(),
        body: (!row.deleted).then(|| row.body.clone()),
        edited_at: row.edited_at,
        likes: shown(rows.counters.comments.get(&row.comment).copied().unwrap_or_default()),
        liked: viewer.map(|viewer| rows.comment_likes.get(&(row.comment, viewer)).is_some_and(|like| like.liked)),
    }
}

impl View {
    pub async fn comment(&self, viewer: Option<UserId>, post: PostId, comment: CommentId) -> Result<CommentView, ViewError> {
        let mut needs = Needs { posts: vec![post], ..Needs::default() };
        comment_needs(viewer, comment, &mut needs);
        let rows = self.post_rows(viewer, post, needs).await?;
        let post_author = rows.posts.get(&post).ok_or(ViewError::NotFound)?.author;
        self.may_see(viewer, post_author).await?;
        author_in(&rows, post)?;
        let row = comment_in(&rows, post, comment)?;
        let card = self.card(viewer, row.author).await?;
        Ok(comment_view(&rows, row, viewer, &card))
    }

    /// The comment as everybody sees it, also when it was deleted and left no place.
    pub async fn comment_as_left(&self, post: PostId, comment: CommentId) -> Result<CommentView, ViewError> {
        let mut needs = Needs { posts: vec![post], ..Needs::default() };
        comment_needs(None, comment, &mut needs);
        let rows = self.post_rows(None, post, needs).await?;
        author_in(&rows, post)?;
        let row = rows.comments.get(&comment).filter(|row| row.post == post).ok_or(ViewError::NotFound)?;
        let card = self.card(None, row.author).await?;
        Ok(comment_view(&rows, row, None, &card))
    }

    /// A page of the post's comments, replies included, and the version: the position of the last write shown.
    pub async fn comments(
        &self,
        viewer: Option<UserId>,
        post: PostId,
        order: Order,
        after: Option<CommentId>,
        limit: usize,
    ) -> Result<(Page<CommentView, CommentId>, Position), ViewError> {
        let pending = self.pending(viewer, Topic::Post(post)).await?;
        let (page, loaded) = self.comments_loaded(viewer, post, order, after, limit, &pending).await?;
        let end = (page.len() > limit).then(|| page[limit].comment);
        let shard = self.ledger.index_of(&Owner::Post(post));
        let rows = overlay(loaded, shard, &pending).into_rows();
        let post_author = rows.posts.get(&post).ok_or(ViewError::NotFound)?.author;
        self.may_see(viewer, post_author).await?;
        author_in(&rows, post)?;

        let past = |comment: CommentId, bound: CommentId| match order {
            Order::Ascending => comment > bound,
            Order::Descending => comment < bound,
        };
        let mut shown_rows: Vec<&CommentRow> = rows
            .comments
            .values()
            .filter(|row| row.post == post && (!row.deleted || row.answered))
            .filter(|row| after.is_none_or(|after| past(row.comment, after)))
            .filter(|row| end.is_none_or(|end| !past(row.comment, end)))
            .collect();
        shown_rows.sort_by_key(|row| row.comment);
        if order == Order::Descending {
            shown_rows.reverse();
        }
        let more = shown_rows.len() > limit || end.is_some();
        shown_rows.truncate(limit);
        let next = if more { shown_rows.last().map(|row| row.comment).or(end) } else { None };

        let cards: CardsByUser = self.cards(viewer, shown_rows.iter().map(|row| row.author)).await?;
        let items = shown_rows.iter().filter_map(|row| cards.get(&row.author).map(|card| comment_view(&rows, row, viewer, card))).collect();
        let counted = rows.counters.posts.get(&post).copied().unwrap_or_default().position;
        let version = latest(shown_rows.iter().map(|row| row.revision).chain([rows.posts[&post].revision, counted]));
        Ok((Page { items, next }, version))
    }

    /// The stored page, one row more than asked for, and all rows that show it, from one snapshot.
    async fn comments_loaded(
        &self,
        viewer: Option<UserId>,
        post: PostId,
        order: Order,
        after: Option<CommentId>,
        limit: usize,
        pending: &[PendingWrite],
    ) -> Result<(Vec<CommentRow>, Loaded), ViewError> {
        let shard = self.shard_of(&Owner::Post(post));
        shard
            .read(self.source, async |snapshot| {
                let page = snapshot.comments_page(post, order, after, limit as u64 + 1).await?;
                let mut needs = Needs::default();
                post_needs(None, post, &mut needs);
                for row in &page {
                    comment_needs(viewer, row.comment, &mut needs);
                }
                for write in pending {
                    needs_of(&write.entry, &mut needs);
                    if let Command::SetCommentLike { comment, .. } | Command::CreateComment { comment, .. } = &write.entry.command {
                        comment_needs(viewer, *comment, &mut needs);
                    }
                }
                let loaded = Loaded::from(snapshot, &needs, !pending.is_empty()).await?;
                Ok((page, loaded))
            })
            .await
    }
}
