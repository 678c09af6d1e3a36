//! The metrics of the cache (logging §18).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use opentelemetry::metrics::Meter;

/// The counts behind the metrics.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    apps: AtomicU64,
    invalid: AtomicU64,
    blocked: AtomicU64,
    refresh_errors: AtomicU64,
}

impl Metrics {
    /// Registers the metrics.
    pub(crate) fn register(meter: &Meter) -> Arc<Self> {
        let metrics = Arc::<Self>::default();
        let gauge = |name: &'static str, text: &'static str, of: fn(&Self) -> &AtomicU64| {
            let metrics = Arc::clone(&metrics);
            meter
                .u64_observable_gauge(name)
                .with_description(text)
                .with_callback(move |gauge| gauge.observe(of(&metrics).load(Ordering::Relaxed), &[]))
                .build();
        };
        gauge(
            "cached_bindings",
            "Apps with drains in the list that is served.",
            |metrics| &metrics.apps,
        );
        gauge(
            "last_binding_refresh_count",
            "Apps with drains in what was read last.",
            |metrics| &metrics.apps,
        );
        gauge(
            "invalid_drains",
            "Drains of apps that are not usable, or whose names have no address.",
            |metrics| &metrics.invalid,
        );
        gauge(
            "blacklisted_drains",
            "Drains of apps at forbidden addresses.",
            |metrics| &metrics.blocked,
        );
        let counted = Arc::clone(&metrics);
        meter
            .u64_observable_counter("binding_refresh_error")
            .with_description("How often a source of drains could not be read.")
            .with_callback(move |counter| counter.observe(counted.refresh_errors.load(Ordering::Relaxed), &[]))
            .build();
        metrics
    }

    /// Records the counts of a new list.
    pub(crate) fn refreshed(&self, apps: usize, invalid: usize, blocked: usize) {
        self.apps.store(apps as u64, Ordering::Relaxed);
        self.invalid.store(invalid as u64, Ordering::Relaxed);
        self.blocked.store(blocked as u64, Ordering::Relaxed);
    }

    /// Counts a failure to read a source.
    pub(crate) fn refresh_failed(&self) {
        self.refresh_errors.fetch_add(1, Ordering::Relaxed);
    }
}
