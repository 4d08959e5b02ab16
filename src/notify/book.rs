//! Who is still to be told, by lane and destination: the dispatcher's book of one source shard. A pure value.
//!
//! Notices go in, in the order of a lane's marks; parcels for destinations come out; arrivals go in; how far each lane is done comes
//! out. A destination that is down holds up only its own people.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;

use crate::substrate::store::NoticeMark;
use crate::substrate::store::rows::SourceLane;
use crate::vocabulary::Millis;
use crate::vocabulary::entry::{About, Group, InboxLine};
use crate::vocabulary::ids::{CommentId, Position, PostId, UserId};
use crate::vocabulary::owner::{Lane, ShardIndex};

/// Notices in one delivery: as many as make a transaction worth it, few enough not to hold up a shard's writes.
pub const PARCEL_NOTICES_MAX: usize = 2000;

/// Whose doing it was, shared by all who are told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    pub actor: UserId,
    /// Whose post it is about.
    pub host: Option<UserId>,
    pub at: Millis,
}

/// What is to become of one inbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// It gets an entry.
    Entry(Arc<InboxLine>),
    /// It gets an entry, or its window one more person.
    Gather(Arc<InboxLine>),
    /// A person is taken out of the window, or his single entry withdrawn.
    TakeBack { group: Group, post: Option<PostId>, comment: Option<CommentId> },
    /// What this person alone did is withdrawn.
    Part(UserId),
    /// Of all inboxes of the shard: what is about this is withdrawn.
    Withdraw(About),
    /// Likes of this post and of its comments that still gather are forgotten.
    Hush(PostId),
}

/// One inbox and what it is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The event's position, and the recipient. If it is about all inboxes of the shard: 0, or the last of a page of comments.
    pub mark: NoticeMark,
    pub cause: Arc<Cause>,
    pub what: What,
}

impl Notice {
    pub fn recipient(&self) -> UserId {
        UserId::from_raw(self.mark.recipient)
    }
}

/// Notices from one lane for one destination, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parcel {
    pub source: SourceLane,
    pub known: NoticeMark,
    pub next: NoticeMark,
    pub notices: Vec<Notice>,
}

#[derive(Debug, Default)]
struct Route {
    /// How far the destination was told; `None` until it was asked.
    cursor: Option<NoticeMark>,
    queue: VecDeque<Notice>,
}

#[derive(Debug, Default)]
struct LaneBook {
    /// The notices of all events up to here were entered.
    planned: Position,
    reported: Position,
    /// Notices that have not arrived, by the position of their event.
    owed: BTreeMap<Position, usize>,
}

/// The book of one source shard.
#[derive(Debug)]
pub struct Book {
    source: ShardIndex,
    routes: HashMap<(Lane, ShardIndex), Route>,
    lanes: HashMap<Lane, LaneBook>,
    waiting: usize,
}

impl Book {
    pub fn new(source: ShardIndex) -> Self {
        Self { source, routes: HashMap::new(), lanes: HashMap::new(), waiting: 0 }
    }

    /// A lane begins here: everybody was told of all before.
    pub fn begin(&mut self, lane: Lane, done: Position) {
        self.lanes.insert(lane, LaneBook { planned: done, reported: done, owed: BTreeMap::new() });
    }

    /// The notices of all events up to here were entered.
    pub fn planned(&self, lane: Lane) -> Position {
        self.lanes.get(&lane).map_or(Position::START, |book| book.planned)
    }

    /// Enters notices after those entered before, with their destinations.
    pub fn enter(&mut self, lane: Lane, notices: impl IntoIterator<Item = (ShardIndex, Notice)>) {
        let owed = &mut self.lanes.entry(lane).or_default().owed;
        for (destination, notice) in notices {
            let route = self.routes.entry((lane, destination)).or_default();
            if route.cursor.is_some_and(|cursor| notice.mark <= cursor) {
                continue;
            }
            *owed.entry(notice.mark.position).or_default() += 1;
            self.waiting += 1;
            route.queue.push_back(notice);
        }
    }

    /// There are no more notices of events up to here.
    pub fn set_planned(&mut self, lane: Lane, through: Position) {
        let book = self.lanes.entry(lane).or_default();
        book.planned = book.planned.max(through);
    }

