//! What operators see: the metrics of a server at work, and the dashboard that draws them.

use std::collections::BTreeSet;
use std::time::Duration;

use reqwest::Method;

use crate::support::client::{Person, nonce, within};
use crate::support::server::{Server, Settings};
use crate::support::socket::Socket;

/// What comes with its first event, or with a standby, which this server does not have.
const NOT_YET: [&str; 2] = ["sosik_panics_total", "sosik_standby_is_read"];

/// The names of metrics in a text, without what histograms add to theirs.
fn names_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|character: char| !(character.is_ascii_lowercase() || character == '_'));
    let metrics = words.filter(|word| (word.starts_with("sosik_") || word.starts_with("process_")) && !word.ends_with('_'));
    metrics.map(|name| name.trim_end_matches("_bucket").to_owned()).collect()
}

#[tokio::test]
async fn the_dashboard_draws_what_the_metrics_hold() {
    let server = Server::start().await;
    let (ann, ben) = (Person::join(&server, "ann").await, Person::join(&server, "ben").await);
    let mut socket = Socket::open(&ann).await;
    let post = ann.publish("Look at the numbers").await;
    ben.write_comment(&post, &nonce()).send().await.expect(202);
    socket.event("notification").await;

    let page = ann.admin_call(Method::GET, "/").send().await.expect(200);
    assert!(page.text.contains("/dashboard/dashboard.js"));
    let script = ann.admin_call(Method::GET, "/dashboard/dashboard.js").send().await.expect(200);
    let drawn = names_in(&script.text);
    assert!(drawn.len() > 15, "{drawn:?}");

    // Some are told every few hundred milliseconds.
    within(Duration::from_secs(60), "all metrics that are drawn", async || {
        let told = names_in(&ann.admin_call(Method::GET, "/metrics").send().await.text);
        let missing: Vec<&String> = drawn.difference(&told).filter(|name| !NOT_YET.contains(&name.as_str())).collect();
        missing.is_empty().then_some(())
    })
    .await;
    let metrics = ann.admin_call(Method::GET, "/metrics").send().await.text;
    for label in ["listener: \"public\"", "kind: \"unavailable\"", "kind: \"failed\"", "job: \"batch\""] {
        assert!(script.text.contains(label) && metrics.contains(&label.replace(": ", "=")), "{label}");
    }
    for name in ["sosik_notices_waiting", "sosik_lanes_untold", "sosik_shard_waiting_entries"] {
        let metrics = ann.admin_call(Method::GET, "/metrics").send().await;
        assert!(metrics.text.contains(&format!("{name}{{shard=\"s1\"}}")), "{name} of s1");
    }
}

#[tokio::test]
async fn answers_are_counted_by_what_became_of_them() {
    let server = Server::start_with(Settings::default()).await;
    let ann = Person::join(&server, "ann").await;
    let answers = async |kind: &str| ann.metric(&format!("sosik_http_answers_total{{listener=\"public\",kind=\"{kind}\"}}")).await;
    let (done, refused) = (answers("done").await, answers("refused").await);

    for _ in 0..3 {
        ann.get("/v1/users/me").send().await.expect(200);
    }
    ann.get("/v1/posts/none").send().await.expect_problem(400, "malformed");

    assert_eq!((answers("done").await, answers("refused").await), (done + 3.0, refused + 1.0));
    assert_eq!(answers("failed").await, 0.0);
}
