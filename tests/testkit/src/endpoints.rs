//! Reads `endpoints.json` as a script would.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Deserialize;
use weir_tls::{ClientTls, IdentityFiles};

/// The addresses of a stack. Keys that no test uses are left out.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Endpoints {
    /// The path of the CA certificate.
    pub ca: PathBuf,
    /// The path of a client certificate that may call every internal gRPC service.
    pub client_cert: PathBuf,
    /// The path of the key of `client_cert`.
    pub client_key: PathBuf,
    /// The v2 gRPC ingress of the forwarder agent, to which producers connect.
    pub agent: String,
    /// The v2 gRPC ingress of the loggregator agent, which sends to the dopplers.
    pub loggregator_agent: String,
    /// The v2 gRPC ingress of the syslog agent, which sends to drains.
    #[serde(default)]
    pub syslog_agent: String,
    /// The status interface of the syslog agent: `https://…`, with a client certificate.
    #[serde(default)]
    pub syslog_agent_status: String,
    /// The binding cache: `https://…`, with a client certificate.
    #[serde(default)]
    pub binding_cache: String,
    /// The log cache's syslog server: syslog over TLS, with a client certificate.
    #[serde(default)]
    pub log_cache_syslog: String,
    /// The doppler: gRPC.
    pub doppler: String,
    /// The RLP: gRPC.
    pub rlp: String,
    /// The RLP gateway: `https://…`, with a token.
    #[serde(default)]
    pub rlp_gateway: String,
    /// The traffic controller: `wss://…`.
    pub traffic_controller: String,
    /// The log cache: gRPC.
    pub log_cache: String,
    /// The log cache's REST interface for the stack: `https://…`, with a client certificate.
    pub log_cache_gateway: String,
    /// The log cache's REST interface for users: `https://…`, with a token.
    #[serde(default)]
    pub log_cache_proxy: String,
    /// The SQL interface: `https://…`, with a token.
    pub sql_http: String,
    /// UAA: `https://…`.
    #[serde(default)]
    pub uaa: String,
    /// The name of the first user.
    #[serde(default)]
    pub admin_user: String,
    /// The password of the first user.
    #[serde(default)]
    pub admin_password: String,
    /// The process id of each component by the name of its subcommand.
    #[serde(default)]
    pub pids: BTreeMap<String, i32>,
}

impl Endpoints {
    /// Reads the file of the stack in `state_dir`.
    ///
    /// # Errors
    /// Fails when there is no file, or it lacks a key.
    pub fn read(state_dir: &Path) -> anyhow::Result<Self> {
        let path = state_dir.join("endpoints.json");
        let text = std::fs::read(&path).with_context(|| path.display().to_string())?;
        serde_json::from_slice(&text).with_context(|| path.display().to_string())
    }

    /// Returns the files of the identity with which clients call internal services.
    #[must_use]
    pub fn identity(&self) -> IdentityFiles {
        IdentityFiles {
            ca: self.ca.clone(),
            cert: self.client_cert.clone(),
            key: self.client_key.clone(),
        }
    }

    /// Returns the TLS configuration of a client with a certificate.
    ///
    /// # Errors
    /// Fails when the certificates cannot be used.
    pub fn mutual(&self) -> anyhow::Result<ClientTls> {
        Ok(ClientTls::mutual(&self.identity())?)
    }

    /// Returns the TLS configuration of a client without a certificate.
    ///
    /// # Errors
    /// Fails when the CA certificate cannot be read.
    pub fn trusting(&self) -> anyhow::Result<ClientTls> {
        Ok(ClientTls::trusting(&self.ca)?)
    }
}

/// Returns the `host:port` of a URL.
pub(crate) fn authority(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}
