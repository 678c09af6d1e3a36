use std::time::Instant;

use crate::{Registered, Registration, Registry, TableSettings};

fn now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "the table takes any time; nothing here waits")]
    Instant::now()
}

/// A route of a host, one of a path below it, and a wildcard.
#[test]
fn the_longest_route_serves_a_request() {
    let now = now();
    let registry = Registry::new(TableSettings::default(), now);
    let endpoint = Registration::plain("10.0.0.1", 80);
    for route in ["App.example.com", "app.example.com/API/", "*.example.com"] {
        assert_eq!(registry.register(route, &endpoint, now), Registered::Added);
        assert_eq!(registry.register(route, &endpoint, now), Registered::Refreshed);
    }
    let route = |host, path| registry.lookup(host, path).map(|pool| pool.route().to_owned());
    assert_eq!(route("app.example.com", "/").as_deref(), Some("app.example.com"));
    assert_eq!(
        route("APP.example.com", "/Api/x?q").as_deref(),
        Some("app.example.com/api")
    );
    assert_eq!(route("app.example.com", "/apis").as_deref(), Some("app.example.com"));
    assert_eq!(route("a.b.example.com", "/").as_deref(), Some("*.example.com"));
    assert_eq!(route("example.com", "/"), None);
}
