//! Numbers that are looked up when they are collected: routes, files, messages of NATS, the time since the start.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use opentelemetry::metrics::Meter;
use weir_platform_gorouter_table::Registry;
use weir_service::clock;

/// Open files of this process, on systems that tell.
const FILES: &str = "/proc/self/fd";

/// Makes the collections of `meter` look these numbers up. `dropped` counts messages of NATS. The meter outlives the router, so it
/// must not hold the client itself: the connection would stay.
pub(crate) fn register(meter: &Meter, registry: &Arc<Registry>, dropped: Arc<AtomicU64>) {
    let routes = Arc::clone(registry);
    meter
        .u64_observable_gauge("total_routes")
        .with_callback(move |observer| observer.observe(routes.counts(clock::instant()).routes as u64, &[]))
        .build();
    let registry = Arc::clone(registry);
    meter
        .f64_observable_gauge("ms_since_last_registry_update")
        .with_unit("ms")
        .with_callback(move |observer| {
            if let Some(since) = registry.counts(clock::instant()).since_registration {
                observer.observe(since.as_secs_f64() * 1000.0, &[]);
            }
        })
        .build();
    meter
        .u64_observable_gauge("total_dropped_messages")
        .with_unit("message")
        .with_callback(move |observer| observer.observe(dropped.load(Ordering::Relaxed), &[]))
        .build();
    meter
        .u64_observable_gauge("file_descriptors")
        .with_unit("file")
        .with_callback(|observer| {
            if let Ok(files) = std::fs::read_dir(FILES) {
                observer.observe(files.count() as u64, &[]);
            }
        })
        .build();
    let started = clock::instant();
    meter
        .u64_observable_gauge("uptime")
        .with_unit("seconds")
        .with_callback(move |observer| observer.observe((clock::instant() - started).as_secs(), &[]))
        .build();
}
