//! TLS towards servers that are not the stack's own: the system's CAs, and for each destination a CA and a certificate of
//! its own.
//!
//! What all destinations trust is shared and never changed by one of them ([`Trust`]); what one destination brings along
//! is in its own [`OutboundTls`] alone. A certificate that is given as CA is trusted as the server's own, too, which is
//! how self-signed servers are used with Go's clients.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    CertificateError, CipherSuite, ClientConfig, DigitallySignedStruct, Error, OtherError, RootCertStore,
    SignatureScheme,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use thiserror::Error;
use tokio_rustls::TlsConnector;

use crate::reload::Reloading;
use crate::{CertificateStatus, ChainError, TlsError, material, provider};

/// Session tickets that are kept for a destination.
const SESSIONS: usize = 8;

/// The CAs that every destination's certificate may come from. Clones share them.
#[derive(Debug, Clone)]
pub struct Trust {
    anchors: Arc<Reloading<Anchors>>,
}

#[derive(Debug, Clone)]
struct Anchors {
    verifier: Option<Arc<WebPkiServerVerifier>>,
    /// As they were given, to compare with the server's own certificate.
    given: Arc<[CertificateDer<'static>]>,
}

impl Trust {
    /// The system's CAs and those in the file `extra`, which is followed. A system without CAs is none that anything goes
    /// wrong with until somebody needs them.
    ///
    /// # Errors
    /// When the file is not readable, or holds no valid certificate.
    pub fn system(extra: Option<&Path>) -> Result<Self, TlsError> {
        let loaded = rustls_native_certs::load_native_certs();
        if loaded.certs.is_empty() {
            let errors = loaded.errors.iter().map(ToString::to_string).collect::<Vec<_>>();
            tracing::warn!(errors = errors.join("; "), "this system has no CA certificates");
        }
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(loaded.certs);
        Self::new(roots, extra)
    }

    /// The CAs in the file, which is followed, and no others.
    ///
    /// # Errors
    /// As [`Trust::system`].
    pub fn only(file: &Path) -> Result<Self, TlsError> {
        Self::new(RootCertStore::empty(), Some(file))
    }

    /// No CA at all: each destination has to bring its own.
    ///
    /// # Errors
    /// Never, as it reads no file.
    pub fn none() -> Result<Self, TlsError> {
        Self::new(RootCertStore::empty(), None)
    }

    fn new(system: RootCertStore, extra: Option<&Path>) -> Result<Self, TlsError> {
        let extra = extra.map(Path::to_owned);
        let anchors = Reloading::new(extra.iter().cloned().collect(), move || {
            let mut roots = system.clone();
            let mut given = Vec::new();
            if let Some(path) = &extra {
                roots.roots.extend(material::roots(path)?.roots.iter().cloned());
                given = material::certificates(path)?;
            }
            Ok(Anchors {
                verifier: verifier(roots)?,
                given: given.into(),
            })
        })?;
        Ok(Self {
            anchors: Arc::new(anchors),
        })
    }
}

fn verifier(roots: RootCertStore) -> Result<Option<Arc<WebPkiServerVerifier>>, Error> {
    if roots.is_empty() {
        return Ok(None);
    }
    let built = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider::ring()).build();
    built.map(Some).map_err(|error| Error::General(error.to_string()))
}

/// A choice of TLS 1.2 cipher suites.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CipherSuites(Vec<CipherSuite>);

impl CipherSuites {
    /// Reads a list separated by colons, in OpenSSL's or the RFCs' names. Suites that we do not have are left out, as long
    /// as one is left.
    ///
    /// # Errors
    /// The names, when none of them is known.
    pub fn parse(list: &str) -> Result<Self, UnknownSuites> {
        let known = |name: &str| {
            let name = name.trim();
            SUITES
                .iter()
                .find(|(_, names)| names.contains(&name))
                .map(|(suite, _)| *suite)
        };
        let suites: Vec<CipherSuite> = list.split(':').filter_map(known).collect();
        if suites.is_empty() {
            return Err(UnknownSuites(list.to_owned()));
        }
        Ok(Self(suites))
    }
}

