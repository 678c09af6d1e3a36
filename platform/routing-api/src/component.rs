//! The routing API as one component of a stack: its names, port, needs and configuration.

use weir_component::{Component, Description, Layout, Port, UnknownPort};
use weir_config::Secret;
use weir_service::Context;
use weir_tls::IdentityFiles;

use crate::{Config, Error, RawConfig, Server};

impl Component for Server {
    const DESCRIPTION: Description = Description {
        name: "routing-api",
        group: "routing",
        help: "Run the routing API: router groups, HTTP and TCP routes, and their changes as events",
        server_names: &["routing-api"],
        ports: &[Port::https("routing_api", 3001)],
        needs: &["uaa"],
    };

    type RawConfig = RawConfig;
    type Config = Config;
    type Context = Context;
    type Error = Error;

    fn configuration(layout: &Layout, identity: IdentityFiles) -> Result<RawConfig, UnknownPort> {
        Ok(RawConfig {
            listen: layout.address("routing_api")?.into(),
            identity,
            database: Secret::new(format!(
                "sqlite://{}",
                layout.file("routing-api").join("routing-api.db").display()
            )),
            token_file: layout.operator_token.clone(),
            uaa: layout.uaa("doppler")?,
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
