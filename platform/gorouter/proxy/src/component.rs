//! The router as one component of a stack: its names, ports, needs and configuration.

use weir_component::{Component, Description, Layout, Port, UnknownPort};
use weir_config::Duration;
use weir_flow::LogContext;
use weir_nats_client::NatsSettings;
use weir_tls::IdentityFiles;

use crate::config::{RawTable, RawTelemetry};
use crate::{Config, Error, RawCertificate, RawConfig, Server};

impl Component for Server {
    const DESCRIPTION: Description = Description {
        name: "gorouter",
        group: "routing",
        help: "Run the router: HTTP requests go to the programs that have registered their routes",
        server_names: &["gorouter", "{domain}", "*.{domain}"],
        ports: &[
            Port::https("router_https", 8445),
            Port::http("router_http", 8090),
            Port::http("router_status", 8089),
        ],
        needs: &["nats", "forwarder-agent"],
    };

    type RawConfig = RawConfig;
    type Config = Config;
    type Context = LogContext;
    type Error = Error;

    fn configuration(layout: &Layout, identity: IdentityFiles) -> Result<RawConfig, UnknownPort> {
        let nats = layout.peer("nats")?;
        let agent = layout.peer("agent")?;
        Ok(RawConfig {
            listen: Some(layout.address("router_http")?.into()),
            listen_tls: Some(layout.address("router_https")?.into()),
            status: Some(layout.address("router_status")?.into()),
            certificates: vec![RawCertificate {
                cert: identity.cert.clone(),
                key: identity.key.clone(),
            }],
            nats: NatsSettings {
                servers: vec![nats.address.into()],
                identity: Some(identity.clone()),
                server_name: Some(nats.server_name.to_owned()),
                ..NatsSettings::default()
            },
            telemetry: RawTelemetry {
                agent: Some(agent.address.into()),
                agent_name: agent.server_name.to_owned(),
                ..RawTelemetry::default()
            },
            table: RawTable {
                // Programs of one machine say at once when they are gone; those that died should not be asked for long.
                prune_interval: Duration::from_secs(5),
                ..RawTable::default()
            },
            identity: Some(identity),
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
