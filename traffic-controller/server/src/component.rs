//! The traffic controller as one component of a stack: its names, ports, needs and configuration.

use weir_auth::StartError;
use weir_component::{Component, Description, Layout, Port, UnknownPort};
use weir_flow::LogContext;
use weir_tls::IdentityFiles;

use crate::{Config, RawConfig, Server};

impl Component for Server {
    const DESCRIPTION: Description = Description {
        name: "traffic-controller",
        group: "logs",
        help: "Run the traffic controller: the WebSocket firehose and app streams (v1)",
        server_names: &["trafficcontroller"],
        ports: &[Port::wss("traffic_controller", 8081)],
        needs: &["uaa"],
    };

    type RawConfig = RawConfig;
    type Config = Config;
    type Context = LogContext;
    type Error = StartError;

    fn configuration(layout: &Layout, identity: IdentityFiles) -> Result<RawConfig, UnknownPort> {
        Ok(RawConfig {
            listen: layout.address("traffic_controller")?.into(),
            cert: identity.cert.clone(),
            key: identity.key.clone(),
            identity,
            dopplers: vec![layout.address("doppler")?.into()],
            token_file: layout.operator_token.clone(),
            uaa: layout.uaa("doppler")?,
            ..RawConfig::default()
        })
    }

    async fn bind(config: Config, context: LogContext) -> Result<Self, StartError> {
        Self::bind(config, context).await
    }

    async fn run(self) -> Result<(), StartError> {
        self.run().await
    }
}
