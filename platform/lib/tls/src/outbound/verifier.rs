//! Verifies a server's chain against two trust stores, its own and that of all, and says which certificate fails.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::trust::{Anchors, verifier};
use crate::{CertificateStatus, ChainError, provider};

/// Verifies a server's chain, and says which of its certificates fails.
#[derive(Debug)]
pub(super) struct Verifier {
    /// None: anything goes.
    pub(super) verifiers: Option<Verifiers>,
}

/// Whom a chain may come from.
#[derive(Debug)]
pub(super) struct Verifiers {
    own: Option<Arc<WebPkiServerVerifier>>,
    shared: Arc<Anchors>,
    /// Own CAs as they were given.
    given: Vec<CertificateDer<'static>>,
    /// Own CAs whose time is over: not used.
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

    /// Trusts the destination's own CAs, too.
    pub(super) fn add(&mut self, found: Vec<(CertificateDer<'static>, CertificateStatus)>) -> Result<(), Error> {
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
        for verifier in [&self.own, &self.shared.verifier].into_iter().flatten() {
            match verifier.verify_server_cert(leaf, intermediates, name, ocsp, now) {
                Ok(_) => return Ok(()),
                // A CA that does not know the server has nothing to say about it.
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
