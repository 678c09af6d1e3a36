//! The agent's own metrics (logging §18). The origin mappings, which all agents have, are counted elsewhere.
//!
//! The counts of envelopes come from the ledger, so that metrics and ledger never differ.

use std::sync::Arc;

use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;
use weir_agents_lib::Buffer;
use weir_flow::Ledger;

/// Registers the agent's metrics. `buffer` provides the number of connected dopplers.
pub(crate) fn register(meter: &Meter, ledger: &Arc<Ledger>, buffer: &Buffer) {
    let ledger_of = || Arc::clone(ledger);

    let ledger = ledger_of();
    meter
        .u64_observable_counter("ingress")
        .with_description("Envelopes that came in.")
        .with_callback(move |counter| counter.observe(ledger.snapshot().received, &[]))
        .build();
    let ledger = ledger_of();
    meter
        .u64_observable_counter("egress")
        .with_description("Envelopes that a doppler has taken and handed on.")
        .with_callback(move |counter| counter.observe(ledger.snapshot().sent, &[]))
        .build();
    let ledger = ledger_of();
    meter
        .u64_observable_counter("dropped")
        .with_description("Envelopes lost before (ingress) or behind (egress) the buffer.")
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
    for name in ["doppler_connections", "doppler_v2_streams"] {
        let buffer = buffer.clone();
        meter
            .u64_observable_gauge(name)
            .with_description("Dopplers that are connected; there is one stream to each.")
            .with_callback(move |gauge| gauge.observe(buffer.connected() as u64, &[]))
            .build();
    }
    meter
        .u64_observable_gauge("doppler_v1_streams")
        .with_description("Always zero: everything goes to dopplers as v2.")
        .with_callback(|gauge| gauge.observe(0, &[]))
        .build();
}
