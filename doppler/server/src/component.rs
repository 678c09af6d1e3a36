//! The doppler as one component of a stack: its names, ports, needs and configuration.

use weir_component::{Component, Description, Layout, Port, UnknownPort};
use weir_flow::LogContext;
use weir_tls::IdentityFiles;

use crate::{Config, Error, RawConfig, Server};

impl Component for Server {
    const DESCRIPTION: Description = Description {
        name: "doppler",
        group: "logs",
        help: "Run the doppler: routes every envelope to the subscribers whose selectors match",
        server_names: &["doppler"],
        ports: &[Port::plain("doppler", 8082)],
        // Its subscribers, so that no envelope comes too early, and what it holds can leave at the end.
        needs: &["log-cache", "rlp", "traffic-controller"],
    };

    type RawConfig = RawConfig;
    type Config = Config;
    type Context = LogContext;
    type Error = Error;

    fn configuration(layout: &Layout, identity: IdentityFiles) -> Result<RawConfig, UnknownPort> {
        Ok(RawConfig {
            listen: layout.address("doppler")?.into(),
            identity,
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
