//! Verifies a server's chain with two trust stores, that of the destination and the shared one, and explains which
//! certificate fails.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::trust::{Anchors, verifier};
use crate::{CertificateStatus, ChainError, provider};

/// A verifier of server certificates that explains which certificate of a chain fails.
#[derive(Debug)]
pub(super) struct Verifier {
    /// The trust stores. `None` accepts any certificate.
    pub(super) verifiers: Option<Verifiers>,
}

/// The trust stores of one destination.
#[derive(Debug)]
pub(super) struct Verifiers {
    own: Option<Arc<WebPkiServerVerifier>>,
    shared: Arc<Anchors>,
    /// The destination's own CA certificates, to compare with the server's certificate.
    given: Vec<CertificateDer<'static>>,
    /// The destination's own CAs that have expired and are not used.
    expired: Vec<CertificateStatus>,
}

impl Verifiers {
    pub(super) fn new(shared: Arc<Anchors>) -> Self {
        Self {
            own: None,
            shared,
            given: Vec::new(),
            expired: Vec::new(),
        }
    }

    /// Adds the destination's own CAs.
    pub(super) fn add(&mut self, found: Vec<(CertificateDer<'static>, CertificateStatus)>) -> Result<(), Error> {
        let mut roots = RootCertStore::empty();
        for (certificate, status) in found {
            if status.is_expired() {
                self.expired.push(status);
                continue;
            }
            // A certificate that cannot be a CA is left out here, and is still accepted as the server's own.
            roots.add_parsable_certificates([certificate.clone()]);
            self.given.push(certificate);
        }
        self.own = verifier(roots)?;
        Ok(())
    }

    /// Verifies a chain with either trust store.
    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<(), Error> {
        let mut reason = Error::InvalidCertificate(CertificateError::UnknownIssuer);
        for verifier in [&self.own, &self.shared.verifier].into_iter().flatten() {
            match verifier.verify_server_cert(leaf, intermediates, name, ocsp, now) {
                Ok(_) => return Ok(()),
                // The error of a store that knows the issuer is the one to report.
                Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {}
                Err(error) => reason = error,
            }
        }
        if self.given.iter().chain(&*self.shared.given).any(|given| given == leaf) {
            return pinned(leaf, name);
        }
        Err(reason)
    }
}

/// Verifies a server certificate that was given as CA: its validity and its names are checked.
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
