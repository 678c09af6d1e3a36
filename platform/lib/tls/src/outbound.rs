//! TLS towards servers that are not the stack's own: the system's CAs, and for each destination a CA and a certificate of
//! its own.
//!
//! What all destinations trust is shared and never changed by one of them ([`Trust`]); what one destination brings along
//! is in its own [`OutboundTls`] alone. A certificate that is given as CA is trusted as the server's own, too, which is
//! how self-signed servers are used with Go's clients.

use std::fmt;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, Error};
use tokio_rustls::TlsConnector;

use crate::{CertificateStatus, provider};

mod pem;
mod suites;
mod trust;
mod verifier;

pub use pem::{PemError, check_authority, check_identity};
pub use suites::{CipherSuites, UnknownSuites};
pub use trust::Trust;

use pem::{authority, identity};
use suites::INTERNAL;
use verifier::{Verifier, Verifiers};

/// Session tickets that are kept for a destination.
const SESSIONS: usize = 8;

/// What is particular about one destination.
#[derive(Clone, Copy, Default)]
pub struct Destination<'a> {
    /// Our certificate and its key, PEM.
    pub identity: Option<(&'a [u8], &'a [u8])>,
    /// CAs that its certificate may come from beside the [`Trust`], PEM.
    pub authority: Option<&'a [u8]>,
    /// It is a service of the platform: fewer cipher suites.
    pub internal: bool,
    /// The cipher suites of TLS 1.2, and TLS 1.2 only. Not for internal destinations.
    pub cipher_suites: Option<&'a CipherSuites>,
    /// Any certificate will do.
    pub skip_verify: bool,
    /// The protocols to ask for, the preferred one first.
    pub alpn: &'a [&'a [u8]],
}

impl fmt::Debug for Destination<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Destination")
            .field("identity", &self.identity.is_some())
            .field("authority", &self.authority.is_some())
            .field("internal", &self.internal)
            .finish_non_exhaustive()
    }
}

/// TLS towards one destination.
#[derive(Debug, Clone)]
pub struct OutboundTls {
    config: Arc<ClientConfig>,
    identity: Option<CertificateStatus>,
}

impl OutboundTls {
    /// TLS towards `destination` with the CAs as they are now.
    ///
    /// # Errors
    /// When what the destination brings along is not usable.
    pub fn new(trust: &Trust, destination: &Destination<'_>) -> Result<Self, PemError> {
        let unusable = |error: Error| PemError::Unusable(error.to_string());
        let (provider, versions) = match (destination.internal, destination.cipher_suites) {
            (true, _) => (Arc::clone(&INTERNAL), provider::VERSIONS),
            (false, Some(suites)) => (suites.provider(), &provider::VERSIONS[1..]),
            (false, None) => (provider::ring(), provider::VERSIONS),
        };
        let mut verifiers = Verifiers::new(trust.anchors());
        if let Some(pem) = destination.authority {
            verifiers.add(authority(pem)?).map_err(unusable)?;
        }
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .map_err(unusable)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Verifier {
                verifiers: (!destination.skip_verify).then_some(verifiers),
            }));
        let identity = destination
            .identity
            .map(|(cert, key)| identity(cert, key))
            .transpose()?;
        let (mut config, identity) = match identity {
            Some((identity, status)) => {
                let resolver = Arc::new(SingleCertAndKey::from(identity));
                (builder.with_client_cert_resolver(resolver), Some(status))
            }
            None => (builder.with_no_client_auth(), None),
        };
        // Room for the one server that there is: by default it is for hundreds, in each configuration.
        config.resumption = Resumption::in_memory_sessions(SESSIONS);
        config.alpn_protocols = destination.alpn.iter().map(|name| name.to_vec()).collect();
        Ok(Self {
            config: Arc::new(config),
            identity,
        })
    }

    /// Makes one connection.
    #[must_use]
    pub fn connector(&self) -> TlsConnector {
        TlsConnector::from(Arc::clone(&self.config))
    }

    /// Our own certificate, if we show one.
    #[must_use]
    pub fn identity(&self) -> Option<&CertificateStatus> {
        self.identity.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use rustls::CipherSuite;

    use super::*;

    /// Names in both spellings; what we do not have is passed over as long as something is left.
    #[test]
    fn suites_are_read() {
        let suites =
            CipherSuites::parse("AES128-SHA: ECDHE-RSA-AES256-GCM-SHA384:TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256");
        let expected = vec![
            CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
            CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        ];
        assert_eq!(suites, Ok(CipherSuites::of(expected)));
        let error = CipherSuites::parse("RC4-SHA:").unwrap_err();
        assert_eq!(
            error.to_string(),
            "cipher suites `RC4-SHA:` are all unknown or not secure"
        );
    }

    /// Certificates, keys and CAs as people paste them, and what is said when they are something else.
    #[test]
    fn material_is_checked() {
        let pair = || {
            let key = KeyPair::generate().unwrap();
            let cert = CertificateParams::new(vec!["a".to_owned()])
                .unwrap()
                .self_signed(&key)
                .unwrap();
            (cert.pem(), key.serialize_pem())
        };
        let ((cert, key), (_, other)) = (pair(), pair());
        assert!(check_identity(cert.as_bytes(), key.as_bytes()).is_ok());
        assert!(check_identity(format!("{key}\r\n{cert}").as_bytes(), format!("{cert}{key}").as_bytes()).is_ok());
        assert_eq!(
            check_identity(cert.as_bytes(), other.as_bytes()),
            Err(PemError::Mismatch)
        );
        assert_eq!(check_identity(b"cert", key.as_bytes()), Err(PemError::NoCertificate));
        assert_eq!(check_identity(cert.as_bytes(), b"key"), Err(PemError::NoKey));
        let junk = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert_eq!(check_authority(format!("{junk}{cert}").as_bytes()), Ok(()));
        assert_eq!(check_authority(junk.as_bytes()), Err(PemError::NoAuthority));
        assert_eq!(check_authority(key.as_bytes()), Err(PemError::NoAuthority));
        let destination = Destination {
            identity: Some((cert.as_bytes(), key.as_bytes())),
            authority: Some(cert.as_bytes()),
            ..Destination::default()
        };
        assert!(!format!("{destination:?}").contains("BEGIN"));
        let tls = OutboundTls::new(&Trust::none().unwrap(), &destination).unwrap();
        assert!(!format!("{tls:?}").contains("BEGIN"));
    }

    /// The system's CAs are what they are; a file that is named must be there.
    #[test]
    fn the_system_is_trusted() {
        let trust = Trust::system(None).unwrap();
        OutboundTls::new(&trust, &Destination::default()).unwrap();
        let error = Trust::system(Some(std::path::Path::new("/nonexistent/ca.pem"))).unwrap_err();
        assert!(matches!(error, crate::TlsError::Unreadable { .. }), "{error}");
    }
}
