//! `endpoints.json` as a script reads it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Deserialize;
use weir_tls::{ClientTls, IdentityFiles};

/// Where everything listens. Keys that the tests do not use are left out.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Endpoints {
    /// The authority's certificate.
    pub ca: PathBuf,
    /// With `client_key`: may call every internal gRPC service.
    pub client_cert: PathBuf,
    /// The key of `client_cert`.
    pub client_key: PathBuf,
    /// v2 gRPC ingress: the first agent of the machine.
    pub agent: String,
    /// v2 gRPC ingress of the agent that talks to the dopplers.
    pub loggregator_agent: String,
    /// v2 gRPC ingress of the agent that talks to drains.
    #[serde(default)]
    pub syslog_agent: String,
    /// `https://…`, with a client certificate.
    #[serde(default)]
    pub syslog_agent_status: String,
    /// `https://…`, with a client certificate.
    #[serde(default)]
    pub binding_cache: String,
    /// Syslog over TLS, with a client certificate.
    #[serde(default)]
    pub log_cache_syslog: String,
    /// gRPC.
    pub doppler: String,
    /// gRPC.
    pub rlp: String,
    /// `https://…`, with a token.
    #[serde(default)]
    pub rlp_gateway: String,
    /// `wss://…`.
    pub traffic_controller: String,
    /// gRPC.
    pub log_cache: String,
    /// `https://…`, with a client certificate.
    pub log_cache_gateway: String,
    /// `https://…`, with a token.
    #[serde(default)]
    pub log_cache_proxy: String,
    /// `https://…`, with the token.
    pub sql_http: String,
    /// `https://…`.
    #[serde(default)]
    pub uaa: String,
    /// The first user.
    #[serde(default)]
    pub admin_user: String,
    /// Their password.
    #[serde(default)]
    pub admin_password: String,
    /// Process of each component by subcommand name.
    #[serde(default)]
    pub pids: BTreeMap<String, i32>,
}

impl Endpoints {
    /// Reads the file of the stack in `state_dir`.
    ///
    /// # Errors
    /// When there is none, or it lacks a key.
    pub fn read(state_dir: &Path) -> anyhow::Result<Self> {
        let path = state_dir.join("endpoints.json");
        let text = std::fs::read(&path).with_context(|| path.display().to_string())?;
        serde_json::from_slice(&text).with_context(|| path.display().to_string())
    }

    /// The identity with which clients call internal services.
    #[must_use]
    pub fn identity(&self) -> IdentityFiles {
        IdentityFiles {
            ca: self.ca.clone(),
            cert: self.client_cert.clone(),
            key: self.client_key.clone(),
        }
    }

    /// The client's side of mTLS.
    ///
    /// # Errors
    /// When the certificates cannot be used.
    pub fn mutual(&self) -> anyhow::Result<ClientTls> {
        Ok(ClientTls::mutual(&self.identity())?)
    }

    /// TLS without a certificate of our own.
    ///
    /// # Errors
    /// When the CA cannot be read.
    pub fn trusting(&self) -> anyhow::Result<ClientTls> {
        Ok(ClientTls::trusting(&self.ca)?)
    }
}

/// The `host:port` of a URL.
pub(crate) fn authority(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}
