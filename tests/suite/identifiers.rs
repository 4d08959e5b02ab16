//! G13: an id is given once, also when the clock is set back, also over restarts; two processes never share an identity.
//!
//! Controls: a clock whose reservation is not kept must be caught when it is set back over a restart, and two processes with one number.

use std::collections::HashSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use sosik::support::clock::{Clock, SystemClock};
use sosik::support::data_folder::claim_worker;
use sosik::support::snowflake::IdMaker;
use sosik::vocabulary::Millis;
use sosik::vocabulary::ids::IdParts;

use crate::support::client::{Person, nonce};
use crate::support::server::{Server, Settings};
use crate::support::{faults, number_from_environment};

fn clock(settings: Settings, offset_ms: i64) -> Settings {
    settings.fault((faults::CLOCK_OFFSET, &format!("return({offset_ms})")))
}

async fn write_ids(ann: &Person, count: usize) -> Vec<u64> {
    let mut ids = Vec::new();
    for _ in 0..count {
        let answer = ann.write_post(&nonce()).send().await.expect(202);
        ids.push(answer.text_at("/post/id").parse().expect("an id"));
        ids.push(answer.write_id().parse().expect("an id"));
    }
    ids
}

/// Ids of several processes on one folder, each with its clock so much off.
async fn ids_with_clocks(offsets: &[i64], settings: Settings) -> Vec<u64> {
    let mut server = Server::start_with(clock(settings.clone(), offsets[0])).await;
    let ann = Person::join(&server, "clock").await;
    let mut ids = write_ids(&ann, 20).await;
    for offset in &offsets[1..] {
        server.kill();
        server.restart_with(clock(settings.clone(), *offset)).await;
        let fresh = ann.signed_out().login(&ann.name, crate::support::client::PASSWORD).await.expect(200);
        ids.extend(write_ids(&ann.signed_in(&fresh, &ann.name), 20).await);
    }
    ids
}

fn rising(ids: &[u64]) -> bool {
    ids.windows(2).all(|pair| pair[0] != pair[1]) && ids.iter().step_by(2).is_sorted() && ids.iter().skip(1).step_by(2).is_sorted()
}

#[tokio::test]
async fn ids_rise_although_the_clock_is_set_back_over_restarts() {
    for steps in [[0, -1], [0, -1_000], [0, -2_500], [0, 1_500]] {
        let ids = ids_with_clocks(&steps, Settings::default()).await;
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len(), "an id twice with {steps:?}");
        assert!(rising(&ids), "{steps:?}: {ids:?}");
    }
}

#[tokio::test]
async fn an_hour_forth_and_back_repeats_no_id() {
    let ids = ids_with_clocks(&[0, 3_600_000, 0], Settings::default()).await;

    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len());
    assert!(rising(&ids), "{ids:?}");
}

