//! The CAs that are trusted for all destinations.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::{Error, RootCertStore};
use rustls_pki_types::CertificateDer;

use crate::reload::Reloading;
use crate::{TlsError, material, provider};

/// The CAs that are trusted for every destination. Clones share them.
#[derive(Debug, Clone)]
pub struct Trust {
    anchors: Arc<Reloading<Anchors>>,
}

/// The CAs that are trusted at a time.
#[derive(Debug, Clone)]
pub(super) struct Anchors {
    pub(super) verifier: Option<Arc<WebPkiServerVerifier>>,
    /// The certificates of the CA file, to compare with the server's certificate.
    pub(super) given: Arc<[CertificateDer<'static>]>,
}

impl Trust {
    /// Trusts the system's CAs and those in the file `extra`, which is reloaded when it changes. A system without CAs
    /// is not an error, because each destination may have its own.
    ///
    /// # Errors
    /// When the file cannot be read, or contains no valid certificate.
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

    /// Trusts only the CAs in the file, which is reloaded when it changes.
    ///
    /// # Errors
    /// See [`Trust::system`].
    pub fn only(file: &Path) -> Result<Self, TlsError> {
        Self::new(RootCertStore::empty(), Some(file))
    }

    /// Trusts no CA: each destination needs one of its own.
    ///
    /// # Errors
    /// Never, because no file is read.
    pub fn none() -> Result<Self, TlsError> {
        Self::new(RootCertStore::empty(), None)
    }

    pub(super) fn anchors(&self) -> Arc<Anchors> {
        self.anchors.get()
    }

    fn new(system: RootCertStore, extra: Option<&Path>) -> Result<Self, TlsError> {
        let extra = extra.map(Path::to_owned);
        let anchors = Reloading::new(extra.iter().cloned().collect(), move || {
            let mut roots = system.clone();
            let mut given = Vec::new();
            if let Some(path) = &extra {
                roots.roots.extend(material::roots(path)?.roots.iter().cloned());
                // Trust anchors have only a name and a key, so the certificates are kept for the comparison.
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

/// A verifier of chains that end in one of `roots`, or `None` without roots.
pub(super) fn verifier(roots: RootCertStore) -> Result<Option<Arc<WebPkiServerVerifier>>, Error> {
    if roots.is_empty() {
        return Ok(None);
    }
    let built = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider::ring()).build();
    built.map(Some).map_err(|error| Error::General(error.to_string()))
}
