//! The view `router_requests`: the HTTP requests that routers served.
//!
//! It is a view over `timers`. A router sends one timer `http` with tag `peer_type` = `Server` for each request, whose other
//! tags hold the rest.
//!
//! | Column | Type | Meaning |
//! |---|---|---|
//! | `time` | time | when the router had the head of the request |
//! | `app` | text | the `source_id` of the app; `gorouter` for a request to no app |
//! | `route` | text, null | the route that served the request: host and path; null if there was none |
//! | `method` | text | the method |
//! | `uri` | text | scheme, host and path |
//! | `status` | number, null | the status of the answer |
//! | `bytes` | number, null | the length of the answer's body, in bytes |
//! | `latency_ms` | number, null | how long it took from the head of the request to the end of the answer, in milliseconds |
//! | `backend` | text, null | the address of the backend that answered, or was tried last |
//! | `instance` | text | the index of the app's instance |
//! | `attempts` | number, null | how many attempts to reach a backend there were; null if there was none |
//! | `trace_id` | text, null | the id of the trace |
//! | `request_id` | text | the value of `X-Vcap-Request-Id` |
//! | `error` | text, null | the text of `X-Cf-RouterError` |
//!
//! The requests of the original's router are shown as well; it does not say route, backend, attempts and error. A value that
//! is not a number is shown as null, and is never an error.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::catalog::TableProvider;
use datafusion::catalog::view::ViewTable;
use datafusion::datasource::provider_as_source;
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, LogicalPlanBuilder, cast, ident, lit, try_cast, when};
use weir_log_cache_store::table::Table;

use crate::functions::tag;

/// The name of the view in SQL.
pub(crate) const ROUTER_REQUESTS: &str = "router_requests";

/// Returns the view over `timers`.
pub(crate) fn view(timers: Arc<dyn TableProvider>) -> Result<ViewTable> {
    let requests = ident("name")
        .eq(lit("http"))
        .and(text("origin").eq(lit("gorouter")))
        .and(text("peer_type").eq(lit("Server")));
    let plan = LogicalPlanBuilder::scan(Table::Timers.name(), provider_as_source(timers), None)?
        .filter(requests)?
        .project([
            ident("start").alias("time"),
            ident("source_id").alias("app"),
            text("route").alias("route"),
            text("method").alias("method"),
            text("uri").alias("uri"),
            number("status_code", DataType::UInt16).alias("status"),
            number("content_length", DataType::UInt64).alias("bytes"),
            latency()?.alias("latency_ms"),
            text("backend").alias("backend"),
            ident("instance_id").alias("instance"),
            number("attempts", DataType::UInt32).alias("attempts"),
            text("trace_id").alias("trace_id"),
            text("request_id").alias("request_id"),
            text("router_error").alias("error"),
        ])?
        .build()?;
    Ok(ViewTable::new(plan, None))
}

fn text(key: &str) -> Expr {
    tag(ident("tags"), key)
}

/// Returns the length of a timer in milliseconds, or null where its times are none of a request. Anybody may send timers,
/// and a difference of any two times can be more than fits.
fn latency() -> Result<Expr> {
    let nanos = |column| cast(ident(column), DataType::Int64);
    let is_span = nanos("start")
        .gt_eq(lit(0_i64))
        .and(nanos("stop").gt_eq(nanos("start")));
    let length = cast(nanos("stop") - nanos("start"), DataType::Float64);
    when(is_span, length / lit(1e6)).end()
}

/// Returns a tag as a number, or null where its value is not one.
fn number(key: &str, data_type: DataType) -> Expr {
    try_cast(text(key), data_type)
}
