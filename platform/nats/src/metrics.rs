//! The metrics of the server.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Meter};

use crate::ending::Ending;

/// The counts behind the metrics.
#[derive(Debug)]
pub(crate) struct Metrics {
    messages_in: AtomicU64,
    messages_out: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    connections: AtomicI64,
    subscriptions: AtomicI64,
    ended: Counter<u64>,
}

/// What one batch adds to the counts.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Tally {
    messages_in: u64,
    messages_out: u64,
    bytes_in: u64,
    bytes_out: u64,
}

impl Metrics {
    /// Registers the metrics.
    pub(crate) fn register(meter: &Meter) -> Arc<Self> {
        let ended = meter
            .u64_counter("connections_ended")
            .with_description("Connections that ended, by reason. `slow_consumer` has lost messages.");
        let metrics = Arc::new(Self {
            messages_in: AtomicU64::new(0),
            messages_out: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            connections: AtomicI64::new(0),
            subscriptions: AtomicI64::new(0),
            ended: ended.build(),
        });
        let counter = |name: &'static str, text: &'static str, of: fn(&Self) -> &AtomicU64| {
            let metrics = Arc::clone(&metrics);
            meter
                .u64_observable_counter(name)
                .with_description(text)
                .with_callback(move |counter| counter.observe(of(&metrics).load(Ordering::Relaxed), &[]))
                .build();
        };
        counter("messages_in", "Messages that clients have published.", |metrics| {
            &metrics.messages_in
        });
        counter(
            "messages_out",
            "Messages for subscribers, each counted once.",
            |metrics| &metrics.messages_out,
        );
        counter(
            "bytes_in",
            "Bytes of published messages, headers and payloads.",
            |metrics| &metrics.bytes_in,
        );
        counter("bytes_out", "Bytes of messages for subscribers.", |metrics| {
            &metrics.bytes_out
        });
        let gauge = |name: &'static str, text: &'static str, of: fn(&Self) -> &AtomicI64| {
            let metrics = Arc::clone(&metrics);
            meter
                .i64_observable_gauge(name)
                .with_description(text)
                .with_callback(move |gauge| gauge.observe(of(&metrics).load(Ordering::Relaxed), &[]))
                .build();
        };
        gauge("connections", "Clients that are connected.", |metrics| {
            &metrics.connections
        });
        gauge("subscriptions", "Subscriptions of all clients.", |metrics| {
            &metrics.subscriptions
        });
        metrics
    }

    /// Adds the counts of a batch.
    pub(crate) fn add(&self, tally: Tally) {
        if tally.messages_in > 0 {
            self.messages_in.fetch_add(tally.messages_in, Ordering::Relaxed);
            self.bytes_in.fetch_add(tally.bytes_in, Ordering::Relaxed);
            self.messages_out.fetch_add(tally.messages_out, Ordering::Relaxed);
            self.bytes_out.fetch_add(tally.bytes_out, Ordering::Relaxed);
        }
    }

    pub(crate) fn connected(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn ended(&self, ending: Ending) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
        self.ended.add(1, &[KeyValue::new("reason", ending.reason())]);
    }

    pub(crate) fn subscribed(&self) {
        self.subscriptions.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn unsubscribed(&self) {
        self.subscriptions.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Tally {
    /// A client has published a message of so many bytes.
    pub(crate) const fn received(&mut self, bytes: usize) {
        self.messages_in += 1;
        self.bytes_in += bytes as u64;
    }

    /// A subscriber gets a message of so many bytes.
    pub(crate) const fn sent(&mut self, bytes: usize) {
        self.messages_out += 1;
        self.bytes_out += bytes as u64;
    }
}
