//! Inbox entries as their owner sees them: with the names of people, and the beginnings of what they are about.
//!
//! Those live on any shard. One that cannot be read takes names and texts with it, and no entry: the inbox is its owner's shard's alone.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::cards::CardsByUser;
use super::{AuthorCard, View, ViewError};
use crate::substrate::store::rows::{Needs, Rows};
use crate::support::faults::planted;
use crate::vocabulary::entry::InboxEntry;
use crate::vocabulary::ids::{CommentId, PostId, UserId};
use crate::vocabulary::owner::{Owner, ShardIndex};

/// Characters of an excerpt.
const EXCERPT_CHARACTERS_MAX: usize = 140;

/// An entry with all that is shown of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotificationView {
    pub entry: InboxEntry,
    /// Newest first; those who are gone, or whose shard cannot be read, are missing.
    pub actors: Vec<Arc<AuthorCard>>,
    /// `None` if it is about no post, or if its reader cannot see it any more, or now.
    pub post: Option<Excerpt<PostId>>,
    pub comment: Option<Excerpt<CommentId>>,
}

/// The beginning of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excerpt<I> {
    pub id: I,
    pub text: String,
}

impl View {
    /// Entries as their owner sees them, in their order.
    pub async fn notifications(&self, owner: UserId, entries: Vec<InboxEntry>) -> Result<Vec<NotificationView>, ViewError> {
        let cards = self.actors_of(owner, &entries).await?;
        let rows = self.objects_of(&entries).await?;
        let hosts: HashSet<UserId> = rows.posts.values().map(|post| post.author).collect();
        let mut hidden = HashSet::new();
        for host in hosts {
            if self.is_blocked(owner, host).await? {
                hidden.insert(host);
            }
        }
        let seen = entries.into_iter().map(|entry| {
            let line = Arc::clone(&entry.line);
            let host = line.post.and_then(|post| rows.posts.get(&post)).filter(|post| !post.deleted && !hidden.contains(&post.author));
            let comment = line.comment.and_then(|comment| rows.comments.get(&comment)).filter(|comment| !comment.deleted);
            NotificationView {
                actors: line.actors.iter().filter_map(|actor| cards.get(actor).cloned()).collect(),
                post: host.map(|post| Excerpt { id: post.post, text: excerpt(post.body.as_str()) }),
                comment: comment
                    .filter(|_| host.is_some())
                    .map(|comment| Excerpt { id: comment.comment, text: excerpt(comment.body.as_str()) }),
                entry,
            }
        });
        Ok(seen.collect())
    }

    /// The cards of all actors, as far as their shards can be read.
    async fn actors_of(&self, owner: UserId, entries: &[InboxEntry]) -> Result<CardsByUser, ViewError> {
        let mut by_shard: HashMap<ShardIndex, Vec<UserId>> = HashMap::new();
        for actor in entries.iter().flat_map(|entry| &entry.line.actors) {
            by_shard.entry(self.ledger.index_of(&Owner::Account(*actor))).or_default().push(*actor);
        }
        let mut cards = CardsByUser::new();
        for actors in by_shard.into_values() {
            cards.extend(if_readable(self.cards(Some(owner), actors).await)?.unwrap_or_default());
        }
        Ok(cards)
    }

    /// The posts and comments that entries are about, from each shard in one read, as far as it can be read.
    async fn objects_of(&self, entries: &[InboxEntry]) -> Result<Rows, ViewError> {
        let mut by_shard: HashMap<ShardIndex, Needs> = HashMap::new();
        for line in entries.iter().map(|entry| &entry.line) {
            let Some(post) = line.post else { continue };
            let needs = by_shard.entry(self.ledger.index_of(&Owner::Post(post))).or_default();
            needs.posts.push(post);
            needs.comments.extend(line.comment);
        }
        let mut rows = Rows::default();
        for (shard, needs) in by_shard {
            let Some(loaded) = if_readable(self.load(self.ledger.shard(shard), &needs, false).await)? else { continue };
            rows.posts.extend(loaded.rows.posts);
            rows.comments.extend(loaded.rows.comments);
        }
        Ok(rows)
    }
}

/// `None`: it lives on a shard that cannot be read now.
fn if_readable<T>(read: Result<T, ViewError>) -> Result<Option<T>, ViewError> {
    match read {
        Ok(found) => Ok(Some(found)),
        Err(ViewError::Unavailable { shard }) if !planted("inbox::need_all_shards") => {
            tracing::debug!(shard, "entries are shown without what lives on a shard that cannot be read");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn excerpt(text: &str) -> String {
    match text.char_indices().nth(EXCERPT_CHARACTERS_MAX) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", text[..end].trim_end()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_ends_after_a_line_or_two() {
        let long = "소식".repeat(EXCERPT_CHARACTERS_MAX);

        assert_eq!(excerpt("short"), "short");
        assert_eq!(excerpt(&"x".repeat(EXCERPT_CHARACTERS_MAX)).chars().count(), EXCERPT_CHARACTERS_MAX);
        assert_eq!(excerpt(&long).chars().count(), EXCERPT_CHARACTERS_MAX + 1);
        assert!(excerpt(&long).ends_with('…'));
    }
}
