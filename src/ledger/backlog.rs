//! What was accepted and is not released yet: the bound of the queue, and how far the journal can be trimmed.
//!
//! Reservations go in before an append; entries open in the order of their positions once durable; releases come in any
//! order. What comes out: whether there is room, the position up to which all is released, and how fast it drains.
//! Full: the reservation is refused, with the wait we expect from the measured drain rate.

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::support::lock::lock;
use crate::vocabulary::Millis;
use crate::vocabulary::ids::Position;
use crate::vocabulary::owner::ShardIndex;

/// The most entries that wait at once, whatever their size: each costs about 200 bytes of memory until it is released.
pub const WAITING_ENTRIES_MAX: u64 = 2_000_000;
/// One part in so many of the bound, by bytes and by count, is kept for what callers wait for (sign-in, sessions, profiles).
const URGENT_RESERVE_PART: u64 = 16;
/// What a record costs in the journal on top of the entry's bytes.
const RECORD_OVERHEAD_BYTES: u64 = 40;
/// The longest wait that is told to a refused client; a stopped server may come back sooner than its drain rate says.
const RETRY_AFTER_MAX_S: u64 = 60;

/// Why there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoRoom {
    /// The queue is full.
    Full { retry_after_s: u64 },
    /// This shard is stopped or slow, or its standbys are, and it has used up its share.
    ShardShare { retry_after_s: u64 },
}

/// Room that was reserved for one entry. Given back on drop unless it was opened.
#[derive(Debug)]
pub struct Reservation<'backlog> {
    backlog: &'backlog Backlog,
    bytes: u32,
    shard: ShardIndex,
    kept: bool,
}

impl Reservation<'_> {
    /// Hands the room over to the entry that is being appended: [`Backlog::opened`] or [`Backlog::abandoned`] follows.
    pub fn keep(mut self) -> Room {
        self.kept = true;
        Room { bytes: self.bytes, shard: self.shard }
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        if !self.kept {
            self.backlog.give_back(self.shard, self.bytes);
        }
    }
}

/// The room of one entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    bytes: u32,
    shard: ShardIndex,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    room: Room,
    released: bool,
    /// Its shard has applied it; it waits for rows that it owes to others.
    decided: bool,
}

impl Slot {
    fn new(room: Room) -> Self {
        Self { room, released: false, decided: false }
    }

    fn is_undecided_of(&self, shard: ShardIndex) -> bool {
        self.room.shard == shard && !self.released && !self.decided
    }
}

#[derive(Debug, Default)]
struct Window {
    /// The position of the first slot.
    first: Position,
    slots: VecDeque<Slot>,
    /// Entries that were copied to their shard's parking segments: the main ones need them no more, but they wait.
    parked: HashMap<Position, Slot>,
}

impl Window {
    fn slot(&mut self, position: Position) -> Option<&mut Slot> {
        position.0.checked_sub(self.first.0).and_then(|at| self.slots.get_mut(at as usize))
    }

    /// The room of an entry that waits, which it gives up.
    fn take(&mut self, position: Position) -> Option<Room> {
        if let Some(slot) = self.parked.remove(&position) {
            return Some(slot.room);
        }
        let slot = self.slot(position)?;
        if slot.released {
            return None;
        }
        slot.released = true;
        Some(slot.room)
    }

    fn advance(&mut self) {
        while self.slots.front().is_some_and(|slot| slot.released) {
            self.slots.pop_front();
            self.first = self.first.next();
        }
    }
}

/// Totals of one shard.
#[derive(Debug, Default)]
struct Share {
    bytes: AtomicU64,
    entries: AtomicU64,
    stopped: AtomicBool,
    /// What it has in hand takes too long.
    slow: AtomicBool,
    /// None of its standbys has what was applied.
    held_back: AtomicBool,
}

impl Share {
    fn is_limited(&self) -> bool {
        [&self.stopped, &self.slow, &self.held_back].iter().any(|why| why.load(Ordering::Relaxed))
    }
}

/// The bookkeeping of everything between acceptance and release.
#[derive(Debug)]
pub struct Backlog {
    bytes_max: u64,
    bytes: AtomicU64,
    entries: AtomicU64,
    shares: Vec<Share>,
    window: Mutex<Window>,
    released: AtomicU64,
    rate: Mutex<DrainRate>,
}

/// An exponentially weighted rate of releases.
#[derive(Debug, Default)]
struct DrainRate {
    measured_at: Millis,
    released_then: u64,
    per_second: f64,
}

