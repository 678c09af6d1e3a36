//! Requests that pass a route service on their way.

use weir_config::Secret;

use crate::backend::{Backend, OK};
use crate::client::{Message, ask_once, get};
use crate::harness::{Router, router, router_with};

/// A router with route services that are its own routes, an application at `a.example` and the service at `rs.example`.
async fn through(
    change: impl FnOnce(&mut weir_platform_gorouter_proxy::RawRouteServices),
) -> (Router, Backend, Backend) {
    let router = router_with(|raw| {
        raw.route_services.secret = Secret::new("secret".to_owned());
        raw.route_services.internal = Some("127.0.0.1:0".parse().expect("an address"));
        change(&mut raw.route_services);
    })
    .await;
    let (application, service) = (Backend::answering(OK).await, Backend::answering(OK).await);
    router.register("a.example", application.address, |registration| {
        registration.route_service_url = "https://rs.example/check?x=1";
    });
    router.route("rs.example", service.address);
    (router, application, service)
}

/// The headers that a service sends back.
fn signed(request: &Message) -> String {
    let names = ["X-CF-Proxy-Signature", "X-CF-Proxy-Metadata", "X-CF-Forwarded-Url"];
    let lines = names.map(|name| format!("{name}: {}\r\n", request.header(&name.to_ascii_lowercase())));
    lines.concat()
}

fn with(host: &str, fields: &str) -> String {
    format!("GET /path?q HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n")
}

/// The service gets the request with a signature; what it sends on reaches the application without one.
#[tokio::test]
async fn a_request_passes_its_service() {
    let (router, application, service) = through(|_| {}).await;
    assert_eq!(ask_once(router.address, &with("a.example", "")).await.text(), "ok");
    assert!(application.asked.lock().is_empty());
    let request = service.only();
    assert_eq!(
        (request.line.as_str(), request.header("host")),
        ("GET /check?x=1 HTTP/1.1", "rs.example")
    );
    assert_eq!(request.header("x-cf-forwarded-url"), "https://a.example/path?q");
    let back = ask_once(router.address, &with("a.example", &signed(&request))).await;
    assert_eq!(back.status(), 200);
    let request = application.only();
    assert_eq!(request.line, "GET /path?q HTTP/1.1");
    assert!(!request.has("x-cf-proxy-signature") && !request.has("x-cf-forwarded-url"));
}

/// A signature for another route, one that was changed, and one of a secret that was replaced.
#[tokio::test]
async fn signatures_are_checked() {
    let (router, application, service) = through(|_| {}).await;
    ask_once(router.address, &with("a.example", "")).await;
    let signature = signed(&service.only());
    router.register("b.example", application.address, |registration| {
        registration.route_service_url = "https://rs.example/";
    });
    let answer = ask_once(router.address, &with("b.example", &signature)).await;
    assert_eq!(answer.status(), 502, "{}", answer.text());
    assert!(
        answer.text().contains("does not match the original request URL"),
        "{}",
        answer.text()
    );
    let answer = ask_once(router.address, &with("a.example", "X-CF-Proxy-Signature: AAAA\r\n")).await;
    assert_eq!(answer.status(), 502);
    assert!(application.asked.lock().is_empty());
    let rotated = |previous: &'static str| {
        move |raw: &mut weir_platform_gorouter_proxy::RawRouteServices| {
            raw.secret = Secret::new("new".to_owned());
            raw.previous_secret = Secret::new(previous.to_owned());
        }
    };
    let (router, ..) = through(rotated("secret")).await;
    assert_eq!(
        ask_once(router.address, &with("a.example", &signature)).await.status(),
        200
    );
    let (router, ..) = through(rotated("older")).await;
    assert_eq!(
        ask_once(router.address, &with("a.example", &signature)).await.status(),
        502
    );
}

/// Where it is asked for, a made-up signature is refused also by a route without a service.
#[tokio::test]
async fn strict_routers_check_every_signature() {
    for (strict, status, error) in [(true, 400, "invalid_route_service_signature"), (false, 200, "")] {
        let (router, ..) = through(|raw| raw.strict_signatures = strict).await;
        let answer = ask_once(router.address, &with("rs.example", "X-CF-Proxy-Signature: AAAA\r\n")).await;
        assert_eq!((answer.status(), answer.header("x-cf-routererror")), (status, error));
    }
}

/// Without a secret there are no route services, and a route that needs one is not served.
#[tokio::test]
async fn services_may_be_off() {
    let router = router().await;
    let backend = Backend::answering(OK).await;
    router.register("a.example", backend.address, |registration| {
        registration.route_service_url = "https://rs.example";
    });
    let answer = ask_once(router.address, &get("a.example")).await;
    assert_eq!(
        (answer.status(), answer.header("x-cf-routererror")),
        (502, "route_service_unsupported")
    );
    assert!(backend.asked.lock().is_empty());
    let (router, ..) = through(|_| {}).await;
    let answer = ask_once(
        router.address,
        &with("a.example", "Connection: Upgrade\r\nUpgrade: websocket\r\n"),
    )
    .await;
    assert_eq!(
        (answer.status(), answer.header("x-cf-routererror")),
        (503, "route_service_unsupported")
    );
}

/// A service whose host is not among those that may be reached from within is called as any other, which fails here.
#[tokio::test]
async fn the_list_of_internal_services_counts() {
    for (host, status) in [("*.example", 200), ("rs.example", 200), ("other.example", 502)] {
        let (router, ..) = through(|raw| raw.internal_hosts = vec![host.to_owned()]).await;
        assert_eq!(
            ask_once(router.address, &with("a.example", "")).await.status(),
            status,
            "{host}"
        );
    }
}
