//! Stand-ins for view, intake, sign-in and operations. Objects with certain ids have certain fates; everything else is not there.

use std::sync::Mutex;

use futures_util::future::{LocalBoxFuture, ready};

use crate::api::admin::{DeadLetter, JournalReport, LaneReport, OperationError, Operations, ShardReport, WorkersReport, WorkersSetting};
use crate::api::ports::{CommentPage, Reads, SignIn, Writes};
use crate::intake::accounts::{AccountError, AuthError, Client, Credentials, DecideError, Identity, Registration, SessionView};
use crate::intake::{Quota, Receipt, Seen, Submission, SubmitError, Wish, WriteState, WriteStatus};
use crate::ledger::freshness::LogMark;
use crate::ledger::shard_plan::{MemberPlan, ShardPlan, StrategyPlan, Wanted};
use crate::ledger::topology::plan::{Amount, Evenness};
use crate::ledger::view::{AuthorCard, CommentView, Order, Page, PostView, PostViewer, UserRef, UserView, UserViewer, ViewError};
use crate::substrate::store::rows::Role;
use crate::support::config::Strategy;
use crate::vocabulary::command::{Resource, SubscriptionMode, WriteKind};
use crate::vocabulary::ids::{CommentId, Position, PostId, SessionId, UserId, WriteId};
use crate::vocabulary::rejection::Rejection;
use crate::vocabulary::text::{CommentBody, DisplayName, PostBody, TextError, Username};

pub(super) const ANNA: UserId = UserId::from_raw(7);
pub(super) const BEN: UserId = UserId::from_raw(8);
pub(super) const POST: u64 = 42;
pub(super) const GONE: u64 = 43;
pub(super) const UNREADABLE: u64 = 44;
pub(super) const COMMENT: u64 = 100;
pub(super) const SESSION: SessionId = SessionId::from_raw(9);
pub(super) const WRITE: WriteId = WriteId::from_raw(1000);

/// What intake says to the next submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Fate {
    #[default]
    Accepted,
    Visible,
    Rejected,
    Replayed,
    Forbidden,
    Overloaded,
    Unavailable,
    TooFast,
    KeyReused,
    KeyInUse,
    Indefinite,
    Internal,
}

#[derive(Default)]
pub(in crate::api) struct Doubles {
    pub(super) fate: Mutex<Fate>,
    pub(super) submissions: Mutex<Vec<Submission>>,
    pub(super) clients: Mutex<Vec<Client>>,
    pub(super) unready: Mutex<Option<String>>,
    pub(super) setting: Mutex<Option<WorkersSetting>>,
}

impl Doubles {
    pub(super) fn will(&self, fate: Fate) {
        *self.fate.lock().expect("a lock") = fate;
    }

    pub(super) fn last(&self) -> Submission {
        self.submissions.lock().expect("a lock").last().expect("a submission").clone()
    }

    pub(super) fn count(&self) -> usize {
        self.submissions.lock().expect("a lock").len()
    }
}

fn done<T: 'static>(value: T) -> LocalBoxFuture<'static, T> {
    Box::pin(ready(value))
}

pub(super) fn card(user: UserId) -> AuthorCard {
    let name = if user == ANNA { "anna" } else { "ben" };
    AuthorCard {
        user,
        username: Username::parse(name).expect("a username"),
        display_name: DisplayName::parse(name).expect("a name"),
        bio: None,
        revision: Position(3),
    }
}

pub(super) fn user_view(viewer: Option<UserId>, user: UserId) -> UserView {
    let other = viewer.is_some_and(|viewer| viewer != user);
    UserView { card: card(user), followers: 1, following: 2, posts: 3, viewer: other.then(UserViewer::default) }
}

fn post_view(viewer: Option<UserId>, post: PostId) -> PostView {
    PostView {
        post,
        version: Position(12),
        revision: Position(5),
        author: card(ANNA),
        body: PostBody::parse("hello").expect("a body"),
        edited_at: None,
        likes: 1,
        comments: 2,
        viewer: viewer.map(|_| PostViewer { liked: true, subscription: SubscriptionMode::Default }),
    }
}

