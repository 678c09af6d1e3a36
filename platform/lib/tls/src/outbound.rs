//! TLS towards servers outside of the stack: the system's CAs are trusted, and each destination may have a CA and a
//! client certificate of its own.
//!
//! The CAs that are trusted for all destinations are shared, and no destination changes them ([`Trust`]). The CA and
//! the certificate of one destination are only in its own [`OutboundTls`]. A certificate that is given as CA is also
//! trusted as the server's own certificate, because self-signed servers are used in this way with Go's clients.

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

/// The number of session tickets that are kept for a destination.
const SESSIONS: usize = 8;

/// The settings of one destination.
#[derive(Clone, Copy, Default)]
pub struct Destination<'a> {
    /// The client certificate and its key in PEM form.
    pub identity: Option<(&'a [u8], &'a [u8])>,
    /// The CAs that are trusted for this destination in addition to the [`Trust`], in PEM form.
    pub authority: Option<&'a [u8]>,
    /// Whether the destination is a service of the platform, for which fewer cipher suites are offered.
    pub internal: bool,
    /// The cipher suites to offer, with TLS 1.2 as the only version. Ignored for internal destinations.
    pub cipher_suites: Option<&'a CipherSuites>,
    /// Whether any certificate of the destination is accepted.
    pub skip_verify: bool,
    /// The protocols to offer (ALPN), the preferred one first.
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

/// The TLS configuration for one destination.
#[derive(Debug, Clone)]
pub struct OutboundTls {
    config: Arc<ClientConfig>,
    identity: Option<CertificateStatus>,
}

impl OutboundTls {
    /// The configuration for `destination`, with the CAs that `trust` has now.
    ///
    /// # Errors
    /// When the CA or the certificate of the destination is not usable.
    pub fn new(trust: &Trust, destination: &Destination<'_>) -> Result<Self, PemError> {
        let unusable = |error: Error| PemError::Unusable(error.to_string());
        let (provider, versions) = match (destination.internal, destination.cipher_suites) {
            (true, _) => (Arc::clone(&INTERNAL), provider::VERSIONS),
            // The operator has chosen suites of TLS 1.2, which TLS 1.3 would not use.
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
        // There is one server for each configuration. The default has room for hundreds, and there are thousands of
        // configurations.
        config.resumption = Resumption::in_memory_sessions(SESSIONS);
        config.alpn_protocols = destination.alpn.iter().map(|name| name.to_vec()).collect();
        Ok(Self {
            config: Arc::new(config),
            identity,
        })
    }

    /// A connector for one connection.
    #[must_use]
    pub fn connector(&self) -> TlsConnector {
        TlsConnector::from(Arc::clone(&self.config))
    }

    /// The client certificate, if there is one.
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

    /// Names of suites are read in both spellings. Unknown ones are skipped as long as one is left.
    #[test]
    fn suites_are_read_in_both_spellings() {
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

    /// Certificates, keys and CAs are read in the forms in which people paste them, and other texts are errors.
    #[test]
    fn pem_is_checked() {
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

    /// The system's CAs are trusted, whichever there are. A CA file that is configured must exist.
    #[test]
    fn the_system_is_trusted() {
        let trust = Trust::system(None).unwrap();
        OutboundTls::new(&trust, &Destination::default()).unwrap();
        let error = Trust::system(Some(std::path::Path::new("/nonexistent/ca.pem"))).unwrap_err();
        assert!(matches!(error, crate::TlsError::Unreadable { .. }), "{error}");
    }
}
