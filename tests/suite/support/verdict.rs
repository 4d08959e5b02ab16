//! The end of a run: everything is given time to be applied, then read back over HTTP and from the shards, and checked.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::client::Person;
use super::facts::Facts;
use super::history::{History, Id, Outcome, Record, Report, rows_are_where_the_map_says};
use super::server::Server;
use super::shards;

/// How long the backlog of a run may take on a busy machine: as long as a load may take for what its test waits for.
const DRAIN_LIMIT: Duration = Duration::from_secs(240);
/// The same for a control, in which it may never end.
const DRAIN_LIMIT_OF_CONTROLS: Duration = Duration::from_secs(60);
/// Of each session the last writes are followed until they are final; lanes are in order, so few are left then.
const FOLLOWED_PER_SESSION: usize = 20;

/// What the run came to, once all is applied. A backlog that does not drain is a broken promise too.
pub(crate) async fn verdict(server: &Server, history: &History, people: &[Person]) -> Report {
    let unsettled = settle(&history.record(), people, DRAIN_LIMIT).await;
    let started = Instant::now();
    loop {
        let mut report = judge(server, history, people).await;
        report.not_settled(unsettled.clone());
        if report.violations.is_empty() || started.elapsed() > Duration::from_secs(15) {
            return report;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// The same without patience: for controls, whose violations stay.
pub(crate) async fn verdict_at_once(server: &Server, history: &History, people: &[Person]) -> Report {
    let unsettled = settle(&history.record(), people, DRAIN_LIMIT_OF_CONTROLS).await;
    // What is wrong stays wrong, and nothing says when the rest is through: relays, and writes that were not followed.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut report = judge(server, history, people).await;
    report.not_settled(unsettled);
    report
}

async fn judge(server: &Server, history: &History, people: &[Person]) -> Report {
    let record = history.record();
    let reader = Person::stranger(server);
    let mut told = Facts::over_http(&reader, people, &record).await;
    let stored = shards::all_facts(server).await;
    // Nobody is told who likes a comment, only how many: as many as there are rows.
    told.comment_likes.clone_from(&stored.comment_likes);
    let map = shard_map(&reader, &stored).await;
    let mut report = Report::of(&record).check(&record, &told).check(&record, &stored).check_sessions(&record);
    report.violations.extend(rows_are_where_the_map_says(&stored, &map));
    report
}

/// Follows the last writes of each session until they are final: those that are not within the limit, with their states.
async fn settle(record: &Record, people: &[Person], limit: Duration) -> Vec<(Id, String)> {
    let started = Instant::now();
    let mut unsettled = Vec::new();
    for (number, person) in people.iter().enumerate() {
        let writes = record.operations.iter().rev().filter(|operation| operation.session == number as u32);
        let accepted = writes.filter_map(|operation| match operation.outcome {
            Some(Outcome::Ok { write, .. }) => Some(write),
            _ => None,
        });
        for write in accepted.take(FOLLOWED_PER_SESSION) {
            loop {
                let state = person.write_state(&write.to_string()).await;
                if state != "accepted" && state != "committed" {
                    break;
                }
                if started.elapsed() > limit {
                    unsettled.push((write, state));
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
    unsettled
}

/// What the server says of the shard of each post.
async fn shard_map(reader: &Person, facts: &Facts) -> HashMap<Id, String> {
    let mut map = HashMap::new();
    for post in &facts.posts {
        let answer = reader.get(&format!("/v1/ids/{}", post.id)).send().await.expect(200);
        map.insert(post.id, answer.text_at("/shard"));
    }
    map
}
