//! *Waiting callers*: how long a registration and a refresh take while a large backlog is being drained.

use std::time::Instant;

use serde_json::json;

use crate::apply::filled_house;
use crate::histogram::Histogram;
use crate::people::{registration, user_of};
use crate::report::{Aim, Report, progress};
use crate::server::{House, Server};
use crate::wire::{Connection, request};
use crate::{Options, Outcome};

const REGISTRATION_MS_MAX: f64 = 500.0;
const REFRESH_MS_MAX: f64 = 200.0;
/// Below this the backlog is not the one that was asked for.
const WAITING_PART_MIN: f64 = 0.1;

pub(crate) async fn measure(options: &Options) -> Outcome<()> {
    let mut report = Report::new("waiting");
    let filled = filled_house(options).await?;
    for run in 0..options.runs {
        progress(&format!("waiting: run {} of {}", run + 1, options.runs));
        measure_once(options, &filled, &mut report).await?;
    }
    report.publish(options)
}

async fn measure_once(options: &Options, filled: &House, report: &mut Report) -> Outcome<()> {
    let house = filled.copy(options)?;
    let server = house.open(&[]).await?;
    let enough = (options.entries as f64 * WAITING_PART_MIN) as u64;
    let (mut registrations, mut refreshes) = (Histogram::new(), Histogram::new());
    report.add("entries waiting at the first call", "", server.waiting().await? as f64);
    let mut connection = Connection::open(server.public).await?;
    let mut least = u64::MAX;
    loop {
        let (registered, refreshed) = sign_in_and_on(&server, &mut connection, registrations.count()).await?;
        registrations.add(registered);
        for latency in refreshed {
            refreshes.add(latency);
        }
        let waiting = server.waiting().await?;
        if waiting < enough {
            break;
        }
        least = least.min(waiting);
    }
    report.add("calls made", "", (registrations.count() + refreshes.count()) as f64);
    report.aim("p99 of a registration", "ms", registrations.quantile_ms(0.99), Aim::AtMost(REGISTRATION_MS_MAX));
    report.add("p50 of a registration", "ms", registrations.quantile_ms(0.5));
    report.aim("p99 of a refresh", "ms", refreshes.quantile_ms(0.99), Aim::AtMost(REFRESH_MS_MAX));
    report.add("p50 of a refresh", "ms", refreshes.quantile_ms(0.5));
    report.add("entries waiting at the last call", "", least as f64);
    server.stop().await
}

/// One registration, and three refreshes of its session.
async fn sign_in_and_on(
    server: &Server,
    connection: &mut Connection,
    number: u64,
) -> Outcome<(std::time::Duration, Vec<std::time::Duration>)> {
    let name = format!("late_{}_{number}", server.public.port());
    let began = Instant::now();
    let mut user = user_of(&connection.json(&registration(&name), 201).await?)?;
    let registered = began.elapsed();
    let mut refreshed = Vec::new();
    for _ in 0..3 {
        let body = json!({"refresh_token": user.refresh_token}).to_string();
        let began = Instant::now();
        let answer = connection.json(&request("POST", "/v1/auth/refresh", None, Some(&body)), 200).await?;
        refreshed.push(began.elapsed());
        user = user_of(&answer)?;
    }
    Ok((registered, refreshed))
}
