//! The syslog agent as one component of a stack: its names, ports, needs and configuration.

use weir_component::{Component, Description, Layout, Port, UnknownPort};
use weir_flow::LogContext;
use weir_tls::IdentityFiles;

use crate::{Config, Error, RawCache, RawConfig, Server};

impl Component for Server {
    const DESCRIPTION: Description = Description {
        name: "syslog-agent",
        group: "logs",
        help: "Run the syslog agent: takes envelopes from the forwarder agent, sends them to the apps' syslog drains",
        server_names: &["metron"],
        ports: &[
            Port::plain("syslog_agent", 3460),
            Port::https("syslog_agent_status", 3461),
        ],
        // An aggregate drain may be the log cache's syslog server.
        needs: &["binding-cache", "log-cache-syslog"],
    };

    type RawConfig = RawConfig;
    type Config = Config;
    type Context = LogContext;
    type Error = Error;

    fn configuration(layout: &Layout, identity: IdentityFiles) -> Result<RawConfig, UnknownPort> {
        Ok(RawConfig {
            listen: layout.address("syslog_agent")?.into(),
            status_listen: layout.address("syslog_agent_status")?.into(),
            identity,
            state_dir: layout.file("syslog-agent"),
            agent: Some(layout.address("agent")?.into()),
            cache: RawCache {
                address: Some(layout.address("binding_cache")?.into()),
                ..RawCache::default()
            },
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
