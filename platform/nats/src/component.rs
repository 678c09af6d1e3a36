//! The NATS server as one component of a stack: its names, ports, needs and configuration.

use weir_component::{Component, Description, Layout, Port, UnknownPort};
use weir_service::Context;
use weir_tls::IdentityFiles;

use crate::{Config, Error, RawConfig, Server};

impl Component for Server {
    const DESCRIPTION: Description = Description {
        name: "nats",
        group: "routing",
        help: "Run the NATS server: the message bus on which routes are registered",
        // Verified by the host of the address, as in the standard deployment.
        server_names: &["nats", "nats.service.cf.internal"],
        ports: &[Port::tcp("nats", 4224)],
        needs: &[],
    };

    type RawConfig = RawConfig;
    type Config = Config;
    type Context = Context;
    type Error = Error;

    fn configuration(layout: &Layout, identity: IdentityFiles) -> Result<RawConfig, UnknownPort> {
        Ok(RawConfig {
            listen: layout.address("nats")?.into(),
            identity: Some(identity),
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
