//! The forwarder agent as one component of a stack: its names, ports, needs and configuration.

use weir_component::{Component, Description, Layout, Port, UnknownPort};
use weir_flow::LogContext;
use weir_tls::IdentityFiles;

use crate::{Config, Error, RawConfig, Server};

impl Component for Server {
    const DESCRIPTION: Description = Description {
        name: "forwarder-agent",
        group: "logs",
        help: "Run the forwarder agent: takes envelopes from producers on this machine, gives them to all of its agents",
        server_names: &["metron"],
        ports: &[Port::plain("agent", 3458)],
        needs: &["loggregator-agent", "syslog-agent"],
    };

    type RawConfig = RawConfig;
    type Config = Config;
    type Context = LogContext;
    type Error = Error;

    fn configuration(layout: &Layout, identity: IdentityFiles) -> Result<RawConfig, UnknownPort> {
        Ok(RawConfig {
            listen: layout.address("agent")?.into(),
            identity,
            // The agents of this stack, not those that somebody else runs on this machine.
            downstream_files: Vec::new(),
            downstreams: [
                (
                    "loggregator-agent".to_owned(),
                    layout.address("loggregator_agent")?.into(),
                ),
                ("syslog-agent".to_owned(), layout.address("syslog_agent")?.into()),
            ]
            .into(),
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
