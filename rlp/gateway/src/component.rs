//! The RLP gateway as one component of a stack: its names, ports, needs and configuration.

use weir_auth::StartError;
use weir_component::{Component, Description, Layout, Port, UnknownPort};
use weir_flow::LogContext;
use weir_tls::IdentityFiles;

use crate::{Config, RawConfig, Server};

impl Component for Server {
    const DESCRIPTION: Description = Description {
        name: "rlp-gateway",
        group: "logs",
        help: "Run the RLP gateway: the stream as server-sent events over HTTPS, for clients with a token",
        server_names: &["rlp-gateway"],
        ports: &[Port::https("rlp_gateway", 8088)],
        needs: &["uaa"],
    };

    type RawConfig = RawConfig;
    type Config = Config;
    type Context = LogContext;
    type Error = StartError;

    fn configuration(layout: &Layout, identity: IdentityFiles) -> Result<RawConfig, UnknownPort> {
        Ok(RawConfig {
            listen: layout.address("rlp_gateway")?.into(),
            cert: identity.cert.clone(),
            key: identity.key.clone(),
            identity,
            logs_provider: layout.address("rlp")?.into(),
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
