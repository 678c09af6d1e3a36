//! The loggregator agent as one component of a stack: its names, ports, needs and configuration.

use weir_component::{Component, Description, Layout, Port, UnknownPort};
use weir_flow::LogContext;
use weir_tls::IdentityFiles;

use crate::{Config, Error, RawConfig, Server};

impl Component for Server {
    const DESCRIPTION: Description = Description {
        name: "loggregator-agent",
        group: "logs",
        help: "Run the loggregator agent: takes envelopes from the forwarder agent or from producers, sends them to the \
               dopplers",
        server_names: &["metron"],
        ports: &[Port::plain("loggregator_agent", 3459)],
        needs: &["doppler"],
    };

    type RawConfig = RawConfig;
    type Config = Config;
    type Context = LogContext;
    type Error = Error;

    fn configuration(layout: &Layout, identity: IdentityFiles) -> Result<RawConfig, UnknownPort> {
        Ok(RawConfig {
            listen: layout.address("loggregator_agent")?.into(),
            identity,
            dopplers: vec![layout.address("doppler")?.into()],
            tags: layout.place(),
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