/// No cipher suite of the list is known.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("cipher suites `{0}` are all unknown or not secure")]
pub struct UnknownSuites(String);

const SUITES: [(CipherSuite, [&str; 2]); 6] = [
    (
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        [
            "ECDHE-ECDSA-AES128-GCM-SHA256",
            "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        ],
    ),
    (
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        [
            "ECDHE-ECDSA-AES256-GCM-SHA384",
            "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        ],
    ),
    (
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        [
            "ECDHE-ECDSA-CHACHA20-POLY1305",
            "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        ],
    ),
    (
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        ["ECDHE-RSA-AES128-GCM-SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"],
    ),
    (
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        ["ECDHE-RSA-AES256-GCM-SHA384", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"],
    ),
    (
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        [
            "ECDHE-RSA-CHACHA20-POLY1305",
            "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        ],
    ),
];

/// PEM that was given for one destination and is not usable. The texts hold nothing of it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PemError {
    /// No certificate.
    #[error("client certificate holds no certificate in PEM form")]
    NoCertificate,
    /// No key.
    #[error("client key holds no private key in PEM form")]
    NoKey,
    /// Two that do not belong together.
    #[error("client key does not belong to the client certificate")]
    Mismatch,
    /// A certificate or a key that is of no use.
    #[error("client certificate or key is not usable: {0}")]
    Unusable(String),
    /// No CA.
    #[error("CA holds no certificate in PEM form")]
    NoAuthority,
}

/// Whether a certificate and its key can be shown to a server. How long it is valid does not matter.
///
/// # Errors
/// What is wrong with them.
pub fn check_identity(cert: &[u8], key: &[u8]) -> Result<CertificateStatus, PemError> {
    identity(cert, key).map(|(_, status)| status)
}

/// Whether there is a CA certificate in `pem`.
///
/// # Errors
/// When there is none.
pub fn check_authority(pem: &[u8]) -> Result<(), PemError> {
    authority(pem).map(|_| ())
}

fn identity(cert: &[u8], key: &[u8]) -> Result<(CertifiedKey, CertificateStatus), PemError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(cert).collect();
    let chain = chain
        .ok()
        .filter(|chain| !chain.is_empty())
        .ok_or(PemError::NoCertificate)?;
    let status = CertificateStatus::read(&chain[0]).map_err(|_| PemError::NoCertificate)?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| PemError::NoKey)?;
    let identity = CertifiedKey::from_der(chain, key, &provider::ring()).map_err(|error| match error {
        Error::InconsistentKeys(_) => PemError::Mismatch,
        other => PemError::Unusable(other.to_string()),
    })?;
    Ok((identity, status))
}

/// The usable certificates of `pem`; what is none is passed over, as Go does.
fn authority(pem: &[u8]) -> Result<Vec<(CertificateDer<'static>, CertificateStatus)>, PemError> {
    let read = |certificate: CertificateDer<'static>| {
        let status = CertificateStatus::read(&certificate).ok()?;
        Some((certificate, status))
    };
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .filter_map(Result::ok)
        .filter_map(read)
        .collect();
    if found.is_empty() {
        Err(PemError::NoAuthority)
    } else {
        Ok(found)
    }
}

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
            (false, Some(suites)) => (narrowed(|suite| suites.0.contains(&suite)), &provider::VERSIONS[1..]),
            (false, None) => (provider::ring(), provider::VERSIONS),
        };
        let shared = trust.anchors.get();
        let mut verifiers = Verifiers {
            shared_given: Arc::clone(&shared.given),
            shared: shared.verifier.clone(),
            ..Verifiers::default()
        };
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

/// What the original's internal services speak.
static INTERNAL: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
    narrowed(|suite| {
        matches!(
            suite,
            CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 | CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384
        )
    })
});

