//! The binding cache as one component of a stack: its names, ports, needs and configuration.

use weir_component::{Component, Description, Layout, Port, UnknownPort};
use weir_flow::LogContext;
use weir_tls::IdentityFiles;

use crate::{Config, Error, RawConfig, Server};

impl Component for Server {
    const DESCRIPTION: Description = Description {
        name: "binding-cache",
        group: "logs",
        help: "Run the binding cache: which apps drain where, for the syslog agents",
        server_names: &["binding-cache"],
        ports: &[Port::https("binding_cache", 9000)],
        needs: &[],
    };

    type RawConfig = RawConfig;
    type Config = Config;
    type Context = LogContext;
    type Error = Error;

    fn configuration(layout: &Layout, identity: IdentityFiles) -> Result<RawConfig, UnknownPort> {
        Ok(RawConfig {
            listen: layout.address("binding_cache")?.into(),
            identity,
            agent: Some(layout.address("agent")?.into()),
            // What `weir drain add` writes.
            static_drains: Some(layout.file("drains.json")),
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
