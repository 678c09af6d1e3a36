//! A certificate authority in a directory, for a stack without certificates of its own.
//!
//! ```text
//! DIR/            0700
//!   .lock         one process issues at a time
//!   ca.crt        ECDSA P-256, self-signed, ten years; renewed with the same key
//!   ca.key        0600, as every key
//!   NAME.crt      397 days, for servers and clients alike
//!   NAME.key
//! ```
//!
//! Every file is replaced in one step, the key before the certificate. A process that reads the files between the two
//! steps gets a pair that does not match, keeps the pair that it has, and reads them again later.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};

use weir_files::Readers;

use crate::{CertificateStatus, IdentityFiles, TlsError, describe_certificate, material, status, store};

const DAY: Duration = Duration::from_hours(24);
/// The validity of a CA in days: ten years, which is longer than a local stack is used.
const CA_DAYS: u32 = 3653;
/// The validity of a certificate in days: the most that public CAs may issue, which every client accepts.
const LEAF_DAYS: u32 = 397;
/// The remaining validity in days below which a certificate is issued again.
const RENEW_DAYS: u32 = 30;
/// How far in the past the validity of a new certificate begins, so that machines whose clocks are behind accept it.
const CLOCK_SKEW: Duration = Duration::from_hours(1);
/// Names that every certificate carries, so that local tools which compare the address accept it.
const LOCAL_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// The CA of one directory.
#[derive(Debug)]
pub struct Authority {
    dir: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    /// When the CA expires. No certificate is valid for longer.
    ends: SystemTime,
}

impl Authority {
    /// Opens the CA in `dir`, or creates one. If several processes do so at once, all get one CA.
    ///
    /// # Errors
    /// When the directory cannot be written, or its CA is malformed or has expired.
    pub fn open_or_create(dir: &Path) -> Result<Self, TlsError> {
        store::private_directory(dir)?;
        // Without the lock, two processes could mix the key of one CA with the certificate of the other.
        let _lock = store::lock(dir)?;
        let (cert, key) = (dir.join("ca.crt"), dir.join("ca.key"));
        // A malformed certificate is an error and is not replaced: an operator may have put it there by mistake.
        if !cert.exists() || !lasts(&describe_certificate(&cert)?, SystemTime::now()) {
            create(&cert, &key)?;
        }
        // Read back as a server would, so that a pair that does not match is found here.
        let (identity, status) = material::identity(&cert, &key)?;
        status.require_valid(&cert)?;
        let pair = key_pair(&key)?;
        let issuer = Issuer::from_ca_cert_der(&identity.cert[0], pair).map_err(|error| TlsError::Malformed {
            path: cert.clone(),
            reason: error.to_string(),
        })?;
        Ok(Self {
            dir: dir.to_owned(),
            issuer,
            ends: status.not_after,
        })
    }

    /// The CA's certificate, which peers trust.
    #[must_use]
    pub fn ca_file(&self) -> PathBuf {
        self.dir.join("ca.crt")
    }

    /// Returns the files of the identity `name`, whose certificate carries `name`, `dns_names` and the local names. A
    /// certificate that exists is kept if this CA has issued it, it carries these names, and it is valid for 30 more
    /// days. Otherwise it is issued again. Call this from time to time to renew it: users of the files reload them.
    ///
    /// # Errors
    /// When a name is not usable, or the directory cannot be written.
    pub fn issue(&self, name: &str, dns_names: &[&str]) -> Result<IdentityFiles, TlsError> {
        self.issue_at(name, dns_names, SystemTime::now())
    }

    /// Does the work of [`Authority::issue`] at the time `now`.
    pub(crate) fn issue_at(&self, name: &str, dns_names: &[&str], now: SystemTime) -> Result<IdentityFiles, TlsError> {
        let usable = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if name.is_empty() || name == "ca" || name.starts_with('.') || !name.bytes().all(usable) {
            return Err(TlsError::InvalidName { name: name.to_owned() });
        }
        let mut names = vec![name];
        for dns_name in dns_names.iter().chain(&LOCAL_NAMES) {
            if !names.contains(dns_name) {
                names.push(dns_name);
            }
        }
        let files = IdentityFiles {
            ca: self.ca_file(),
            cert: self.dir.join(format!("{name}.crt")),
            key: self.dir.join(format!("{name}.key")),
        };
        // Without the lock, two processes could mix the key of one with the certificate of the other.
        let _lock = store::lock(&self.dir)?;
        if !is_current(&files, &names, now) {
            self.issue_files(&files, &names, now)?;
            tracing::info!(name, "certificate was issued");
        }
        Ok(files)
    }

    /// Issues a certificate with a new key, and writes both files.
    fn issue_files(&self, files: &IdentityFiles, names: &[&str], now: SystemTime) -> Result<(), TlsError> {
        let failed = |source| TlsError::Issue {
            name: names[0].to_owned(),
            source,
        };
        let owned: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(owned).map_err(failed)?;
        params.distinguished_name = subject(names[0]);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        // A component is a server and a client with one certificate.
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        set_validity(&mut params, now, self.ends.min(now + DAY * LEAF_DAYS));
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(failed)?;
        store::replace(&files.key, &key.serialize_pem(), Readers::Owner)?;
        store::replace(&files.cert, &certificate.pem(), Readers::Everybody)
    }
}

/// Creates the CA. A crash can leave a key without a certificate, and that key is used then.
fn create(cert: &Path, key: &Path) -> Result<(), TlsError> {
    let failed = |source| TlsError::Issue {
        name: "ca".to_owned(),
        source,
    };
    let pair = if key.exists() {
        key_pair(key)?
    } else {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
        store::replace(key, &pair.serialize_pem(), Readers::Owner)?;
        pair
    };
    let mut params = CertificateParams::default();
    params.distinguished_name = subject("weir CA");
    // The CA issues certificates for components and no further CAs.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let now = SystemTime::now();
    set_validity(&mut params, now, now + DAY * CA_DAYS);
    let certificate = params.self_signed(&pair).map_err(failed)?;
    store::replace(cert, &certificate.pem(), Readers::Everybody)
}

/// Whether the files contain a certificate as it would be issued, with enough time left.
fn is_current(files: &IdentityFiles, names: &[&str], now: SystemTime) -> bool {
    let Ok((identity, found)) = material::identity(&files.cert, &files.key) else {
        return false;
    };
    names.iter().all(|name| found.names.iter().any(|other| other == name))
        && lasts(&found, now)
        && status::issued_by(&identity.cert, &files.ca).unwrap_or(false)
}

fn subject(name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    subject.push(DnType::OrganizationName, "weir");
    subject
}

/// Sets the validity of a certificate.
fn set_validity(params: &mut CertificateParams, from: SystemTime, until: SystemTime) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let since_epoch = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default();
    params.not_before = epoch + since_epoch(from).saturating_sub(CLOCK_SKEW);
    params.not_after = epoch + since_epoch(until);
}

/// Whether a certificate is valid for 30 more days.
fn lasts(certificate: &CertificateStatus, now: SystemTime) -> bool {
    certificate
        .not_after
        .duration_since(now)
        .is_ok_and(|left| left >= DAY * RENEW_DAYS)
}

fn key_pair(path: &Path) -> Result<KeyPair, TlsError> {
    let text = fs::read_to_string(path).map_err(|source| TlsError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    KeyPair::from_pem(&text).map_err(|_| TlsError::NotPem {
        path: path.to_owned(),
        wanted: "private key",
    })
}

#[cfg(test)]
mod tests;
