//! The server's side of TLS.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoClientAuth, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::{ServerConfig, ServerConnection};
use rustls_pki_types::UnixTime;
use tokio_rustls::TlsAcceptor;

use crate::optional_client_cert::OptionalClientCert;
use crate::reload::Reloading;
use crate::{ALPN_H2, ALPN_HTTP1, ClientCertificates, IdentityFiles, TlsError, by_name, material, provider};

/// The TLS configuration of a server, which follows its files. Clones share it.
#[derive(Debug, Clone)]
pub struct ServerTls {
    config: Arc<Reloading<ServerConfig>>,
    clients: Clients,
}

/// How a server authenticates its clients.
#[derive(Debug, Clone)]
enum Clients {
    /// Every client must show a certificate of the CA.
    Certified,
    /// No client is asked for a certificate.
    Anybody,
    /// Every client may connect. A client that shows a certificate of the CA is recognised.
    Known(Arc<Reloading<Arc<dyn ClientCertVerifier>>>),
}

impl ServerTls {
    /// An internal server: every client must show a certificate of the CA, with any name. It accepts HTTP/2, unless
    /// [`ServerTls::with_alpn`] changes that.
    ///
    /// # Errors
    /// When a file cannot be read, the files do not belong together, or a certificate is not valid now.
    pub fn mutual(files: &IdentityFiles) -> Result<Self, TlsError> {
        let paths = material::paths(files);
        let files = files.clone();
        Self::new(paths, Clients::Certified, move || {
            server_config(&files.cert, &files.key, verifier(&files.ca)?, ALPN_H2)
        })
    }

    /// A public server: every client may connect, and TLS does not authenticate it. It accepts HTTP/1.1, unless
    /// [`ServerTls::with_alpn`] changes that.
    ///
    /// # Errors
    /// See [`ServerTls::mutual`].
    pub fn public(cert: &Path, key: &Path) -> Result<Self, TlsError> {
        let (cert, key) = (cert.to_owned(), key.to_owned());
        Self::new(vec![cert.clone(), key.clone()], Clients::Anybody, move || {
            server_config(&cert, &key, Arc::new(NoClientAuth), ALPN_HTTP1)
        })
    }

    /// A public server that recognises callers of its own stack. Every client may connect, with or without a
    /// certificate, and [`ServerTls::knows`] returns whether it has shown one of the CA in `files`. It accepts
    /// HTTP/1.1, unless [`ServerTls::with_alpn`] changes that.
    ///
    /// # Errors
    /// See [`ServerTls::mutual`].
    pub fn public_knowing(files: &IdentityFiles) -> Result<Self, TlsError> {
        let ca = files.ca.clone();
        let known = Arc::new(Reloading::new(vec![ca.clone()], move || verifier(&ca))?);
        let (paths, files) = (material::paths(files), files.clone());
        Self::new(paths, Clients::Known(known), move || {
            let optional = Arc::new(OptionalClientCert::new(verifier(&files.ca)?));
            server_config(&files.cert, &files.key, optional, ALPN_HTTP1)
        })
    }

    /// A public server with several certificates, each a file and that of its key: a client gets the one for the name that it
    /// asks for, otherwise the first. Speaks HTTP/1.1 unless told otherwise.
    ///
    /// # Errors
    /// As [`ServerTls::mutual`].
    pub fn by_name(pairs: &[(PathBuf, PathBuf)], clients: ClientCertificates) -> Result<Self, TlsError> {
        let mut paths: Vec<_> = pairs
            .iter()
            .flat_map(|(cert, key)| [cert.clone(), key.clone()])
            .collect();
        paths.extend(clients.authorities().cloned());
        let pairs = pairs.to_vec();
        // Such a certificate is a caller's own affair: it does not make the caller one of the stack.
        Self::new(paths, Clients::Anybody, move || by_name::config(&pairs, &clients))
    }

    fn new(
        files: Vec<PathBuf>,
        clients: Clients,
        build: impl Fn() -> Result<ServerConfig, TlsError> + Send + Sync + 'static,
    ) -> Result<Self, TlsError> {
        Ok(Self {
            config: Arc::new(Reloading::new(files, build)?),
            clients,
        })
    }

    /// Whether every client must show a certificate of the CA.
    #[must_use]
    pub const fn demands_certificates(&self) -> bool {
        matches!(self.clients, Clients::Certified)
    }

    /// Whether the client of a finished handshake has shown a certificate of the CA that is valid now.
    #[must_use]
    pub fn knows(&self, connection: &ServerConnection) -> bool {
        match &self.clients {
            Clients::Certified => true,
            Clients::Anybody => false,
            Clients::Known(verifier) => {
                connection
                    .peer_certificates()
                    .and_then(<[_]>::split_first)
                    .is_some_and(|(certificate, chain)| {
                        let verified = verifier.get().verify_client_cert(certificate, chain, UnixTime::now());
                        verified.is_ok()
                    })
            }
        }
    }

    /// This configuration with other protocols ([`ALPN_H2`], [`ALPN_HTTP1`]), the preferred one first. A client that
    /// offers only others is refused, and a client that offers none is served.
    #[must_use]
    pub fn with_alpn(&self, protocols: &[&[u8]]) -> Self {
        let protocols: Vec<Vec<u8>> = protocols.iter().map(|name| name.to_vec()).collect();
        let config = self.config.map(move |mut config| {
            config.alpn_protocols.clone_from(&protocols);
            config
        });
        Self {
            config: Arc::new(config),
            clients: self.clients.clone(),
        }
    }

    /// An acceptor for one connection, with the present content of the files. Each handshake needs a new acceptor. The
    /// files are checked at most once a second.
    #[must_use]
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.config.get())
    }
}

/// A verifier of client certificates that were issued by the CA in the file `ca`.
fn verifier(ca: &Path) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    WebPkiClientVerifier::builder_with_provider(material::roots(ca)?, provider::ring())
        .build()
        .map_err(|error| TlsError::Malformed {
            path: ca.to_owned(),
            reason: error.to_string(),
        })
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
