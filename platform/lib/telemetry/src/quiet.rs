//! Excludes the shipping of telemetry from telemetry, which would otherwise never end.

use tracing::Instrument as _;
use tracing::instrument::Instrumented;

/// The target of the span within which nothing is shipped.
pub(crate) const TARGET: &str = "weir_telemetry::quiet";

/// Crates that the shipping uses and whose tasks do not inherit its span. Their events and spans are shown on standard
/// error and never shipped. `opentelemetry` is the SDK's own logging.
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

/// Runs `work` so that none of its logs and spans are shipped; standard error still shows them. This includes tasks
/// that it spawns with `weir_service::Tasks`.
pub fn quiet<F: Future>(work: F) -> Instrumented<F> {
    work.instrument(tracing::error_span!(target: TARGET, "quiet"))
}

/// Returns whether events and spans with this target may be shipped.
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

    /// Whole crates and their families are excluded, but not crates whose names only begin alike.
    #[test]
    fn whole_crates_are_excluded() {
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
