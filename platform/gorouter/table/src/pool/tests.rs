use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Instance, NoEndpoint, Pool, Wanted};
use crate::{Registration, Registry, TableSettings};

fn now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "the table takes any time; nothing here waits")]
    Instant::now()
}

fn pool(settings: TableSettings, registrations: &[Registration<'_>]) -> Arc<Pool> {
    let now = now();
    let registry = Registry::new(settings, now);
    for registration in registrations {
        registry.register("app.example.com", registration, now);
    }
    registry.lookup("app.example.com", "/").expect("it is registered")
}

/// Three endpoints: six requests get each twice.
#[test]
fn requests_go_round() {
    let endpoints = [1, 2, 3].map(|port| Registration::plain("10.0.0.1", port));
    let pool = pool(TableSettings::default(), &endpoints);
    let mut addresses: Vec<_> = (0..6)
        .map(|_| pool.select(&Wanted::default(), now()).unwrap().address().to_owned())
        .collect();
    assert_eq!(addresses[..3], addresses[3..]);
    addresses.sort_unstable();
    addresses.dedup();
    assert_eq!(addresses, ["10.0.0.1:1", "10.0.0.1:2", "10.0.0.1:3"]);
}

/// An instance that the route does not have.
#[test]
fn an_unknown_instance_is_told_apart() {
    let pool = pool(TableSettings::default(), &[Registration::plain("10.0.0.1", 1)]);
    let instance = Some(Instance::App { id: "a", index: "0" });
    let wanted = Wanted {
        instance,
        ..Wanted::default()
    };
    assert_eq!(pool.select(&wanted, now()).unwrap_err(), NoEndpoint::UnknownInstance);
    assert!(pool.select(&Wanted::default(), now() + Duration::from_secs(1)).is_ok());
}
