//! The metrics of the gateway (logging §18).

use std::sync::Arc;

use opentelemetry::metrics::{Counter, Meter};
use weir_auth::{Verifier, VerifierStats};
use weir_flow::Ledger;

/// Registers the metrics. Returns the counter of refused streams.
pub(crate) fn register(meter: &Meter, ledger: &Arc<Ledger>, verifier: Option<&Arc<Verifier>>) -> Counter<u64> {
    weir_telemetry::observe_ledger(meter, ledger, &[opentelemetry::KeyValue::new("protocol", "grpc")]);
    if let Some(verifier) = verifier {
        let of_uaa = Arc::clone(verifier);
        meter
            .u64_observable_gauge("LastUAALatency")
            .with_description("Last request latency to UAA in nanoseconds.")
            .with_unit("nanoseconds")
            .with_callback(move |gauge| {
                gauge.observe(u64::try_from(of_uaa.stats().fetch.as_nanos()).unwrap_or(u64::MAX), &[]);
            })
            .build();
        let count = |name: &'static str, description: &'static str, value: fn(&VerifierStats) -> u64| {
            let verifier = Arc::clone(verifier);
            meter
                .u64_observable_counter(name)
                .with_description(description)
                .with_callback(move |counter| counter.observe(value(&verifier.stats()), &[]))
                .build();
        };
        count("tokens_verified", "Tokens whose signature was found good.", |stats| {
            stats.verified + stats.hits
        });
        count("tokens_refused", "Tokens that were refused.", |stats| stats.refused);
    }
    meter
        .u64_counter("rejected_streams")
        .with_description("Streams refused because there are too many.")
        .build()
}
