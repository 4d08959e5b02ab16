//! How many requests were answered, and how: what operators alarm on. The handles are made once, so that counting is one addition.

use actix_web::http::StatusCode;
use metrics::Counter;

use super::Door;

/// Two refusals have kinds of their own, since they say what to do: of a user who is too fast, and of a server that is full, starts or stops, or
/// has a shard that is down.
const KINDS: [&str; 6] = ["done", "redirected", "refused", "too_many", "failed", "unavailable"];

/// The counters of one listener.
pub(super) struct RequestCounts([Counter; KINDS.len()]);

impl RequestCounts {
    pub(super) fn new(door: Door) -> Self {
        let listener = match door {
            Door::Public => "public",
            Door::Admin => "admin",
        };
        Self(KINDS.map(|kind| metrics::counter!("sosik_http_answers_total", "listener" => listener, "kind" => kind)))
    }

    pub(super) fn count(&self, status: StatusCode) {
        let kind = match status.as_u16() {
            ..300 => 0,
            300..400 => 1,
            429 => 3,
            400..500 => 2,
            503 => 5,
            _ => 4,
        };
        self.0[kind].increment(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_is_counted_by_its_kind() {
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || {
            let counts = RequestCounts::new(Door::Public);
            for status in [200, 202, 304, 404, 422, 429, 500, 504, 503] {
                counts.count(StatusCode::from_u16(status).expect("a status"));
            }
        });

        let page = recorder.handle().render();

        for (kind, count) in [("done", 2), ("redirected", 1), ("refused", 2), ("too_many", 1), ("failed", 2), ("unavailable", 1)] {
            let line = format!("sosik_http_answers_total{{listener=\"public\",kind=\"{kind}\"}} {count}");
            assert!(page.contains(&line), "{line} is not in {page}");
        }
    }
}
