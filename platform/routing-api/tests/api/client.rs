//! The client of the other components against this server, with tokens from a UAA.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::routing::post;
use axum::{Json, Router};
use serde_json::json;
use tokio::net::TcpListener;
use weir_auth::testing::TestIssuer;
use weir_net::serve_http;
use weir_routing_api_client::models::{Route, RouterGroup, RouterGroupType, TcpRoute};
use weir_routing_api_client::{ClientError, EventStream, Mapping, RawRoutingApi, RoutingApi, Update};
use weir_service::{Context, Trigger};
use weir_tls::ServerTls;

use crate::common::{ALL, Api, Deployment};

/// A UAA that gives tokens to any client, until it is told to give bad ones.
pub(crate) struct Uaa {
    pub(crate) address: SocketAddr,
    asked: Arc<AtomicUsize>,
    /// Tokens that will be good for nothing.
    bad: Arc<AtomicUsize>,
    _trigger: Trigger,
}

impl Uaa {
    pub(crate) async fn start(deployment: &Deployment) -> Self {
        let identity = deployment.authority.issue("uaa", &["uaa"]).unwrap();
        let tls = ServerTls::public(&identity.cert, &identity.key).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (trigger, context) = Context::new("uaa");
        let (asked, bad) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let issuer: Arc<TestIssuer> = Arc::clone(&deployment.issuer);
        let (count, spoilt) = (Arc::clone(&asked), Arc::clone(&bad));
        let service = Router::new().route(
            "/oauth/token",
            post(async move || {
                count.fetch_add(1, Ordering::Relaxed);
                let is_bad = spoilt.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
                let token = match is_bad {
                    Ok(_) => "spoilt".to_owned(),
                    Err(_) => issuer.token("registrar", &ALL),
                };
                Json(json!({"access_token": token, "expires_in": 600, "token_type": "bearer"}))
            }),
        );
        tokio::spawn(async move {
            serve_http(listener, &tls, service, context.shutdown.clone(), &context.tasks).await;
        });
        Self {
            address,
            asked,
            bad,
            _trigger: trigger,
        }
    }
}

