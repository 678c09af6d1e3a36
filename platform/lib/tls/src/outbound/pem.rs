//! PEM that comes with a destination, in memory and not in files.

use rustls::Error;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::{CertificateStatus, provider};

/// PEM that was given for one destination and is not usable. The texts hold nothing of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
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

/// A certificate with its key, whatever its time.
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

/// The usable certificates of `pem`; what is none is passed over, as Go does.
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