/// The provider with all of TLS 1.3, and of TLS 1.2 only the suites that `keep` says.
fn narrowed(keep: impl Fn(CipherSuite) -> bool) -> Arc<CryptoProvider> {
    let mut provider = (*provider::ring()).clone();
    provider
        .cipher_suites
        .retain(|suite| suite.tls13().is_some() || keep(suite.suite()));
    Arc::new(provider)
}

/// Verifies a server's chain, and says which of its certificates fails.
#[derive(Debug)]
struct Verifier {
    /// None: anything goes.
    verifiers: Option<Verifiers>,
}

#[derive(Debug, Default)]
struct Verifiers {
    own: Option<Arc<WebPkiServerVerifier>>,
    shared: Option<Arc<WebPkiServerVerifier>>,
    /// Own CAs as they were given.
    given: Vec<CertificateDer<'static>>,
    /// Those of all.
    shared_given: Arc<[CertificateDer<'static>]>,
    /// Own CAs whose time is over: not used.
    expired: Vec<CertificateStatus>,
}

impl Verifiers {
    /// Trusts the destination's own CAs, too.
    fn add(&mut self, found: Vec<(CertificateDer<'static>, CertificateStatus)>) -> Result<(), Error> {
        let mut roots = RootCertStore::empty();
        for (certificate, status) in found {
            if status.is_expired() {
                self.expired.push(status);
                continue;
            }
            roots.add_parsable_certificates([certificate.clone()]);
            self.given.push(certificate);
        }
        self.own = verifier(roots)?;
        Ok(())
    }

    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<(), Error> {
        let mut reason = Error::InvalidCertificate(CertificateError::UnknownIssuer);
        for verifier in [&self.own, &self.shared].into_iter().flatten() {
            match verifier.verify_server_cert(leaf, intermediates, name, ocsp, now) {
                Ok(_) => return Ok(()),
                // A CA that does not know the server has nothing to say about it.
                Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {}
                Err(error) => reason = error,
            }
        }
        if self.given.iter().chain(&*self.shared_given).any(|given| given == leaf) {
            return pinned(leaf, name);
        }
        Err(reason)
    }
}

/// A certificate that was given as CA and is the server's own: its time and its names count.
fn pinned(leaf: &CertificateDer<'_>, name: &ServerName<'_>) -> Result<(), Error> {
    let status = CertificateStatus::read(leaf).map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
    if status.is_expired() {
        return Err(Error::InvalidCertificate(CertificateError::Expired));
    }
    if status.not_before > std::time::SystemTime::now() {
        return Err(Error::InvalidCertificate(CertificateError::NotValidYet));
    }
    rustls::client::verify_server_name(&ParsedCertificate::try_from(leaf)?, name)
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(verifiers) = &self.verifiers else {
            return Ok(ServerCertVerified::assertion());
        };
        match verifiers.verify(leaf, intermediates, name, ocsp, now) {
            Ok(()) => Ok(ServerCertVerified::assertion()),
            Err(Error::InvalidCertificate(error)) => {
                let chain: Vec<&CertificateDer<'_>> = std::iter::once(leaf).chain(intermediates).collect();
                let explained = ChainError::explain(&error, &chain, name, &verifiers.expired);
                Err(Error::InvalidCertificate(CertificateError::Other(OtherError(
                    Arc::new(explained),
                ))))
            }
            Err(error) => Err(error),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &provider::ring().signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &provider::ring().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider::ring().signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

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
        assert_eq!(suites, Ok(CipherSuites(expected)));
        let error = CipherSuites::parse("RC4-SHA:").unwrap_err();
        assert_eq!(
            error.to_string(),
            "cipher suites `RC4-SHA:` are all unknown or not secure"
        );
        for (suite, _) in SUITES {
            let known = provider::ring()
                .cipher_suites
                .iter()
                .any(|known| known.suite() == suite);
            assert!(known, "{suite:?}");
        }
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
}
