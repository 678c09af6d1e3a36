//! The log cache as one component of a stack: its names, ports, needs and configuration.

use weir_component::{Component, Description, Layout, Port, UnknownPort};
use weir_flow::LogContext;
use weir_tls::IdentityFiles;

use crate::{Config, Error, RawConfig, RawSql, Server};

impl Component for Server {
    const DESCRIPTION: Description = Description {
        name: "log-cache",
        group: "logs",
        help: "Run the log cache: recent logs and metrics by gRPC, REST and SQL",
        server_names: &["log-cache", "log_cache"],
        ports: &[
            Port::plain("log_cache", 8080),
            Port::https("log_cache_gateway", 8084),
            Port::https("log_cache_proxy", 8085),
            Port::https("sql_http", 8086),
        ],
        needs: &["uaa"],
    };

    type RawConfig = RawConfig;
    type Config = Config;
    type Context = LogContext;
    type Error = Error;

    fn configuration(layout: &Layout, identity: IdentityFiles) -> Result<RawConfig, UnknownPort> {
        Ok(RawConfig {
            listen: layout.address("log_cache")?.into(),
            gateway_listen: layout.address("log_cache_gateway")?.into(),
            proxy_listen: Some(layout.address("log_cache_proxy")?.into()),
            uaa: layout.uaa("doppler")?,
            identity,
            dopplers: vec![layout.address("doppler")?.into()],
            sql: RawSql {
                listen: layout.address("sql_http")?.into(),
                token_file: layout.operator_token.clone(),
                ..RawSql::default()
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