fn client(deployment: &Deployment, uaa: &Uaa, api: &Api) -> RoutingApi {
    let secrets = deployment.dir.path().join("secrets.json");
    std::fs::write(&secrets, r#"{"registrar": "secret"}"#).unwrap();
    let raw = RawRoutingApi {
        url: format!("https://{}", api.address),
        server_name: "routing-api".to_owned(),
        identity: api.identity.clone(),
        uaa_url: format!("https://{}", uaa.address),
        uaa_ca: deployment.authority.ca_file(),
        client_id: "registrar".to_owned(),
        client_secret_file: secrets,
    };
    let mut problems = weir_config::Problems::default();
    let settings = raw.validate(&mut problems).expect("the settings are valid");
    RoutingApi::new(&settings).unwrap()
}

fn route(port: u16) -> Route {
    Route {
        route: "a.example".to_owned(),
        port,
        ip: "1.2.3.4".to_owned(),
        ttl: Some(60),
        ..Route::default()
    }
}

/// The next update that is no attempt that failed.
async fn next<R: Mapping>(stream: &mut EventStream<R>) -> Update<R> {
    loop {
        match stream.next().await {
            Update::Disconnected { .. } => {}
            update => return update,
        }
    }
}

/// Every call does what it says, with one token for all of them.
#[tokio::test]
async fn calls() {
    let deployment = Deployment::on_sqlite().await;
    let (uaa, api) = (Uaa::start(&deployment).await, deployment.start().await);
    let client = client(&deployment, &uaa, &api);
    let groups = client.router_groups().await.unwrap();
    assert_eq!(groups[0].name, "default-tcp");
    let made = client
        .create_router_group(&RouterGroup {
            name: "other group".to_owned(),
            kind: RouterGroupType::tcp(),
            reservable_ports: "2000".into(),
            ..RouterGroup::default()
        })
        .await
        .unwrap();
    let changed = RouterGroup {
        reservable_ports: "2000-2001".into(),
        ..made.clone()
    };
    assert_eq!(client.update_router_group(&changed).await.unwrap(), changed);
    assert_eq!(client.router_group("other group").await.unwrap(), Some(changed));
    client.delete_router_group(&made.guid).await.unwrap();
    assert_eq!(client.router_group("other group").await.unwrap(), None);

    client.upsert_routes(&[route(1), route(2)]).await.unwrap();
    client.delete_routes(&[route(1), route(3)]).await.unwrap();
    let routes = client.routes().await.unwrap();
    assert_eq!((routes.len(), routes[0].port), (1, 2));

    let tcp = TcpRoute {
        router_group_guid: groups[0].guid.clone(),
        port: 1024,
        backend_ip: "1.2.3.4".to_owned(),
        backend_port: 60_000,
        isolation_segment: "a b".to_owned(),
        ..TcpRoute::default()
    };
    client.upsert_tcp_routes(std::slice::from_ref(&tcp)).await.unwrap();
    assert_eq!(client.tcp_routes(&[]).await.unwrap().len(), 1);
    assert_eq!(client.tcp_routes(&["a b".to_owned()]).await.unwrap().len(), 1);
    assert_eq!(client.tcp_routes(&[String::new()]).await.unwrap().len(), 0);
    client.delete_tcp_routes(&[tcp]).await.unwrap();
    assert_eq!(client.tcp_routes(&[]).await.unwrap(), []);

    let refused = client.upsert_routes(&[route(0)]).await.unwrap_err();
    let ClientError::Refused { status, error } = refused else {
        panic!("{refused:?}");
    };
    assert_eq!((status.as_u16(), &*error.name), (400, "RouteInvalidError"));
    assert_eq!(uaa.asked.load(Ordering::Relaxed), 1);
    api.stop().await;
}

/// A token that is refused is replaced, once for a call.
#[tokio::test]
async fn refused_tokens_are_replaced() {
    let deployment = Deployment::on_sqlite().await;
    let (uaa, api) = (Uaa::start(&deployment).await, deployment.start().await);
    let client = client(&deployment, &uaa, &api);
    uaa.bad.store(1, Ordering::Relaxed);
    client.upsert_routes(&[route(1)]).await.unwrap();
    assert_eq!(uaa.asked.load(Ordering::Relaxed), 2);
    // Both the one that was refused and the one after it: that is said.
    uaa.bad.store(2, Ordering::Relaxed);
    let fresh = self::client(&deployment, &uaa, &api);
    let refused = fresh.routes().await.unwrap_err();
    assert!(
        matches!(&refused, ClientError::Refused { error, .. } if error.name == "UnauthorizedError"),
        "{refused}"
    );
    assert_eq!(uaa.asked.load(Ordering::Relaxed), 4);
    api.stop().await;
}

/// A stream tells changes, and after the server was away that the routes have to be listed again.
#[tokio::test]
async fn streams_connect_again() {
    let deployment = Deployment::on_sqlite().await;
    let (uaa, api) = (Uaa::start(&deployment).await, deployment.start().await);
    let client = client(&deployment, &uaa, &api);
    uaa.bad.store(1, Ordering::Relaxed);
    let mut stream = client.http_events();
    assert_eq!(stream.next().await, Update::Connected);
    client.upsert_routes(&[route(1)]).await.unwrap();
    let Update::Upsert(made) = stream.next().await else {
        panic!("no upsert");
    };
    client.delete_routes(&[route(1)]).await.unwrap();
    assert_eq!(stream.next().await, Update::Delete(made));
    let address = api.address;
    api.stop().await;
    assert!(matches!(stream.next().await, Update::Disconnected { .. }));
    let api = deployment
        .start_with(|raw| raw.listen = address.to_string().parse().unwrap())
        .await;
    assert_eq!(next(&mut stream).await, Update::Connected);
    client.upsert_routes(&[route(2)]).await.unwrap();
    assert!(matches!(stream.next().await, Update::Upsert(route) if route.port == 2));
    api.stop().await;
}