fn comment_view(viewer: Option<UserId>, comment: CommentId) -> CommentView {
    CommentView {
        comment,
        post: PostId::from_raw(POST),
        parent: None,
        revision: Position(6),
        author: card(BEN),
        body: (comment.raw() != COMMENT + 1).then(|| CommentBody::parse("a comment").expect("a body")),
        edited_at: None,
        likes: 0,
        liked: viewer.map(|_| false),
    }
}

fn fate_of(raw: u64) -> Result<(), ViewError> {
    match raw {
        POST => Ok(()),
        GONE => Err(ViewError::Gone),
        UNREADABLE => Err(ViewError::Unavailable { shard: "s1".to_owned() }),
        _ => Err(ViewError::NotFound),
    }
}

/// A page of the numbers below `before` and above 0, from the top.
fn numbers<K: Copy>(before: Option<u64>, limit: usize, total: u64, make: impl Fn(u64) -> K) -> (Vec<u64>, Option<K>) {
    let top = before.unwrap_or(total + 1);
    let items: Vec<u64> = (1..top).rev().take(limit).collect();
    let next = items.last().filter(|last| **last > 1).map(|last| make(*last));
    (items, next)
}

impl Reads for Doubles {
    fn is_seen_by_all(&self, _: LogMark) -> bool {
        true
    }

    fn post(&self, viewer: Option<UserId>, post: PostId) -> LocalBoxFuture<'_, Result<PostView, ViewError>> {
        done(fate_of(post.raw()).map(|()| post_view(viewer, post)))
    }

    fn comment(&self, viewer: Option<UserId>, post: PostId, comment: CommentId) -> LocalBoxFuture<'_, Result<CommentView, ViewError>> {
        let known = [COMMENT, COMMENT + 1].contains(&comment.raw());
        let answer = fate_of(post.raw()).and_then(|()| if known { Ok(comment_view(viewer, comment)) } else { Err(ViewError::NotFound) });
        done(answer)
    }

    fn comments(
        &self,
        viewer: Option<UserId>,
        post: PostId,
        order: Order,
        after: Option<CommentId>,
        limit: usize,
    ) -> LocalBoxFuture<'_, Result<CommentPage, ViewError>> {
        let mut ids: Vec<u64> = (COMMENT..COMMENT + 5).collect();
        if order == Order::Descending {
            ids.reverse();
        }
        let rest = ids.iter().position(|id| after.is_some_and(|after| after.raw() == *id)).map_or(0, |place| place + 1);
        let items: Vec<_> = ids[rest..].iter().take(limit).map(|id| comment_view(viewer, CommentId::from_raw(*id))).collect();
        let next = items.last().filter(|_| rest + items.len() < ids.len()).map(|comment| comment.comment);
        done(fate_of(post.raw()).map(|()| (Page { items, next }, Position(12))))
    }

    fn post_likes(
        &self,
        viewer: Option<UserId>,
        post: PostId,
        before: Option<UserId>,
        limit: usize,
    ) -> LocalBoxFuture<'_, Result<Page<UserView, UserId>, ViewError>> {
        let (items, next) = numbers(before.map(UserId::raw), limit, 5, UserId::from_raw);
        let items = items.into_iter().map(|id| user_view(viewer, UserId::from_raw(id))).collect();
        done(fate_of(post.raw()).map(|()| Page { items, next }))
    }

    fn user(&self, viewer: Option<UserId>, user: UserRef) -> LocalBoxFuture<'_, Result<UserView, ViewError>> {
        let found = match user {
            UserRef::Id(user) => [ANNA, BEN].into_iter().find(|known| *known == user),
            UserRef::Name(name) => [ANNA, BEN].into_iter().find(|known| card(*known).username == name),
        };
        done(found.map(|user| user_view(viewer, user)).ok_or(ViewError::NotFound))
    }

    fn user_posts(
        &self,
        viewer: Option<UserId>,
        _: UserId,
        before: Option<PostId>,
        limit: usize,
    ) -> LocalBoxFuture<'_, Result<Page<PostView, PostId>, ViewError>> {
        let (items, next) = numbers(before.map(PostId::raw), limit, 5, PostId::from_raw);
        done(Ok(Page { items: items.into_iter().map(|id| post_view(viewer, PostId::from_raw(id))).collect(), next }))
    }

    fn followers(
        &self,
        viewer: Option<UserId>,
        _: UserId,
        before: Option<Position>,
        limit: usize,
    ) -> LocalBoxFuture<'_, Result<Page<UserView, Position>, ViewError>> {
        let (items, next) = numbers(before.map(|position| position.0), limit, 5, Position);
        done(Ok(Page { items: items.into_iter().map(|id| user_view(viewer, UserId::from_raw(id))).collect(), next }))
    }

    fn following(
        &self,
        viewer: Option<UserId>,
        user: UserId,
        before: Option<Position>,
        limit: usize,
    ) -> LocalBoxFuture<'_, Result<Page<UserView, Position>, ViewError>> {
        self.followers(viewer, user, before, limit)
    }

    fn feed(&self, viewer: UserId, before: Option<PostId>, limit: usize) -> LocalBoxFuture<'_, Result<Page<PostView, PostId>, ViewError>> {
        self.user_posts(Some(viewer), viewer, before, limit)
    }
}

