//! Certificates and keys of a destination, which are given as PEM texts and not as files.

use rustls::Error;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::{CertificateStatus, provider};

/// Why a PEM text of a destination is not usable. The error texts contain nothing of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PemError {
    /// The client certificate's text contains no certificate.
    #[error("client certificate holds no certificate in PEM form")]
    NoCertificate,
    /// The client key's text contains no private key.
    #[error("client key holds no private key in PEM form")]
    NoKey,
    /// The client key does not belong to the client certificate.
    #[error("client key does not belong to the client certificate")]
    Mismatch,
    /// The client certificate or key is of a kind that is not supported.
    #[error("client certificate or key is not usable: {0}")]
    Unusable(String),
    /// The CA's text contains no certificate.
    #[error("CA holds no certificate in PEM form")]
    NoAuthority,
}

/// Checks that a certificate and its key can be used for a client. The certificate may have expired.
///
/// # Errors
/// Why they cannot be used.
pub fn check_identity(cert: &[u8], key: &[u8]) -> Result<CertificateStatus, PemError> {
    identity(cert, key).map(|(_, status)| status)
}

/// Checks that `pem` contains a CA certificate.
///
/// # Errors
/// When it contains none.
pub fn check_authority(pem: &[u8]) -> Result<(), PemError> {
    authority(pem).map(|_| ())
}

/// Reads a certificate with its key. The certificate may have expired.
pub(super) fn identity(cert: &[u8], key: &[u8]) -> Result<(CertifiedKey, CertificateStatus), PemError> {
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

/// Reads the certificates in `pem`. Sections that are no certificate are skipped, as Go does.
pub(super) fn authority(pem: &[u8]) -> Result<Vec<(CertificateDer<'static>, CertificateStatus)>, PemError> {
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
