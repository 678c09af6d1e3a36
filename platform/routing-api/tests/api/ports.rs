//! The ports beside HTTPS: HTTP without TLS with a route to it, and the locks of a backup.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use weir_eventually::eventually_async;
use weir_platform_routing_api::RawOwnRoute;

use crate::common::Deployment;
use crate::instances::free_port;

/// Makes a request without TLS; the status and the body of the answer.
async fn plain(port: u16, method: &str, path: &str, token: &str) -> (u16, String) {
    let mut tcp = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: api\r\nauthorization: bearer {token}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
    );
    tcp.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

/// The same is served without TLS, tokens are checked all the same, and a route to that port is there for as long as it is open.
#[tokio::test]
async fn plain_http_has_a_route() {
    let deployment = Deployment::on_sqlite().await;
    let port = free_port();
    let api = deployment
        .start_with(|raw| {
            raw.plain = Some(format!("127.0.0.1:{port}").parse().unwrap());
            raw.own_route = RawOwnRoute {
                route: "api.example.com/routing".to_owned(),
                ip: "10.0.0.1".to_owned(),
                log_guid: "routing_api".to_owned(),
            };
        })
        .await;
    let listed = async || {
        let (status, body) = plain(port, "GET", "/routing/v1/routes", &api.token).await;
        assert_eq!(status, 200, "{body}");
        serde_json::from_str::<Value>(&body).unwrap()
    };
    eventually_async("the route is there", async || listed().await != json!([])).await;
    let mut route = listed().await[0].clone();
    route.as_object_mut().unwrap().remove("modification_tag");
    let expected = json!({"route": "api.example.com/routing", "port": port, "ip": "10.0.0.1", "ttl": 120,
                          "log_guid": "routing_api"});
    assert_eq!(route, expected);
    assert_eq!(plain(port, "GET", "/routing/v1/routes", "none").await.0, 401);
    api.stop().await;
    let api = deployment.start().await;
    assert_eq!(api.get("/routes").await.json(), json!([]));
    api.stop().await;
}

/// While a backup has locked router groups they can be neither read nor written, or not be written; routes are served on.
#[tokio::test]
async fn a_backup_locks_groups() {
    let deployment = Deployment::on_sqlite().await;
    let port = free_port();
    let api = deployment
        .start_with(|raw| raw.admin = Some(format!("127.0.0.1:{port}").parse().unwrap()))
        .await;
    let lock = async |call: &str| assert_eq!(plain(port, "PUT", call, "").await, (200, String::new()), "{call}");
    let locked = "database unavailable due to backup or restore";
    let group = api.default_group().await;
    let other = json!({"name": "other", "type": "tcp", "reservable_ports": "2000"});
    let tcp = json!([{"router_group_guid": group, "port": 1024, "backend_ip": "1.2.3.4", "backend_port": 1}]);

    lock("/lock_router_group_writes").await;
    api.post("/router_groups", &other)
        .await
        .refused(503, "DBCommunicationError", locked);
    assert_eq!(api.get("/router_groups").await.json().as_array().unwrap().len(), 1);
    api.post("/tcp_routes/create", &tcp).await.done(201);
    lock("/unlock_router_group_writes").await;
    assert_eq!(api.post("/router_groups", &other).await.status.as_u16(), 201);

    lock("/lock_router_group_reads").await;
    for path in ["/router_groups", "/router_groups?name=other"] {
        api.get(path).await.refused(503, "DBCommunicationError", locked);
    }
    api.post("/tcp_routes/create", &tcp)
        .await
        .refused(503, "DBCommunicationError", locked);
    assert_eq!(api.get("/tcp_routes").await.json().as_array().unwrap().len(), 1);
    lock("/unlock_router_group_reads").await;
    assert_eq!(api.get("/router_groups").await.status.as_u16(), 200);
    api.stop().await;
}

/// A closed network may do without tokens.
#[tokio::test]
async fn access_control_can_be_off() {
    let deployment = Deployment::on_sqlite().await;
    let api = deployment.start_with(|raw| raw.disable_access_control = true).await;
    let answer = api.ask(http::Method::GET, "/routes", "", "").await;
    assert_eq!(answer.json(), json!([]));
    api.stop().await;
}
