//! What one shard owes to others, by lane and destination: the courier's book. A pure value.
//!
//! Events go in, in order for each lane; parcels for destinations come out; arrivals go in; events whose rows have all arrived, and
//! how far each lane is done, come out. A destination that is down holds up only the rows for itself.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use super::job::Parcel;
use super::settlement::shows_elsewhere;
use super::topology::Topology;
use crate::substrate::store::rows::SourceLane;
use crate::vocabulary::event::{Event, Relay};
use crate::vocabulary::ids::Position;
use crate::vocabulary::owner::{Lane, ShardIndex};

/// Rows in one delivery: as many as make a transaction worth it, few enough not to hold up others.
const PARCEL_RELAYS_MAX: usize = 500;

#[derive(Debug, Default)]
struct Route {
    /// How far the destination has been told; `None` until it was asked.
    cursor: Option<Position>,
    /// Positions with their relays, in order.
    queue: VecDeque<(Position, Vec<Relay>)>,
}

#[derive(Debug)]
struct Owed {
    /// Destinations that have not got their rows.
    outstanding: usize,
    event: Event,
}

#[derive(Debug, Default, Clone, Copy)]
struct LaneBook {
    /// All events up to here were entered.
    seen: Position,
    /// Reported as done.
    reported: Position,
    /// Everybody sees what happened up to here.
    shown: Position,
}

/// An event whose rows have all arrived.
#[derive(Debug)]
pub struct Done {
    pub lane: Lane,
    pub event: Event,
}

/// The book of one source shard.
#[derive(Debug)]
pub struct Routes {
    source: ShardIndex,
    routes: HashMap<(Lane, ShardIndex), Route>,
    owed: BTreeMap<(Lane, Position), Owed>,
    /// Events whose rows have all arrived, and are not seen by everybody yet.
    unseen: BTreeSet<(Lane, Position)>,
    lanes: HashMap<Lane, LaneBook>,
}

impl Routes {
    pub fn new(source: ShardIndex) -> Self {
        Self { source, routes: HashMap::new(), owed: BTreeMap::new(), unseen: BTreeSet::new(), lanes: HashMap::new() }
    }

    /// A lane begins here: all before is done.
    pub fn begin(&mut self, lane: Lane, done: Position) {
        self.lanes.insert(lane, LaneBook { seen: done, reported: done, shown: Position::START });
    }

    /// All events of the lane up to here were entered.
    pub fn seen(&self, lane: Lane) -> Position {
        self.lanes.get(&lane).map_or(Position::START, |book| book.seen)
    }

    /// Enters the events of a lane after those entered before, up to `through`. Events whose rows have all arrived come back.
    pub fn enter(&mut self, topology: &Topology, lane: Lane, through: Position, events: Vec<Event>) -> Vec<Done> {
        let mut done = Vec::new();
        let seen = self.seen(lane);
        for event in events.into_iter().filter(|event| event.position > seen && !event.relays.is_empty()) {
            let mut by_destination: BTreeMap<ShardIndex, Vec<Relay>> = BTreeMap::new();
            for relay in &event.relays {
                by_destination.entry(topology.place(relay.owner().placement_key())).or_default().push(relay.clone());
            }
            let position = event.position;
            let mut outstanding = 0;
            for (destination, relays) in by_destination {
                let route = self.routes.entry((lane, destination)).or_default();
                // A lane is read in several goes after a start, and the destination may have been asked in between.
                if route.cursor.is_none_or(|told| told < position) {
                    route.queue.push_back((position, relays));
                    outstanding += 1;
                }
            }
            if outstanding > 0 {
                self.owed.insert((lane, position), Owed { outstanding, event });
            } else {
                done.push(Done { lane, event });
            }
        }
        let book = self.lanes.entry(lane).or_default();
        book.seen = book.seen.max(through);
        done
    }

    /// Events that wait for their rows to arrive.
    pub fn owed(&self) -> usize {
        self.owed.len()
    }

    /// Whether an entry's rows have not all arrived.
    #[cfg(test)]
    pub(super) fn is_owed(&self, lane: Lane, position: Position) -> bool {
        self.owed.contains_key(&(lane, position))
    }

    /// Whether a lane's rows have not all arrived.
    #[cfg(test)]
    pub(super) fn owes(&self, lane: Lane) -> bool {
        self.owed.keys().any(|(of, _)| *of == lane)
    }

    /// Destinations that something waits for, and whether it is urgent.
    pub fn waiting(&self) -> Vec<(ShardIndex, bool)> {
        let mut waiting: Vec<_> =
            self.routes.iter().filter(|(_, route)| !route.queue.is_empty()).map(|((lane, to), _)| (*to, lane.is_urgent())).collect();
        waiting.sort_unstable_by_key(|(to, urgent)| (!urgent, *to));
        waiting.dedup();
        waiting
    }

