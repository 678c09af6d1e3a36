//! A client configuration for libraries that keep one for as long as they run.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption, WebPkiServerVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

use crate::reload::Reloading;
use crate::{ClientTls, IdentityFiles, TlsError, material, provider, server_name};

impl ClientTls {
    /// A configuration for a library that takes one when it starts and keeps it: each handshake uses the files as they are
    /// then. The certificate of a server must carry `name`; without it, the host that the library asks for. The
    /// configuration names no protocol for ALPN and resumes no session, so that every handshake verifies the certificates.
    ///
    /// # Errors
    /// As [`ClientTls::mutual`], and when `name` is neither a name nor an address.
    pub fn long_lived(files: &IdentityFiles, name: Option<&str>) -> Result<ClientConfig, TlsError> {
        let name = name.map(server_name).transpose()?;
        let paths = material::paths(files);
        let files = files.clone();
        let parts = Reloading::new(paths, move || Parts::read(&files))?;
        let live = Arc::new(Live { parts, name });
        let mut config = ClientConfig::builder_with_provider(provider::ring())
            .with_protocol_versions(provider::VERSIONS)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&live) as Arc<dyn ServerCertVerifier>)
            .with_client_cert_resolver(live);
        config.resumption = Resumption::disabled();
        Ok(config)
    }
}

/// What the files of an identity are read into.
#[derive(Debug)]
struct Parts {
    verifier: Arc<WebPkiServerVerifier>,
    identity: SingleCertAndKey,
}

impl Parts {
    fn read(files: &IdentityFiles) -> Result<Self, TlsError> {
        let roots = material::roots(&files.ca)?;
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider::ring()).build();
        Ok(Self {
            verifier: verifier.map_err(|error| TlsError::Malformed {
                path: files.ca.clone(),
                reason: error.to_string(),
            })?,
            identity: SingleCertAndKey::from(material::valid_identity(&files.cert, &files.key)?),
        })
    }
}

/// The parts as the files are now, and the name that servers must have.
#[derive(Debug)]
struct Live {
    parts: Reloading<Parts>,
    name: Option<ServerName<'static>>,
}

impl ServerCertVerifier for Live {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        asked: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let name = self.name.as_ref().unwrap_or(asked);
        let parts = self.parts.get();
        parts
            .verifier
            .verify_server_cert(certificate, intermediates, name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.parts
            .get()
            .verifier
            .verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.parts
            .get()
            .verifier
            .verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.parts.get().verifier.supported_verify_schemes()
    }
}

impl ResolvesClientCert for Live {
    fn resolve(&self, hints: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        ResolvesClientCert::resolve(&self.parts.get().identity, hints, schemes)
    }

    fn has_certs(&self) -> bool {
        true
    }
}
