use serde_json::json;

use super::*;

fn raw(value: serde_json::Value) -> RawRoute {
    serde_json::from_value(value).unwrap()
}

fn route(value: serde_json::Value) -> Route {
    Route::new(&raw(value), &Defaults::default()).unwrap()
}

/// The texts of the problems of a route.
fn problems(value: serde_json::Value) -> Vec<String> {
    let problems = Route::new(&raw(value), &Defaults::default()).unwrap_err();
    problems.iter().map(ToString::to_string).collect()
}

fn http() -> serde_json::Value {
    json!({"name": "a", "host": "h", "port": 1, "uris": ["a.b"], "registration_interval": "20s"})
}

/// `base` with the fields of `other`.
fn with(mut base: serde_json::Value, other: serde_json::Value) -> serde_json::Value {
    let fields = other.as_object().unwrap().clone();
    base.as_object_mut().unwrap().extend(fields);
    base
}

/// An `sni` route is a TCP route with the port and the name of its own keys, as in the original.
#[test]
fn kinds_have_their_own_keys() {
    let tcp = json!({"type": "tcp", "host": "h", "port": 2, "router_group": "g", "external_port": 1024,
        "registration_interval": "1s"});
    let expected = TcpRoute {
        router_group: "g".to_owned(),
        external_port: 1024,
        port: 2,
        sni_hostname: None,
    };
    assert_eq!(route(tcp).kind, Kind::Tcp(expected.clone()));
    let sni = json!({"type": "sni", "host": "h", "port": 9, "sni_port": 3, "sni_routable_san": "n", "router_group": "g",
        "external_port": 1024, "registration_interval": "1s"});
    let expected = TcpRoute {
        port: 3,
        sni_hostname: Some("n".to_owned()),
        ..expected
    };
    assert_eq!(route(sni).kind, Kind::Tcp(expected));
}

/// Each mistake is named by its key.
#[test]
fn mistakes_are_named() {
    for (change, key) in [
        (json!({"type": "udp"}), "`type`"),
        (json!({"name": ""}), "`name`"),
        (json!({"host": ""}), "`host`"),
        (json!({"uris": []}), "`uris`"),
        (json!({"uris": ["a", ""]}), "`uris`"),
        (json!({"port": 0}), "`port`"),
        (json!({"tls_port": 0}), "`tls_port`"),
        (json!({"port": null}), "`port`"),
        (json!({"protocol": "spdy"}), "`protocol`"),
        (json!({"route_service_url": "http://a"}), "`route_service_url`"),
        (json!({"registration_interval": "0s"}), "`registration_interval`"),
        (json!({"registration_interval": null}), "`registration_interval`"),
        (
            json!({"options": {"loadbalancing": "random"}}),
            "`options.loadbalancing`",
        ),
        (json!({"options": {"loadbalancing": "hash"}}), "`options.hash_header`"),
        (json!({"options": {"hash_balance": "1.0"}}), "`options.hash_balance`"),
        (json!({"health_check": {}}), "`health_check.script_path`"),
        (json!({"health_check": {"script_path": "x"}}), "`health_check.name`"),
        (json!({"health_check": {"path": "x"}}), "`health_check.path`"),
        (
            json!({"health_check": {"path": "/", "timeout": "20s"}}),
            "`health_check.timeout`",
        ),
        (
            json!({"health_check": {"name": "n", "script_path": "x", "path": "/"}}),
            "`health_check.path`",
        ),
        (json!({"type": "tcp", "external_port": 1}), "`router_group`"),
        (json!({"type": "tcp", "router_group": "g"}), "`external_port`"),
        (
            json!({"type": "sni", "router_group": "g", "external_port": 1}),
            "`sni_port`",
        ),
    ] {
        let found = problems(with(http(), change.clone()));
        assert!(found.len() == 1 && found[0].starts_with(key), "{change}: {found:?}");
    }
}

/// A check may take half of the interval, unless it says otherwise.
#[test]
fn a_check_has_a_timeout() {
    let timeout = |check: serde_json::Value| {
        let route = route(with(http(), json!({ "health_check": check })));
        route.check.unwrap().timeout
    };
    assert_eq!(timeout(json!({"path": "/"})), Duration::from_secs(10));
    assert_eq!(timeout(json!({"path": "/", "timeout": "3s"})), Duration::from_secs(3));
}

/// What another route registers as well is not part of what is left; letters of names may be large or small.
#[test]
fn what_others_cover_is_not_left() {
    let one = route(with(http(), json!({"uris": ["A.b", "c.d"]})));
    let left = |other: serde_json::Value| {
        let others = route(with(http(), other)).registrations().collect();
        let Some(Route {
            kind: Kind::Http(left), ..
        }) = one.without(&others)
        else {
            return Vec::new();
        };
        left.uris
    };
    assert_eq!(left(json!({"uris": ["x.y"]})), ["A.b", "c.d"]);
    assert_eq!(left(json!({"uris": ["a.b"], "tags": {"new": "1"}})), ["c.d"]);
    assert!(left(json!({"uris": ["C.D", "a.b"]})).is_empty());
    for other in [
        json!({"host": "other"}),
        json!({"port": 2}),
        json!({"tls_port": 1, "port": 2}),
    ] {
        let others = with(other.clone(), json!({"uris": ["a.b", "c.d"]}));
        let expected = if other == json!({"tls_port": 1, "port": 2}) {
            0
        } else {
            2
        };
        assert_eq!(left(others).len(), expected, "{other}");
    }
}
