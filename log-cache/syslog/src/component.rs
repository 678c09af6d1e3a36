//! The log cache's syslog server as one component of a stack: its names, ports, needs and configuration.

use weir_component::{Component, Description, Layout, Port, UnknownPort};
use weir_flow::LogContext;
use weir_tls::IdentityFiles;

use crate::{Config, Error, RawConfig, Server};

impl Component for Server {
    const DESCRIPTION: Description = Description {
        name: "log-cache-syslog",
        group: "logs",
        help: "Run the log cache's syslog server: takes what the original's syslog agents send to their aggregate drain",
        // Verified by the host in an aggregate drain's URL, as in the standard deployment.
        server_names: &["log-cache-syslog", "log-cache.service.cf.internal"],
        ports: &[Port::plain("log_cache_syslog", 6067)],
        needs: &["log-cache"],
    };

    type RawConfig = RawConfig;
    type Config = Config;
    type Context = LogContext;
    type Error = Error;

    fn configuration(layout: &Layout, identity: IdentityFiles) -> Result<RawConfig, UnknownPort> {
        Ok(RawConfig {
            listen: layout.address("log_cache_syslog")?.into(),
            identity,
            log_cache: layout.address("log_cache")?.into(),
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
