//! *Behind*: reading one's own writes on a shard in PostgreSQL whose standby is read and is half a minute behind, against the same with one
//! that keeps up. Everybody writes and reads at a fixed pace, so that as much is pending as was written since the standby's last state.

use std::time::{Duration, Instant};

use sea_orm::{ConnectionTrait, Database, DatabaseConnection, DbBackend, Statement};
use serde_json::json;
use tokio::task::JoinSet;

use crate::cluster::{self, Made};
use crate::histogram::Histogram;
use crate::people::{People, comment_on};
use crate::report::{Aim, Report, progress};
use crate::server::{House, Server};
use crate::wire::{Connection, request, request_with};
use crate::{Options, Outcome};

const COST_MAX: f64 = 2.0;
const BEHIND: Duration = Duration::from_secs(30);
/// People who write and read, each about a post of his own.
const USERS: usize = 80;
/// A comment, then each kind of read, by each of them.
const EVERY: Duration = Duration::from_secs(1);
/// How long the standby, and what waits for it, may take to come up to date.
const PATIENCE: Duration = Duration::from_secs(180);

/// What is read of one's own, by the names of the report.
const READS: [&str; 4] = ["own post", "own post, with its token", "own comments", "own profile"];

pub(crate) async fn measure(options: &Options) -> Outcome<()> {
    let cluster = cluster::named(options)?;
    let followers = options
        .standby
        .as_deref()
        .ok_or("say where a streaming standby of that cluster is: --standby postgres://user@host:port/postgres")?;
    let mut report = Report::new("behind");
    let made = Made::new(cluster, "behind").await?;
    let (house, people) = House::settled_on(options, USERS, USERS, &[("s1", &made.url)]).await?;
    let house = house.beside_standby("s1", &made.url, &made.url_at(followers)?);
    let standby = Database::connect(followers).await?;
    let server = house.open(&[]).await?;
    for run in 0..options.runs {
        progress(&format!("behind: run {} of {}", run + 1, options.runs));
        stay_behind(&standby, Duration::ZERO).await?;
        is_read_and_up_to_date(&server).await?;
        let close = live(&server, &people, Duration::ZERO, options.time()).await?;
        stay_behind(&standby, BEHIND).await?;
        let far = live(&server, &people, BEHIND, options.time()).await?;
        report.add("the standby is behind by", "s", behind(&standby).await?);
        report.add("entries that are pending", "", server.waiting().await? as f64);
        for (place, what) in READS.iter().enumerate() {
            let (close, far) = (&close[place], &far[place]);
            report.add(&format!("p50 of {what}, standby up to date"), "ms", close.quantile_ms(0.5));
            report.add(&format!("p99 of {what}, standby up to date"), "ms", close.quantile_ms(0.99));
            report.add(&format!("p50 of {what}, standby behind"), "ms", far.quantile_ms(0.5));
            report.add(&format!("p99 of {what}, standby behind"), "ms", far.quantile_ms(0.99));
            let ratio = far.quantile_ms(0.5) / close.quantile_ms(0.5);
            report.aim(&format!("{what}: behind ÷ up to date, p50"), "×", ratio, Aim::AtMost(COST_MAX));
        }
    }
    stay_behind(&standby, Duration::ZERO).await?;
    is_read_and_up_to_date(&server).await?;
    server.stop().await?;
    report.publish(options)
}

/// Has a standby replay what is this old, and no sooner.
async fn stay_behind(standby: &DatabaseConnection, by: Duration) -> Outcome<()> {
    standby.execute_unprepared(&format!("ALTER SYSTEM SET recovery_min_apply_delay = '{}ms'", by.as_millis())).await?;
    standby.execute_unprepared("SELECT pg_reload_conf()").await?;
    Ok(())
}

/// Seconds since the commit that the standby replayed last; something is committed all the time.
async fn behind(standby: &DatabaseConnection) -> Outcome<f64> {
    let text = "SELECT extract(epoch FROM now() - pg_last_xact_replay_timestamp())::float8 AS behind";
    let row = standby.query_one_raw(Statement::from_string(DbBackend::Postgres, text)).await?.ok_or("no answer")?;
    Ok(row.try_get("", "behind")?)
}

async fn is_read_and_up_to_date(server: &Server) -> Outcome<()> {
    let began = Instant::now();
    while server.metric("sosik_standby_is_read").await? == 0 || server.waiting().await? > 0 {
        if began.elapsed() > PATIENCE {
            return Err(format!("the standby is not up to date after {PATIENCE:?}").into());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// Everybody writes and reads; what the reads took, by kind, once `before` is over and for as long as `time`.
async fn live(server: &Server, people: &People, before: Duration, time: Duration) -> Outcome<Vec<Histogram>> {
    let began = Instant::now();
    let mut lives = JoinSet::new();
    for number in 0..USERS {
        let (address, token, post) = (server.public, people.users[number].token.clone(), people.posts[number].clone());
        lives.spawn(async move {
            let comment = comment_on(&post, &token, &json!({"body": "What just came to my mind"}).to_string());
            let mut connection = Connection::open(address).await?;
            let mut took: Vec<Histogram> = READS.iter().map(|_| Histogram::new()).collect();
            // Each at his time, not all at once.
            let mut turn = tokio::time::interval_at((began + EVERY * number as u32 / USERS as u32).into(), EVERY);
            while began.elapsed() < before + time {
                turn.tick().await;
                let written = connection.exchange(&comment).await?;
                if written.status != 202 {
                    return Err(format!("a comment was answered {}", written.status).into());
                }
                let seen = written.header("consistency-token").ok_or("no Consistency-Token")?.to_owned();
                let own_post = format!("/v1/posts/{post}");
                let reads = [
                    request("GET", &own_post, Some(&token), None),
                    request_with("GET", &own_post, &token, &[("Consistency-Token", &seen)]),
                    request("GET", &format!("{own_post}/comments?order=desc"), Some(&token), None),
                    request("GET", "/v1/users/me", Some(&token), None),
                ];
                for (read, took) in reads.iter().zip(&mut took) {
                    let asked = Instant::now();
                    let status = connection.exchange(read).await?.status;
                    if status != 200 {
                        return Err(format!("a read was answered {status}").into());
                    }
                    if began.elapsed() >= before {
                        took.add(asked.elapsed());
                    }
                }
            }
            Outcome::Ok(took)
        });
    }
    let mut all: Vec<Histogram> = READS.iter().map(|_| Histogram::new()).collect();
    while let Some(took) = lives.join_next().await {
        for (all, one) in all.iter_mut().zip(took??) {
            all.merge(&one);
        }
    }
    Ok(all)
}
