//! The metrics of the syslog server (logging §18).
//!
//! The counts of envelopes are read from the ledger, so that metrics and ledger never disagree.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use opentelemetry::metrics::Meter;
use weir_flow::{Ledger, LedgerSnapshot};

use crate::connection::INGRESS;

/// The counts that the ledger does not have.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    failed_sends: AtomicU64,
    connections: AtomicU64,
}

impl Metrics {
    /// Registers the metrics of the server.
    pub(crate) fn register(meter: &Meter, ledger: &Arc<Ledger>) -> Arc<Self> {
        let metrics = Arc::<Self>::default();
        let counter = |name, description, value: fn(&LedgerSnapshot) -> u64| {
            let ledger = Arc::clone(ledger);
            meter
                .u64_observable_counter(name)
                .with_description(description)
                .with_callback(move |counter| counter.observe(value(&ledger.snapshot()), &[]))
                .build();
        };
        counter("ingress", "Messages that became envelopes.", valid);
        counter("invalid_ingress", "Messages that did not.", invalid);
        counter("nozzle_ingress", "Envelopes for the log cache.", valid);
        counter("nozzle_egress", "Envelopes that the log cache has taken.", |counts| {
            counts.sent
        });
        let counted = Arc::clone(&metrics);
        meter
            .u64_observable_counter("nozzle_err")
            .with_description("Batches that the log cache did not take; they are sent again.")
            .with_callback(move |counter| counter.observe(counted.failed_sends.load(Ordering::Relaxed), &[]))
            .build();
        let counted = Arc::clone(&metrics);
        meter
            .u64_observable_gauge("connections")
            .with_description("Senders that are connected.")
            .with_callback(move |gauge| gauge.observe(counted.connections.load(Ordering::Relaxed), &[]))
            .build();
        metrics
    }

    pub(crate) fn send_failed(&self) {
        self.failed_sends.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a connection until the guard is dropped.
    pub(crate) fn connected(self: &Arc<Self>) -> Connected {
        self.connections.fetch_add(1, Ordering::Relaxed);
        Connected(Arc::clone(self))
    }
}

/// The guard of a counted connection.
#[derive(Debug)]
pub(crate) struct Connected(Arc<Metrics>);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

fn invalid(counts: &LedgerSnapshot) -> u64 {
    let at_ingress = counts.dropped.iter().filter(|drop| drop.hop == INGRESS);
    at_ingress.map(|drop| drop.count).sum()
}

fn valid(counts: &LedgerSnapshot) -> u64 {
    counts.received.saturating_sub(invalid(counts))
}
