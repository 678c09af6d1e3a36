//! SQL over the log store, through DataFusion. No other crate of the workspace names it.
//!
//! A query goes in as text with what its caller may see ([`Query`], [`Visibility`]) and comes out as rows or as bytes
//! ([`Answer`], [`Rendered`]):
//!
//! 1. `guard`: it is one statement, it only reads, and its plan will not be too large; `stoppable`: planning ends at the
//!    query's time;
//! 2. `session`: what DataFusion is given to work with: no files, no network, a memory pool, bounded functions;
//!    `zones`: time zones are written as they are known by; `names`: columns of an answer are told apart;
//! 3. `policy`, `patterns`: the plan does nothing that could take any amount of memory, and works in portions that fit it;
//! 4. `provider`, `scan`: the store's tables, one consistent snapshot for the whole query, rows that the caller may not
//!    see left out where they are read; `drain_status`: a view over one of them; `explain`: what plans tell of them;
//! 5. `engine`: threads of its own, so many queries at a time and fair to callers, time and row limits, ended when
//!    nobody waits (`interrupt`);
//! 6. `answer`: collected as arrays within a bound, written as a table, JSON, CSV or Arrow in pieces; `values`: each of them
//!    as something that can be read back.
//!
//! `live` evaluates queries on rows as they arrive, so many of each caller (`followers`).

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
mod nearest;
mod patterns;
mod policy;
mod provider;
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
pub use visibility::Visibility;

#[cfg(test)]
mod tests;
