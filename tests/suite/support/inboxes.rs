//! C7: the places of an inbox are 1, 2, 3 … without a gap or a double, and each cause has one entry.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use super::client::{Person, within};

const PATIENCE: Duration = Duration::from_secs(30);

/// An inbox as its owner reads it: all entries, newest first.
#[derive(Debug, Clone)]
pub(crate) struct Inbox {
    pub(crate) entries: Vec<Value>,
    pub(crate) seq: u64,
    pub(crate) unread: u64,
}

impl Inbox {
    pub(crate) async fn of(person: &Person) -> Self {
        // One page is one moment: entries and counts of several requests would not belong together.
        let page = person.get("/v1/notifications?limit=100").send().await.expect(200);
        assert!(page.json["next"].is_null(), "more than a page");
        let entries = page.json["items"].as_array().cloned().expect("items");
        Self { entries, seq: page.number_at("/seq").cast_unsigned(), unread: page.number_at("/unread").cast_unsigned() }
    }

    /// Waits until there are so many places.
    pub(crate) async fn with_places(person: &Person, places: u64) -> Self {
        within(PATIENCE, "the inbox to fill", async || {
            let inbox = Self::of(person).await;
            (inbox.seq >= places).then_some(inbox)
        })
        .await
    }

    /// The kinds, oldest first.
    pub(crate) fn kinds(&self) -> Vec<String> {
        self.entries.iter().rev().map(|entry| entry["kind"].as_str().expect("a kind").to_owned()).collect()
    }

    /// The comments that it tells of, each as often as it does.
    pub(crate) fn comments(&self) -> BTreeMap<String, usize> {
        let mut told = BTreeMap::new();
        for comment in self.entries.iter().filter_map(|entry| entry["comment"]["id"].as_str()) {
            *told.entry(comment.to_owned()).or_default() += 1;
        }
        told
    }
}

/// What is wrong with an inbox of which nothing was withdrawn, that should tell of each of these comments.
pub(crate) fn violations(inbox: &Inbox, comments: &BTreeSet<String>) -> Vec<String> {
    let mut found = Vec::new();
    let places: Vec<u64> = inbox.entries.iter().rev().filter_map(|entry| entry["seq"].as_u64()).collect();
    if places != (1..=inbox.seq).collect::<Vec<_>>() {
        found.push(format!("the places are {places:?}, and the last is {}", inbox.seq));
    }
    let unread = inbox.entries.iter().filter(|entry| entry["read"] == false).count() as u64;
    if unread != inbox.unread {
        found.push(format!("{unread} are unread, and the count says {}", inbox.unread));
    }
    let told = inbox.comments();
    found.extend(comments.iter().filter(|comment| !told.contains_key(*comment)).map(|comment| format!("nothing tells of {comment}")));
    found.extend(told.iter().filter(|(_, times)| **times > 1).map(|(comment, times)| format!("{comment} is told {times} times")));
    found
}
