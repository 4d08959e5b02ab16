//! Events become notices: reads what happened in a lane, and who is to be told of it.
//!
//! How far each lane was planned goes in; notices with their destinations, and how far it is planned then, come out. Everything is read from
//! committed rows. A crowd comes a page at a time: where it goes on is handed back.

mod pages;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

pub use self::pages::OpenPages;
use self::pages::Rest;
use super::Ground;
use super::audience::{Crowd, Errand, Scene, errand_of, group_of};
use super::book::{Cause, Notice, What};
use super::participants::{COMMENTS_LOOKED_THROUGH, Participants};
use crate::substrate::store::rows::{Needs, Rows};
use crate::substrate::store::{NoticeMark, Snapshot, StoreError};
use crate::vocabulary::command::SubscriptionMode;
use crate::vocabulary::entry::{About, InboxLine, NotificationKind};
use crate::vocabulary::event::{Event, Happened, decode_events};
use crate::vocabulary::ids::{CommentId, Position, PostId, UserId};
use crate::vocabulary::owner::{Lane, NameKey, Owner, ShardIndex};
use crate::vocabulary::text::Username;

/// Event rows of a lane that are read at once.
const EVENT_ROWS: u64 = 16;
/// Events of a lane that one look takes up: a row holds a whole batch's, and what stands beside each of them is read, too.
pub(super) const LANE_EVENTS_MAX: usize = 2_048;
/// The most subscribers of a post that are told with a comment's other people. More are told page by page.
const FEW_SUBSCRIBERS: u64 = 64;
/// Notices that one look plans for all its lanes. Each lane gets an event or a page in any case, so that none waits for the others.
pub(super) const LOOK_NOTICES_MAX: usize = 20_000;
/// Why nothing was planned.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    #[error("a shard could not be read")]
    Store(#[from] StoreError),
    #[error("an event row cannot be read")]
    Event(#[from] postcard::Error),
}

/// What is asked of one lane.
#[derive(Debug, Clone)]
pub struct LaneAsked {
    pub lane: Lane,
    /// All events up to here are planned.
    pub planned: Position,
    /// Events after this cannot be seen by everybody yet.
    pub visible: Position,
    /// An event that was not planned to its end.
    pub open: Option<OpenPages>,
}

/// What came of it.
#[derive(Debug)]
pub struct LanePlan {
    pub lane: Lane,
    /// How many events were planned.
    pub events: usize,
    pub notices: Vec<(ShardIndex, Notice)>,
    pub planned: Position,
    pub open: Option<OpenPages>,
    /// Events were read, and left for the next look.
    pub more: bool,
}

/// Who has muted which thread, of those who were asked about: most are nobody.
type Muted = HashSet<(PostId, UserId)>;

/// The lines of one cause, one for each kind.
#[derive(Debug, Clone)]
struct Lines(BTreeMap<NotificationKind, Arc<InboxLine>>);

impl Lines {
    fn of(event: &Event, kinds: impl Iterator<Item = NotificationKind>, post: PostId, comment: Option<CommentId>) -> Self {
        let line = |kind| InboxLine {
            group: group_of(kind, event.author, post),
            actors: vec![event.author],
            count: 1,
            post: Some(post),
            comment,
            created_at: event.accepted_at,
        };
        Self(kinds.map(|kind| (kind, Arc::new(line(kind)))).collect())
    }
}

/// Plans the lanes of one shard.
pub struct Planner {
    ground: Arc<dyn Ground>,
    shard: ShardIndex,
    participants: Participants,
    /// Followers who did not ask for it are told up to this number of them.
    automatic_up_to: u64,
}

impl Planner {
    pub fn new(ground: Arc<dyn Ground>, shard: ShardIndex, cache_bytes: u64, automatic_up_to: u64) -> Self {
        Self { ground, shard, participants: Participants::new(cache_bytes), automatic_up_to }
    }

    /// Plans some lanes, each as far as one look goes. A shard that does not answer fails only the lanes that need it; the own one fails all.
    pub async fn plan(&self, asked: Vec<LaneAsked>) -> Result<Vec<(Lane, Result<LanePlan, PlanError>)>, PlanError> {
        let mut plans = Vec::with_capacity(asked.len());
        let mut fresh = Vec::new();
        let mut room = LOOK_NOTICES_MAX;
        for lane in asked {
            match lane.open {
                Some(open) => {
                    let plan = self.go_on(lane.lane, open).await;
                    room = room.saturating_sub(notices_in(&plan));
                    plans.push((lane.lane, plan));
                }
                None => fresh.push(lane),
            }
        }
        let mut snapshot = self.ground.store(self.shard).snapshot().await?;
        let (mut needs, mut read) = (Needs::default(), Vec::with_capacity(fresh.len()));
        for asked in fresh {
            let lane = asked.lane;
            match read_lane(&mut snapshot, asked).await {
                Ok(found) => {
                    found.events.iter().for_each(|event| needs_of(event, &mut needs));
                    read.push(found);
                }
                Err(error) => plans.push((lane, Err(error))),
            }
        }
        let rows = snapshot.rows_load(&needs).await?;
        // Most likes and comments are for the authors of their posts, so these are asked for all at once.
        let mut muted = muted(&mut snapshot, rows.posts.values().map(|row| (row.post, row.author)).collect()).await?;
        let few = few_subscribers(&mut snapshot, &read).await?;
        // What lanes with few events leave of their share is for the others.
        read.sort_by_key(|found| found.events.len());
        let mut lanes_left = read.len();
        for found in read {
            let (lane, share) = (found.lane, room / lanes_left);
            let plan = self.plan_lane(&mut snapshot, found, &Known { rows: &rows, few: &few }, share, &mut muted).await;
            lanes_left -= 1;
            if plan.is_err() {
                // Some of its comments may have been counted in already; they come again.
                self.participants.forget_all();
            }
            room = room.saturating_sub(notices_in(&plan));
            plans.push((lane, plan));
        }
        Ok(plans)
    }

    /// Plans a lane up to about so many notices; what comes after them is for another look.
    async fn plan_lane(
        &self,
        snapshot: &mut Snapshot,
        lane: LaneRead,
        known: &Known<'_>,
        most: usize,
        muted: &mut Muted,
    ) -> Result<LanePlan, PlanError> {
        let named = self.resolve(&lane.events).await?;
        let LaneRead { lane: number, through, more, .. } = lane;
        let mut plan = LanePlan { lane: number, events: 0, notices: Vec::new(), planned: through, open: None, more };
        let mut events = lane.events.iter();
        loop {
            // Up to what may take several pages: who may be told of what comes after it is found out when it is done.
            let (mut errands, mut people) = (Vec::new(), plan.notices.len());
            for event in events.by_ref() {
                plan.events += 1;
                let Some(errand) = self.errand(snapshot, event, known, &named).await? else { continue };
                people += errand.people();
                let is_paged = errand.is_paged();
                errands.push((event, errand));
                if is_paged || people >= most {
                    break;
                }
            }
            let Some(last) = errands.last().map(|(event, _)| event.position) else { return Ok(plan) };
            muted.extend(muted_by(snapshot, &errands, known.rows).await?);
            for (event, errand) in errands {
                if let Some(open) = self.enter(event, errand, known.rows, muted, &mut plan.notices).await? {
                    // The rest of the lane waits until this event is planned to its end.
                    plan.planned = Position(event.position.0 - 1);
                    plan.open = Some(open);
                    return Ok(plan);
                }
            }
            if plan.notices.len() >= most && !events.as_slice().is_empty() {
                plan.planned = last;
                plan.more = true;
                return Ok(plan);
            }
        }
    }

    async fn errand(
        &self,
        snapshot: &mut Snapshot,
        event: &Event,
        known: &Known<'_>,
        named: &HashMap<Username, UserId>,
    ) -> Result<Option<Errand>, PlanError> {
        let rows = known.rows;
        let of = Objects::of(&event.happened);
        let named: Vec<UserId> = mentions_of(&event.happened).iter().filter_map(|name| named.get(name).copied()).collect();
        let participants = match &event.happened {
            Happened::CommentCreated { post, comment, .. } => self.participants(snapshot, *post, *comment, event.author).await?,
            Happened::CommentDeleted { post, .. } | Happened::PostDeleted { post } => {
                self.participants.forget(*post);
                Vec::new()
            }
            _ => Vec::new(),
        };
        let scene = Scene {
            post: of.post.and_then(|post| rows.posts.get(&post)),
            comment: of.comment.and_then(|comment| rows.comments.get(&comment)),
            parent: of.parent.and_then(|parent| rows.comments.get(&parent)),
            named: &named,
            participants: &participants,
        };
        let errand = errand_of(event, &scene);
        Ok(errand.map(|errand| match errand.crowd() {
            Some(Crowd::Subscribers(post)) => match known.few.get(&post) {
                Some(all) => errand.with_all_of_crowd(all, event.author),
                None => errand,
            },
            _ => errand,
        }))
    }

    /// Who commented a post before this comment; the commenter is one of them from now on.
    async fn participants(
        &self,
        snapshot: &mut Snapshot,
        post: PostId,
        comment: CommentId,
        author: UserId,
    ) -> Result<Vec<UserId>, StoreError> {
        let participants = match self.participants.of(post) {
            Some(known) => known,
            None => {
                let commenters = snapshot.commenters(post, comment, COMMENTS_LOOKED_THROUGH).await?;
                self.participants.keep(post, commenters)
            }
        };
        self.participants.commented(post, author);
        Ok(participants)
    }

    /// Turns an errand into notices. What has more than one page comes back.
    async fn enter(
        &self,
        event: &Event,
        errand: Errand,
        rows: &Rows,
        muted: &Muted,
        notices: &mut Vec<(ShardIndex, Notice)>,
    ) -> Result<Option<OpenPages>, PlanError> {
        let post = Objects::of(&event.happened).post;
        let host = post.and_then(|post| rows.posts.get(&post)).map(|row| row.author);
        let cause = Arc::new(Cause { actor: event.author, host: host.filter(|host| *host != event.author), at: event.accepted_at });
        let single = |recipient: UserId, what: What| self.addressed(event.position, recipient, &cause, what);
        match errand {
            Errand::Gather { recipient, group, post, comment } => {
                if !post.is_some_and(|post| muted.contains(&(post, recipient))) {
                    let line = InboxLine { group, actors: vec![event.author], count: 1, post, comment, created_at: event.accepted_at };
                    notices.push(single(recipient, What::Gather(Arc::new(line))));
                }
            }
            Errand::TakeBack { recipient, group, post, comment } => {
                notices.push(single(recipient, What::TakeBack { group, post, comment }));
            }
            Errand::Part { one, other } => {
                notices.extend([(one, other), (other, one)].map(|(recipient, apart)| single(recipient, What::Part(apart))));
                notices.sort_by_key(|(_, notice)| notice.mark);
            }
            Errand::Hush { recipient, post } => notices.push(single(recipient, What::Hush(post))),
            Errand::Withdraw { post, comment: Some(comment) } => {
                notices.extend(self.withdrawn(event.position, 0, &cause, About::Comments(post, [comment].into())));
            }
            Errand::Withdraw { post, comment: None } => {
                notices.extend(self.withdrawn(event.position, 0, &cause, About::Post(post)));
                let rest = Rest::Comments { post, after: None };
                return self.page(OpenPages { position: event.position, cause, rest }, notices).await;
            }
            Errand::Tell { people, crowd, post, comment } => {
                let kinds = people.values().copied().chain(crowd.map(|(_, kind)| kind));
                let lines = Lines::of(event, kinds, post, comment);
                let Some(crowd) = crowd else {
                    let told = people.into_iter().filter(|(user, _)| !muted.contains(&(post, *user)));
                    notices.extend(told.filter_map(|(user, kind)| Some(single(user, What::Entry(Arc::clone(lines.0.get(&kind)?))))));
                    return Ok(None);
                };
                let rest = Rest::Crowd { lines, people, crowd, after: None };
                return self.page(OpenPages { position: event.position, cause, rest }, notices).await;
            }
        }
        Ok(None)
    }

    async fn go_on(&self, lane: Lane, open: OpenPages) -> Result<LanePlan, PlanError> {
        let mut notices = Vec::new();
        let position = open.position;
        let open = self.page(open, &mut notices).await?;
        let planned = if open.is_some() { Position(position.0 - 1) } else { position };
        Ok(LanePlan { lane, events: 0, notices, planned, open, more: false })
    }

    /// A notice for each shard: whoever was told may live anywhere.
    fn withdrawn(&self, position: Position, place: u64, cause: &Arc<Cause>, about: About) -> Vec<(ShardIndex, Notice)> {
        let notice = Notice { mark: NoticeMark { position, recipient: place }, cause: Arc::clone(cause), what: What::Withdraw(about) };
        (0..self.ground.shards()).map(|shard| (ShardIndex(shard), notice.clone())).collect()
    }

    fn addressed(&self, position: Position, recipient: UserId, cause: &Arc<Cause>, what: What) -> (ShardIndex, Notice) {
        let mark = NoticeMark { position, recipient: recipient.raw() };
        (self.ground.place(&Owner::Inbox(recipient)), Notice { mark, cause: Arc::clone(cause), what })
    }

    /// The users behind the names of some texts; names that nobody has are left out.
    async fn resolve(&self, events: &[Event]) -> Result<HashMap<Username, UserId>, StoreError> {
        let mut by_shard: HashMap<ShardIndex, Vec<(Username, NameKey)>> = HashMap::new();
        for name in events.iter().flat_map(|event| mentions_of(&event.happened)) {
            let key = NameKey::of_username(name);
            by_shard.entry(self.ground.place(&Owner::Name(key.clone()))).or_default().push((name.clone(), key));
        }
        let mut users = HashMap::new();
        for (shard, names) in by_shard {
            let needs = Needs { names: names.iter().map(|(_, key)| key.clone()).collect(), ..Needs::default() };
            let rows = self.ground.store(shard).snapshot().await?.rows_load(&needs).await?;
            users.extend(names.into_iter().filter_map(|(name, key)| Some((name, rows.names.get(&key)?.user))));
        }
        Ok(users)
    }
}

fn notices_in(plan: &Result<LanePlan, PlanError>) -> usize {
    plan.as_ref().map_or(0, |plan| plan.notices.len())
}

/// What was read for all lanes at once.
struct Known<'a> {
    rows: &'a Rows,
    /// All subscribers of the commented posts that have few.
    few: &'a HashMap<PostId, Vec<UserId>>,
}

