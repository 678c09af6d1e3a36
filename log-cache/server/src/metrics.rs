//! The metrics of the log cache (logging §18).

use std::sync::Arc;

use opentelemetry::metrics::Meter;
use tokio::time::Instant;
use weir_flow::Ledger;
use weir_log_cache_store::{Stats, Store};
use weir_service::clock;

use crate::reading::Reader;

/// Registers the metrics.
pub(crate) fn register(meter: &Meter, ledger: &Arc<Ledger>, store: &Store, reader: &Arc<Reader>, started: Instant) {
    let ledger = Arc::clone(ledger);
    meter
        .u64_observable_counter("log_cache_ingress")
        .with_description("Envelopes that came in.")
        .with_callback(move |counter| counter.observe(ledger.snapshot().received, &[]))
        .build();
    let readers = Arc::clone(reader);
    meter
        .u64_observable_counter("log_cache_egress")
        .with_description("Envelopes that were read.")
        .with_callback(move |counter| counter.observe(readers.egress(), &[]))
        .build();
    let stats = store.clone();
    meter
        .u64_observable_counter("log_cache_expired")
        .with_description("Envelopes that had to make room.")
        .with_callback(move |counter| counter.observe(stats.stats().expired, &[]))
        .build();
    let gauge = |name: &'static str, description: &'static str, unit: &'static str, value: fn(&Stats) -> u64| {
        let store = store.clone();
        meter
            .u64_observable_gauge(name)
            .with_description(description)
            .with_unit(unit)
            .with_callback(move |gauge| gauge.observe(value(&store.stats()), &[]))
            .build();
    };
    gauge("log_cache_store_size", "Envelopes held.", "entries", |stats| stats.held);
    gauge("log_cache_sources", "Sources known.", "sources", |stats| {
        stats.sources as u64
    });
    gauge(
        "log_cache_heap_in_use_memory",
        "Memory of the store.",
        "bytes",
        |stats| (stats.logs_bytes + stats.metrics_bytes + stats.sources_bytes) as u64,
    );
    let limits = *store.limits();
    // At least 1, because the budget is a divisor below.
    let budget = (limits.logs_bytes + limits.metrics_bytes + limits.sources_bytes).max(1) as u64;
    let used = store.clone();
    meter
        .u64_observable_gauge("log_cache_memory_utilization")
        .with_description("How much of the budgets is used.")
        .with_unit("percentage")
        .with_callback(move |gauge| {
            let stats = used.stats();
            let bytes = (stats.logs_bytes + stats.metrics_bytes + stats.sources_bytes) as u64;
            gauge.observe(bytes * 100 / budget, &[]);
        })
        .build();
    gauge(
        "log_cache_cache_period",
        "Age of the oldest envelope held.",
        "milliseconds",
        |stats| {
            let age = stats
                .oldest_timestamp
                .map_or(0, |oldest| clock::now_nanos().saturating_sub(oldest));
            // The timestamp of an envelope may lie in the future. Its age is then negative, and 0 is reported.
            u64::try_from(age).unwrap_or_default() / 1_000_000
        },
    );
    meter
        .u64_observable_gauge("log_cache_uptime")
        .with_description("Time since the start.")
        .with_unit("seconds")
        .with_callback(move |gauge| gauge.observe(started.elapsed().as_secs(), &[]))
        .build();
}
