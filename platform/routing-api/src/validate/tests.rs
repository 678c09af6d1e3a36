//! The original's rules, each with the original's text.

use super::*;

fn route() -> Route {
    Route {
        route: "a.example/path".to_owned(),
        port: 80,
        ip: "1.2.3.4".to_owned(),
        ttl: Some(60),
        ..Route::default()
    }
}

fn tcp() -> TcpRoute {
    TcpRoute {
        router_group_guid: "rg".to_owned(),
        port: 1024,
        backend_ip: "1.2.3.4".to_owned(),
        backend_port: 60_000,
        ttl: Some(60),
        ..TcpRoute::default()
    }
}

fn said(result: Result<(), ApiError>) -> (String, String) {
    result
        .err()
        .map_or_else(Default::default, |error| (error.name.into_owned(), error.message))
}

/// HTTP routes: the first rule that is broken is named.
#[test]
fn http_routes() {
    assert_eq!(new_routes(&[route(), Route { ttl: None, ..route() }], 120), Ok(()));
    let service = |url: &str| Route {
        route_service_url: url.to_owned(),
        ..route()
    };
    assert_eq!(new_routes(&[service("https://a.example/b")], 120), Ok(()));
    for (route, name, message) in [
        (
            Route {
                ttl: Some(121),
                ..route()
            },
            "RouteInvalidError",
            "Max ttl is 120",
        ),
        (
            Route {
                ttl: Some(0),
                ..route()
            },
            "RouteInvalidError",
            "Request requires a ttl greater than 0",
        ),
        (
            Route { port: 0, ..route() },
            "RouteInvalidError",
            "Each route request requires a port greater than 0",
        ),
        (
            Route {
                route: String::new(),
                ..route()
            },
            "RouteInvalidError",
            "Each route request requires a valid route",
        ),
        (
            Route {
                ip: String::new(),
                ..route()
            },
            "RouteInvalidError",
            "Each route request requires an IP",
        ),
        (
            Route {
                route: "a b".to_owned(),
                ..route()
            },
            "RouteInvalidError",
            "url cannot contain invalid characters",
        ),
        (
            Route {
                route: "a".repeat(2049),
                ..route()
            },
            "RouteInvalidError",
            "Each text of a route may have 2048 bytes",
        ),
        (
            service("http://a"),
            "RouteServiceUrlInvalidError",
            "Route service url must use HTTPS.",
        ),
        (
            service("https://a?b"),
            "RouteServiceUrlInvalidError",
            "url cannot contain any of [?, #]",
        ),
    ] {
        let expected = (name.to_owned(), message.to_owned());
        assert_eq!(
            said(new_routes(std::slice::from_ref(&route), 120)),
            expected,
            "{route:?}"
        );
    }
    // Nobody asks how long a route lives that is removed.
    assert_eq!(
        old_routes(&[Route {
            ttl: Some(0),
            ..route()
        }]),
        Ok(())
    );
    assert!(old_routes(&[Route { port: 0, ..route() }]).is_err());
}

/// TCP routes: the first rule that is broken is named, with the route.
#[test]
fn tcp_routes() {
    let groups = [RouterGroup {
        guid: "rg".to_owned(),
        ..RouterGroup::default()
    }];
    let check = |route: &TcpRoute| new_tcp_route(route, &[], &groups, 120);
    for good in [
        tcp(),
        TcpRoute { ttl: None, ..tcp() },
        TcpRoute {
            backend_port: 0,
            backend_tls_port: 443,
            ..tcp()
        },
        TcpRoute {
            alpns: "h2".to_owned(),
            terminate_frontend_tls: true,
            ..tcp()
        },
    ] {
        assert_eq!(check(&good), Ok(()), "{good:?}");
    }
    let shown = |rule: &str, route: &TcpRoute| format!("{rule}. RouteMapping=[{route}]");
    for (route, rule) in [
        (
            TcpRoute {
                router_group_guid: String::new(),
                ..tcp()
            },
            "Each tcp mapping requires a non empty router group guid",
        ),
        (
            TcpRoute { port: 0, ..tcp() },
            "Each tcp mapping requires a positive external port",
        ),
        (
            TcpRoute {
                backend_ip: String::new(),
                ..tcp()
            },
            "Each tcp mapping requires a non empty backend ip",
        ),
        (
            TcpRoute {
                backend_port: 0,
                backend_tls_port: -1,
                ..tcp()
            },
            "Each tcp mapping requires a positive backend port",
        ),
        (
            TcpRoute {
                backend_tls_port: 65_536,
                ..tcp()
            },
            "Each tcp mapping with a backend TLS port requires that port to be less than or equal to 65535",
        ),
        (
            TcpRoute {
                ttl: Some(121),
                ..tcp()
            },
            "Each tcp mapping requires TTL to be less than or equal to 120",
        ),
        (
            TcpRoute {
                alpns: "h2".to_owned(),
                ..tcp()
            },
            "Each tcp mapping can define ALPNs only when TerminateFrontendTLS is enabled",
        ),
    ] {
        let expected = ("TcpRouteMappingInvalidError".to_owned(), shown(rule, &route));
        assert_eq!(said(check(&route)), expected);
    }
    let message = |route: &TcpRoute| said(check(route)).1;
    assert_eq!(
        message(&TcpRoute { ttl: Some(0), ..tcp() }),
        "Each tcp route mapping requires a ttl greater than 0"
    );
    let elsewhere = TcpRoute {
        router_group_guid: "other".to_owned(),
        ..tcp()
    };
    assert_eq!(message(&elsewhere), "router_group_guid: other not found");
    assert_eq!(
        old_tcp_routes(&[TcpRoute {
            ttl: Some(0),
            ..elsewhere
        }]),
        Ok(())
    );
}

/// All backends of a frontend agree about who ends TLS.
#[test]
fn a_frontend_has_one_end_of_tls() {
    let groups = [RouterGroup {
        guid: "rg".to_owned(),
        ..RouterGroup::default()
    }];
    let ending = TcpRoute {
        terminate_frontend_tls: true,
        ..tcp()
    };
    assert_eq!(
        new_tcp_route(&ending, std::slice::from_ref(&ending), &groups, 120),
        Ok(())
    );
    for (route, other, message) in [
        (tcp(), &ending, "terminate_frontend_tls: false not allowed"),
        (ending.clone(), &tcp(), "terminate_frontend_tls: true not allowed"),
    ] {
        let refused = new_tcp_route(&route, std::slice::from_ref(other), &groups, 120);
        assert_eq!(said(refused).1, message);
    }
}