/// What was read of a lane.
struct LaneRead {
    lane: Lane,
    events: Vec<Event>,
    /// There are no other events up to here.
    through: Position,
    /// There are more in the rows that were read.
    more: bool,
}

async fn read_lane(snapshot: &mut Snapshot, asked: LaneAsked) -> Result<LaneRead, PlanError> {
    let LaneAsked { lane, planned, visible, .. } = asked;
    let rows = snapshot.events_after(lane, planned, EVENT_ROWS).await?;
    // A row is a batch's: it may hold events on both sides of what can be seen.
    let last = rows.last().map(|row| row.position).filter(|_| rows.len() as u64 == EVENT_ROWS);
    let mut through = last.map_or(visible, |last| last.min(visible));
    let mut events = Vec::new();
    for row in &rows {
        events.extend(decode_events(&row.payload)?.into_iter().filter(|event| event.position > planned && event.position <= visible));
        if events.len() > LANE_EVENTS_MAX {
            break;
        }
    }
    let more = events.len() > LANE_EVENTS_MAX;
    if more {
        events.truncate(LANE_EVENTS_MAX);
        through = events.last().map_or(planned, |event: &Event| event.position);
    }
    Ok(LaneRead { lane, events, through, more })
}

/// The objects that an event is about.
#[derive(Debug, Default)]
struct Objects {
    post: Option<PostId>,
    comment: Option<CommentId>,
    parent: Option<CommentId>,
}