fn status(wish: Option<&Wish>, state: WriteState) -> WriteStatus {
    let post = PostId::from_raw(POST);
    let (kind, resource) = match wish {
        Some(Wish::CreateComment { .. }) => (WriteKind::CommentCreate, Resource::Comment(post, CommentId::from_raw(COMMENT))),
        Some(Wish::SetFollow { followee, .. }) => (WriteKind::FollowSet, Resource::User(*followee)),
        Some(Wish::SetPostLike { .. }) => (WriteKind::LikeSet, Resource::Post(post)),
        Some(Wish::EditProfile { .. }) => (WriteKind::ProfileEdit, Resource::User(ANNA)),
        _ => (WriteKind::PostCreate, Resource::Post(post)),
    };
    WriteStatus { write: WRITE, kind, resource, state, accepted_at: Some(1_735_689_600_001), committed_at: None, visible_at: None }
}

impl Writes for Doubles {
    fn submit(&self, submission: Submission) -> LocalBoxFuture<'_, Result<Receipt, SubmitError>> {
        let wish = submission.wish.clone();
        self.submissions.lock().expect("a lock").push(submission);
        let quota = Quota { limit: 600, remaining: 0, reset_s: 7, window_s: 60 };
        let fate = *self.fate.lock().expect("a lock");
        let (state, replayed) = match fate {
            Fate::Accepted => (WriteState::Accepted, false),
            Fate::Visible => (WriteState::Visible, false),
            Fate::Rejected => (WriteState::Rejected(Rejection::Gone), false),
            Fate::Replayed => (WriteState::Visible, true),
            Fate::Forbidden => return done(Err(SubmitError::Refused(Rejection::Forbidden))),
            Fate::Overloaded => return done(Err(SubmitError::Overloaded { retry_after_s: 4 })),
            Fate::Unavailable => return done(Err(SubmitError::Unavailable { shard: "s1".to_owned(), retry_after_s: 0 })),
            Fate::TooFast => return done(Err(SubmitError::TooFast { retry_after_s: 7, quota })),
            Fate::KeyReused => return done(Err(SubmitError::KeyReused)),
            Fate::KeyInUse => return done(Err(SubmitError::KeyInUse)),
            Fate::Indefinite => return done(Err(SubmitError::Indefinite)),
            Fate::Internal => return done(Err(SubmitError::Internal("a secret of the database".into()))),
        };
        let seen = match &wish {
            Wish::DeletePost { .. } | Wish::DeleteComment { .. } => Seen::Nothing,
            Wish::CreateComment { .. } => Seen::Comment(Box::new(comment_view(Some(ANNA), CommentId::from_raw(COMMENT)))),
            Wish::SetFollow { followee: user, .. } | Wish::SetBlock { other: user, .. } | Wish::SetMute { other: user, .. } => {
                Seen::User(Box::new(user_view(Some(ANNA), *user)))
            }
            Wish::EditProfile { .. } => Seen::User(Box::new(user_view(Some(ANNA), ANNA))),
            _ => Seen::Post(Box::new(post_view(Some(ANNA), PostId::from_raw(POST)))),
        };
        done(Ok(Receipt { status: status(Some(&wish), state), seen, replayed, position: Position(99) }))
    }

    fn write_status(&self, author: UserId, write: WriteId) -> LocalBoxFuture<'_, Result<Option<WriteStatus>, SubmitError>> {
        let own = author == ANNA && write == WRITE;
        done(Ok(own.then(|| status(None, WriteState::Rejected(Rejection::PreconditionFailed)))))
    }
}

