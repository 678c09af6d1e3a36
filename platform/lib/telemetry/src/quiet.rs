//! Silence while shipping: what the shipping of telemetry says must not become telemetry to be shipped.

use tracing::Instrument as _;
use tracing::instrument::Instrumented;

/// Target of the span that makes its inside quiet.
pub(crate) const TARGET: &str = "weir_telemetry::quiet";

/// Crates that work for the shipping as for everything else, and whose tasks do not inherit our span: their events and
/// spans are shown on stderr and never shipped. `opentelemetry` is the SDK talking about itself.
const NEVER_SHIPPED: [&str; 9] = [
    "weir_telemetry",
    "h2",
    "tonic",
    "hyper",
    "hyper_util",
    "tower",
    "rustls",
    "tokio_util",
    "opentelemetry",
];

/// Runs `work` so that nothing it or its children say is shipped; stderr still shows it. Tasks spawned through
/// `weir_service::Tasks` are children.
pub fn quiet<F: Future>(work: F) -> Instrumented<F> {
    work.instrument(tracing::error_span!(target: TARGET, "quiet"))
}

/// Whether events and spans of this target may be shipped at all.
pub(crate) fn may_ship(target: &str) -> bool {
    let name = target.split("::").next().unwrap_or(target);
    !NEVER_SHIPPED.iter().any(|never| {
        name.strip_prefix(never)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['_', '-']))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whole crates are meant, and crates of their family; not those that merely begin alike.
    #[test]
    fn crates_are_silenced_whole() {
        for target in [
            "h2",
            "h2::proto::streams",
            "tonic::transport",
            "rustls::conn",
            "opentelemetry_sdk",
            "weir_telemetry::outbox",
        ] {
            assert!(!may_ship(target), "{target}");
        }
        for target in [
            "weir_doppler_server::egress",
            "h2o",
            "hyperion::x",
            "weir::component",
            "log",
        ] {
            assert!(may_ship(target), "{target}");
        }
    }
}
