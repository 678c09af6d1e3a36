//! The names proxy as one component of a stack: its names, port, needs and configuration.

use weir_component::{Component, Description, Layout, Port, UnknownPort};
use weir_service::Context;
use weir_tls::IdentityFiles;

use crate::{Config, Error, RawConfig, Server};

impl Component for Server {
    const DESCRIPTION: Description = Description {
        name: "names-proxy",
        group: "routing",
        help: "Run the names proxy: leads the names of a stack to its router, for programs with `https_proxy` set",
        server_names: &["names-proxy"],
        ports: &[Port::http("names_proxy", 3128)],
        needs: &["gorouter"],
    };

    type RawConfig = RawConfig;
    type Config = Config;
    type Context = Context;
    type Error = Error;

    fn configuration(layout: &Layout, _: IdentityFiles) -> Result<RawConfig, UnknownPort> {
        Ok(RawConfig {
            listen: layout.address("names_proxy")?.into(),
            domain: layout.domain.clone(),
            router_http: layout.address("router_http")?.into(),
            router_https: layout.address("router_https")?.into(),
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
