//! The route registrar as one component of a stack: its names, ports, needs and configuration.

use weir_component::{Component, Description, Layout, Port, UnknownPort};
use weir_config::Duration;
use weir_nats_client::NatsSettings;
use weir_routing_api_client::RawRoutingApi;
use weir_service::Context;
use weir_tls::IdentityFiles;

use crate::route::RawRoute;
use crate::{Config, Error, RawConfig, Server};

/// The public interfaces of a stack: the first label of their names, and the keys of their ports.
pub const INTERFACES: [(&str, &str); 6] = [
    ("uaa", "uaa"),
    ("login", "uaa"),
    ("log-cache", "log_cache_proxy"),
    ("log-stream", "rlp_gateway"),
    ("doppler", "traffic_controller"),
    ("sql", "sql_http"),
];

/// The file that `weir route add` writes.
pub const ROUTES_FILE: &str = "routes.json";

impl Component for Server {
    const DESCRIPTION: Description = Description {
        name: "route-registrar",
        group: "routing",
        help: "Run the route registrar: registers the programs of a machine with the routers while they are healthy",
        server_names: &["route-registrar"],
        ports: &[Port::https("route_registrar", 3462)],
        needs: &["nats", "routing-api"],
    };

    type RawConfig = RawConfig;
    type Config = Config;
    type Context = Context;
    type Error = Error;

    fn configuration(layout: &Layout, identity: IdentityFiles) -> Result<RawConfig, UnknownPort> {
        Ok(RawConfig {
            listen: layout.address("route_registrar")?.into(),
            host: "127.0.0.1".to_owned(),
            dynamic_config_globs: vec![layout.file(ROUTES_FILE).display().to_string()],
            // So that `weir route add` need not wait for long.
            dynamic_config_interval: Duration::from_millis(200),
            nats: Some(NatsSettings {
                servers: vec![layout.address("nats")?.into()],
                identity: Some(identity.clone()),
                server_name: Some(layout.peer("nats")?.server_name.to_owned()),
                ..NatsSettings::default()
            }),
            routing_api: routing_api(layout, &identity)?,
            identity,
            routes: interfaces(layout)?,
            ..RawConfig::default()
        })
    }

    async fn bind(config: Config, context: Context) -> Result<Self, Error> {
        Self::bind(config, context).await
    }

    async fn run(self) -> Result<(), Error> {
        self.run().await
    }
}

/// The way to the routing API.
fn routing_api(layout: &Layout, identity: &IdentityFiles) -> Result<RawRoutingApi, UnknownPort> {
    Ok(RawRoutingApi {
        url: layout.endpoint("routing_api")?,
        server_name: layout.peer("routing_api")?.server_name.to_owned(),
        identity: identity.clone(),
        uaa_url: layout.endpoint("uaa")?,
        uaa_ca: layout.ca.clone(),
        client_secret_file: layout.client_secrets.clone(),
        ..RawRoutingApi::default()
    })
}

/// The routes of the interfaces that run. Routers verify their certificates by the names that the stack gave them.
fn interfaces(layout: &Layout) -> Result<Vec<RawRoute>, UnknownPort> {
    let mut routes = Vec::new();
    for (label, key) in INTERFACES {
        if !layout.runs(key) {
            continue;
        }
        let peer = layout.peer(key)?;
        routes.push(RawRoute {
            name: label.to_owned(),
            uris: vec![format!("{label}.{}", layout.domain)],
            tls_port: Some(peer.address.port()),
            server_cert_domain_san: peer.server_name.to_owned(),
            registration_interval: Some(Duration::from_secs(20)),
            app_id: peer.component.to_owned(),
            ..RawRoute::default()
        });
    }
    Ok(routes)
}
