//! The metrics (compute-routing §14), counted where it happens.
//!
//! The names of the metrics of ports and routes begin with the port or the route, as the original's do. A port or a route that
//! was told stays when it goes, because it may come back.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;
use parking_lot::Mutex;
use weir_telemetry::NAME_PREFIX;

/// An average covers about so many connections, as HAProxy's does.
const SAMPLES: u64 = 1024;

/// The metrics of a router.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    totals: Arc<Totals>,
    ports: Arc<Mutex<HashMap<u16, Arc<PortStats>>>>,
    failures: Arc<Mutex<HashMap<Box<str>, u64>>>,
}

/// The counts of all ports together.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    /// Connections that wait for their backend.
    connecting: AtomicUsize,
    /// Attempts to connect to a backend that failed.
    failures: AtomicU64,
    /// How long it takes to connect to a backend.
    connect: Average,
    /// Connections that were carried.
    connections: AtomicU64,
    /// Bytes from clients to backends.
    received: AtomicU64,
    /// Bytes from backends to clients.
    sent: AtomicU64,
}

/// The counts of an external port.
#[derive(Debug, Default)]
pub(crate) struct PortStats {
    sessions: AtomicUsize,
    connect: Average,
}

/// A connection that counts as one of its port until this is dropped.
#[derive(Debug)]
pub(crate) struct Open(Arc<PortStats>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.sessions.fetch_sub(1, Ordering::Relaxed);
    }
}

impl PortStats {
    /// A connection is open.
    pub(crate) fn open(self: &Arc<Self>) -> Open {
        self.sessions.fetch_add(1, Ordering::Relaxed);
        Open(Arc::clone(self))
    }
}

/// A connection that waits for its backend until this is dropped.
#[derive(Debug)]
pub(crate) struct Connecting<'s>(&'s Totals);

impl Drop for Connecting<'_> {
    fn drop(&mut self) {
        self.0.connecting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Stats {
    /// Registers the metrics.
    pub(crate) fn new(meter: &Meter) -> Self {
        let stats = Self::default();
        stats.register_totals(meter);
        stats.register_ports(meter);
        stats
    }

    fn register_totals(&self, meter: &Meter) {
        let totals = &self.totals;
        let gauge = |name: &'static str, description: &'static str, value: fn(&Totals) -> u64| {
            let totals = Arc::clone(totals);
            meter
                .u64_observable_gauge(name)
                .with_description(description)
                .with_callback(move |gauge| gauge.observe(value(&totals), &[]))
                .build();
        };
        gauge(
            "TotalCurrentQueuedRequests",
            "Connections that wait for their backend.",
            |totals| totals.connecting.load(Ordering::Relaxed) as u64,
        );
        let failed = "Attempts to connect to a backend that failed.";
        gauge("TotalBackendConnectionErrors", failed, |totals| {
            totals.failures.load(Ordering::Relaxed)
        });
        // There is no queue before the attempt to connect.
        gauge(
            "AverageQueueTimeMs",
            "Milliseconds that connections wait before a backend is asked.",
            |_| 0,
        );
        gauge(
            "AverageConnectTimeMs",
            "Milliseconds that it takes to connect to a backend.",
            |totals| totals.connect.millis(),
        );
        let counter = |name: &'static str, description: &'static str, value: fn(&Totals) -> &AtomicU64| {
            let totals = Arc::clone(totals);
            meter
                .u64_observable_counter(name)
                .with_description(description)
                .with_callback(move |counter| counter.observe(value(&totals).load(Ordering::Relaxed), &[]))
                .build();
        };
        counter("connections", "Connections that were carried to a backend.", |totals| {
            &totals.connections
        });
        counter("bytes_received", "Bytes from clients to backends.", |totals| {
            &totals.received
        });
        counter("bytes_sent", "Bytes from backends to clients.", |totals| &totals.sent);
    }

    fn register_ports(&self, meter: &Meter) {
        let gauge = |name: &'static str, description: &'static str, value: fn(&PortStats) -> u64| {
            let ports = Arc::clone(&self.ports);
            meter
                .u64_observable_gauge(name)
                .with_description(description)
                .with_callback(move |gauge| {
                    for (port, stats) in &*ports.lock() {
                        gauge.observe(value(stats), &[KeyValue::new(NAME_PREFIX, port.to_string())]);
                    }
                })
                .build();
        };
        gauge("CurrentSessions", "Connections that are open on a port.", |port| {
            port.sessions.load(Ordering::Relaxed) as u64
        });
        gauge(
            "ConnectionTime",
            "Milliseconds that it takes to connect to a backend of a port.",
            |port| port.connect.millis(),
        );
        let failures = Arc::clone(&self.failures);
        meter
            .u64_observable_gauge("ProxyConnectionErrors")
            .with_description("Attempts to connect to a backend of a route that failed.")
            .with_callback(move |gauge| {
                for (route, count) in &*failures.lock() {
                    gauge.observe(*count, &[KeyValue::new(NAME_PREFIX, route.to_string())]);
                }
            })
            .build();
    }

    /// The counts of this external port.
    pub(crate) fn port(&self, number: u16) -> Arc<PortStats> {
        Arc::clone(self.ports.lock().entry(number).or_default())
    }

    /// A connection waits for its backend.
    pub(crate) fn connecting(&self) -> Connecting<'_> {
        self.totals.connecting.fetch_add(1, Ordering::Relaxed);
        Connecting(&self.totals)
    }

    /// A backend of a route on `port` answered after so long.
    pub(crate) fn connected(&self, port: &PortStats, took: Duration) {
        self.totals.connections.fetch_add(1, Ordering::Relaxed);
        self.totals.connect.add(took);
        port.connect.add(took);
    }

    /// A backend of this route could not be connected to.
    pub(crate) fn failed(&self, route: &str) {
        self.totals.failures.fetch_add(1, Ordering::Relaxed);
        let mut failures = self.failures.lock();
        match failures.get_mut(route) {
            Some(count) => *count += 1,
            None => drop(failures.insert(route.into(), 1)),
        }
    }

    /// So many bytes were carried from a client to its backend, and back.
    pub(crate) fn carried(&self, received: u64, sent: u64) {
        self.totals.received.fetch_add(received, Ordering::Relaxed);
        self.totals.sent.fetch_add(sent, Ordering::Relaxed);
    }
}

