//! What clients see of posts, comments, users and writes: the shapes of the contract, borrowed from what the view gives.

use serde::ser::{Serialize, SerializeSeq, Serializer};

use super::problem::Document;
use crate::intake::{WriteState, WriteStatus, rejection_kind};
use crate::ledger::view::{AuthorCard, CommentView, PostView, UserView};
use crate::support::timestamp::Timestamp;
use crate::vocabulary::command::SubscriptionMode;
use crate::vocabulary::ids::{CommentId, PostId, UserId, WriteId};

/// The author beside what he wrote.
#[derive(serde::Serialize)]
pub(crate) struct Author<'a> {
    id: UserId,
    username: &'a str,
    display_name: &'a str,
}

impl<'a> From<&'a AuthorCard> for Author<'a> {
    fn from(card: &'a AuthorCard) -> Self {
        Self { id: card.user, username: card.username.as_str(), display_name: card.display_name.as_str() }
    }
}

#[derive(serde::Serialize)]
pub(super) struct Post<'a> {
    id: PostId,
    version: u64,
    author: Author<'a>,
    body: &'a str,
    created_at: Timestamp,
    edited_at: Option<Timestamp>,
    likes: u64,
    comments: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    viewer: Option<PostViewer>,
}

#[derive(serde::Serialize)]
struct PostViewer {
    liked: bool,
    subscription: SubscriptionMode,
}

impl<'a> From<&'a PostView> for Post<'a> {
    fn from(post: &'a PostView) -> Self {
        Self {
            id: post.post,
            version: post.version.0,
            author: Author::from(&post.author),
            body: post.body.as_str(),
            created_at: Timestamp(post.post.created_at()),
            edited_at: post.edited_at.map(Timestamp),
            likes: post.likes,
            comments: post.comments,
            viewer: post.viewer.map(|viewer| PostViewer { liked: viewer.liked, subscription: viewer.subscription }),
        }
    }
}

#[derive(serde::Serialize)]
pub(super) struct Comment<'a> {
    id: CommentId,
    post_id: PostId,
    parent_id: Option<CommentId>,
    author: Author<'a>,
    body: Option<&'a str>,
    created_at: Timestamp,
    edited_at: Option<Timestamp>,
    likes: u64,
    deleted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    viewer: Option<CommentViewer>,
}

#[derive(serde::Serialize)]
struct CommentViewer {
    liked: bool,
}

impl<'a> From<&'a CommentView> for Comment<'a> {
    fn from(comment: &'a CommentView) -> Self {
        Self {
            id: comment.comment,
            post_id: comment.post,
            parent_id: comment.parent,
            author: Author::from(&comment.author),
            body: comment.body.as_ref().map(crate::vocabulary::text::CommentBody::as_str),
            created_at: Timestamp(comment.comment.created_at()),
            edited_at: comment.edited_at.map(Timestamp),
            likes: comment.likes,
            deleted: comment.body.is_none(),
            viewer: comment.liked.map(|liked| CommentViewer { liked }),
        }
    }
}

#[derive(serde::Serialize)]
pub(super) struct User<'a> {
    id: UserId,
    username: &'a str,
    display_name: &'a str,
    bio: Option<&'a str>,
    created_at: Timestamp,
    followers: u64,
    following: u64,
    posts: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    viewer: Option<UserViewer>,
}

#[derive(serde::Serialize)]
struct UserViewer {
    following: bool,
    followed_by: bool,
    blocking: bool,
    muting: bool,
}

impl<'a> From<&'a UserView> for User<'a> {
    fn from(user: &'a UserView) -> Self {
        Self {
            id: user.card.user,
            username: user.card.username.as_str(),
            display_name: user.card.display_name.as_str(),
            bio: user.card.bio.as_ref().map(crate::vocabulary::text::Bio::as_str),
            created_at: Timestamp(user.card.user.created_at()),
            followers: user.followers,
            following: user.following,
            posts: user.posts,
            viewer: user.viewer.map(|viewer| UserViewer {
                following: viewer.following,
                followed_by: viewer.followed_by,
                blocking: viewer.blocking,
                muting: viewer.muting,
            }),
        }
    }
}

/// A write as its author may follow it.
#[derive(serde::Serialize)]
pub(super) struct Write {
    id: WriteId,
    kind: &'static str,
    state: &'static str,
    resource: String,
    accepted_at: Option<Timestamp>,
    committed_at: Option<Timestamp>,
    visible_at: Option<Timestamp>,
    problem: Option<Document<'static>>,
}

impl From<&WriteStatus> for Write {
    fn from(status: &WriteStatus) -> Self {
        let (state, problem) = match status.state {
            WriteState::Accepted => ("accepted", None),
            WriteState::Committed => ("committed", None),
            WriteState::Visible => ("visible", None),
            WriteState::Rejected(rejection) => ("rejected", Some(Document::of_kind(rejection_kind(rejection)))),
        };
        Self {
            id: status.write,
            kind: status.kind.as_str(),
            state,
            resource: status.resource.to_string(),
            accepted_at: status.accepted_at.map(Timestamp),
            committed_at: status.committed_at.map(Timestamp),
            visible_at: status.visible_at.map(Timestamp),
            problem,
        }
    }
}

/// A list of values that are made into their representations while they are written.
pub(super) struct Items<'a, T, R> {
    items: &'a [T],
    represent: fn(&'a T) -> R,
}

impl<'a, T, R: From<&'a T>> Items<'a, T, R> {
    pub(super) fn new(items: &'a [T]) -> Self {
        Self { items, represent: R::from }
    }
}

impl<T, R: Serialize> Serialize for Items<'_, T, R> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut sequence = serializer.serialize_seq(Some(self.items.len()))?;
        for item in self.items {
            sequence.serialize_element(&(self.represent)(item))?;
        }
        sequence.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_rfc_3339_with_milliseconds() {
        assert_eq!(Timestamp(0).to_string(), "1970-01-01T00:00:00.000Z");
        assert_eq!(Timestamp(1_735_689_600_007).to_string(), "2025-01-01T00:00:00.007Z");
        assert_eq!(Timestamp(4_102_444_799_999).to_string(), "2099-12-31T23:59:59.999Z");
    }
}
