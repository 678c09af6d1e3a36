//! The view `drain_status`.

use weir_log_cache_store::{Limits, Store, Visibility};
use weir_proto::loggregator_v2::{self as v2, envelope::Message};

use super::{ask, cells, engine, envelope, ingest, query, rows};
use crate::Query;

/// Returns a report of a syslog agent about one binding.
fn report(app: &str, agent: &str, timestamp: i64, metrics: [f64; 4], tags: &[(&str, &str)]) -> v2::Envelope {
    let names = ["drain_waiting_lines", "drain_waiting_bytes", "drain_lost", "drain_lag"];
    let metrics = names.into_iter().zip(metrics).map(|(name, value)| {
        let unit = if name == "drain_lag" { "ms" } else { "" };
        let value = v2::GaugeValue {
            unit: unit.to_owned(),
            value,
        };
        (name.to_owned(), value)
    });
    let gauge = v2::Gauge {
        metrics: metrics.collect(),
    };
    let mut envelope = envelope(app, timestamp, Message::Gauge(gauge));
    agent.clone_into(&mut envelope.instance_id);
    envelope.tags = [("origin", "loggregator.syslog_agent")]
        .iter()
        .chain(tags)
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    envelope
}

const FLOWING: [(&str, &str); 4] = [
    ("binding", "b1"),
    ("drain_url", "syslog://logs.example:514"),
    ("state", "flowing"),
    ("since", "2026-01-03T10:00:00Z"),
];
const SPILLING: [(&str, &str); 6] = [
    ("binding", "b1"),
    ("drain_url", "syslog://logs.example:514"),
    ("state", "spilling"),
    ("since", "2026-01-03T10:11:12.5Z"),
    ("last_error", "connection refused"),
    ("next_try", "2026-01-03T10:11:14Z"),
];

fn store() -> Store {
    let store = Store::new(Limits {
        active_rows: 4,
        chunk_rows: 8,
        ..Limits::default()
    });
    ingest(
        &store,
        vec![
            report("app-a", "agent-0", 100, [0.0; 4], &FLOWING),
            report("app-a", "agent-0", 300, [40.0, 8000.0, 3.0, 1500.0], &SPILLING),
            // Arrives later, with an older timestamp.
            report("app-a", "agent-0", 200, [7.0; 4], &FLOWING),
            report("app-a", "agent-1", 150, [0.0, 0.0, 0.0, 2.0], &FLOWING),
            report(
                "app-b",
                "agent-0",
                120,
                [1.0; 4],
                &[("binding", "b2"), ("state", "flowing")],
            ),
        ],
    );
    // A gauge of an app is not a report, whatever its name.
    let mut other = report("app-b", "0", 500, [9.0; 4], &[("binding", "b3")]);
    other.tags.insert("origin".to_owned(), "an app".to_owned());
    ingest(&store, vec![other]);
    store
}

/// The view has one row for each binding and agent, with the newest report by timestamp, and not by arrival.
#[tokio::test]
async fn the_newest_report_counts() {
    let engine = engine(&store());
    let sql = "select binding, app, agent, state, waiting_lines, waiting_bytes, lost, lag_ms, last_error, url \
               from drain_status order by binding, agent";
    assert_eq!(
        rows(&engine, sql).await,
        [
            "b1 | app-a | agent-0 | spilling | 40 | 8000 | 3 | 1500 | connection refused | syslog://logs.example:514",
            "b1 | app-a | agent-1 | flowing | 0 | 0 | 0 | 2 |  | syslog://logs.example:514",
            "b2 | app-b | agent-0 | flowing | 1 | 1 | 1 | 1",
        ]
    );
    let sql = "select since, next_try, reported_at from drain_status where app = 'app-a' and state = 'spilling'";
    assert_eq!(
        rows(&engine, sql).await,
        ["2026-01-03T10:11:12.500Z | 2026-01-03T10:11:14Z | 1970-01-01T00:00:00.000000300Z"]
    );
    assert_eq!(rows(&engine, "select count(*) from drain_status").await, ["3"]);
    let late = "select count(*) from drain_status where next_try < now() + interval '1 hour' and waiting_lines > 10";
    assert_eq!(rows(&engine, late).await, ["1"]);
}

/// A malformed value of a report is null, and the others are shown.
#[tokio::test]
async fn malformed_values_are_null() {
    let store = store();
    let nonsense = [
        ("binding", "b4"),
        ("state", "?"),
        ("since", "yesterday"),
        ("next_try", ""),
    ];
    ingest(
        &store,
        vec![report(
            "app-c",
            "agent-0",
            1,
            [-1.0, f64::NAN, f64::INFINITY, 1e300],
            &nonsense,
        )],
    );
    let sql = "select state, since is null, next_try is null, \
               waiting_lines is null, waiting_bytes is null, lost is null, lag_ms is null \
               from drain_status where binding = 'b4'";
    assert_eq!(
        rows(&engine(&store), sql).await,
        ["? | true | true | true | true | true | true"]
    );
}

/// Only callers that may read the app can read its drains, and the view can be joined with tables.
#[tokio::test]
async fn the_view_is_filtered_by_visibility() {
    let engine = engine(&store());
    let seen = |sql: &str, visibility: Visibility| {
        let query = Query {
            visibility,
            ..query(sql)
        };
        let engine = engine.clone();
        async move { cells(&engine.query(query).await.expect("an answer")) }
    };
    let all = "select distinct binding from drain_status order by 1";
    assert_eq!(seen(all, Visibility::sources(["app-b"])).await, ["b2"]);
    assert_eq!(seen(all, Visibility::sources(["app-a", "app-x"])).await, ["b1"]);
    assert!(seen(all, Visibility::Nothing).await.is_empty());
    let joined = "select d.binding, count(*) from drain_status d join gauges g on g.source_id = d.app \
                  where d.agent = 'agent-0' group by 1";
    assert_eq!(seen(joined, Visibility::sources(["app-a"])).await, ["b1 | 16"]);
}

/// The view can be listed and described like a table, and cannot be followed live.
#[tokio::test]
async fn the_view_can_be_described_and_not_followed() {
    let engine = engine(&store());
    let columns = rows(&engine, "describe drain_status").await;
    assert_eq!(columns.len(), 13, "{columns:?}");
    let error = engine
        .compile_live(query("select state from drain_status"))
        .await
        .expect_err("not live");
    assert!(error.to_string().contains("cannot be followed live"), "{error}");
    let error = ask(&engine, "select statr from drain_status")
        .await
        .expect_err("a slip");
    assert!(error.to_string().contains("no column `statr`"), "{error}");
}
