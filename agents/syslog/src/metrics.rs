//! What the agent says about itself, under the original's names (logging §18).
//!
//! The counts of envelopes are the ledger's and the accounts', so that metrics and books never disagree.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;

use crate::drain::account::Account;
use crate::drain::{Drain, Env};
use crate::registry::Registry;

/// Drains that have a series of their own: those that were given something, up to so many.
const MAX_SERIES: usize = 1500;

/// How asking the binding cache went.
#[derive(Debug, Default)]
pub(crate) struct Refreshes {
    count: AtomicU64,
    latency_micros: AtomicU64,
}

impl Refreshes {
    /// The cache was asked.
    pub(crate) fn attempted(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// It took so long to get an answer, apart from waiting for something to change.
    pub(crate) fn took(&self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.latency_micros.store(micros, Ordering::Relaxed);
    }
}

/// Registers the agent's metrics.
pub(crate) fn register(meter: &Meter, env: &Arc<Env>, registry: &Arc<Registry>, refreshes: &Arc<Refreshes>) {
    let env_of = Arc::clone(env);
    meter
        .u64_observable_counter("ingress")
        .with_description("Envelopes that came in (agent), and that were given to drains, once for each (all_drains).")
        .with_callback(move |counter| {
            counter.observe(env_of.ledger.snapshot().received, &[KeyValue::new("scope", "agent")]);
            counter.observe(
                env_of.routed.load(Ordering::Relaxed),
                &[KeyValue::new("scope", "all_drains")],
            );
        })
        .build();
    let ledger = Arc::clone(&env.ledger);
    meter
        .u64_observable_counter("dropped")
        .with_description("Envelopes lost on their way in (ingress), or for a drain (egress), once for each.")
        .with_callback(move |counter| {
            let dropped = ledger.snapshot().dropped;
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
    per_drain(
        meter,
        registry,
        "egress",
        "Envelopes that a drain has taken.",
        Account::sent,
    );
    per_drain(
        meter,
        registry,
        "messages_dropped_per_drain",
        "Envelopes lost for a drain.",
        Account::lost,
    );
    gauges(meter, registry);
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

/// A counter with a series for each drain.
fn per_drain(
    meter: &Meter,
    registry: &Arc<Registry>,
    name: &'static str,
    description: &'static str,
    read: fn(&Account) -> u64,
) {
    let registry = Arc::clone(registry);
    meter
        .u64_observable_counter(name)
        .with_description(description)
        .with_callback(move |counter| {
            let drains = registry.drains();
            let used = drains.iter().filter(|drain| drain.account.routed() > 0);
            // Two drains of one URL are one series: the sum is what may be told of them.
            let mut sums = std::collections::BTreeMap::<_, u64>::new();
            for drain in used {
                let binding = drain.binding();
                let scope = if binding.app.is_some() { "app" } else { "aggregate" };
                let key = (scope, binding.url.safe().to_owned());
                if sums.len() < MAX_SERIES || sums.contains_key(&key) {
                    *sums.entry(key).or_default() += read(&drain.account);
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

fn gauges(meter: &Meter, registry: &Arc<Registry>) {
    type Count = fn(&Drain) -> bool;
    let counts: [(&'static str, &'static str, Count); 3] = [
        ("drains", "Drains of apps.", |drain| drain.binding().app.is_some()),
        ("aggregate_drains", "Drains of everything.", |drain| {
            drain.binding().app.is_none()
        }),
        ("active_drains", "Drains that are connected.", Drain::is_connected),
    ];
    for (name, description, counts) in counts {
        let registry = Arc::clone(registry);
        meter
            .u64_observable_gauge(name)
            .with_description(description)
            .with_unit("count")
            .with_callback(move |gauge| {
                let drains = registry.drains();
                let count = drains.iter().filter(|drain| counts(drain)).count();
                gauge.observe(count as u64, &[]);
            })
            .build();
    }
}
