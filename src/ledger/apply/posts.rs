//! Posts, their likes and subscriptions: decided by the post's lane.

use super::{Decided, Transition, mentions, row};
use crate::substrate::store::rows::{LikeRow, PostRow, SubscriptionRow};
use crate::support::faults::planted;
use crate::vocabulary::command::{Command, Entry};
use crate::vocabulary::event::{Happened, Relay};
use crate::vocabulary::ids::{Position, PostId};
use crate::vocabulary::rejection::Rejection;
use crate::vocabulary::text::PostBody;

pub(super) fn decide(transition: &mut Transition, entry: &Entry) -> Decided {
    match &entry.command {
        Command::CreatePost { post, body } => Ok(create(transition, entry, *post, body)),
        Command::EditPost { post, body, if_revision } => edit(transition, entry, *post, body, *if_revision),
        Command::DeletePost { post, if_revision } => delete(transition, entry, *post, *if_revision),
        Command::SetPostLike { post, liked } => like(transition, entry, *post, *liked),
        Command::SetSubscription { post, mode } => {
            standing(transition, *post)?;
            let key = (*post, entry.author);
            if row!(transition.subscriptions, &key).is_some_and(|row| row.mode == *mode) {
                return Ok((Happened::Nothing, Vec::new()));
            }
            transition.after.subscriptions.insert(key, SubscriptionRow { mode: *mode, position: entry.position });
            Ok((Happened::Subscribed { post: *post, mode: *mode }, Vec::new()))
        }
        _ => Err(Rejection::NotFound),
    }
}

/// The post, if it exists and was not deleted.
pub(super) fn standing(transition: &Transition, post: PostId) -> Result<&PostRow, Rejection> {
    let row = row!(transition.posts, &post).ok_or(Rejection::NotFound)?;
    if row.deleted { Err(Rejection::Gone) } else { Ok(row) }
}

fn create(transition: &mut Transition, entry: &Entry, post: PostId, body: &PostBody) -> (Happened, Vec<Relay>) {
    if row!(transition.posts, &post).is_some() {
        // A dead letter that was retried twice.
        return (Happened::Nothing, Vec::new());
    }
    let row = PostRow { post, author: entry.author, body: body.clone(), revision: entry.position, edited_at: None, deleted: false };
    transition.after.posts.insert(post, row);
    let relay = Relay::AuthorPost { author: entry.author, post, deleted: false };
    (Happened::PostCreated { post, mentions: mentions::named(body.as_str()) }, vec![relay])
}

fn own(transition: &Transition, entry: &Entry, post: PostId, if_revision: Option<Position>) -> Result<PostRow, Rejection> {
    let row = standing(transition, post)?;
    if row.author != entry.author && !planted("intake::skip_owner_check") {
        return Err(Rejection::Forbidden);
    }
    if if_revision.is_some_and(|revision| revision != row.revision) {
        return Err(Rejection::PreconditionFailed);
    }
    Ok(row.clone())
}

fn edit(transition: &mut Transition, entry: &Entry, post: PostId, body: &PostBody, if_revision: Option<Position>) -> Decided {
    let before = own(transition, entry, post, if_revision)?;
    let mentions = mentions::newly_named(before.body.as_str(), body.as_str());
    let row = PostRow { body: body.clone(), revision: entry.position, edited_at: Some(entry.accepted_at), ..before };
    transition.after.posts.insert(post, row);
    Ok((Happened::PostEdited { post, mentions }, Vec::new()))
}

fn delete(transition: &mut Transition, entry: &Entry, post: PostId, if_revision: Option<Position>) -> Decided {
    let before = own(transition, entry, post, if_revision)?;
    let row = PostRow { body: PostBody::from_row(String::new()), revision: entry.position, deleted: true, ..before };
    transition.after.posts.insert(post, row);
    Ok((Happened::PostDeleted { post }, vec![Relay::AuthorPost { author: entry.author, post, deleted: true }]))
}

fn like(transition: &mut Transition, entry: &Entry, post: PostId, liked: bool) -> Decided {
    let author = standing(transition, post)?.author;
    let key = (post, if planted("apply::like_of_another") { author } else { entry.author });
    let before = row!(transition.post_likes, &key).map(|row| row.liked);
    if before.unwrap_or(false) == liked {
        if planted("apply::count_unchanged") {
            transition.step_post(post, 1, 0, entry.position);
        }
        return Ok((Happened::Nothing, Vec::new()));
    }
    transition.after.post_likes.insert(key, LikeRow { liked, position: entry.position });
    transition.step_post(post, if liked { 1 } else { -1 }, 0, entry.position);
    let happened = match (liked, before) {
        (false, _) => Happened::PostUnliked { post },
        (true, None) => Happened::PostLiked { post },
        // The row of a like that was taken back stays.
        (true, Some(_)) => Happened::PostLikedAgain { post },
    };
    Ok((happened, Vec::new()))
}
