//! Where everything is in a stack on one machine: what the configuration of each component is made from.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use thiserror::Error;
use weir_auth::RawUaa;
use weir_error::{Classify, ErrorKind};

use crate::Port;

/// The key of UAA's port.
const UAA: &str = "uaa";

/// The addresses and files of a stack.
#[derive(Debug, Clone)]
pub struct Layout {
    /// The directory in which the stack keeps its state. Each component has files or a folder of its own there.
    pub state_dir: PathBuf,
    /// PEM file of the CA that all certificates of the stack come from.
    pub ca: PathBuf,
    /// File with the operator's token, which reads everything.
    pub operator_token: PathBuf,
    /// File with the secrets of the clients that UAA knows from its first start, a JSON object by client.
    pub client_secrets: PathBuf,
    /// The domain below which the stack's public interfaces and routes have their names, such as `weir.localhost`.
    pub domain: String,
    /// Every port of the stack, also those of components that do not run.
    pub peers: Vec<Peer>,
    /// The names of the components that run.
    pub running: Vec<&'static str>,
}

/// One port of a stack, as its clients need it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// The name of the component that listens.
    pub component: &'static str,
    /// The name in that component's certificate.
    pub server_name: &'static str,
    /// The port's key and scheme.
    pub port: Port,
    /// The address of the port.
    pub address: SocketAddr,
}

impl Peer {
    /// The port as clients write it: `127.0.0.1:8082`, `https://127.0.0.1:8443`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        match self.port.scheme {
            Some(scheme) => format!("{scheme}://{}", self.address),
            None => self.address.to_string(),
        }
    }
}

/// A component names a port that no component of the stack has.
#[derive(Debug, Error)]
#[error("port `{key}`: no component of this stack has it")]
pub struct UnknownPort {
    /// The key as the component wrote it.
    pub key: String,
}

impl Classify for UnknownPort {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Internal
    }
}

impl Layout {
    /// The file or folder `name` in the state directory.
    #[must_use]
    pub fn file(&self, name: impl AsRef<Path>) -> PathBuf {
        self.state_dir.join(name)
    }

    /// The address of the port with this key.
    ///
    /// # Errors
    /// When no component has it.
    pub fn address(&self, key: &str) -> Result<SocketAddr, UnknownPort> {
        Ok(self.peer(key)?.address)
    }

    /// The URL of the port with this key, as [`Peer::endpoint`] writes it.
    ///
    /// # Errors
    /// When no component has it.
    pub fn endpoint(&self, key: &str) -> Result<String, UnknownPort> {
        Ok(self.peer(key)?.endpoint())
    }

    /// The configuration of a server that takes UAA's tokens and is `client_id` to UAA.
    ///
    /// # Errors
    /// When there is no UAA in the table of components.
    pub fn uaa(&self, client_id: &str) -> Result<RawUaa, UnknownPort> {
        Ok(RawUaa {
            url: self.endpoint(UAA)?,
            ca: self.ca.clone(),
            server_name: self.peer(UAA)?.server_name.to_owned(),
            client_id: client_id.to_owned(),
            client_secret_file: self.client_secrets.clone(),
            ..RawUaa::default()
        })
    }

    /// Whether the component that listens on the port with this key runs.
    #[must_use]
    pub fn runs(&self, key: &str) -> bool {
        self.peer(key).is_ok_and(|peer| self.running.contains(&peer.component))
    }

    /// The place of this machine in its deployment, which agents add to what they take (logging §7).
    #[must_use]
    pub fn place(&self) -> BTreeMap<String, String> {
        [
            ("deployment", "weir"),
            ("job", "local"),
            ("index", "0"),
            ("ip", "127.0.0.1"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
    }

    /// The port with this key.
    ///
    /// # Errors
    /// When no component has it.
    pub fn peer(&self, key: &str) -> Result<&Peer, UnknownPort> {
        let found = self.peers.iter().find(|peer| peer.port.key == key);
        found.ok_or_else(|| UnknownPort { key: key.to_owned() })
    }
}