#[tokio::test]
async fn control_a_clock_without_its_reservation_is_caught() {
    let ids = ids_with_clocks(&[0, 3_600_000, 0], Settings::default().fault((faults::SKIP_RESERVATION, "return"))).await;

    assert!(!rising(&ids), "the fault had no effect");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_clients_at_once_never_get_an_id_twice() {
    let server = Server::start().await;
    let people = Person::join_many(&server, "many", 8).await;

    let all = futures_util::future::join_all(people.iter().map(|person| write_ids(person, 150))).await;

    for ids in &all {
        assert!(rising(ids));
    }
    let flat: Vec<u64> = all.concat();
    assert_eq!(flat.iter().collect::<HashSet<_>>().len(), flat.len());
    assert!(flat.iter().all(|id| *id < 1 << 63));
}

#[tokio::test]
async fn a_second_process_on_the_same_folder_is_refused_and_says_why() {
    let server = Server::start().await;

    let (started, output) = server.run(&["serve", "--bind", "127.0.0.1:0", "--admin-bind", "127.0.0.1:0"]);

    assert!(!started, "{output}");
    assert!(!output.contains("panicked"), "{output}");
    Person::join(&server, "unharmed").await.publish("Still here").await;
}

#[tokio::test]
async fn the_command_line_tells_the_same_of_an_id_as_the_server() {
    let server = Server::start().await;
    let ann = Person::join(&server, "ann").await;
    let post = ann.publish("Tell me").await;
    let told = ann.get(&format!("/v1/ids/{post}")).send().await.expect(200);

    let (known, output) = server.run(&["id", &post]);

    assert!(known, "{output}");
    for member in ["/timestamp", "/shard"] {
        assert!(output.contains(&told.text_at(member)), "{member} is missing in {output}");
    }
}

/// T13.3: the number of a maker, how many ids it makes, when all began, its folder, and where the ids go. Set in a process of this very test
/// that makes ids for it.
const MAKER: &str = "SOSIK_TEST_ID_MAKER";
/// Threads of each of the two processes.
const MAKER_THREADS: usize = 8;
/// The makers' clock goes so much slower that the 4096 ids of its milliseconds run out, on the slowest machine too.
const SLOWNESS: u64 = 10_000;

/// From when it began on, a small part of the time that has passed.
struct SlowClock {
    began: Millis,
}

impl Clock for SlowClock {
    fn now(&self) -> Millis {
        self.began + SystemClock.now().saturating_sub(self.began) / SLOWNESS
    }
}

/// The part of the other process: each thread leaves a file with its ids, in the order in which it got them.
fn make_ids(order: &str) {
    let [worker, count, began, folder, into] = order.splitn(5, ';').collect::<Vec<_>>()[..] else { panic!("{order}") };
    let number = |text: &str| text.parse::<u64>().expect("a number");
    let clock = Arc::new(SlowClock { began: number(began) });
    let claim = claim_worker(Path::new(folder), 0, number(worker) as u8).expect("the number is free");
    let maker = IdMaker::open(Path::new(folder), claim, clock).expect("opens");
    std::thread::scope(|scope| {
        for thread in 0..MAKER_THREADS {
            let maker = &maker;
            scope.spawn(move || {
                let ids = (0..number(count) as usize / MAKER_THREADS).flat_map(|_| maker.next().expect("an id").to_le_bytes());
                std::fs::write(Path::new(into).join(thread.to_string()), ids.collect::<Vec<u8>>()).expect("writes");
            });
        }
    });
}

/// What two processes made at once: for each of them, the ids of each of its threads.
fn made_by_two_processes(count: u64, workers: [u8; 2], folders: [&Path; 2]) -> Vec<Vec<Vec<u64>>> {
    let (began, made) = (SystemClock.now(), tempfile::tempdir().expect("a folder"));
    let start = |maker: usize| {
        let into = made.path().join(maker.to_string());
        std::fs::create_dir(&into).expect("a folder");
        let order = format!("{};{count};{began};{};{}", workers[maker], folders[maker].display(), into.display());
        let program = std::env::current_exe().expect("this program");
        let arguments = ["--exact", "identifiers::two_processes_of_eight_threads_make_no_id_twice"];
        Command::new(program).args(arguments).env(MAKER, order).env_remove("FAILPOINTS").stdout(Stdio::null()).spawn().expect("it starts")
    };
    for mut maker in [start(0), start(1)] {
        assert!(maker.wait().expect("it ends").success());
    }
    let read = |maker: usize, thread: usize| {
        let bytes = std::fs::read(made.path().join(maker.to_string()).join(thread.to_string())).expect("the ids of a thread");
        bytes.chunks_exact(8).map(|id| u64::from_le_bytes(id.try_into().expect("eight bytes"))).collect()
    };
    (0..2).map(|maker| (0..MAKER_THREADS).map(|thread| read(maker, thread)).collect()).collect()
}

/// All of them in order, and how many of them are there more than once.
fn in_order(ids: impl Iterator<Item = u64>) -> (Vec<u64>, usize) {
    let mut ids: Vec<u64> = ids.collect();
    ids.sort_unstable();
    let twice = ids.windows(2).filter(|pair| pair[0] == pair[1]).count();
    (ids, twice)
}

#[test]
fn two_processes_of_eight_threads_make_no_id_twice() {
    if let Ok(order) = std::env::var(MAKER) {
        return make_ids(&order);
    }
    let count = number_from_environment("SOSIK_IDS", 400_000) / 2;
    let folder = tempfile::tempdir().expect("a folder");

    let made = made_by_two_processes(count, [1, 2], [folder.path(); 2]);

    for (process, worker) in made.iter().zip([1, 2]) {
        assert!(process.iter().all(|ids| ids.is_sorted_by(|one, next| one < next)), "they do not rise in a thread of the worker {worker}");
        let (ids, twice) = in_order(process.concat().into_iter());
        assert_eq!((ids.len() as u64, twice), (count, 0), "of the worker {worker}");
        assert!(ids.iter().all(|id| IdParts::of(*id).worker == worker));
        let exhausted =
            ids.chunk_by(|one, next| IdParts::of(*one).timestamp_ms == IdParts::of(*next).timestamp_ms).filter(|of| of.len() == 4096);
        let exhausted = exhausted.count();
        println!("worker {worker}: {} ids, {exhausted} milliseconds without one to spare", ids.len());
        assert!(exhausted > 0, "no millisecond ran out of ids");
    }
    assert_eq!(in_order(made.concat().concat().into_iter()).1, 0);
}

/// Two folders do not know of each other: nobody refuses the second process its number.
#[test]
fn control_two_processes_with_one_number_are_caught() {
    let folders = [tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder")];

    let made = made_by_two_processes(100_000, [1, 1], [folders[0].path(), folders[1].path()]);

    assert!(in_order(made.concat().concat().into_iter()).1 > 0);
}
