//! The metrics (compute-routing §14), counted where it happens.
//!
//! The names of the metrics of ports and routes have the port or the route in them, as the original's have, so they are
//! registered when there is something to tell. They stay registered when the route goes, because it may come back.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use opentelemetry::metrics::Meter;
use parking_lot::Mutex;

/// An average covers about so many connections, as HAProxy's does.
const SAMPLES: u64 = 1024;

/// The metrics of a router.
#[derive(Debug)]
pub(crate) struct Stats {
    meter: Meter,
    totals: Arc<Totals>,
    ports: Mutex<HashMap<u16, Arc<PortStats>>>,
    routes: Mutex<HashMap<Box<str>, Arc<AtomicU64>>>,
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
    /// Registers the metrics that there always are.
    pub(crate) fn new(meter: Meter) -> Self {
        let totals = Arc::<Totals>::default();
        gauge(
            &meter,
            "TotalCurrentQueuedRequests",
            "Connections that wait for their backend.",
            {
                let totals = Arc::clone(&totals);
                move || totals.connecting.load(Ordering::Relaxed) as u64
            },
        );
        gauge(
            &meter,
            "TotalBackendConnectionErrors",
            "Attempts to connect to a backend that failed.",
            {
                let totals = Arc::clone(&totals);
                move || totals.failures.load(Ordering::Relaxed)
            },
        );
        // There is no queue before the attempt to connect.
        gauge(
            &meter,
            "AverageQueueTimeMs",
            "Milliseconds that connections wait before a backend is asked.",
            || 0,
        );
        gauge(
            &meter,
            "AverageConnectTimeMs",
            "Milliseconds that it takes to connect to a backend.",
            {
                let totals = Arc::clone(&totals);
                move || totals.connect.millis()
            },
        );
        let counter = |name: &'static str, description: &'static str, value: fn(&Totals) -> &AtomicU64| {
            let totals = Arc::clone(&totals);
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
        Self {
            meter,
            totals,
            ports: Mutex::default(),
            routes: Mutex::default(),
        }
    }

    /// The counts of this external port.
    pub(crate) fn port(&self, number: u16) -> Arc<PortStats> {
        let mut ports = self.ports.lock();
        let stats = ports.entry(number).or_insert_with(|| {
            let stats = Arc::<PortStats>::default();
            gauge(
                &self.meter,
                format!("{number}.CurrentSessions"),
                "Connections that are open on this port.",
                {
                    let stats = Arc::clone(&stats);
                    move || stats.sessions.load(Ordering::Relaxed) as u64
                },
            );
            gauge(
                &self.meter,
                format!("{number}.ConnectionTime"),
                "Milliseconds that it takes to connect to a backend.",
                {
                    let stats = Arc::clone(&stats);
                    move || stats.connect.millis()
                },
            );
            stats
        });
        Arc::clone(stats)
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
        let mut routes = self.routes.lock();
        if let Some(count) = routes.get(route) {
            count.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let count = Arc::new(AtomicU64::new(1));
        routes.insert(route.into(), Arc::clone(&count));
        let what = "Attempts to connect to a backend of this route that failed.";
        gauge(&self.meter, format!("{route}.ProxyConnectionErrors"), what, move || {
            count.load(Ordering::Relaxed)
        });
    }

    /// So many bytes were carried from a client to its backend, and back.
    pub(crate) fn carried(&self, received: u64, sent: u64) {
        self.totals.received.fetch_add(received, Ordering::Relaxed);
        self.totals.sent.fetch_add(sent, Ordering::Relaxed);
    }
}

fn gauge(
    meter: &Meter,
    name: impl Into<std::borrow::Cow<'static, str>>,
    description: &'static str,
    value: impl Fn() -> u64 + Send + Sync + 'static,
) {
    meter
        .u64_observable_gauge(name)
        .with_description(description)
        .with_callback(move |gauge| gauge.observe(value(), &[]))
        .build();
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
        let stats = Stats::new(opentelemetry::global::meter("tcp-router"));
        for route in ["a", "b", "a"] {
            stats.failed(route);
        }
        let of_route = |route| stats.routes.lock().get(route).unwrap().load(Ordering::Relaxed);
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
