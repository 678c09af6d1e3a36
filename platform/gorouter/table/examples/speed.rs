//! What the routing table costs: memory and time of a registration, and the time of a look-up, at 1,000 and at 100,000
//! routes with one endpoint each.
//!
//! ```text
//! cargo run --release -p weir-platform-gorouter-table --example speed
//! ```
//!
//! Three kinds of registrations: all routes of one endpoint without tags, as a load test has; each route of an endpoint of
//! its own; and each of an endpoint with the eleven tags that Diego's route emitter sends, most of them its own.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a measurement asks for the time and prints"
)]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use weir_platform_gorouter_table::{Registration, Registry, TableSettings, Wanted};

/// One route and its endpoint.
struct Route {
    name: String,
    host: String,
    port: u16,
    app: String,
    instance: String,
    tags: BTreeMap<String, String>,
}

fn main() {
    println!(
        "{:<22} {:>8} {:>10} {:>12} {:>10} {:>10} {:>10}",
        "routes", "count", "bytes", "register µs", "repeat µs", "lookup µs", "select µs"
    );
    for kind in ["one endpoint", "an endpoint each", "with Diego's tags"] {
        for count in [1_000, 100_000] {
            measure(kind, count);
        }
    }
}

fn measure(kind: &str, count: usize) {
    let routes: Vec<_> = (0..count).map(|number| route(kind, number)).collect();
    let now = Instant::now();
    let registry = Registry::new(TableSettings::default(), now);
    let before = resident();
    let register = each(&routes, |route| {
        registry.register(&route.name, &registration(route), now);
    });
    let bytes = resident().saturating_sub(before) / count;
    let repeat = each(&routes, |route| {
        registry.register(&route.name, &registration(route), now);
    });
    // In another order than that of the registrations, so that nothing is still in the processor's caches.
    let shuffled: Vec<_> = (0..count).map(|number| &routes[number * 7_919 % count]).collect();
    let lookup = each(&shuffled, |route| {
        black_box(registry.lookup(&route.name, "/path/of/a/request"));
    });
    let select = each(&shuffled, |route| {
        let pool = registry.lookup(&route.name, "/").expect("it is registered");
        drop(black_box(pool.select(&Wanted::default(), now)));
    });
    let micros = |time: Duration| time.as_secs_f64() * 1e6 / count as f64;
    println!(
        "{kind:<22} {count:>8} {bytes:>10} {:>12.2} {:>10.2} {:>10.2} {:>10.2}",
        micros(register),
        micros(repeat),
        micros(lookup),
        micros(select)
    );
    // What stays allocated is not counted for the next kind.
    std::mem::forget(registry);
}

fn each<T>(items: &[T], mut work: impl FnMut(&T)) -> Duration {
    let started = Instant::now();
    for item in items {
        work(item);
    }
    started.elapsed()
}

fn route(kind: &str, number: usize) -> Route {
    let id = |seed: usize| {
        format!(
            "{:08x}-5a3c-4b7d-9e2f-{:012x}",
            seed.wrapping_mul(2_654_435_761) & 0xffff_ffff,
            seed
        )
    };
    let own = if kind == "one endpoint" { 0 } else { number };
    let mut tags = BTreeMap::new();
    if kind == "with Diego's tags" {
        let space = number / 100;
        for (name, value) in [
            ("app_id", id(number)),
            ("app_name", format!("application-{number}")),
            ("component", "route-emitter".to_owned()),
            ("instance_id", "0".to_owned()),
            ("organization_id", id(space / 10)),
            ("organization_name", format!("organization-{}", space / 10)),
            ("process_id", id(number)),
            ("process_instance_id", id(number + 1)),
            ("process_type", "web".to_owned()),
            ("source_id", id(number)),
            ("space_id", id(space)),
            ("space_name", format!("space-{space}")),
        ] {
            tags.insert(name.to_owned(), value);
        }
    }
    Route {
        name: format!("application-{number}.apps.example.com"),
        host: format!("10.{}.{}.{}", own >> 16, own >> 8 & 255, own & 255),
        port: 61_001,
        app: id(own),
        instance: id(own + 1),
        tags,
    }
}

fn registration(route: &Route) -> Registration<'_> {
    Registration {
        tls: true,
        app_id: &route.app,
        instance_id: &route.instance,
        instance_index: "0",
        server_cert_domain_san: &route.instance,
        availability_zone: "z1",
        tags: &route.tags,
        ..Registration::plain(&route.host, route.port)
    }
}

/// Memory of this process, in bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: usize = statm
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse().ok())
        .expect("a number");
    pages * 4096
}
