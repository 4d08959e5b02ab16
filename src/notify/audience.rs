//! Who is to be told of an event, and as what. Pure functions of the event and of rows beside it.
//!
//! Never the actor; each person once, by the strongest reason. What only the recipient's own rows can say (blocks, mutes,
//! preferences) is decided where he lives, by [`super::preference`].

use std::collections::{BTreeMap, HashSet};

use crate::substrate::store::rows::{CommentRow, PostRow};
use crate::vocabulary::command::SubscriptionMode;
use crate::vocabulary::entry::{Group, NotificationKind, Target};
use crate::vocabulary::event::{Event, Happened};
use crate::vocabulary::ids::{CommentId, PostId, UserId};

/// What an event asks of inboxes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Errand {
    /// Tell these people, each as what is said, and a crowd as the kind beside it.
    Tell { people: BTreeMap<UserId, NotificationKind>, crowd: Option<(Crowd, NotificationKind)>, post: PostId, comment: Option<CommentId> },
    /// A like or a follow: it gathers with others of its group.
    Gather { recipient: UserId, group: Group, post: Option<PostId>, comment: Option<CommentId> },
    /// A like or a follow was undone.
    TakeBack { recipient: UserId, group: Group, post: Option<PostId>, comment: Option<CommentId> },
    /// These two are in a block: neither is to find the other in his inbox.
    Part { one: UserId, other: UserId },
    /// It was deleted: nobody is to find it in his inbox, nor anything about the comments of a deleted post.
    Withdraw { post: PostId, comment: Option<CommentId> },
    /// The thread was muted: what gathers of it is not to become an entry.
    Hush { recipient: UserId, post: PostId },
}

/// People whose number has no bound: they are told page by page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crowd {
    /// Who follows this author and wants to hear of his posts.
    Followers(UserId),
    /// Who subscribed to this post's thread.
    Subscribers(PostId),
}

/// What stands beside an event, as far as it needs it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Scene<'a> {
    /// The post that it is about.
    pub post: Option<&'a PostRow>,
    /// The comment that it is about.
    pub comment: Option<&'a CommentRow>,
    /// What the comment answers.
    pub parent: Option<&'a CommentRow>,
    /// The users whom its text names.
    pub named: &'a [UserId],
    /// Who commented the post before.
    pub participants: &'a [UserId],
}

impl Errand {
    /// Whether it may take several pages: what comes after it in its lane waits for the last one.
    pub fn is_paged(&self) -> bool {
        matches!(self, Self::Tell { crowd: Some(_), .. } | Self::Withdraw { comment: None, .. })
    }

    /// How many are named in it, beside a crowd.
    pub fn people(&self) -> usize {
        match self {
            Self::Tell { people, .. } => people.len(),
            Self::Part { .. } => 2,
            _ => 1,
        }
    }

    /// The crowd that is to be told page by page.
    pub fn crowd(&self) -> Option<Crowd> {
        match self {
            Self::Tell { crowd, .. } => crowd.map(|(crowd, _)| crowd),
            _ => None,
        }
    }

    /// Tells a crowd that is small enough to be known together with the people beside it, who keep the reasons that they have.
    pub fn with_all_of_crowd(mut self, all: &[UserId], actor: UserId) -> Self {
        if let Self::Tell { people, crowd, .. } = &mut self
            && let Some((_, kind)) = crowd.take()
        {
            for user in all.iter().filter(|user| **user != actor) {
                people.entry(*user).or_insert(kind);
            }
        }
        self
    }
}

