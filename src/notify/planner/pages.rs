//! Events that take several pages: crowds that are told, and the comments of a deleted post. A page at a time is read and entered; where it goes
//! on is handed back, and what comes after it in its lane waits.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::super::audience::{Crowd, merge_page};
use super::super::book::{Cause, Notice, What};
use super::{Lines, PlanError, Planner, muted};
use crate::substrate::store::StoreError;
use crate::substrate::store::rows::Needs;
use crate::vocabulary::entry::{About, NotificationKind};
use crate::vocabulary::ids::{CommentId, Position, PostId, UserId};
use crate::vocabulary::owner::{Owner, ShardIndex};
use crate::vocabulary::relation::FollowNotify;

/// People of a crowd that are read at once.
const CROWD_PAGE: u64 = 1000;
/// Comments of a deleted post that are read at once, and that one statement withdraws.
const COMMENTS_PAGE: u64 = 500;

/// An event that takes several pages.
#[derive(Debug, Clone)]
pub struct OpenPages {
    pub(super) position: Position,
    pub(super) cause: Arc<Cause>,
    pub(super) rest: Rest,
}

/// What of it was not entered yet.
#[derive(Debug, Clone)]
pub(super) enum Rest {
    /// People to tell, after `after`.
    Crowd { lines: Lines, people: BTreeMap<UserId, NotificationKind>, crowd: (Crowd, NotificationKind), after: Option<UserId> },
    /// Comments of a deleted post, after `after`.
    Comments { post: PostId, after: Option<CommentId> },
}

impl Planner {
    /// Enters the next page.
    pub(super) async fn page(&self, open: OpenPages, notices: &mut Vec<(ShardIndex, Notice)>) -> Result<Option<OpenPages>, PlanError> {
        let OpenPages { position, cause, rest } = open;
        let rest = match rest {
            Rest::Comments { post, after } => {
                let mut snapshot = self.ground.store(self.shard).snapshot().await?;
                let page = snapshot.comments_by_id(post, after, COMMENTS_PAGE).await?;
                let last = page.last().copied();
                if let Some(last) = last {
                    notices.extend(self.withdrawn(position, last.raw(), &cause, About::Comments(post, page.as_slice().into())));
                }
                last.filter(|_| page.len() as u64 == COMMENTS_PAGE).map(|last| Rest::Comments { post, after: Some(last) })
            }
            Rest::Crowd { lines, people, crowd, after } => {
                let (page, last) = self.crowd_page(&cause, &people, crowd, after).await?;
                for (user, kind) in page {
                    if let Some(line) = lines.0.get(&kind) {
                        notices.push(self.addressed(position, user, &cause, What::Entry(Arc::clone(line))));
                    }
                }
                last.map(|last| Rest::Crowd { lines, people, crowd, after: Some(last) })
            }
        };
        Ok(rest.map(|rest| OpenPages { position, cause, rest }))
    }

    /// The next page of a crowd with the people beside it, and where it goes on.
    async fn crowd_page(
        &self,
        cause: &Cause,
        people: &BTreeMap<UserId, NotificationKind>,
        (crowd, kind): (Crowd, NotificationKind),
        after: Option<UserId>,
    ) -> Result<(Vec<(UserId, NotificationKind)>, Option<UserId>), PlanError> {
        let (page, post) = match crowd {
            Crowd::Followers(author) => (self.followers(author, after).await?, None),
            Crowd::Subscribers(post) => {
                let mut snapshot = self.ground.store(self.shard).snapshot().await?;
                (snapshot.subscribers_by_id(post, after, CROWD_PAGE).await?, Some(post))
            }
        };
        let last = page.last().copied().filter(|_| page.len() as u64 == CROWD_PAGE);
        let mut left_out = HashSet::from([cause.actor]);
        if let Some(post) = post {
            let mut snapshot = self.ground.store(self.shard).snapshot().await?;
            let asked = people.keys().map(|user| (post, *user)).collect();
            left_out.extend(muted(&mut snapshot, asked).await?.into_iter().map(|(_, user)| user));
        }
        Ok((merge_page(people, (&page, kind), (after, last), &left_out), last))
    }

    /// A page of those who want to hear of an author's posts.
    async fn followers(&self, author: UserId, after: Option<UserId>) -> Result<Vec<UserId>, StoreError> {
        let mut snapshot = self.ground.store(self.ground.place(&Owner::User(author))).snapshot().await?;
        let needs = Needs { user_counters: vec![author], ..Needs::default() };
        let counters = snapshot.rows_load(&needs).await?.counters.users;
        let followers = counters.get(&author).map_or(0, |counters| counters.followers);
        let many = u64::try_from(followers).is_ok_and(|followers| followers > self.automatic_up_to);
        let wishes = if many { [FollowNotify::Always].as_slice() } else { &[FollowNotify::Always, FollowNotify::Automatic] };
        snapshot.followers_by_id(author, wishes, after, CROWD_PAGE).await
    }
}
