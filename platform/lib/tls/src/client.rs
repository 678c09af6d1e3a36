//! The client's side of TLS.

use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
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

/// The name that a server's certificate must carry, for [`TlsConnector::connect`]: a role such as `doppler`, a DNS name
/// or an address.
///
/// # Errors
/// When it is neither.
pub fn server_name(name: &str) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(name.to_owned()).map_err(|_| TlsError::InvalidName { name: name.to_owned() })
}
