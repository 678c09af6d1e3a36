//! A certificate authority in a directory, for a stack that brings no certificates of its own.
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
//! Every file is replaced in one step, the key before the certificate: whoever reads between the two sees a pair that does
//! not match, keeps what it has and looks again.

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
/// Ten years: as long as a CA outlives the stack it was made for.
const CA_DAYS: u32 = 3653;
/// What public CAs allow at most; Go and browsers accept it everywhere.
const LEAF_DAYS: u32 = 397;
/// A certificate with less than this left is issued anew.
const RENEW_DAYS: u32 = 30;
/// Machines whose clocks differ by less than this accept each other's fresh certificates.
const CLOCK_SKEW: Duration = Duration::from_hours(1);
/// Names that every certificate carries, so that local tools which check the address are content.
const LOCAL_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// The CA of one directory.
#[derive(Debug)]
pub struct Authority {
    dir: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    /// No leaf outlives the CA.
    ends: SystemTime,
}

impl Authority {
    /// Opens the CA in `dir`, or makes one. Several processes may do so at once: one CA comes out.
    ///
    /// # Errors
    /// When the directory is not writable, or what is in it is no CA or has expired.
    pub fn open_or_create(dir: &Path) -> Result<Self, TlsError> {
        store::private_directory(dir)?;
        let _lock = store::lock(dir)?;
        let (cert, key) = (dir.join("ca.crt"), dir.join("ca.key"));
        if !cert.exists() || !lasts(&describe_certificate(&cert)?, SystemTime::now()) {
            create(&cert, &key)?;
        }
        // Reads them as any user of them would: pair, validity and all.
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

    /// The identity `name`, valid for `name`, `dns_names` and this machine's local names. What is there is kept if it is
    /// of this CA, carries these names and has 30 days left; else it is issued anew. Call it again at times: whoever uses
    /// the files follows them.
    ///
    /// # Errors
    /// When a name is not usable or the directory not writable.
    pub fn issue(&self, name: &str, dns_names: &[&str]) -> Result<IdentityFiles, TlsError> {
        self.issue_at(name, dns_names, SystemTime::now())
    }

    /// [`Authority::issue`] as if it were `now`.
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
        let _lock = store::lock(&self.dir)?;
        if !keeps(&files, &names, now) {
            self.write(&files, &names, now)?;
            tracing::info!(name, "certificate was issued");
        }
        Ok(files)
    }

    fn write(&self, files: &IdentityFiles, names: &[&str], now: SystemTime) -> Result<(), TlsError> {
        let failed = |source| TlsError::Issue {
            name: names[0].to_owned(),
            source,
        };
        let owned: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(owned).map_err(failed)?;
        params.distinguished_name = subject(names[0]);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        valid(&mut params, now, self.ends.min(now + DAY * LEAF_DAYS));
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(failed)?;
        store::replace(&files.key, &key.serialize_pem(), Readers::Owner)?;
        store::replace(&files.cert, &certificate.pem(), Readers::Everybody)
    }
}

/// Makes the CA. A key without certificate is what a crash between the two leaves: it is used.
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
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let now = SystemTime::now();
    valid(&mut params, now, now + DAY * CA_DAYS);
    let certificate = params.self_signed(&pair).map_err(failed)?;
    store::replace(cert, &certificate.pem(), Readers::Everybody)
}

/// Whether the files hold what would be issued, with enough time left.
fn keeps(files: &IdentityFiles, names: &[&str], now: SystemTime) -> bool {
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

fn valid(params: &mut CertificateParams, from: SystemTime, until: SystemTime) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let since_epoch = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default();
    params.not_before = epoch + since_epoch(from).saturating_sub(CLOCK_SKEW);
    params.not_after = epoch + since_epoch(until);
}

/// Whether it has 30 days left.
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