impl Objects {
    fn of(happened: &Happened) -> Self {
        let (post, comment, parent) = match happened {
            Happened::PostCreated { post, .. }
            | Happened::PostEdited { post, .. }
            | Happened::PostLiked { post }
            | Happened::PostUnliked { post } => (post, None, None),
            Happened::CommentCreated { post, comment, parent, .. } => (post, Some(*comment), *parent),
            Happened::CommentEdited { post, comment, .. }
            | Happened::CommentLiked { post, comment }
            | Happened::CommentUnliked { post, comment } => (post, Some(*comment), None),
            _ => return Self::default(),
        };
        Self { post: Some(*post), comment, parent }
    }
}

fn needs_of(event: &Event, needs: &mut Needs) {
    let of = Objects::of(&event.happened);
    needs.posts.extend(of.post);
    needs.comments.extend(of.comment);
    needs.comments.extend(of.parent);
}

async fn few_subscribers(snapshot: &mut Snapshot, lanes: &[LaneRead]) -> Result<HashMap<PostId, Vec<UserId>>, StoreError> {
    let commented = lanes.iter().flat_map(|lane| &lane.events).filter_map(|event| match event.happened {
        Happened::CommentCreated { post, .. } => Some(post),
        _ => None,
    });
    let posts: Vec<PostId> = commented.collect::<HashSet<_>>().into_iter().collect();
    let mut first = snapshot.first_subscribers(&posts, FEW_SUBSCRIBERS).await?;
    first.retain(|_, users| (users.len() as u64) < FEW_SUBSCRIBERS);
    Ok(first)
}

