//! The settings of a component that uses NATS.

use std::path::PathBuf;
use std::time::Duration;
use std::{fs, io};

use serde::{Deserialize, Serialize};
use weir_config::{PeerAddr, Secret, Setting};
use weir_tls::IdentityFiles;

use crate::NatsError;

/// How a component reaches NATS. Components have it as a table of their configuration.
#[derive(Debug, Clone, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields, default)]
pub struct NatsSettings {
    /// Addresses of the NATS servers, all of one cluster. The client uses one of them at a time.
    #[setting(allowed("at least one address", |servers: &Vec<PeerAddr>| !servers.is_empty()))]
    pub servers: Vec<PeerAddr>,
    /// The component's certificate for NATS, and the CA of the servers. Without it the connection is not encrypted.
    pub identity: Option<IdentityFiles>,
    /// The name that the certificate of a server must carry, if that is not the host of its address.
    pub server_name: Option<String>,
    /// The user that NATS knows the component by, if it asks for one.
    pub user: Option<String>,
    /// The password of the user. Use `password_file` to keep it out of the configuration.
    pub password: Option<Secret<String>>,
    /// File with the password of the user. Blanks and line feeds around the password do not count.
    pub password_file: Option<PathBuf>,
    /// How often a silent connection is checked. Two checks without an answer end it.
    #[setting(default = "20s", min = "100ms", max = "1h")]
    pub ping_interval: weir_config::Duration,
    /// Most messages of one subscription that wait for the component. Further ones are dropped and counted.
    #[setting(default = 131_072, min = 16, max = 4_194_304)]
    pub buffer: usize,
}

impl NatsSettings {
    pub(crate) fn ping_interval(&self) -> Duration {
        self.ping_interval.get()
    }

    /// The user and the password, if there is a user.
    pub(crate) fn credentials(&self) -> Result<Option<(String, Secret<String>)>, NatsError> {
        let Some(user) = &self.user else { return Ok(None) };
        let password = match (&self.password, &self.password_file) {
            (Some(password), _) => password.clone(),
            (None, Some(path)) => {
                let failed = |source: io::Error| NatsError::Password {
                    path: path.clone(),
                    source,
                };
                Secret::new(fs::read_to_string(path).map_err(failed)?.trim().to_owned())
            }
            (None, None) => Secret::default(),
        };
        Ok(Some((user.clone(), password)))
    }
}
