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

/// A client's live TLS configuration. Clones share it.
#[derive(Debug, Clone)]
pub struct ClientTls {
    config: Arc<Reloading<ClientConfig>>,
}

impl ClientTls {
    /// A client that trusts the CA and shows its own certificate. Speaks HTTP/2 unless told otherwise.
    ///
    /// # Errors
    /// When the files are not there, do not belong together, or are not valid now.
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

    /// A client that trusts the CA in `ca`, and shows the certificate of `files` to a server that asks for one of the CA in
    /// `files`; to all others it does not show who it is. Speaks HTTP/1.1 unless told otherwise.
    ///
    /// # Errors
    /// As [`ClientTls::mutual`].
    pub fn trusting_as(ca: &Path, files: &IdentityFiles) -> Result<Self, TlsError> {
        let mut paths = material::paths(files);
        paths.push(ca.to_owned());
        let (ca, files) = (ca.to_owned(), files.clone());
        let config = Reloading::new(paths, move || {
            let identity = material::valid_identity(&files.cert, &files.key)?;
            let shown = WhenAsked {
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

    /// A client that trusts the CA and does not show who it is. Speaks HTTP/1.1 unless told otherwise.
    ///
    /// # Errors
    /// As [`ClientTls::mutual`].
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

    /// A client that trusts the CAs of the system, as they are now, and does not show who it is. Speaks HTTP/1.1 unless told
    /// otherwise.
    ///
    /// # Errors
    /// When the system has no CA certificates.
    pub fn trusting_system() -> Result<Self, TlsError> {
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

    /// The same identity asking for these protocols, the preferred one first; none at all if empty.
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

    /// Makes one connection with the files as they are now: ask for a new one for every handshake. Looks at the files at
    /// most once a second.
    #[must_use]
    pub fn connector(&self) -> TlsConnector {
        TlsConnector::from(self.config.get())
    }
}

/// Shows a certificate to servers that name its CA, and to no others: they could refuse a certificate of a CA that they do not
/// know, though they take a client without any.
#[derive(Debug)]
struct WhenAsked {
    issuers: Vec<DistinguishedName>,
    identity: SingleCertAndKey,
}

impl ResolvesClientCert for WhenAsked {
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

/// The name that a server's certificate must carry, for [`TlsConnector::connect`]: a role such as `doppler`, a DNS name
/// or an address.
///
/// # Errors
/// When it is neither.
pub fn server_name(name: &str) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(name.to_owned()).map_err(|_| TlsError::InvalidName { name: name.to_owned() })
}
