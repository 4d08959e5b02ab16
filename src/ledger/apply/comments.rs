//! Comments and their likes: decided by the post's lane.

use super::{Decided, Transition, mentions, posts, row};
use crate::substrate::store::rows::{CommentRow, LikeRow};
use crate::support::faults::planted;
use crate::vocabulary::command::{Command, Entry};
use crate::vocabulary::event::Happened;
use crate::vocabulary::ids::{CommentId, Position, PostId};
use crate::vocabulary::rejection::Rejection;
use crate::vocabulary::text::CommentBody;

pub(super) fn decide(transition: &mut Transition, entry: &Entry) -> Decided {
    match &entry.command {
        Command::CreateComment { post, comment, parent, body } => create(transition, entry, *post, *comment, *parent, body),
        Command::EditComment { post, comment, body, if_revision } => edit(transition, entry, *post, *comment, body, *if_revision),
        Command::DeleteComment { post, comment, if_revision } => delete(transition, entry, *post, *comment, *if_revision),
        Command::SetCommentLike { post, comment, liked } => like(transition, entry, *post, *comment, *liked),
        _ => Err(Rejection::NotFound),
    }
}

/// The comment, if it stands below this post and neither was deleted.
fn standing(transition: &Transition, post: PostId, comment: CommentId) -> Result<&CommentRow, Rejection> {
    posts::standing(transition, post)?;
    let row = row!(transition.comments, &comment).filter(|row| row.post == post).ok_or(Rejection::NotFound)?;
    if row.deleted { Err(Rejection::Gone) } else { Ok(row) }
}

fn create(
    transition: &mut Transition,
    entry: &Entry,
    post: PostId,
    comment: CommentId,
    parent: Option<CommentId>,
    body: &CommentBody,
) -> Decided {
    posts::standing(transition, post)?;
    if row!(transition.comments, &comment).is_some() {
        // A dead letter that was retried twice.
        return Ok((Happened::Nothing, Vec::new()));
    }
    if let Some(parent) = parent {
        let parent_row = standing(transition, post, parent)?;
        if !parent_row.answered {
            let answered = CommentRow { answered: true, ..parent_row.clone() };
            transition.after.comments.insert(parent, answered);
        }
    }
    let row = CommentRow {
        comment,
        post,
        author: entry.author,
        parent,
        body: body.clone(),
        revision: entry.position,
        edited_at: None,
        deleted: false,
        answered: false,
    };
    transition.after.comments.insert(comment, row);
    transition.step_post(post, 0, 1, entry.position);
    Ok((Happened::CommentCreated { post, comment, parent, mentions: mentions::named(body.as_str()) }, Vec::new()))
}

fn own(
    transition: &Transition,
    entry: &Entry,
    post: PostId,
    comment: CommentId,
    if_revision: Option<Position>,
) -> Result<CommentRow, Rejection> {
    let row = standing(transition, post, comment)?;
    if row.author != entry.author && !planted("intake::skip_owner_check") {
        return Err(Rejection::Forbidden);
    }
    if if_revision.is_some_and(|revision| revision != row.revision) {
        return Err(Rejection::PreconditionFailed);
    }
    Ok(row.clone())
}

fn edit(
    transition: &mut Transition,
    entry: &Entry,
    post: PostId,
    comment: CommentId,
    body: &CommentBody,
    if_revision: Option<Position>,
) -> Decided {
    let before = own(transition, entry, post, comment, if_revision)?;
    let mentions = mentions::newly_named(before.body.as_str(), body.as_str());
    let row = CommentRow { body: body.clone(), revision: entry.position, edited_at: Some(entry.accepted_at), ..before };
    transition.after.comments.insert(comment, row);
    Ok((Happened::CommentEdited { post, comment, mentions }, Vec::new()))
}

fn delete(transition: &mut Transition, entry: &Entry, post: PostId, comment: CommentId, if_revision: Option<Position>) -> Decided {
    let before = own(transition, entry, post, comment, if_revision)?;
    let row = CommentRow { body: CommentBody::from_row(String::new()), revision: entry.position, deleted: true, ..before };
    transition.after.comments.insert(comment, row);
    transition.step_post(post, 0, -1, entry.position);
    Ok((Happened::CommentDeleted { post, comment }, Vec::new()))
}

fn like(transition: &mut Transition, entry: &Entry, post: PostId, comment: CommentId, liked: bool) -> Decided {
    standing(transition, post, comment)?;
    let key = (comment, entry.author);
    let before = row!(transition.comment_likes, &key).map(|row| row.liked);
    if before.unwrap_or(false) == liked {
        return Ok((Happened::Nothing, Vec::new()));
    }
    transition.after.comment_likes.insert(key, LikeRow { liked, position: entry.position });
    transition.step_comment(comment, if liked { 1 } else { -1 });
    let happened = match (liked, before) {
        (false, _) => Happened::CommentUnliked { post, comment },
        (true, None) => Happened::CommentLiked { post, comment },
        // The row of a like that was taken back stays.
        (true, Some(_)) => Happened::CommentLikedAgain { post, comment },
    };
    Ok((happened, Vec::new()))
}