impl Backlog {
    /// `first` is the position that the next entry to be opened will have.
    pub fn new(bytes_max: u64, shards: usize, first: Position) -> Self {
        Self {
            bytes_max,
            bytes: AtomicU64::new(0),
            entries: AtomicU64::new(0),
            shares: (0..shards).map(|_| Share::default()).collect(),
            window: Mutex::new(Window { first, slots: VecDeque::new(), parked: HashMap::new() }),
            released: AtomicU64::new(0),
            rate: Mutex::default(),
        }
    }

    /// Reserves room for an entry of so many bytes. `urgent` may use the reserve.
    pub fn reserve(&self, entry_bytes: usize, shard: ShardIndex, urgent: bool) -> Result<Reservation<'_>, NoRoom> {
        fail::fail_point!("admission::unbounded", |_| Ok(self.take(entry_bytes as u32, shard)));
        let bytes = entry_bytes as u64 + RECORD_OVERHEAD_BYTES;
        let part = |bound: u64| if urgent { bound } else { bound - bound / URGENT_RESERVE_PART };
        let over = |counter: &AtomicU64, add: u64, bound: u64| counter.load(Ordering::Relaxed) + add > bound;
        if over(&self.bytes, bytes, part(self.bytes_max)) || over(&self.entries, 1, part(WAITING_ENTRIES_MAX)) {
            return Err(NoRoom::Full { retry_after_s: self.retry_after_s() });
        }
        let share = &self.shares[usize::from(shard.0)];
        let shares = self.shares.len() as u64;
        if share.is_limited()
            && (over(&share.bytes, bytes, part(self.bytes_max) / shares) || over(&share.entries, 1, part(WAITING_ENTRIES_MAX) / shares))
        {
            return Err(NoRoom::ShardShare { retry_after_s: RETRY_AFTER_MAX_S });
        }
        Ok(self.take(bytes as u32, shard))
    }

    fn take(&self, bytes: u32, shard: ShardIndex) -> Reservation<'_> {
        self.bytes.fetch_add(u64::from(bytes), Ordering::Relaxed);
        self.entries.fetch_add(1, Ordering::Relaxed);
        let share = &self.shares[usize::from(shard.0)];
        share.bytes.fetch_add(u64::from(bytes), Ordering::Relaxed);
        share.entries.fetch_add(1, Ordering::Relaxed);
        Reservation { backlog: self, bytes, shard, kept: false }
    }

    fn give_back(&self, shard: ShardIndex, bytes: u32) {
        self.bytes.fetch_sub(u64::from(bytes), Ordering::Relaxed);
        self.entries.fetch_sub(1, Ordering::Relaxed);
        let share = &self.shares[usize::from(shard.0)];
        share.bytes.fetch_sub(u64::from(bytes), Ordering::Relaxed);
        share.entries.fetch_sub(1, Ordering::Relaxed);
    }

    /// The entry at `position` is durable. Called in the order of positions.
    pub fn opened(&self, position: Position, room: Room) {
        let mut window = lock(&self.window);
        debug_assert_eq!(window.first.0 + window.slots.len() as u64, position.0, "positions open in order");
        window.slots.push_back(Slot::new(room));
    }

    /// Opens an entry that the journal held at start, whatever the bound says: it was accepted once.
    pub fn reopened(&self, position: Position, entry_bytes: usize, shard: ShardIndex) {
        let room = self.take((entry_bytes as u64 + RECORD_OVERHEAD_BYTES) as u32, shard).keep();
        self.opened(position, room);
    }

    /// As [`Backlog::reopened`], for an entry that only the parking segments hold.
    pub fn reopened_parked(&self, position: Position, entry_bytes: usize, shard: ShardIndex) {
        let room = self.take((entry_bytes as u64 + RECORD_OVERHEAD_BYTES) as u32, shard).keep();
        lock(&self.window).parked.insert(position, Slot::new(room));
    }

    /// Their shard has applied these entries, and they wait for the rows that they owe to others.
    pub fn decided(&self, positions: impl IntoIterator<Item = Position>) {
        let mut window = lock(&self.window);
        for position in positions {
            let parked = window.parked.contains_key(&position);
            let slot = if parked { window.parked.get_mut(&position) } else { window.slot(position) };
            if let Some(slot) = slot {
                slot.decided = true;
            }
        }
    }

    /// The first entry of a shard that it has not applied, as far as the main segments have to keep it. Looks at all that waits.
    pub fn first_undecided(&self, shard: ShardIndex) -> Option<Position> {
        let window = lock(&self.window);
        let at = window.slots.iter().position(|slot| slot.is_undecided_of(shard))?;
        Some(Position(window.first.0 + at as u64))
    }

    /// Entries were copied to their shard's parking segments: the main ones can be trimmed without them.
    pub fn park(&self, positions: impl IntoIterator<Item = Position>) {
        let mut window = lock(&self.window);
        for position in positions {
            let Some(slot) = window.slot(position) else { continue };
            if !slot.released {
                let waiting = *slot;
                slot.released = true;
                window.parked.insert(position, waiting);
            }
        }
        window.advance();
    }

    /// The first parked entry of a shard that still waits.
    pub fn first_parked(&self, shard: ShardIndex) -> Option<Position> {
        lock(&self.window).parked.iter().filter(|(_, slot)| slot.room.shard == shard).map(|(position, _)| *position).min()
    }

    /// The first parked entry of a shard that it has not applied.
    pub fn first_parked_undecided(&self, shard: ShardIndex) -> Option<Position> {
        lock(&self.window).parked.iter().filter(|(_, slot)| slot.is_undecided_of(shard)).map(|(position, _)| *position).min()
    }

    /// Whether an entry still waits in the main segments.
    pub fn is_waiting(&self, position: Position) -> bool {
        lock(&self.window).slot(position).is_some_and(|slot| !slot.released)
    }

    /// The append failed for good.
    pub fn abandoned(&self, room: Room) {
        self.give_back(room.shard, room.bytes);
    }

    /// All rows of this entry are where they belong, or it was rejected. Twice is as once.
    pub fn release(&self, positions: impl IntoIterator<Item = Position>) {
        let mut window = lock(&self.window);
        for position in positions {
            let Some(Room { bytes, shard }) = window.take(position) else { continue };
            self.give_back(shard, bytes);
            self.released.fetch_add(1, Ordering::Relaxed);
        }
        window.advance();
    }

    /// All entries up to here are released.
    pub fn released_through(&self) -> Position {
        Position(lock(&self.window).first.0.saturating_sub(1))
    }

    /// A stopped shard may fill only its share of the bound; the others are not held up by it.
    pub fn set_stopped(&self, shard: ShardIndex, stopped: bool) {
        self.shares[usize::from(shard.0)].stopped.store(stopped, Ordering::Relaxed);
    }

    pub fn is_stopped(&self, shard: ShardIndex) -> bool {
        self.shares[usize::from(shard.0)].stopped.load(Ordering::Relaxed)
    }

    /// A slow shard is treated like one that is stopped.
    pub fn set_slow(&self, shard: ShardIndex, slow: bool) {
        self.shares[usize::from(shard.0)].slow.store(slow, Ordering::Relaxed);
    }

    /// A shard whose standbys do not replay what was applied is treated like one that is stopped.
    pub fn set_held_back(&self, shard: ShardIndex, held_back: bool) {
        self.shares[usize::from(shard.0)].held_back.store(held_back, Ordering::Relaxed);
    }

    pub fn is_held_back(&self, shard: ShardIndex) -> bool {
        self.shares[usize::from(shard.0)].held_back.load(Ordering::Relaxed)
    }

    /// Whether the shard may use only its share, for one reason or another.
    pub fn is_limited(&self, shard: ShardIndex) -> bool {
        self.shares[usize::from(shard.0)].is_limited()
    }

    /// Entries and bytes that wait.
    pub fn waiting(&self) -> (u64, u64) {
        (self.entries.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }

    /// Entries that wait for one shard.
    pub fn waiting_on(&self, shard: ShardIndex) -> u64 {
        self.shares[usize::from(shard.0)].entries.load(Ordering::Relaxed)
    }

    /// Takes a measurement of the drain rate; called about once a second.
    pub fn measure(&self, now: Millis) {
        let mut rate = lock(&self.rate);
        let released = self.released.load(Ordering::Relaxed);
        let elapsed_ms = now.saturating_sub(rate.measured_at);
        if elapsed_ms == 0 {
            return;
        }
        let fresh = (released - rate.released_then) as f64 * 1000.0 / elapsed_ms as f64;
        rate.per_second = if rate.measured_at == 0 { fresh } else { rate.per_second * 0.7 + fresh * 0.3 };
        rate.measured_at = now;
        rate.released_then = released;
    }

    /// Seconds until a twentieth of what waits has drained: then there is room for those who come back.
    fn retry_after_s(&self) -> u64 {
        let per_second = lock(&self.rate).per_second;
        let wanted = self.entries.load(Ordering::Relaxed) as f64 / 20.0;
        if per_second < 1.0 {
            return RETRY_AFTER_MAX_S;
        }
        ((wanted / per_second).ceil() as u64).clamp(1, RETRY_AFTER_MAX_S)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARD: ShardIndex = ShardIndex(0);

    fn open(backlog: &Backlog, position: u64, bytes: usize) {
        let room = backlog.reserve(bytes, SHARD, false).expect("room").keep();
        backlog.opened(Position(position), room);
    }

    #[test]
    fn the_journal_is_released_up_to_the_first_entry_that_still_waits() {
        let backlog = Backlog::new(1 << 20, 1, Position(1));
        for position in 1..=4 {
            open(&backlog, position, 100);
        }

        backlog.release([Position(3), Position(1), Position(1)]);

        assert_eq!(backlog.released_through(), Position(1));
        assert_eq!(backlog.waiting().0, 2);
        backlog.release([Position(2)]);
        assert_eq!(backlog.released_through(), Position(3));
    }

    #[test]
    fn a_full_queue_refuses_all_but_what_callers_wait_for() {
        let backlog = Backlog::new(16_000, 1, Position(1));
        let mut taken = Vec::new();
        while let Ok(reservation) = backlog.reserve(960, SHARD, false) {
            taken.push(reservation);
        }

        assert_eq!(taken.len(), 15);
        assert!(matches!(backlog.reserve(960, SHARD, false), Err(NoRoom::Full { retry_after_s: RETRY_AFTER_MAX_S })));
        assert!(backlog.reserve(960, SHARD, true).is_ok());
        taken.pop();
        assert!(backlog.reserve(960, SHARD, false).is_ok());
    }

    #[test]
    fn a_shard_that_is_ill_uses_only_its_share() {
        let backlog = Backlog::new(16_000, 2, Position(1));
        for limit in [Backlog::set_stopped, Backlog::set_slow, Backlog::set_held_back] {
            limit(&backlog, SHARD, true);
            let taken: Vec<_> = std::iter::from_fn(|| backlog.reserve(960, SHARD, false).ok()).collect();

            assert_eq!(taken.len(), 7);
            assert!(matches!(backlog.reserve(960, SHARD, false), Err(NoRoom::ShardShare { .. })));
            assert!(backlog.reserve(960, ShardIndex(1), false).is_ok());
            limit(&backlog, SHARD, false);
            assert!(backlog.reserve(960, SHARD, false).is_ok());
        }
    }

    #[test]
    fn what_is_owed_to_others_is_parked_and_its_shard_has_it_all_the_same() {
        let backlog = Backlog::new(1 << 20, 1, Position(1));
        for position in 1..=4 {
            open(&backlog, position, 100);
        }
        backlog.release([Position(1)]);
        backlog.decided([Position(2)]);

        assert_eq!(backlog.first_undecided(SHARD), Some(Position(3)));
        backlog.park([Position(2)]);

        assert_eq!(backlog.released_through(), Position(2));
        assert_eq!((backlog.first_parked(SHARD), backlog.first_parked_undecided(SHARD)), (Some(Position(2)), None));
        backlog.park([Position(3)]);
        assert_eq!(backlog.first_parked_undecided(SHARD), Some(Position(3)));
        backlog.decided([Position(3)]);
        assert_eq!(backlog.first_parked_undecided(SHARD), None);
        assert_eq!(backlog.waiting().0, 3);
        backlog.release([Position(2), Position(3), Position(4)]);
        assert_eq!((backlog.first_parked(SHARD), backlog.waiting()), (None, (0, 0)));
    }

    #[test]
    fn the_wait_follows_the_drain_rate() {
        let backlog = Backlog::new(200_000, 1, Position(1));
        for position in 1..=1000 {
            open(&backlog, position, 100);
        }
        backlog.measure(1_000);
        backlog.release((1..=10).map(Position));
        backlog.measure(2_000);

        // 990 wait, a twentieth is 49.5; 0.3 x 10 a second.
        assert_eq!(backlog.retry_after_s(), 17);
    }
}
