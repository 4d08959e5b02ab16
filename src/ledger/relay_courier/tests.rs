//! The courier with real supervisors over real databases.

use actix::prelude::*;
use fail::FailScenario;

use super::super::lanes::Lanes;
use super::super::limiter::Limiter;
use super::super::shard::{Look, News};
use super::super::testing::Town;
use super::super::write_supervisor::BatchBounds;
use super::super::writes::{Known, Progress};
use super::*;
use crate::vocabulary::command::{Command, Entry};
use crate::vocabulary::ids::{PostId, UserId, WriteId};
use crate::vocabulary::owner::{LANES, LaneAddress};
use crate::vocabulary::text::PostBody;

/// How long a condition may take to come true: two cores are shared with other tests.
const PATIENCE: Duration = Duration::from_secs(60);
/// Deliveries that are refused, of which a pause follows each.
const TRIES: u32 = 5;
const AUTHOR: UserId = UserId::from_raw(1);
const POST: PostId = PostId::from_raw(1_000);

/// Supervisors of all shards, and the courier of one that is told of nothing but by letters.
fn start(town: &Town, shard: ShardIndex) -> Mailbox<RelayCourier> {
    let runtime = Handle::current();
    let supervisors = town.ledger.shards.iter().map(|of| {
        let bounds = BatchBounds { rows: 100, bytes: 1 << 20 };
        let cursor = town.ledger.journal.durable();
        let supervisor =
            WriteSupervisor::new(Arc::clone(&town.ledger), of.index, runtime.clone(), bounds, Limiter::fixed(1), Lanes::default(), cursor);
        Mailbox::new(supervisor.start(), "write_supervisor", 16)
    });
    let lanes: Vec<LaneRow> = (0..LANES)
        .map(|lane| LaneRow { lane: Lane(lane), applied: Position::START, relayed: Position::START, notified: Position::START })
        .collect();
    let courier = RelayCourier::new(Arc::clone(&town.ledger), shard, runtime.clone(), supervisors.collect(), &lanes, HashMap::new());
    Mailbox::new(courier.start(), "relay_courier", 1)
}

async fn until_visible(ledger: &Ledger, write: WriteId) {
    let seen = async {
        while !matches!(ledger.writes.known(write), Some(Known::Settled(settled)) if matches!(settled.progress, Progress::Visible { .. })) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, seen).await.expect("visible");
}

/// Two posts of one lane, committed one after the other, of which the first is only in the database.
fn two_posts(town: &mut Town) -> (LaneAddress, Vec<Arc<Entry>>) {
    let create = |post| Command::CreatePost { post, body: PostBody::parse("hello").expect("a body") };
    let lane = town.home(AUTHOR, &create(POST));
    let same_lane = |raw: &u64| town.home(AUTHOR, &create(PostId::from_raw(*raw))) == lane;
    let second = (1_001..).find(same_lane).map(PostId::from_raw).expect("another post of the lane");
    let entries = [POST, second].map(|post| town.write(AUTHOR, create(post)));
    (lane, entries.into())
}

#[test]
fn later_news_do_not_overtake_events_that_are_only_in_the_database() {
    let _no_faults = FailScenario::setup();
    System::new().block_on(async {
        let mut town = Town::with_users(1).await;
        let (lane, entries) = two_posts(&mut town);
        let ledger = Arc::clone(&town.ledger);
        let shard = ledger.shard(lane.shard);
        town.apply_untold(lane, 1).await;
        town.apply_untold(lane, 1).await;
        let position = entries[0].position;
        shard.tell_courier_to_look(Look { lane: lane.lane, position, unsure: Unsure::new() });
        shard.tell_courier(News { lane: lane.lane, position: entries[1].position, owed: Vec::new() });

        let _courier = start(&town, lane.shard);

        for entry in &entries {
            until_visible(&town.ledger, entry.write).await;
        }
    });
}

#[test]
fn news_that_do_not_fit_are_read_from_the_database() {
    let _no_faults = FailScenario::setup();
    System::new().block_on(async {
        let mut town = Town::with_users(1).await;
        let (lane, entries) = two_posts(&mut town);
        let told = town.apply_untold(lane, 1).await;
        town.apply_untold(lane, 1).await;
        let mut many = told[0].owed.clone();
        let filling = many[0].clone();
        many.resize(NEWS_MAX + 1, filling);
        let ledger = Arc::clone(&town.ledger);
        let shard = ledger.shard(lane.shard);
        // More than the box takes; then a batch without anything owed, which always fits.
        shard.tell_courier(News { lane: lane.lane, position: entries[0].position, owed: many });
        shard.tell_courier(News { lane: lane.lane, position: entries[1].position, owed: Vec::new() });

        let _courier = start(&town, lane.shard);

        for entry in &entries {
            until_visible(&ledger, entry.write).await;
        }
    });
}

/// The destination forgot what it was told: it refuses each delivery, and is asked a few times a second and not all the time.
#[cfg(feature = "faults")]
#[test]
fn a_destination_that_forgot_what_it_was_told_is_left_alone_for_a_while() {
    let _faults = FailScenario::setup();
    System::new().block_on(async {
        let mut town = Town::with_users(1).await;
        let (lane, entries) = two_posts(&mut town);
        let ledger = Arc::clone(&town.ledger);
        let _courier = start(&town, lane.shard);
        fail::cfg("relay::skip_cursor", "return").expect("a fault");
        let told = town.apply_untold(lane, 1).await;
        told.into_iter().for_each(|news| ledger.shard(lane.shard).tell_courier(news));
        until_visible(&ledger, entries[0].write).await;
        fail::remove("relay::skip_cursor");
        let tries = Arc::new(std::sync::atomic::AtomicU32::new(0));
        let counted = Arc::clone(&tries);
        let count = move || {
            counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        };
        fail::cfg_callback("relay::before_delivery", count).expect("a fault");

        let told = town.apply_untold(lane, 1).await;
        told.into_iter().for_each(|news| ledger.shard(lane.shard).tell_courier(news));
        let began = std::time::Instant::now();
        let tried = async {
            while tries.load(std::sync::atomic::Ordering::SeqCst) < TRIES {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, tried).await.expect("it is tried again and again");

        assert!(began.elapsed() >= RETRY_AFTER * (TRIES - 2), "{TRIES} deliveries within {:?}", began.elapsed());
    });
}
