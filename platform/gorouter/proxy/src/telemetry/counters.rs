//! The original's metrics, as numbers that requests add to and collections read.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use opentelemetry::metrics::Meter;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident = $metric:literal,)* ; $($(#[$value_doc:meta])* $value:ident = $value_metric:literal in $unit:literal,)*) => {
        /// Numbers that only grow, and the last values of others.
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $($(#[$doc])* pub(crate) $name: AtomicU64,)*
            $($(#[$value_doc])* pub(crate) $value: AtomicU64,)*
        }

        impl Counters {
            /// Numbers that the collections of `meter` read.
            pub(crate) fn new(meter: &Meter) -> Arc<Self> {
                let counters = Arc::<Self>::default();
                $({
                    let counters = Arc::clone(&counters);
                    meter.u64_observable_counter($metric)
                        .with_callback(move |observer| observer.observe(counters.$name.load(Ordering::Relaxed), &[]))
                        .build();
                })*
                $({
                    let counters = Arc::clone(&counters);
                    meter.f64_observable_gauge($value_metric)
                        .with_unit($unit)
                        .with_callback(move |observer| {
                            observer.observe(f64::from_bits(counters.$value.load(Ordering::Relaxed)), &[]);
                        })
                        .build();
                })*
                counters
            }
        }
    };
}

counters! {
    /// Attempts at backends.
    total_requests = "total_requests",
    /// Answers to requests that had a backend.
    responses = "responses",
    /// Those with a status of 200 to 299.
    responses_2xx = "responses.2xx",
    /// Those with a status of 300 to 399.
    responses_3xx = "responses.3xx",
    /// Those with a status of 400 to 499.
    responses_4xx = "responses.4xx",
    /// Those with a status of 500 to 599.
    responses_5xx = "responses.5xx",
    /// Those with any other status.
    responses_xxx = "responses.xxx",
    /// Answers of route services.
    services = "responses.route_services",
    /// Those with a status of 200 to 299.
    services_2xx = "responses.route_services.2xx",
    /// Those with a status of 300 to 399.
    services_3xx = "responses.route_services.3xx",
    /// Those with a status of 400 to 499.
    services_4xx = "responses.route_services.4xx",
    /// Those with a status of 500 to 599.
    services_5xx = "responses.route_services.5xx",
    /// Those with any other status, and failures.
    services_xxx = "responses.route_services.xxx",
    /// Endpoints that lost their routes because they were stale or failed.
    routes_pruned = "routes_pruned",
    /// Registrations of endpoints without a component.
    registry_message = "registry_message",
    /// Ends of registrations of endpoints without a component.
    unregistry_message = "unregistry_message",
    /// Requests that no route was found for, or that cannot be understood.
    rejected_requests = "rejected_requests",
    /// Requests whose backends failed, for any reason that has no number of its own.
    bad_gateways = "bad_gateways",
    /// Requests whose backends all had as many requests as they may have.
    backend_exhausted_conns = "backend_exhausted_conns",
    /// Requests whose backends failed in the TLS handshake.
    backend_tls_handshake_failed = "backend_tls_handshake_failed",
    /// Requests whose backends had the certificate of another instance.
    backend_invalid_id = "backend_invalid_id",
    /// Requests whose backends had a certificate that is not trusted.
    backend_invalid_tls_cert = "backend_invalid_tls_cert",
    /// Requests whose `Content-Length` was empty.
    empty_content_length_header = "empty_content_length_header",
    /// Requests that changed the protocol.
    websocket_upgrades = "websocket_upgrades",
    /// Requests that wanted to change the protocol and failed.
    websocket_failures = "websocket_failures",
    ;
    /// The last request's time up to the end of its answer.
    latency = "latency" in "ms",
    /// How much of that the router used itself.
    gorouter_time = "gorouter_time" in "ms",
    /// How long the last look-up of a route took.
    route_lookup_time = "route_lookup_time" in "ns",
    /// How long the last new endpoint took from its start to its registration here.
    route_registration_latency = "route_registration_latency" in "ms",
}

impl Counters {
    /// Adds to a number that grows.
    pub(crate) fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }

    /// Sets the last value of another.
    pub(crate) fn set(value: &AtomicU64, to: f64) {
        value.store(to.to_bits(), Ordering::Relaxed);
    }

    /// Counts an answer of a route service; 0: it failed.
    pub(crate) fn service_response(&self, status: u16) {
        Self::add(&self.services, 1);
        let of_class = match status / 100 {
            2 => &self.services_2xx,
            3 => &self.services_3xx,
            4 => &self.services_4xx,
            5 => &self.services_5xx,
            _ => &self.services_xxx,
        };
        Self::add(of_class, 1);
    }

    /// Counts an answer of this status.
    pub(crate) fn response(&self, status: u16) {
        Self::add(&self.responses, 1);
        let of_class = match status / 100 {
            2 => &self.responses_2xx,
            3 => &self.responses_3xx,
            4 => &self.responses_4xx,
            5 => &self.responses_5xx,
            _ => &self.responses_xxx,
        };
        Self::add(of_class, 1);
    }
}