    /// Notices that wait.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Where something waits to be delivered.
    pub fn destinations(&self) -> Vec<ShardIndex> {
        let waiting = self.routes.iter().filter(|(_, route)| !route.queue.is_empty());
        let mut destinations: Vec<ShardIndex> = waiting.map(|((_, to), _)| *to).collect();
        destinations.sort_unstable();
        destinations.dedup();
        destinations
    }

    /// Whether all routes to a destination know where it is.
    pub fn knows_cursors(&self, destination: ShardIndex) -> bool {
        self.routes.iter().all(|((_, to), route)| *to != destination || route.cursor.is_some())
    }

    /// Where a destination says that it was told up to. What it has already is dropped as arrived.
    pub fn set_cursors(&mut self, destination: ShardIndex, cursors: &HashMap<SourceLane, NoticeMark>) {
        let lanes: Vec<Lane> = self.routes.keys().filter(|(_, to)| *to == destination).map(|(lane, _)| *lane).collect();
        for lane in lanes {
            let told = cursors.get(&SourceLane { shard: self.source, lane }).copied().unwrap_or_default();
            self.arrived(lane, destination, told);
        }
    }

    /// What to deliver next to a destination.
    pub fn parcels(&self, destination: ShardIndex) -> Vec<Parcel> {
        let ready = self.routes.iter().filter(|((_, to), _)| *to == destination);
        let ready = ready.filter_map(|((lane, _), route)| Some((*lane, route.cursor?, route.queue.iter().peekable())));
        let mut queues: Vec<_> = ready.map(|(lane, known, queue)| (lane, known, queue, Vec::new())).collect();
        let mut heads: BinaryHeap<_> =
            queues.iter_mut().enumerate().filter_map(|(at, (_, _, queue, _))| Some(Reverse((queue.peek()?.mark.position, at)))).collect();
        for _ in 0..PARCEL_NOTICES_MAX {
            let Some(Reverse((_, at))) = heads.pop() else { break };
            let (_, _, queue, taken) = &mut queues[at];
            taken.extend(queue.next().cloned());
            heads.extend(queue.peek().map(|next| Reverse((next.mark.position, at))));
        }
        let parcel = |(lane, known, _, notices): (Lane, NoticeMark, _, Vec<Notice>)| {
            let next = notices.last()?.mark;
            Some(Parcel { source: SourceLane { shard: self.source, lane }, known, next, notices })
        };
        queues.into_iter().filter_map(parcel).collect()
    }

    /// A delivery is committed.
    pub fn delivered(&mut self, destination: ShardIndex, parcels: &[Parcel]) {
        for parcel in parcels {
            self.arrived(parcel.source.lane, destination, parcel.next);
        }
    }

    fn arrived(&mut self, lane: Lane, destination: ShardIndex, through: NoticeMark) {
        let (Some(route), Some(book)) = (self.routes.get_mut(&(lane, destination)), self.lanes.get_mut(&lane)) else { return };
        route.cursor = Some(route.cursor.unwrap_or_default().max(through));
        while let Some(notice) = route.queue.pop_front_if(|notice| notice.mark <= through) {
            self.waiting -= 1;
            if let Some(owed) = book.owed.get_mut(&notice.mark.position) {
                *owed -= 1;
                if *owed == 0 {
                    book.owed.remove(&notice.mark.position);
                }
            }
        }
    }

    /// Lanes that are done further than was reported, and up to where.
    pub fn progress(&mut self) -> Vec<(Lane, Position)> {
        let mut moved = Vec::new();
        for (lane, book) in &mut self.lanes {
            // Of an event that is planned page by page nothing may wait for a moment: it is done no sooner than it is planned.
            let first_owed = book.owed.keys().next().map_or(book.planned, |position| Position(position.0 - 1));
            let done = first_owed.min(book.planned);
            if done > book.reported {
                book.reported = done;
                moved.push((*lane, done));
            }
        }
        moved.sort_unstable();
        moved
    }