/// Which of the people whom these errands are about have muted the thread. The authors of posts were asked about before; a crowd asks for itself,
/// page by page.
async fn muted_by(snapshot: &mut Snapshot, errands: &[(&Event, Errand)], rows: &Rows) -> Result<Muted, StoreError> {
    let mut asked = Vec::new();
    let mut ask = |post: PostId, user: UserId| {
        if rows.posts.get(&post).is_none_or(|row| row.author != user) {
            asked.push((post, user));
        }
    };
    for (_, errand) in errands {
        match errand {
            Errand::Gather { recipient, post: Some(post), .. } => ask(*post, *recipient),
            Errand::Tell { people, crowd: None, post, .. } => people.keys().for_each(|user| ask(*post, *user)),
            _ => {}
        }
    }
    muted(snapshot, asked).await
}

async fn muted(snapshot: &mut Snapshot, asked: Vec<(PostId, UserId)>) -> Result<Muted, StoreError> {
    if asked.is_empty() {
        return Ok(Muted::new());
    }
    let stored = snapshot.rows_load(&Needs { subscriptions: asked, ..Needs::default() }).await?.subscriptions;
    Ok(stored.into_iter().filter(|(_, row)| row.mode == SubscriptionMode::Muted).map(|(key, _)| key).collect())
}

fn mentions_of(happened: &Happened) -> &[Username] {
    match happened {
        Happened::PostCreated { mentions, .. }
        | Happened::PostEdited { mentions, .. }
        | Happened::CommentCreated { mentions, .. }
        | Happened::CommentEdited { mentions, .. } => mentions,
        _ => &[],
    }
}
