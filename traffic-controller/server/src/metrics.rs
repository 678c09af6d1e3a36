//! The metrics of the traffic controller (logging §18). This module knows no other one of the crate.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;
use weir_flow::Ledger;

/// The two kinds of streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamKind {
    Firehose,
    App,
}

/// A count for each kind of stream.
#[derive(Debug, Default)]
struct ByKind<T> {
    firehose: T,
    app: T,
}

impl<T> ByKind<T> {
    const fn of(&self, kind: StreamKind) -> &T {
        match kind {
            StreamKind::Firehose => &self.firehose,
            StreamKind::App => &self.app,
        }
    }
}

/// The counts behind the metrics.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    arrived: AtomicU64,
    delivered: ByKind<AtomicU64>,
    open: ByKind<AtomicI64>,
    slow_consumers: AtomicU64,
    rejected_streams: AtomicU64,
}

impl Metrics {
    pub(crate) fn register(meter: &Meter, ledger: &Arc<Ledger>) -> Arc<Self> {
        let metrics = Arc::<Self>::default();
        let counted = Arc::clone(&metrics);
        meter
            .u64_observable_counter("ingress")
            .with_description("Envelopes that came from dopplers.")
            .with_callback(move |counter| {
                counter.observe(
                    counted.arrived.load(Ordering::Relaxed),
                    &[KeyValue::new("protocol", "grpc")],
                );
            })
            .build();
        let counted = Arc::clone(&metrics);
        meter
            .u64_observable_counter("egress")
            .with_description("Messages written to clients.")
            .with_callback(move |counter| {
                for (kind, endpoint) in [(StreamKind::Firehose, "firehose"), (StreamKind::App, "stream")] {
                    let count = counted.delivered.of(kind).load(Ordering::Relaxed);
                    counter.observe(count, &[KeyValue::new("endpoint", endpoint)]);
                }
            })
            .build();
        let ledger = Arc::clone(ledger);
        meter
            .u64_observable_counter("dropped")
            .with_description("Envelopes that a client asked for and did not get.")
            .with_callback(move |counter| {
                counter.observe(
                    ledger.snapshot().dropped_total(),
                    &[KeyValue::new("direction", "egress")],
                );
            })
            .build();
        let counted = Arc::clone(&metrics);
        meter
            .u64_observable_counter("doppler_proxy.slow_consumer")
            .with_description("Clients that were disconnected because they did not keep up.")
            .with_callback(move |counter| counter.observe(counted.slow_consumers.load(Ordering::Relaxed), &[]))
            .build();
        let counted = Arc::clone(&metrics);
        meter
            .u64_observable_counter("rejected_streams")
            .with_description("Streams refused because there are too many, at all or of one caller.")
            .with_callback(move |counter| counter.observe(counted.rejected_streams.load(Ordering::Relaxed), &[]))
            .build();
        for (kind, name, description) in [
            (
                StreamKind::Firehose,
                "doppler_proxy.firehoses",
                "Open firehose streams.",
            ),
            (StreamKind::App, "doppler_proxy.app_streams", "Open app streams."),
        ] {
            let counted = Arc::clone(&metrics);
            meter
                .i64_observable_gauge(name)
                .with_description(description)
                .with_unit("connections")
                .with_callback(move |gauge| gauge.observe(counted.open.of(kind).load(Ordering::Relaxed), &[]))
                .build();
        }
        metrics
    }

    pub(crate) fn arrived(&self, envelopes: u64) {
        self.arrived.fetch_add(envelopes, Ordering::Relaxed);
    }

    pub(crate) fn delivered(&self, kind: StreamKind, frames: u64) {
        self.delivered.of(kind).fetch_add(frames, Ordering::Relaxed);
    }

    pub(crate) fn slow_consumer(&self) {
        self.slow_consumers.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn rejected_stream(&self) {
        self.rejected_streams.fetch_add(1, Ordering::Relaxed);
    }
}

/// Counts an open stream until it is dropped.
#[derive(Debug)]
pub(crate) struct OpenStream<'m> {
    metrics: &'m Metrics,
    ledger: &'m Ledger,
    kind: StreamKind,
}

impl<'m> OpenStream<'m> {
    pub(crate) fn open(metrics: &'m Metrics, kind: StreamKind, ledger: &'m Ledger) -> Self {
        metrics.open.of(kind).fetch_add(1, Ordering::Relaxed);
        ledger.subscribers(1);
        Self { metrics, ledger, kind }
    }
}

impl Drop for OpenStream<'_> {
    fn drop(&mut self) {
        self.metrics.open.of(self.kind).fetch_sub(1, Ordering::Relaxed);
        self.ledger.subscribers(-1);
    }
}
