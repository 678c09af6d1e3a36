//! The names and the validity of a certificate, for checks at the start and for `weir doctor`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::pki_types::UnixTime;
use rustls::server::ParsedCertificate;
use rustls_pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::time::ASN1Time;
use x509_parser::x509::X509Name;

use crate::{IdentityFiles, TlsError, material, provider};

/// The names and the validity of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateStatus {
    /// The common name, or the whole subject where there is none.
    pub subject: String,
    /// The DNS names and IP addresses that the certificate carries.
    pub names: Vec<String>,
    /// The beginning of its validity.
    pub not_before: SystemTime,
    /// The end of its validity.
    pub not_after: SystemTime,
    /// How long the certificate is still valid. `None` if it has expired.
    pub expires_in: Option<Duration>,
}

impl CertificateStatus {
    /// Reads `certificate`, which was in the file `path`.
    pub(crate) fn of(path: &Path, certificate: &CertificateDer<'_>) -> Result<Self, TlsError> {
        Self::read(certificate).map_err(|reason| TlsError::Malformed {
            path: path.to_owned(),
            reason,
        })
    }

    /// Reads a certificate in DER form, such as one that a peer has shown.
    ///
    /// # Errors
    /// Why it is malformed.
    pub fn read(certificate: &CertificateDer<'_>) -> Result<Self, String> {
        let (_, parsed) = X509Certificate::from_der(certificate).map_err(|error| error.to_string())?;
        let subject = name_of(parsed.subject());
        let names = parsed
            .subject_alternative_name()
            .map_err(|error| error.to_string())?
            .map(|extension| extension.value.general_names.iter().filter_map(name).collect())
            .unwrap_or_default();
        let not_after = time(parsed.validity().not_after);
        Ok(Self {
            subject,
            names,
            not_before: time(parsed.validity().not_before),
            not_after,
            expires_in: not_after.duration_since(SystemTime::now()).ok(),
        })
    }

    /// Whether the certificate has expired.
    #[must_use]
    pub fn is_expired(&self) -> bool {
        self.expires_in.is_none()
    }

    /// The last day of its validity in UTC, as `2026-01-03`.
    #[must_use]
    pub fn last_day(&self) -> String {
        date(self.not_after)
    }

    /// Checks that the certificate in the file `path` is valid now.
    pub(crate) fn require_valid(&self, path: &Path) -> Result<(), TlsError> {
        if self.is_expired() {
            return Err(TlsError::Expired {
                path: path.to_owned(),
                subject: self.subject.clone(),
                since: self.not_after,
            });
        }
        if self.not_before > SystemTime::now() {
            return Err(TlsError::NotYetValid {
                path: path.to_owned(),
                subject: self.subject.clone(),
                from: self.not_before,
            });
        }
        Ok(())
    }
}

/// The common name of a subject or issuer, or the whole name where there is none.
pub(crate) fn name_of(name: &X509Name<'_>) -> String {
    name.iter_common_name()
        .next()
        .and_then(|common| common.as_str().ok())
        .map_or_else(|| name.to_string(), str::to_owned)
}

/// Describes the certificate of an identity, after a check that its key belongs to it and that its CA has issued it. An
/// expired certificate is not an error.
///
/// # Errors
/// When a file is missing or damaged, or the three do not belong together.
pub fn describe(files: &IdentityFiles) -> Result<CertificateStatus, TlsError> {
    let (identity, status) = material::identity(&files.cert, &files.key)?;
    // The issuer is not checked for a certificate that is not valid now: the verification of the chain would fail
    // because of the time.
    if status.require_valid(&files.cert).is_ok() && !issued_by(&identity.cert, &files.ca)? {
        return Err(TlsError::ForeignAuthority {
            cert: files.cert.clone(),
            ca: files.ca.clone(),
        });
    }
    Ok(status)
}

/// Describes the first certificate in the file `path`, for a CA whose key is elsewhere.
///
/// # Errors
/// When the file is missing or damaged.
pub fn describe_certificate(path: &Path) -> Result<CertificateStatus, TlsError> {
    let chain = material::certificates(path)?;
    CertificateStatus::of(path, &chain[0])
}

/// Whether a CA in the file `ca` has issued the first certificate of `chain`, directly or through the others.
pub(crate) fn issued_by(chain: &[CertificateDer<'_>], ca: &Path) -> Result<bool, TlsError> {
    let roots = material::roots(ca)?;
    let Some((leaf, intermediates)) = chain.split_first() else {
        return Ok(false);
    };
    let leaf = ParsedCertificate::try_from(leaf)?;
    let algorithms = provider::ring().signature_verification_algorithms.all;
    Ok(verify_server_cert_signed_by_trust_anchor(&leaf, &roots, intermediates, UnixTime::now(), algorithms).is_ok())
}

/// The day of `time` in UTC, as `2026-01-03`.
pub(crate) fn date(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| ASN1Time::from_timestamp(seconds).ok())
        .map_or_else(
            || "a day far away".to_owned(),
            |time| time.to_datetime().date().to_string(),
        )
}

/// Converts the time of a certificate. A time before 1970 becomes the Unix epoch.
fn time(time: ASN1Time) -> SystemTime {
    u64::try_from(time.timestamp()).map_or(UNIX_EPOCH, |seconds| UNIX_EPOCH + Duration::from_secs(seconds))
}

/// A name that clients compare: a DNS name or an IP address.
fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => address(bytes).map(|address| address.to_string()),
        _ => None,
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(bytes) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(bytes).into());
    }
    <[u8; 16]>::try_from(bytes)
        .ok()
        .map(|bytes| Ipv6Addr::from(bytes).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Dates are in UTC and count leap days.
    #[test]
    fn dates_are_utc() {
        let day = |seconds| date(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(day(0), "1970-01-01");
        assert_eq!(day(951_782_400), "2000-02-29");
        assert_eq!(day(1_767_398_400), "2026-01-03");
        assert_eq!(day(u64::MAX / 2), "a day far away");
    }
}
