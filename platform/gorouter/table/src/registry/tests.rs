use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::{
    InvalidRegistration, ModificationTag, Registered, Registration, Registry, Sharding, TableSettings, Wanted,
};

mod model;

fn start() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "a table takes any time; no test waits")]
    Instant::now()
}

fn table() -> (Registry, Instant) {
    with(TableSettings::default())
}

fn with(settings: TableSettings) -> (Registry, Instant) {
    let now = start();
    (Registry::new(settings, now), now)
}

fn endpoint(port: u16) -> Registration<'static> {
    Registration::plain("10.0.0.1", port)
}

/// The route that serves a request.
fn serves(registry: &Registry, host: &str, path: &str) -> Option<String> {
    registry.lookup(host, path).map(|pool| pool.route().to_owned())
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Routes of one host and of paths below it, in any case, with slashes and queries.
#[test]
fn the_longest_path_serves_a_request() {
    let (registry, now) = table();
    for route in [
        "App.example.com/",
        "app.example.com/API?x",
        "app.example.com/api/v2/users/",
        "/app.example.com/api/v3",
    ] {
        assert_eq!(registry.register(route, &endpoint(80), now), Registered::Added);
        assert_eq!(registry.register(route, &endpoint(80), now), Registered::Refreshed);
    }
    for (path, route) in [
        ("", "app.example.com"),
        ("/", "app.example.com"),
        ("/apis", "app.example.com"),
        ("//api", "app.example.com"),
        ("/api", "app.example.com/api"),
        ("/Api/", "app.example.com/api"),
        ("/api?v2", "app.example.com/api"),
        ("/api/v2/user", "app.example.com/api"),
        ("/API/V2/Users/7/x/y/z", "app.example.com/api/v2/users"),
        ("/api/v3", "app.example.com/api/v3"),
        ("/api/v3/users?q=/api/v2/users", "app.example.com/api/v3"),
    ] {
        assert_eq!(
            serves(&registry, "APP.example.com", path).as_deref(),
            Some(route),
            "{path}"
        );
    }
    for (host, path) in [
        ("app.example.com", "*"),
        ("example.com", "/"),
        ("app.example", "/"),
        ("", "/"),
        (".", "/"),
    ] {
        assert_eq!(serves(&registry, host, path), None, "{host}{path}");
    }
    assert_eq!(registry.counts(now).routes, 4);
}

/// A host whose only route is one of a path.
#[test]
fn a_path_serves_nothing_above_it() {
    let (registry, now) = table();
    registry.register("app.example.com/a/b", &endpoint(80), now);
    for path in ["/", "/a", "/a/bc", "/b"] {
        assert_eq!(serves(&registry, "app.example.com", path), None, "{path}");
    }
    assert!(registry.lookup("app.example.com", "/A/b/c").is_some());
}

/// A wildcard serves hosts of any depth below it that have no route of their own for the path; the longest comes first.
#[test]
fn wildcards_serve_what_no_host_serves() {
    let (registry, now) = table();
    for route in ["*.example.com", "*.APPS.example.com/x", "a.apps.example.com/y", "*.com"] {
        registry.register(route, &endpoint(80), now);
    }
    for (host, path, route) in [
        ("b.apps.example.com", "/x/1", Some("*.apps.example.com/x")),
        ("c.b.Apps.example.com", "/x", Some("*.apps.example.com/x")),
        ("b.apps.example.com", "/", Some("*.example.com")),
        ("a.apps.example.com", "/y", Some("a.apps.example.com/y")),
        ("a.apps.example.com", "/x", Some("*.apps.example.com/x")),
        ("a.apps.example.com", "/z", Some("*.example.com")),
        ("*.example.com", "/", Some("*.example.com")),
        ("example.com", "/", Some("*.com")),
        ("com", "/", None),
        ("example.org", "/", None),
    ] {
        assert_eq!(serves(&registry, host, path).as_deref(), route, "{host}{path}");
    }
    for route in ["*.example.com", "*.APPS.example.com/x", "*.com"] {
        assert!(registry.unregister(route, &endpoint(80), now));
    }
    assert_eq!(serves(&registry, "b.apps.example.com", "/x"), None);
    assert_eq!(registry.counts(now).routes, 1);
}

/// Routes whose endpoints are gone: a shorter one with an endpoint comes first; if there is none, the longest empty one.
#[test]
fn an_empty_route_serves_only_if_no_other_does() {
    let settings = TableSettings {
        empty_pool_timeout: seconds(10),
        ..TableSettings::default()
    };
    let (registry, now) = with(settings);
    let routes = [
        "app.example.com",
        "app.example.com/a",
        "app.example.com/a/b",
        "*.example.com",
    ];
    for route in routes {
        registry.register(route, &endpoint(80), now);
    }
    for (gone, route) in [
        ("app.example.com/a/b", "app.example.com/a"),
        ("app.example.com/a", "app.example.com"),
        ("app.example.com", "app.example.com/a/b"),
    ] {
        assert!(registry.unregister(gone, &endpoint(80), now));
        assert_eq!(serves(&registry, "app.example.com", "/a/b/c").as_deref(), Some(route));
    }
    registry.prune(now + seconds(10));
    assert_eq!(registry.counts(now).routes, 4);
    registry.prune(now + Duration::from_millis(10_001));
    assert_eq!(
        serves(&registry, "app.example.com", "/a/b/c").as_deref(),
        Some("*.example.com")
    );
}

/// Names that cannot be routes, and endpoints that are too long.
#[test]
fn what_cannot_be_a_route_is_refused() {
    let (registry, now) = table();
    let long_host = "h".repeat(256);
    let long_path = format!("host/{}", "p".repeat(4096));
    for (route, reason) in [
        ("", InvalidRegistration::NoHost),
        ("/", InvalidRegistration::NoHost),
        ("//path", InvalidRegistration::NoHost),
        ("*./path", InvalidRegistration::NoHost),
        ("?query", InvalidRegistration::NoHost),
        (&long_host, InvalidRegistration::HostTooLong),
        (&long_path, InvalidRegistration::PathTooLong),
    ] {
        assert_eq!(
            registry.register(route, &endpoint(80), now),
            Registered::Invalid(reason),
            "{route}"
        );
        assert!(!registry.unregister(route, &endpoint(80), now));
    }
    let long = "x".repeat(65_536);
    let too_long = Registered::Invalid(InvalidRegistration::TextTooLong);
    let by_id = Registration {
        app_id: &long,
        ..endpoint(80)
    };
    assert_eq!(registry.register("host", &by_id, now), too_long);
    let tags = [("tag".to_owned(), long.clone())].into();
    assert_eq!(
        registry.register(
            "host",
            &Registration {
                tags: &tags,
                ..endpoint(80)
            },
            now
        ),
        too_long
    );
    assert_eq!((registry.counts(now).routes, serves(&registry, "host", "/")), (0, None));
    assert!(registry.lookup(&long_host, "/").is_none());
}

/// An older version neither replaces nor removes a newer one; one that counts differently, or none, does.
#[test]
fn the_newer_version_wins() {
    let (registry, now) = table();
    let version = |guid, index| Registration {
        modification_tag: ModificationTag { guid, index },
        ..endpoint(80)
    };
    let register = |registration: Registration<'_>| registry.register("host", &registration, now);
    assert_eq!(register(version("a", 2)), Registered::Added);
    assert_eq!(register(version("a", 2)), Registered::Refreshed);
    assert_eq!(register(version("a", 1)), Registered::Outdated);
    assert!(!registry.unregister("host", &version("a", 1), now));
    assert_eq!(register(version("a", 3)), Registered::Updated);
    assert_eq!(register(version("b", 1)), Registered::Updated);
    assert_eq!(register(version("", 0)), Registered::Updated);
    let other = Registration {
        app_id: "app",
        ..version("", 0)
    };
    assert_eq!(register(other), Registered::Updated);
    assert!(registry.unregister("host", &version("c", 0), now));
    assert!(registry.lookup("host", "/").is_none());
}

/// A repeated registration of another kind changes the endpoint: the new one serves the next request.
#[test]
fn a_changed_endpoint_is_another_one() {
    let (registry, now) = table();
    registry.register("host", &endpoint(80), now);
    let pool = registry.lookup("host", "/").unwrap();
    let before = pool.select(&Wanted::default(), now).unwrap();
    let changed = Registration {
        tls: true,
        server_cert_domain_san: "instance",
        ..endpoint(80)
    };
    assert_eq!(registry.register("host", &changed, now), Registered::Updated);
    let after = pool.select(&Wanted::default(), now).unwrap();
    assert_ne!(before.id(), after.id());
    assert_eq!(
        (after.tls(), after.server_cert_domain_san(), after.in_flight()),
        (true, "instance", 1)
    );
    assert_eq!((before.tls(), before.in_flight(), pool.len()), (false, 1, 1));
}

/// Endpoints without TLS go when they are not registered again for two minutes, or the shorter time that they name.
#[test]
fn endpoints_without_tls_become_stale() {
    let (registry, now) = table();
    let stale_threshold = |threshold| Registration {
        stale_threshold: seconds(threshold),
        ..endpoint(80)
    };
    for (route, registration) in [
        ("default", endpoint(80)),
        ("short", stale_threshold(50)),
        ("long", stale_threshold(500)),
        (
            "tls",
            Registration {
                tls: true,
                ..stale_threshold(50)
            },
        ),
    ] {
        registry.register(route, &registration, now);
    }
    assert_eq!(registry.counts(now + seconds(7)).since_registration, Some(seconds(7)));
    let pruned = |after| {
        let mut routes: Vec<_> = registry
            .prune(now + after)
            .into_iter()
            .map(|pruned| pruned.route)
            .collect();
        routes.sort_unstable();
        routes
    };
    assert!(pruned(seconds(50)).is_empty());
    assert_eq!(pruned(Duration::from_millis(50_001)), ["short"]);
    registry.register("default", &endpoint(80), now + seconds(60));
    assert_eq!(pruned(seconds(121)), ["long"]);
    assert_eq!(pruned(seconds(181)), ["default"]);
    assert!(pruned(seconds(100_000)).is_empty());
    let counts = registry.counts(now);
    assert_eq!((counts.routes, counts.endpoints), (1, 1));
}

/// While registrations cannot come, nothing is pruned; after that, all endpoints have their time from then on.
#[test]
fn nothing_is_pruned_while_registrations_cannot_come() {
    let (registry, now) = table();
    registry.register("host", &endpoint(80), now);
    registry.suspend_pruning(true);
    assert!(registry.prune(now + seconds(500)).is_empty());
    registry.suspend_pruning(false);
    assert!(registry.prune(now + seconds(501)).is_empty());
    assert!(registry.prune(now + seconds(621)).is_empty());
    assert_eq!(registry.prune(now + seconds(622)).len(), 1);
    assert!(registry.lookup("host", "/").is_none());
}

/// Which isolation segments a table takes. What it does not take cannot be unregistered either.
#[test]
fn a_table_takes_the_segments_of_its_shard() {
    let of = |isolation_segment| Registration {
        isolation_segment,
        ..endpoint(80)
    };
    let own = vec!["a".to_owned(), "b".to_owned()];
    for (sharding, expected) in [
        (Sharding::All, [true, true, true]),
        (Sharding::Segments(own.clone()), [false, true, false]),
        (Sharding::SharedAndSegments(own), [true, true, false]),
    ] {
        let (registry, now) = with(TableSettings {
            sharding,
            ..TableSettings::default()
        });
        for (segment, expected) in ["", "b", "c"].into_iter().zip(expected) {
            let registered = registry.register("host", &of(segment), now);
            assert_eq!(registered != Registered::OtherShard, expected, "{segment}");
            assert_eq!(registry.unregister("host", &of(segment), now), expected, "{segment}");
        }
    }
}

/// What a registration says can be read again.
#[test]
fn an_endpoint_says_what_its_registration_said() {
    let (registry, now) = table();
    let tags = [("component", "route-emitter"), ("process_id", "web")];
    let tags = tags.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let registration = Registration {
        host: "2001:db8::1",
        app_id: "app",
        instance_id: "instance",
        instance_index: "3",
        isolation_segment: "segment",
        availability_zone: "z1",
        tags: &tags,
        updated_at_ns: 17,
        ..endpoint(8080)
    };
    registry.register("host/path", &registration, now);
    registry.register("other", &registration, now);
    let pool = registry.lookup("host", "/path").unwrap();
    assert_eq!((pool.host(), pool.path()), ("host", "/path"));
    let endpoint = &pool.endpoints()[0];
    assert_eq!(endpoint.address(), "2001:db8::1:8080");
    assert_eq!(
        [endpoint.app_id(), endpoint.instance_id(), endpoint.instance_index()],
        ["app", "instance", "3"]
    );
    assert_eq!(
        [endpoint.isolation_segment(), endpoint.availability_zone()],
        ["segment", "z1"]
    );
    assert_eq!((endpoint.process_id(), endpoint.updated_at_ns()), ("web", 17));
    assert_eq!(endpoint.stale_threshold(), seconds(120));
    let pairs: Vec<_> = endpoint.tags().iter().collect();
    assert_eq!(pairs, [("component", "route-emitter"), ("process_id", "web")]);
    let other = registry.lookup("other", "/").unwrap();
    assert!(Arc::ptr_eq(endpoint.tags(), other.endpoints()[0].tags()));
    let mut routes: Vec<_> = registry.routes().iter().map(|pool| pool.route().to_owned()).collect();
    routes.sort_unstable();
    assert_eq!(routes, ["host/path", "other"]);
}

/// Threads that register, unregister, prune and look up the same routes: at the end the counts are right, and no
/// registration was lost in a route that was just being removed.
#[test]
fn threads_do_not_lose_registrations() {
    let (registry, now) = table();
    let routes = ["host", "host/a", "*.host", "other"];
    std::thread::scope(|scope| {
        for port in 0..4 {
            let registry = &registry;
            scope.spawn(move || {
                for round in 0..500 {
                    let route = routes[(round + usize::from(port)) % routes.len()];
                    assert_eq!(registry.register(route, &endpoint(port), now), Registered::Added);
                    drop(registry.lookup("a.host", "/a"));
                    if round % 50 == 0 {
                        registry.prune(now);
                    }
                    assert!(registry.unregister(route, &endpoint(port), now));
                }
                registry.register(routes[usize::from(port)], &endpoint(port), now);
            });
        }
    });
    let counts = registry.counts(now);
    assert_eq!((counts.routes, counts.endpoints), (4, 4));
    assert!(registry.routes().iter().all(|pool| pool.len() == 1));
}