/// What an event asks of inboxes, if anything. What was deleted meanwhile tells nobody any more.
pub fn errand_of(event: &Event, scene: &Scene<'_>) -> Option<Errand> {
    let actor = event.author;
    let standing = scene.post.filter(|post| !post.deleted);
    let comment_standing = scene.comment.filter(|comment| !comment.deleted);
    let errand = match &event.happened {
        Happened::PostCreated { post, .. } => {
            standing?;
            let crowd = Some((Crowd::Followers(actor), NotificationKind::Post));
            Errand::Tell {
                people: strongest(actor, scene.named.iter().map(|user| (*user, NotificationKind::Mention))),
                crowd,
                post: *post,
                comment: None,
            }
        }
        Happened::PostEdited { post, mentions } if !mentions.is_empty() => {
            standing?;
            Errand::Tell {
                people: strongest(actor, scene.named.iter().map(|user| (*user, NotificationKind::Mention))),
                crowd: None,
                post: *post,
                comment: None,
            }
        }
        Happened::CommentCreated { post, comment, .. } => {
            let host = standing?.author;
            comment_standing?;
            let answered = scene.parent.filter(|parent| !parent.deleted).map(|parent| (parent.author, NotificationKind::Reply));
            let others = scene.participants.iter().chain([&host]).map(|user| (*user, NotificationKind::Comment));
            let named = scene.named.iter().map(|user| (*user, NotificationKind::Mention));
            let crowd = Some((Crowd::Subscribers(*post), NotificationKind::Comment));
            Errand::Tell {
                people: strongest(actor, answered.into_iter().chain(named).chain(others)),
                crowd,
                post: *post,
                comment: Some(*comment),
            }
        }
        Happened::CommentEdited { post, comment, mentions } if !mentions.is_empty() => {
            standing?;
            comment_standing?;
            let people = strongest(actor, scene.named.iter().map(|user| (*user, NotificationKind::Mention)));
            Errand::Tell { people, crowd: None, post: *post, comment: Some(*comment) }
        }
        Happened::PostLiked { post } => {
            let recipient = standing?.author;
            Errand::Gather { recipient, group: like_of_post(*post), post: Some(*post), comment: None }
        }
        Happened::PostUnliked { post } => {
            let recipient = scene.post?.author;
            Errand::TakeBack { recipient, group: like_of_post(*post), post: Some(*post), comment: None }
        }
        Happened::CommentLiked { post, comment } => {
            standing?;
            let recipient = comment_standing?.author;
            Errand::Gather { recipient, group: like_of_comment(*comment), post: Some(*post), comment: Some(*comment) }
        }
        Happened::CommentUnliked { post, comment } => {
            let recipient = scene.comment?.author;
            Errand::TakeBack { recipient, group: like_of_comment(*comment), post: Some(*post), comment: Some(*comment) }
        }
        Happened::Followed { followee } => Errand::Gather { recipient: *followee, group: FOLLOW, post: None, comment: None },
        Happened::Unfollowed { followee } => Errand::TakeBack { recipient: *followee, group: FOLLOW, post: None, comment: None },
        Happened::BlockSet { other, blocking: true } => Errand::Part { one: actor, other: *other },
        Happened::Subscribed { post, mode: SubscriptionMode::Muted } => Errand::Hush { recipient: actor, post: *post },
        Happened::PostDeleted { post } => Errand::Withdraw { post: *post, comment: None },
        Happened::CommentDeleted { post, comment } => Errand::Withdraw { post: *post, comment: Some(*comment) },
        _ => return None,
    };
    let to_himself = match &errand {
        Errand::Gather { recipient, .. } | Errand::TakeBack { recipient, .. } => *recipient == actor,
        Errand::Tell { people, crowd, .. } => people.is_empty() && crowd.is_none(),
        Errand::Part { .. } | Errand::Withdraw { .. } | Errand::Hush { .. } => false,
    };
    (!to_himself).then_some(errand)
}

const FOLLOW: Group = Group { kind: NotificationKind::Follow, target: Target::Me };

fn like_of_post(post: PostId) -> Group {
    Group { kind: NotificationKind::Like, target: Target::Post(post) }
}

fn like_of_comment(comment: CommentId) -> Group {
    Group { kind: NotificationKind::Like, target: Target::Comment(comment) }
}

/// The group of an entry that tells of a text.
pub fn group_of(kind: NotificationKind, author: UserId, post: PostId) -> Group {
    let target = if kind == NotificationKind::Post { Target::User(author) } else { Target::Post(post) };
    Group { kind, target }
}

/// Each person once, by the strongest reason, and never the actor.
fn strongest(actor: UserId, reasons: impl Iterator<Item = (UserId, NotificationKind)>) -> BTreeMap<UserId, NotificationKind> {
    let mut people = BTreeMap::new();
    for (user, kind) in reasons.filter(|(user, _)| *user != actor) {
        let known = people.entry(user).or_insert(kind);
        if strength(kind) > strength(*known) {
            *known = kind;
        }
    }
    people
}

fn strength(kind: NotificationKind) -> u8 {
    match kind {
        NotificationKind::Reply => 4,
        NotificationKind::Mention => 3,
        NotificationKind::Comment => 2,
        NotificationKind::Post => 1,
        NotificationKind::Like | NotificationKind::Follow => 0,
    }
}

/// One page of a crowd with the people beside it, in the order of their ids: from after `after` up to `through`, or to the end. Those who muted the
/// thread, and the actor, are left out.
pub fn merge_page(
    people: &BTreeMap<UserId, NotificationKind>,
    (page, kind): (&[UserId], NotificationKind),
    (after, through): (Option<UserId>, Option<UserId>),
    left_out: &HashSet<UserId>,
) -> Vec<(UserId, NotificationKind)> {
    let within = |user: &UserId| after.is_none_or(|after| *user > after) && through.is_none_or(|through| *user <= through);
    let mut merged: BTreeMap<UserId, NotificationKind> = page.iter().map(|user| (*user, kind)).collect();
    merged.extend(people.iter().filter(|(user, _)| within(user)).map(|(user, kind)| (*user, *kind)));
    merged.into_iter().filter(|(user, _)| !left_out.contains(user)).collect()
}

#[cfg(test)]
mod tests;
