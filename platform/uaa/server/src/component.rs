//! The UAA as one component of a stack: its names, ports, needs and configuration.

use weir_component::{Component, Description, Layout, Port, UnknownPort};
use weir_config::Secret;
use weir_service::Context;
use weir_tls::IdentityFiles;

use crate::{Config, Error, RawConfig, RawIdentity, Server};

impl Component for Server {
    const DESCRIPTION: Description = Description {
        name: "uaa",
        group: "access",
        help: "Run the UAA: users, clients, and the tokens that public servers accept",
        server_names: &["uaa"],
        ports: &[Port::https("uaa", 8443)],
        needs: &[],
    };

    type RawConfig = RawConfig;
    type Config = Config;
    type Context = Context;
    type Error = Error;

    fn configuration(layout: &Layout, identity: IdentityFiles) -> Result<RawConfig, UnknownPort> {
        let IdentityFiles { ca, cert, key } = identity;
        let folder = layout.file("uaa");
        Ok(RawConfig {
            listen: layout.address("uaa")?.into(),
            identity: RawIdentity { ca, cert, key },
            external_url: layout.endpoint("uaa")?,
            database: Secret::new(format!("sqlite://{}", folder.join("uaa.db").display())),
            admin_password_file: folder.join("admin-password"),
            client_secrets_file: layout.client_secrets.clone(),
            master_key_file: folder.join("master-key"),
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
