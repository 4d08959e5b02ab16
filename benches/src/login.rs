//! *Login*: how many a second against argon2id alone, what writes notice of it, and whether an unknown name can be told from a known one by the
//! time that it takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use argon2::{Algorithm, Argon2, Params, Version};
use serde_json::{Value, json};

use crate::histogram::Histogram;
use crate::load::{Load, Pace, Source, Until};
use crate::people::{PASSWORD, People, username};
use crate::report::{Aim, Report, progress};
use crate::server::{House, Server};
use crate::wire::{Connection, request};
use crate::{Options, Outcome};

/// Of the hashes a second that argon2id makes alone.
const PART_MIN: f64 = 0.9;
/// The p99 of writes beside logins, against that without.
const WRITES_MAX: f64 = 2.0;
/// How far apart the medians of known and unknown names may be.
const APART_MAX: f64 = 0.05;
/// Wrong logins of each of the two kinds, over all runs.
const WRONG_LOGINS: usize = 2_000;
/// Names that are tried in turn, of each kind: as many as there are users, so that caches serve both alike.
const USERS: usize = 64;
const POSTS: usize = 1_000;
/// Logins that are under way at once: a few for each core, so that no core waits for one.
const LOGINS_AT_ONCE: usize = 8;
const WRITES_AT_ONCE: usize = 16;
/// What a quiet evening writes, far below what the server can take.
const WRITES_A_SECOND: f64 = 200.0;

pub(crate) async fn measure(options: &Options) -> Outcome<()> {
    let mut report = Report::new("login");
    let (house, people) = House::settled(options, USERS, POSTS).await?;
    let server = house.open(&[]).await?;
    let (mut known, mut unknown) = (Histogram::new(), Histogram::new());
    for run in 0..options.runs {
        progress(&format!("login: run {} of {}", run + 1, options.runs));
        guess(&server, WRONG_LOGINS.div_ceil(options.runs), &mut known, &mut unknown).await?;
        let alone = hashes_a_second(options.time()).await?;
        let logins = logins(options.time()).run(&server).await?.all(200)?;
        report.add("argon2id alone", "1/s", alone);
        report.add("logins", "1/s", logins.rate());
        report.aim("logins ÷ argon2id alone", "×", logins.rate() / alone, Aim::AtLeast(PART_MIN));
        report.add("p99 of a login", "ms", logins.latency.quantile_ms(0.99));
        write_beside_logins(options, &server, &people, run as u64, &mut report).await?;
    }
    let (of_known, of_unknown) = (known.quantile_ms(0.5), unknown.quantile_ms(0.5));
    report.add("wrong logins of each kind", "", known.count() as f64);
    report.add("median, known name", "ms", of_known);
    report.add("median, unknown name", "ms", of_unknown);
    report.aim("medians apart", "×", (of_known / of_unknown - 1.0).abs(), Aim::AtMost(APART_MAX));
    server.stop().await?;
    report.publish(options)
}

fn login(name: &str, password: &str) -> Vec<u8> {
    request("POST", "/v1/auth/login", None, Some(&json!({"username": name, "password": password}).to_string()))
}

/// Wrong logins with known and with unknown names, in turn, on one connection: all must have the same answer.
async fn guess(server: &Server, each: usize, known: &mut Histogram, unknown: &mut Histogram) -> Outcome<()> {
    let mut connection = Connection::open(server.public).await?;
    let mut first: Option<Value> = None;
    for number in 0..each {
        let name = username(number % USERS);
        for (name, times) in [(name.clone(), &mut *known), (name.replace("bench", "nobody"), &mut *unknown)] {
            let began = Instant::now();
            let mut answer = connection.json(&login(&name, "not-the-password-8"), 401).await?;
            times.add(began.elapsed());
            // The one member that every answer has for itself.
            answer["request_id"].take();
            let expected = first.get_or_insert_with(|| answer.clone());
            if answer != *expected {
                return Err(format!("{name} is told from others: {answer} and {expected}").into());
            }
        }
    }
    Ok(())
}

/// Hashes with the server's parameters, a thread a core, without the server.
async fn hashes_a_second(time: Duration) -> Outcome<f64> {
    let cores = std::thread::available_parallelism()?.get();
    let (made, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let began = Instant::now();
    let threads: Vec<_> = (0..cores)
        .map(|_| {
            let (made, over) = (Arc::clone(&made), Arc::clone(&over));
            std::thread::spawn(move || -> Result<(), argon2::Error> {
                let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(19_456, 2, 1, Some(32))?);
                let mut hash = [0; 32];
                while !over.load(Ordering::Relaxed) {
                    argon2.hash_password_into(PASSWORD.as_bytes(), b"salt of 16 bytes", &mut hash)?;
                    made.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            })
        })
        .collect();
    tokio::time::sleep(time).await;
    over.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().map_err(|_panic| "a hashing thread panicked")?.map_err(|error| error.to_string())?;
    }
    Ok(made.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64())
}

/// Right logins of all users in turn.
fn logins(time: Duration) -> Load {
    let requests: Vec<Vec<u8>> = (0..USERS).map(|number| login(&username(number), PASSWORD)).collect();
    let source: Source = Arc::new(move |connection, number, into| {
        let place = connection + number as usize * LOGINS_AT_ONCE;
        into.extend_from_slice(&requests[place % requests.len()]);
    });
    Load { connections: LOGINS_AT_ONCE, pace: Pace::Closed, until: Until::Elapsed(time), source }
}

/// Likes at an even pace, without and with as many logins as the server can do.
async fn write_beside_logins(options: &Options, server: &Server, people: &People, run: u64, report: &mut Report) -> Outcome<()> {
    let writes = |part: u64| Load {
        connections: WRITES_AT_ONCE,
        pace: Pace::Open(WRITES_A_SECOND),
        until: Until::Elapsed(options.time()),
        // Each like is the first of its pair.
        source: people.likes(WRITES_AT_ONCE, (2 * run + part) * (WRITES_A_SECOND * options.time().as_secs_f64()) as u64),
    };
    let before = writes(0).run(server).await?.all(202)?.latency.quantile_ms(0.99);
    let (beside, logged_in) = (writes(1), logins(options.time()));
    let (beside, logged_in) = tokio::join!(beside.run(server), logged_in.run(server));
    let (beside, logged_in) = (beside?.all(202)?.latency.quantile_ms(0.99), logged_in?.all(200)?);
    report.add("p99 of a like, 200 a second, no logins", "ms", before);
    report.add("p99 of a like beside logins", "ms", beside);
    report.aim("p99 of a like beside logins ÷ without", "×", beside / before, Aim::AtMost(WRITES_MAX));
    report.add("logins beside likes", "1/s", logged_in.rate());
    Ok(())
}
