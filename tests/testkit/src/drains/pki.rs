//! Issues certificates that are valid, of another CA, or expired.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A certificate authority in memory.
#[derive(Debug)]
pub struct Pki {
    issuer: Issuer<'static, KeyPair>,
    /// The certificate of the authority, as PEM.
    pub ca: String,
}

/// A certificate and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The certificate, as PEM.
    pub cert: String,
    /// The key, as PEM.
    pub key: String,
}

impl Pki {
    /// Creates an authority with the common name `name`.
    ///
    /// # Errors
    /// Fails when no key can be generated.
    pub fn new(name: &str) -> anyhow::Result<Self> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key)?;
        Ok(Self {
            ca: certificate.pem(),
            issuer: Issuer::new(params, key),
        })
    }

    /// Issues a certificate for servers with these names, and for clients. The first name is the subject.
    ///
    /// # Errors
    /// Fails when a name is not valid.
    pub fn issue(&self, names: &[&str]) -> anyhow::Result<Certificate> {
        let now = SystemTime::now();
        self.issue_between(names, now - DAY, now + DAY)
    }

    /// Issues a certificate like [`Pki::issue`] that expired yesterday.
    ///
    /// # Errors
    /// Fails when a name is not valid.
    pub fn issue_expired(&self, names: &[&str]) -> anyhow::Result<Certificate> {
        let now = SystemTime::now();
        self.issue_between(names, now - 10 * DAY, now - DAY)
    }

    fn issue_between(&self, names: &[&str], from: SystemTime, until: SystemTime) -> anyhow::Result<Certificate> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let subject = names.first().cloned().context("a name")?;
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, subject);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let epoch = rcgen::date_time_ymd(1970, 1, 1);
        params.not_before = epoch + from.duration_since(UNIX_EPOCH)?;
        params.not_after = epoch + until.duration_since(UNIX_EPOCH)?;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Certificate {
            cert: certificate.pem(),
            key: key.serialize_pem(),
        })
    }
}

impl Certificate {
    /// Returns the certificate in DER.
    ///
    /// # Errors
    /// Fails when the PEM holds no certificate.
    pub fn der(&self) -> anyhow::Result<Vec<u8>> {
        Ok(CertificateDer::from_pem_slice(self.cert.as_bytes())?.to_vec())
    }

    /// Writes the files `NAME.crt` and `NAME.key` into a directory.
    ///
    /// # Errors
    /// Fails when they cannot be written.
    pub fn write(&self, dir: &Path, name: &str) -> anyhow::Result<()> {
        std::fs::write(dir.join(format!("{name}.crt")), &self.cert)?;
        std::fs::write(dir.join(format!("{name}.key")), &self.key)?;
        Ok(())
    }

    /// Returns the TLS configuration of a server that shows this certificate and offers these ALPN protocols. With
    /// `clients`, the PEM of a CA, it requires a client certificate of that CA. The dates of the certificate are not
    /// checked.
    ///
    /// # Errors
    /// Fails when the PEM holds no certificate.
    pub fn server(&self, protocols: &[&[u8]], clients: Option<&str>) -> anyhow::Result<Arc<ServerConfig>> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder =
            ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(ca) => {
                let mut roots = rustls::RootCertStore::empty();
                for certificate in CertificateDer::pem_slice_iter(ca.as_bytes()) {
                    roots.add(certificate?)?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let chain = CertificateDer::pem_slice_iter(self.cert.as_bytes()).collect::<Result<_, _>>()?;
        let mut config = builder.with_single_cert(chain, PrivateKeyDer::from_pem_slice(self.key.as_bytes())?)?;
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Ok(Arc::new(config))
    }
}