fn credentials() -> Credentials {
    Credentials {
        user: ANNA,
        session: SESSION,
        access_token: "access".to_owned(),
        expires_in_s: 600,
        refresh_token: "refresh".to_owned(),
        refresh_expires_in_s: 2_592_000,
        position: Some(Position(98)),
    }
}

impl SignIn for Doubles {
    fn authenticate<'a>(&'a self, bearer: &'a str) -> LocalBoxFuture<'a, Result<Identity, AuthError>> {
        let identity = |user, role| Identity { user, session: Some(SESSION), role, expires_at: u64::MAX };
        done(match bearer {
            "token-of-anna" => Ok(identity(ANNA, Role::User)),
            "token-of-ben" => Ok(identity(BEN, Role::User)),
            "token-of-an-operator" => Ok(identity(BEN, Role::Admin)),
            "token-of-a-dark-shard" => Err(AuthError::Unavailable { retry_after_s: 1 }),
            _ => Err(AuthError::SessionEnded),
        })
    }

    fn register(&self, registration: Registration, client: Client) -> LocalBoxFuture<'_, Result<Credentials, AccountError>> {
        self.clients.lock().expect("a lock").push(client);
        done(match registration.username.as_str() {
            "taken" => Err(AccountError::UsernameTaken),
            "x" => Err(AccountError::Text { field: "username", source: TextError::TooShort { min: 3, found: 1 } }),
            _ => Ok(credentials()),
        })
    }

    fn login(&self, _: String, password: String, client: Client) -> LocalBoxFuture<'_, Result<Credentials, AccountError>> {
        self.clients.lock().expect("a lock").push(client);
        done(match password.as_str() {
            "right" => Ok(credentials()),
            "often" => Err(AccountError::TooMany { retry_after_s: 30 }),
            "slow" => Err(AccountError::Decide(DecideError::Indefinite)),
            _ => Err(AccountError::WrongCredentials),
        })
    }

    fn refresh(&self, refresh_token: String) -> LocalBoxFuture<'_, Result<Credentials, AccountError>> {
        done(if refresh_token == "refresh" { Ok(credentials()) } else { Err(AccountError::SessionEnded) })
    }

    fn logout(&self, _: Identity) -> LocalBoxFuture<'_, Result<(), AccountError>> {
        done(Ok(()))
    }

    fn sessions(&self, _: Identity) -> LocalBoxFuture<'_, Result<Vec<SessionView>, AccountError>> {
        let line = |session, current| SessionView { session, device: "a phone".to_owned(), created_at: 0, last_used_at: 1, current };
        done(Ok(vec![line(SESSION, true), line(SessionId::from_raw(10), false)]))
    }

    fn end_session(&self, _: UserId, session: SessionId) -> LocalBoxFuture<'_, Result<(), AccountError>> {
        done(if session == SESSION { Ok(()) } else { Err(AccountError::SessionNotFound) })
    }

    fn change_password(&self, _: Identity, current: String, _: String) -> LocalBoxFuture<'_, Result<(), AccountError>> {
        done(if current == "right" { Ok(()) } else { Err(AccountError::WrongPassword) })
    }

    fn jwks(&self) -> serde_json::Value {
        serde_json::json!({"keys": []})
    }
}

