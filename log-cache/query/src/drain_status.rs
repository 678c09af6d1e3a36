//! `drain_status`: how each syslog drain is doing, as the agent that serves it said last.
//!
//! A view over `gauges`. A syslog agent reports each of its bindings on every change and every few seconds, as one gauge
//! with the metrics below; what is text is in the gauge's tags. The view shows the newest report of each binding and
//! agent; a binding that was removed stays, with that state, as long as its last report is stored.
//!
//! | column | type | is |
//! |---|---|---|
//! | `binding` | text | the binding's identity: two bindings of one URL are two |
//! | `app` | text | whose lines it carries: their `source_id`; `syslog_agent` for a drain of everything |
//! | `url` | text | where to, without user, password and query |
//! | `state` | text | `connecting`, `flowing`, `retrying`, `spilling`, `over_limit`, `removed` |
//! | `since` | time | when it came into that state |
//! | `waiting_lines`, `waiting_bytes` | number | what the drain has not taken yet, in memory and on disk |
//! | `lost` | number | lines that it never will |
//! | `last_error` | text, null | why it does not flow |
//! | `next_try` | time, null | when it is tried again |
//! | `lag_ms` | number | the age of the oldest line that waits |
//! | `reported_at` | time | when the agent said so; long ago: the agent is gone |
//! | `agent` | text | the agent's `instance_id` |
//!
//! A report is an envelope of the app that it is about, so that the row filter shows a drain to whoever may see the app. What is
//! no number or no time in a report is null, never an error.

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

/// The view's name in SQL.
pub(crate) const DRAIN_STATUS: &str = "drain_status";

/// Who makes the reports: their tag `origin`.
const ORIGIN: &str = "loggregator.syslog_agent";

/// The metrics of a report, and the columns that show them.
const METRICS: [(&str, &str); 4] = [
    ("drain_waiting_lines", "waiting_lines"),
    ("drain_waiting_bytes", "waiting_bytes"),
    ("drain_lost", "lost"),
    ("drain_lag", "lag_ms"),
];

/// The view over `gauges`.
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

/// A gauge's value as what it counts.
fn number(column: &str) -> Expr {
    try_cast(ident(column), DataType::UInt64).alias(column)
}