    /// Where a destination says that it was told up to. Rows it has already are dropped as arrived; those events come back if done.
    pub fn set_cursors(&mut self, destination: ShardIndex, cursors: &HashMap<SourceLane, Position>) -> Vec<Done> {
        let source = self.source;
        let lanes: Vec<Lane> = self.routes.keys().filter(|(_, to)| *to == destination).map(|(lane, _)| *lane).collect();
        let mut done = Vec::new();
        for lane in lanes {
            let told = cursors.get(&SourceLane { shard: source, lane }).copied().unwrap_or_default();
            done.extend(self.arrived_through(lane, destination, told));
        }
        done
    }

    /// Whether all routes to a destination know where it is.
    pub fn knows_cursors(&self, destination: ShardIndex) -> bool {
        self.routes.iter().all(|((_, to), route)| *to != destination || route.cursor.is_some())
    }

    /// What to deliver next to a destination: parcels of its urgent lanes, or of the others.
    pub fn parcels(&self, destination: ShardIndex, urgent: bool) -> Vec<Parcel> {
        let mut parcels = Vec::new();
        let mut room = PARCEL_RELAYS_MAX;
        for ((lane, to), route) in &self.routes {
            let Some(known) = route.cursor else { continue };
            if *to != destination || lane.is_urgent() != urgent || route.queue.is_empty() || room == 0 {
                continue;
            }
            let mut relays = Vec::new();
            let mut next = known;
            for (position, rows) in &route.queue {
                if room == 0 {
                    break;
                }
                room = room.saturating_sub(rows.len());
                next = *position;
                relays.extend(rows.iter().map(|relay| (*position, relay.clone())));
            }
            let source = SourceLane { shard: self.source, lane: *lane };
            parcels.push(Parcel { source, known, next, relays });
        }
        parcels
    }

    /// A delivery is committed. Events whose rows have all arrived come back.
    pub fn delivered(&mut self, destination: ShardIndex, parcels: &[Parcel]) -> Vec<Done> {
        parcels.iter().flat_map(|parcel| self.arrived_through(parcel.source.lane, destination, parcel.next)).collect()
    }

    fn arrived_through(&mut self, lane: Lane, destination: ShardIndex, through: Position) -> Vec<Done> {
        let Some(route) = self.routes.get_mut(&(lane, destination)) else { return Vec::new() };
        route.cursor = Some(route.cursor.unwrap_or_default().max(through));
        let mut done = Vec::new();
        while let Some((position, _)) = route.queue.front() {
            if *position > through {
                break;
            }
            let key = (lane, *position);
            route.queue.pop_front();
            let Some(owed) = self.owed.get_mut(&key) else { continue };
            owed.outstanding -= 1;
            if owed.outstanding == 0 {
                done.extend(self.owed.remove(&key).map(|owed| Done { lane, event: owed.event }));
            }
        }
        done
    }

    /// Lanes that are done further than was reported, and up to where.
    pub fn progress(&mut self) -> Vec<(Lane, Position)> {
        let mut moved = Vec::new();
        for (lane, book) in &mut self.lanes {
            let first_owed = self.owed.range((*lane, Position::START)..=(*lane, Position(u64::MAX))).next();
            let done = first_owed.map_or(book.seen, |((_, position), _)| Position(position.0 - 1));
            if done > book.reported {
                book.reported = done;
                moved.push((*lane, done));
            }
        }
        moved.sort_unstable();
        moved
    }

    /// Not everybody sees the rows of this event, which have all arrived.
    pub fn arrived_unseen(&mut self, lane: Lane, position: Position) {
        self.unseen.insert((lane, position));
    }

    /// Now everybody does.
    pub fn seen_by_all(&mut self, lane: Lane, position: Position) {
        self.unseen.remove(&(lane, position));
    }

    /// Lanes that everybody sees further than before, and up to where.
    pub fn newly_shown(&mut self) -> Vec<(Lane, Position)> {
        let mut moved = Vec::new();
        for (lane, book) in &mut self.lanes {
            let owed = self.owed.range((*lane, book.shown)..=(*lane, Position(u64::MAX)));
            let first_owed = owed.map(|(key, owed)| (key.1, owed)).find(|(_, owed)| shows_elsewhere(&owed.event));
            let first_unseen = self.unseen.range((*lane, book.shown)..=(*lane, Position(u64::MAX))).next().map(|(_, position)| *position);
            let hidden = first_owed.map(|(position, _)| position).into_iter().chain(first_unseen).min();
            let shown = hidden.map_or(book.seen, |position| Position(position.0 - 1));
            if shown > book.shown {
                book.shown = shown;
                moved.push((*lane, shown));
            }
        }
        moved
    }

