//! The suite to which every journal is held. It knows only the trait, and how to open the same journal again.
//!
//! `journal_contract!(MyPlace)` makes a test of each function here, with a new and empty [`Place`] each.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{AppendError, Draft, Journal, Locator, RECORD_BYTES_MAX, ReadError, Record};
use crate::vocabulary::ids::Position;

/// Longer than any healthy sync; a test that waits so long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Where one journal lives. It is opened again only after it was closed.
pub(crate) trait Place: Sized {
    /// One whose journal gives back room in the smallest pieces that it can.
    fn tight() -> Self;

    /// One whose journal takes the largest records.
    fn roomy() -> Self;

    fn open(&self) -> Arc<dyn Journal>;
}

/// Tells what a journal said of its drafts, in the order in which it said it.
pub(crate) struct Told {
    sender: Sender<(Position, Locator)>,
    receiver: Receiver<(Position, Locator)>,
}

impl Told {
    pub(crate) fn new() -> Self {
        let (sender, receiver) = channel();
        Self { sender, receiver }
    }

    pub(crate) fn draft(&self, bytes: &[u8]) -> Draft {
        let sender = self.sender.clone();
        Draft {
            bytes: bytes.to_vec(),
            durable: Box::new(move |position, locator| {
                // Nobody listens any more: the test is over.
                let _ = sender.send((position, locator));
            }),
        }
    }

    pub(crate) fn next(&self) -> (Position, Locator) {
        self.receiver.recv_timeout(PATIENCE).expect("the draft is told")
    }

    /// What was told and not asked for yet.
    pub(crate) fn rest(self) -> Vec<(Position, Locator)> {
        drop(self.sender);
        self.receiver.try_iter().collect()
    }
}

/// Appends records and waits until they are durable.
pub(crate) fn append(journal: &dyn Journal, payloads: impl IntoIterator<Item = Vec<u8>>) -> Vec<Record> {
    let told = Told::new();
    let payloads: Vec<_> = payloads.into_iter().collect();
    for payload in &payloads {
        journal.append(told.draft(payload)).expect("appends");
    }
    let records = payloads.into_iter().map(|bytes| {
        let (position, locator) = told.next();
        Record { position, locator, bytes }
    });
    let records: Vec<_> = records.collect();
    wait_until(|| journal.durable() >= last_of(&records));
    records
}

fn last_of(records: &[Record]) -> Position {
    records.last().map_or(Position::START, |record| record.position)
}

/// Everything from the first position that is held.
pub(crate) fn read_all(journal: &dyn Journal) -> Vec<Record> {
    let mut records: Vec<Record> = Vec::new();
    let mut next = journal.first();
    loop {
        let more = journal.read(next, 10_000).expect("reads");
        match more.last() {
            Some(last) => next = last.position.next(),
            None => return records,
        }
        records.extend(more);
    }
}

pub(crate) fn wait_until(condition: impl Fn() -> bool) {
    let began = std::time::Instant::now();
    while !condition() {
        assert!(began.elapsed() < PATIENCE, "waited too long");
        std::thread::yield_now();
    }
}

pub(crate) fn payloads(count: usize, length: usize) -> impl Iterator<Item = Vec<u8>> {
    (0..count).map(move |nth| {
        let mut payload = format!("record {nth} ").into_bytes();
        payload.resize(length.max(payload.len()), b'.');
        payload
    })
}

pub(crate) fn a_new_journal_is_empty(place: &impl Place) {
    let journal = place.open();

    assert_eq!(journal.durable(), Position::START);
    assert_eq!(journal.first(), Position(1));
    assert_eq!(journal.read(Position(1), 1000).expect("reads"), []);
    assert!(matches!(journal.read(Position::START, 1000), Err(ReadError::Trimmed(_))));
}

pub(crate) fn positions_are_given_in_the_order_of_the_calls(place: &impl Place) {
    let journal = place.open();
    let told = Told::new();

    for payload in payloads(500, 0) {
        journal.append(told.draft(&payload)).expect("appends");
    }

    let positions: Vec<_> = (0..500).map(|_| told.next().0.0).collect();
    assert_eq!(positions, (1..=500).collect::<Vec<_>>());
    wait_until(|| journal.durable() == Position(500));
    let read: Vec<_> = read_all(&*journal).into_iter().map(|record| record.bytes).collect();
    assert_eq!(read, payloads(500, 0).collect::<Vec<_>>());
}

pub(crate) fn many_appenders_share_the_positions_without_a_gap(place: &impl Place) {
    let journal = place.open();
    let mine = Mutex::new(Vec::new());

    std::thread::scope(|scope| {
        for appender in 0..16_u32 {
            let (journal, mine) = (&journal, &mine);
            scope.spawn(move || {
                for nth in 0..100_u32 {
                    let bytes = [appender.to_le_bytes(), nth.to_le_bytes()].concat();
                    let records = append(&**journal, [bytes]);
                    mine.lock().expect("a lock").extend(records);
                }
            });
        }
    });

    let mut mine = mine.into_inner().expect("a lock");
    mine.sort_by_key(|record| record.position);
    assert_eq!(mine.iter().map(|record| record.position.0).collect::<Vec<_>>(), (1..=1600).collect::<Vec<_>>());
    assert_eq!(read_all(&*journal), mine);
}

