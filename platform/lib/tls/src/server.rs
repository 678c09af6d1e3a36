//! The server's side of TLS.

use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoClientAuth, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use tokio_rustls::TlsAcceptor;

use crate::reload::Reloading;
use crate::{ALPN_H2, ALPN_HTTP1, IdentityFiles, TlsError, material, provider};

/// A server's live TLS configuration. Clones share it.
#[derive(Debug, Clone)]
pub struct ServerTls {
    config: Arc<Reloading<ServerConfig>>,
}

impl ServerTls {
    /// An internal server: every client must show a certificate of the CA; its name does not matter. Speaks HTTP/2
    /// unless told otherwise.
    ///
    /// # Errors
    /// When the files are not there, do not belong together, or are not valid now.
    pub fn mutual(files: &IdentityFiles) -> Result<Self, TlsError> {
        let paths = material::paths(files);
        let files = files.clone();
        Self::new(paths, move || {
            let verifier = WebPkiClientVerifier::builder_with_provider(material::roots(&files.ca)?, provider::ring())
                .build()
                .map_err(|error| TlsError::Malformed {
                    path: files.ca.clone(),
                    reason: error.to_string(),
                })?;
            server_config(&files.cert, &files.key, verifier, ALPN_H2)
        })
    }

    /// A public server: anybody may connect, and says who they are later. Speaks HTTP/1.1 unless told otherwise.
    ///
    /// # Errors
    /// As [`ServerTls::mutual`].
    pub fn public(cert: &Path, key: &Path) -> Result<Self, TlsError> {
        let (cert, key) = (cert.to_owned(), key.to_owned());
        Self::new(vec![cert.clone(), key.clone()], move || {
            server_config(&cert, &key, Arc::new(NoClientAuth), ALPN_HTTP1)
        })
    }

    fn new(
        files: Vec<std::path::PathBuf>,
        build: impl Fn() -> Result<ServerConfig, TlsError> + Send + Sync + 'static,
    ) -> Result<Self, TlsError> {
        Ok(Self {
            config: Arc::new(Reloading::new(files, build)?),
        })
    }

    /// The same identity speaking these protocols, the preferred one first ([`ALPN_H2`], [`ALPN_HTTP1`]). A client that
    /// asks for none of them is refused; one that does not ask is served.
    #[must_use]
    pub fn with_alpn(&self, protocols: &[&[u8]]) -> Self {
        let protocols: Vec<Vec<u8>> = protocols.iter().map(|name| name.to_vec()).collect();
        let config = self.config.map(move |mut config| {
            config.alpn_protocols.clone_from(&protocols);
            config
        });
        Self {
            config: Arc::new(config),
        }
    }

    /// Accepts one connection with the files as they are now: ask for a new one for every handshake. Looks at the files
    /// at most once a second.
    #[must_use]
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.config.get())
    }
}

fn server_config(
    cert: &Path,
    key: &Path,
    verifier: Arc<dyn ClientCertVerifier>,
    protocol: &[u8],
) -> Result<ServerConfig, TlsError> {
    let identity = material::valid_identity(cert, key)?;
    let mut config = ServerConfig::builder_with_provider(provider::ring())
        .with_protocol_versions(provider::VERSIONS)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(identity)));
    config.alpn_protocols = vec![protocol.to_vec()];
    Ok(config)
}
