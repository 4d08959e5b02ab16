//! What a write would do, before it is journaled: whether it can be refused at once, and what its author sees when it is accepted.

use super::comments::{comment_in, comment_needs, comment_view};
use super::posts::{author_in, is_about_post, post_needs, post_view};
use super::users::other_of;
use super::{AuthorCard, CommentView, PostView, UserRef, UserView, View, ViewError, overlay, overlay_hot};
use crate::ledger::apply::{Transition, needs_of};
use crate::ledger::hot_posts::Freshness;
use crate::ledger::pending::{PendingWrite, Shows, Topic};
use crate::ledger::shard_reader::Source;
use crate::substrate::store::rows::{Needs, Rows};
use crate::vocabulary::command::{Command, Entry, Resource};
use crate::vocabulary::event::Happened;
use crate::vocabulary::ids::{Position, PostId, UserId};
use crate::vocabulary::owner::Owner;
use crate::vocabulary::rejection::Rejection;

/// The position of an entry that has none yet: above all. [`Preview::seen`] puts the true one in its place.
pub const PROVISIONAL: Position = Position(u64::MAX);

/// The resource of a write as its author sees it.
#[derive(Debug, Clone)]
pub enum Seen {
    /// It was deleted, or its shard cannot be read.
    Nothing,
    Post(Box<PostView>),
    Comment(Box<CommentView>),
    User(Box<UserView>),
}

/// An entry laid over what its author sees. Made before the append, shown after it.
#[derive(Debug)]
pub struct Preview(Shape);

#[derive(Debug)]
enum Shape {
    Nothing,
    Rows {
        rows: Box<Rows>,
        author: UserId,
        resource: Resource,
        card: AuthorCard,
    },
    /// Users are put together after the append, from the pending index.
    User(UserId),
}

impl View {
    /// Lays an entry with the position [`PROVISIONAL`] over what its author sees now. `Err` inside: it is refused at once. What lives on a shard
    /// that cannot be read is let through, and decided at the apply. `Unavailable`: whether the two are in a block cannot be read anywhere, and no
    /// lane of the post would ask again.
    pub async fn preview(&self, entry: &Entry) -> Result<Result<Preview, Rejection>, ViewError> {
        match entry.command.resource(entry.author) {
            Resource::User(user) => self.preview_user(entry, user).await,
            resource => self.preview_post(entry, resource).await,
        }
    }

    async fn preview_post(&self, entry: &Entry, resource: Resource) -> Result<Result<Preview, Rejection>, ViewError> {
        let author = entry.author;
        let post = match resource {
            Resource::Post(post) | Resource::Comment(post, _) => post,
            Resource::User(_) => return Ok(Err(Rejection::NotFound)),
        };
        if matches!(entry.command, Command::CreatePost { .. }) {
            // Nothing can be there, and nothing pending can be about it.
            let (transition, happened) = applied(Transition::default(), entry);
            return self.previewed(transition, happened, entry, resource).await;
        }
        let about_post = is_about_post(&entry.command);
        let shows = if about_post { Shows::PostAlone } else { Shows::Everything };
        let pending = self.ledger.pending.of(author, Topic::Post(post), shows).await?;
        // A comment shows nothing of what its author thinks of the post.
        let viewer = matches!(resource, Resource::Post(_)).then_some(author);
        let hot = if about_post { self.hot_post(post, viewer, &pending, Freshness::Preview) } else { None };
        let hot = hot.map(|found| (found.is_behind, applied(overlay_hot(found, &pending), entry)));
        let (transition, happened) = match hot {
            Some((is_behind, applied)) if !is_behind || shows_own_version(&applied.1) => applied,
            _ => match self.overlaid(entry, post, resource, &pending).await {
                Ok(overlaid) => applied(overlaid, entry),
                // Who wrote the post, and with whom he is in a block, is not known.
                Err(ViewError::Unavailable { .. }) => return Ok(Ok(Preview(Shape::Nothing))),
                Err(error) => return Err(error),
            },
        };
        if let Some(post_author) = transition.post_author(post)
            && self.is_blocked(author, post_author).await?
        {
            return Ok(Err(Rejection::NotFound));
        }
        self.previewed(transition, happened, entry, resource).await
    }

    /// The rows that an entry about a post needs, from the database, with what is pending laid over.
    async fn overlaid(&self, entry: &Entry, post: PostId, resource: Resource, pending: &[PendingWrite]) -> Result<Transition, ViewError> {
        let mut needs = Needs::default();
        post_needs(Some(entry.author), post, &mut needs);
        match (&entry.command, resource) {
            // Nothing can be where a new comment will be: only its post and what it answers are asked for.
            (Command::CreateComment { parent, .. }, _) => needs.comments.extend(parent),
            (_, Resource::Comment(_, comment)) => {
                comment_needs(Some(entry.author), comment, &mut needs);
                needs_of(entry, &mut needs);
            }
            _ => needs_of(entry, &mut needs),
        }
        for write in pending {
            needs_of(&write.entry, &mut needs);
        }
        let shard = self.shard_of(&Owner::Post(post));
        let loaded = self.load_post(shard, Some(entry.author), post, &needs, !pending.is_empty()).await?;
        Ok(overlay(loaded, shard.index, pending))
    }

