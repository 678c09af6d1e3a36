//! SQL over the log cache's store, through DataFusion, which only this crate of the workspace names.
//!
//! A query is a text with the sources that its caller may read ([`Query`],
//! [`Visibility`](weir_log_cache_store::Visibility)). Its result is rows or bytes ([`Answer`], [`Rendered`]). It passes
//! through these modules:
//!
//! 1. `guard` admits one statement that only reads and whose plan will not be too large. `stoppable` ends planning at
//!    the query's time-out.
//! 2. `session` gives DataFusion a memory pool and bounded functions, and neither files nor a network. `zones` writes
//!    time zones by their standard names. `names` gives the columns of an answer different names.
//! 3. `policy` and `patterns` refuse plans that could take any amount of memory, and choose the size of batches by the
//!    plan.
//! 4. `provider` and `scan` read the store's tables: one snapshot for the whole query, without the rows that the caller
//!    may not read. `drain_status` and `router_requests` are views over one table each. `explain` limits what plans reveal.
//! 5. `engine` runs queries on threads of its own, a limited number at a time and fairly among callers, within limits
//!    of time and rows. `interrupt` ends a query whose caller has gone.
//! 6. `answer` collects rows as arrays within a bound, and writes them as a table, records, JSON, CSV or Arrow, in
//!    pieces. `values` writes each value so that it can be read back.
//!
//! `live` evaluates queries on rows as they arrive, a limited number for each caller (`followers`). The crate's
//! README.md is a map of the modules.

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        reason = "tests spawn, wait and ask for the time as they like"
    )
)]

mod answer;
mod drain_status;
mod engine;
mod error;
mod explain;
mod followers;
mod functions;
mod guard;
mod interrupt;
mod live;
mod meter;
mod names;
mod patterns;
mod policy;
mod provider;
mod router_requests;
mod scan;
mod session;
mod stoppable;
mod values;
mod visibility;
mod zones;

pub use answer::{Cells, Format, Layout, Pieces, Rendered, UnknownFormat};
pub use engine::{Answer, Engine, EngineLimits, Query, Truncated};
pub use error::QueryError;
pub use live::{Follower, Live, LiveQuery};

#[cfg(test)]
mod tests;
