//! HTTP and TCP routes.

use http::Method;
use serde_json::{Value, json};

use crate::common::Api;

/// HTTP routes are registered, listed and removed; the tag is the routing API's.
pub(crate) async fn http_routes(api: &Api) {
    assert_eq!(api.get("/routes").await.json(), json!([]));
    let route = json!({
        "route": "a.example/path", "port": 7000, "ip": "1.2.3.4", "log_guid": "app", "unknown": {},
        "modification_tag": {"guid": "mine", "index": 9},
    });
    let with_service = json!({
        "route": "a.example/path", "port": 7000, "ip": "1.2.3.4", "ttl": 60,
        "route_service_url": "https://service.example/x",
    });
    api.post("/routes", &json!([route, with_service])).await.done(201);
    let mut listed = api.get("/routes").await.json();
    let routes = listed.as_array_mut().unwrap();
    routes.sort_by_key(|route| route["ttl"].as_i64());
    for route in routes.iter_mut() {
        let tag = route.as_object_mut().unwrap().remove("modification_tag").unwrap();
        assert_eq!((tag["guid"].as_str().unwrap().len(), &tag["index"]), (36, &json!(0)));
    }
    let expected = json!([
        {"route": "a.example/path", "port": 7000, "ip": "1.2.3.4", "ttl": 60, "log_guid": "",
         "route_service_url": "https://service.example/x"},
        {"route": "a.example/path", "port": 7000, "ip": "1.2.3.4", "ttl": 120, "log_guid": "app"},
    ]);
    assert_eq!(listed, expected);
    // Null is an empty list.
    api.ask(Method::POST, "/routes", &format!("bearer {}", api.token), "null")
        .await
        .done(201);
    api.call(
        Method::DELETE,
        "/routes",
        &json!([route, {"route": "b", "port": 1, "ip": "c"}]),
    )
    .await
    .done(204);
    assert_eq!(api.get("/routes").await.json().as_array().unwrap().len(), 1);
}

/// What is wrong with an HTTP route is said under its own name; nothing of the request is kept then.
pub(crate) async fn http_routes_are_checked(api: &Api) {
    let good = json!({"route": "good.example", "port": 1, "ip": "1.2.3.4", "ttl": 1});
    for (bad, name, message) in [
        (
            json!({"route": "b", "port": 1, "ip": "c", "ttl": 121}),
            "RouteInvalidError",
            "Max ttl is 120",
        ),
        (
            json!({"route": "b", "port": 1, "ip": ""}),
            "RouteInvalidError",
            "Each route request requires an IP",
        ),
        (
            json!({"route": "b c", "port": 1, "ip": "c"}),
            "RouteInvalidError",
            "url cannot contain invalid characters",
        ),
        (
            json!({"route": "b", "port": 1, "ip": "c", "route_service_url": "http://x"}),
            "RouteServiceUrlInvalidError",
            "Route service url must use HTTPS.",
        ),
    ] {
        api.post("/routes", &json!([good, bad]))
            .await
            .refused(400, name, message);
    }
    assert_eq!(api.get("/routes").await.json(), json!([]));
}

/// TCP routes are registered, listed by isolation segment, and removed.
pub(crate) async fn tcp_routes(api: &Api) {
    let group = api.default_group().await;
    let tcp = |port: u16, segment: &str| {
        json!({"router_group_guid": group, "port": port, "backend_ip": "1.2.3.4", "backend_port": 60_000,
               "backend_tls_port": 61_443, "instance_id": "i", "isolation_segment": segment, "ttl": 60})
    };
    let named = json!({"router_group_guid": group, "port": 1026, "backend_ip": "1.2.3.4", "backend_port": 0,
                       "backend_tls_port": 443, "backend_sni_hostname": "a.example", "sni_rewrite_hostname": "b.example",
                       "terminate_frontend_tls": true, "alpns": "h2", "enable_backend_mtls": true});
    let all = json!([tcp(1024, ""), tcp(1025, "seg ment"), named]);
    api.post("/tcp_routes/create", &all).await.done(201);
    let ports = async |query: &str| {
        let listed = api.get(&format!("/tcp_routes{query}")).await.json();
        let mut ports: Vec<u64> = listed
            .as_array()
            .unwrap()
            .iter()
            .map(|route| route["port"].as_u64().unwrap())
            .collect();
        ports.sort_unstable();
        ports
    };
    assert_eq!(ports("").await, [1024, 1025, 1026]);
    assert_eq!(ports("?isolation_segment=").await, [1024, 1026]);
    assert_eq!(ports("?isolation_segment=seg+ment&isolation_segment=x").await, [1025]);
    assert_eq!(ports("?isolation_segment=x").await, Vec::<u64>::new());
    let listed = api.get("/tcp_routes").await.json();
    let mut shown = listed
        .as_array()
        .unwrap()
        .iter()
        .find(|route| route["port"] == 1026)
        .unwrap()
        .clone();
    shown.as_object_mut().unwrap().remove("modification_tag");
    let expected = json!({"router_group_guid": group, "port": 1026, "backend_ip": "1.2.3.4", "backend_port": 0,
                          "backend_tls_port": 443, "backend_sni_hostname": "a.example",
                          "sni_rewrite_hostname": "b.example", "instance_id": "", "isolation_segment": "", "ttl": 120,
                          "terminate_frontend_tls": true, "alpns": "h2", "enable_backend_mtls": true});
    assert_eq!(shown, expected);
    // Backends of one frontend agree about the end of TLS.
    let mut other = named.clone();
    other["backend_ip"] = "1.2.3.5".into();
    other["terminate_frontend_tls"] = false.into();
    other["alpns"] = "".into();
    api.post("/tcp_routes/create", &json!([other])).await.refused(
        400,
        "ProcessRequestError",
        "Cannot process request: terminate_frontend_tls: false not allowed",
    );
    api.post("/tcp_routes/delete", &json!([named, tcp(9, "")]))
        .await
        .done(204);
    assert_eq!(ports("").await, [1024, 1025]);
}

/// What is wrong with a TCP route is a request that cannot be processed.
pub(crate) async fn tcp_routes_are_checked(api: &Api) {
    let group = api.default_group().await;
    let good = json!({"router_group_guid": group, "port": 1024, "backend_ip": "1.2.3.4", "backend_port": 1});
    let but = |field: &str, value: Value| {
        let mut route = good.clone();
        route[field] = value;
        route
    };
    for (bad, reason) in [
        (
            but("router_group_guid", "x".into()),
            "router_group_guid: x not found".to_owned(),
        ),
        (
            but("port", 0.into()),
            format!("Each tcp mapping requires a positive external port. RouteMapping=[{group}:0<->1.2.3.4:1]"),
        ),
        (
            but("ttl", 121.into()),
            format!(
                "Each tcp mapping requires TTL to be less than or equal to 120. RouteMapping=[{group}:1024<->1.2.3.4:1]"
            ),
        ),
        (
            but("ttl", 0.into()),
            "Each tcp route mapping requires a ttl greater than 0".to_owned(),
        ),
    ] {
        let answer = api.post("/tcp_routes/create", &json!([good, bad])).await;
        answer.refused(400, "ProcessRequestError", &format!("Cannot process request: {reason}"));
    }
    assert_eq!(api.get("/tcp_routes").await.json(), json!([]));
}
