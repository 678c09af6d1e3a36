//! The view `drain_status`: the state of each syslog drain, as its agent reported it last.
//!
//! It is a view over `gauges`. A syslog agent reports each of its bindings on every change and every few seconds, as
//! one gauge with the metrics below, whose tags hold the texts. The view shows the newest report of each binding and
//! agent. A binding that was removed stays in the view, in state `removed`, as long as its last report is stored.
//!
//! | Column | Type | Meaning |
//! |---|---|---|
//! | `binding` | text | the id of the binding |
//! | `app` | text | the `source_id` of the lines that it carries; `syslog_agent` for an aggregate drain |
//! | `url` | text | the drain's URL without user, password and query |
//! | `state` | text | `connecting`, `flowing`, `retrying`, `spilling`, `over_limit`, `removed` |
//! | `since` | time | when the drain came into that state |
//! | `waiting_lines`, `waiting_bytes` | number | the lines that the drain has not accepted yet, in memory and on disk |
//! | `lost` | number | the lines that were lost |
//! | `last_error` | text, null | why lines do not flow |
//! | `next_try` | time, null | when the agent tries again |
//! | `lag_ms` | number | the age of the oldest waiting line, in milliseconds |
//! | `reported_at` | time | when the agent reported; if that is long ago, the agent has stopped |
//! | `agent` | text | the agent's `instance_id` |
//!
//! The source of a report is the app of the drain, so that callers who may read the app can read it. A value of a
//! report that is not a number or time is shown as null, and is never an error.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::catalog::TableProvider;
use datafusion::catalog::view::ViewTable;
use datafusion::datasource::provider_as_source;
use datafusion::error::Result;
use datafusion::functions_aggregate::expr_fn::max;
use datafusion::functions_aggregate::first_last::last_value;
use datafusion::logical_expr::{Expr, ExprFunctionExt as _, LogicalPlanBuilder, SortExpr, ident, lit, try_cast};
use weir_log_cache_store::table::{Table, instant};

use crate::functions::tag;

/// The name of the view in SQL.
pub(crate) const DRAIN_STATUS: &str = "drain_status";

/// The tag `origin` of the reports.
const ORIGIN: &str = "loggregator.syslog_agent";

/// The metrics of a report, with the columns that show them.
const METRICS: [(&str, &str); 4] = [
    ("drain_waiting_lines", "waiting_lines"),
    ("drain_waiting_bytes", "waiting_bytes"),
    ("drain_lost", "lost"),
    ("drain_lag", "lag_ms"),
];

/// Returns the view over `gauges`.
pub(crate) fn view(gauges: Arc<dyn TableProvider>) -> Result<ViewTable> {
    let tags = || ident("tags");
    let newest = || {
        vec![
            SortExpr::new(ident("timestamp"), true, true),
            SortExpr::new(ident("seq"), true, true),
        ]
    };
    let names = METRICS.map(|(metric, _)| lit(metric)).to_vec();
    let ours = ident("name")
        .in_list(names, false)
        .and(tag(tags(), "origin").eq(lit(ORIGIN)))
        .and(tag(tags(), "binding").is_not_null());
    let keys = [
        tag(tags(), "binding").alias("binding"),
        ident("source_id").alias("app"),
        ident("instance_id").alias("agent"),
    ];
    let mut last = vec![
        max(ident("timestamp")).alias("reported_at"),
        last_value(tags(), newest()).alias("tags"),
    ];
    for (metric, column) in METRICS {
        let value = last_value(ident("value"), newest());
        last.push(value.filter(ident("name").eq(lit(metric))).build()?.alias(column));
    }
    let plan = LogicalPlanBuilder::scan(Table::Gauges.name(), provider_as_source(gauges), None)?
        .filter(ours)?
        .aggregate(keys, last)?
        .project([
            ident("binding"),
            ident("app"),
            tag(tags(), "drain_url").alias("url"),
            tag(tags(), "state").alias("state"),
            try_cast(tag(tags(), "since"), instant()).alias("since"),
            number("waiting_lines"),
            number("waiting_bytes"),
            number("lost"),
            tag(tags(), "last_error").alias("last_error"),
            try_cast(tag(tags(), "next_try"), instant()).alias("next_try"),
            number("lag_ms"),
            ident("reported_at"),
            ident("agent"),
        ])?
        .build()?;
    Ok(ViewTable::new(plan, None))
}

/// Returns a column as an unsigned integer, or null where its value is not one.
fn number(column: &str) -> Expr {
    try_cast(ident(column), DataType::UInt64).alias(column)
}
