//! The counts of a ledger as metrics with the original's names (logging §18), so that metrics and ledger never differ.

use std::sync::Arc;

use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;
use weir_flow::Ledger;

/// Registers `ingress` (with `ingress_labels`), `egress`, `dropped{direction}` and `subscriptions` of a component.
pub fn observe_ledger(meter: &Meter, ledger: &Arc<Ledger>, ingress_labels: &[KeyValue]) {
    let (counts, labels) = (Arc::clone(ledger), ingress_labels.to_vec());
    meter
        .u64_observable_counter("ingress")
        .with_description("Envelopes that came in.")
        .with_callback(move |counter| counter.observe(counts.snapshot().received, &labels))
        .build();
    let counts = Arc::clone(ledger);
    meter
        .u64_observable_counter("egress")
        .with_description("Envelopes that went out, once for each consumer, and were handed on there.")
        .with_callback(move |counter| counter.observe(counts.snapshot().sent, &[]))
        .build();
    let counts = Arc::clone(ledger);
    meter
        .u64_observable_counter("dropped")
        .with_description("Envelopes lost on their way in (ingress) or out (egress).")
        .with_callback(move |counter| {
            let dropped = counts.snapshot().dropped;
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
    let counts = Arc::clone(ledger);
    meter
        .i64_observable_gauge("subscriptions")
        .with_description("Consumers that are connected now.")
        .with_callback(move |gauge| gauge.observe(counts.snapshot().subscribers, &[]))
        .build();
}
