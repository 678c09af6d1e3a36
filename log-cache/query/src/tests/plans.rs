//! The number of rows that a scan reads.

use datafusion::physical_plan::{ExecutionPlan, collect};
use std::sync::Arc;
use weir_log_cache_store::{Limits, Store, Visibility};

use super::{ingest, log};
use crate::interrupt::Interrupt;
use crate::provider::View;
use crate::{guard, session};

/// Returns a store with a hundred chunks of a hundred rows each, of ten sources.
fn store() -> Store {
    let store = Store::new(Limits {
        active_rows: 100,
        chunk_rows: 100,
        ..Limits::default()
    });
    ingest(
        &store,
        (0..10_000i64)
            .map(|time| log(&format!("app-{}", time % 10), time, "line"))
            .collect(),
    );
    store
}

/// Returns the number of rows that the scan of `sql` returns, and the number of rows of the answer.
async fn scanned(store: &Store, sql: &str) -> (usize, usize) {
    let template = session::template(1).expect("a session");
    let view = View::new(store.clone(), Visibility::All);
    let state = session::session(&template, view, 64 << 20, Interrupt::default()).expect("a session");
    let plan = state
        .statement_to_plan(guard::parse(sql).expect("SQL"))
        .await
        .expect("a plan");
    let plan = state.create_physical_plan(&plan).await.expect("a plan");
    let rows = collect(Arc::clone(&plan), state.task_ctx()).await.expect("rows");
    (
        scan_output(&plan),
        rows.iter().map(arrow::array::RecordBatch::num_rows).sum(),
    )
}

fn scan_output(plan: &Arc<dyn ExecutionPlan>) -> usize {
    if plan.name() == "StoreScan" {
        return plan.metrics().and_then(|metrics| metrics.output_rows()).unwrap_or(0);
    }
    plan.children().into_iter().map(scan_output).sum()
}

/// The scan does not read rows that conditions on sources, tags and times exclude.
#[tokio::test]
async fn the_scan_reads_only_rows_that_may_match() {
    let store = store();
    for (sql, expected) in [
        ("select body from logs where source_id = 'app-3'", (1000, 1000)),
        (
            "select body from logs where source_id in ('app-3', 'app-4')",
            (2000, 2000),
        ),
        (
            "select body from logs where tags['app_name'] = 'app-7-name'",
            (1000, 1000),
        ),
        (
            "select body from logs where tag(tags, 'app_name') like 'app-7%'",
            (1000, 1000),
        ),
        (
            "select body from logs where timestamp >= to_timestamp_nanos(9950)",
            (50, 50),
        ),
        (
            "select body from logs where source_id = 'app-3' and timestamp < to_timestamp_nanos(100) and body = 'line'",
            (10, 10),
        ),
        (
            "select body from logs where source_id = 'app-3' and body = 'nothing'",
            (1000, 0),
        ),
        ("select body from logs where source_id = 'nobody'", (0, 0)),
    ] {
        assert_eq!(scanned(&store, sql).await, expected, "{sql}");
    }
}

/// A query for the newest rows reads the newest chunks only.
#[tokio::test]
async fn a_query_for_the_newest_rows_reads_the_newest_chunks() {
    let store = store();
    for (sql, most) in [
        ("select * from logs order by timestamp desc limit 10", 500),
        ("select body from logs limit 10", 500),
        // A filter returns full batches only.
        (
            "select body from logs where body = 'line' order by timestamp desc limit 10",
            8192 + 500,
        ),
    ] {
        let (scanned, found) = scanned(&store, sql).await;
        assert_eq!(found, 10);
        assert!(scanned <= most, "{sql}: {scanned}");
    }
    let (scanned, found) = scanned(
        &store,
        "select body from logs where source_id = 'app-1' order by timestamp desc limit 10",
    )
    .await;
    assert_eq!(found, 10);
    assert!(scanned <= 100, "{scanned}");
}
