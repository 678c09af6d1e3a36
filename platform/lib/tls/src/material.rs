//! Reads PEM files into the types of rustls. Every error names the file.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::{self, PemObject as _};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::status::CertificateStatus;
use crate::{IdentityFiles, TlsError, provider};

/// The certificates in the file `path`, of which there is at least one.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = read(path)?;
    let certificates: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(&bytes).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) | Err(_) => Err(TlsError::NotPem {
            path: path.to_owned(),
            wanted: "certificate",
        }),
    }
}

/// Reads a certificate and its key, which must belong together. The certificate may have expired.
pub(crate) fn identity(cert: &Path, key: &Path) -> Result<(CertifiedKey, CertificateStatus), TlsError> {
    let chain = certificates(cert)?;
    let status = CertificateStatus::of(cert, &chain[0])?;
    let bytes = read(key)?;
    let private = PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| TlsError::NotPem {
        path: key.to_owned(),
        wanted: "private key",
    })?;
    let identity = CertifiedKey::from_der(chain, private, &provider::ring()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => TlsError::KeyMismatch {
            cert: cert.to_owned(),
            key: key.to_owned(),
        },
        rustls::Error::InvalidCertificate(reason) => TlsError::Malformed {
            path: cert.to_owned(),
            reason: reason.to_string(),
        },
        source => TlsError::UnusableKey {
            path: key.to_owned(),
            source,
        },
    })?;
    Ok((identity, status))
}

/// Reads a certificate and its key, which must belong together. The certificate must be valid now.
pub(crate) fn valid_identity(cert: &Path, key: &Path) -> Result<CertifiedKey, TlsError> {
    let (identity, status) = identity(cert, key)?;
    status.require_valid(cert)?;
    Ok(identity)
}

/// The CA certificates in the file `path` as trust anchors. Expired ones are left out, as long as one is left.
pub(crate) fn roots(path: &Path) -> Result<Arc<RootCertStore>, TlsError> {
    let mut roots = RootCertStore::empty();
    let mut invalid = None;
    for certificate in certificates(path)? {
        let status = CertificateStatus::of(path, &certificate)?;
        match status.require_valid(path) {
            Ok(()) => roots.add(certificate).map_err(|error| TlsError::Malformed {
                path: path.to_owned(),
                reason: error.to_string(),
            })?,
            Err(error) => invalid = Some(error),
        }
    }
    // A CA file often has the old and the new CA in it during a change.
    match invalid {
        Some(error) if roots.is_empty() => Err(error),
        _ => Ok(Arc::new(roots)),
    }
}

/// The files of an identity, in the order in which they are read.
pub(crate) fn paths(files: &IdentityFiles) -> Vec<std::path::PathBuf> {
    vec![files.ca.clone(), files.cert.clone(), files.key.clone()]
}

pub(crate) fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source| TlsError::Unreadable {
        path: path.to_owned(),
        source,
    })
}
