//! The locks of router groups, for a backup or a restore of the database. Whoever may connect may lock: the port is on
//! loopback.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::routing::put;
use http::StatusCode;

use super::GroupLocks;

/// The four calls of the original's admin port.
pub(crate) fn backup(locks: Arc<GroupLocks>) -> Router {
    let set = |lock: fn(&GroupLocks) -> &AtomicBool, value: bool| {
        put(async move |State(locks): State<Arc<GroupLocks>>| {
            lock(&locks).store(value, Ordering::Relaxed);
            StatusCode::OK
        })
    };
    Router::new()
        .route("/lock_router_group_reads", set(|locks| &locks.reads, true))
        .route("/unlock_router_group_reads", set(|locks| &locks.reads, false))
        .route("/lock_router_group_writes", set(|locks| &locks.writes, true))
        .route("/unlock_router_group_writes", set(|locks| &locks.writes, false))
        .with_state(locks)
}
