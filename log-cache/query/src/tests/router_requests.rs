//! The view `router_requests`.

use weir_log_cache_store::{Limits, Store, Visibility};
use weir_proto::loggregator_v2::{self as v2, envelope::Message};

use super::{cells, engine, envelope, ingest, query, rows};
use crate::Query;

/// Returns a timer of a router about one request.
fn timer(app: &str, start: i64, stop: i64, tags: &[(&str, &str)]) -> v2::Envelope {
    let timer = v2::Timer {
        name: "http".to_owned(),
        start,
        stop,
    };
    let mut envelope = envelope(app, stop, Message::Timer(timer));
    envelope.tags = [("origin", "gorouter"), ("peer_type", "Server")]
        .iter()
        .chain(tags)
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    envelope
}

const SERVED: [(&str, &str); 9] = [
    ("method", "GET"),
    ("uri", "https://a.example.com/x"),
    ("status_code", "200"),
    ("content_length", "1024"),
    ("route", "a.example.com"),
    ("backend", "10.0.0.1:61001"),
    ("attempts", "2"),
    ("trace_id", "4bf92f3577b34da6a3ce929d0e0e4736"),
    ("request_id", "4bf92f35-77b3-4da6-a3ce-929d0e0e4736"),
];
const UNKNOWN: [(&str, &str); 4] = [
    ("method", "POST"),
    ("status_code", "404"),
    ("content_length", "60"),
    ("router_error", "unknown_route"),
];

fn store() -> Store {
    let store = Store::new(Limits {
        active_rows: 4,
        chunk_rows: 8,
        ..Limits::default()
    });
    let mut call = timer("app-a", 100, 200, &SERVED);
    call.tags.insert("peer_type".to_owned(), "Client".to_owned());
    let mut other = timer("app-a", 100, 200, &SERVED);
    other.tags.insert("origin".to_owned(), "an app".to_owned());
    ingest(
        &store,
        vec![
            timer("app-a", 1_000_000_000, 1_012_500_000, &SERVED),
            timer("gorouter", 2_000_000_000, 2_000_250_000, &UNKNOWN),
            timer(
                "app-b",
                3_000_000_000,
                3_100_000_000,
                &[("method", "GET"), ("status_code", "502")],
            ),
            // The timer of a call of a backend, and one that is not of a router.
            call,
            other,
        ],
    );
    store
}

/// Each request is a row, with what its timer says.
#[tokio::test]
async fn each_request_is_a_row() {
    let engine = engine(&store());
    let sql = "select app, route, method, status, bytes, latency_ms, backend, attempts, trace_id, error \
               from router_requests order by time";
    assert_eq!(
        rows(&engine, sql).await,
        [
            "app-a | a.example.com | GET | 200 | 1024 | 12.5 | 10.0.0.1:61001 | 2 | 4bf92f3577b34da6a3ce929d0e0e4736",
            "gorouter |  | POST | 404 | 60 | 0.25 |  |  |  | unknown_route",
            "app-b |  | GET | 502 |  | 100.0",
        ]
    );
    let sql = "select time, uri, instance, request_id from router_requests where status = 200";
    assert_eq!(
        rows(&engine, sql).await,
        ["1970-01-01T00:00:01Z | https://a.example.com/x | 0 | 4bf92f35-77b3-4da6-a3ce-929d0e0e4736"]
    );
    let sql = "select status / 100, count(*), approx_percentile_cont(latency_ms, 0.99) from router_requests \
               where latency_ms < 50 and error is null group by 1";
    assert_eq!(rows(&engine, sql).await, ["2 | 1 | 12.5"]);
}

/// A value that is not a number, and times between which no request fits, are null; the other rows are shown.
#[tokio::test]
async fn malformed_values_are_null() {
    let store = store();
    let nonsense = [("status_code", "-1"), ("content_length", "-1"), ("attempts", "many")];
    for (start, stop) in [(i64::MIN, i64::MAX), (5, 4), (-5, 4)] {
        ingest(&store, vec![timer("app-c", start, stop, &nonsense)]);
    }
    let engine = engine(&store);
    let sql = "select status is null, bytes is null, attempts is null, latency_ms is null \
               from router_requests where app = 'app-c'";
    assert_eq!(rows(&engine, sql).await, ["true | true | true | true"; 3]);
    let all = "select count(*), count(latency_ms), max(latency_ms) from router_requests";
    assert_eq!(rows(&engine, all).await, ["6 | 3 | 100.0"]);
}

/// Only callers that may read the app can read its requests.
#[tokio::test]
async fn the_view_is_filtered_by_visibility() {
    let engine = engine(&store());
    for (visibility, expected) in [
        (Visibility::sources(["app-b", "app-x"]), vec!["app-b"]),
        (Visibility::Nothing, Vec::new()),
    ] {
        let query = Query {
            visibility,
            ..query("select distinct app from router_requests")
        };
        assert_eq!(cells(&engine.query(query).await.expect("an answer")), expected);
    }
}