    async fn previewed(
        &self,
        transition: Transition,
        happened: Happened,
        entry: &Entry,
        resource: Resource,
    ) -> Result<Result<Preview, Rejection>, ViewError> {
        if let Happened::Rejected(rejection) = happened {
            return Ok(Err(rejection));
        }
        let rows = transition.into_rows();
        let written_by = match resource {
            Resource::Post(post) => author_in(&rows, post),
            Resource::Comment(post, comment) => comment_in(&rows, post, comment).map(|row| row.author),
            Resource::User(user) => Ok(user),
        };
        if matches!(entry.command, Command::DeletePost { .. } | Command::DeleteComment { .. }) {
            return Ok(Ok(Preview(Shape::Nothing)));
        }
        let Ok(written_by) = written_by else { return Ok(Ok(Preview(Shape::Nothing))) };
        let card = match self.card(Some(entry.author), written_by).await {
            Ok(card) => card.as_ref().clone(),
            // The name beside it cannot be read, or is on its way yet: the write itself need not wait for that.
            Err(ViewError::Unavailable { .. } | ViewError::NotFound) => return Ok(Ok(Preview(Shape::Nothing))),
            Err(error) => return Err(error),
        };
        Ok(Ok(Preview(Shape::Rows { rows: Box::new(rows), author: entry.author, resource, card })))
    }

    async fn preview_user(&self, entry: &Entry, user: UserId) -> Result<Result<Preview, Rejection>, ViewError> {
        if matches!(entry.command, Command::MarkRead { .. } | Command::SetPreferences { .. }) {
            return Ok(Ok(Preview(Shape::Nothing)));
        }
        if let Some(other) = other_of(&entry.command) {
            match self.refused_relation(entry, other).await {
                Ok(None) => {}
                Ok(Some(rejection)) => return Ok(Err(rejection)),
                // The lane of the pair looks for blocks itself.
                Err(ViewError::Unavailable { .. }) => return Ok(Ok(Preview(Shape::Nothing))),
                Err(error) => return Err(error),
            }
        }
        Ok(Ok(Preview(Shape::User(user))))
    }

    async fn refused_relation(&self, entry: &Entry, other: UserId) -> Result<Option<Rejection>, ViewError> {
        match self.card(Some(entry.author), other).await {
            Ok(_) => {}
            // Nobody is there; what was set while that could not be read can still be taken back.
            Err(ViewError::NotFound) => {
                let (pair, muting) = self.pair(entry.author, other, Source::Newest).await?;
                let stands = match &entry.command {
                    Command::SetFollow { notify: None, .. } => pair.following.is_some(),
                    Command::SetBlock { blocking: false, .. } => pair.blocking,
                    Command::SetMute { muting: false, .. } => muting,
                    _ => false,
                };
                return Ok((!stands).then_some(Rejection::NotFound));
            }
            Err(error) => return Err(error),
        }
        let follows = matches!(entry.command, Command::SetFollow { notify: Some(_), .. });
        Ok((follows && self.is_blocked(entry.author, other).await?).then_some(Rejection::Forbidden))
    }

    /// The resource as the author sees it, now that his write is accepted at `position`.
    pub async fn seen(&self, author: UserId, preview: Preview, position: Position) -> Seen {
        let seen = match preview.0 {
            Shape::Nothing => Ok(Seen::Nothing),
            Shape::Rows { rows, author, resource, card } => rows_seen(&rows, author, resource, &card, position),
            Shape::User(user) => self.user(Some(author), &UserRef::Id(user)).await.map(|user| Seen::User(Box::new(user))),
        };
        seen.unwrap_or(Seen::Nothing)
    }

    /// The resource of an earlier write as its author sees it now.
    pub async fn resource_seen(&self, author: UserId, resource: Resource) -> Seen {
        let seen = match resource {
            Resource::Post(post) => self.post(Some(author), post).await.map(|post| Seen::Post(Box::new(post))),
            Resource::Comment(post, comment) => {
                self.comment(Some(author), post, comment).await.map(|comment| Seen::Comment(Box::new(comment)))
            }
            Resource::User(user) => self.user(Some(author), &UserRef::Id(user)).await.map(|user| Seen::User(Box::new(user))),
        };
        seen.unwrap_or(Seen::Nothing)
    }
}

fn applied(mut transition: Transition, entry: &Entry) -> (Transition, Happened) {
    let happened = transition.apply(entry);
    (transition, happened)
}

/// Whether the post is shown with the version of this write, which is above all that its author has read. Else it has the version of what was
/// there, which must not be one that is behind.
fn shows_own_version(happened: &Happened) -> bool {
    !matches!(happened, Happened::Nothing | Happened::Subscribed { .. })
}

fn rows_seen(rows: &Rows, author: UserId, resource: Resource, card: &AuthorCard, position: Position) -> Result<Seen, ViewError> {
    let settled = |at: Position| if at == PROVISIONAL { position } else { at };
    match resource {
        Resource::Post(post) => {
            let view = post_view(rows, Some(author), post, card)?;
            let view = PostView { version: settled(view.version), revision: settled(view.revision), ..view };
            Ok(Seen::Post(Box::new(view)))
        }
        Resource::Comment(post, comment) => {
            let row = comment_in(rows, post, comment)?;
            let view = comment_view(rows, row, Some(author), card);
            Ok(Seen::Comment(Box::new(CommentView { revision: settled(view.revision), ..view })))
        }
        Resource::User(_) => Ok(Seen::Nothing),
    }
}
