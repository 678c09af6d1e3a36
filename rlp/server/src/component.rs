//! The reverse log proxy as one component of a stack: its names, ports, needs and configuration.

use weir_component::{Component, Description, Layout, Port, UnknownPort};
use weir_flow::LogContext;
use weir_tls::IdentityFiles;

use crate::{Config, Error, RawConfig, Server};

impl Component for Server {
    const DESCRIPTION: Description = Description {
        name: "rlp",
        group: "logs",
        help: "Run the reverse log proxy: v2 gRPC streams for nozzles, merged from all dopplers",
        server_names: &["reverselogproxy"],
        ports: &[Port::plain("rlp", 8083)],
        // Its subscriber.
        needs: &["rlp-gateway"],
    };

    type RawConfig = RawConfig;
    type Config = Config;
    type Context = LogContext;
    type Error = Error;

    fn configuration(layout: &Layout, identity: IdentityFiles) -> Result<RawConfig, UnknownPort> {
        Ok(RawConfig {
            listen: layout.address("rlp")?.into(),
            identity,
            dopplers: vec![layout.address("doppler")?.into()],
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
