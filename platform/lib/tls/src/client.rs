//! The client's side of TLS.

use std::path::Path;
use std::sync::Arc;

use rustls::client::ResolvesClientCert;
use rustls::pki_types::ServerName;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, DistinguishedName, RootCertStore, SignatureScheme};
use tokio_rustls::TlsConnector;

use crate::reload::Reloading;
use crate::{ALPN_H2, ALPN_HTTP1, IdentityFiles, TlsError, material, provider};

/// The TLS configuration of a client, which follows its files. Clones share it.
#[derive(Debug, Clone)]
pub struct ClientTls {
    config: Arc<Reloading<ClientConfig>>,
}

impl ClientTls {
    /// A client that trusts the CA of `files` and shows its certificate. It offers HTTP/2, unless
    /// [`ClientTls::with_alpn`] changes that.
    ///
    /// # Errors
    /// When a file cannot be read, the files do not belong together, or a certificate is not valid now.
    pub fn mutual(files: &IdentityFiles) -> Result<Self, TlsError> {
        let paths = material::paths(files);
        let files = files.clone();
        let config = Reloading::new(paths, move || {
            let roots = material::roots(&files.ca)?;
            let identity = material::valid_identity(&files.cert, &files.key)?;
            let mut config = ClientConfig::builder_with_provider(provider::ring())
                .with_protocol_versions(provider::VERSIONS)?
                .with_root_certificates(roots)
                .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity)));
            config.alpn_protocols = vec![ALPN_H2.to_vec()];
            Ok(config)
        })?;
        Ok(Self {
            config: Arc::new(config),
        })
    }

    /// A client that trusts the CA in the file `ca`. It shows the certificate of `files` to a server that asks for one
    /// of the CA in `files`, and shows none to other servers. It offers HTTP/1.1, unless [`ClientTls::with_alpn`]
    /// changes that.
    ///
    /// # Errors
    /// See [`ClientTls::mutual`].
    pub fn trusting_as(ca: &Path, files: &IdentityFiles) -> Result<Self, TlsError> {
        let mut paths = material::paths(files);
        paths.push(ca.to_owned());
        let (ca, files) = (ca.to_owned(), files.clone());
        let config = Reloading::new(paths, move || {
            let identity = material::valid_identity(&files.cert, &files.key)?;
            let shown = CertForIssuer {
                issuers: material::roots(&files.ca)?.subjects(),
                identity: SingleCertAndKey::from(identity),
            };
            let mut config = ClientConfig::builder_with_provider(provider::ring())
                .with_protocol_versions(provider::VERSIONS)?
                .with_root_certificates(material::roots(&ca)?)
                .with_client_cert_resolver(Arc::new(shown));
            config.alpn_protocols = vec![ALPN_HTTP1.to_vec()];
            Ok(config)
        })?;
        Ok(Self {
            config: Arc::new(config),
        })
    }

    /// A client that trusts the CA in the file `ca` and shows no certificate. It offers HTTP/1.1, unless
    /// [`ClientTls::with_alpn`] changes that.
    ///
    /// # Errors
    /// See [`ClientTls::mutual`].
    pub fn trusting(ca: &Path) -> Result<Self, TlsError> {
        let ca = ca.to_owned();
        let config = Reloading::new(vec![ca.clone()], move || {
            let mut config = ClientConfig::builder_with_provider(provider::ring())
                .with_protocol_versions(provider::VERSIONS)?
                .with_root_certificates(material::roots(&ca)?)
                .with_no_client_auth();
            config.alpn_protocols = vec![ALPN_HTTP1.to_vec()];
            Ok(config)
        })?;
        Ok(Self {
            config: Arc::new(config),
        })
    }

    /// A client that trusts the present CAs of the system and shows no certificate. It offers HTTP/1.1, unless
    /// [`ClientTls::with_alpn`] changes that.
    ///
    /// # Errors
    /// When the system has no CA certificates.
    pub fn trusting_system() -> Result<Self, TlsError> {
        // There are no files to follow, so the CAs stay those of the start.
        let config = Reloading::new(Vec::new(), || {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(TlsError::NoSystemAuthority);
            }
            let mut config = ClientConfig::builder_with_provider(provider::ring())
                .with_protocol_versions(provider::VERSIONS)?
                .with_root_certificates(roots)
                .with_no_client_auth();
            config.alpn_protocols = vec![ALPN_HTTP1.to_vec()];
            Ok(config)
        })?;
        Ok(Self {
            config: Arc::new(config),
        })
    }

    /// This configuration with other protocols to offer, the preferred one first. An empty list offers none.
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

    /// A connector for one connection, with the present content of the files. Each handshake needs a new connector. The
    /// files are checked at most once a second.
    #[must_use]
    pub fn connector(&self) -> TlsConnector {
        TlsConnector::from(self.config.get())
    }
}

/// Shows a certificate to servers that name its CA, and to no others. Another server could refuse a certificate of an
/// unknown CA, though it accepts a client without a certificate.
#[derive(Debug)]
struct CertForIssuer {
    issuers: Vec<DistinguishedName>,
    identity: SingleCertAndKey,
}

impl ResolvesClientCert for CertForIssuer {
    fn resolve(&self, hints: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let known = |hint: &&[u8]| self.issuers.iter().any(|issuer| issuer.as_ref() == *hint);
        if hints.iter().any(known) {
            ResolvesClientCert::resolve(&self.identity, hints, schemes)
        } else {
            None
        }
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Parses the name that a server's certificate must carry, for [`TlsConnector::connect`]. It is the name of a component
/// such as `doppler`, a DNS name, or an IP address.
///
/// # Errors
/// When `name` is no such name.
pub fn server_name(name: &str) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(name.to_owned()).map_err(|_| TlsError::InvalidName { name: name.to_owned() })
}