impl Operations for Doubles {
    fn unready(&self) -> Option<String> {
        self.unready.lock().expect("a lock").clone()
    }

    fn shard_of(&self, _: u64) -> String {
        "s1".to_owned()
    }

    fn metrics(&self) -> String {
        "sosik_up 1\n".to_owned()
    }

    fn shards(&self) -> LocalBoxFuture<'_, Result<Vec<ShardReport>, OperationError>> {
        let report =
            ShardReport { index: 0, name: "s1".to_owned(), state: "serving".to_owned(), pending: 0, dead_letters: 1, standbys: Vec::new() };
        done(Ok(vec![report]))
    }

    fn lanes(&self) -> LocalBoxFuture<'_, Result<Vec<LaneReport>, OperationError>> {
        done(Ok(Vec::new()))
    }

    fn workers(&self) -> LocalBoxFuture<'_, Result<Vec<WorkersReport>, OperationError>> {
        done(Ok(Vec::new()))
    }

    fn set_workers(&self, setting: WorkersSetting) -> LocalBoxFuture<'_, Result<(), OperationError>> {
        *self.setting.lock().expect("a lock") = Some(setting);
        done(Ok(()))
    }

    fn journal(&self) -> LocalBoxFuture<'_, Result<JournalReport, OperationError>> {
        done(Ok(JournalReport {
            id: "j".to_owned(),
            first: 1,
            durable: 9,
            waiting_entries: 2,
            waiting_bytes: 3,
            disk_bytes: 10,
            bytes_max: 11,
        }))
    }

    fn plan(&self, wanted: Wanted) -> LocalBoxFuture<'_, Result<ShardPlan, OperationError>> {
        done(if wanted.members() == ["busy"] { Err(OperationError::Busy { retry_after_s: 7 }) } else { Ok(plan(&wanted)) })
    }

    fn dead_letters(&self, _: Option<WriteId>, _: usize) -> LocalBoxFuture<'_, Result<Vec<DeadLetter>, OperationError>> {
        done(Ok(vec![dead_letter()]))
    }

    fn dead_letter(&self, write: WriteId) -> LocalBoxFuture<'_, Result<DeadLetter, OperationError>> {
        done(if write == WRITE { Ok(dead_letter()) } else { Err(OperationError::NotFound) })
    }

    fn retry(&self, write: WriteId) -> LocalBoxFuture<'_, Result<(), OperationError>> {
        done(if write == WRITE { Ok(()) } else { Err(OperationError::NotFound) })
    }

    fn discard(&self, write: WriteId) -> LocalBoxFuture<'_, Result<(), OperationError>> {
        self.retry(write)
    }
}

fn plan(wanted: &Wanted) -> ShardPlan {
    let half = Amount { rows: 6, owners: 3 };
    let strategies = wanted.strategies().iter().map(|strategy| StrategyPlan {
        strategy: *strategy,
        moved: half,
        moved_first: Amount::default(),
        evenness: Evenness { fullest: 1.5, emptiest: 0.5 },
        members: wanted.members().iter().map(|name| MemberPlan { name: name.clone(), held: half }).collect(),
        wall: "a wall".to_owned(),
    });
    ShardPlan {
        strategy: Strategy::Directory,
        from: vec!["s1".to_owned()],
        to: wanted.members().to_vec(),
        all: Amount { rows: 12, owners: 6 },
        largest: 2,
        strategies: strategies.collect(),
    }
}

fn dead_letter() -> DeadLetter {
    DeadLetter { write: WRITE, shard: "s1".to_owned(), lane: 3, position: 5, kind: "like.set", error: "e".to_owned(), died_at: 0 }
}