/// The average of the last durations, about [`SAMPLES`] of them.
#[derive(Debug, Default)]
struct Average {
    /// The sum of as many durations as there are samples, or fewer in the beginning, in microseconds.
    sum: AtomicU64,
    count: AtomicU64,
}

impl Average {
    fn add(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let known = self.count.fetch_add(1, Ordering::Relaxed);
        let added = |sum: u64| {
            let gone = if known < SAMPLES { 0 } else { sum.div_ceil(SAMPLES) };
            Some((sum - gone).saturating_add(micros))
        };
        // Never fails: the closure always has a value.
        self.sum.fetch_update(Ordering::Relaxed, Ordering::Relaxed, added).ok();
    }

    fn millis(&self) -> u64 {
        let count = self.count.load(Ordering::Relaxed).clamp(1, SAMPLES);
        self.sum.load(Ordering::Relaxed) / count / 1000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The average is of what there is, and follows what comes.
    #[test]
    fn averages_follow() {
        let average = Average::default();
        assert_eq!(average.millis(), 0);
        average.add(Duration::from_millis(10));
        average.add(Duration::from_millis(30));
        assert_eq!(average.millis(), 20);
        for _ in 0..20 * SAMPLES {
            average.add(Duration::from_millis(100));
        }
        assert!((99..=100).contains(&average.millis()), "{}", average.millis());
    }

    /// Counts go up and down with what they count, and failures are counted together and by route.
    #[test]
    fn counts_follow() {
        let stats = Stats::new(&opentelemetry::global::meter("tcp-router"));
        for route in ["a", "b", "a"] {
            stats.failed(route);
        }
        let of_route = |route| *stats.failures.lock().get(route).unwrap();
        assert_eq!(
            (
                stats.totals.failures.load(Ordering::Relaxed),
                of_route("a"),
                of_route("b")
            ),
            (3, 2, 1)
        );
        let port = stats.port(1024);
        let (open, connecting) = (port.open(), stats.connecting());
        let now = || {
            (
                stats.port(1024).sessions.load(Ordering::Relaxed),
                stats.totals.connecting.load(Ordering::Relaxed),
            )
        };
        assert_eq!(now(), (1, 1));
        drop((open, connecting));
        assert_eq!(now(), (0, 0));
    }
}