    /// Nobody took what [`Routes::progress`] said: it is said again.
    pub fn unreported(&mut self, moved: &[(Lane, Position)]) {
        for (lane, _) in moved {
            self.lanes.entry(*lane).or_default().reported = Position::START;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::config::Config;
    use crate::vocabulary::event::Happened;
    use crate::vocabulary::ids::{PostId, UserId, WriteId};

    const SOURCE: ShardIndex = ShardIndex(0);
    const LANE: Lane = Lane(3);

    fn event(position: u64, authors: &[u64]) -> Event {
        let post = PostId::from_raw(position);
        let relay = |author: &u64| Relay::AuthorPost { author: UserId::from_raw(*author), post, deleted: false };
        Event {
            position: Position(position),
            write: WriteId::from_raw(position),
            author: UserId::from_raw(1),
            accepted_at: 0,
            happened: Happened::PostDeleted { post },
            relays: authors.iter().map(relay).collect(),
        }
    }

    /// Two users on two different shards.
    fn two_destinations(topology: &Topology) -> (u64, u64) {
        let of = |raw: u64| topology.place(crate::vocabulary::owner::PlacementKey::Id(raw));
        let other = (2..).find(|raw| of(*raw) != of(1)).expect("several shards");
        (1, other)
    }

    #[test]
    fn an_event_is_done_when_all_its_rows_have_arrived() {
        let topology = Topology::of(&Config::default().shards);
        let (here, there) = two_destinations(&topology);
        let mut routes = Routes::new(SOURCE);
        routes.begin(LANE, Position::START);
        routes.enter(&topology, LANE, Position(9), vec![event(5, &[here, there]), event(7, &[there])]);
        let destinations: Vec<ShardIndex> = routes.waiting().into_iter().map(|(to, _)| to).collect();
        assert_eq!(destinations.len(), 2);
        for to in &destinations {
            routes.set_cursors(*to, &HashMap::new());
        }

        let first = routes.parcels(destinations[0], false);
        let done_first = routes.delivered(destinations[0], &first);
        let second = routes.parcels(destinations[1], false);
        let done_second = routes.delivered(destinations[1], &second);

        let mut done: Vec<u64> = done_first.iter().chain(&done_second).map(|done| done.event.position.0).collect();
        done.sort_unstable();
        assert_eq!(done, [5, 7]);
        assert_eq!(routes.progress(), [(LANE, Position(9))]);
        assert!(routes.progress().is_empty());
    }

    #[test]
    fn a_destination_that_was_told_already_is_not_told_again() {
        let topology = Topology::of(&Config::default().shards);
        let mut routes = Routes::new(SOURCE);
        routes.begin(LANE, Position::START);
        routes.enter(&topology, LANE, Position(7), vec![event(5, &[1]), event(7, &[1])]);
        let (to, _) = routes.waiting()[0];

        let done = routes.set_cursors(to, &HashMap::from([(SourceLane { shard: SOURCE, lane: LANE }, Position(5))]));

        assert_eq!(done.len(), 1);
        let parcels = routes.parcels(to, false);
        assert_eq!((parcels[0].known, parcels[0].next, parcels[0].relays.len()), (Position(5), Position(7), 1));
    }

    /// Catches a delivery that goes back: its destination refuses it for ever, or takes rows for the second time.
    #[test]
    fn what_is_read_after_the_destination_was_asked_and_was_told_already_is_done() {
        let topology = Topology::of(&Config::default().shards);
        let mut routes = Routes::new(SOURCE);
        routes.begin(LANE, Position::START);
        routes.enter(&topology, LANE, Position(5), vec![event(5, &[1])]);
        let (to, _) = routes.waiting()[0];
        routes.set_cursors(to, &HashMap::from([(SourceLane { shard: SOURCE, lane: LANE }, Position(7))]));

        let done = routes.enter(&topology, LANE, Position(9), vec![event(6, &[1]), event(7, &[1]), event(9, &[1])]);

        assert_eq!(done.iter().map(|done| done.event.position.0).collect::<Vec<_>>(), [6, 7]);
        let parcels = routes.parcels(to, false);
        assert_eq!((parcels[0].known, parcels[0].next, parcels[0].relays.len()), (Position(7), Position(9), 1));
        routes.delivered(to, &parcels);
        assert_eq!((routes.progress(), routes.owed()), (vec![(LANE, Position(9))], 0));
    }

    #[test]
    fn what_has_arrived_is_shown_when_everybody_sees_it() {
        let topology = Topology::of(&Config::default().shards);
        let mut routes = Routes::new(SOURCE);
        routes.begin(LANE, Position::START);
        routes.enter(&topology, LANE, Position(9), vec![event(5, &[1])]);
        let (to, _) = routes.waiting()[0];
        routes.set_cursors(to, &HashMap::new());
        assert_eq!(routes.newly_shown(), [(LANE, Position(4))]);

        routes.delivered(to, &routes.parcels(to, false));
        routes.arrived_unseen(LANE, Position(5));
        assert!(routes.newly_shown().is_empty());

        routes.seen_by_all(LANE, Position(5));
        assert_eq!(routes.newly_shown(), [(LANE, Position(9))]);
    }

    #[test]
    fn a_lane_without_anything_owed_is_done_as_far_as_it_was_seen() {
        let topology = Topology::of(&Config::default().shards);
        let mut routes = Routes::new(SOURCE);
        routes.begin(LANE, Position(2));
        routes.enter(&topology, LANE, Position(9), Vec::new());

        assert_eq!(routes.progress(), [(LANE, Position(9))]);
    }
}
