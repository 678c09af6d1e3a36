//! What the routing API says about itself, by the original's names.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use opentelemetry::metrics::Meter;
use weir_auth::Verifier;

use crate::hub::Hub;

/// The counters. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Metrics(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    token_errors: AtomicU64,
    cut: AtomicU64,
    http_routes: AtomicI64,
    tcp_routes: AtomicI64,
}

impl Metrics {
    /// A request was refused because of its token.
    pub(crate) fn token_error(&self) {
        self.0.token_errors.fetch_add(1, Ordering::Relaxed);
    }

    /// A subscription was ended because it did not keep up.
    pub(crate) fn cut(&self) {
        self.0.cut.fetch_add(1, Ordering::Relaxed);
    }

    /// So many routes there are now.
    pub(crate) fn routes(&self, http: i64, tcp: i64) {
        self.0.http_routes.store(http, Ordering::Relaxed);
        self.0.tcp_routes.store(tcp, Ordering::Relaxed);
    }

    /// Registers everything with `meter`.
    pub(crate) fn register(&self, meter: &Meter, http: &Hub, tcp: &Hub, verifier: Option<&Arc<Verifier>>) {
        let gauge = |name: &'static str, text: &'static str, value: Box<dyn Fn() -> i64 + Send + Sync>| {
            meter
                .i64_observable_gauge(name)
                .with_description(text)
                .with_callback(move |gauge| gauge.observe(value(), &[]))
                .build();
        };
        let counts = Arc::clone(&self.0);
        let value = Box::new(move || counts.http_routes.load(Ordering::Relaxed));
        gauge("total_http_routes", "HTTP routes that are registered.", value);
        let counts = Arc::clone(&self.0);
        let value = Box::new(move || counts.tcp_routes.load(Ordering::Relaxed));
        gauge("total_tcp_routes", "TCP routes that are registered.", value);
        for (name, text, hub) in [
            (
                "total_http_subscriptions",
                "Subscriptions to changes of HTTP routes.",
                http.clone(),
            ),
            (
                "total_tcp_subscriptions",
                "Subscriptions to changes of TCP routes.",
                tcp.clone(),
            ),
        ] {
            gauge(
                name,
                text,
                Box::new(move || i64::try_from(hub.subscriptions()).unwrap_or(i64::MAX)),
            );
        }
        let counts = Arc::clone(&self.0);
        let value = Box::new(move || signed(counts.token_errors.load(Ordering::Relaxed)));
        gauge("total_token_errors", "Requests refused because of their token.", value);
        if let Some(verifier) = verifier {
            let verifier = Arc::clone(verifier);
            let value = Box::new(move || signed(verifier.stats().fetches));
            gauge("key_refresh_events", "Fetches of UAA's keys.", value);
        }
        let counts = Arc::clone(&self.0);
        meter
            .u64_observable_counter("subscriptions_cut")
            .with_description("Subscriptions ended because they did not keep up.")
            .with_callback(move |counter| counter.observe(counts.cut.load(Ordering::Relaxed), &[]))
            .build();
    }
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
