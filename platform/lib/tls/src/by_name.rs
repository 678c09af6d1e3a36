//! A server with several certificates: a client gets the one for the name that it asks for.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, NoClientAuth, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;

use crate::{ALPN_HTTP1, TlsError, material, provider};

/// What a public server wants to see of its clients' certificates.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ClientCertificates {
    /// Nobody is asked for one.
    #[default]
    Ignored,
    /// Clients are asked; one that is shown must come from the CAs in the file.
    Checked(PathBuf),
    /// Every client must show one that comes from the CAs in the file.
    Required(PathBuf),
}

impl ClientCertificates {
    /// The file of CAs.
    pub(crate) const fn authorities(&self) -> Option<&PathBuf> {
        match self {
            Self::Ignored => None,
            Self::Checked(file) | Self::Required(file) => Some(file),
        }
    }

    fn verifier(&self) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
        let Some(file) = self.authorities() else {
            return Ok(Arc::new(NoClientAuth));
        };
        let builder = WebPkiClientVerifier::builder_with_provider(material::roots(file)?, provider::ring());
        let builder = match self {
            Self::Checked(_) => builder.allow_unauthenticated(),
            _ => builder,
        };
        builder.build().map_err(|error| TlsError::Malformed {
            path: file.clone(),
            reason: error.to_string(),
        })
    }
}

/// The configuration of a server with these certificates and keys, of which there is at least one.
pub(crate) fn config(pairs: &[(PathBuf, PathBuf)], clients: &ClientCertificates) -> Result<ServerConfig, TlsError> {
    let mut config = ServerConfig::builder_with_provider(provider::ring())
        .with_protocol_versions(provider::VERSIONS)?
        .with_client_cert_verifier(clients.verifier()?)
        .with_cert_resolver(Arc::new(ByName::read(pairs)?));
    config.alpn_protocols = vec![ALPN_HTTP1.to_vec()];
    Ok(config)
}

/// Certificates by the names that they are for.
#[derive(Debug)]
struct ByName {
    /// In the order of the configuration: the first that fits is shown, the first of all if none does.
    certificates: Vec<(Vec<String>, Arc<CertifiedKey>)>,
}

impl ByName {
    fn read(pairs: &[(PathBuf, PathBuf)]) -> Result<Self, TlsError> {
        let mut certificates = Vec::new();
        for (cert, key) in pairs {
            let (identity, status) = material::identity(cert, key)?;
            status.require_valid(cert)?;
            let names = status.names.iter().map(|name| name.to_ascii_lowercase()).collect();
            certificates.push((names, Arc::new(identity)));
        }
        Ok(Self { certificates })
    }

    /// The certificate for `name`: one of the very name before one with a wildcard.
    fn find(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        let fits = |wanted: &str| {
            let mut all = self.certificates.iter();
            all.find(|(names, _)| names.iter().any(|own| own == wanted))
                .map(|(_, identity)| identity)
        };
        let name = name.to_ascii_lowercase();
        let above = || name.split_once('.').map(|(_, above)| format!("*.{above}"));
        fits(&name).or_else(|| above().and_then(|wildcard| fits(&wildcard)))
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = hello.server_name().and_then(|name| self.find(name));
        let first = || self.certificates.first().map(|(_, identity)| identity);
        named.or_else(first).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Authority;

    /// The very name, a wildcard, no name that fits: which of three certificates is shown.
    #[test]
    fn names_choose() {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::open_or_create(directory.path()).unwrap();
        let issued = [("one", "one.example"), ("all", "*.example"), ("two", "two.example")];
        let files = issued.map(|(name, dns)| authority.issue(name, &[dns]).unwrap());
        let pairs: Vec<_> = files
            .iter()
            .map(|files| (files.cert.clone(), files.key.clone()))
            .collect();
        let by_name = ByName::read(&pairs).unwrap();
        let shown = |name: &str| {
            let found = by_name.find(name)?;
            let is_it = |(_, own): &(Vec<String>, Arc<CertifiedKey>)| Arc::ptr_eq(own, found);
            by_name.certificates.iter().position(is_it)
        };
        assert_eq!(shown("one.example"), Some(0));
        assert_eq!(shown("TWO.example"), Some(2));
        assert_eq!(shown("other.example"), Some(1));
        assert_eq!(shown("a.other.example"), None);
        let ca = ClientCertificates::Required(authority.ca_file());
        config(&pairs, &ca).unwrap();
    }
}