pub(crate) fn a_draft_is_told_before_any_reader_sees_it(place: &impl Place) {
    let journal = place.open();
    let (sender, told) = channel();
    for _ in 0..200 {
        let (sender, weak) = (sender.clone(), Arc::downgrade(&journal));
        let durable = Box::new(move |position: Position, _| {
            let journal = weak.upgrade().expect("the journal is open");
            let seen = journal.durable() >= position || !journal.read(position, 1).expect("reads").is_empty();
            sender.send(seen).expect("the test listens");
        });
        journal.append(Draft { bytes: vec![1], durable }).expect("appends");
    }

    for _ in 0..200 {
        assert!(!told.recv_timeout(PATIENCE).expect("told"), "a reader saw a record before its draft was told");
    }
}

pub(crate) fn the_bell_rings_with_what_is_durable(place: &impl Place) {
    let journal = place.open();
    let (sender, rings) = channel();
    let weak = Arc::downgrade(&journal);
    let sender = Mutex::new(sender);
    journal.set_bell(Arc::new(move |through| {
        let journal = weak.upgrade().expect("the journal is open");
        sender.lock().expect("a lock").send((through, journal.durable())).expect("the test listens");
    }));

    append(&*journal, payloads(10, 0));

    let mut last = Position::START;
    while last < Position(10) {
        let (through, durable) = rings.recv_timeout(PATIENCE).expect("rings");
        assert!(through > last && durable >= through, "rang {through} after {last} while {durable} was durable");
        last = through;
    }
}

pub(crate) fn a_read_stops_near_its_bytes_but_gives_one_record(place: &impl Place) {
    let journal = place.open();
    append(&*journal, payloads(100, 1000));

    assert_eq!(journal.read(Position(1), 0).expect("reads").len(), 1);
    assert_eq!(journal.read(Position(7), 3500).expect("reads").iter().map(|record| record.position.0).collect::<Vec<_>>(), [7, 8, 9]);
    assert_eq!(journal.read(Position(100), 3500).expect("reads").len(), 1);
    assert_eq!(journal.read(Position(101), 3500).expect("reads"), []);
}

pub(crate) fn a_locator_finds_its_record_also_after_a_restart(place: &impl Place) {
    let journal = place.open();
    let records = append(&*journal, payloads(300, 700));
    for record in &records {
        assert_eq!(&journal.read_at(record.locator).expect("reads"), record);
    }
    drop(journal);

    let journal = place.open();

    for record in &records {
        assert_eq!(&journal.read_at(record.locator).expect("reads"), record);
    }
}

pub(crate) fn what_was_told_is_there_after_a_restart_and_positions_go_on(place: &impl Place) {
    let mut all = Vec::new();
    let mut id = None;
    for round in 0..4 {
        let journal = place.open();
        assert_eq!(*id.get_or_insert(journal.id()), journal.id());
        assert_eq!(journal.durable(), Position(all.len() as u64));
        assert_eq!(read_all(&*journal), all, "round {round}");
        all.extend(append(&*journal, payloads(50, 300)));
        journal.close();
    }

    assert_eq!(all.last().map(|record| record.position), Some(Position(200)));
}

pub(crate) fn trimming_gives_back_what_is_below_and_nothing_else(place: &impl Place) {
    let journal = place.open();
    let all = append(&*journal, payloads(400, 500));
    let before = journal.disk_bytes();

    journal.trim(Position(250)).expect("trims");

    let first = journal.first();
    assert!(first > Position(1) && first <= Position(251), "first is {first}");
    assert!(journal.disk_bytes() < before);
    assert!(matches!(journal.read(Position(1), 1000), Err(ReadError::Trimmed(_))));
    assert!(matches!(journal.read_at(all[0].locator), Err(ReadError::Trimmed(_))));
    assert_eq!(read_all(&*journal), all[(first.0 - 1) as usize..]);
    drop(journal);
    let journal = place.open();
    assert_eq!(journal.first(), first);
    assert_eq!(read_all(&*journal), all[(first.0 - 1) as usize..]);
    assert_eq!(append(&*journal, payloads(1, 0))[0].position, Position(401));
}

pub(crate) fn a_journal_that_was_trimmed_to_its_end_goes_on_where_it_stood(place: &impl Place) {
    for round in 0..3 {
        let journal = place.open();
        let records = append(&*journal, payloads(100, 500));
        assert_eq!(records[0].position, Position(round * 100 + 1));
        journal.trim(journal.durable()).expect("trims");
        let held = read_all(&*journal);
        assert_eq!(held, records[records.len() - held.len()..]);
    }
}

