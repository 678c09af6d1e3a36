//! The agent's metrics, under the original's names (logging §18).
//!
//! The counts of envelopes come from the ledger and from the accounts of the drains, so that metrics and ledger never
//! differ. This module knows no other one: whoever registers the metrics passes functions that read the counts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;
use weir_flow::Ledger;

/// The largest number of drain URLs that have series of their own. Only drains that were given envelopes count.
const MAX_SERIES: usize = 1500;

/// The counts of one drain.
#[derive(Debug, Clone)]
pub(crate) struct DrainCounts {
    /// Whether the drain belongs to one app, as opposed to an aggregate drain.
    pub(crate) of_app: bool,
    /// The drain URL without secrets.
    pub(crate) url: String,
    pub(crate) connected: bool,
    /// Envelopes that were given to the drain.
    pub(crate) routed: u64,
    /// Envelopes that were delivered.
    pub(crate) sent: u64,
    /// Envelopes that were lost.
    pub(crate) lost: u64,
}

/// A function that reads the counts of all drains.
type ReadDrains = Arc<dyn Fn() -> Vec<DrainCounts> + Send + Sync>;

/// Counts requests to the binding cache.
#[derive(Debug, Default)]
pub(crate) struct Refreshes {
    count: AtomicU64,
    latency_micros: AtomicU64,
}

impl Refreshes {
    /// Counts a request.
    pub(crate) fn attempted(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// Records how long an answer took. Answers that wait for a change must not be recorded.
    pub(crate) fn took(&self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.latency_micros.store(micros, Ordering::Relaxed);
    }
}

/// Registers the agent's metrics. `routed` reads the number of envelopes that were given to drains, and `drains` reads the
/// counts of each drain.
pub(crate) fn register(
    meter: &Meter,
    ledger: &Arc<Ledger>,
    refreshes: &Arc<Refreshes>,
    routed: impl Fn() -> u64 + Send + Sync + 'static,
    drains: impl Fn() -> Vec<DrainCounts> + Send + Sync + 'static,
) {
    let received = Arc::clone(ledger);
    meter
        .u64_observable_counter("ingress")
        .with_description("Envelopes that came in (agent), and that were given to drains, once for each (all_drains).")
        .with_callback(move |counter| {
            counter.observe(received.snapshot().received, &[KeyValue::new("scope", "agent")]);
            counter.observe(routed(), &[KeyValue::new("scope", "all_drains")]);
        })
        .build();
    let dropped = Arc::clone(ledger);
    meter
        .u64_observable_counter("dropped")
        .with_description("Envelopes lost on their way in (ingress), or for a drain (egress), once for each.")
        .with_callback(move |counter| {
            let dropped = dropped.snapshot().dropped;
            for direction in ["ingress", "egress"] {
                let count = dropped
                    .iter()
                    .filter(|drop| drop.hop == direction)
                    .map(|drop| drop.count)
                    .sum();
                counter.observe(count, &[KeyValue::new("direction", direction)]);
            }
        })
        .build();
    let drains: ReadDrains = Arc::new(drains);
    per_drain(meter, &drains, "egress", "Envelopes that a drain has taken.", |drain| {
        drain.sent
    });
    per_drain(
        meter,
        &drains,
        "messages_dropped_per_drain",
        "Envelopes lost for a drain.",
        |drain| drain.lost,
    );
    gauges(meter, &drains);
    let counted = Arc::clone(refreshes);
    meter
        .u64_observable_counter("binding_refresh_count")
        .with_description("How often the binding cache was asked.")
        .with_callback(move |counter| counter.observe(counted.count.load(Ordering::Relaxed), &[]))
        .build();
    let counted = Arc::clone(refreshes);
    meter
        .f64_observable_gauge("latency_for_last_binding_refresh")
        .with_description("How long the binding cache took to answer the last time.")
        .with_unit("ms")
        .with_callback(move |gauge| {
            let micros = counted.latency_micros.load(Ordering::Relaxed);
            #[expect(clippy::cast_precision_loss, reason = "a gauge is a double")]
            gauge.observe(micros as f64 / 1000.0, &[]);
        })
        .build();
}

/// Registers a counter with one series per drain URL.
fn per_drain(
    meter: &Meter,
    drains: &ReadDrains,
    name: &'static str,
    description: &'static str,
    read: fn(&DrainCounts) -> u64,
) {
    let drains = Arc::clone(drains);
    meter
        .u64_observable_counter(name)
        .with_description(description)
        .with_callback(move |counter| {
            // Two drains with one URL have the same labels, so their series is the sum of both.
            let mut sums = BTreeMap::<_, u64>::new();
            for drain in drains().into_iter().filter(|drain| drain.routed > 0) {
                let count = read(&drain);
                let scope = if drain.of_app { "app" } else { "aggregate" };
                let key = (scope, drain.url);
                if sums.len() < MAX_SERIES || sums.contains_key(&key) {
                    *sums.entry(key).or_default() += count;
                }
            }
            for ((scope, url), count) in sums {
                let labels = [
                    KeyValue::new("direction", "egress"),
                    KeyValue::new("drain_scope", scope),
                    KeyValue::new("drain_url", url),
                ];
                counter.observe(count, &labels);
            }
        })
        .build();
}

/// Registers the numbers of drains.
fn gauges(meter: &Meter, drains: &ReadDrains) {
    type Counts = fn(&DrainCounts) -> bool;
    let gauges: [(&'static str, &'static str, Counts); 3] = [
        ("drains", "Drains of apps.", |drain| drain.of_app),
        ("aggregate_drains", "Drains of everything.", |drain| !drain.of_app),
        ("active_drains", "Drains that are connected.", |drain| drain.connected),
    ];
    for (name, description, counts) in gauges {
        let drains = Arc::clone(drains);
        meter
            .u64_observable_gauge(name)
            .with_description(description)
            .with_unit("count")
            .with_callback(move |gauge| {
                let count = drains().iter().filter(|drain| counts(drain)).count();
                gauge.observe(count as u64, &[]);
            })
            .build();
    }
}
