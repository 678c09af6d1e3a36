//! The agent's own metrics (logging §18). The origin mappings, which all agents have, are counted elsewhere.
//!
//! The counts of envelopes come from the ledger, so that metrics and ledger never differ.

use std::sync::Arc;

use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;
use weir_agents_lib::{Buffer, INGRESS};
use weir_flow::Ledger;

/// The measured parts of a downstream.
#[derive(Debug, Clone)]
pub(crate) struct Watched {
    /// The address, which the original uses as the name.
    pub(crate) destination: String,
    pub(crate) hop: &'static str,
    pub(crate) buffer: Buffer,
}

impl Watched {
    fn labels(&self) -> [KeyValue; 2] {
        [
            KeyValue::new("protocol", "loggregator"),
            KeyValue::new("destination", self.destination.clone()),
        ]
    }
}

/// Registers the agent's metrics.
pub(crate) fn register(meter: &Meter, ledger: &Arc<Ledger>, downstreams: Vec<Watched>) {
    let downstreams: Arc<[Watched]> = downstreams.into();
    let counts = Arc::clone(ledger);
    meter
        .u64_observable_counter("ingress")
        .with_description("Envelopes that came in.")
        .with_callback(move |counter| counter.observe(counts.snapshot().received, &[]))
        .build();
    let counts = Arc::clone(ledger);
    meter
        .u64_observable_counter("egress")
        .with_description("Envelopes that downstreams have taken and handed on, counted once for each of them.")
        .with_callback(move |counter| counter.observe(counts.snapshot().sent, &[]))
        .build();
    let counts = Arc::clone(ledger);
    meter
        .u64_observable_counter("dropped")
        .with_description("Envelopes lost on the way in, for all downstreams.")
        .with_callback(move |counter| {
            counter.observe(lost_at(&counts, INGRESS), &[KeyValue::new("direction", "ingress")]);
        })
        .build();
    let (counts, watched) = (Arc::clone(ledger), Arc::clone(&downstreams));
    meter
        .u64_observable_counter("egress_expired_total")
        .with_description("Envelopes lost on the way to one downstream.")
        .with_callback(move |counter| {
            for downstream in watched.iter() {
                counter.observe(lost_at(&counts, downstream.hop), &downstream.labels());
            }
        })
        .build();
    let watched = Arc::clone(&downstreams);
    meter
        .u64_observable_gauge("downstream_connections")
        .with_description("Whether a downstream is connected.")
        .with_callback(move |gauge| {
            for downstream in watched.iter() {
                gauge.observe(downstream.buffer.connected() as u64, &downstream.labels());
            }
        })
        .build();
    meter
        .u64_observable_gauge("downstream_waiting")
        .with_description("Envelopes that wait for a downstream.")
        .with_callback(move |gauge| {
            for downstream in downstreams.iter() {
                gauge.observe(downstream.buffer.len() as u64, &downstream.labels());
            }
        })
        .build();
}

fn lost_at(ledger: &Ledger, hop: &str) -> u64 {
    let dropped = ledger.snapshot().dropped;
    dropped
        .iter()
        .filter(|drop| drop.hop == hop)
        .map(|drop| drop.count)
        .sum()
}