pub(crate) fn a_record_at_the_limit_fits_and_one_byte_more_does_not(place: &impl Place) {
    let journal = place.open();
    let told = Told::new();

    let too_large = journal.append(told.draft(&vec![7; RECORD_BYTES_MAX + 1]));
    let records = append(&*journal, [vec![7; RECORD_BYTES_MAX], Vec::new(), vec![8; RECORD_BYTES_MAX]]);

    assert!(matches!(too_large, Err(AppendError::TooLarge(_))));
    assert_eq!(read_all(&*journal), records);
    drop(journal);
    assert_eq!(read_all(&*place.open()), records);
}

pub(crate) fn closing_tells_what_was_taken_and_takes_nothing_more(place: &impl Place) {
    let journal = place.open();
    let told = Told::new();
    for payload in payloads(1000, 50) {
        journal.append(told.draft(&payload)).expect("appends");
    }

    journal.close();

    assert!(matches!(journal.append(told.draft(b"late")), Err(AppendError::Closed)));
    assert_eq!(journal.durable(), Position(1000));
    assert_eq!(told.rest().len(), 1000);
    journal.close();
}

/// Every third record, as those of one shard would be.
fn of_one_shard(records: &[Record]) -> Vec<Record> {
    records.iter().step_by(3).cloned().collect()
}

fn plain(records: &[Record]) -> Vec<(Position, Vec<u8>)> {
    records.iter().map(|record| (record.position, record.bytes.clone())).collect()
}

fn parked(journal: &dyn Journal, shard: &str) -> Vec<(Position, Vec<u8>)> {
    let mut all = Vec::new();
    let mut after = Position::START;
    loop {
        let records = journal.read_parked(shard, after, 3000).expect("reads");
        let Some(last) = records.last() else { return all };
        after = last.position;
        all.extend(plain(&records));
    }
}

pub(crate) fn parked_records_outlive_the_main_ones_and_a_restart(place: &impl Place) {
    let journal = place.open();
    let all = append(&*journal, payloads(300, 500));
    let mine = of_one_shard(&all);

    journal.park("north", &mine[..40]).expect("parks");
    journal.park("north", &mine[30..]).expect("parks the new ones");
    journal.park("south/../x", &all[..1]).expect("parks");
    journal.trim(journal.durable()).expect("trims");

    let check = |journal: &dyn Journal| {
        assert_eq!(parked(journal, "north"), plain(&mine));
        assert_eq!(parked(journal, "south/../x"), plain(&all[..1]));
        assert_eq!(journal.parked_through("north").expect("answers"), Some(mine[mine.len() - 1].position));
    };
    check(&*journal);
    drop(journal);
    check(&*place.open());
}

pub(crate) fn a_shard_that_never_stopped_has_nothing_parked(place: &impl Place) {
    let journal = place.open();

    assert_eq!(journal.parked_through("north").expect("answers"), None);
    assert_eq!(journal.read_parked("north", Position::START, 1000).expect("reads"), []);
    journal.trim_parked("north", Position(9)).expect("trims nothing");
    journal.park("north", &[]).expect("parks nothing");
    assert_eq!(journal.parked_through("north").expect("answers"), None);
}

pub(crate) fn parked_records_are_trimmed_and_more_can_follow(place: &impl Place) {
    let journal = place.open();
    let all = append(&*journal, payloads(300, 500));
    for records in all[..200].chunks(10) {
        journal.park("north", records).expect("parks");
    }

    journal.trim_parked("north", Position(100)).expect("trims");
    let held = parked(&*journal, "north");
    assert!(held.len() < 200 && held.len() >= 100);
    assert_eq!(held, plain(&all[200 - held.len()..200]));
    journal.trim_parked("north", Position(200)).expect("trims");
    assert_eq!(parked(&*journal, "north"), []);
    assert_eq!(journal.parked_through("north").expect("answers"), None);
    drop(journal);

    let journal = place.open();
    journal.park("north", &all[150..]).expect("parks");
    assert_eq!(parked(&*journal, "north"), plain(&all[200..]));
}

/// Makes a test of each function of the suite.
macro_rules! journal_contract {
    ($place:ty) => {
        $crate::substrate::journal::contract::journal_contract!(@each <$place>::roomy();
            a_record_at_the_limit_fits_and_one_byte_more_does_not
        );
        $crate::substrate::journal::contract::journal_contract!(@each <$place>::tight();
            a_new_journal_is_empty
            positions_are_given_in_the_order_of_the_calls
            many_appenders_share_the_positions_without_a_gap
            a_draft_is_told_before_any_reader_sees_it
            the_bell_rings_with_what_is_durable
            a_read_stops_near_its_bytes_but_gives_one_record
            a_locator_finds_its_record_also_after_a_restart
            what_was_told_is_there_after_a_restart_and_positions_go_on
            trimming_gives_back_what_is_below_and_nothing_else
            a_journal_that_was_trimmed_to_its_end_goes_on_where_it_stood
            closing_tells_what_was_taken_and_takes_nothing_more
            parked_records_outlive_the_main_ones_and_a_restart
            a_shard_that_never_stopped_has_nothing_parked
            parked_records_are_trimmed_and_more_can_follow
        );
    };
    (@each $place:expr; $($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                $crate::substrate::journal::contract::$name(&$place);
            }
        )*
    };
}
pub(crate) use journal_contract;