    /// What [`Book::progress`] said could not be written down: it is said again.
    pub fn unreported(&mut self, moved: &[(Lane, Position)]) {
        for (lane, _) in moved {
            self.lanes.entry(*lane).or_default().reported = Position::START;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LANE: Lane = Lane(3);
    const HERE: ShardIndex = ShardIndex(0);
    const THERE: ShardIndex = ShardIndex(1);

    fn notice(position: u64, recipient: u64) -> Notice {
        let cause = Arc::new(Cause { actor: UserId::from_raw(99), host: None, at: 0 });
        let mark = NoticeMark { position: Position(position), recipient };
        Notice { mark, cause, what: What::Part(UserId::from_raw(99)) }
    }

    fn book() -> Book {
        let mut book = Book::new(HERE);
        book.begin(LANE, Position(2));
        book
    }

    #[test]
    fn a_lane_is_done_as_far_as_everybody_was_told() {
        let mut book = book();
        book.enter(LANE, [(HERE, notice(5, 1)), (THERE, notice(5, 2)), (THERE, notice(7, 1))]);
        book.set_planned(LANE, Position(9));
        [HERE, THERE].iter().for_each(|to| book.set_cursors(*to, &HashMap::new()));

        let first = book.parcels(HERE);
        book.delivered(HERE, &first);
        assert_eq!(book.progress(), [(LANE, Position(4))]);
        let second = book.parcels(THERE);
        book.delivered(THERE, &second);

        assert_eq!(book.progress(), [(LANE, Position(9))]);
        assert_eq!((book.waiting(), book.destinations().len()), (0, 0));
        assert!(book.progress().is_empty());
    }

    #[test]
    fn whoever_was_told_before_a_crash_is_not_told_again() {
        let mut book = book();
        book.enter(LANE, (1..=4).map(|recipient| (THERE, notice(5, recipient))));
        book.set_planned(LANE, Position(5));

        let told = NoticeMark { position: Position(5), recipient: 2 };
        book.set_cursors(THERE, &HashMap::from([(SourceLane { shard: HERE, lane: LANE }, told)]));

        let parcels = book.parcels(THERE);
        assert_eq!((parcels[0].known, parcels[0].notices.len(), parcels[0].next.recipient), (told, 2, 4));
        book.enter(LANE, [(THERE, notice(5, 1))]);
        assert_eq!(book.waiting(), 2);
    }

    #[test]
    fn a_full_delivery_holds_the_oldest_of_all_lanes() {
        let mut book = book();
        let other = Lane(20);
        book.begin(other, Position(2));
        let many = PARCEL_NOTICES_MAX as u64;
        // Of the first lane there is more than a delivery takes, and all of it is younger than half of the other lane's.
        book.enter(LANE, (0..many).map(|number| (THERE, notice(1_000 + number, 1))));
        book.enter(other, (0..many).map(|number| (THERE, notice(900 + number, 1))));
        book.set_cursors(THERE, &HashMap::new());

        let parcels = book.parcels(THERE);

        let mut places: Vec<(Lane, u64, usize)> =
            parcels.iter().map(|parcel| (parcel.source.lane, parcel.next.position.0, parcel.notices.len())).collect();
        places.sort_unstable();
        let (of_first, of_other) = (many / 2 - 50, many / 2 + 50);
        assert_eq!(places, [(LANE, 1_000 + of_first - 1, of_first as usize), (other, 900 + of_other - 1, of_other as usize)]);
    }

    #[test]
    fn an_event_that_is_planned_page_by_page_is_not_done_between_two_pages() {
        let mut book = book();
        book.set_cursors(THERE, &HashMap::new());
        book.enter(LANE, [(THERE, notice(5, 1))]);
        book.set_planned(LANE, Position(4));
        book.set_cursors(THERE, &HashMap::new());

        let page = book.parcels(THERE);
        book.delivered(THERE, &page);

        assert_eq!(book.progress(), [(LANE, Position(4))]);
    }

    #[test]
    fn a_delivery_has_a_bound() {
        let mut book = book();
        book.enter(LANE, (1..=2 * PARCEL_NOTICES_MAX as u64).map(|recipient| (THERE, notice(5, recipient))));
        book.enter(Lane(4), [(THERE, notice(5, 1))]);
        book.set_cursors(THERE, &HashMap::new());

        let notices: usize = book.parcels(THERE).iter().map(|parcel| parcel.notices.len()).sum();

        assert_eq!(notices, PARCEL_NOTICES_MAX);
    }
}
