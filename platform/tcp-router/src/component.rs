//! The TCP router as one component of a stack: its names, ports, needs and configuration.

use weir_component::{Component, Description, Layout, Port, UnknownPort};
use weir_config::Duration;
use weir_flow::LogContext;
use weir_routing_api_client::RawRoutingApi;
use weir_tls::IdentityFiles;

use crate::config::{RawBackendTls, RawTelemetry, RawTimeouts};
use crate::{Config, Error, RawConfig, Server};

impl Component for Server {
    const DESCRIPTION: Description = Description {
        name: "tcp-router",
        group: "routing",
        help: "Run the TCP router: carries connections of external ports to the backends of their routes",
        server_names: &["tcp-router", "tcp-router.service.cf.internal"],
        ports: &[Port::http("tcp_router", 8091)],
        needs: &["routing-api", "forwarder-agent"],
    };

    type RawConfig = RawConfig;
    type Config = Config;
    type Context = LogContext;
    type Error = Error;

    fn configuration(layout: &Layout, identity: IdentityFiles) -> Result<RawConfig, UnknownPort> {
        let health = layout.address("tcp_router")?;
        let uaa = layout.uaa("tcp_router")?;
        Ok(RawConfig {
            health: health.into(),
            external_address: health.ip().to_string(),
            routing_api: RawRoutingApi {
                url: layout.endpoint("routing_api")?,
                server_name: layout.peer("routing_api")?.server_name.to_owned(),
                identity: identity.clone(),
                uaa_url: uaa.url,
                uaa_ca: uaa.ca,
                client_id: uaa.client_id,
                client_secret_file: uaa.client_secret_file,
            },
            telemetry: RawTelemetry {
                agent: Some(layout.address("agent")?.into()),
                identity: identity.clone(),
                ..RawTelemetry::default()
            },
            backend_tls: RawBackendTls {
                ca: identity.ca,
                cert: identity.cert,
                key: identity.key,
            },
            timeouts: RawTimeouts {
                // No load balancer has to notice, and a person waits.
                drain_wait: Duration::from_secs(0),
                drain: Duration::from_secs(1),
                ..RawTimeouts::default()
            },
            ..RawConfig::default()
        })
    }

    async fn bind(config: Config, context: LogContext) -> Result<Self, Error> {
        Self::bind(config, context).await
    }

    async fn run(self) -> Result<(), Error> {
        self.run().await
    }
}
